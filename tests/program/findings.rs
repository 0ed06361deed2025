//! What the program says in sentences: of the bundled model, of the same one as it was before training, with one matrix
//! replaced, and how rules and settings take it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{BASE, check_exit, check_exit_in, json, json_in, list, planted, stdout, svdkit_in};

/// Gaussian numbers of deviation 0.02 as bf16, from a seed.
fn gaussian(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let number = |_| {
        let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
        let x = 0.02 * radius * (std::f64::consts::TAU * uniform()).cos();
        ((x as f32).to_bits().wrapping_add(0x8000) >> 16) as u16
    };
    (0..count).map(number).flat_map(u16::to_le_bytes).collect()
}

fn is_vector(cols: usize, bytes: &[u8]) -> bool {
    bytes.len() / 2 == cols
}

fn found<'r>(report: &'r Value, name: &str) -> Vec<&'r str> {
    let all = list(report, "findings").iter().filter(|finding| finding["name"] == name);
    all.flat_map(|finding| list(finding, "matrices")).map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn an_untrained_model_is_told_and_so_is_one_random_matrix_in_a_trained_one() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = |seed: u64| {
        planted(folder.path(), "fresh.safetensors", |name, cols, bytes| {
            let own =
                name.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
            Some(if is_vector(cols, &bytes) { bytes } else { gaussian(bytes.len() / 2, own) })
        })
    };
    for seed in 1..4 {
        let report = json(&["spectrum", fresh(seed).to_str().unwrap()]);
        assert_eq!(found(&report, "random-like").len(), 30, "{seed}");
        assert_eq!(list(&report, "findings")[0]["name"], "untrained-model", "{seed}");
    }
    let trained = json(&["spectrum", BASE]);
    assert!(found(&trained, "random-like").is_empty() && found(&trained, "untrained-model").is_empty());
    let one = planted(folder.path(), "one.safetensors", |name, _, bytes| {
        Some(if name.ends_with("layers.2.mlp.up_proj") { gaussian(bytes.len() / 2, 9) } else { bytes })
    });
    let report = json(&["spectrum", one.to_str().unwrap()]);
    assert_eq!(found(&report, "random-like"), ["model.layers.2.mlp.up_proj"]);
    assert!(found(&report, "untrained-model").is_empty());
}

#[test]
fn a_trained_model_has_few_lines_and_no_problem() {
    for model in ["base", "full"] {
        let report = json(&["spectrum", &format!("{}/{model}", Path::new(BASE).parent().unwrap().display())]);
        let findings = list(&report, "findings");
        assert!(findings.len() <= 4, "{model}: {findings:?}");
        assert!(findings.iter().all(|finding| finding["level"] != "problem"), "{model}: {findings:?}");
    }
}

#[test]
fn what_entries_say_by_themselves_is_told_without_a_decomposition() {
    let folder = tempfile::tempdir().unwrap();
    let path = planted(folder.path(), "odd.safetensors", |name, cols, mut bytes| {
        let row = 2 * cols;
        match name {
            // Two rows of zeros, and one row twice.
            "model.layers.0.mlp.up_proj" => bytes[..2 * row].fill(0),
            "model.layers.1.mlp.up_proj" => bytes.copy_within(3 * row..4 * row, 7 * row),
            "model.layers.2.mlp.up_proj" => bytes.chunks_mut(row).for_each(|row| row[10..12].fill(0)),
            "model.layers.3.mlp.up_proj" => bytes.fill(0),
            "model.layers.3.mlp.gate_proj" => bytes[..2].copy_from_slice(&0x7fc0u16.to_le_bytes()),
            _ => {}
        }
        Some(bytes)
    });
    let check = |more: &[&str]| {
        let report = json(&[&["spectrum", path.to_str().unwrap()], more].concat());
        assert_eq!(found(&report, "dead-rows"), ["model.layers.0.mlp.up_proj"]);
        assert_eq!(found(&report, "duplicate-rows"), ["model.layers.1.mlp.up_proj"]);
        assert_eq!(found(&report, "dead-columns"), ["model.layers.2.mlp.up_proj"]);
        assert_eq!(found(&report, "all-zero"), ["model.layers.3.mlp.up_proj"]);
        assert_eq!(found(&report, "non-finite"), ["model.layers.3.mlp.gate_proj"]);
        let unchecked: Vec<&str> =
            list(&report, "findings_unchecked").iter().map(|one| one["name"].as_str().unwrap()).collect();
        // Without values nothing is known of any; with them, not of the matrix of zeros and the one with a NaN.
        assert!(unchecked.contains(&"random-like"), "{unchecked:?}");
        let row =
            list(&report, "rows").iter().find(|row| row["name"] == "model.layers.1.mlp.up_proj").unwrap();
        assert_eq!(row["places"]["duplicate_rows"], serde_json::json!([3, 7]));
    };
    check(&["--no-svd"]);
    check(&[]);
}

#[test]
fn a_rule_on_a_finding_counts_its_matrices() {
    let folder = tempfile::tempdir().unwrap();
    let path = planted(folder.path(), "one.safetensors", |name, _, bytes| {
        Some(if name.ends_with("layers.2.mlp.up_proj") { gaussian(bytes.len() / 2, 9) } else { bytes })
    });
    let check =
        |rule: &str, code| check_exit(&["spectrum", path.to_str().unwrap(), "--fail-if", rule], code, "");
    check("finding(random-like)", 1);
    check("finding(random-like) > 1", 0);
    check("*.mlp.*: finding(random-like)", 1);
    check("*.self_attn.*: finding(random-like)", 0);
    check("finding(caution)", 1);
    check("finding(problem)", 0);
    check_exit(&["spectrum", BASE, "--fail-if", "finding(random-lke)"], 2, "did you mean `random-like`?");
    let without = ["spectrum", BASE, "--no-svd", "--fail-if", "finding(random-like)"];
    check_exit(&without, 2, "no finding of this command is called `random-like`");
}

#[test]
fn a_finding_that_was_looked_for_nowhere_does_not_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = planted(folder.path(), "zeros.safetensors", |_, _, bytes| Some(vec![0; bytes.len()]));
    let report = json(&["spectrum", path.to_str().unwrap(), "--fail-if", "finding(random-like)"]);
    let verdict = &list(&report, "verdicts")[0];
    assert_eq!(verdict["outcome"], "inconclusive", "{verdict}");
    let worst = verdict["worst"].as_str().unwrap();
    assert!(worst.starts_with("random-like cannot be judged:") && worst.contains("zero"), "{worst}");
    check_exit(&["spectrum", path.to_str().unwrap(), "--fail-if", "finding(random-like)"], 1, "");
    // The matrix of NaN is a problem, and so worse than a note or a caution.
    for level in ["note", "caution", "problem"] {
        let path = planted(folder.path(), &format!("{level}.safetensors"), |name, _, mut bytes| {
            if name.ends_with("layers.2.mlp.up_proj") {
                bytes[..2].copy_from_slice(&0x7fc0u16.to_le_bytes());
            }
            Some(bytes)
        });
        check_exit(&["spectrum", path.to_str().unwrap(), "--fail-if", &format!("finding({level})")], 1, "");
    }
}

#[test]
fn the_settings_file_ignores_and_allows_findings() {
    let folder = tempfile::tempdir().unwrap();
    planted(folder.path(), "one.safetensors", |name, _, bytes| {
        Some(if name.ends_with("layers.2.mlp.up_proj") { gaussian(bytes.len() / 2, 9) } else { bytes })
    });
    let count = |settings: &str| {
        fs::write(folder.path().join("svdkit.toml"), settings).unwrap();
        found(&json_in(folder.path(), &["spectrum", "one.safetensors"]), "random-like").len()
    };
    assert_eq!(count(""), 1);
    assert_eq!(count("[findings]\nignore = [\"random-like\"]\n"), 0);
    let allow = |matrix: &str, until: &str| {
        count(&format!(
            "[[findings.allow]]\nfinding = \"random-like\"\nmatrix = \"{matrix}\"\nreason = \"known\"\nuntil = {until}\n"
        ))
    };
    assert_eq!(allow("*.up_proj", "2999-01-01"), 0);
    assert_eq!(allow("*.down_proj", "2999-01-01"), 1);
    assert_eq!(allow("*.up_proj", "2020-01-01"), 1);
    fs::write(folder.path().join("svdkit.toml"), "[findings]\nignore = [\"random-lik\"]\n").unwrap();
    check_exit_in(folder.path(), &["spectrum", "one.safetensors"], 2, "did you mean `random-like`?");
}

#[test]
fn findings_are_told_in_every_format_for_people_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    planted(folder.path(), "one.safetensors", |name, _, bytes| {
        Some(if name.ends_with("layers.2.mlp.up_proj") { gaussian(bytes.len() / 2, 9) } else { bytes })
    });
    let said = |more: &[&str]| {
        let output = svdkit_in(folder.path(), &[&["spectrum", "one.safetensors"], more].concat());
        String::from_utf8(output.stdout).unwrap().contains("cannot be told from random initialization")
    };
    for format in ["table", "markdown", "html", "json", "github", "gitlab"] {
        assert!(said(&["--format", format]), "{format}");
        assert!(!said(&["--format", format, "--no-findings"]), "{format}");
    }
}

/// The one finding of that name and side.
fn finding<'r>(report: &'r Value, name: &str, side: Option<&str>) -> Option<&'r Value> {
    let is_it = |finding: &&Value| finding["name"] == name && finding["side"].as_str() == side;
    list(report, "findings").iter().find(is_it)
}

fn fixture(name: &str) -> String {
    format!("{}/{name}", Path::new(BASE).parent().unwrap().display())
}

#[test]
fn intruders_are_counted_and_placed_in_one_line() {
    let report = json(&["intruders", BASE, &fixture("lora-r16")]);
    let found = finding(&report, "intruder-dimensions", None).expect("LoRA has some");
    let counts =
        |key: &str| list(&report, "rows").iter().map(|row| row[key].as_u64().unwrap()).collect::<Vec<u64>>();
    let with = counts("intruder_count").iter().filter(|count| **count > 0).count();
    assert_eq!(list(found, "matrices").len(), with);
    let sentence = found["sentence"].as_str().unwrap();
    let (intruders, k): (u64, u64) = (counts("intruder_count").iter().sum(), counts("k").iter().sum());
    assert!(sentence.starts_with(&format!("{intruders} of {k} leading directions are new")), "{sentence}");
    assert!(sentence.contains(&format!("{with} of 28 matrices have some: ")), "{sentence}");
    assert_eq!(found["level"], "note");
    check_exit(
        &["intruders", BASE, &fixture("lora-r16"), "--fail-if", "finding(intruder-dimensions)"],
        1,
        "",
    );
    // Nothing is an intruder where ε lies below what chance gives, and that is said.
    let report = json(&["intruders", BASE, &fixture("lora-r16"), "--epsilon", "0.1"]);
    let unchecked = list(&report, "findings_unchecked").iter();
    assert!(unchecked.filter(|one| one["name"] == "intruder-dimensions").count() == 1);
}

#[test]
fn what_one_side_did_and_the_other_did_not_is_told_of_that_side() {
    let (full, lora) = (fixture("full"), fixture("lora-r16"));
    let report = json(&["compare", BASE, "--tuned", &full, "--tuned", &lora]);
    let alone = finding(&report, "changed-alone", Some("full")).expect("LoRA leaves the embedding alone");
    assert_eq!(alone["matrices"], serde_json::json!(["lm_head", "model.embed_tokens"]));
    assert!(finding(&report, "changed-alone", Some("lora-r16")).is_none());
    assert!(finding(&report, "higher-rank-change", Some("full")).is_some());
    assert!(finding(&report, "larger-change", Some("lora-r16")).is_some());
    assert!(finding(&report, "new-directions", Some("lora-r16")).is_some());
    assert!(finding(&report, "new-directions", Some("full")).is_none());
    for side in ["full", "lora-r16"] {
        let lines = list(&report, "findings").iter().filter(|finding| finding["side"] == side).count();
        assert!(lines <= 4, "{side}: {:?}", report["findings"]);
    }
    // The same side twice does nothing that the other does not.
    let report = json(&["compare", BASE, "--tuned", &format!("a={lora}"), "--tuned", &format!("b={lora}")]);
    for name in ["changed-alone", "larger-change", "higher-rank-change", "new-directions"] {
        assert!(
            finding(&report, name, Some("a")).is_none() && finding(&report, name, Some("b")).is_none(),
            "{name}"
        );
    }
}

#[test]
fn a_saved_side_has_the_findings_of_its_report_and_says_what_cannot_be_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let dead = planted(folder.path(), "dead.safetensors", |name, cols, mut bytes| {
        if name == "model.layers.0.mlp.up_proj" {
            bytes[..4 * cols].fill(0);
        }
        Some(bytes)
    });
    let saved = folder.path().join("dead.json");
    check_exit(&["spectrum", dead.to_str().unwrap(), "-q", "-o", saved.to_str().unwrap()], 0, "");
    let [weights, report] = [&dead, &saved].map(|side| json(&["compare", BASE, side.to_str().unwrap()]));
    for report in [&weights, &report] {
        let found = finding(report, "dead-rows", None).expect("two rows are zero");
        assert!(found["sentence"].as_str().unwrap().contains("(first: 0, 1)"), "{found}");
    }
    let unchecked = |report: &Value, name: &str| {
        list(report, "findings_unchecked").iter().any(|unchecked| unchecked["name"] == name)
    };
    for name in ["reordered", "rescaled", "unrelated", "update-dominates"] {
        assert!(unchecked(&report, name), "{name}");
        assert!(!unchecked(&weights, name), "{name}");
    }
}

#[test]
fn an_adapter_that_was_not_trained_is_told_by_itself_and_in_a_comparison() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(format!("{}/{file}", fixture("lora-r4")), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join("adapter_model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..start]).unwrap();
    for (_, info) in tensors.iter().filter(|(name, _)| name.contains("lora_B")) {
        let at = |i: usize| start + info["data_offsets"][i].as_u64().unwrap() as usize;
        bytes[at(0)..at(1)].fill(0);
    }
    fs::write(&path, bytes).unwrap();
    let adapter = folder.path().to_str().unwrap();
    for report in [json(&["spectrum", adapter]), json(&["compare", BASE, adapter])] {
        let found = finding(&report, "untrained", None).expect("every update is zero");
        assert_eq!((found["level"].as_str(), list(found, "matrices").len()), (Some("problem"), 28));
    }
}

#[test]
fn the_page_marks_what_findings_are_about_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    // Sixteen rows again and again.
    let path = planted(folder.path(), "collapsed.safetensors", |name, cols, mut bytes| {
        if name == "model.layers.2.mlp.up_proj" {
            let first = bytes[..32 * cols].to_vec();
            bytes.chunks_mut(first.len()).for_each(|rows| rows.copy_from_slice(&first[..rows.len()]));
        }
        Some(bytes)
    });
    let page =
        |more: &[&str]| stdout(&[&["spectrum", path.to_str().unwrap(), "--format", "html"], more].concat());
    let found = page(&[]);
    let (findings, first) =
        (found.find("<h2>Findings</h2>").unwrap(), found.find("<code>rank-collapsed</code>").unwrap());
    assert!(findings < first && first < found.find("Across the model").unwrap());
    assert!(found.contains("class=\"strip\"") && found.contains("data-news"));
    let plain = page(&["--no-findings"]);
    assert!(!plain.contains("class=\"strip\"") && !plain.contains("data-news"));
}

#[test]
fn every_finding_is_explained() {
    for definition in svdkit::findings::FINDINGS {
        let text = stdout(&["explain", definition.name]);
        assert!(text.starts_with(definition.name), "{text}");
        for level in definition.levels {
            assert!(text.contains(level.name()), "{}: {}", definition.name, level.name());
        }
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md")).unwrap();
    assert_eq!(page.matches("\n### `").count(), svdkit::findings::FINDINGS.len());
}
