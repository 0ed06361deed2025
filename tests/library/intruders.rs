//! Intruders as others found them: the authors' script and PEFT's own function on the bundled fine-tunes, and small
//! matrices made by formula.

#![expect(clippy::unreadable_literal, reason = "copied digit by digit from the peers")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use svdkit::analysis::intruders::{Cosines, Detail, Of, Options, PairMeasured, VectorSide, measure};
use svdkit::checkpoint::{self, Catalogue, Given, Holds, Opening, Pairs};
use svdkit::layer::Layer;
use svdkit::low_rank::LowRank;
use svdkit::matrix::{Dtype, Matrix};
use svdkit::solver::{Operator, leading};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// What the paper's code asks.
fn options() -> Options {
    Options {
        k: 10,
        epsilon: 0.5,
        sweep: vec![],
        side: VectorSide::Left,
        of: Of::Tuned,
        cosines: Cosines::Exact,
        detail: Detail::Directions,
        mitigate: None,
    }
}

/// One matrix in memory.
fn memory(holds: Holds, shape: (usize, usize), given: Given) -> Arc<Catalogue> {
    Arc::new(Catalogue::given(holds, [(Layer::plain("w", shape, Dtype::F64), given)]))
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{what}: {found} is not {expected}");
}

/// Every matrix of one fine-tune against what the peers found.
fn check(tuned: &str) {
    let text = std::fs::read_to_string(fixture("oracle/intruders_charlm.json")).unwrap();
    let oracle: Json = serde_json::from_str(&text).unwrap();
    let expected = &oracle["fine_tunes"][tuned];
    let base: Arc<Catalogue> = checkpoint::open(&fixture("charlm/base")).unwrap().1;
    let opening = Opening { base: Some(Arc::clone(&base)), ..Opening::default() };
    let source = checkpoint::open_with(&fixture("charlm").join(tuned), &opening).unwrap().1;
    let pairs = Pairs::new(base, source);
    let mut total = 0;
    for (tensor, row) in expected["rows"].as_object().unwrap() {
        let name = tensor.strip_suffix(".weight").unwrap();
        let PairMeasured { measured, intruders, .. } =
            measure(&pairs, name, &options(), &options().columns()).unwrap();
        let number = |key: &str| measured.values.get(key).unwrap().number().unwrap();
        let indices: Vec<Json> = intruders.indices.iter().map(|i| Json::from(i - 1)).collect();
        assert_eq!(Json::from(indices), row["indices"], "{tuned} {name}");
        total += intruders.indices.len();
        for (i, direction) in intruders.directions.iter().enumerate() {
            let what = format!("{tuned} {name} #{}", direction.index);
            assert!(direction.best_cosine[1] - direction.best_cosine[0] <= 1e-8, "{what}");
            close(&what, direction.best_cosine[1], row["best_cosine"][i].as_f64().unwrap(), 1e-6);
            let sigma = row["sigma"][i].as_f64().unwrap();
            close(&what, direction.singular_value, sigma, 1e-10 * sigma);
            assert_eq!(direction.base_index.unwrap() - 1, row["best_match"][i].as_u64().unwrap(), "{what}");
        }
        for (key, theirs) in [
            ("intruder_energy", "energy_share"),
            ("delta_spectral_ratio", "delta_sigma1_ratio"),
            ("delta_frobenius_ratio", "delta_fro_ratio"),
            ("delta_effective_rank", "delta_effective_rank"),
        ] {
            let theirs = row[theirs].as_f64().unwrap();
            close(&format!("{tuned} {name} {key}"), number(key), theirs, 1e-8 * theirs.max(1.0));
        }
        let decided = Options { cosines: Cosines::Decided, ..options() };
        assert_eq!(
            measure(&pairs, name, &decided, &decided.columns()).unwrap().intruders.indices,
            intruders.indices
        );
    }
    assert_eq!(total as u64, expected["total"].as_u64().unwrap(), "{tuned}");
}

#[test]
fn a_full_fine_tune_has_the_intruders_that_the_authors_find() {
    check("full");
}

#[test]
fn adapters_have_the_intruders_that_the_authors_find() {
    ["lora-r1", "lora-r4", "lora-r16", "rslora-r16", "dora-r4", "pattern"].into_iter().for_each(check);
}

/// One pair, measured.
fn pair(base: Matrix, update: LowRank, options: &Options) -> PairMeasured {
    let shape = (base.rows(), base.cols());
    let base = memory(Holds::Weights, shape, base.into());
    measure(&Pairs::new(base, memory(Holds::Updates, shape, update.into())), "w", options, &options.columns())
        .unwrap()
}

fn cosines(found: &PairMeasured, side: &str) -> Vec<f64> {
    let directions = found.intruders.directions.iter().filter(|direction| direction.side == side);
    directions.map(|direction| direction.best_cosine[1]).collect()
}

fn all_close(found: &[f64], expected: &[f64], tolerance: f64) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        close(&i.to_string(), *found, *expected, tolerance);
    }
}

const W0: [f64; 30] = [
    -1.0, -0.25, 0.75, -2.0, 0.25, 1.25, -1.0, 1.25, -0.25, -1.0, -1.5, 1.75, 1.0, 0.75, 1.25, -0.75, -0.5,
    0.0, 1.0, -1.5, -0.75, 0.75, -1.75, 0.5, -0.75, -1.5, 1.25, 0.0, -0.75, -0.75,
];
const A: [f64; 10] = [0.0, 0.5, -0.75, -0.25, 0.25, -0.5, 0.25, -0.75, 0.0, 0.75];
const B: [f64; 12] = [-0.25, -0.5, 0.5, -0.5, 0.0, -0.5, -0.5, -0.5, 0.25, -0.5, -0.25, -0.5];

#[test]
fn a_matrix_of_six_by_five_gives_the_cosines_of_numpy_on_both_sides() {
    let base = Matrix::from_f64(6, 5, &W0).unwrap();
    let left: Vec<f64> = B.iter().map(|x| 2.0 * x).collect();
    let update = LowRank::new((6, 5), 2, left, A.to_vec()).unwrap();
    let both = Options { side: VectorSide::Both, ..options() };
    let found = pair(base.clone(), update.clone(), &both);
    let left = [0.6943394253, 0.7569801887, 0.7725773305, 0.6380934777, 0.8200965022];
    let right = [0.7354218110, 0.7088331832, 0.7364374638, 0.8103269733, 0.9539401188];
    all_close(&cosines(&found, "left"), &left, 1e-9);
    all_close(&cosines(&found, "right"), &right, 1e-9);
    let three = Options { k: 3, epsilon: 0.9, mitigate: Some(0.75), ..options() };
    let found = pair(base.clone(), update.clone(), &three);
    assert_eq!(found.intruders.indices, [1, 2, 3]);
    assert_eq!(found.measured.values.get("intruder_energy").unwrap().number(), Some(1.0));
    let correction = found.correction.unwrap();
    let mitigated = Operator::from(&base).plus(&Operator::from(&update)).unwrap();
    let mitigated = mitigated.plus(&Operator::from(&correction)).unwrap();
    let expected = [3.3971416991, 2.3577186237, 2.1603107812, 2.0905813698, 1.4402633543];
    all_close(&leading(&mitigated, 5).unwrap().values, &expected, 1e-9);
}

/// Entries by a linear congruential generator, as the peers' golden values were made.
fn generated(seed: u32, count: usize) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..count).map(|_| next()).collect()
}

fn update_of(alpha: f64) -> LowRank {
    let left = generated(6, 32 * 4).iter().map(|x| x * alpha / 4.0).collect();
    LowRank::new((32, 24), 4, left, generated(7, 4 * 24)).unwrap()
}

fn of_alpha(alpha: f64, options: &Options) -> PairMeasured {
    pair(Matrix::from_f64(32, 24, &generated(5, 32 * 24)).unwrap(), update_of(alpha), options)
}

#[test]
fn stronger_updates_have_more_intruders_as_peft_counts_them() {
    for (alpha, count) in [(1.0, 0), (2.0, 0), (4.0, 3), (8.0, 4)] {
        for side in [VectorSide::Left, VectorSide::Right] {
            let found = of_alpha(alpha, &Options { side, ..options() });
            assert_eq!(found.intruders.indices.len(), count, "α = {alpha}, {side:?}");
        }
    }
    let found = of_alpha(8.0, &options());
    assert_eq!(found.intruders.indices, [1, 2, 6, 9]);
    let expected = [0.401858075, 0.386878712, 0.513966693, 0.527675534, 0.640797305, 0.492784619];
    all_close(&cosines(&found, "left"), &expected, 1e-8);
    let sigma: Vec<f64> =
        found.intruders.directions.iter().map(|direction| direction.singular_value).collect();
    all_close(&sigma, &[7.157698354, 5.462276257, 4.706194895, 3.515182362, 2.502128039], 1e-8);
    let overlap = |k| of_alpha(8.0, &Options { k, ..options() }).measured.values.get("subspace_overlap");
    close("φ(4, 4)", overlap(4).unwrap().number().unwrap(), 0.28245794340817243, 1e-12);
    close("φ(8, 8)", overlap(8).unwrap().number().unwrap(), 0.6334238958697958, 1e-12);
}

#[test]
fn the_mitigated_update_is_that_of_peft() {
    let found = of_alpha(8.0, &Options { mitigate: Some(0.75), ..options() });
    let (update, correction) = (update_of(8.0), found.correction.unwrap());
    let sum = Operator::from(&update).plus(&Operator::from(&correction)).unwrap();
    // PEFT divides by the scale, α/r = 2.
    let values: Vec<f64> = leading(&sum, 24).unwrap().values.iter().map(|s| s / 2.0).collect();
    let expected = [
        2.414458904,
        1.976639865,
        1.70228739,
        1.631832821,
        0.274342125,
        0.237817662,
        0.063717846,
        0.037805713,
    ];
    assert_eq!(values.len(), expected.len());
    all_close(&values, &expected, 1e-8);
    let energy = |values: &[f64]| values.iter().map(|s| s * s).sum::<f64>();
    close("kept", energy(&values[..4]) / energy(&values), 0.9911037994452886, 1e-12);
}

#[test]
fn a_weight_has_no_intruders_against_itself_and_one_bump_outside_is_exactly_one() {
    // The last row is zero in the base, so nothing of it lies along the bump.
    let mut entries = generated(1, 40 * 30);
    entries[39 * 30..].fill(0.0);
    let base = Matrix::from_f64(40, 30, &entries).unwrap();
    let mut left = vec![0.0; 40];
    let zero = LowRank::new((40, 30), 1, left.clone(), generated(2, 30)).unwrap();
    let found = pair(base.clone(), zero, &options());
    assert!(found.intruders.indices.is_empty());
    assert_eq!(found.measured.values.get("delta_spectral_ratio").unwrap().number(), Some(0.0));
    assert_eq!(found.measured.values.get("delta_effective_rank").unwrap().number(), None);
    close("cosine", found.measured.values.get("lowest_cosine").unwrap().number().unwrap(), 1.0, 1e-12);
    left[39] = 50.0;
    let bump = LowRank::new((40, 30), 1, left, generated(2, 30)).unwrap();
    assert_eq!(pair(base, bump, &options()).intruders.indices, [1]);
}

#[test]
fn a_side_that_is_not_finite_is_a_finding() {
    let base = Matrix::from_f64(2, 2, &[1.0, f64::NAN, 0.0, 1.0]).unwrap();
    let update = LowRank::new((2, 2), 1, vec![1.0; 2], vec![1.0; 2]).unwrap();
    let found = pair(base, update, &options());
    assert!(found.measured.values.0.iter().all(|(_, value)| value.number().is_none()));
}
