//! `adapter init` with data: EoRA and EVA against golden values, importance matrices, and files that cannot be.

use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;
use svdkit::analysis::init::redistributed;

use crate::adapter::{doubles, noise, product};
use crate::adapter_init::{
    begin, folder, golden, gram, imatrix, inputs, near, number, numbers, only, singles,
};
use crate::harness::{Stored, check_exit_in, json_in, list, save, svdkit_in};

#[test]
fn eora_makes_up_for_the_error_of_the_outputs() {
    let folder = folder();
    let path = folder.path();
    for (data, key, norms) in [
        (["--acts", "acts.safetensors"], "eora", "act_none_svd_eora"),
        (["--acts", "few.safetensors"], "eora_rank_deficient", "act_none_svd_eora"),
        (["--cov", "imatrix.gguf"], "diagonal_cov", "diag_norm_none_svd_weighted"),
    ] {
        for rank in ["1", "2", "4", "8"] {
            let options = [&data[..], &["--rank", rank, "--original", "tall.safetensors"]].concat();
            let begun = begin(path, "coarse.safetensors", "eora", &options);
            let golden = golden(key);
            let found = ["weighted_norm", "plain_error", "weighted_error"].map(|key| number(&begun.row, key));
            // An imatrix is in f32.
            let tolerance = if key == "diagonal_cov" { 1e-6 } else { 1e-9 };
            near(&found, &numbers(&golden["at"][rank][norms]), tolerance);
            if key == "eora" {
                let left = golden["at"][rank]["fro_none_svd_eora"][2].as_f64().unwrap();
                near(&[number(&begun.row, "residual_norm")], &[left], 1e-9);
                let first = numbers(&begun.row["factors"]["singular_values"]);
                near(&first[..10], &numbers(&golden["sigma_projected"]), 1e-9);
            }
            // The file itself: of its rank, of scale 1, and as good as the report says.
            let update = product(&begun.b, &begun.a, rank.parse().unwrap());
            let (tall, coarse) = (noise(24, 16, 11), only(&path.join("coarse.safetensors"), "q"));
            let left: Vec<f64> = tall.iter().zip(&coarse).zip(&update).map(|((w, c), x)| w - c - x).collect();
            if key != "diagonal_cov" {
                let x = &inputs()[1][..if key == "eora" { 640 } else { 160 }];
                let turned: Vec<f64> = (0..16).flat_map(|j| x.iter().skip(j).step_by(16).copied()).collect();
                let error = product(&left, &turned, 16).iter().map(|x| x * x).sum::<f64>().sqrt();
                near(&[error], &[found[2]], 1e-9);
            }
        }
    }
    let config: Json =
        serde_json::from_slice(&fs::read(path.join("out/adapter/adapter_config.json")).unwrap()).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&8.into(), &8.into()));
}

#[test]
fn eora_of_another_model_is_refused() {
    let folder = folder();
    let options = [
        "adapter",
        "init",
        "tall.safetensors",
        "--method",
        "eora",
        "--rank",
        "2",
        "--original",
        "flat.safetensors",
        "--acts",
        "acts.safetensors",
        "--out",
        "out",
    ];
    check_exit_in(folder.path(), &options, 2, "of the shape that `--original` has");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn eora_of_more_directions_than_there_are_is_filled_with_zeros() {
    let folder = folder();
    let options = ["--rank", "14", "--original", "tall.safetensors", "--acts", "few.safetensors"];
    let begun = begin(folder.path(), "coarse.safetensors", "eora", &options);
    assert_eq!(begun.a.len(), 14 * 16);
    assert!(begun.a[10 * 16..].iter().all(|x| *x == 0.0) && number(&begun.row, "weighted_error") < 1e-6);
}

#[test]
fn eva_gives_ranks_where_inputs_vary() {
    let golden = golden("eva");
    let folder = tempfile::tempdir().unwrap();
    let [x, x2] = inputs();
    let mut spiked = noise(40, 16, 33);
    spiked.iter_mut().step_by(16).for_each(|x| *x *= 12.0);
    let names = ["q", "k", "o", "down"];
    let weight = |(i, name): (usize, &&str)| {
        singles(&format!("layers.0.{name}.weight"), &[8, 16], &noise(8, 16, i as u32))
    };
    save(&folder.path().join("model.safetensors"), &names.iter().enumerate().map(weight).collect::<Vec<_>>());
    let acts = [&x, &x, &x2, &spiked];
    let tensors: Vec<Stored> = names
        .iter()
        .zip(acts)
        .map(|(name, x)| doubles(&format!("layers.0.{name}.acts"), &[40, 16], x))
        .collect();
    save(&folder.path().join("acts.safetensors"), &tensors);
    let options = [
        "adapter",
        "init",
        "model.safetensors",
        "--method",
        "eva",
        "--rank",
        "3",
        "--alpha",
        "6",
        "--acts",
        "acts.safetensors",
        "--out",
        "out",
        "--quiet",
    ];
    let report = json_in(folder.path(), &options);
    for row in list(&report, "rows") {
        let name = row["role"].as_str().unwrap();
        assert_eq!(row["adapter_rank"], golden["ranks"][name], "{name}");
        let ratios = numbers(&row["factors"]["importance"]);
        let key = match name {
            "o" => "ratios_X2_first6",
            "down" => "ratios_spiked_first6",
            _ => "ratios_X_first6",
        };
        near(&ratios, &numbers(&golden[key]), 1e-9);
        let rank = row["adapter_rank"].as_u64().unwrap() as usize;
        near(&[number(row, "explained_variance")], &[ratios[..rank].iter().sum()], 1e-12);
        let a = only(&folder.path().join("out/adapter_model.safetensors"), &format!("{name}.lora_A"));
        assert_eq!(a.len(), rank * 16);
    }
    let config: Json =
        serde_json::from_slice(&fs::read(folder.path().join("out/adapter_config.json")).unwrap()).unwrap();
    let (r, alpha) = (config["r"].as_f64().unwrap(), config["lora_alpha"].as_f64().unwrap());
    near(&[alpha / r], &[2.0], 0.0);
    for (pattern, rank) in config["rank_pattern"].as_object().unwrap() {
        near(&[config["alpha_pattern"][pattern].as_f64().unwrap() / rank.as_f64().unwrap()], &[2.0], 0.0);
    }
    // A budget that ends between two equal shares: the layer that was measured first gets no less.
    let lists = ["ratios_X_first6", "ratios_X_first6", "ratios_X2_first6", "ratios_spiked_first6"];
    let lists: Vec<Vec<f64>> = lists.iter().map(|key| numbers(&golden[*key])).collect();
    let found = redistributed(&lists, &[None, Some(0), None, None], 3);
    assert_eq!(found, names.map(|name| golden["ranks"][name].as_u64().unwrap() as usize));
}

#[test]
fn a_rule_on_a_rank_that_eva_gave_is_judged_by_it() {
    let folder = folder();
    let fixed = [
        "adapter",
        "init",
        "tall.safetensors",
        "--method",
        "eva",
        "--rank",
        "4",
        "--acts",
        "acts.safetensors",
        "--out",
        "out",
    ];
    check_exit_in(folder.path(), &[&fixed[..], &["--fail-if", "adapter_rank > 3"]].concat(), 1, "");
}

#[test]
fn data_that_cannot_be_are_named_and_nothing_is_written() {
    let folder = folder();
    let path = |name: &str| -> PathBuf { folder.path().join(name) };
    let check = |file: &str, said: &str| {
        let fixed = [
            "adapter",
            "init",
            "tall.safetensors",
            "--method",
            "corda-ipm",
            "--rank",
            "4",
            "--out",
            "out",
            "--base-out",
            "base",
            "--cov",
            file,
        ];
        let output = svdkit_in(folder.path(), &fixed);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{file}: {told}");
        assert!(
            told.contains(said) && (said == "NaN" || told.contains(file.split('.').next().unwrap())),
            "{file}: {told}"
        );
        assert!(!path("out").exists() && !path("base").exists(), "{file}");
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with(".svdkit")), "{file}");
    };
    let square = |change: &dyn Fn(&mut Vec<f64>)| {
        let mut entries = gram(&inputs()[0]);
        change(&mut entries);
        entries
    };
    let write =
        |file: &str, entries: &[f64]| save(&path(file), &[doubles("layers.0.q.cov", &[16, 16], entries)]);
    write("nan.safetensors", &square(&|entries| entries[5] = f64::NAN));
    check("nan.safetensors", "`layers.0.q.cov`: holds NaN or infinite entries");
    write("zero.safetensors", &[0.0; 256]);
    check("zero.safetensors", "is all zeros");
    write("slanted.safetensors", &square(&|entries| entries[1] += 1.0));
    check("slanted.safetensors", "is not symmetric");
    write("negative.safetensors", &square(&|entries| entries[17] = -1.0));
    check("negative.safetensors", "a negative entry on its diagonal");
    write(
        "indefinite.safetensors",
        &square(&|entries| {
            entries[1] += 9.0;
            entries[16] += 9.0;
        }),
    );
    check("indefinite.safetensors", "the negative eigenvalue");
    save(&path("other.safetensors"), &[doubles("layers.7.q.cov", &[16, 16], &gram(&inputs()[0]))]);
    check("other.safetensors", "has nothing for 1 of 1 modules: `layers.0.q`; its first is `layers.7.q`");
    save(&path("size.safetensors"), &[doubles("layers.0.q.cov", &[9, 9], &[1.0; 81])]);
    check("size.safetensors", "has 9 channels, but `layers.0.q` has 16 inputs");
    save(&path("shape.safetensors"), &[doubles("layers.0.q.cov", &[9, 16], &[1.0; 144])]);
    check("shape.safetensors", "a covariance is n × n, or n numbers");
    imatrix(&path("count.gguf"), "layers.0.q.weight", &[1.0; 16], -3.0);
    check("count.gguf", "the number of tokens is -3");
    imatrix(&path("sums.gguf"), "layers.0.q.weight", &[-1.0; 16], 3.0);
    check("sums.gguf", "negative entries");
    fs::write(path("broken.safetensors"), b"no").unwrap();
    check("broken.safetensors", "");
    // A weight that is not finite is named, too.
    let mut entries = noise(24, 16, 11);
    entries[3] = f64::INFINITY;
    save(&path("tall.safetensors"), &[singles("layers.0.q.weight", &[24, 16], &entries)]);
    check("cov.safetensors", "NaN");
}

#[test]
fn options_that_do_not_fit_a_method_are_refused() {
    let folder = folder();
    let check = |method: &str, options: &[&str], said: &str| {
        let fixed =
            ["adapter", "init", "tall.safetensors", "--method", method, "--rank", "4", "--out", "out"];
        check_exit_in(folder.path(), &[&fixed[..], options].concat(), 2, said);
        assert!(!folder.path().join("out").exists() && !folder.path().join("base").exists());
    };
    check("pissa", &[], "`--base-out DIR` takes the base");
    check("eva", &["--base-out", "base", "--acts", "acts.safetensors"], "leave `--base-out` out");
    check("corda-ipm", &["--base-out", "base"], "`--cov FILE` or `--acts FILE`");
    check("eva", &["--cov", "cov.safetensors"], "`--acts FILE`");
    check("pissa", &["--base-out", "base", "--cov", "cov.safetensors"], "takes no data");
    check("eora", &["--cov", "cov.safetensors"], "`--original MODEL`");
    check(
        "eora",
        &["--cov", "cov.safetensors", "--original", "tall.safetensors", "--alpha", "3"],
        "leave `--alpha` out",
    );
    check("pissa", &["--base-out", "base", "--alpha", "0"], "a number above 0");
    check("pissa", &["--base-out", "out"], "neither in the other");
    check("pissa", &["--base-out", "out/base"], "neither in the other");
    let large = [
        "adapter",
        "init",
        "tall.safetensors",
        "--method",
        "kasa",
        "--rank",
        "16",
        "--out",
        "out",
        "--base-out",
        "base",
    ];
    check_exit_in(folder.path(), &large, 2, "with kasa `--rank` can be 15 at most");
    let named = [&large[..], &["--target", "*"]].concat();
    check_exit_in(folder.path(), &named, 2, "`layers.0.q.weight`: is 24 × 16, so `--rank` can be 15 at most");
}

#[test]
fn layers_without_room_for_the_rank_or_a_weight_of_their_own_are_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    // Qwen2-MoE gates its shared expert by one number.
    let mut tensors = vec![
        singles("layers.0.mlp.up_proj.weight", &[24, 16], &noise(24, 16, 1)),
        singles("layers.0.mlp.shared_expert_gate.weight", &[1, 16], &noise(1, 16, 2)),
        singles("layers.0.q.in_network.weight", &[4, 16], &noise(4, 16, 3)),
        singles("layers.0.q.out_network.weight", &[24, 4], &noise(24, 4, 4)),
    ];
    save(&folder.path().join("model.safetensors"), &tensors);
    let command = [
        "adapter",
        "init",
        "model.safetensors",
        "--method",
        "pissa",
        "--rank",
        "4",
        "--out",
        "a",
        "--base-out",
        "r",
    ];
    let notes = json_in(folder.path(), &command)["notes"].to_string();
    for told in [
        "no room for rank 4, so left out: `layers.0.mlp.shared_expert_gate`",
        "stored as factors or in a stack, so left out: `layers.0.q`",
    ] {
        assert!(notes.contains(told), "{notes}");
    }
    let only = tensors.split_off(2);
    save(&folder.path().join("factored.safetensors"), &only);
    let command =
        ["factored.safetensors", "--method", "pissa", "--rank", "2", "--out", "o", "--base-out", "b"];
    let said =
        "stores its linear layers as factors or in stacks, which are no modules of their own: `layers.0.q`";
    check_exit_in(folder.path(), &[&["adapter", "init"], &command[..]].concat(), 2, said);
}
