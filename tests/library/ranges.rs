//! Every column that states a range keeps to it, whatever the matrices: rounding puts no share above 1 and no angle below 0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use svdkit::analysis::compare::{
    BYTE_COLUMNS, Drift, PairSide, Preserve, Vectors, Weight, drifts_of, measure,
};
use svdkit::analysis::farms::{Convolution, FARMS};
use svdkit::analysis::intruders::{Cosines, Detail, Of, Options, VectorSide as Which, measure as intruders};
use svdkit::analysis::{farms, spectrum};
use svdkit::checkpoint::{Catalogue, Holds, Pairs};
use svdkit::layer::Layer;
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::{METRICS, RANKS, StartRule, chosen};
use svdkit::report::{Column, Measurements, Standing, Value};
use svdkit::solver::{Needs, NoMemo, Precision};

/// A checkpoint of one f64 matrix.
fn memory((rows, cols): (usize, usize), entries: &[f64]) -> (Catalogue, Layer) {
    let layer = Layer::plain("w", (rows, cols), Dtype::F64);
    let matrix = Matrix::from_f64(rows, cols, entries).unwrap();
    (Catalogue::given(Holds::Weights, [(layer.clone(), matrix.into())]), layer)
}

/// A seeded stream of numbers in (−½, ½).
fn noise(seed: u32) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    }
}

/// The numbers that a range may name, of one row.
struct Known<'a> {
    rows: f64,
    cols: f64,
    values: &'a BTreeMap<&'static str, f64>,
}

impl Known<'_> {
    /// The number that one end of a range stands for; none of a bound that is not a number.
    fn end(&self, text: &str) -> Option<f64> {
        let (short, long) = (self.rows.min(self.cols), self.rows.max(self.cols));
        let key = |key: &str| self.values.get(key).copied();
        match text.trim() {
            "−∞" | "∞" => None,
            "−1" => Some(-1.0),
            "0" => Some(0.0),
            "1" => Some(1.0),
            "2" => Some(2.0),
            "90" => Some(90.0),
            "m" => Some(self.rows),
            "n" => Some(self.cols),
            "m·n" => Some(self.rows * self.cols),
            "min(m, n)" => Some(short),
            "min(m, n) − 1" => Some(short - 1.0),
            "1/min(m, n)" => Some(1.0 / short),
            "min(m, n)/2" => Some(short / 2.0),
            "min(m, n, window)" => Some(short.min(WINDOW as f64)),
            "σ₁" => key("spectral_norm").or(Some(f64::INFINITY)),
            "√min(m, n)·σ₁" => Some(short.sqrt() * key("spectral_norm")?),
            "√min(m, n)·‖W‖F" => Some(short.sqrt() * key("frobenius_norm")?),
            "max_eigenvalue" => key("max_eigenvalue"),
            "spike_count" => key("spike_count"),
            "k" => key("k"),
            "`-k`" => Some(TOP as f64),
            "windows-per-dim²" => Some((PER_DIM * PER_DIM) as f64),
            "windows · min(window_rows, window_cols)" => {
                Some(key("windows")? * key("window_rows")?.min(key("window_cols")?))
            }
            other => panic!("a range ends in `{other}`, which this test does not know ({long})"),
        }
    }

    /// Whether `x` lies in the range that `column` states.
    #[track_caller]
    fn check(&self, column: &Column, x: f64, what: &str) {
        let bounds = column.range.split(", units").next().unwrap();
        let bounds = [", squared", ", 1/units", ", degrees", ", give"]
            .iter()
            .fold(bounds, |b, s| b.split(s).next().unwrap());
        if bounds == "0 or 1" {
            return assert!([0.0, 1.0].contains(&x), "{what}: {} is {x}", column.key);
        }
        let inner = &bounds[1..bounds.len() - 1];
        // The comma between the ends is the one outside parentheses.
        let mut depth = 0;
        let comma = inner.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            *c == ',' && depth == 0
        });
        let (low, high) = inner.split_at(comma.unwrap().0);
        // Ends that are themselves measured are known to rounding, others are exact.
        let rounding = |end: &str| if end.contains('σ') || end.contains('‖') { 1e-14 } else { 0.0 };
        if let Some(end) = self.end(low) {
            let sound = if bounds.starts_with('(') { x > end } else { x >= end * (1.0 - rounding(low)) };
            assert!(sound, "{what}: {} is {x:e}, below {}", column.key, column.range);
        }
        if let Some(end) = self.end(&high[1..]) {
            let sound = if bounds.ends_with(')') { x < end } else { x <= end * (1.0 + rounding(high)) };
            assert!(sound, "{what}: {} is {x:e}, above {}", column.key, column.range);
        }
    }
}

const WINDOW: usize = 6;
const PER_DIM: usize = 3;
const TOP: usize = 5;

/// Checks all numbers of one row.
#[track_caller]
fn check(shape: (usize, usize), values: &Measurements, what: &str, seen: &mut BTreeSet<&'static str>) {
    let numbers: BTreeMap<&'static str, f64> =
        values.0.iter().filter_map(|(column, value)| Some((column.key, value.number()?))).collect();
    let known = Known { rows: shape.0 as f64, cols: shape.1 as f64, values: &numbers };
    for (column, value) in &values.0 {
        if let Some(x) = value.number() {
            // The constant of RankMe is part of its definition.
            if column.key != "rankme" {
                known.check(column, x, what);
            }
            seen.insert(column.key);
        }
    }
}

/// Matrices of every structure that tests rounding: with equal, repeated, vanishing, graded values.
fn matrices((rows, cols): (usize, usize), seed: u32) -> Vec<(&'static str, Vec<f64>)> {
    let of = |entry: &mut dyn FnMut(usize, usize) -> f64| -> Vec<f64> {
        (0..rows * cols).map(|i| entry(i / cols, i % cols)).collect()
    };
    let mut next = noise(seed);
    let mut plain = noise(seed);
    let (mut graded, mut left, mut right) = (noise(seed), noise(seed + 1), noise(seed + 2));
    let (left, right): (Vec<f64>, Vec<f64>) =
        ((0..rows).map(|_| left()).collect(), (0..cols).map(|_| right()).collect());
    let mut signs = noise(seed + 3);
    vec![
        ("noise", of(&mut |_, _| plain())),
        ("identity", of(&mut |i, j| f64::from(u8::from(i == j)))),
        ("a third", of(&mut |i, j| f64::from(u8::from(i == j)) / 3.0)),
        ("signs", of(&mut |_, _| if signs() > 0.0 { 0.1 } else { -0.1 })),
        ("ones", of(&mut |_, _| 0.7)),
        ("rank one", of(&mut |i, j| left[i] * right[j])),
        ("half zero", of(&mut |i, _| if 2 * i < rows { 0.0 } else { next() })),
        ("graded", of(&mut |i, j| graded() * 0.05f64.powf((i + j) as f64))),
        ("two blocks", of(&mut |i, j| if (i < rows / 2) == (j < cols / 2) { 0.3 } else { 0.0 })),
        ("hadamard", of(&mut |i, j| if (i & j).count_ones() % 2 == 0 { 0.25 } else { -0.25 })),
        ("zero", of(&mut |_, _| 0.0)),
    ]
}

/// What came of a matrix.
fn tuned((rows, cols): (usize, usize), base: &[f64], seed: u32) -> Vec<(&'static str, Vec<f64>)> {
    let at = |i: usize, j: usize| base[i * cols + j];
    let of = |entry: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
        (0..rows * cols).map(|i| entry(i / cols, i % cols)).collect()
    };
    let other: Vec<f64> =
        base.iter().zip(std::iter::repeat_with(noise(seed))).map(|(x, e)| x + 0.4 * e).collect();
    let near: Vec<f64> =
        base.iter().zip(std::iter::repeat_with(noise(seed))).map(|(x, e)| x * (1.0 + 1e-9 * e)).collect();
    vec![
        ("itself", base.to_vec()),
        ("negated", of(&|i, j| -at(i, j))),
        ("one row negated", of(&|i, j| if i == 0 { -at(i, j) } else { at(i, j) })),
        ("rows re-ordered", of(&|i, j| at((i + 1) % rows, j))),
        ("columns re-ordered", of(&|i, j| at(i, cols - 1 - j))),
        ("a third", of(&|i, j| at(i, j) / 3.0)),
        ("moved", other),
        ("hardly moved", near),
        ("another", std::iter::repeat_with(noise(seed + 9)).take(rows * cols).collect()),
        ("nothing", vec![0.0; rows * cols]),
    ]
}

const SHAPES: [(usize, usize); 5] = [(1, 7), (8, 8), (12, 5), (9, 16), (24, 24)];
const SCALES: [f64; 7] = [1.0, 1e-300, 1e-160, 1e-9, 1e140, 1e300, 7e306];

fn side((source, layer): &(Catalogue, Layer)) -> PairSide<'_> {
    PairSide::Weight(Weight { source, layer })
}

#[test]
fn the_metrics_of_a_matrix_lie_in_their_ranges() {
    let chosen = chosen(0.01, &[0.8]);
    let mut seen = BTreeSet::new();
    for (shape, scale) in SHAPES.iter().flat_map(|shape| SCALES.map(|scale| (*shape, scale))) {
        for (name, entries) in matrices(shape, 3) {
            let entries: Vec<f64> = entries.iter().map(|x| x * scale).collect();
            let (source, layer) = memory(shape, &entries);
            let what = format!("{name} of {shape:?} times {scale:e}");
            let settings = farms::Settings {
                window: WINDOW,
                aspect: 1.0,
                windows_per_dim: PER_DIM,
                start: StartRule::Ks,
                convolution: Convolution::Fold,
                precision: Precision::Fast,
            };
            let every: farms::Metrics = FARMS.iter().collect::<Vec<_>>().leak();
            for precision in [Precision::Fast, Precision::Exact] {
                for metrics in [METRICS, RANKS] {
                    let found = spectrum::measure(&source, &layer, precision, metrics, &NoMemo).unwrap();
                    check(shape, &found.values, &what, &mut seen);
                }
                let evaluate = |subject: &svdkit::metric::Subject<'_>| subject.evaluate_chosen(chosen);
                let rounded = svdkit::metric::Rounded::Itself;
                let found = spectrum::measure_with(
                    &source,
                    &layer,
                    (precision, Needs::Values),
                    rounded,
                    &evaluate,
                    &NoMemo,
                )
                .unwrap();
                check(shape, &found.values, &what, &mut seen);
            }
            let found = farms::measure(&source, &layer, &settings, every, &NoMemo).unwrap();
            check(shape, &found.values, &what, &mut seen);
        }
    }
    let tables = METRICS.iter().chain(RANKS).map(|metric| metric.column.key);
    let farms = FARMS.iter().map(|metric| metric.column.key);
    let missed: Vec<_> = tables.chain(farms).filter(|key| !seen.contains(key)).collect();
    assert_eq!(missed, Vec::<&str>::new(), "never measured");
}

#[test]
fn the_numbers_of_a_pair_lie_in_their_ranges() {
    let mut seen = BTreeSet::new();
    for (shape, scale) in SHAPES.iter().flat_map(|shape| SCALES.map(|scale| (*shape, scale))) {
        for (name, base) in matrices(shape, 5) {
            for (change, other) in tuned(shape, &base, 7) {
                let scaled = |entries: &[f64]| entries.iter().map(|x| x * scale).collect::<Vec<f64>>();
                let (base, other) = (scaled(&base), scaled(&other));
                let what = format!("{name} of {shape:?} times {scale:e}, {change}");
                let (base, other) = (memory(shape, &base), memory(shape, &other));
                for preserve in [Preserve::Energy(0.9), Preserve::Rank(2)] {
                    let settings = super::drift::settings(preserve, TOP);
                    let found = measure(
                        Some(side(&base)),
                        &[Some((side(&other), Standing::Measured))],
                        &settings,
                        &NoMemo,
                    );
                    let found = found.unwrap().tuned.remove(0).unwrap();
                    let columns = drifts_of(Vectors::All).map(|drift| &drift.column);
                    let values: Vec<(&'static Column, Value)> = columns.zip(found.drifts.unwrap()).collect();
                    check(shape, &Measurements(values), &what, &mut seen);
                }
                let pairs = Pairs::new(Arc::new(base.0), Arc::new(other.0));
                for of in [Of::Tuned, Of::Delta] {
                    let options = Options {
                        k: TOP,
                        epsilon: 0.6,
                        sweep: vec![],
                        side: Which::Both,
                        of,
                        cosines: Cosines::Exact,
                        detail: Detail::Indices,
                        mitigate: None,
                    };
                    let found = intruders(&pairs, "w", &options, &options.columns()).unwrap();
                    check(shape, &found.measured.values, &what, &mut seen);
                }
            }
        }
    }
    // What bytes say is measured before these.
    let of_bytes = |drift: &&Drift| BYTE_COLUMNS.iter().any(|other| other.column.key == drift.column.key);
    let missed = drifts_of(Vectors::All).filter(|drift| !of_bytes(drift)).map(|drift| drift.column.key);
    let missed: Vec<_> = missed.filter(|key| !seen.contains(key)).collect();
    assert_eq!(missed, Vec::<&str>::new(), "never measured");
}
