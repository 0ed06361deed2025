//! `adapter clash`: what two adapters are to each other, in every format.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::adapter::{adapter, doubles, noise, product};
use crate::harness::{BASE, check_exit, json, list, stdout, svdkit};

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

#[test]
fn an_update_that_is_not_finite_fails_its_rows_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let one = |name: &str, seed: u32, is_broken: bool| {
        let mut b = noise(24, 2, seed + 1);
        if is_broken {
            b[7] = f64::NAN;
        }
        let more = [
            doubles("base_model.model.v.lora_A.weight", &[2, 16], &noise(2, 16, seed)),
            doubles("base_model.model.v.lora_B.weight", &[24, 2], &b),
        ];
        adapter(folder.path(), name, (&noise(2, 16, seed + 2), &noise(24, 2, seed + 3)), &more, &json!({}))
    };
    let (a, b, c) = (one("a", 10, false), one("b", 20, false), one("c", 30, true));
    let arguments = ["adapter", "clash", text(&a), text(&b), text(&c)];
    let report = json(&arguments);
    let failed: Vec<&str> = list(&report, "rows")
        .iter()
        .filter(|row| row["failed"].is_string())
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["v · a × c", "v · b × c"]);
    assert_eq!((&report["totals"]["measured"], &report["totals"]["failed"]), (&json!(4), &json!(2)));
    let shared: Vec<&serde_json::Value> =
        list(&report, "groups").iter().map(|group| &group["matrices"]).collect();
    assert_eq!(shared, [2, 1, 1]);
    check_exit(&arguments, 2, "the update holds NaN or infinite entries; `--exclude v` leaves it out");
    check_exit(&[&arguments[..], &["--exclude", "v"]].concat(), 0, "");
    check_exit(&[&arguments[..], &["--fail-if", "update_cosine > 2"]].concat(), 2, "NaN");
    let file = folder.path().join("clash.txt");
    svdkit(&[&arguments[..], &["-o", text(&file)]].concat());
    let table = fs::read_to_string(file).unwrap();
    assert!(table.contains("! v · b × c: ") && table.contains("2 failed"), "{table}");
}

/// So many adapters of rank 2, the first two alike.
fn several(folder: &Path, count: usize) -> Vec<PathBuf> {
    let one = |i: usize| {
        let seed = if i == 1 { 0 } else { i as u32 };
        let (a, b) = (noise(2, 16, 100 + seed), noise(24, 2, 200 + seed));
        adapter(folder, &format!("an-adapter-of-a-long-name-{i}"), (&a, &b), &[], &json!({}))
    };
    (0..count).map(one).collect()
}

#[test]
fn a_matrix_of_many_adapters_fits_a_narrow_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let paths = several(folder.path(), 12);
    let all: Vec<&str> = paths.iter().map(|path| text(path)).collect();
    for width in ["48", "60", "80", "140"] {
        let table = stdout(&[&["adapter", "clash"], &all[..], &["--width", width]].concat());
        let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width.parse().unwrap(), "{width}: {table}");
        for i in 1..=12 {
            let head =
                table.lines().filter(|line| line.split_whitespace().any(|word| word == format!("#{i}")));
            assert!(head.count() >= 2, "#{i} of {table}");
        }
        // Alike in both places of the matrix.
        let of =
            |name: &str, cell: &str| table.lines().any(|line| line.contains(name) && line.contains(cell));
        let alike = if width == "140" { " 1.000 " } else { " 1.00" };
        assert!(of("#1 ", alike) && of("#2 ", alike) && !of("#3 ", alike), "{table}");
    }
}

#[test]
fn pairs_over_all_modules_are_in_json_and_markdown() {
    let paths = ["charlm/lora-r1", "charlm/lora-r4", "charlm/rslora-r16"].map(fixture);
    let all: Vec<&str> = paths.iter().map(|path| text(path)).collect();
    let arguments = [&["adapter", "clash"], &all[..]].concat();
    let report = json(&arguments);
    let groups = list(&report, "groups");
    assert_eq!(groups.len(), 3);
    for group in groups {
        assert_eq!((&group["by"], &group["matrices"]), (&json!("pair"), &json!(28)));
        let rows = list(&report, "rows").iter().filter(|row| {
            let pair = &row["encounter"];
            group["name"]
                == format!("{} × {}", pair["first"].as_str().unwrap(), pair["second"].as_str().unwrap())
        });
        let (mut dot, mut squares) = (0.0, [0.0, 0.0]);
        for row in rows {
            let number = |key: &str| row[key].as_f64().unwrap();
            let (x, y) = (number("first_norm"), number("second_norm"));
            dot += number("update_cosine") * x * y;
            squares = [squares[0] + x * x, squares[1] + y * y];
        }
        let expected = dot / (squares[0] * squares[1]).sqrt();
        assert!((group["update_cosine"].as_f64().unwrap() - expected).abs() < 1e-12, "{group}");
        assert!((group["first_norm"].as_f64().unwrap() - squares[0].sqrt()).abs() < 1e-12, "{group}");
    }
    let markdown = stdout(&[&arguments[..], &["--format", "markdown"]].concat());
    assert!(markdown.contains("| lora-r4 | #2 | 0.242 | · | 0.163 |"), "{markdown}");
}

#[test]
fn an_order_and_a_limit_list_modules() {
    let paths = ["charlm/lora-r1", "charlm/lora-r4"].map(fixture);
    let arguments =
        ["adapter", "clash", text(&paths[0]), text(&paths[1]), "--sort", "-update_cosine", "--limit", "2"];
    let table = stdout(&arguments);
    let at = |words: &str| table.find(words).unwrap_or_else(|| panic!("{words}: {table}"));
    assert!(
        at("cosine of the updates") < at("3.mlp.down_proj · lora-r1 × lora-r4") && at("26 more rows") > 0
    );
    let plan = stdout(&["adapter", "clash", text(&paths[0]), text(&paths[1]), "--dry-run"]);
    assert!(plan.contains("matrices  56") && plan.contains("time      about"), "{plan}");
}

#[test]
fn an_adapter_that_is_given_twice_has_a_number() {
    let path = fixture("charlm/lora-r1");
    let names = |arguments: &[&str]| -> Vec<String> {
        let report = json(&[&["adapter", "clash"], arguments].concat());
        list(&report, "tuned").iter().map(|named| named["name"].as_str().unwrap().to_owned()).collect()
    };
    let path = text(&path);
    assert_eq!(names(&[path, path]), [path.to_owned(), format!("{path}#2")]);
    let [one, other] = ["x", "x"].map(|name| format!("{name}={path}"));
    assert_eq!(names(&[&one, &other, path]), ["x", "x#2", "lora-r1"]);
}
