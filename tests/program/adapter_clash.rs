//! `adapter clash`: what two adapters are to each other, in every format.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::adapter::{adapter, doubles, noise, product};
use crate::harness::{BASE, check_exit, json, list, stdout};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_same_its_negative_and_a_stranger_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (a, b) = (noise(4, 16, 21), noise(24, 4, 22));
    let negative: Vec<f64> = b.iter().map(|x| -x).collect();
    let (c, d) = (noise(2, 16, 31), noise(24, 2, 32));
    let plain = adapter(folder, "plain", (&a, &b), &[], &json!({}));
    let same = adapter(folder, "same", (&a, &b), &[], &json!({}));
    let against = adapter(folder, "against", (&a, &negative), &[], &json!({}));
    let stranger = adapter(folder, "stranger", (&c, &d), &[], &json!({}));
    let all = [text(&plain), text(&same), text(&against), text(&stranger)];
    let report = json(&[&["adapter", "clash"], &all[..]].concat());
    let of = |first: &str, second: &str, key: &str| {
        let is = |row: &&serde_json::Value| {
            row["encounter"]["first"] == first && row["encounter"]["second"] == second
        };
        list(&report, "rows").iter().find(is).unwrap()[key].as_f64().unwrap()
    };
    assert!((of("plain", "same", "update_cosine") - 1.0).abs() < 1e-12);
    assert!((of("plain", "same", "joint_ratio") - 2.0).abs() < 1e-12);
    assert!((of("plain", "against", "update_cosine") + 1.0).abs() < 1e-12);
    assert!(of("plain", "against", "joint_ratio").abs() < 1e-12);
    assert!((of("plain", "same", "left_overlap") - 1.0).abs() < 1e-12);
    // Both scales are 2, and a cosine has none.
    let (x, y) = (product(&b, &a, 4), product(&d, &c, 2));
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let expected = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
    assert!((of("plain", "stranger", "update_cosine") - expected).abs() < 1e-12);
    let table = stdout(&[&["adapter", "clash"], &all[..]].concat());
    for words in
        ["-1.000", "plain and same add up: cosine 1.000", "plain and against work against each other"]
    {
        assert!(table.contains(words), "{table}");
    }
    let page = folder.join("clash.html");
    stdout(&[&["adapter", "clash"], &all[..], &["-o", text(&page)]].concat());
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains("table class=\"heat\"")
            && page.contains("class=\"n k0\"")
            && page.contains("class=\"n k8\"")
    );
    let rows = stdout(&[&["adapter", "clash"], &all[..], &["--columns", "update_cosine"]].concat());
    assert!(rows.contains("plain × against"), "{rows}");
}

#[test]
fn adapters_of_other_modules_leave_each_other_alone() {
    let folder = tempfile::tempdir().unwrap();
    let one = adapter(folder.path(), "one", (&noise(4, 16, 21), &noise(24, 4, 22)), &[], &json!({}));
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    crate::harness::save(
        &other.join("adapter_model.safetensors"),
        &[
            doubles("base_model.model.v.lora_A.weight", &[2, 16], &noise(2, 16, 1)),
            doubles("base_model.model.v.lora_B.weight", &[24, 2], &noise(24, 2, 2)),
        ],
    );
    fs::copy(one.join("adapter_config.json"), other.join("adapter_config.json")).unwrap();
    let report = json(&["adapter", "clash", text(&one), text(&other)]);
    assert_eq!(list(&report, "rows").len(), 2);
    for row in list(&report, "rows") {
        assert_eq!((&row["update_cosine"], &row["joint_ratio"]), (&json!(0.0), &json!(1.0)), "{row}");
    }
    let table = stdout(&["adapter", "clash", text(&one), text(&other)]);
    assert!(table.contains("one and other change no matrix in common"), "{table}");
}

#[test]
fn real_adapters_of_one_model_are_compared_in_one_table_and_judged() {
    let paths = ["charlm/lora-r1", "charlm/lora-r4", "charlm/dora-r4"].map(fixture);
    let all: Vec<&str> = paths.iter().map(|path| text(path)).collect();
    let arguments = [&["adapter", "clash", "--base", BASE], &all[..]].concat();
    let report = json(&arguments);
    assert_eq!(list(&report, "rows").len(), 3 * 28);
    let again = json(&[&arguments[..], &["-j", "1"]].concat());
    assert_eq!(report, again);
    check_exit(&[&arguments[..], &["--fail-if", "update_cosine > 0.999"]].concat(), 0, "");
    check_exit(&[&arguments[..], &["--fail-if", "update_cosine > -1"]].concat(), 1, "");
    check_exit(&["adapter", "clash", text(&paths[0]), BASE], 2, "is a checkpoint, not an adapter");
    check_exit(&["adapter", "clash", text(&paths[0])], 2, "required");
    let other = fixture("dialects/names");
    check_exit(
        &["adapter", "clash", text(&paths[0]), text(&other), "--include", "nothing"],
        2,
        "leave no update",
    );
}

#[test]
fn what_cannot_be_compared_passes_no_rule() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, dora) = (fixture("charlm/lora-r4"), fixture("charlm/dora-r4"));
    let rule = ["--fail-if", "update_cosine < -0.2"];
    check_exit(&[&["adapter", "clash", text(&plain), text(&dora)], &rule[..]].concat(), 2, "give `--base`");
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    crate::harness::save(&empty.join("adapter_model.safetensors"), &[]);
    fs::copy(plain.join("adapter_config.json"), empty.join("adapter_config.json")).unwrap();
    check_exit(
        &[&["adapter", "clash", text(&plain), text(&empty)], &rule[..]].concat(),
        2,
        "holds no update that could be compared",
    );
}
