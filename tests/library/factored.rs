//! Weights that are stored in parts: their spectra are those of the parts multiplied out, and what lacks a part is refused
//! by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use svdkit::checkpoint::{Catalogue, Factors, Opening, open, open_with};
use svdkit::layer::{Filter, Layer};
use svdkit::matrix::Matrix;
use svdkit::report::SkipKind;
use svdkit::solver::{Precision, singular_values};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn source(name: &str) -> Arc<Catalogue> {
    open(&fixture(&format!("factored/{name}"))).unwrap().1
}

/// The matrix as it is read whole, which is the same as row by row, from its factors or not.
fn dense(source: &Catalogue, layer: &Layer) -> Matrix {
    let whole = source.read(layer, 0..layer.rows).unwrap();
    let rows = (0..layer.rows).map(|row| source.read(layer, row..row + 1).unwrap().bytes().to_vec());
    assert_eq!(whole.bytes(), rows.collect::<Vec<_>>().concat(), "{}", layer.name);
    if layer.rank.is_some() {
        let factors = source.factors(layer).unwrap().dense(0..layer.rows).unwrap();
        assert_eq!(factors.to_f64(), whole.to_f64(), "{}", layer.name);
    }
    whole
}

#[test]
fn spectra_are_those_of_the_parts_multiplied_out() {
    let oracle: BTreeMap<String, BTreeMap<String, Vec<f64>>> =
        serde_json::from_slice(&std::fs::read(fixture("oracle/factored.json")).unwrap()).unwrap();
    let mut worst = (0.0, String::new());
    for (name, expected) in oracle {
        let source = source(&name);
        let layers = source.select(&Filter::default()).layers;
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        let mut wanted: Vec<&str> = expected.keys().map(String::as_str).collect();
        wanted.sort_by(|a, b| svdkit::layer::natural(a, b));
        assert_eq!(names, wanted, "{name}");
        for layer in &layers {
            let (values, expected) = (
                singular_values(&dense(&source, layer), Precision::Exact).unwrap(),
                &expected[layer.name.as_str()],
            );
            assert_eq!(values.values().len(), expected.len(), "{name}: {}", layer.name);
            for (found, value) in values.values().iter().zip(expected) {
                let miss = (found - value).abs() / expected[0];
                worst = if miss > worst.0 { (miss, format!("{name}: {}", layer.name)) } else { worst };
            }
        }
    }
    assert!(worst.0 < 1e-13, "{worst:?}");
}

#[test]
fn products_are_known_to_be_thin_and_sums_to_be_full() {
    let rank = |name: &str, matrix: &str| {
        let layers = source(name).select(&Filter::default()).layers;
        let layer = layers.into_iter().find(|layer| layer.name == matrix).unwrap();
        (layer.rank, layer.stored_shape.clone(), layer.parameters())
    };
    assert_eq!(rank("svd-llm", "model.layers.0.mlp.up_proj"), (Some(4), vec![24, 16], 4 * 40));
    assert_eq!(rank("maestro", "features.0"), (Some(5), vec![8, 3, 2, 2], 5 * 20));
    assert_eq!(rank("sorsa", "model.model.layers.0.mlp.up_proj"), (None, vec![18, 10], 180));
    assert_eq!(rank("svdquant", "transformer_blocks.0.qkv_proj"), (None, vec![256, 128], 256 * 128));
}

#[test]
fn every_part_is_told_and_counted_once() {
    for name in ["sorsa", "maestro", "svd-llm", "effort", "qvgen", "svdquant", "incomplete"] {
        let source = source(name);
        let all = source.select(&Filter::default());
        let mut told: Vec<&str> = all.layers.iter().map(|layer| layer.tensor.as_str()).collect();
        told.extend(all.skipped.iter().map(|line| line.tensor.as_str()));
        let mut stored: Vec<&str> = source.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
        told.sort_unstable();
        stored.sort_unstable();
        assert_eq!(told, stored, "{name}");
        let parts = all.skipped.iter().filter(|line| line.scales.is_some());
        assert!(name == "incomplete" || parts.count() > 0, "{name}");
        assert!(name == "incomplete" || source.notes().iter().any(|note| note.contains("stored")), "{name}");
    }
}

#[test]
fn weights_that_lack_a_part_are_refused_by_name() {
    let source = source("incomplete");
    let skipped = source.select(&Filter::default()).skipped;
    let check = |tensor: &str, kind: SkipKind, reason: &str| {
        let line = skipped.iter().find(|line| line.tensor == tensor).unwrap();
        assert!(line.kind == kind && line.reason.contains(reason), "{tensor}: {}", line.reason);
    };
    check(
        "a.fc.in_network.weight",
        SkipKind::Refused,
        "a part of a weight: `a.fc` (Maestro): `a.fc.out_network` is missing",
    );
    check(
        "a.q_u_proj.weight",
        SkipKind::Refused,
        "do not fit: `a.q_u_proj.weight` [8, 2] and `a.q_v_proj.weight` [3, 8]",
    );
    check("a.k_v_proj.weight", SkipKind::Plain, "a part of a weight that is stored whole, too: `a.k_proj`");
    check("b.to_q.sorsa_B", SkipKind::Refused, "a part of a weight: `b.to_q` (SORSA): `b.to_q` is missing");
    check("c.weight_main", SkipKind::Refused, "3 singular values for factors of rank 2");
    check("d.proj_up", SkipKind::Refused, "`d.qweight` [100, 64] is not whole tiles of codes");
    check("d.wscales", SkipKind::Refused, "a part of a weight: `d` (SVDQuant)");
}

#[test]
fn parts_can_be_read_as_they_are_stored() {
    let opening = Opening { factors: Factors::Weights, ..Opening::default() };
    let (_, source) = open_with(&fixture("factored/svd-llm"), &opening).unwrap();
    let layers = source.select(&Filter::default()).layers;
    assert!(layers.iter().any(|layer| layer.name == "model.layers.0.self_attn.q_u_proj" && layer.cols == 4));
}
