//! Golden matrices with the numbers that findings take, as numpy has them, and which findings are true of each.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;
use svdkit::findings::find;
use svdkit::layer::Layer;
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::{METRICS, Subject};
use svdkit::report::{Concentration, MissingReason, Report, Row, Totals};
use svdkit::solver::{Entries, Precision, singular_values};

fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/findings.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Row-major entries of a golden matrix.
#[derive(Clone)]
struct Dense {
    rows: usize,
    cols: usize,
    entries: Vec<f64>,
}

impl Dense {
    /// Uniform entries in [−½, ½) of a linear congruence.
    fn uniform(rows: usize, cols: usize, seed: u32) -> Self {
        let mut state = seed;
        let entry = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        Self { rows, cols, entries: (0..rows * cols).map(entry).collect() }
    }

    /// Sums of four neighbors each.
    fn bell(rows: usize, cols: usize, seed: u32) -> Self {
        let wide = Self::uniform(rows, 4 * cols, seed);
        Self { rows, cols, entries: wide.entries.chunks(4).map(|four| four.iter().sum()).collect() }
    }

    fn of(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        Self { rows, cols, entries: (0..rows * cols).map(|at| entry(at / cols, at % cols)).collect() }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.entries[i * self.cols + j]
    }

    fn map(&self, entry: impl Fn(usize, usize, f64) -> f64) -> Self {
        Self::of(self.rows, self.cols, |i, j| entry(i, j, self.at(i, j)))
    }

    fn times(&self, other: &Self) -> Self {
        Self::of(self.rows, other.cols, |i, j| (0..self.cols).map(|l| self.at(i, l) * other.at(l, j)).sum())
    }

    fn norm(&self) -> f64 {
        self.entries.iter().map(|x| x * x).sum::<f64>().sqrt()
    }

    /// `self + share·|self|/|other|·other`.
    fn moved(&self, share: f64, other: &Self) -> Self {
        let by = share * self.norm() / other.norm();
        self.map(|i, j, x| x + by * other.at(i, j))
    }

    fn rounded(&self, dtype: Dtype) -> Self {
        let matrix = Matrix::rounded(self.rows, self.cols, dtype, &self.entries).unwrap();
        Self { entries: matrix.to_f64(), ..*self }
    }

    /// One direction of `size` edges added.
    fn with_spike(size: f64) -> Self {
        let unit = |values: Vec<f64>| {
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            values.into_iter().map(|x| x / norm).collect::<Vec<f64>>()
        };
        let u = unit((0..64).map(|i| f64::from(1 + i).cos()).collect());
        let v = unit((0..128).map(|j| f64::from(1 + j).sin()).collect());
        let edge = (8.0 + 128f64.sqrt()) / 12f64.sqrt();
        Self::uniform(64, 128, 114).map(|i, j, x| x + size * edge * u[i] * v[j])
    }

    fn row(&self, name: &str, stored: Dtype) -> Row {
        let dtype = if stored == Dtype::F64 { Dtype::F64 } else { stored };
        let layer = Layer::plain(name, (self.rows, self.cols), dtype);
        let matrix = Matrix::rounded(self.rows, self.cols, dtype, &self.entries)
            .or_else(|_| Matrix::from_f64(self.rows, self.cols, &self.entries))
            .unwrap();
        let mut entries = Entries::new();
        // In blocks of an odd number of rows, as a stream brings them.
        for first in (0..self.rows).step_by(7) {
            let last = self.rows.min(first + 7);
            let size = matrix.dtype().size() * self.cols;
            let bytes = matrix.bytes()[first * size..last * size].to_vec();
            entries.push(&Matrix::new(last - first, self.cols, matrix.dtype(), bytes).unwrap());
        }
        let spectrum = singular_values(&matrix, Precision::Exact);
        let finite = entries.nonfinite_count() == 0;
        let spectrum = spectrum.ok().filter(|_| finite);
        let subject = Subject::new(&layer, &entries, spectrum.as_ref().ok_or(MissingReason::NonFinite));
        Row {
            name: name.to_owned(),
            tensor: name.to_owned(),
            role: name.to_owned(),
            shape: [self.rows as u64, self.cols as u64],
            dtype: dtype.name().to_owned(),
            values: subject.evaluate(METRICS),
            places: subject.places(),
            ..Row::default()
        }
    }
}

/// The golden matrix of that name, and the type it is stored in.
fn matrix(name: &str) -> (Dense, Dtype) {
    let uniform = Dense::uniform;
    let trained = |share| {
        let update = uniform(96, 12, 116).times(&uniform(12, 128, 117));
        Dense::bell(96, 128, 115).moved(share, &update)
    };
    let found = match name {
        "uniform_48x48" => uniform(48, 48, 101),
        "uniform_96x40" => uniform(96, 40, 102),
        "uniform_40x96" => uniform(40, 96, 103),
        "uniform_200x120" => uniform(200, 120, 104),
        "bell_64x64" => Dense::bell(64, 64, 105),
        "bell_120x300" => Dense::bell(120, 300, 106),
        "bell_bf16" => {
            let matrix = Dense::bell(72, 150, 107).map(|_, _, x| 0.02 * x).rounded(Dtype::Bf16);
            return (matrix, Dtype::Bf16);
        }
        "uniform_zero_rows" => {
            uniform(90, 60, 108).map(|i, _, x| if [3, 17, 40].contains(&i) { 0.0 } else { x })
        }
        "embedding_padding_row" => uniform(90, 60, 108).map(|i, _, x| if i == 0 { 0.0 } else { x }),
        "small_24x24" => uniform(24, 24, 109),
        "small_thin_16x400" => uniform(16, 400, 110),
        "row_scaled" => uniform(64, 64, 111).map(|i, _, x| x * (1.0 + 0.5 * (i % 2) as f64)),
        "column_scaled" => uniform(80, 120, 112).map(|_, j, x| x * (1.0 + j as f64 / 240.0)),
        "offset" => uniform(64, 128, 113).map(|_, _, x| x + 0.05),
        "spike_over_edge" => Dense::with_spike(1.5),
        "spike_under_edge" => Dense::with_spike(0.3),
        "spread_direction" => Dense::with_spike(6.0),
        "trained_0.05" => trained(0.05),
        "trained_0.6" => trained(0.6),
        "moved_uniform" => uniform(96, 128, 141).moved(0.25, &Dense::bell(96, 128, 142)),
        "sparse" => {
            let where_zero = uniform(64, 96, 119);
            uniform(64, 96, 118).map(|i, j, x| if where_zero.at(i, j) < 0.4 { 0.0 } else { x })
        }
        "hadamard" => {
            Dense::of(64, 64, |i, j| if (i & j).count_ones().is_multiple_of(2) { 0.125 } else { -0.125 })
        }
        "identity" => Dense::of(40, 40, |i, j| f64::from(u8::from(i == j))),
        "zero" => Dense::of(40, 50, |_, _| 0.0),
        "nan" => uniform(40, 50, 120).map(|i, j, x| if (i, j) == (2, 3) { f64::NAN } else { x }),
        "large_entry" => uniform(60, 70, 121).map(|i, j, x| if (i, j) == (5, 6) { 12.0 } else { x }),
        "entry_below" => uniform(60, 70, 121).map(|i, j, x| if (i, j) == (5, 6) { 1.0 } else { x }),
        "one_row" => uniform(60, 70, 122).map(|i, _, x| if i == 7 { 12.0 * x } else { x }),
        "one_column" => uniform(60, 70, 123).map(|_, j, x| if j == 9 { 12.0 * x } else { x }),
        "constant_offset" => uniform(60, 70, 124).map(|_, _, x| x + 1.0),
        "same_vector" => uniform(60, 70, 125).map(|_, j, x| x + (j as f64).cos()),
        "constant_per_row" => uniform(60, 70, 126).map(|i, _, x| x + (i as f64).cos()),
        "rank_4" => uniform(80, 4, 127).times(&uniform(4, 100, 128)).rounded(Dtype::F32),
        "rank_40_of_80" => uniform(80, 40, 129).times(&uniform(40, 100, 130)).rounded(Dtype::F32),
        "duplicate_rows" => {
            let plain = uniform(50, 60, 131);
            plain.map(|i, j, x| if i == 10 || i == 11 { plain.at(4, j) } else { x })
        }
        "dead_column" => uniform(50, 60, 132).map(|_, j, x| if j == 7 { 0.0 } else { x }),
        "signs" => uniform(48, 64, 133).map(|_, _, x| x.signum()),
        "unit_rows" => {
            let plain = uniform(128, 64, 134);
            let norm = |i: usize| (0..64).map(|j| plain.at(i, j).powi(2)).sum::<f64>().sqrt();
            plain.map(|i, _, x| x / norm(i))
        }
        other => panic!("no golden matrix is called {other}"),
    };
    (found, Dtype::F64)
}

fn report(rows: Vec<Row>) -> Report {
    Report {
        schema: svdkit::report::SCHEMA,
        svdkit: "0".into(),
        command: "spectrum".into(),
        model: svdkit::report::Source {
            path: "m".to_owned(),
            format: "safetensors".into(),
            commit: None,
            files: vec![],
        },
        base: None,
        tuned: vec![],
        settings: vec![],
        columns: METRICS.iter().map(|metric| &metric.column).collect(),
        rows,
        skipped: vec![],
        totals: Totals::default(),
        groups: vec![],
        notes: vec![],
        summary: None,
        findings: vec![],
        findings_unchecked: vec![],
        verdicts: vec![],
        unlisted: svdkit::report::Unlisted::default(),
    }
}

/// What a finding of one matrix is called in the golden file.
fn told(name: &str, row: &Row) -> String {
    let which = row.places.leading_direction.filter(|_| name == "dominant-direction");
    let which = which.map_or(String::new(), |part| {
        let short = match part {
            Concentration::Constant => "one constant",
            Concentration::Spread => "spread",
            part => part.words(),
        };
        format!(":{short}")
    });
    format!("{name}{which}")
}

#[test]
fn golden_matrices_have_the_numbers_of_numpy() {
    let golden = golden();
    let columns = [
        ("kurtosis", "kurtosis"),
        ("iid_z", "iid_z"),
        ("mp_distance", "mp_distance"),
        ("mp_edge_z", "edge_z"),
        ("lone_entry", "lone_entry"),
        ("zero_rows", "zero_rows"),
        ("zero_columns", "zero_columns"),
        ("duplicate_rows", "duplicate_rows"),
        ("duplicate_columns", "duplicate_columns"),
        ("effective_rank", "effective_rank"),
    ];
    for (name, golden) in golden["matrices"].as_object().unwrap() {
        let (dense, dtype) = matrix(name);
        let row = dense.row(name, dtype);
        for (key, theirs) in columns {
            let Some(expected) = golden["values"].get(theirs).and_then(Json::as_f64) else { continue };
            let found = row.values.get(key).unwrap().number();
            let found = found.unwrap_or_else(|| panic!("{name}: {key} is missing"));
            // The golden values are roots of eigenvalues, where a σ of zero is not zero; these are numpy.linalg.svd's.
            let expected = match (name.as_str(), key) {
                ("duplicate_rows", "effective_rank") => 41.770_141_693_018_154,
                ("rank_4", "effective_rank") => 3.974_910_625_084_491,
                ("rank_40_of_80", "effective_rank") => 35.148_782_265_944_34,
                _ => expected,
            };
            let close = (found - expected).abs() <= 1e-9 * expected.abs().max(1.0);
            assert!(close, "{name}: {key} is {found}, not {expected}");
        }
    }
}

#[test]
fn golden_matrices_have_the_findings_that_are_true_of_them() {
    for (name, golden) in golden()["matrices"].as_object().unwrap() {
        let (dense, dtype) = matrix(name);
        let called = if golden["embedding"] == true { format!("embed.{name}") } else { name.clone() };
        let report = report(vec![dense.row(&called, dtype)]);
        let (findings, _) = find(&report, &|_, _| false);
        let found: BTreeSet<String> =
            findings.iter().map(|finding| told(&finding.name, &report.rows[0])).collect();
        let expected: BTreeSet<String> = golden["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, expected, "{name}: {findings:?}");
    }
}

#[test]
fn other_seeds_have_the_same_findings() {
    for seed in 1000..1020 {
        let random = [Dense::uniform(64, 90, seed), Dense::bell(96, 48, seed)];
        for dense in random {
            let (findings, _) = find(&report(vec![dense.row("w", Dtype::F64)]), &|_, _| false);
            assert_eq!(
                findings.iter().map(|f| f.name.as_ref()).collect::<Vec<&str>>(),
                ["random-like"],
                "{seed}"
            );
        }
        let update = Dense::uniform(96, 8, seed + 1).times(&Dense::uniform(8, 128, seed + 2));
        let trained = Dense::bell(96, 128, seed).moved(0.6, &update);
        let (findings, _) = find(&report(vec![trained.row("w", Dtype::F64)]), &|_, _| false);
        assert!(findings.is_empty(), "{seed}: {findings:?}");
    }
}

#[test]
fn directions_above_rounding_are_counted_by_the_spacing_of_the_type() {
    let golden = golden();
    let check = |name: &str, dense: &Dense, dtype: Dtype| {
        let row = dense.row("w", dtype);
        let found = row.values.get("rank_above_rounding").unwrap().number().unwrap();
        assert_eq!(Some(found), golden["rounding"][name]["above"].as_f64(), "{name}");
    };
    check("bf16(L(100,80,170))", &Dense::uniform(100, 80, 170), Dtype::Bf16);
    check("f16(1e-5*L(100,80,170))", &Dense::uniform(100, 80, 170).map(|_, _, x| 1e-5 * x), Dtype::F16);
    let product = Dense::uniform(100, 6, 171).times(&Dense::uniform(6, 80, 172));
    check("bf16(L(100,6,171)*L(6,80,172))", &product, Dtype::Bf16);
}
