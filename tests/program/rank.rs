//! `svdkit rank` as its users meet it: columns for what they ask, advice that other tools can read, a plot that fits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use svdkit::matrix::bf16_bytes;

use super::harness::program;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");
const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");

fn svdkit(arguments: &[&str]) -> Output {
    program().arg("rank").args(arguments).output().unwrap()
}

fn stdout(arguments: &[&str]) -> String {
    let output = svdkit(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

fn check_exit(arguments: &[&str], code: i32, stderr: &str) {
    let output = svdkit(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(stderr), "{arguments:?}: {said}");
}

/// The values of one column by matrix.
fn column(report: &Value, key: &str) -> BTreeMap<String, Value> {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.map(|row| (row["name"].as_str().unwrap().to_owned(), row[key].clone())).collect()
}

/// Numbers of either sign, a bell at zero, always the same.
fn noise(count: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let mut uniform = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum()).collect()
}

/// A checkpoint of one bf16 matrix called `w.weight`.
fn write_bf16(path: &Path, side: usize, entries: &[f64]) {
    let header = format!(
        r#"{{"w.weight":{{"dtype":"BF16","shape":[{side},{side}],"data_offsets":[0,{}]}}}}"#,
        side * side * 2
    );
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bf16_bytes(entries)].concat();
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_report_has_a_number_or_a_reason_in_every_column_whatever_the_threads() {
    let run = |jobs| stdout(&[BASE, "--format", "json", "--energy", "0.8,97%,0.9", "-j", jobs]);
    assert_eq!(run("1"), run("3"));
    let report: Value = serde_json::from_str(&run("2")).unwrap();
    let keys: Vec<&str> =
        report["columns"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    assert!(
        keys.ends_with(&[
            "relative_rank",
            "rank_at_80",
            "nuclear_rank_at_80",
            "saved_at_80",
            "rank_at_97",
            "nuclear_rank_at_97",
            "saved_at_97"
        ]),
        "{keys:?}"
    );
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    assert_eq!(report["settings"]["threshold"], "0.01");
    for row in report["rows"].as_array().unwrap() {
        for key in &keys {
            assert!(
                row[*key].is_number() || row["missing"][*key]["code"].is_string(),
                "{}: {key}",
                row["name"]
            );
        }
    }
}

#[test]
fn a_rule_may_ask_for_a_column_of_energy() {
    check_exit(&[BASE, "--energy", "0.8", "--fail-if", "lm_head: rank_at_80 > 3"], 0, "");
    check_exit(&[BASE, "--energy", "0.8", "--fail-if", "max(rank_at_80) > 3"], 1, "");
    check_exit(&[BASE, "--fail-if", "rank_at_80 > 3"], 2, "did you mean `rank_at_90`?");
    // Where advice takes stdout, the verdict is said on stderr.
    let arguments = [BASE, "--emit", "spectrum-yaml", "--fail-if", "stable_rank < 2"];
    check_exit(&arguments, 1, "stable_rank < 2: lm_head");
}

#[test]
fn a_threshold_counts_what_lies_above_its_share_of_the_largest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let mut entries = vec![0.0; 16];
    for (i, s) in [4.0, 2.0, 1.0, 0.0625].into_iter().enumerate() {
        entries[5 * i] = s;
    }
    write_bf16(&path, 4, &entries);
    for (threshold, expected) in [("0.01", 4), ("2%", 3), ("0.25", 2), ("0.3", 2), ("1", 0)] {
        let report = json(&[path.to_str().unwrap(), "--format", "json", "--threshold", threshold]);
        assert_eq!(report["rows"][0]["relative_rank"], expected, "{threshold}");
    }
}

#[test]
fn a_budget_is_spent_whole_and_no_matrix_gets_more_than_its_limit() {
    let pattern = json(&[
        BASE,
        "--emit",
        "peft-rank-pattern",
        "--budget",
        "4",
        "--rho",
        "2",
        "--lora-alpha",
        "8",
        "--modules",
        "all",
    ]);
    let ranks = pattern["rank_pattern"].as_object().unwrap();
    let rank = |name: &str| ranks.get(name).map_or(0, |rank| rank.as_u64().unwrap());
    assert_eq!(ranks.values().map(|rank| rank.as_u64().unwrap()).sum::<u64>(), 4 * 30);
    assert!(ranks.values().all(|rank| (1..=8).contains(&rank.as_u64().unwrap())), "{ranks:?}");
    assert_eq!((pattern["r"].clone(), pattern["lora_alpha"].clone()), (json!(4), json!(8)));
    for (name, alpha) in pattern["alpha_pattern"].as_object().unwrap() {
        assert_eq!(alpha.as_u64(), Some(2 * rank(name)), "{name}");
    }
    let targets: Vec<&str> =
        pattern["target_modules"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(targets, ranks.keys().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn an_energy_gives_every_matrix_the_rank_that_holds_it() {
    let arguments = [FULL, "--base", BASE, "--energy", "0.9"];
    let pattern = json(&[&arguments[..], &["--emit", "peft-rank-pattern", "--modules", "all"]].concat());
    let report = json(&[&arguments[..], &["--format", "json", "--sort", "-rank_at_90"]].concat());
    let ranks: BTreeMap<String, Value> =
        pattern["rank_pattern"].as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    assert_eq!(ranks, column(&report, "rank_at_90"));
}

#[test]
fn what_is_no_module_by_itself_gets_no_rank_and_is_said_to() {
    let shapes = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/formats/shapes.safetensors");
    let pattern = json(&[shapes, "--emit", "peft-rank-pattern", "--budget", "2"]);
    let modules: Vec<&String> = pattern["rank_pattern"].as_object().unwrap().keys().collect();
    assert_eq!(modules, ["blocks.0.conv", "blocks.0.conv1d", "blocks.2.linear", "blocks.10.linear"]);
    check_exit(&[shapes, "--emit", "peft-rank-pattern", "--budget", "2"], 0, "without 2 matrices");
}

#[test]
fn spectrums_list_holds_the_best_of_each_role_in_order() {
    let report = json(&[BASE, "--format", "json"]);
    let ratios = column(&report, "spectrum_snr");
    let text = stdout(&[BASE, "--emit", "spectrum-yaml", "--top", "75%"]);
    let mut lines = text.lines();
    let head: Vec<&str> = lines.by_ref().take(3).collect();
    assert_eq!(head, ["unfrozen_parameters:", "- ^lm_head.weight$", "- ^model.embed_tokens.weight$"]);
    let mut roles: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut role = "";
    for line in lines {
        if let Some(name) = line.strip_prefix("# ") {
            role = name.strip_suffix(" layers").unwrap();
            assert!(roles.insert(role, vec![]).is_none(), "{role}");
        } else {
            roles.get_mut(role).unwrap().push(line.strip_prefix("- ").unwrap());
        }
    }
    let counts: Vec<usize> = roles.values().map(Vec::len).collect();
    // Of four blocks three; of a role that stands once none.
    assert_eq!(counts, [0, 3, 3, 3, 0, 3, 3, 3, 3]);
    let ratio = |name: &str| ratios[name].as_f64().unwrap();
    for (role, names) in &roles {
        assert!(names.iter().map(|name| ratio(name)).is_sorted_by(|a, b| a >= b), "{names:?}");
        let best = ratios
            .keys()
            .filter(|name| name.ends_with(&format!(".{role}")) && !names.contains(&name.as_str()));
        for name in best.filter(|_| !names.is_empty()) {
            assert!(ratio(name) <= ratio(names[2]), "{name}");
        }
    }
}

#[test]
fn kohyas_ranks_are_one_more_than_the_energy_asks_for() {
    let report = json(&[BASE, "--format", "json", "--energy", "0.81"]);
    let ranks = column(&report, "rank_at_81");
    let text = stdout(&[BASE, "--emit", "kohya", "--resize", "sv_fro=0.9,sv_ratio=4", "--modules", "all"]);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["matrix", "rule", "rank", "sum", "fro", "ratio"]);
    assert_eq!(rows.len(), 1 + 2 * 30);
    for row in rows[1..].iter().filter(|row| row[1] == "sv_fro=0.9") {
        // 0.9 of the norm is 0.81 of the energy.
        assert_eq!(row[2].parse::<u64>().ok(), ranks[row[0]].as_u64().map(|rank| rank + 1), "{row:?}");
        assert!(row[4].parse::<f64>().unwrap() >= 0.9, "{row:?}");
    }
}

#[test]
fn embeddings_and_heads_get_no_rank_unless_they_are_asked_for() {
    let ranks = |more: &[&str]| {
        let pattern = json(&[&[BASE, "--emit", "peft-rank-pattern", "--budget", "4"], more].concat());
        let modules = pattern["rank_pattern"].as_object().unwrap();
        ["lm_head", "model.embed_tokens"].map(|name| modules.contains_key(name))
    };
    assert_eq!((ranks(&[]), ranks(&["--modules", "all"])), ([false; 2], [true; 2]));
    check_exit(&[BASE, "--emit", "peft-rank-pattern", "--budget", "4"], 0, "`--modules all` takes them, too");
}

#[test]
fn kappatune_takes_the_fifth_of_the_modules_with_the_lowest_condition_number() {
    // What PEFT 0.21.2 gives for this model, in its order.
    let expected = [
        "model.layers.1.mlp.down_proj",
        "model.layers.2.mlp.down_proj",
        "model.layers.0.mlp.down_proj",
        "model.layers.0.self_attn.v_proj",
        "model.layers.3.mlp.up_proj",
    ];
    let targets = json(&[BASE, "--emit", "kappatune"]);
    assert_eq!(targets, json!({ "target_modules": expected, "target_parameters": null }));
}

#[test]
fn spectrums_ratios_are_those_of_the_column() {
    let ratios = column(&json(&[BASE, "--format", "json"]), "spectrum_snr");
    let written = json(&[BASE, "--emit", "spectrum-snr"]);
    assert_eq!(written.as_object().unwrap().len(), ratios.len());
    for (name, entry) in written.as_object().unwrap() {
        assert_eq!(entry["snr"], ratios[name], "{name}");
        assert!(name.ends_with(entry["type"].as_str().unwrap()), "{name}");
    }
}

#[test]
fn advice_goes_to_files_beside_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let emit = |kind: &str, name: &str| format!("{kind}={}", at(name));
    let (pattern, yaml) = (emit("peft-rank-pattern", "a.json"), emit("spectrum-yaml", "b.yaml"));
    let table = stdout(&[BASE, "--emit", &pattern, "--emit", &yaml, "--budget", "4"]);
    assert!(table.lines().next().is_some_and(|head| head.contains("assigned")), "{table}");
    let alone = stdout(&[BASE, "--emit", "peft-rank-pattern", "--budget", "4"]);
    assert_eq!(fs::read_to_string(at("a.json")).unwrap(), alone);
    assert_eq!(fs::read_to_string(at("b.yaml")).unwrap(), stdout(&[BASE, "--emit", "spectrum-yaml"]));
    let missing = emit("kohya", "no/such/folder.txt");
    check_exit(&[BASE, "--emit", &missing, "--resize", "sv_fro=0.9"], 2, "cannot create");
    stdout(&[BASE, "--emit", &emit("spectrum-yaml", "c.yaml"), "--dry-run"]);
    let left: BTreeSet<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["a.json".into(), "b.yaml".into()]));
}

#[test]
fn a_plot_fits_a_pipe_and_is_of_the_layer_asked_for() {
    let text = stdout(&[BASE, "--plot", "lm_head"]);
    assert!(text.contains("\n lm_head · 256 × 128 · bf16\n"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn wrong_requests_exit_with_2_and_say_what_to_type() {
    let cases: [(&[&str], &str); 14] = [
        (&["--plot", "mlp.up"], "did you mean `model.layers.0.mlp.up_proj`?"),
        (&["--plot", "lm_haed"], "did you mean `lm_head`?"),
        (&["--plot", "lm_head", "--format", "json"], "leave out `--format`"),
        (&["--plot", "lm_head", "--emit", "spectrum-yaml"], "`--emit spectrum-yaml=FILE`"),
        (&["--emit", "spectrum-yaml", "--format", "csv"], "`--emit spectrum-yaml=FILE`"),
        (&["--emit", "spectrum-yaml", "--emit", "kohya", "--resize", "sv_fro=0.9"], "`--emit kohya=FILE`"),
        (&["--emit", "peft"], "peft-rank-pattern, kappatune, spectrum-yaml, spectrum-snr, kohya"),
        (&["--emit", "spectrum-yaml="], "name a file"),
        (&["--emit", "peft-rank-pattern"], "`--budget 16`"),
        (&["--emit", "peft-rank-pattern", "--energy", "0.8,0.9"], "one share"),
        (&["--emit", "kohya"], "`--resize sv_fro=0.9`"),
        (&["--emit", "kohya", "--resize", "sv_fro=1.5"], "at most 1"),
        (&["--budget", "4"], "--emit"),
        (&["--energy", "95"], "0.95 or 95%"),
    ];
    for (arguments, said) in cases {
        check_exit(&[&[BASE], arguments].concat(), 2, said);
    }
}

#[test]
fn an_adapter_is_measured_through_its_factors_with_or_without_its_base() {
    let adapter = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");
    let report = json(&[adapter, "--format", "json"]);
    assert_eq!(report["rows"].as_array().unwrap().len(), 28);
    for row in report["rows"].as_array().unwrap() {
        assert_eq!(
            (row["numerical_rank"].as_u64(), row["largest_gap_at"].as_u64()),
            (Some(4), Some(4)),
            "{row}"
        );
        assert!(row["rank_above_rounding"].is_null() && row["rank_at_99"].as_u64() <= Some(4), "{row}");
    }
    assert_eq!(report["rows"], json(&[adapter, "--base", BASE, "--format", "json"])["rows"]);
    let pattern = json(&[adapter, "--emit", "peft-rank-pattern", "--energy", "0.9"]);
    assert_eq!(pattern["rank_pattern"].as_object().unwrap().len(), 28);
}

#[test]
fn a_model_without_an_update_has_no_rank_to_give() {
    let report = json(&[BASE, "--base", BASE, "--format", "json"]);
    for row in report["rows"].as_array().unwrap() {
        assert_eq!((row["numerical_rank"].as_u64(), row["rank_above_rounding"].as_u64()), (Some(0), Some(0)));
        assert_eq!(row["missing"]["effective_rank"]["code"], "zero_matrix");
    }
    check_exit(&[BASE, "--base", BASE, "--emit", "peft-rank-pattern", "--budget", "2"], 2, "all are zero");
}

#[test]
fn an_update_merged_into_bf16_stands_above_the_rounding_of_its_weights_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (base, tuned) = (folder.path().join("base.safetensors"), folder.path().join("tuned.safetensors"));
    let (side, rank) = (192, 3);
    let weights: Vec<f64> =
        noise(side * side, 1).iter().map(|x| f64::from(half::bf16::from_f64(0.02 * x))).collect();
    let (left, right) = (noise(side * rank, 2), noise(rank * side, 3));
    let update =
        |i: usize| (0..rank).map(|k| left[i / side * rank + k] * right[k * side + i % side]).sum::<f64>();
    let merged: Vec<f64> = weights.iter().enumerate().map(|(i, w)| w + 2e-4 * update(i)).collect();
    write_bf16(&base, side, &weights);
    write_bf16(&tuned, side, &merged);
    let report = json(&[tuned.to_str().unwrap(), "--base", base.to_str().unwrap(), "--format", "json"]);
    let row = &report["rows"][0];
    // Rounding fills every direction, as the numerical rank shows.
    assert!(row["numerical_rank"].as_u64() > Some(150), "{row}");
    assert_eq!(
        (row["rank_above_rounding"].as_u64(), row["largest_gap_at"].as_u64()),
        (Some(3), Some(3)),
        "{row}"
    );
}
