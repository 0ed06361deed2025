//! `lineage`, `scaling`, `compare --across` and `changed_share`: golden values of the papers' scripts, toys and laws.

#![expect(clippy::unreadable_literal, reason = "copied digit by digit from the golden values")]

use std::f64::consts::SQRT_2;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::adapter::noise;
use crate::harness::{BASE, check_exit, json, list, stdout};
use crate::permute::{Tensor, group, near, row, shuffled, text, written};

fn log10_p(report: &Value) -> f64 {
    group(report, "combined")["log10_p"].as_f64().unwrap()
}

#[test]
fn lineage_is_found_in_fine_tunes_and_in_copies_in_another_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let full = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
    let report = json(&["lineage", BASE, full]);
    assert_eq!(list(&report, "rows").len(), 4);
    assert!(log10_p(&report) < -100.0);
    assert!(log10_p(&json(&["lineage", BASE, full, "--permuted"])) < -100.0);
    for (name, stream) in [("inner", false), ("whole", true)] {
        let copy = shuffled(folder, name, stream);
        assert!(log10_p(&json(&["lineage", BASE, text(&copy)])) > -4.0);
        assert!(log10_p(&json(&["lineage", BASE, text(&copy), "--permuted"])) < -100.0, "{name}");
    }
}

#[test]
fn similar_sizes_of_rows_are_no_lineage() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let size: Vec<f64> = noise(1, 64, 9).iter().map(|x| (4.0 * x).exp()).collect();
    let mlp = |name: &str, seed: u32| {
        let scaled = |entries: Vec<f64>, cols: usize| -> Vec<f64> {
            entries.iter().enumerate().map(|(at, x)| x * size[at / cols]).collect()
        };
        let (gate, up) = (scaled(noise(64, 32, seed), 32), scaled(noise(64, 32, seed + 1), 32));
        let names = ["mlp.gate_proj.weight", "mlp.up_proj.weight", "mlp.down_proj.weight"];
        let [g, u, d] = names;
        let down = noise(32, 64, seed + 2);
        written(folder, name, &[(g, [64, 32], gate), (u, [64, 32], up), (d, [32, 64], down)])
    };
    let (a, b) = (mlp("a.safetensors", 1001), mlp("b.safetensors", 2002));
    for order in [&[][..], &["--permuted"]] {
        let report = json(&[&["lineage", text(&a), text(&b)], order].concat());
        assert!(log10_p(&report) > -3.0, "{report}");
    }
}

/// Diagonal matrices of the golden family: two blocks of `q` and `v` at a width.
fn family(folder: &Path, width: usize) -> PathBuf {
    let d = width as f64;
    let diagonal = |value: &dyn Fn(f64) -> f64| -> Vec<f64> {
        (0..width * width)
            .map(|at| if at % (width + 1) == 0 { value((at / (width + 1)) as f64) } else { 0.0 })
            .collect()
    };
    let mut tensors: Vec<Tensor> = vec![];
    let names = [("layers.0.q.weight", "layers.0.v.weight"), ("layers.1.q.weight", "layers.1.v.weight")];
    for (block, (q, v)) in names.into_iter().enumerate() {
        let block = block as f64;
        tensors.push((
            q,
            [width; 2],
            diagonal(&|i| 0.01 * block.exp2() * d.powf(0.25) * (1.0 - i / (2.0 * d))),
        ));
        let odd = |i: f64| if width == 16 && i > 0.0 { 1.1 } else { 1.0 };
        let of_v = |i: f64| 0.02 * 1.5f64.powf(block) * d.sqrt() * (1.0 - i / (2.0 * d)).powi(2) * odd(i);
        tensors.push((v, [width; 2], diagonal(&of_v)));
    }
    written(folder, &format!("d{width}.safetensors"), &tensors)
}

#[test]
fn a_family_scales_as_in_the_golden_values() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let models = [8, 16, 32].map(|width| family(folder, width));
    let models: Vec<&str> = models.iter().map(|path| text(path)).collect();
    let rates = ["--lr", "0.01,0.005,0.0025", "--wd", "0.1"];
    let report = json(&[&["scaling"], &models[..], &rates].concat());
    let check = |role: &str, golden: [f64; 4], s: [f64; 3], c: [f64; 3]| {
        let row = row(&report, role);
        for (key, expected) in ["width_exponent", "r_squared", "shape_gap", "decay_ratio"].iter().zip(golden)
        {
            near(&row[key], expected);
        }
        for (name, (s, c)) in ["d8", "d16", "d32"].iter().zip(s.into_iter().zip(c)) {
            near(&row[format!("mean_spectral_norm@{name}")], s);
            near(&row[format!("decay_constant@{name}")], c);
        }
    };
    check("layers.*.q", [0.25, 1.0, 0.0, 1.0], [0.0237841423, 0.0282842712, 0.0336358566], [0.0158113883; 3]);
    check(
        "layers.*.v",
        [0.5, 0.9971992581, 0.0563026389, SQRT_2],
        [0.0692820323, 0.1011467034, 0.1385640646],
        [0.0460577935, 0.0565427261, 0.0651355562],
    );
    // In any order, and with two the error is not known.
    let turned = json(&["scaling", models[2], models[0]]);
    assert_eq!(row(&turned, "layers.*.q")["missing"]["width_exponent_sigma"]["code"], "too_few_widths");
    check_exit(&["scaling", models[0], models[0]], 2, "have width 8");
    check_exit(
        &[&["scaling"], &models[..], &["--lr", "1,2", "--wd", "1"]].concat(),
        2,
        "gives 2 values for 3 models",
    );
}

#[test]
fn blocks_that_share_directions_are_told_from_those_that_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // Two directions along coordinates of 8 outputs and 4 inputs, and a third that is weak.
    let toy = |outputs: [usize; 2], inputs: [usize; 2]| -> Vec<f64> {
        let mut entries = noise(8, 4, 5).iter().map(|x| 1e-9 * x).collect::<Vec<_>>();
        for (i, (o, n)) in outputs.iter().zip(inputs).enumerate() {
            entries[o * 4 + n] = 2.0 - i as f64;
        }
        entries
    };
    let model = written(
        folder,
        "m.safetensors",
        &[
            ("layers.0.w.weight", [8, 4], toy([0, 1], [0, 1])),
            ("layers.1.w.weight", [8, 4], toy([1, 0], [2, 3])),
            ("layers.2.w.weight", [8, 4], toy([0, 2], [0, 3])),
            ("layers.2.experts.0.w.weight", [8, 4], toy([0, 1], [0, 1])),
            ("layers.2.experts.1.w.weight", [8, 4], toy([2, 3], [0, 1])),
        ],
    );
    let report = json(&["compare", text(&model), "--across", "layers", "-k", "2"]);
    let found = row(&report, "layers.*.w");
    let half = 0.5f64.sqrt();
    let close =
        |found: &Value, expected: f64| assert!((found.as_f64().unwrap() - expected).abs() < 1e-6, "{found}");
    close(&found["mean_overlap"], (1.0 + 2.0 * half) / 3.0);
    close(&found["highest_overlap"], 1.0);
    close(&found["chance_overlap"], 0.5);
    close(&found["right_mean_overlap"], 2.0 * half / 3.0);
    close(&found["right_chance_overlap"], half);
    close(&found["overlaps"]["left"][0][2], half);
    let report = json(&["compare", text(&model), "--across", "experts", "-k", "2"]);
    let found = row(&report, "layers.2.experts.*.w");
    close(&found["mean_overlap"], 0.0);
    close(&found["right_mean_overlap"], 1.0);
    let page = folder.join("page.html");
    stdout(&["compare", text(&model), "--across", "layers", "-k", "2", "-o", text(&page)]);
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("Overlap of leading directions") && page.contains("by chance 0.500"));
    check_exit(&["compare", BASE, "--across", "experts"], 2, "holds no two experts");
}

#[test]
fn entries_that_changed_are_counted_without_a_decomposition() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let entries = noise(20, 10, 7);
    let mut edited = entries.clone();
    for at in [0, 3, 77, 199] {
        edited[at] += 0.5;
    }
    // −0 has other bits than 0.
    let (mut zero, mut minus) = (entries.clone(), entries.clone());
    (zero[5], minus[5]) = (0.0, -0.0);
    let both = |name: &str, a: Vec<f64>, b: Vec<f64>| {
        written(folder, name, &[("a.weight", [20, 10], a), ("b.weight", [20, 10], b)])
    };
    let (a, b) = (both("a.safetensors", entries, zero), both("b.safetensors", edited, minus));
    for arguments in [&["--no-svd"][..], &["--columns", "changed_share"], &[]] {
        let report = json(&[&["compare", text(&a), text(&b)], arguments].concat());
        assert_eq!(row(&report, "a")["changed_share"], 0.02, "{arguments:?}");
        assert_eq!(row(&report, "b")["changed_share"], 0.005);
    }
    let report = json(&["compare", text(&a), text(&a), "--columns", "changed_share", "--all"]);
    assert!(list(&report, "rows").iter().all(|row| row["changed_share"] == 0.0), "{report}");
}
