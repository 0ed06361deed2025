//! What decompositions would keep: golden numbers of weighted ranks, chosen columns, sampled directions and 4 bits.

use std::path::Path;

use serde_json::Value as Json;

use crate::adapter::{doubles, noise, product};
use crate::adapter_init::{folder, gram, near, numbers, singles};
use crate::compensate::golden;
use crate::harness::{check_exit_in, json, json_in, list, save};

fn row(folder: &Path, model: &str, options: &[&str]) -> Json {
    let report = json_in(folder, &[&["rank", model, "-q"], options].concat());
    list(&report, "rows")[0].clone()
}

fn of(row: &Json, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"))
}

fn expected(golden: &Json, key: &str) -> f64 {
    golden[key].as_f64().unwrap()
}

#[test]
fn energies_by_covariance_are_those_of_corda() {
    let (folder, golden) = (folder(), golden("corda_cov"));
    let row = row(folder.path(), "tall.safetensors", &["--cov", "cov.safetensors", "--at", "4"]);
    near(&numbers(&row["lists"]["context_spectrum"]), &numbers(&golden["sigma_WC"]), 1e-8);
    near(
        &[of(&row, "context_energy_4"), of(&row, "energy_4")],
        &[expected(&golden, "context_energy_at_4"), expected(&golden, "plain_energy_at_4")],
        1e-9,
    );
    // A cut of the weighted matrix loses no more than one of the weight.
    assert!(of(&row, "output_loss_4") < of(&row, "svd_output_loss_4"));
}

#[test]
fn errors_by_fisher_weights_are_those_of_fwsvd() {
    let (folder, golden) = (folder(), golden("fwsvd"));
    let fisher: Vec<f64> = noise(24, 16, 41).iter().map(|x| x + 0.51).collect();
    save(&folder.path().join("fisher.safetensors"), &[doubles("layers.0.q.fisher", &[24, 16], &fisher)]);
    let row = row(folder.path(), "tall.safetensors", &["--fisher", "fisher.safetensors", "--at", "2,4,8"]);
    for way in ["svd", "one_sided", "two_sided"] {
        for (at, norm) in ["error_norm", "weighted_norm", "fisher_norm"].iter().enumerate() {
            let found = numbers(&row["lists"][format!("fisher_{way}_{norm}")]);
            let errors = &golden["errors_fro_weighted_fisher"];
            let wanted: Vec<f64> =
                ["2", "4", "8"].iter().map(|k| errors[k][way][at].as_f64().unwrap()).collect();
            near(&found, &wanted, 1e-9);
        }
    }
    assert!(of(&row, "fisher_loss_4") < of(&row, "svd_fisher_loss_4"));
}

#[test]
fn columns_are_chosen_as_strong_rank_revealing_qr_does() {
    let folder = folder();
    save(
        &folder.path().join("swap.safetensors"),
        &[singles("layers.0.q.weight", &[12, 40], &noise(12, 40, 722))],
    );
    let cases =
        [("T_4", "tall", "4"), ("Fl_6", "flat", "6,1.2"), ("Fl_8", "flat", "8"), ("swap", "swap", "6,1.05")];
    for (key, model, option) in cases {
        let golden = golden(&format!("column_subset_{key}"));
        let row = row(folder.path(), &format!("{model}.safetensors"), &["--select-columns", option]);
        assert_eq!(row["lists"]["columns"], golden["strong"], "{key}");
        assert_eq!(row["lists"]["columns_pivoted"], golden["pivoted_qr"], "{key}");
        let wanted = ["err_strong", "err_pivoted", "err_svd"].map(|name| expected(&golden, name));
        near(&numbers(&row["lists"]["column_error_norm"]), &wanted, 1e-9);
        let [strong, pivoted] = ["", "_pivoted"].map(|end| {
            [of(&row, &format!("column_coefficient{end}")), of(&row, &format!("column_volume{end}"))]
        });
        near(
            &strong,
            &["largest_coefficient_strong", "volume_strong"].map(|name| expected(&golden, name)),
            1e-9,
        );
        near(
            &pivoted,
            &["largest_coefficient_pivoted", "volume_pivoted"].map(|name| expected(&golden, name)),
            1e-9,
        );
    }
    let (row, golden) =
        (row(folder.path(), "tall.safetensors", &["--select-columns", "4"]), golden("leverage"));
    near(&numbers(&row["lists"]["column_leverage"]), &numbers(&golden["columns"]), 1e-9);
    near(&numbers(&row["lists"]["row_leverage"])[..6], &numbers(&golden["rows_first6"]), 1e-9);
    near(
        &[of(&row, "column_coherence"), of(&row, "row_coherence"), of(&row, "column_volume").powi(2)],
        &["coherence_columns", "coherence_rows", "dpp_prob_of_strong_columns"]
            .map(|name| expected(&golden, name)),
        1e-9,
    );
}

#[test]
fn directions_and_columns_are_those_of_lost() {
    let (folder, golden) = (folder(), golden("lost"));
    for option in ["4,0.125", "0.125"] {
        let row = row(folder.path(), "tall.safetensors", &["--lowrank-plus-columns", option]);
        near(&numbers(&row["lists"]["complement_norms"]), &numbers(&golden["complement_norms"]), 1e-9);
        assert_eq!(row["lists"]["complement_columns"], golden["channels"]);
        let keys = [
            ("complement_captured", "captured"),
            ("lowrank_error", "rel_err_lowrank"),
            ("lowrank_columns_error", "rel_err_plus_columns"),
            ("lowrank_columns_parameters", "params"),
            ("equal_budget_rank", "equal_budget_rank"),
            ("equal_budget_error", "rel_err_equal_budget_svd"),
        ];
        for (key, name) in keys {
            near(&[of(&row, key)], &[expected(&golden, name)], 1e-9);
        }
    }
}

#[test]
fn sampled_directions_are_those_of_sst() {
    let (folder, golden) = (folder(), golden("sst"));
    let row = row(folder.path(), "tall.safetensors", &["--sst", "4"]);
    near(&numbers(&row["lists"]["sampling_probability"]), &numbers(&golden["p"]), 1e-9);
    near(&numbers(&row["lists"]["sampling_inclusion"]), &numbers(&golden["inclusion"]), 1e-9);
    near(
        &[of(&row, "sampling_entropy"), of(&row, "sampling_top_hits")],
        &[expected(&golden, "entropy"), expected(&golden, "expected_top4_hit_in_20")],
        1e-9,
    );
    let other = singles("layers.0.q.weight", &[24, 16], &noise(24, 16, 53));
    save(&folder.path().join("other.safetensors"), &[other]);
    let row = self::row(folder.path(), "other.safetensors", &["--sst", "4"]);
    near(&[of(&row, "orthonormality_defect")], &[expected(&golden, "ortho_defect_L2416")], 1e-9);
}

#[test]
fn energy_is_counted_by_values_and_by_their_squares() {
    let (folder, golden) = (folder(), golden("svfit_rank"));
    let row = row(folder.path(), "tall.safetensors", &["--energy", "0.9,0.8"]);
    for (share, word) in [("0.9", "90"), ("0.95", "95"), ("0.99", "99")] {
        assert_eq!(row[format!("rank_at_{word}")], golden["l2"][share]);
        assert_eq!(row[format!("nuclear_rank_at_{word}")], golden["l1"][share]);
    }
    assert!(of(&row, "nuclear_rank_at_80") > of(&row, "rank_at_80"));
}

#[test]
fn effective_parameters_are_those_of_two_grams() {
    let (folder, golden) = (folder(), golden("neff"));
    let at = |name: &str| folder.path().join(name);
    let [inputs, gradients] = [(9, 16, 71), (7, 24, 73)].map(|(inner, side, seed)| {
        let y = product(&noise(40, inner, seed), &noise(inner, side, seed + 1), inner);
        let turned: Vec<f64> = (0..side).flat_map(|j| y.iter().skip(j).step_by(side).copied()).collect();
        product(&turned, &y, 40).iter().map(|x| x / 40.0).collect::<Vec<f64>>()
    });
    save(&at("a.safetensors"), &[doubles("layers.0.q.cov", &[16, 16], &inputs)]);
    save(&at("g.safetensors"), &[doubles("layers.0.q.cov", &[24, 24], &gradients)]);
    let options = ["--cov", "a.safetensors", "--grad-cov", "g.safetensors"];
    let row = row(folder.path(), "tall.safetensors", &options);
    let keys = [
        ("input_rank", "rank_a"),
        ("input_rank_absolute", "rank_a_abs_1e5"),
        ("gradient_rank", "rank_g"),
        ("effective_parameters", "n_eff"),
        ("effective_parameter_share", "share"),
        ("input_effective_rank", "erank_a"),
        ("gradient_effective_rank", "erank_g"),
    ];
    for (key, name) in keys {
        near(&[of(&row, key)], &[expected(&golden, name)], 1e-9);
    }
    check_exit_in(
        folder.path(),
        &["rank", "tall.safetensors", "--grad-cov", "g.safetensors"],
        2,
        "add `--cov FILE`",
    );
    let swapped = ["rank", "tall.safetensors", "--cov", "a.safetensors", "--grad-cov", "a.safetensors"];
    check_exit_in(folder.path(), &swapped, 2, "has 16 channels, but `layers.0.q` has 24 outputs");
}

#[test]
fn four_bits_cost_what_qpissa_says() {
    let (folder, golden) = (folder(), golden("qpissa_nf4"));
    let row = row(folder.path(), "tall.safetensors", &["--nf4", "4"]);
    near(
        &[of(&row, "nf4_norm"), of(&row, "nf4_nuclear")],
        &[expected(&golden, "plain_fro"), expected(&golden, "plain_nuclear")],
        1e-9,
    );
    let rounds = ["1", "2", "5"].map(|round| &golden["iterations"][round]);
    near(&numbers(&row["lists"]["qpissa_nuclear"]), &rounds.map(|of| expected(of, "nuclear")), 1e-9);
    near(&numbers(&row["lists"]["qpissa_error_norm"]), &rounds.map(|of| expected(of, "fro")), 1e-9);
    near(
        &[of(&row, "qpissa_saved"), of(&row, "qpissa_saved_at_5")],
        &[rounds[0], rounds[2]].map(|of| expected(of, "reduction_pct") / 100.0),
        1e-9,
    );
    let first = &golden["qvgen_svd_of_error_r4"];
    near(&numbers(&row["lists"]["loftq_nuclear"]), &[expected(first, "nuclear")], 1e-9);
    near(&numbers(&row["lists"]["loftq_error_norm"]), &[expected(first, "fro")], 1e-9);
}

#[test]
fn stored_factors_have_the_importances_of_maestro() {
    let (folder, golden) = (folder(), golden("maestro"));
    let tensors = [
        singles("layers.0.q.in_network.weight", &[4, 16], &noise(4, 16, 21)),
        singles("layers.0.q.out_network.weight", &[24, 4], &noise(24, 4, 22)),
    ];
    save(&folder.path().join("factored.safetensors"), &tensors);
    let row = row(folder.path(), "factored.safetensors", &[]);
    near(&numbers(&row["lists"]["importance"]), &numbers(&golden["importance"]), 1e-9);
    near(&numbers(&row["lists"]["hierarchical_importance"]), &numbers(&golden["hierarchical"]), 1e-9);
}

#[test]
fn of_salt_what_is_free_of_signs_is_told() {
    let (folder, golden) = (folder(), golden("salt"));
    let [x, y] = [(12, 3, 51), (3, 12, 52)]
        .map(|(m, n, seed)| noise(m, n, seed).iter().map(|x| 0.2 * x).collect::<Vec<_>>());
    let tensors = [
        singles("layers.0.q.weight", &[24, 16], &noise(24, 16, 11)),
        doubles("layers.0.q.trainable_scale_A", &[4], &numbers(&golden["scale"])),
        doubles("layers.0.q.trainable_shift_B", &[4], &numbers(&golden["shift"])),
        doubles("layers.0.q.trainable_X", &[12, 3], &x),
        doubles("layers.0.q.trainable_Y", &[3, 12], &y),
    ];
    save(&folder.path().join("salt.safetensors"), &tensors);
    let row = row(folder.path(), "salt.safetensors", &["--include", "*.q"]);
    near(&numbers(&row["lists"]["salt_spectrum"]), &numbers(&golden["sigma_scale_shift_only"]), 1e-9);
    let norms = numbers(&row["lists"]["salt_update_norm"]);
    let wanted = ["delta_fro_scale_shift", "delta_fro_no_relu"].map(|key| expected(&golden, key));
    near(&[norms[0], norms[2]], &wanted, 1e-9);
    near(&numbers(&row["lists"]["salt_diagonal_share"]), &[expected(&golden, "diag_share_no_relu")], 1e-9);
}

#[test]
fn previews_of_what_has_no_directions_are_missing() {
    let folder = folder();
    let [zeros, broken] = [vec![0.0; 384], vec![f64::NAN; 384]];
    save(&folder.path().join("none.safetensors"), &[singles("layers.0.q.weight", &[24, 16], &zeros)]);
    save(&folder.path().join("nan.safetensors"), &[singles("layers.0.q.weight", &[24, 16], &broken)]);
    let options =
        ["--select-columns", "4", "--lowrank-plus-columns", "0.1", "--sst", "4", "--nf4", "4", "--at", "2"];
    let of_zeros = row(folder.path(), "none.safetensors", &options);
    for key in ["column_error", "complement_captured", "sampling_entropy", "qpissa_saved", "energy_2"] {
        assert_eq!(
            (&of_zeros[key], &of_zeros["missing"][key]["code"]),
            (&Json::Null, &"zero_matrix".into()),
            "{key}"
        );
    }
    let of_nan = row(folder.path(), "nan.safetensors", &options);
    assert_eq!(of_nan["missing"]["column_error"]["code"], "nonfinite");
    // More columns than directions.
    let many = row(folder.path(), "tall.safetensors", &["--select-columns", "17"]);
    assert_eq!(many["missing"]["column_error"]["code"], "too_few_directions");
    for (option, value) in
        [("--select-columns", "4,1"), ("--lowrank-plus-columns", "0"), ("--nf4", "0"), ("--at", "x")]
    {
        check_exit_in(folder.path(), &["rank", "tall.safetensors", option, value], 2, option);
    }
    let mut fisher = vec![1.0; 384];
    fisher[3] = -1.0;
    save(&folder.path().join("f.safetensors"), &[doubles("layers.0.q.fisher", &[24, 16], &fisher)]);
    check_exit_in(
        folder.path(),
        &["rank", "tall.safetensors", "--fisher", "f.safetensors"],
        2,
        "negative entries",
    );
    save(&folder.path().join("f.safetensors"), &[doubles("layers.0.q.fisher", &[16, 24], &[1.0; 384])]);
    let said = "is 16 × 24, but `layers.0.q` is 24 × 16";
    check_exit_in(folder.path(), &["rank", "tall.safetensors", "--fisher", "f.safetensors"], 2, said);
}

#[test]
fn previews_of_a_turned_layer_and_of_an_update_are_of_outputs_by_inputs() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    // GPT-2 stores inputs × outputs, and its `c_fc` widens.
    let flat = noise(16, 24, 12);
    let turned: Vec<f64> = (0..24).flat_map(|j| flat.iter().skip(j).step_by(24).copied()).collect();
    save(&at("gpt2.safetensors"), &[singles("h.0.mlp.c_fc.weight", &[16, 24], &flat)]);
    save(&at("upright.safetensors"), &[singles("h.0.mlp.up.weight", &[24, 16], &turned)]);
    let x = noise(40, 16, 31);
    let moments = gram(&x);
    save(&at("c.safetensors"), &[doubles("h.0.mlp.c_fc.cov", &[16, 16], &moments)]);
    save(&at("u.safetensors"), &[doubles("h.0.mlp.up.cov", &[16, 16], &moments)]);
    let options = |file| ["--cov", file, "--at", "3"];
    let [stored, upright] = [("gpt2.safetensors", "c.safetensors"), ("upright.safetensors", "u.safetensors")]
        .map(|(model, file)| row(folder.path(), model, &options(file)));
    near(&numbers(&stored["lists"]["output_spectrum"]), &numbers(&upright["lists"]["output_spectrum"]), 1e-9);
    near(&[of(&stored, "svd_output_loss_3")], &[of(&upright, "svd_output_loss_3")], 1e-9);
    // What coarse entries take from the weight is an update, too.
    let base = ["--base", "tall.safetensors", "--acts", "acts.safetensors", "--at", "2"];
    let update = row(folder.path(), "coarse.safetensors", &base);
    let wanted = numbers(&golden("eora")["sigma_projected"]);
    near(&numbers(&update["lists"]["output_spectrum"])[..10], &wanted, 1e-9);
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");
    let report = json(&["rank", model, "--nf4", "8", "--include", "*.0.self_attn.*"]);
    assert!(list(&report, "rows").iter().all(|row| of(row, "qpissa_saved_at_5") > of(row, "loftq_saved")));
}

#[test]
fn columns_of_a_layer_are_its_inputs_whatever_way_round_it_is_stored() {
    let folder = folder();
    let (widening, narrowing) = (noise(12, 40, 5), noise(40, 12, 6));
    let turned = |entries: &[f64], cols: usize| -> Vec<f64> {
        (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols).copied()).collect()
    };
    let names = ["h.0.mlp.c_fc.weight", "h.0.mlp.c_proj.weight"];
    // GPT-2 stores inputs × outputs.
    let (c_fc, c_proj) = (doubles(names[0], &[12, 40], &widening), doubles(names[1], &[40, 12], &narrowing));
    save(&folder.path().join("gpt2.safetensors"), &[c_fc, c_proj]);
    let plain = ["h.0.mlp.up.weight", "h.0.mlp.down.weight"];
    let (up, down) = (
        doubles(plain[0], &[40, 12], &turned(&widening, 40)),
        doubles(plain[1], &[12, 40], &turned(&narrowing, 12)),
    );
    save(&folder.path().join("linear.safetensors"), &[up, down]);
    let options =
        ["--select-columns", "3", "--lowrank-plus-columns", "2,0.1", "--nf4", "2", "--sst", "2", "--at", "2"];
    let rows = |model: &str| {
        let report = json_in(folder.path(), &[&["rank", model, "-q"][..], &options].concat());
        list(&report, "rows").to_vec()
    };
    let (stored, linear) = (rows("gpt2.safetensors"), rows("linear.safetensors"));
    for (name, other) in [("h.0.mlp.c_fc", "h.0.mlp.up"), ("h.0.mlp.c_proj", "h.0.mlp.down")] {
        let find = |rows: &[Json], name: &str| rows.iter().find(|row| row["name"] == name).unwrap().clone();
        let (stored, linear) = (find(&stored, name), find(&linear, other));
        for list in ["columns", "complement_columns"] {
            assert_eq!(stored["lists"][list], linear["lists"][list], "{name} {list}");
        }
        for list in ["column_leverage", "row_leverage", "complement_norms"] {
            near(&numbers(&stored["lists"][list]), &numbers(&linear["lists"][list]), 1e-9);
        }
        let keys = ["column_error", "column_coherence", "row_coherence", "lowrank_columns_error"];
        for key in keys.into_iter().chain(["lowrank_columns_parameters"]) {
            assert!(linear[key].is_number(), "{key}: {linear}");
            near(&[of(&stored, key)], &[of(&linear, key)], 1e-9);
        }
    }
}
