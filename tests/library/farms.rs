//! What FARMS' own algorithm gives: small matrices made by formula, and the allocation from the authors' published
//! exponents of LLaMA.

#![expect(clippy::unreadable_literal, reason = "copied digit by digit from the peers")]

use std::path::Path;

use serde_json::Value as Json;
use svdkit::analysis::allocation::{Excess, means, sparsities};
use svdkit::analysis::farms::{Convolution, FARMS, Settings, measure, windows};
use svdkit::checkpoint::{Catalogue, Holds};
use svdkit::layer::{Element, Filter, TensorInfo, select};
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::StartRule;
use svdkit::report::Measurements;
use svdkit::solver::{NoMemo, Precision};
use svdkit::spectrum::{Route, Spectrum};

/// One tensor of doubles in memory.
struct Golden(TensorInfo, Vec<f64>);

impl Golden {
    /// The generator of the golden matrices: a linear congruence, uniform in [−½, ½).
    fn new(shape: &[usize], seed: u32) -> Self {
        let mut state = seed;
        let entry = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        let entries = (0..shape.iter().product()).map(entry).collect();
        let (name, element) = ("golden.conv.weight".to_owned(), Element::Float(Dtype::F64));
        Self(
            TensorInfo { name: name.into(), shape: shape.to_vec(), element, file: 0, offset: 0, bytes: None },
            entries,
        )
    }

    fn measure(&self, settings: &Settings) -> Measurements {
        let layers = select(std::slice::from_ref(&self.0), &Filter::default()).layers;
        let layer = &*layers[0];
        let matrix = Matrix::from_f64(layer.rows, layer.cols, &self.1).unwrap();
        let source = Catalogue::given(Holds::Weights, [(layer.clone(), matrix.into())]);
        measure(&source, layer, settings, FARMS.iter().collect::<Vec<_>>().leak(), &NoMemo).unwrap().values
    }
}

fn settings(start: StartRule) -> Settings {
    Settings {
        window: 16,
        aspect: 1.0,
        windows_per_dim: 3,
        start,
        convolution: Convolution::Fold,
        precision: Precision::Fast,
    }
}

#[track_caller]
fn check(values: &Measurements, expected: &[(&str, f64)]) {
    for (key, expected) in expected {
        let found = values.get(key).unwrap().number().unwrap_or_else(|| panic!("{key} is missing"));
        assert!((found / expected - 1.0).abs() < 1e-9, "{key} is {found}, peer {expected}");
    }
}

#[test]
fn the_golden_matrix_has_the_peers_exponents_by_every_rule() {
    let matrix = Golden::new(&[48, 32], 1);
    check(
        &matrix.measure(&settings(StartRule::Median)),
        &[
            ("farms_alpha", 2.172620474058638),
            ("farms_ks_distance", 0.1972042936394382),
            ("farms_tail_count", 72.0),
            ("whole_alpha", 2.5544056410496108),
            ("alpha_shift", 2.172620474058638 - 2.5544056410496108),
            ("windows", 9.0),
            ("window_rows", 16.0),
            ("window_cols", 16.0),
            ("window_coverage", 1.0),
        ],
    );
    let scan = [
        ("farms_alpha", 8.420869818012703),
        ("farms_ks_distance", 0.11977928918944736),
        ("farms_tail_count", 16.0),
    ];
    for (rule, whole) in [(StartRule::Ks, 3.005369160850117), (StartRule::Peak, 1.3437421778890364)] {
        let values = matrix.measure(&settings(rule));
        check(&values, &scan);
        check(&values, &[("whole_alpha", whole)]);
    }
}

#[test]
fn the_golden_windows_hold_the_peers_eigenvalues() {
    let matrix = Golden::new(&[48, 32], 1);
    let entries = Matrix::from_f64(48, 32, &matrix.1).unwrap();
    let grid = windows(&settings(StartRule::Ks), 48, 32);
    assert_eq!((&grid.rows.starts, &grid.cols.starts), (&vec![0, 16, 32], &vec![0, 8, 16]));
    let spectra = grid.spectra(&entries, Route::Direct).unwrap();
    let squares: Vec<f64> = spectra.iter().flat_map(Spectrum::values).map(|s| s * s).collect();
    let (sum, largest) = (squares.iter().sum::<f64>(), squares.iter().copied().fold(0.0, f64::max));
    assert_eq!(squares.len(), 144);
    assert!((sum - 192.71986877977838).abs() < 1e-11 && (largest - 5.104666658772024).abs() < 1e-13);
}

#[test]
fn the_golden_convolution_has_the_peers_exponent() {
    let kernel = Golden::new(&[6, 4, 3, 3], 3);
    let blocks = Settings { convolution: Convolution::Blocks, ..settings(StartRule::Median) };
    check(
        &kernel.measure(&blocks),
        &[
            ("farms_alpha", 2.419253489480098),
            ("windows", 9.0),
            ("window_rows", 4.0),
            ("window_cols", 4.0),
            ("window_coverage", 2.0 / 3.0),
        ],
    );
    // Folded it is a matrix like any other: 6 × 36.
    check(
        &kernel.measure(&settings(StartRule::Median)),
        &[("window_rows", 6.0), ("window_cols", 6.0), ("windows", 3.0), ("window_coverage", 0.5)],
    );
}

/// The mapping from the authors' exponents, computed by a script that knows nothing of this code.
#[test]
fn the_published_exponents_of_llama_give_alphaprunings_sparsities() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/farms_allocation.json");
    let oracle: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let numbers =
        |list: &Json| list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
    let mut redistributed = 0;
    for model in oracle["models"].as_array().unwrap() {
        let alphas = numbers(&model["alpha"]);
        let (hidden, wide) = (model["hidden"].as_f64().unwrap(), model["wide"].as_f64().unwrap());
        let size = |i: usize| if i % 7 < 4 { hidden * hidden } else { hidden * wide };
        let sizes: Vec<f64> = (0..alphas.len()).map(size).collect();
        let blocks: Vec<usize> = (0..alphas.len()).map(|i| i / 7).collect();
        for case in model["cases"].as_array().unwrap() {
            let setting = (case["target"].as_f64().unwrap(), case["epsilon"].as_f64().unwrap());
            let per_block = case["per"] == "block";
            let used = if per_block { means(&alphas, &blocks) } else { alphas.clone() };
            let kept = sparsities(&used, &sizes, setting, Excess::Redistribute);
            let total = kept.iter().zip(&sizes).map(|(s, n)| s * n).sum::<f64>() / sizes.iter().sum::<f64>();
            assert!((total - setting.0).abs() < 1e-14, "{} {setting:?}: {total}", model["name"]);
            assert!(kept.iter().all(|s| *s > 0.0 && *s <= 1.0));
            let (key, excess) = match case.get("clipped") {
                Some(_) => ("clipped", Excess::Clip),
                None => ("sparsity", Excess::Redistribute),
            };
            redistributed += usize::from(excess == Excess::Clip);
            let found = sparsities(&used, &sizes, setting, excess);
            let expected = numbers(&case[key]);
            for (i, found) in found.iter().enumerate() {
                let expected = expected[if per_block { i / 7 } else { i }];
                let miss = (found - expected).abs();
                assert!(miss < 1e-12, "{} {case} {i}: {found}, expected {expected}", model["name"]);
            }
        }
    }
    assert_eq!(redistributed, CLIPPED);
}

/// Cases of the oracle in which sparsities exceed 1.
const CLIPPED: usize = 21;

#[test]
fn the_published_exponents_have_the_published_means() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/farms_allocation.json");
    let oracle: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let means = [3.345496, 3.550330, 3.595670, 3.261984, 3.611856];
    for (model, expected) in oracle["models"].as_array().unwrap().iter().zip(means) {
        let alphas = model["alpha"].as_array().unwrap();
        let mean = alphas.iter().map(|x| x.as_f64().unwrap()).sum::<f64>() / alphas.len() as f64;
        assert!((mean - expected).abs() < 1e-6, "{}: {mean}", model["name"]);
    }
}
