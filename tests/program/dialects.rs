//! What a checkpoint is read through (a base, filters, an adapter, its beginning) neither loses nor changes what is said of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::harness::{json, svdkit};

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");
const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");

fn notes(report: &Value) -> Vec<&str> {
    report["notes"].as_array().map_or_else(Vec::new, |notes| notes.iter().filter_map(Value::as_str).collect())
}

#[track_caller]
fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}: {report}"))
}

/// Whether a row says that its update is of a base that is not the original.
fn is_moved(row: &Value) -> bool {
    row["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag["code"] == "moved_base"))
}

/// A safetensors file of f32 tensors.
fn write(path: &Path, tensors: &[(&str, &[usize], Vec<f64>)]) {
    let (mut header, mut data) = (Map::new(), vec![]);
    for (name, shape, entries) in tensors {
        let start = data.len();
        data.extend(entries.iter().flat_map(|x| (*x as f32).to_le_bytes()));
        header.insert(
            (*name).to_owned(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The matrices of the golden values: the entries of a linear congruence, row by row.
fn made(rows: usize, cols: usize, seed: u64) -> Vec<f64> {
    let next = |s: &mut u64| {
        *s = (1_664_525 * *s + 1_013_904_223) % (1 << 32);
        Some((*s >> 8) as f64 / f64::from(1 << 24) - 0.5)
    };
    let mut seed = seed;
    std::iter::from_fn(move || next(&mut seed)).take(rows * cols).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn notes_on_either_side_are_kept_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let twice = |name: &str, from: &str| -> PathBuf {
        let to = folder.path().join(name);
        fs::create_dir(&to).unwrap();
        fs::copy(Path::new(from).join("model.safetensors"), to.join("model.safetensors")).unwrap();
        fs::copy(Path::new(from).join("model.safetensors"), to.join("consolidated.safetensors")).unwrap();
        to
    };
    let (base, full) = (twice("base", BASE), twice("full", FULL));
    let note = "`consolidated.safetensors` beside it was taken to be the same model and left alone";
    let of_base = format!("base: {note}");
    let full = text(&full);
    assert_eq!(notes(&json(&["spectrum", full, "--no-svd"])), [note]);
    assert_eq!(notes(&json(&["spectrum", full, "--no-svd", "--base", BASE])), [note]);
    for command in [["compare", "--no-svd"], ["intruders", "-k=1"], ["compare", "--no-vectors"]] {
        let found = json(&[command[0], text(&base), full, command[1], "--include", "*.0.self_attn.q_proj"]);
        let found = notes(&found);
        assert!(found.ends_with(&[note, of_base.as_str()]), "{command:?}: {found:?}");
    }
    let lora = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");
    assert_eq!(notes(&json(&["spectrum", lora, "--base", text(&base)])), [of_base.as_str()]);
    assert_eq!(notes(&json(&["compare", text(&base), lora, "--no-svd"])), [of_base.as_str()]);
    let sides = json(&["compare", BASE, full, "--tuned", &format!("other={full}"), "--no-svd"]);
    assert_eq!(notes(&sides), [format!("full: {note}"), format!("other: {note}")]);
}

#[test]
fn filters_count_the_same_with_and_without_a_base() {
    for filter in [&["--exclude", "*norm"][..], &["--exclude", "*norm.weight"], &["--include", "*.0.*"]] {
        let of = |more: &[&str]| {
            let totals = json(&[&["spectrum", FULL, "--no-svd"], filter, more].concat())["totals"].clone();
            ["measured", "skipped", "filtered"].map(|key| totals[key].as_u64().unwrap())
        };
        let (plain, update) = (of(&[]), of(&["--base", BASE]));
        assert_eq!(plain, update, "{filter:?}");
        let compared = json(&[&["compare", BASE, FULL, "--no-svd"], filter].concat());
        assert_eq!(compared["totals"]["filtered"], plain[2], "{filter:?}");
    }
    let totals = &json(&["spectrum", FULL, "--no-svd", "--base", BASE, "--exclude", "*norm"])["totals"];
    assert_eq!([&totals["filtered"], &totals["skipped"]], [9, 0]);
}

#[test]
fn a_head_that_only_one_side_stores_is_compared_with_the_embedding_it_is_a_copy_of() {
    let folder = tempfile::tempdir().unwrap();
    let [base, tied, apart] =
        ["base", "tied", "apart"].map(|name| folder.path().join(name).join("model.safetensors"));
    let (old, new) = (made(12, 5, 1), made(12, 5, 2));
    write(&base, &[("model.embed_tokens.weight", &[12, 5], old)]);
    write(
        &tied,
        &[("lm_head.weight", &[12, 5], new.clone()), ("model.embed_tokens.weight", &[12, 5], new.clone())],
    );
    let other: Vec<f64> = new.iter().map(|x| 2.0 * x).collect();
    write(&apart, &[("lm_head.weight", &[12, 5], other), ("model.embed_tokens.weight", &[12, 5], new)]);
    let [base, tied, apart] = [&base, &tied, &apart].map(|path| text(path));
    let status = |arguments: &[&str]| row(&json(arguments), "lm_head")["status"].clone();
    let update = json(&["spectrum", tied, "--base", base]);
    let compared = json(&["compare", base, tied]);
    for found in [&update, &compared] {
        assert_eq!(row(found, "model.embed_tokens")["tied_to"], "lm_head");
    }
    let ratio = |name: &str| row(&compared, name)["delta_frobenius_ratio"].as_f64().unwrap();
    assert!(ratio("lm_head") > 0.0 && ratio("lm_head").to_bits() == ratio("model.embed_tokens").to_bits());
    assert_eq!(status(&["compare", base, tied]), "measured");
    // The bytes say so in a report as well.
    let saved = folder.path().join("tied.json");
    svdkit(&["spectrum", tied, "-o", text(&saved)]);
    assert_eq!(status(&["compare", base, text(&saved)]), "measured");
    // A head of its own is not what the embedding was.
    assert_eq!(status(&["compare", base, apart]), "added");
    // One row a name.
    let both = json(&["compare", base, apart, "--tuned", tied]);
    assert_eq!(both["rows"].as_array().unwrap().len(), 2, "{both}");
}

#[test]
fn matrices_of_one_number_are_no_copies_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let [base, tuned] = ["base", "tuned"].map(|name| folder.path().join(name).join("model.safetensors"));
    let file = |path: &Path, constant: f64| {
        let (noise, constant) = (made(6, 4, 3), vec![constant; 24]);
        let tensors =
            [("a", noise.clone()), ("b", noise), ("zero_a", constant.clone()), ("zero_b", constant)];
        write(path, &tensors.map(|(name, entries)| (name, &[6, 4][..], entries)));
    };
    file(&base, 0.0);
    file(&tuned, 1.0);
    let saved = folder.path().join("base.json");
    svdkit(&["spectrum", text(&base), "-o", text(&saved)]);
    for from in [text(&base), text(&saved)] {
        for with in [text(&base), text(&tuned)] {
            let compared = json(&["compare", from, with, "--all"]);
            let tied = ["a", "b", "zero_a", "zero_b"].map(|name| row(&compared, name)["tied_to"].clone());
            assert_eq!(tied, [json!(null), json!("a"), json!(null), json!(null)], "{from} {with}");
        }
    }
}

/// An adapter of PEFT on one matrix, `model.w`.
fn adapter(path: &Path, config: &Value, factors: [(&[usize], Vec<f64>); 2], diagonal: Option<Vec<f64>>) {
    let name = |part: &str| format!("base_model.model.model.w.lora_{part}");
    let (names, [(a_shape, a), (b_shape, b)]) = ([name("A.weight"), name("B.weight"), name("diag")], factors);
    let mut tensors = vec![(names[0].as_str(), a_shape, a), (names[1].as_str(), b_shape, b)];
    let count = [diagonal.as_ref().map_or(0, Vec::len)];
    tensors.extend(diagonal.map(|diagonal| (names[2].as_str(), &count[..], diagonal)));
    write(&path.join("adapter_model.safetensors"), &tensors);
    fs::write(path.join("adapter_config.json"), config.to_string()).unwrap();
}

/// The matrix T, the factors A and B, and what KaSA's diagonal makes of them: numpy's numbers.
fn kasa(folder: &Path) -> [PathBuf; 2] {
    let (base, tuned) = (folder.join("base"), folder.join("kasa"));
    write(&base.join("model.safetensors"), &[("model.w.weight", &[24, 16], made(24, 16, 11))]);
    let factors = [(&[4, 16][..], made(4, 16, 21)), (&[24, 4][..], made(24, 4, 22))];
    let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "kasa_config": {"beta": 1e-4}});
    adapter(&tuned, &config, factors, Some(vec![0.5, -1.5, 2.0, 0.25]));
    [base, tuned]
}

#[test]
fn kasas_update_to_the_original_weights_is_exact_with_the_base() {
    const SIGMA: [f64; 8] = [
        7.484_437_171_2,
        3.792_968_702_2,
        1.481_379_587_2,
        0.748_240_062,
        0.627_343_417_2,
        0.510_245_649,
        0.418_529_861_4,
        0.357_264_935_7,
    ];
    const RATIO: f64 = 1.535_553_058_7;
    let folder = tempfile::tempdir().unwrap();
    let [base, tuned] = kasa(folder.path());
    let (base, tuned) = (text(&base), text(&tuned));
    for more in [&[][..], &["--adapter-init", tuned]] {
        let found = json(&[&["spectrum", tuned, "--base", base], more].concat());
        let norm = SIGMA.iter().map(|x| x * x).sum::<f64>().sqrt();
        let row = row(&found, "model.w");
        let near = |key: &str, expected: f64| {
            let found = row[key].as_f64().unwrap_or(f64::NAN);
            assert!((found - expected).abs() < 1e-9 * expected, "{key}: {found}, not {expected}");
        };
        near("frobenius_norm", norm);
        near("spectral_norm", SIGMA[0]);
        near("nuclear_norm", SIGMA.iter().sum());
        assert_eq!((&row["update"]["rank"], is_moved(row)), (&json!(8), false), "{row}");
    }
    let compared = json(&["compare", base, tuned]);
    let ratio = row(&compared, "model.w")["delta_frobenius_ratio"].as_f64().unwrap();
    assert!((ratio - RATIO).abs() < 1e-9, "{ratio}");
}

#[test]
fn without_the_base_kasa_is_shown_as_its_factors_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [_, tuned] = kasa(folder.path());
    let tuned = text(&tuned);
    let plain = json(&["spectrum", tuned]);
    assert!(is_moved(row(&plain, "model.w")));
    let refused = svdkit(&["spectrum", tuned, "--adapter-init", tuned]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("give the base itself with `--base`"), "{said}");
}

#[test]
fn an_adapters_beginning_may_still_say_how_it_was_initialized() {
    let folder = tempfile::tempdir().unwrap();
    let [base, now, init] = ["base", "now", "init"].map(|name| folder.path().join(name));
    write(&base.join("model.safetensors"), &[("model.w.weight", &[24, 16], made(24, 16, 11))]);
    for method in ["pissa", "pissa_niter_4", "olora", "corda"] {
        let config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "init_lora_weights": method});
        let at = |path: &Path, seed: u64| {
            let factors = [(&[4, 16][..], made(4, 16, seed)), (&[24, 4][..], made(24, 4, seed + 1))];
            adapter(path, &config, factors, None);
        };
        at(&now, 21);
        at(&init, 31);
        let [base, now, init] = [&base, &now, &init].map(|path| text(path));
        let alone = json(&["spectrum", now, "--adapter-init", init]);
        let with = json(&["spectrum", now, "--adapter-init", init, "--base", base]);
        let norm = |report: &Value| row(report, "model.w")["frobenius_norm"].clone();
        assert!(norm(&with).is_f64() && norm(&with) == norm(&alone), "{method}");
        assert!(!is_moved(row(&with, "model.w")), "{method}");
        // What it came to is still not known without its beginning.
        assert_eq!(svdkit(&["spectrum", now, "--base", base]).status.code(), Some(2));
    }
}
