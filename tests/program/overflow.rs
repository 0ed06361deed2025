//! Numbers near the ends of a double's range: what fits is measured, what does not is called too large, and nothing is said
//! of convergence or of entries that are not finite.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::harness::svdkit;

/// The JSON report; nothing that was printed blames the solver or the file.
#[track_caller]
fn json(arguments: &[&str], code: i32) -> Value {
    let output = svdkit(&[arguments, &["--format", "json"]].concat());
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains("converge") && !said.contains("NaN or infinite"), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {said}"))
}

/// A checkpoint of f64 (or f32) tensors.
fn save(path: &Path, dtype: &str, tensors: &[(&str, [usize; 2], Vec<f64>)]) -> String {
    let (mut header, mut data) = (Map::new(), vec![]);
    for (name, shape, entries) in tensors {
        let start = data.len();
        for x in entries {
            match dtype {
                "F64" => data.extend(x.to_le_bytes()),
                _ => data.extend((*x as f32).to_le_bytes()),
            }
        }
        header.insert(
            (*name).to_owned(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string().into_bytes();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

#[track_caller]
fn near(found: &Value, expected: f64) {
    let x = found.as_f64().unwrap_or(f64::NAN);
    assert!((x / expected - 1.0).abs() < 1e-12, "{found} is not {expected}");
}

#[track_caller]
fn too_large(row: &Value, keys: &[&str]) {
    for key in keys {
        let why = &row["missing"][key]["code"];
        assert!(row[key].is_null() && why == "overflow", "{key}: {} {why}", row[key]);
    }
}

/// Noise of the given size, 12 × 9.
fn noise(size: f64) -> Vec<f64> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..108).map(|_| next() * size).collect()
}

#[test]
fn what_fits_a_double_is_measured_and_what_does_not_is_too_large() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let path = save(
        &file("weights.safetensors"),
        "F64",
        &[
            ("one.weight", [2, 2], vec![1.7e308, 0.0, 0.0, 1.0e307]),
            ("all.weight", [2, 2], vec![1.7e308; 4]),
            ("noise.weight", [12, 9], noise(1.0)),
            ("large.weight", [12, 9], noise(2f64.powi(1023))),
            ("tiny.weight", [12, 9], noise(2f64.powi(-900))),
        ],
    );
    let report = json(&["spectrum", &path], 0);
    let one = row(&report, "one");
    near(&one["spectral_norm"], 1.7e308);
    near(&one["smallest_singular_value"], 1e307);
    near(&one["condition_number"], 17.0);
    too_large(one, &["max_eigenvalue"]);
    let all = row(&report, "all");
    too_large(all, &["spectral_norm", "frobenius_norm", "nuclear_norm", "max_eigenvalue"]);
    near(&all["stable_rank"], 1.0);
    assert_eq!(
        (&all["numerical_rank"], &all["nonfinite_count"], &all["max_abs"]),
        (&json!(1), &json!(0), &json!(1.7e308))
    );
    // Whatever is a ratio is that of the same matrix near one, to the last bit.
    let plain = row(&report, "noise");
    for name in ["large", "tiny"] {
        let row = row(&report, name);
        for key in [
            "stable_rank",
            "participation_ratio",
            "numerical_rank",
            "rank_at_95",
            "tail_count",
            "spike_count",
        ] {
            assert_eq!(row[key], plain[key], "{name} {key}");
        }
        for key in ["alpha", "alpha_hill", "ks_distance", "effective_rank", "condition_number", "entropy"] {
            near(&row[key], plain[key].as_f64().unwrap());
        }
    }
    too_large(row(&report, "large"), &["max_eigenvalue", "xmin"]);
    too_large(row(&report, "tiny"), &["max_eigenvalue", "xmin"]);
    near(&row(&report, "tiny")["spectral_norm"], plain["spectral_norm"].as_f64().unwrap() * 2f64.powi(-900));
    for arguments in [
        vec!["spectrum", &path, "--precision", "exact"],
        vec!["spectrum", &path, "--names", "weightwatcher"],
        vec!["rank", &path],
        vec!["farms", &path, "--xmin", "ks"],
    ] {
        json(&arguments, 0);
        assert!(svdkit(&arguments).status.success());
    }
    let farms = json(&["farms", &path, "--xmin", "ks", "--window", "7"], 0);
    near(&row(&farms, "large")["farms_alpha"], row(&farms, "noise")["farms_alpha"].as_f64().unwrap());
    near(&row(&farms, "tiny")["whole_alpha"], row(&farms, "noise")["whole_alpha"].as_f64().unwrap());
    too_large(row(&farms, "large"), &["farms_xmin"]);
}

#[test]
fn a_difference_that_fits_no_double_is_told_and_its_ratios_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let pair = |size: f64, name: &str| {
        let tensors = |sign: f64| {
            let entries =
                |scale: f64| noise(2.0).iter().map(|x| x * size * scale * sign).collect::<Vec<f64>>();
            vec![("w.weight", [12, 9], entries(1.0)), ("v.weight", [12, 9], entries(0.25 * sign))]
        };
        let base = save(&file(&format!("{name}-base.safetensors")), "F64", &tensors(1.0));
        (base, save(&file(&format!("{name}-tuned.safetensors")), "F64", &tensors(-1.0)))
    };
    let (small, large, tiny) = (pair(1.0, "small"), pair(1.7e308, "large"), pair(1e-300, "tiny"));
    let expected = json(&["compare", &small.0, &small.1, "--vectors=all"], 0);
    for (base, tuned) in [&large, &tiny] {
        let found = json(&["compare", base, tuned, "--vectors=all"], 0);
        let (found, expected) = (row(&found, "w"), row(&expected, "w"));
        for key in [
            "delta_frobenius_ratio",
            "delta_spectral_ratio",
            "delta_effective_rank",
            "alignment",
            "diag_share",
        ] {
            near(&found[key], expected[key].as_f64().unwrap());
        }
        let flags: Vec<_> = found["flags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|flag| &flag["code"])
            .filter(|code| *code != "low_n_tail")
            .collect();
        assert_eq!(flags, ["signs_differ"]);
        let looked = json(&["intruders", base, tuned], 0);
        assert_eq!(row(&looked, "w")["intruder_count"], 0);
    }
    // Entry by entry the update does not fit: the row fails, with the reason; the other is measured.
    for command in ["spectrum", "rank", "farms"] {
        let report = json(&[command, &large.1, "--base", &large.0], 2);
        let failed = row(&report, "w")["failed"].as_str().unwrap();
        assert!(
            failed.contains("overflow: an entry of `w`") && failed.contains("does not fit a double"),
            "{failed}"
        );
        assert!(row(&report, "v")["failed"].is_null());
    }
}

#[test]
fn an_adapters_scale_that_overflows_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = |name: &str, alpha: f64, size: f64, dtype: &str, more: &[(&str, [usize; 2], Vec<f64>)]| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": alpha, "target_modules": ["w"],
            "use_dora": !more.is_empty()});
        fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
        let factor = |n: usize| noise(size)[..n].to_vec();
        let mut tensors = vec![
            ("base_model.model.w.lora_A.weight", [2, 9], factor(18)),
            ("base_model.model.w.lora_B.weight", [12, 2], factor(24)),
        ];
        tensors.extend_from_slice(more);
        save(&folder.join("adapter_model.safetensors"), dtype, &tensors);
        folder.to_str().unwrap().to_owned()
    };
    let plain = adapter("plain", 2.0, 1.0, "F32", &[]);
    let expected = json(&["spectrum", &plain], 0);
    for (name, alpha, size, dtype) in [
        ("alpha", 1.7e308, 1.0, "F32"),
        ("shared", 1.7e308, 2f64.powi(40), "F32"),
        ("factors", 2.0, 2f64.powi(700), "F64"),
        ("tiny factors", 2.0, 2f64.powi(-700), "F64"),
    ] {
        let path = adapter(name, alpha, size, dtype, &[]);
        for command in ["spectrum", "rank", "farms"] {
            json(&[command, &path], 0);
        }
        let report = json(&["spectrum", &path], 0);
        let (found, expected) = (row(&report, "w"), row(&expected, "w"));
        near(&found["stable_rank"], expected["stable_rank"].as_f64().unwrap());
        if name != "alpha" {
            too_large(found, &["spectral_norm", "frobenius_norm", "max_eigenvalue"]);
        }
    }
    // Nothing can share this scale: a factor alone is as large as a double gets.
    let path = adapter("both", 1.7e308, 1e200, "F64", &[]);
    let report = json(&["spectrum", &path], 2);
    assert!(row(&report, "w")["failed"].as_str().unwrap().contains("overflow: a factor of the update"));
    // DoRA is multiplied out, so its entries have to fit.
    let base = save(&folder.path().join("base.safetensors"), "F32", &[("w.weight", [12, 9], noise(1.0))]);
    let magnitude = ("base_model.model.w.lora_magnitude_vector.weight", [12, 1], vec![1.0; 12]);
    let dora = adapter("dora", 1.7e308, 2f64.powi(40), "F32", &[magnitude]);
    for arguments in [vec!["spectrum", &dora, "--base", &base], vec!["compare", &base, &dora]] {
        let report = json(&arguments, 2);
        let failed = row(&report, "w")["failed"].as_str().unwrap();
        assert!(failed.contains("overflow:") && failed.contains("does not fit a double"), "{failed}");
    }
}

#[test]
fn a_value_below_the_exact_floor_is_not_sent_to_the_exact_route() {
    let folder = tempfile::tempdir().unwrap();
    let deficient: Vec<f64> = (0..64).map(|i| f64::from((i / 8 + 1) * (i % 8 + 1))).collect();
    for dtype in ["F64", "F32"] {
        let path = save(&folder.path().join(dtype), dtype, &[("w.weight", [8, 8], deficient.clone())]);
        let report = json(&["spectrum", &path], 0);
        let why = row(&report, "w")["missing"]["smallest_singular_value"]["text"].as_str().unwrap();
        assert!(why.contains("exact route") && !why.contains("--precision"), "{why}");
    }
    let wide: Vec<f64> = (0..300 * 300).map(|i| f64::from(i / 300 + 1) * f64::from(i % 300 + 1)).collect();
    let path = save(&folder.path().join("wide"), "F32", &[("w.weight", [300, 300], wide)]);
    for (precision, advised) in [("fast", true), ("exact", false)] {
        let report = json(&["spectrum", &path, "--precision", precision], 0);
        let why = row(&report, "w")["missing"]["smallest_singular_value"].clone();
        assert_eq!(why["code"], "below_floor");
        assert_eq!(why["text"].as_str().unwrap().contains("--precision exact"), advised, "{why}");
    }
}
