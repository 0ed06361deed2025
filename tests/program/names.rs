//! Matrices and vectors whose names mean the same, or would be shortened to the same, are each compared, reported and read
//! back: none hides another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use svdkit::checkpoint::open;
use tempfile::TempDir;

use crate::harness::{Stored, floats, json_in, list, save, stored, svdkit_in, told};

/// What no checkpoint may do without in these tests.
fn weight() -> Stored {
    stored("w.weight", "F32", &[3, 4], floats(12, 0))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// All ways to write the name of one matrix that are seen through.
fn spellings(layer: usize) -> Vec<String> {
    let plain = format!("model.layers.{layer}.mlp.up_proj");
    let mut spellings: Vec<String> =
        ["", "base_model.model.", "module.", "_orig_mod.", "_fsdp_wrapped_module.", "module._orig_mod."]
            .iter()
            .map(|wrapper| format!("{wrapper}{plain}.weight"))
            .collect();
    for inside in [".base_layer", "._orig_mod", "._checkpoint_wrapped_module", ".modules_to_save.default"] {
        spellings.push(format!("{plain}{inside}.weight"));
    }
    spellings.push(format!("language_model.model.layers.{layer}.mlp.up_proj.weight"));
    spellings.push(format!("model.language_model.layers.{layer}.mlp.up_proj.weight"));
    spellings.push(format!("blk.{layer}.ffn_up.weight"));
    spellings
}

/// Every two names that mean the same, each pair in a model of its own, and names that are shortened to the same.
fn collisions() -> Vec<[String; 2]> {
    let mut pairs = vec![];
    let count = spellings(0).len();
    for (i, j) in (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j))) {
        let names = spellings(pairs.len());
        pairs.push([names[i].clone(), names[j].clone()]);
    }
    for (i, [a, b]) in [
        ["", ".weight"],
        [".weight", ".weight.weight"],
        ["", ".weight.weight"],
        [".weight", ".base_layer"],
        [".base_layer.weight", "._orig_mod"],
    ]
    .iter()
    .enumerate()
    {
        pairs.push([format!("emb{i}{a}"), format!("emb{i}{b}")]);
        pairs.push([format!("other{i}{a}"), format!("module.other{i}{b}")]);
    }
    pairs
}

/// What a checkpoint holds of each pair.
type Choice = fn(usize) -> bool;

/// A checkpoint with the chosen ones of every pair, those of `changed` with other entries.
fn colliding(path: &Path, shape: &[usize], held: Choice, changed: Choice) -> BTreeSet<String> {
    let count = shape.iter().product();
    let mut tensors = vec![];
    for (i, pair) in collisions().into_iter().enumerate() {
        for (which, name) in pair.into_iter().enumerate().filter(|(which, _)| held(*which)) {
            let seed = 2 * i + which + if changed(which) { 1000 } else { 0 };
            tensors.push(stored(&name, "F32", shape, floats(count, seed)));
        }
    }
    if shape.len() == 1 {
        tensors.push(weight());
    }
    save(path, &tensors);
    tensors.into_iter().map(|tensor| tensor.0).collect()
}

const BOTH: Choice = |_| true;
const FIRST: Choice = |which| which == 0;
const SECOND: Choice = |which| which == 1;
const NONE: Choice = |_| false;

/// Compares as weights and as reports of them.
fn reports(folder: &Path) -> Vec<Value> {
    for side in ["a", "b"] {
        let (model, report) = (format!("{side}.safetensors"), format!("{side}.json"));
        let output = svdkit_in(folder, &["spectrum", &model, "--no-svd", "-o", &report]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let pairs = [("a.safetensors", "b.safetensors"), ("a.json", "b.safetensors"), ("a.json", "b.json")];
    pairs.iter().map(|(a, b)| json_in(folder, &["compare", a, b, "--no-svd"])).collect()
}

fn check_accounts(
    report: &Value,
    base: &BTreeSet<String>,
    tuned: &BTreeSet<String>,
    vectors: bool,
    what: &str,
) {
    let rows = list(report, "rows");
    let names: BTreeSet<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), rows.len(), "{what}: two rows of one name");
    let count =
        |status: &[&str]| rows.iter().filter(|row| status.iter().any(|s| row["status"] == *s)).count();
    let (added, removed) = (count(&["added"]), count(&["removed"]));
    // Of a vector that is the same there is no row.
    let (ours, theirs) = (base.len() - removed, tuned.len() - added);
    assert_eq!(ours, theirs, "{what}: {removed} removed, {added} added");
    if !vectors {
        assert_eq!(rows.len(), base.len() + added, "{what}");
    }
}

#[test]
fn of_two_tensors_that_mean_the_same_each_is_compared() {
    for shape in [&[3, 4][..], &[5]] {
        let vectors = shape.len() == 1;
        for (held_by_base, held, changed, expected) in [
            (BOTH, BOTH, NONE, ("changed", NONE)),
            (BOTH, BOTH, FIRST, ("changed", FIRST)),
            (BOTH, BOTH, SECOND, ("changed", SECOND)),
            (BOTH, BOTH, BOTH, ("changed", BOTH)),
            (BOTH, FIRST, NONE, ("removed", SECOND)),
            (BOTH, SECOND, NONE, ("removed", FIRST)),
            (FIRST, BOTH, NONE, ("added", SECOND)),
            (SECOND, BOTH, NONE, ("added", FIRST)),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = |side: &str| folder.path().join(format!("{side}.safetensors"));
            let base = colliding(&path("a"), shape, held_by_base, NONE);
            let tuned = colliding(&path("b"), shape, held, changed);
            let (column, of) = expected;
            let expected: BTreeSet<String> = collisions()
                .into_iter()
                .flat_map(|pair| pair.into_iter().enumerate().filter(|(which, _)| of(*which)))
                .map(|(_, name)| name)
                .collect();
            for report in reports(folder.path()) {
                let what = format!("{shape:?} {column} {}", report["base"]["path"]);
                check_accounts(&report, &base, &tuned, vectors, &what);
                let found: BTreeSet<String> = told(&report, column).into_iter().map(str::to_owned).collect();
                assert_eq!(found, expected, "{what}");
                assert_eq!(told(&report, column).len(), expected.len(), "{what}");
            }
        }
    }
}

#[test]
fn of_two_that_mean_the_same_as_one_of_the_other_side_none_is_lost() {
    for shape in [&[3, 4][..], &[5]] {
        let (folder, other) = (tempfile::tempdir().unwrap(), "fsdp.wrapped");
        let pair = ["_orig_mod.l.0.q.weight", "l.0.q.base_layer.weight"];
        let count = shape.iter().product();
        let one = [
            weight(),
            stored("module.l.0.q.weight", "F32", shape, floats(count, 1)),
            stored(other, "F32", shape, floats(count, 2)),
        ];
        let two = [
            weight(),
            stored(pair[0], "F32", shape, floats(count, 1)),
            stored(pair[1], "F32", shape, floats(count, 3)),
            one[2].clone(),
        ];
        let (path, rest) = (|side: &str| folder.path().join(format!("{side}.safetensors")), shape.len() == 1);
        save(&path("a"), &one);
        save(&path("b"), &two);
        let names = |tensors: &[Stored]| tensors.iter().map(|tensor| tensor.0.clone()).collect();
        for report in reports(folder.path()) {
            check_accounts(&report, &names(&one), &names(&two), rest, "one and two");
            assert_eq!((told(&report, "removed").len(), told(&report, "added").len()), (1, 2));
        }
        save(&path("a"), &two);
        save(&path("b"), &one);
        for report in reports(folder.path()) {
            assert_eq!((told(&report, "removed").len(), told(&report, "added").len()), (2, 1));
        }
    }
}

/// A checkpoint of matrices whose names are shortened to the same, slices among them.
fn alike(folder: &TempDir) -> BTreeMap<String, usize> {
    let matrix = |name: &str, seed| stored(name, "F32", &[20, 18], floats(360, seed));
    let tensors = [
        matrix("emb", 1),
        matrix("emb.weight", 2),
        matrix("emb.weight.weight", 3),
        matrix("x[0]", 4),
        matrix("x[0].weight", 5),
        matrix("x.weight[1]", 6),
        stored("x", "F32", &[2, 20, 18], floats(720, 7)),
        stored("x.weight", "F32", &[2, 20, 18], floats(720, 8)),
        stored("norm", "F32", &[5], floats(5, 9)),
        stored("norm.weight", "F32", &[5], floats(5, 10)),
    ];
    save(&folder.path().join("m.safetensors"), &tensors);
    tensors.iter().map(|tensor| (tensor.0.clone(), if tensor.2.len() == 3 { 2 } else { 1 })).collect()
}

#[test]
fn every_command_accounts_for_every_tensor_whatever_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let held = alike(&folder);
    let model = "m.safetensors";
    for command in [
        &["spectrum", model][..],
        &["spectrum", model, "--no-svd"],
        &["spectrum", model, "--base", model],
        &["rank", model],
        &["rank", model, "--base", model],
        &["farms", model],
        &["intruders", model, model],
        &["compare", model, model],
        &["compare", model, model, "--no-svd", "--include", "*"],
    ] {
        let report = json_in(folder.path(), command);
        let (rows, skipped) = (list(&report, "rows"), list(&report, "skipped"));
        let names: BTreeSet<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), rows.len(), "{command:?}: {names:?}");
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for line in rows.iter().chain(skipped) {
            *found.entry(line["tensor"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(found, held, "{command:?}");
    }
    let totals = json_in(folder.path(), &["inspect", model])["totals"].clone();
    assert_eq!(
        (&totals["tensors"], &totals["matrices"], &totals["skipped"]),
        (&json!(10), &json!(10), &json!(2))
    );
}

#[test]
fn a_model_with_names_alike_is_equal_to_itself_and_its_report_readable() {
    let folder = tempfile::tempdir().unwrap();
    alike(&folder);
    let model = "m.safetensors";
    let run = |arguments: &[&str]| {
        let output = svdkit_in(folder.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["spectrum", model, "-o", "m.json", "--singular-values", "s.safetensors"]);
    let spectra = open(&folder.path().join("s.safetensors")).unwrap().1;
    assert_eq!(spectra.tensors().len(), 10);
    for (base, tuned) in [(model, model), ("m.json", model), (model, "m.json"), ("m.json", "m.json")] {
        run(&["compare", base, tuned, "--fail-if", "changed > 0"]);
        let report = json_in(folder.path(), &["compare", base, tuned]);
        assert_eq!(list(&report, "rows").len(), 10, "{base} {tuned}");
    }
}

#[test]
fn parts_of_one_tensor_are_each_their_own() {
    for entry in fs::read_dir(fixture("experts")).unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let model = entry.unwrap().path();
        let Ok((_, source)) = open(&model) else { continue };
        let matrices = source.select(&svdkit::layer::Filter::default()).layers.len();
        let model = model.to_str().unwrap();
        assert!(svdkit_in(folder.path(), &["spectrum", model, "--no-svd", "-o", "m.json"]).status.success());
        for (base, tuned) in [(model, model), ("m.json", model), ("m.json", "m.json")] {
            let report = json_in(folder.path(), &["compare", base, tuned, "--no-svd"]);
            assert_eq!(report["totals"]["compared"]["unchanged"], matrices, "{base} {tuned}");
            assert_eq!(list(&report, "rows").len(), matrices, "{base} {tuned}");
        }
    }
}
