//! `svdkit compare` as its users meet it: baselines, planted regressions, reports that do not fit, several fine-tunes.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::harness::{BASE, check_exit, json, svdkit};

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");

fn rows(report: &Value) -> &[Value] {
    report["rows"].as_array().unwrap()
}

fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    rows(report).iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}"))
}

/// A saved report of the bundled model.
fn baseline(folder: &Path) -> String {
    let path = folder.join("baseline.json").to_str().unwrap().to_owned();
    assert!(svdkit(&["spectrum", BASE, "-o", &path]).status.success());
    path
}

/// The tensors of the bundled model: name, shape and bf16 bytes.
fn stored() -> Vec<(String, Vec<u64>, Vec<u8>)> {
    let bytes = fs::read(Path::new(BASE).join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Map<String, Value> = serde_json::from_slice(&bytes[8..header]).unwrap();
    let tensors = tensors.into_iter().filter(|(name, _)| name != "__metadata__");
    let at = |value: &Value| header + value.as_u64().unwrap() as usize;
    tensors
        .map(|(name, tensor)| {
            let shape = tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            let offsets = &tensor["data_offsets"];
            (name, shape, bytes[at(&offsets[0])..at(&offsets[1])].to_vec())
        })
        .collect()
}

/// A checkpoint of bf16 tensors.
fn save(path: &Path, tensors: &[(String, Vec<u64>, Vec<u8>)]) -> String {
    let (mut header, mut data) = (Map::new(), vec![]);
    for (name, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(name.clone(), json!({"dtype": "BF16", "shape": shape, "data_offsets": offsets}));
        data.extend_from_slice(bytes);
    }
    let header = Value::Object(header).to_string().into_bytes();
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    fs::write(path, file).unwrap();
    path.to_str().unwrap().to_owned()
}

fn widened(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)).collect()
}

fn narrowed(entries: impl Iterator<Item = f32>) -> Vec<u8> {
    svdkit::matrix::bf16_bytes(&entries.map(f64::from).collect::<Vec<_>>())
}

const COLLAPSED: &str = "model.layers.2.mlp.up_proj";
const BROKEN: &str = "model.layers.1.mlp.down_proj";
const DROPPED: &str = "model.layers.3.self_attn.q_proj";
const SCALED: &str = "model.layers.0.self_attn.v_proj";

/// The bundled model with one layer's rank collapsed, one NaN, one tensor dropped, one layer scaled by 1.2.
fn regressed(folder: &Path) -> String {
    let mut tensors = stored();
    tensors.retain(|(name, ..)| name.strip_suffix(".weight") != Some(DROPPED));
    for (name, shape, bytes) in &mut tensors {
        let entries = widened(bytes);
        let cols = shape.last().map_or(1, |n| *n as usize);
        match name.strip_suffix(".weight").unwrap() {
            COLLAPSED => *bytes = narrowed((0..entries.len()).map(|i| entries[i % cols])),
            BROKEN => bytes[200..202].copy_from_slice(&[0xc0, 0x7f]),
            SCALED => *bytes = narrowed(entries.iter().map(|x| x * 1.2)),
            _ => {}
        }
    }
    save(&folder.join("regressed.safetensors"), &tensors)
}

/// The rules a team would write, each with the one matrix it is to catch.
const RULES: [(&str, &str); 4] = [
    ("effective_rank_change < -10%", COLLAPSED),
    ("nonfinite_count > 0", BROKEN),
    ("removed > 0", DROPPED),
    ("frobenius_norm_change > 10%", SCALED),
];

fn with_rules<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().copied().chain(RULES.iter().flat_map(|(rule, _)| ["--fail-if", *rule])).collect()
}

#[test]
fn each_planted_regression_is_caught_by_its_rule_and_nothing_else_is_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let (baseline, regressed) = (baseline(folder.path()), regressed(folder.path()));
    for base in [baseline.as_str(), BASE] {
        let allowed = "--allow-missing=nonfinite,absent,unpaired";
        let arguments = with_rules(&["compare", base, &regressed, allowed]);
        check_exit(&arguments, 1, "");
        let report = json(&arguments);
        for (verdict, (rule, culprit)) in report["verdicts"].as_array().unwrap().iter().zip(RULES) {
            assert_eq!((&verdict["rule"], &verdict["broken"]), (&json!(rule), &json!(1)), "{verdict}");
            assert!(verdict["worst"].as_str().unwrap().starts_with(&format!("{culprit}: ")), "{verdict}");
        }
        let totals = &report["totals"];
        assert_eq!((&totals["measured"], &totals["compared"]["unchanged"]), (&json!(3), &json!(26)));
        let unchanged = rows(&report).iter().filter(|row| row["status"] == "unchanged");
        assert_eq!(unchanged.filter(|row| row["changed"] == 0).count(), 26);
        // Unless the reasons are named, what is lost fails: the broken matrix has no rank, the dropped one no number.
        for leave in [&[][..], &["--allow-missing"]] {
            let strict = json(&with_rules(&[&["compare", base, &regressed], leave].concat()));
            let verdicts = strict["verdicts"].as_array().unwrap();
            assert!(verdicts.iter().all(|verdict| verdict["outcome"] == "fail"), "{verdicts:?}");
            assert_eq!(verdicts.iter().map(|v| &v["missing"]).collect::<Vec<_>>(), [2, 1, 0, 2]);
        }
    }
}

#[test]
fn an_untouched_copy_passes_without_a_decomposition() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = baseline(folder.path());
    let copy = save(&folder.path().join("copy.safetensors"), &stored());
    for base in [baseline.as_str(), BASE] {
        let arguments = with_rules(&["compare", base, &copy, "--fail-if", "share(changed > 0) > 0"]);
        check_exit(&arguments, 0, "");
        let report = json(&arguments);
        assert_eq!(report["totals"]["measured"], 0);
        assert_eq!(report["totals"]["compared"]["unchanged"], 30);
    }
}

#[test]
fn a_model_against_itself_has_changed_by_exactly_nothing() {
    let report = json(&["compare", BASE, BASE, "--vectors", "all"]);
    assert_eq!(report["totals"]["measured"], 0);
    let zero = |key: &str| {
        key.ends_with("_change")
            || key.ends_with("_difference")
            || ["changed", "added", "removed", "reshaped", "retyped"].contains(&key)
            || ["delta_frobenius_ratio", "log_sigma_distance", "sigma_drift", "subspace_angle"].contains(&key)
            || key.starts_with("direction_drift")
    };
    for row in rows(&report) {
        for key in report["columns"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
            if zero(key) {
                assert_eq!(row[key].as_f64(), Some(0.0), "{}: {key}", row["name"]);
            }
        }
        assert_eq!((&row["alignment"], &row["subspace_overlap"]), (&json!(1.0), &json!(1.0)));
        assert_eq!(row["blake3"], row["base_blake3"]);
    }
    // On request they are measured, and then equal.
    let all = json(&["compare", BASE, BASE, "--all", "--include", "lm_head", "--vectors", "all"]);
    let lm_head = row(&all, "lm_head");
    assert_eq!(lm_head["stable_rank"], lm_head["stable_rank_base"]);
    assert_eq!(lm_head["stable_rank"], row(&json(&["spectrum", BASE]), "lm_head")["stable_rank"]);
}

#[test]
fn a_report_and_its_checkpoint_are_the_same_side() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = baseline(folder.path());
    let full = folder.path().join("full.json").to_str().unwrap().to_owned();
    assert!(svdkit(&["spectrum", FULL, "-o", &full]).status.success());
    let weights = json(&["compare", BASE, FULL]);
    for (a, b) in [(baseline.as_str(), FULL), (BASE, full.as_str()), (&baseline, &full)] {
        let report = json(&["compare", a, b]);
        for key in report["columns"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
            for (found, expected) in rows(&report).iter().zip(rows(&weights)) {
                assert_eq!(found[key], expected[key], "{a} {b}, {}: {key}", found["name"]);
            }
        }
        assert_eq!(report["totals"]["measured"], 30);
    }
}

#[test]
fn unchanged_matrices_keep_the_numbers_of_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let baseline = baseline(folder.path());
    let spectrum = json(&["spectrum", BASE]);
    let report = json(&["compare", &baseline, BASE]);
    assert_eq!(report["totals"]["compared"]["reused"], 30);
    for (found, expected) in rows(&report).iter().zip(rows(&spectrum)) {
        for key in spectrum["columns"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
            assert_eq!(found[key], expected[key], "{}: {key}", found["name"]);
            assert_eq!(found[format!("{key}_base")], expected[key], "{}: {key}", found["name"]);
        }
    }
}

#[test]
fn an_adapter_is_what_it_makes_of_its_base() {
    let report = json(&["compare", BASE, LORA]);
    let adapted = rows(&report).iter().filter(|row| row["status"] == "measured").collect::<Vec<_>>();
    assert_eq!((adapted.len(), &report["totals"]["compared"]["unchanged"]), (28, &json!(2)));
    for row in adapted {
        let rank = row["delta_effective_rank"].as_f64().unwrap();
        assert!((1.0..=4.0).contains(&rank), "{}: {rank}", row["name"]);
        assert_eq!(row["update"]["kind"], "lora", "{}", row["name"]);
    }
    check_exit(&["compare", LORA, BASE], 2, "Name the checkpoint that it changes first, or with `--base`");
    let same = json(&["compare", LORA, LORA, "--base", BASE]);
    assert_eq!(same["totals"]["measured"], 0);
    check_exit(&["compare", &format!("{LORA}/../../dialects/base"), LORA], 2, "fits the base");
}

#[test]
fn a_report_of_updates_is_read_back_with_its_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.json").to_str().unwrap().to_owned();
    assert!(svdkit(&["spectrum", LORA, "-o", &path]).status.success());
    assert!(fs::read_to_string(&path).unwrap().contains("zero by construction"));
    assert_eq!(json(&["compare", &path, &path])["totals"]["compared"]["unchanged"], 28);
}

#[test]
fn several_fine_tunes_stand_side_by_side() {
    let both = json(&["compare", BASE, "--tuned", LORA, "--tuned", &format!("ft={FULL}"), "--vectors=all"]);
    let names: Vec<_> = both["tuned"].as_array().unwrap().iter().map(|tuned| &tuned["name"]).collect();
    assert_eq!(names, ["lora-r4", "ft"]);
    for (path, side) in [(LORA, "lora-r4"), (FULL, "ft")] {
        let alone = json(&["compare", BASE, path, "--vectors=all"]);
        for expected in rows(&alone) {
            let found = row(&both, expected["name"].as_str().unwrap());
            for key in
                ["changed", "delta_frobenius_ratio", "alignment", "effective_rank_change", "minor_share"]
            {
                assert_eq!(found[format!("{key}@{side}")], expected[key], "{}: {key}", found["name"]);
            }
        }
    }
    let rule = "alignment@ft < 0.92";
    let report = json(&["compare", BASE, LORA, "--tuned", &format!("ft={FULL}"), "--fail-if", rule]);
    assert!(report["verdicts"][0]["worst"].as_str().unwrap().starts_with("lm_head: alignment@ft = 0.9142"));
}

#[test]
fn new_gone_reshaped_and_retyped_matrices_are_rows_that_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = stored();
    tensors.retain(|(name, ..)| name != "model.norm.weight" && name != "lm_head.weight");
    let extra = tensors.iter().find(|(name, ..)| name == "model.embed_tokens.weight").unwrap().clone();
    tensors.push(("extra.weight".to_owned(), extra.1, extra.2));
    for (name, shape, bytes) in &mut tensors {
        if name == "model.layers.0.mlp.up_proj.weight" {
            (shape[0], *bytes) = (350, bytes[..350 * 128 * 2].to_vec());
        }
    }
    let path = save(&folder.path().join("other.safetensors"), &tensors);
    let report = json(&["compare", BASE, &path]);
    for (name, status, columns) in [
        ("extra", "added", ["added", "changed"]),
        ("lm_head", "removed", ["removed", "changed"]),
        ("model.norm", "removed", ["removed", "changed"]),
        ("model.layers.0.mlp.up_proj", "reshaped", ["reshaped", "changed"]),
    ] {
        let row = row(&report, name);
        assert_eq!(row["status"], status, "{row}");
        for key in ["changed", "added", "removed", "reshaped", "retyped"] {
            assert_eq!(row[key], u64::from(columns.contains(&key)), "{name}: {key}");
        }
    }
    let reshaped = row(&report, "model.layers.0.mlp.up_proj");
    assert_eq!(reshaped["base_shape"], json!([352, 128]));
    assert!(reshaped["effective_rank_change"].is_number() && reshaped["delta_frobenius_ratio"].is_null());
    assert!(row(&report, "extra")["stable_rank"].is_number());
    // What is gone has no value to judge, and is not passed over unless that is allowed.
    let all = ["compare", BASE, &path, "--all", "--fail-if", "stable_rank > 1e9"];
    check_exit(&[&all[..], &["--allow-missing"]].concat(), 1, "");
    check_exit(&[&all[..], &["--allow-missing=absent"]].concat(), 0, "");
    // A vector has no rank on either side.
    let vectors = ["compare", BASE, &path, "--fail-if", "*norm: effective_rank_change < -10%"];
    check_exit(&vectors, 2, "has no `effective_rank_change` that could be judged");
    check_exit(&["compare", BASE, &path, "--fail-if", "lm_head: effective_rank_change < -10%"], 1, "");
    for rule in ["added > 0", "removed > 0", "reshaped > 0", "sum(removed) > 1", "count(added > 0) == 1"] {
        check_exit(&["compare", BASE, &path, "--fail-if", rule], 1, "");
        check_exit(&["compare", BASE, BASE, "--fail-if", rule], 0, "");
    }
    let dtypes = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/formats/dtypes.safetensors");
    check_exit(&["compare", dtypes, dtypes, "--fail-if", "sum(retyped) > 0"], 0, "");
}

#[test]
fn another_type_of_the_same_numbers_is_a_change_of_type_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (name, shape, bytes) = stored().into_iter().find(|(name, ..)| name == "lm_head.weight").unwrap();
    let narrow = save(&folder.path().join("bf16.safetensors"), &[(name, shape.clone(), bytes.clone())]);
    let entries: Vec<u8> = widened(&bytes).iter().flat_map(|x| x.to_le_bytes()).collect();
    let header =
        json!({"lm_head.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, entries.len()]}});
    let header = header.to_string().into_bytes();
    let wide = folder.path().join("f32.safetensors");
    fs::write(&wide, [&(header.len() as u64).to_le_bytes()[..], &header, &entries].concat()).unwrap();
    let report = json(&["compare", &narrow, wide.to_str().unwrap()]);
    let row = row(&report, "lm_head");
    assert_eq!(
        (&row["retyped"], &row["status"], &row["base_dtype"]),
        (&json!(1), &json!("measured"), &json!("bf16"))
    );
    assert_eq!((&row["delta_frobenius_ratio"], &row["effective_rank_change"]), (&json!(0.0), &json!(0.0)));
}

#[test]
fn reports_that_do_not_fit_are_refused_with_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let path = baseline(folder.path());
    let text = fs::read_to_string(&path).unwrap();
    let altered = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let refused = |path: &str, part: &str| check_exit(&["compare", path, BASE], 2, part);
    let exact = folder.path().join("exact.json").to_str().unwrap().to_owned();
    assert!(svdkit(&["spectrum", BASE, "--precision", "exact", "-o", &exact]).status.success());
    check_exit(&["compare", &exact, &path], 2, "`precision` is `exact` and `fast`");
    check_exit(&["compare", &path, BASE, "--precision", "exact"], 2, "`precision` is `fast` and `exact`");
    check_exit(&["compare", &exact, BASE], 0, "");
    let update = folder.path().join("update.json").to_str().unwrap().to_owned();
    assert!(svdkit(&["spectrum", FULL, "--base", BASE, "-o", &update]).status.success());
    refused(&update, "holds the numbers of updates");
    check_exit(&["compare", &path, &update], 2, "holds the numbers of updates");
    let comparison = folder.path().join("comparison.json").to_str().unwrap().to_owned();
    assert!(svdkit(&["compare", BASE, BASE, "-o", &comparison]).status.success());
    refused(&comparison, "is a report of `compare`");
    let inventory = folder.path().join("inventory.json").to_str().unwrap().to_owned();
    assert!(svdkit(&["inspect", BASE, "-o", &inventory]).status.success());
    refused(&inventory, "lists tensors and measures none");
    refused(&altered("cut.json", text[..text.len() / 2].to_owned()), "is cut short");
    refused(&altered("other.json", "{\"a\": [1]}".to_owned()), "is JSON, but not a report of svdkit");
    refused(&altered("text.json", "{a}".to_owned()), "is not valid JSON");
    refused(&altered("old.json", text.replace("\"schema\": 2", "\"schema\": 7")), "is a report of schema 7");
    refused(
        &altered("noise.json", text.replace("\"noise\":\"median\"", "\"noise\":\"iqr\"")),
        "`noise` is `iqr` and `median`",
    );
    refused(
        &altered("type.json", text.replacen("\"bf16\"", "\"bf61\"", 1)),
        "`bf61` is not a type of weights",
    );
    refused(
        &altered("gap.json", text.replacen("\"stable_rank\":", "\"stable\":", 1)),
        "lacks the number `stable_rank`",
    );
    refused(
        &altered("twice.json", text.replace("lm_head", "model.embed_tokens")),
        "two rows are called `model.embed_tokens`",
    );
    check_exit(&["compare", &path, BASE, "--fail-if", "alignment < 1"], 2, "needs weights on both sides");
    check_exit(
        &["compare", BASE, FULL, "--no-vectors", "--fail-if", "alignment < 1"],
        2,
        "it needs singular vectors: `--vectors all`",
    );
    check_exit(
        &["compare", BASE, FULL, "--fail-if", "efective_rank_change < 1"],
        2,
        "did you mean `effective_rank_change`?",
    );
    check_exit(&["compare", BASE], 2, "name a second model");
    check_exit(&["compare", BASE, FULL, "--preserve", "0"], 2, "a share of the energy");
    check_exit(&["compare", BASE, "no/such/model"], 2, "no/such/model");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for format in ["table", "json", "jsonl", "csv", "markdown"] {
        let run = |jobs| svdkit(&["compare", BASE, FULL, "--format", format, "-j", jobs]).stdout;
        assert_eq!(run("1"), run("2"), "{format}");
        assert_eq!(run("2"), run("3"), "{format}");
    }
}
