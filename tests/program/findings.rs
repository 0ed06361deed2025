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

#[test]
fn every_finding_is_explained() {
    for definition in svdkit::findings::FINDINGS {
        let text = stdout(&["explain", definition.name]);
        assert!(text.starts_with(definition.name), "{text}");
        for level in definition.levels {
            assert!(text.contains(&format!("**{}**", level.name())), "{}: {}", definition.name, level.name());
        }
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md")).unwrap();
    assert_eq!(page.matches("\n### `").count(), svdkit::findings::FINDINGS.len());
}
