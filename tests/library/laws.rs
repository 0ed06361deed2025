//! Laws that singular values and their metrics obey whatever the matrix, on matrices drawn from fixed seeds.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use svdkit::layer::Layer;
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::{METRICS, Metric, RANKS, Subject, WEIGHTWATCHER, fit_tail};
use svdkit::report::Measurements;
use svdkit::solver::{Entries, Precision, singular_values};
use svdkit::spectrum::{Route, Spectrum};

/// A matrix of computed entries, row-major.
#[derive(Debug, Clone)]
struct Dense {
    rows: usize,
    cols: usize,
    entries: Vec<f64>,
}

impl Dense {
    fn gaussian(rows: usize, cols: usize, seed: u32) -> Self {
        let mut state = seed;
        let mut uniform = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(state >> 8) + 0.5) / f64::from(1 << 24)
        };
        let normal = |_| (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        Self { rows, cols, entries: (0..rows * cols).map(normal).collect() }
    }

    fn at(&self, row: usize, col: usize) -> f64 {
        self.entries[row * self.cols + col]
    }

    fn transposed(&self) -> Self {
        let entries = (0..self.cols).flat_map(|j| (0..self.rows).map(move |i| self.at(i, j))).collect();
        Self { rows: self.cols, cols: self.rows, entries }
    }

    fn scaled(&self, factor: f64) -> Self {
        Self { entries: self.entries.iter().map(|x| x * factor).collect(), ..self.clone() }
    }

    fn plus(&self, other: &Self) -> Self {
        let entries = self.entries.iter().zip(&other.entries).map(|(x, y)| x + y).collect();
        Self { entries, ..self.clone() }
    }

    /// `(I − 2 v vᵀ/‖v‖²) W`: a rotation with a mirror, which changes every row.
    fn reflected(&self, seed: u32) -> Self {
        let mirror = Self::gaussian(self.rows, 1, seed).entries;
        let square: f64 = mirror.iter().map(|x| x * x).sum();
        let mut reflected = self.clone();
        for j in 0..self.cols {
            let along: f64 = (0..self.rows).map(|i| mirror[i] * self.at(i, j)).sum();
            for (row, x) in reflected.entries.chunks_mut(self.cols).zip(&mirror) {
                row[j] -= 2.0 * along / square * x;
            }
        }
        reflected
    }

    fn matrix(&self) -> Matrix {
        Matrix::from_f64(self.rows, self.cols, &self.entries).unwrap()
    }

    fn spectrum(&self) -> Spectrum {
        singular_values(&self.matrix(), Precision::Exact).unwrap()
    }

    fn measure(&self) -> Measurements {
        let mut entries = Entries::new();
        entries.push(&self.matrix());
        let spectrum = self.spectrum();
        let tables = [METRICS, RANKS].map(|table| measure(&spectrum, &entries, table).0);
        Measurements(tables.into_iter().flatten().collect())
    }
}

fn measure(spectrum: &Spectrum, entries: &Entries, metrics: &'static [Metric]) -> Measurements {
    let layer = Layer::plain("w", (spectrum.rows(), spectrum.cols()), Dtype::F64);
    Subject::new(&layer, entries, Ok(spectrum)).evaluate(metrics)
}

fn number(values: &Measurements, key: &str) -> f64 {
    values.get(key).unwrap().number().unwrap_or_else(|| panic!("{key} is missing"))
}

#[track_caller]
fn close(a: f64, b: f64, tolerance: f64) {
    assert!(
        (a - b).abs() <= tolerance * a.abs().max(b.abs()),
        "{a:e} and {b:e} differ by more than {tolerance:e}"
    );
}

/// Two spectra agree to rounding of σ₁.
#[track_caller]
fn same(a: &Spectrum, b: &Spectrum) {
    for (x, y) in a.values().iter().zip(b.values()) {
        assert!((x - y).abs() <= 1e-12 * a.largest(), "{x:e} and {y:e} of σ₁ {:e}", a.largest());
    }
}

/// Runs `law` on 48 matrices of random shape, always the same.
fn law(law: impl Fn(Dense)) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let matrices =
        (1usize..40, 1usize..40, any::<u32>()).prop_map(|(m, n, seed)| Dense::gaussian(m, n, seed));
    TestRunner::new_with_rng(config, rng)
        .run(&matrices, |matrix| {
            law(matrix);
            Ok(())
        })
        .unwrap();
}

#[test]
fn singular_values_do_not_change_under_rotations_and_permutations() {
    law(|w| {
        same(&w.spectrum(), &w.reflected(1).spectrum());
        same(&w.spectrum(), &w.transposed().reflected(2).reflected(3).spectrum());
        let mut upside_down = w.clone();
        upside_down.entries = w.entries.chunks(w.cols).rev().flatten().copied().collect();
        same(&w.spectrum(), &upside_down.spectrum());
    });
}

#[test]
fn a_transposed_matrix_has_the_same_values_in_every_column_that_is_not_about_rows_alone() {
    // The bound of an initialization is one by inputs, and so is a norm that outputs and inputs scale.
    let of_rows = [
        "zero_rows",
        "zero_columns",
        "duplicate_rows",
        "duplicate_columns",
        "init_bound",
        "scaled_spectral_norm",
    ];
    law(|w| {
        let (values, turned) = (w.measure(), w.transposed().measure());
        for key in METRICS.iter().chain(RANKS).map(|metric| metric.column.key) {
            if of_rows.contains(&key) {
                continue;
            }
            match (values.get(key).unwrap().number(), turned.get(key).unwrap().number()) {
                (Some(a), Some(b)) => assert!((a - b).abs() <= 1e-8 * a.abs().max(1.0), "{key}: {a} and {b}"),
                (a, b) => assert_eq!(a, b, "{key}"),
            }
        }
    });
}

#[test]
fn scaling_the_weights_scales_norms_and_leaves_shape_metrics_alone() {
    law(|w| {
        let (values, scaled) = (w.measure(), w.scaled(-8.0).measure());
        for metric in METRICS.iter().chain(RANKS) {
            let key = metric.column.key;
            let factor = match key {
                "max_abs"
                | "init_bound"
                | "init_bound_xavier"
                | "spectral_norm"
                | "scaled_spectral_norm"
                | "frobenius_norm"
                | "nuclear_norm"
                | "smallest_singular_value"
                | "accuracy_floor"
                | "noise_sigma"
                | "bulk_edge" => 8.0,
                "max_eigenvalue" | "xmin" => 64.0,
                "spectrum_snr" => 0.125,
                // Not homogeneous: it holds the logarithm of the scale.
                "alpha_weighted" => continue,
                _ => 1.0,
            };
            match (values.get(key).unwrap().number(), scaled.get(key).unwrap().number()) {
                (Some(a), Some(b)) => assert!((a * factor - b).abs() <= 1e-8 * b.abs(), "{key}: {a} and {b}"),
                (a, b) => assert_eq!(a, b, "{key}"),
            }
        }
    });
}

#[test]
fn the_sum_of_squares_is_that_of_the_entries() {
    law(|w| {
        let entries: f64 = w.entries.iter().map(|x| x * x).sum();
        close(number(&w.measure(), "frobenius_norm"), entries.sqrt(), 1e-13);
    });
}

#[test]
fn ranks_are_ordered_as_the_theorems_say() {
    // Rényi entropies fall with their order, and squaring concentrates the shares. With q = σ²/Σσ²: stable rank is the
    // exponential of order ∞, participation ratio of order 2, effective_rank_energy of order 1; effective_rank is that of
    // the shares before squaring, which are more even.
    law(|w| {
        let values = w.measure();
        let order = [
            "stable_rank",
            "participation_ratio",
            "effective_rank_energy",
            "effective_rank",
            "numerical_rank",
        ];
        let ranks: Vec<f64> = order.iter().map(|key| number(&values, key)).collect();
        assert!(ranks[0] >= 1.0 - 1e-12, "{ranks:?}");
        assert!(ranks.is_sorted_by(|a, b| *a <= b * (1.0 + 1e-12)), "{order:?} {ranks:?}");
        // The same for the shares of σ: intrinsic_rank is order ∞, effective_rank order 1.
        let order = ["stable_rank", "intrinsic_rank", "effective_rank"];
        let ranks: Vec<f64> = order.iter().map(|key| number(&values, key)).collect();
        assert!(ranks.is_sorted_by(|a, b| *a <= b * (1.0 + 1e-12)), "{order:?} {ranks:?}");
        let cuts = ["gavish_donoho_rank", "spike_count"].map(|key| values.get(key).unwrap().number());
        assert!(cuts[0] <= cuts[1], "{cuts:?}");
        // The constant that RankMe adds, times as many values.
        close(number(&values, "rankme"), number(&values, "effective_rank"), 1e-4);
        let shares = ["rank_at_90", "rank_at_95", "rank_at_99", "numerical_rank"];
        assert!(shares.iter().map(|key| number(&values, key)).is_sorted());
        let norms = ["max_abs", "spectral_norm", "frobenius_norm", "nuclear_norm"];
        let norms: Vec<f64> = norms.iter().map(|key| number(&values, key)).collect();
        assert!(norms.is_sorted_by(|a, b| *a <= b * (1.0 + 1e-12)), "{norms:?}");
    });
}

#[test]
fn no_singular_value_moves_by_more_than_the_norm_of_what_is_added() {
    // Weyl's inequality.
    law(|w| {
        let delta = Dense::gaussian(w.rows, w.cols, 77).scaled(0.3);
        let (before, after, bound) =
            (w.spectrum(), w.plus(&delta).spectrum(), delta.spectrum().largest() * (1.0 + 1e-12));
        for (a, b) in before.values().iter().zip(after.values()) {
            assert!((a - b).abs() <= bound, "{a} to {b}, bound {bound}");
        }
    });
}

#[test]
fn noise_reaches_the_marchenko_pastur_edge_and_not_beyond() {
    // Fluctuations of the largest value are of order (m n)^(−1/6) of the edge: below 3 % at these sizes. Five seeds.
    for seed in 1..=5 {
        let w = Dense::gaussian(160, 240, seed).scaled(0.02);
        let values = w.measure();
        close(number(&values, "noise_sigma"), 0.02, 0.02);
        close(number(&values, "bulk_edge"), number(&values, "spectral_norm"), 0.06);
        assert!(number(&values, "spike_count") <= 2.0);
        // A planted direction of three times the edge is found, and alone.
        let strength = 3.0 * number(&values, "bulk_edge") / (160f64 * 240.0).sqrt();
        let bump = Dense { rows: 160, cols: 240, entries: vec![strength; 160 * 240] };
        let found = number(&w.plus(&bump).measure(), "spike_count") - number(&values, "spike_count");
        assert!((0.0..=1.0).contains(&found) && number(&w.plus(&bump).measure(), "spike_count") >= 1.0);
    }
}

/// `count` eigenvalues, the quantiles of a Pareto law of this exponent.
fn pareto(alpha: f64, count: usize) -> Vec<f64> {
    (0..count).map(|i| (1.0 - (i as f64 + 0.5) / count as f64).powf(-1.0 / (alpha - 1.0))).collect()
}

#[test]
fn a_planted_tail_returns_its_exponent_whatever_the_bulk() {
    for alpha in [1.8, 2.5, 4.0] {
        // As many values below the tail as in it, spread evenly.
        let mut sample: Vec<f64> = (0..400).map(|i| (f64::from(i) + 0.5) / 400.0).collect();
        sample.extend(pareto(alpha, 400));
        let fit = fit_tail(&sample).unwrap();
        assert!((fit.alpha - alpha).abs() < 3.0 * fit.sigma(), "{alpha}: {fit:?}");
        assert!((0.8..1.3).contains(&fit.xmin) || fit.count < 400, "{fit:?}");
    }
}

#[test]
fn scaling_moves_the_start_of_a_tail_and_nothing_else() {
    let sample = pareto(2.7, 300);
    let fit = fit_tail(&sample).unwrap();
    for factor in [1e-9, 0.37, 1e6] {
        let scaled = fit_tail(&sample.iter().map(|x| x * factor).collect::<Vec<_>>()).unwrap();
        assert_eq!(scaled.count, fit.count);
        close(scaled.xmin, fit.xmin * factor, 1e-12);
        close(scaled.alpha, fit.alpha, 1e-12);
        close(scaled.distance, fit.distance, 1e-9);
    }
}

#[test]
fn no_spectrum_of_any_shape_gives_a_sentinel() {
    let spectra = [
        Spectrum::new(vec![], 0, 5, Route::Direct),
        Spectrum::new(vec![0.0; 3], 3, 7, Route::Gram),
        Spectrum::new(vec![2.0], 1, 9, Route::Gram),
        Spectrum::new(vec![2.0], 9, 1, Route::Direct),
        Spectrum::new(vec![3.0; 30], 30, 30, Route::Direct),
        Spectrum::new(vec![1e200, 1e-200, 0.0], 3, 3, Route::Direct),
    ];
    for spectrum in spectra {
        let spectrum = spectrum.unwrap();
        let values = measure(&spectrum, &Entries::new(), METRICS);
        let peers = measure(&spectrum, &Entries::new(), WEIGHTWATCHER);
        for (column, x) in values.0.iter().chain(&peers.0).filter_map(|(c, v)| v.number().map(|x| (c, x))) {
            let negative =
                ["alpha_weighted", "log_norm", "log_spectral_norm", "log_alpha_norm", "ERG_gap", "entropy"];
            assert!(x.is_finite() && (x >= 0.0 || negative.contains(&column.key)), "{}: {x}", column.key);
        }
    }
}
