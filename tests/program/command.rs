//! The binary as its users meet it: reports that hold everything, the same bytes for any thread count, exit codes, files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{BASE, check_exit, json, stdout, svdkit};

/// A copy of the bundled model's file with bytes replaced: (tensor, entry, the two bytes of a bf16).
fn altered(folder: &Path, changes: &[(&str, usize, [u8; 2])]) -> PathBuf {
    let mut bytes = fs::read(Path::new(BASE).join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    for (tensor, entry, value) in changes {
        let begin = tensors[tensor]["data_offsets"][0].as_u64().unwrap() as usize;
        bytes[header + begin + 2 * entry..][..2].copy_from_slice(value);
    }
    let path = folder.join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_tensor_of_the_file_is_in_the_report() {
    let bytes = fs::read(Path::new(BASE).join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let stored: Value = serde_json::from_slice(&bytes[8..header]).unwrap();
    let stored: BTreeSet<&str> =
        stored.as_object().unwrap().keys().map(String::as_str).filter(|k| *k != "__metadata__").collect();
    let report = json(&["spectrum", BASE]);
    let named = |list: &str| {
        report[list].as_array().unwrap().iter().map(|x| x["tensor"].as_str().unwrap()).collect::<Vec<_>>()
    };
    let reported: BTreeSet<&str> = named("rows").into_iter().chain(named("skipped")).collect();
    assert_eq!(stored, reported);
    assert_eq!(report["totals"]["measured"], named("rows").len());
    assert_eq!(report["totals"]["skipped"], named("skipped").len());
}

#[test]
fn strict_runs_end_in_two_when_a_weight_may_be_left_out() {
    let fixture = |name: &str| format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let dtypes = fixture("formats/dtypes.safetensors");
    check_exit(&["spectrum", &dtypes], 0, "");
    check_exit(
        &["spectrum", &dtypes, "--strict"],
        2,
        "error: c64.weight: c64 is not a float type (and 9 more)\n",
    );
    check_exit(&["compare", &dtypes, &dtypes, "--strict"], 2, "(and 9 more)");
    check_exit(&["spectrum", &dtypes, "--strict", "--include", "{f,bf}{16,32,64}*"], 0, "");
    // Vectors, integer indices, and what the base does not have.
    check_exit(&["spectrum", &fixture("formats/shapes.safetensors"), "--strict"], 0, "");
    check_exit(&["spectrum", BASE, "--strict", "--include", "*.0.*"], 0, "");
    let dora = fixture("dialects/dora");
    check_exit(&["compare", &fixture("dialects/base"), &dora, "--strict"], 0, "");
    let footer = stdout(&["spectrum", &dtypes]);
    assert!(footer.contains("10 of them refused"), "{footer}");
}

#[test]
fn a_report_has_the_documented_keys_and_no_other() {
    const FIXED: [&str; 16] = [
        "name",
        "tensor",
        "block",
        "role",
        "shape",
        "stored_shape",
        "dtype",
        "update",
        "blake3",
        "tied_to",
        "failed",
        "flags",
        "missing",
        "places",
        "sketch",
        "resolution",
    ];
    let report = json(&["spectrum", BASE, "--fail-if", "alpha > 1e9", "--allow-missing"]);
    let top = [
        "schema",
        "svdkit",
        "command",
        "model",
        "settings",
        "columns",
        "rows",
        "skipped",
        "totals",
        "summary",
        "findings",
        "findings_unchecked",
        "verdicts",
    ];
    assert_eq!(report.as_object().unwrap().keys().collect::<Vec<_>>(), top);
    let columns: Vec<&str> =
        report["columns"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
    for row in report["rows"].as_array().unwrap() {
        let row = row.as_object().unwrap();
        let unknown: Vec<_> = row
            .keys()
            .filter(|key| !FIXED.contains(&key.as_str()) && !columns.contains(&key.as_str()))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        for key in &columns {
            // A number, or nothing with a reason: never NaN, −1 or an empty string.
            assert!(
                row[*key].is_number() || row["missing"][*key]["code"].is_string(),
                "{}: {key}",
                row["name"]
            );
        }
    }
}

#[test]
fn every_tensor_of_an_adapter_is_in_the_report_with_the_scale_used() {
    for (adapter, base) in [("charlm/pattern", None), ("dialects/kohya.safetensors", Some("dialects/base"))] {
        let at = |path: &str| format!("{}/fixtures/{path}", env!("CARGO_MANIFEST_DIR"));
        let (path, base) = (at(adapter), base.map(at));
        let mut arguments = vec!["spectrum", &path];
        arguments.extend(base.iter().flat_map(|base| ["--base", base]));
        let report = json(&arguments);
        let source = svdkit::checkpoint::open(Path::new(&path)).unwrap().1;
        let stored: BTreeSet<&str> = source.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        let (rows, skipped) = (report["rows"].as_array().unwrap(), report["skipped"].as_array().unwrap());
        let parts = rows.iter().flat_map(|row| row["update"]["tensors"].as_array().unwrap());
        let named = parts.chain(skipped.iter().map(|skipped| &skipped["tensor"]));
        assert_eq!(named.map(|name| name.as_str().unwrap()).collect::<BTreeSet<_>>(), stored, "{adapter}");
        for row in rows {
            let keys: Vec<&String> = row["update"].as_object().unwrap().keys().collect();
            let ranked = row["update"]["rank"].is_u64();
            assert_eq!(
                keys,
                if ranked {
                    &["kind", "scale", "rank", "tensors"][..]
                } else {
                    &["kind", "scale", "tensors"]
                }
            );
            // What only the entries or a full spectrum could tell is not made up.
            for key in ["max_abs", "condition_number", "noise_sigma"].iter().filter(|_| ranked) {
                assert!(
                    row[key].is_null() && row["missing"][key]["code"].is_string(),
                    "{}: {key}",
                    row["name"]
                );
            }
        }
        assert_eq!(report["model"]["format"], "adapter");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    for format in ["table", "json", "jsonl", "csv", "markdown", "html"] {
        let run = |jobs| stdout(&["spectrum", BASE, "--format", format, "-j", jobs]);
        assert_eq!(run("1"), run("2"), "{format}");
        assert_eq!(run("2"), run("3"), "{format}");
    }
}

#[test]
fn a_tiny_budget_still_measures_everything() {
    assert_eq!(stdout(&["spectrum", BASE, "--memory", "1k"]), stdout(&["spectrum", BASE]));
}

#[test]
fn nan_and_infinity_are_findings_and_the_rest_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = "model.layers.1.mlp.up_proj.weight";
    let path = altered(folder.path(), &[(tensor, 7, [0xc0, 0x7f]), (tensor, 9, [0x80, 0xff])]);
    let report = json(&["spectrum", path.to_str().unwrap()]);
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["tensor"] == tensor).unwrap();
    assert_eq!(row["nonfinite_count"], 2);
    assert!(row["missing"]["alpha"]["text"].as_str().unwrap().contains("NaN"), "{row}");
    assert_eq!(rows.iter().filter(|row| row["spectral_norm"].is_number()).count(), rows.len() - 1);
    let table = stdout(&["spectrum", path.to_str().unwrap()]);
    assert!(table.contains("model.layers.1.mlp.up_proj: 2 entries are NaN or infinite"), "{table}");
    check_exit(&["spectrum", path.to_str().unwrap(), "--fail-if", "nonfinite_count > 0"], 1, "");
    check_exit(&["spectrum", BASE, "--fail-if", "nonfinite_count > 0"], 0, "");
}

#[test]
fn files_appear_complete_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (a, b, c) = (at("a.json"), at("b.csv"), at("c.md"));
    let out = stdout(&["spectrum", BASE, "--format", "json", "-o", &a, "-o", &b, "-o", &c]);
    assert_eq!(fs::read_to_string(&a).unwrap(), out);
    assert_eq!(fs::read_to_string(&b).unwrap(), stdout(&["spectrum", BASE, "--format", "csv"]));
    assert_eq!(fs::read_to_string(&c).unwrap(), stdout(&["spectrum", BASE, "--format", "markdown"]));
    fs::remove_file(&a).unwrap();
    check_exit(&["spectrum", BASE, "-o", &a, "-o", &at("no/such/folder.json")], 2, "cannot create");
    check_exit(&["spectrum", &at("missing"), "-o", &a], 2, "missing");
    let left: BTreeSet<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, BTreeSet::from(["b.csv".into(), "c.md".into()]));
}

#[test]
fn spectra_are_saved_under_the_rows_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spectra.safetensors");
    let report = json(&["spectrum", BASE, "--singular-values", path.to_str().unwrap()]);
    let bytes = fs::read(path).unwrap();
    let saved = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for row in report["rows"].as_array().unwrap() {
        let tensor = saved.tensor(row["name"].as_str().unwrap()).unwrap();
        let side = row["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).min().unwrap();
        assert_eq!(tensor.shape(), [side as usize]);
        let first = f64::from_le_bytes(tensor.data()[..8].try_into().unwrap());
        assert_eq!(row["spectral_norm"].as_f64().unwrap().to_bits(), first.to_bits(), "{}", row["name"]);
    }
}

#[test]
fn what_cannot_be_looked_at_exits_with_2_and_one_line() {
    check_exit(&["spectrum", "no/such/model"], 2, "no/such/model");
    check_exit(&["spectrum", BASE, "--sort", "alpa"], 2, "did you mean `alpha`?");
    check_exit(&["spectrum", BASE, "--columns", "alpha,stabel_rank"], 2, "did you mean `stable_rank`?");
    check_exit(&["spectrum", BASE, "--fail-if", "alpha >"], 2, "is not a number");
    check_exit(&["spectrum", BASE, "--include", "nothing*"], 2, "leave nothing");
    check_exit(&["spectrum", BASE, "--include", "a[", "-q"], 2, "glob `a[`");
    check_exit(&["spectrum"], 2, "Usage");
    let output = svdkit(&["spectrum", "no/such/model"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);
    assert!(output.stdout.is_empty());
}

#[test]
fn a_filter_counts_what_it_leaves_out() {
    let report = json(&["spectrum", BASE, "--include", "*.mlp.*", "--exclude", "*.3.*"]);
    assert_eq!(report["rows"].as_array().unwrap().len(), 9);
    assert_eq!(report["totals"]["filtered"], 30);
}

#[test]
fn sorting_puts_the_asked_for_first_and_the_missing_last() {
    let folder = tempfile::tempdir().unwrap();
    let path = altered(folder.path(), &[("lm_head.weight", 0, [0xc0, 0x7f])]);
    let report = json(&["spectrum", path.to_str().unwrap(), "--sort", "-spectral_norm"]);
    let rows = report["rows"].as_array().unwrap();
    let norms: Vec<Option<f64>> = rows.iter().map(|row| row["spectral_norm"].as_f64()).collect();
    assert!(norms.windows(2).all(|pair| pair[0] >= pair[1]), "{norms:?}");
    assert_eq!(rows.last().unwrap()["name"], "lm_head");
}

#[test]
fn every_shell_gets_a_completion_script_that_knows_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish", "nushell"] {
        assert!(stdout(&["completions", shell]).contains("spectrum"), "{shell}");
    }
}

#[test]
fn every_command_gets_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    stdout(&["man", folder.path().to_str().unwrap()]);
    let page = fs::read_to_string(folder.path().join("svdkit-spectrum.1")).unwrap();
    assert!(page.starts_with('.') && page.contains("singular\\-values"), "{page}");
}

#[test]
fn every_column_of_a_report_is_explained() {
    let report = json(&["spectrum", BASE, "--include", "lm_head"]);
    for key in report["columns"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()) {
        assert!(stdout(&["explain", key]).contains("Source: "), "{key}");
    }
    check_exit(&["explain", "alpa"], 2, "did you mean `alpha`?");
}

#[test]
fn an_allocation_goes_beside_the_table_and_is_the_same_for_any_order_and_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let written = |more: &[&str]| {
        let path = folder.path().join("prune.json");
        let allocate = format!("sparsity={}", path.display());
        let arguments =
            [&["farms", BASE, "--window", "60", "--windows-per-dim", "3", "--allocate", &allocate], more];
        assert!(stdout(&arguments.concat()).contains("FARMS α"));
        fs::read_to_string(path).unwrap()
    };
    let first = written(&["-j", "1"]);
    assert_eq!(first, written(&["-j", "3", "--sort", "-farms_alpha"]));
    let allocation: Value = serde_json::from_str(&first).unwrap();
    assert!((allocation["mean"].as_f64().unwrap() - 0.7).abs() < 1e-14);
    assert_eq!(allocation["sparsity"].as_object().unwrap().len(), 28);
    assert_eq!(allocation["excluded"].as_object().unwrap().len(), 2);
}

#[test]
fn a_layer_that_is_not_finite_is_left_out_of_an_allocation_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let nan = ("model.layers.1.mlp.up_proj.weight", 7, [0xc0, 0x7f]);
    let path = altered(folder.path(), &[nan]);
    let arguments =
        ["farms", path.to_str().unwrap(), "--window", "40", "--windows-per-dim", "2", "--allocate", "lr"];
    let allocation = json(&arguments);
    let reason = &allocation["excluded"]["model.layers.1.mlp.up_proj"];
    assert_eq!(reason, "the weight holds NaN or infinite entries");
    assert_eq!(allocation["learning_rate"].as_object().unwrap().len(), 27);
}

#[test]
fn build_servers_are_told_what_is_broken() {
    let run = |format: &str| {
        let rules = ["--fail-if", "stable_rank < 2", "--fail-if", "*.mlp.*: alpha > 1e9"];
        let output = svdkit(&[&["spectrum", BASE, "-q", "--format", format], &rules[..]].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap()
    };
    let junit = run("junit");
    assert!(
        junit.starts_with("<?xml") && junit.contains("tests=\"2\" skipped=\"0\" failures=\"1\" errors=\"0\""),
        "{junit}"
    );
    assert!(junit.contains("<failure message=\"lm_head: stable_rank = 1.030"), "{junit}");
    assert!(
        run("github").starts_with("::error title=svdkit%3A stable_rank < 2::lm_head: stable_rank = 1.030")
    );
    let gitlab: Value = serde_json::from_str(&run("gitlab")).unwrap();
    assert_eq!((gitlab[0]["check_name"].as_str(), gitlab[1].is_null()), (Some("stable_rank < 2"), true));
}

#[test]
fn a_file_gets_the_format_of_its_extension_or_the_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let named = format!("gitlab={}", at("quality.json"));
    stdout(&["spectrum", BASE, "-o", &at("page.html"), "-o", &named, "-o", &at("a=b.csv")]);
    assert!(fs::read_to_string(at("page.html")).unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(fs::read_to_string(at("quality.json")).unwrap(), "[]\n");
    assert!(fs::read_to_string(at("a=b.csv")).unwrap().starts_with("name,"));
}
