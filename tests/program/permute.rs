//! `compare --permute`: golden values of the papers' scripts, and copies in other orders.

#![expect(clippy::unreadable_literal, reason = "copied digit by digit from the golden values")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::adapter::{doubles, noise};
use crate::harness::{BASE, check_exit, json, list, planted, save, stdout};

pub(crate) type Tensor = (&'static str, [usize; 2], Vec<f64>);

pub(crate) fn written(folder: &Path, name: &str, tensors: &[Tensor]) -> PathBuf {
    let path = folder.join(name);
    let of = |(name, [rows, cols], entries): &Tensor| {
        let shape = if *cols == 0 { vec![*rows] } else { vec![*rows, *cols] };
        doubles(name, &shape, entries)
    };
    save(&path, &tensors.iter().map(of).collect::<Vec<_>>());
    path
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Rows in another order.
fn rows(entries: &[f64], cols: usize, order: &[usize]) -> Vec<f64> {
    order.iter().flat_map(|i| entries[i * cols..(i + 1) * cols].to_vec()).collect()
}

/// Columns in another order.
fn columns(entries: &[f64], cols: usize, order: &[usize]) -> Vec<f64> {
    entries.chunks(cols).flat_map(|row| order.iter().map(|j| row[*j]).collect::<Vec<_>>()).collect()
}

fn plus(entries: &[f64], scale: f64, other: &[f64]) -> Vec<f64> {
    entries.iter().zip(other).map(|(x, y)| x + scale * y).collect()
}

#[track_caller]
pub(crate) fn near(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or(f64::NAN);
    assert!((found - expected).abs() < 2e-10 * expected.abs().max(1.0), "{found}, not {expected}");
}

pub(crate) fn row<'r>(report: &'r Value, name: &str) -> &'r Value {
    list(report, "rows").iter().find(|row| row["name"] == name).unwrap()
}

pub(crate) fn group<'r>(report: &'r Value, name: &str) -> &'r Value {
    list(report, "groups").iter().find(|group| group["name"] == name).unwrap()
}

fn order(permutation: &Value, at: usize) -> Vec<usize> {
    serde_json::from_value(permutation["groups"][at]["order"].clone()).unwrap()
}

/// The chain of the golden values, with other weights in the second model.
fn chain(folder: &Path, name: &str, w: [Vec<f64>; 3], b: [Vec<f64>; 2]) -> PathBuf {
    let ([w1, w2, w3], [b1, b2]) = (w, b);
    written(
        folder,
        name,
        &[("w1", [8, 6], w1), ("b1", [8, 0], b1), ("w2", [8, 8], w2), ("b2", [8, 0], b2), ("w3", [4, 8], w3)],
    )
}

#[test]
fn neurons_of_a_gated_mlp_are_matched_as_in_the_golden_values() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pi = [3, 7, 0, 9, 1, 5, 8, 2, 6, 4];
    let [gate, up, down] = [noise(10, 6, 81), noise(10, 6, 82), noise(6, 10, 83)];
    let b = [
        plus(&rows(&gate, 6, &pi), 0.2, &noise(10, 6, 84)),
        plus(&rows(&up, 6, &pi), 0.2, &noise(10, 6, 85)),
        plus(&columns(&down, 10, &pi), 0.2, &noise(6, 10, 86)),
    ];
    let mlp = |name, [gate, up, down]: [Vec<f64>; 3]| {
        let names = ["mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"];
        let [g, u, d] = names;
        written(folder, name, &[(g, [10, 6], gate), (u, [10, 6], up), (d, [6, 10], down)])
    };
    let (a, b) = (mlp("a.safetensors", [gate, up, down]), mlp("b.safetensors", b));
    let (a, b, file) = (text(&a), text(&b), folder.join("p.json"));
    let emit = format!("permutation={}", text(&file));
    let report = json(&["compare", a, b, "--permute", "--emit", &emit]);
    let all = group(&report, "all tensors with units");
    near(&all["distance_before"], 5.1883477603);
    near(&all["distance_after"], 0.7669034926);
    assert_eq!(all["sweeps"], 2);
    let golden = [
        ("mlp.gate_proj", -5.83143e-05, 0.980862891),
        ("mlp.up_proj", 0.1604454201, 0.9749735923),
        ("mlp.down_proj", 0.1671198753, 0.9797054381),
    ];
    for (name, before, after) in golden {
        near(&row(&report, name)["alignment_before"], before);
        near(&row(&report, name)["alignment_after"], after);
    }
    let permutation: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(order(&permutation, 0), [2, 4, 7, 0, 9, 5, 8, 1, 6, 3]);
    // The same without a file, and the copy has these orders.
    let printed: Value =
        serde_json::from_str(&stdout(&["compare", a, b, "--permute", "--emit", "permutation"])).unwrap();
    assert_eq!(printed, permutation);
    let out = folder.join("copy");
    stdout(&["compare", a, b, "--permute", "--out", text(&out)]);
    let again = json(&["compare", a, text(&out), "--permute"]);
    assert_eq!(group(&again, "mlp")["moved_units"], 0);
    near(&group(&again, "mlp")["distance_before"], 0.7669034926);
}

#[test]
fn neurons_of_gpt2_are_known_without_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let moved: Vec<usize> = (0..24).map(|i| (5 * i + 7) % 24).collect();
    // Stored inputs × outputs: as outputs × inputs, its six inputs would be the neurons.
    let (reads, writes) = (noise(6, 24, 70), noise(24, 6, 71));
    let model = |name: &str, reads: Vec<f64>, writes: Vec<f64>| {
        let tensors: [Tensor; 2] = [
            ("transformer.h.0.mlp.c_fc.weight", [6, 24], reads),
            ("transformer.h.0.mlp.c_proj.weight", [24, 6], writes),
        ];
        written(folder.path(), name, &tensors)
    };
    let other = model("b.safetensors", columns(&reads, 24, &moved), rows(&writes, 6, &moved));
    let base = model("a.safetensors", reads, writes);
    let report = json(&["compare", text(&base), text(&other), "--permute"]);
    let found = group(&report, "transformer.h.0.mlp");
    assert_eq!((found["units"].as_u64(), found["distance_after"].as_f64()), (Some(24), Some(0.0)), "{found}");
}

#[test]
fn a_chain_of_layers_is_matched_as_in_the_golden_values() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [w1, w2, w3] = [noise(8, 6, 91), noise(8, 8, 93), noise(4, 8, 95)];
    let [b1, b2] = [noise(1, 8, 92), noise(1, 8, 94)];
    let (p1, p2) = ([5, 2, 7, 0, 3, 6, 1, 4], [1, 6, 4, 0, 7, 2, 5, 3]);
    let a = chain(folder, "a.safetensors", [w1.clone(), w2.clone(), w3.clone()], [b1.clone(), b2.clone()]);
    let of_b = [
        plus(&rows(&w1, 6, &p1), 0.3, &noise(8, 6, 96)),
        plus(&columns(&rows(&w2, 8, &p2), 8, &p1), 0.3, &noise(8, 8, 97)),
        plus(&columns(&w3, 8, &p2), 0.3, &noise(4, 8, 98)),
    ];
    let b = chain(folder, "b.safetensors", of_b, [rows(&b1, 1, &p1), rows(&b2, 1, &p2)]);
    let (a, b) = (text(&a), text(&b));
    let report = json(&["compare", a, b, "--permute"]);
    let all = group(&report, "all tensors with units");
    near(&all["distance_before"], 5.5790679842);
    near(&all["distance_after"], 1.0244282003);
    assert_eq!(all["sweeps"], 3);
    for (name, after) in [("w1", 0.9356293844), ("w2", 0.9401305978), ("w3", 0.9783020832)] {
        near(&row(&report, name)["alignment_after"], after);
    }
    let emitted = || stdout(&["compare", a, b, "--permute", "--emit", "permutation"]);
    let found: Value = serde_json::from_str(&emitted()).unwrap();
    assert_eq!(order(&found, 0), [3, 6, 1, 4, 7, 0, 5, 2]);
    assert_eq!(order(&found, 1), [3, 0, 5, 7, 2, 6, 1, 4]);
    // An unrelated model pins a hard case.
    let of_u = [noise(8, 6, 300), noise(8, 8, 302), noise(4, 8, 304)];
    let u = chain(folder, "u.safetensors", of_u, [noise(1, 8, 301), noise(1, 8, 303)]);
    let report = json(&["compare", a, text(&u), "--permute"]);
    let all = group(&report, "all tensors with units");
    near(&all["distance_before"], 5.0862565154);
    near(&all["distance_after"], 4.1735836646);
    assert_eq!(all["sweeps"], 2);
    let found: Value =
        serde_json::from_str(&stdout(&["compare", a, text(&u), "--permute", "--emit", "permutation"]))
            .unwrap();
    assert_eq!(order(&found, 0), [7, 1, 2, 6, 5, 0, 4, 3]);
    assert_eq!(order(&found, 1), [7, 1, 2, 5, 4, 3, 6, 0]);
}

/// Lines of bf16 in another order.
fn lines(bytes: &[u8], line: usize, order: &[usize]) -> Vec<u8> {
    order.iter().flat_map(|i| bytes[i * line..(i + 1) * line].to_vec()).collect()
}

/// The columns of such a matrix in another order.
fn in_columns(bytes: &[u8], cols: usize, order: &[usize]) -> Vec<u8> {
    bytes.chunks(2 * cols).flat_map(|row| lines(row, 2, order)).collect()
}

/// The bundled model with neurons, heads and the residual stream in other orders; with `stream` false, that stays.
pub(crate) fn shuffled(folder: &Path, name: &str, stream: bool) -> PathBuf {
    let file = format!("{name}/model.safetensors");
    fs::create_dir(folder.join(name)).unwrap();
    fs::copy(Path::new(BASE).join("config.json"), folder.join(name).join("config.json")).unwrap();
    let neurons: Vec<usize> = (0..352).map(|i| (i * 91 + 17) % 352).collect();
    // Both key heads change places, and the two query heads of each.
    let heads: Vec<usize> = (0..64).map(|i| (i + 32) % 64).collect();
    let queries: Vec<usize> = (0..128).map(|i| 96 + 2 * (i % 32) - i).collect();
    let width: Vec<usize> = (0..128).map(|i| (i * 37 + 5) % 128).collect();
    planted(folder, &file, |tensor, cols, bytes| {
        let last = tensor.rsplit('.').next().unwrap();
        let (rows, columns): (Option<&[usize]>, Option<&[usize]>) = match last {
            "gate_proj" | "up_proj" => (Some(&neurons), Some(&width)),
            "down_proj" => (Some(&width), Some(&neurons)),
            "k_proj" | "v_proj" => (Some(&heads), Some(&width)),
            "q_proj" => (Some(&queries), Some(&width)),
            "o_proj" => (Some(&width), Some(&queries)),
            _ => (None, Some(&width)),
        };
        let is_stream = |order: &[usize]| order == width.as_slice();
        let kept = |order: &&[usize]| stream || !is_stream(order);
        let bytes = rows.filter(kept).map_or(bytes.clone(), |order| lines(&bytes, 2 * cols, order));
        Some(columns.filter(kept).map_or(bytes.clone(), |order| in_columns(&bytes, cols, order)))
    });
    folder.join(name)
}

#[test]
fn a_model_in_another_order_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let inner = shuffled(folder, "inner", false);
    let report = json(&["compare", BASE, text(&inner), "--permute", "--vectors", "none"]);
    assert!(list(&report, "rows").iter().any(|row| row["distance_before"].as_f64().unwrap() > 1.0));
    assert!(list(&report, "rows").iter().all(|row| row["distance_after"] == 0.0));
    let heads = group(&report, "model.layers.0.self_attn");
    assert_eq!(
        (&heads["by"], &heads["units"], &heads["moved_units"]),
        (&"heads".into(), &2.into(), &2.into())
    );
    let whole = shuffled(folder, "whole", true);
    let out = folder.join("copy");
    let arguments =
        ["compare", BASE, text(&whole), "--permute", "all", "--vectors", "none", "--out", text(&out)];
    let report = json(&arguments);
    assert!(list(&report, "rows").iter().all(|row| row["distance_after"] == 0.0));
    assert_eq!(group(&report, "residual")["units"], 128);
    // Norms came along: the copy is the model again, bit by bit.
    let same = json(&["compare", BASE, text(&out)]);
    assert!(list(&same, "rows").iter().all(|row| row["status"] == "unchanged"), "{same}");
    assert!(out.join("config.json").exists());
}

#[test]
fn what_cannot_be_permuted_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let lone = written(folder, "lone.safetensors", &[("w", [4, 3], noise(4, 3, 1))]);
    check_exit(&["compare", text(&lone), text(&lone), "--permute"], 2, "holds no hidden neurons");
    let [fc1, fc2] = [noise(5, 3, 2), noise(3, 5, 3)];
    let mlp = |name: &str, extra: &[Tensor]| {
        let both = [("m.fc1.weight", [5, 3], fc1.clone()), ("m.fc2.weight", [3, 5], fc2.clone())];
        written(folder, name, &[&both, extra].concat())
    };
    let plain = mlp("plain.safetensors", &[]);
    let scaled = mlp("scaled.safetensors", &[("m.scale", [5, 0], noise(1, 5, 4))]);
    check_exit(
        &["compare", text(&scaled), text(&plain), "--permute"],
        2,
        "how `m.scale` holds them is not known",
    );
    let wider = written(
        folder,
        "wider.safetensors",
        &[("m.fc1.weight", [6, 3], noise(6, 3, 2)), ("m.fc2.weight", [3, 6], noise(3, 6, 3))],
    );
    check_exit(
        &["compare", text(&plain), text(&wider), "--permute"],
        2,
        "is 6 × 3 here and 5 × 3 in the other model",
    );
    check_exit(&["compare", text(&plain), text(&plain), "--permute", "all"], 2, "needs an embedding");
    let mut broken = fc1.clone();
    broken[2] = f64::NAN;
    let broken = written(
        folder,
        "nan.safetensors",
        &[("m.fc1.weight", [5, 3], broken), ("m.fc2.weight", [3, 5], fc2.clone())],
    );
    check_exit(&["compare", text(&plain), text(&broken), "--permute"], 2, "holds NaN or infinite entries");
    let taken = folder.join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("x"), "x").unwrap();
    check_exit(&["compare", text(&plain), text(&plain), "--permute", "--out", text(&taken)], 2, "taken");
    check_exit(&["compare", text(&plain), text(&plain), "--emit", "permutation"], 2, "--permute");
}

#[test]
fn sums_of_groups_stand_in_every_format_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let order = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/order/");
    let (a, b) = (format!("{order}mlp.safetensors"), format!("{order}mlp-moved.safetensors"));
    let permute = ["compare", &a, &b, "--permute"];
    let report = json(&permute);
    let mean = |key: &str| {
        let rows = list(&report, "rows").iter().map(|row| row[key].as_f64().unwrap());
        rows.sum::<f64>() / list(&report, "rows").len() as f64
    };
    for key in ["alignment_before", "alignment_after"] {
        near(&group(&report, "mlp")[key], mean(key));
    }
    let full = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
    let lineage = ["lineage", BASE, full];
    for (command, sum) in [(&permute[..], "| mlp | 3 | 10 | 9 | 2 |"), (&lineage, "| combined | 4 |")] {
        let markdown = stdout(&[command, &["--format", "markdown"]].concat());
        assert!(markdown.contains(sum), "{markdown}");
        let page = folder.path().join("page.html");
        stdout(&[command, &["-o", text(&page), "-q"]].concat());
        let page = fs::read_to_string(page).unwrap();
        let sums = page.split("id=\"sums\"").nth(1).and_then(|rest| rest.split("</section>").next());
        let sums = sums.unwrap_or_else(|| panic!("no sums in the page"));
        assert!(sums.contains(sum.split(" | ").next().unwrap().trim_matches(['|', ' '])), "{sums}");
        assert_eq!(sums.contains("mean alignment"), command == permute);
    }
}
