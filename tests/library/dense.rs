//! Small matrices with known numbers: those of the golden file of findings, and what is made like them.

use std::path::Path;

use serde_json::Value as Json;
use svdkit::layer::Layer;
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::{METRICS, Subject};
use svdkit::report::{MissingReason, Row};
use svdkit::solver::{Entries, Precision, singular_values};

pub(crate) fn golden() -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oracle/findings.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Row-major entries of a golden matrix.
#[derive(Clone)]
pub(crate) struct Dense {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) entries: Vec<f64>,
}

impl Dense {
    /// Uniform entries in [−½, ½) of a linear congruence.
    pub(crate) fn uniform(rows: usize, cols: usize, seed: u32) -> Self {
        let mut state = seed;
        let entry = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        Self { rows, cols, entries: (0..rows * cols).map(entry).collect() }
    }

    /// Sums of four neighbors each.
    pub(crate) fn bell(rows: usize, cols: usize, seed: u32) -> Self {
        let wide = Self::uniform(rows, 4 * cols, seed);
        Self { rows, cols, entries: wide.entries.chunks(4).map(|four| four.iter().sum()).collect() }
    }

    fn of(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        Self { rows, cols, entries: (0..rows * cols).map(|at| entry(at / cols, at % cols)).collect() }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.entries[i * self.cols + j]
    }

    pub(crate) fn map(&self, entry: impl Fn(usize, usize, f64) -> f64) -> Self {
        Self::of(self.rows, self.cols, |i, j| entry(i, j, self.at(i, j)))
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
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

    pub(crate) fn rounded(&self, dtype: Dtype) -> Self {
        Self { entries: self.stored(dtype).to_f64(), ..*self }
    }

    /// The same as `dtype` stores it: what the library itself never rounds to is rounded here, to the nearest of all numbers.
    fn stored(&self, dtype: Dtype) -> Matrix {
        if dtype.size() > 1 {
            return Matrix::rounded(self.rows, self.cols, dtype, &self.entries)
                .or_else(|_| Matrix::from_f64(self.rows, self.cols, &self.entries))
                .unwrap();
        }
        let numbers = Matrix::new(1, 256, dtype, (0..=u8::MAX).collect()).unwrap().to_f64();
        let nearest = |x: &f64| {
            let finite = (0..=u8::MAX).filter(|code| numbers[usize::from(*code)].is_finite());
            let distance = |code: u8| (numbers[usize::from(code)] - x).abs();
            finite.min_by(|a, b| distance(*a).total_cmp(&distance(*b)).then((a % 2).cmp(&(b % 2)))).unwrap()
        };
        Matrix::new(self.rows, self.cols, dtype, self.entries.iter().map(nearest).collect()).unwrap()
    }

    /// One direction of `size` edges added.
    fn with_spike(size: f64, seed: u32) -> Self {
        let unit = |values: Vec<f64>| {
            let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
            values.into_iter().map(|x| x / norm).collect::<Vec<f64>>()
        };
        let u = unit((0..64).map(|i| f64::from(1 + i).cos()).collect());
        let v = unit((0..128).map(|j| f64::from(1 + j).sin()).collect());
        let edge = (8.0 + 128f64.sqrt()) / 12f64.sqrt();
        Self::uniform(64, 128, seed).map(|i, j, x| x + size * edge * u[i] * v[j])
    }

    pub(crate) fn row(&self, name: &str, stored: Dtype) -> Row {
        let (dtype, matrix) = (stored, self.stored(stored));
        let layer = Layer::plain(name, (self.rows, self.cols), dtype);
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
            name: name.into(),
            tensor: name.into(),
            role: name.into(),
            shape: [self.rows as u64, self.cols as u64],
            dtype: dtype.name().into(),
            values: subject.evaluate(METRICS).into(),
            places: subject.places().into(),
            ..Row::default()
        }
    }
}

/// The golden matrix of that name, its seeds moved by `shift`, and the type it is stored in.
pub(crate) fn matrix(name: &str, shift: u32) -> (Dense, Dtype) {
    let uniform = |rows, cols, seed| Dense::uniform(rows, cols, seed + shift);
    let bell = |rows, cols, seed| Dense::bell(rows, cols, seed + shift);
    let trained = |share| {
        let update = uniform(96, 12, 116).times(&uniform(12, 128, 117));
        bell(96, 128, 115).moved(share, &update)
    };
    let found = match name {
        "uniform_48x48" => uniform(48, 48, 101),
        "uniform_96x40" => uniform(96, 40, 102),
        "uniform_40x96" => uniform(40, 96, 103),
        "uniform_200x120" => uniform(200, 120, 104),
        "bell_64x64" => bell(64, 64, 105),
        "bell_120x300" => bell(120, 300, 106),
        "bell_bf16" => {
            let matrix = bell(72, 150, 107).map(|_, _, x| 0.02 * x).rounded(Dtype::Bf16);
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
        "spike_over_edge" => Dense::with_spike(1.5, 114 + shift),
        "spike_under_edge" => Dense::with_spike(0.3, 114 + shift),
        "spread_direction" => Dense::with_spike(6.0, 114 + shift),
        "trained_0.05" => trained(0.05),
        "trained_0.6" => trained(0.6),
        "moved_uniform" => uniform(96, 128, 141).moved(0.25, &bell(96, 128, 142)),
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
