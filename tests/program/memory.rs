//! Small files that stand for large matrices: measured by their parts where that is possible, or refused in one line.

use std::path::Path;

use crate::harness::{check_exit, floats, json, list, save, stdout, stored};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A tensor of f32.
fn tensor(name: &str, shape: &[usize]) -> crate::harness::Stored {
    stored(name, "F32", shape, floats(shape.iter().product(), name.len()))
}

#[test]
fn a_kronecker_product_is_measured_by_its_two_matrices() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lokr.safetensors");
    save(&path, &[tensor("lycoris_a.lokr_w1", &[60, 70]), tensor("lycoris_a.lokr_w2", &[500, 40])]);
    // 30,000 × 2,800 doubles would be 670 MB.
    let report = json(&["spectrum", text(&path), "--memory", "64M"]);
    let row = &list(&report, "rows")[0];
    assert_eq!(row["shape"], serde_json::json!([30_000, 2_800]));
    assert!(row["failed"].is_null() && row["spectral_norm"].as_f64().unwrap() > 0.0, "{row}");
    // ‖A ⊗ B‖F = ‖A‖F·‖B‖F.
    let norm = |name: &str, shape: &[usize]| {
        let path = folder.path().join("one.safetensors");
        save(&path, &[stored("w", "F32", shape, floats(shape.iter().product(), name.len()))]);
        list(&json(&["spectrum", text(&path)]), "rows")[0]["frobenius_norm"].as_f64().unwrap()
    };
    let product = norm("lycoris_a.lokr_w1", &[60, 70]) * norm("lycoris_a.lokr_w2", &[500, 40]);
    assert!((row["frobenius_norm"].as_f64().unwrap() / product - 1.0).abs() < 1e-12);
}

#[test]
fn the_plan_of_a_kronecker_product_counts_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lokr.safetensors");
    save(&path, &[tensor("lycoris_a.lokr_w1", &[60, 70]), tensor("lycoris_a.lokr_w2", &[500, 40])]);
    let plan = stdout(&["spectrum", text(&path), "--dry-run"]);
    assert!(plan.contains("to read   94.5 KiB"), "{plan}");
    assert_eq!(json(&["spectrum", text(&path)])["totals"]["parameters"], 24_200);
}

/// Without room for a decomposition a run ends in one line, whatever the limit of its address space.
#[cfg(target_os = "linux")]
#[test]
fn a_limited_address_space_is_no_abort() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, &[tensor("a.weight", &[64, 64]), tensor("b.weight", &[300, 280])]);
    for space in [120_000, 200_000, 300_000, 500_000, 2_000_000] {
        for more in ["", "--no-svd"] {
            let line = format!("ulimit -v {space}; exec \"$0\" spectrum \"$1\" -q -j 2 {more}");
            let run = std::process::Command::new("sh")
                .args(["-c", &line, env!("CARGO_BIN_EXE_svdkit"), text(&path)])
                .env("CI", "true")
                .output()
                .unwrap();
            let (code, said) = (run.status.code(), String::from_utf8_lossy(&run.stderr).into_owned());
            match code {
                Some(0) => assert_eq!(said, "", "{space}"),
                Some(2) if more.is_empty() => {
                    assert!(said.starts_with("error: the address space is limited to"), "{said}");
                    assert_eq!(said.lines().count(), 1, "{said}");
                }
                code => panic!("{space} {more}: {code:?} {said}"),
            }
        }
    }
}

#[test]
fn a_product_around_a_kernel_is_measured_by_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mid.safetensors");
    let part = |part: &str, shape: &[usize]| tensor(&format!("lora_unet_a.lora_{part}.weight"), shape);
    // Its right factor would be 2 × 7,200,000 doubles.
    save(&path, &[part("down", &[2, 320, 1, 1]), part("mid", &[2, 2, 150, 150]), part("up", &[64, 2, 1, 1])]);
    for more in [&[][..], &["--no-svd"]] {
        let report = json(&[&["spectrum", text(&path), "--memory", "16M"], more].concat());
        let row = &list(&report, "rows")[0];
        assert_eq!(row["shape"], serde_json::json!([64, 7_200_000]));
        assert!(row["failed"].is_null(), "{row}");
        assert_eq!(report["totals"]["parameters"], 640 + 90_000 + 128);
        if more.is_empty() {
            assert!(row["spectral_norm"].as_f64().unwrap() > 0.0, "{row}");
        }
    }
}

#[test]
fn an_update_far_larger_than_its_factors_is_not_begun_beyond_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("loha.safetensors");
    let part = |part: &str, shape: &[usize]| tensor(&format!("lycoris_a.hada_{part}"), shape);
    let (tall, wide) = ([3000, 40], [40, 3000]);
    save(&path, &[part("w1_a", &tall), part("w1_b", &wide), part("w2_a", &tall), part("w2_b", &wide)]);
    let memory = ["--memory", "64M"];
    let reason = "lycoris_a: takes about";
    check_exit(&[&["spectrum", text(&path)], &memory[..]].concat(), 2, reason);
    check_exit(&[&["spectrum", text(&path)], &memory[..]].concat(), 2, "`--memory 1G` allows that");
    let plan = stdout(&[&["spectrum", text(&path), "--dry-run"], &memory[..]].concat());
    assert!(plan.contains("refused   1 that take far more memory"), "{plan}");
}

#[test]
fn a_report_that_does_not_fit_is_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.safetensors");
    let name = |i: usize| format!("{}.{i}.weight", "x".repeat(3500));
    let tensors: Vec<_> = (0..10_000).map(|i| stored(&name(i), "F16", &[1, 2], vec![0; 4])).collect();
    save(&path, &tensors);
    let run = ["spectrum", text(&path), "--memory", "1M", "--no-svd"];
    check_exit(&run, 2, "its report takes about");
    check_exit(&run, 2, "and `--include GLOB` measures fewer matrices");
}

#[test]
fn tensors_of_all_sides_count_before_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("norms.safetensors");
    let norm = |i: usize| stored(&format!("layers.{i}.norm.weight"), "F16", &[1], vec![0; 2]);
    save(&path, &(0..70_000).map(norm).collect::<Vec<_>>());
    let (path, memory) = (text(&path), ["--memory", "1M"]);
    check_exit(&[&["spectrum", path], &memory[..]].concat(), 2, "70000 tensors can be measured: 1-D");
    let refused = "holds more tensors than fit into memory";
    check_exit(&[&["compare", path, path], &memory[..]].concat(), 2, refused);
    check_exit(&[&["intruders", path, path], &memory[..]].concat(), 2, refused);
}

/// The table of names that fill hundreds of lines each is laid out a few rows at a time.
#[cfg(target_os = "linux")]
#[test]
fn a_table_takes_no_more_than_its_longest_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.safetensors");
    let name = |i: usize| format!("{i}.{}.weight", "x".repeat(20_000));
    let tensors: Vec<_> = (0..500).map(|i| stored(&name(i), "F16", &[2, 2], vec![i as u8; 8])).collect();
    save(&path, &tensors);
    let line = "ulimit -v 130000; exec \"$0\" spectrum \"$1\" --no-svd -q -j 1";
    let run = std::process::Command::new("sh")
        .args(["-c", line, env!("CARGO_BIN_EXE_svdkit"), text(&path)])
        .env("CI", "true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && run.stdout.len() > 500 * 20_000, "{}: {said}", run.status);
}

#[test]
fn a_row_of_any_length_is_read_in_pieces_and_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.safetensors");
    let shape = [2, 2_200_000];
    let entries = floats(shape[0] * shape[1], 1);
    save(&path, &[stored("w", "F32", &shape, entries.clone())]);
    let report = json(&["spectrum", text(&path), "--no-svd", "--memory", "16M"]);
    let row = &list(&report, "rows")[0];
    let largest =
        entries.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x).abs()).fold(0.0f32, f32::max);
    assert_eq!(row["max_abs"].as_f64(), Some(f64::from(largest)));
    assert_eq!((&row["nonfinite_count"], &row["zero_rows"]), (&0.into(), &0.into()));
    assert_eq!(row["missing"]["kurtosis"]["code"], "not_applicable");
    let whole = blake3::hash(&entries).to_hex().to_string();
    assert_eq!(row["blake3"], whole.as_str());
}

#[test]
fn tensors_that_only_their_shape_tells_are_noted_and_the_user_overrules_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, &[tensor("filters.weight", &[6, 20, 39]), tensor("mixing.weight", &[4, 20, 18])]);
    let names = |more: &[&str]| {
        let report = json(&[&["spectrum", text(&path), "--no-svd"], more].concat());
        let names: Vec<String> =
            list(&report, "rows").iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        (names, report["notes"].to_string())
    };
    let (rows, notes) = names(&[]);
    assert_eq!(rows, ["filters", "mixing[0]", "mixing[1]", "mixing[2]", "mixing[3]"]);
    assert!(notes.contains("`filters` was taken for the kernel of a convolution, by shape alone"), "{notes}");
    assert!(
        notes.contains("`mixing` was taken for a stack of matrices, by shape alone; `--as-conv GLOB`"),
        "{notes}"
    );
    let (rows, notes) = names(&["--as-conv", "mix*", "--as-stack", "filters"]);
    assert_eq!((rows.len(), rows.contains(&"mixing".to_owned())), (7, true));
    assert!(!notes.contains("by shape alone"), "{notes}");
    let unknown = "has no tensor of three axes that `--as-conv` names";
    check_exit(&["spectrum", text(&path), "--as-conv", "x*"], 2, unknown);
}
