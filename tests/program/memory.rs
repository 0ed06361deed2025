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
fn an_update_far_larger_than_its_factors_is_not_begun_beyond_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mid.safetensors");
    let part = |part: &str, shape: &[usize]| tensor(&format!("lora_unet_a.lora_{part}.weight"), shape);
    save(&path, &[part("down", &[2, 320, 1, 1]), part("mid", &[2, 2, 150, 150]), part("up", &[64, 2, 1, 1])]);
    let memory = ["--memory", "64M"];
    let reason = "lora_unet_a: takes about";
    check_exit(&[&["spectrum", text(&path)], &memory[..]].concat(), 2, reason);
    check_exit(&[&["spectrum", text(&path)], &memory[..]].concat(), 2, "`--memory 1G` allows that");
    let plan = stdout(&[&["spectrum", text(&path), "--dry-run"], &memory[..]].concat());
    assert!(plan.contains("refused   1 that take far more memory"), "{plan}");
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
