//! A weight against the one it came of: golden values of the papers' measures, and laws that hold whatever the matrices.

#![expect(clippy::unreadable_literal, reason = "copied digit by digit from the golden values")]

use std::ops::Range;

use svdkit::analysis::compare::{
    Drifts, NOTHING, PairNeeds, PairSide, Preserve, Settings, TunedMeasured, Vectors, Weight, drifts_of,
    measure,
};
use svdkit::checkpoint::{Catalogue, Holds};
use svdkit::layer::Layer;
use svdkit::matrix::{Dtype, Matrix};
use svdkit::metric::{METRICS, select};
use svdkit::report::{Flag, MissingReason, Standing, Value};
use svdkit::solver::{Needs, NoMemo, Precision, all_vectors};

/// Entries, row-major.
#[derive(Clone)]
struct Dense {
    rows: usize,
    cols: usize,
    entries: Vec<f64>,
}

impl Dense {
    fn of(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        Self { rows, cols, entries: (0..rows * cols).map(|i| entry(i / cols, i % cols)).collect() }
    }

    /// The generator of the peers' golden matrices.
    fn seeded(rows: usize, cols: usize, seed: u32) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        Self { rows, cols, entries: (0..rows * cols).map(|_| next()).collect() }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        self.entries[i * self.cols + j]
    }

    fn times(&self, other: &Self) -> Self {
        let dot = |i, j| (0..self.cols).map(|k| self.at(i, k) * other.at(k, j)).sum();
        Self::of(self.rows, other.cols, dot)
    }

    fn plus(&self, scale: f64, other: &Self) -> Self {
        Self::of(self.rows, self.cols, |i, j| self.at(i, j) + scale * other.at(i, j))
    }

    fn transposed(&self) -> Self {
        Self::of(self.cols, self.rows, |i, j| self.at(j, i))
    }

    /// `(I − 2 v vᵀ/‖v‖²) W`: a rotation with a mirror.
    fn reflected(&self, seed: u32) -> Self {
        let mirror = Self::seeded(self.rows, 1, seed).entries;
        let square: f64 = mirror.iter().map(|x| x * x).sum();
        let identity = |i, j| f64::from(u8::from(i == j)) - 2.0 * mirror[i] * mirror[j] / square;
        Self::of(self.rows, self.rows, identity).times(self)
    }

    fn layer(&self) -> Layer {
        Layer::plain("w", (self.rows, self.cols), Dtype::F64)
    }

    /// A checkpoint of this alone.
    fn checkpoint(&self) -> Catalogue {
        let matrix = Matrix::from_f64(self.rows, self.cols, &self.entries).unwrap();
        Catalogue::given(Holds::Weights, [(self.layer(), matrix.into())])
    }
}

/// All columns of both sides and of the pair.
pub(super) fn settings(preserve: Preserve, top: usize) -> Settings {
    let drifts: Drifts = drifts_of(Vectors::All).collect::<Vec<_>>().leak();
    let values = PairNeeds { base: Needs::Values, tuned: Needs::Values, ..NOTHING };
    Settings {
        metrics: select(METRICS, |_| true),
        drifts,
        needs: drifts.iter().map(|drift| drift.needs).fold(values, PairNeeds::and),
        precision: Precision::Fast,
        preserve,
        top,
    }
}

fn compared(base: &Dense, tuned: &Dense, settings: &Settings) -> TunedMeasured {
    let standing = if (base.rows, base.cols) == (tuned.rows, tuned.cols) {
        Standing::Measured
    } else {
        Standing::Reshaped
    };
    let (layers, sources) = ([base.layer(), tuned.layer()], [base.checkpoint(), tuned.checkpoint()]);
    let side = |i: usize| PairSide::Weight(Weight { source: &sources[i], layer: &layers[i] });
    measure(Some(side(0)), &[Some((side(1), standing))], settings, &NoMemo).unwrap().tuned.remove(0).unwrap()
}

fn drift(tuned: &TunedMeasured, key: &str) -> Value {
    let at = drifts_of(Vectors::All).position(|drift| drift.column.key == key);
    tuned.drifts.as_ref().unwrap()[at.unwrap()]
}

#[track_caller]
fn check(tuned: &TunedMeasured, key: &str, expected: f64, tolerance: f64) {
    let found = drift(tuned, key).number().unwrap_or(f64::NAN);
    assert!((found - expected).abs() <= tolerance, "{key} is {found}, not {expected}");
}

/// The papers' matrices: W₀ of 6 × 5, and W₀ + 2·B·A of rank two.
fn papers() -> [Dense; 2] {
    let quarter = |x: usize, modulus: usize, less: f64| ((x % modulus) as f64 - less) / 4.0;
    let base = Dense::of(6, 5, |i, j| quarter(7 * i * i + 3 * j * j * j + 5 * i * j + 2 * i + 4, 17, 8.0));
    let a = Dense::of(2, 5, |i, j| quarter(5 * i + 2 * j + i * j + 3, 7, 3.0));
    let b = Dense::of(6, 2, |i, j| quarter(3 * i + 4 * j + 2 * i * j + 1, 5, 2.0));
    let tuned = base.plus(2.0, &b.times(&a));
    [base, tuned]
}

#[test]
fn the_papers_own_matrices_give_their_golden_values() {
    let [base, tuned] = papers();
    let tuned = compared(&base, &tuned, &settings(Preserve::Rank(2), 2));
    check(&tuned, "sigma_drift", 0.4164366951, 1e-10);
    check(&tuned, "direction_drift", 0.5440014978, 1e-10);
    check(&tuned, "alignment", 0.9212284161, 1e-10);
    check(&tuned, "alignment_strong", 0.9356679357, 1e-10);
    check(&tuned, "delta_spectral_ratio", 3.3520732814 / 3.7018455835, 1e-9);
    let norm = (3.3520732814f64.powi(2) + 0.9174582912f64.powi(2)).sqrt();
    let base_norm = [3.7018455835f64, 3.0030913594, 2.4385143921, 1.9574208262, 0.9013505596]
        .map(|s| s * s)
        .iter()
        .sum::<f64>();
    check(&tuned, "delta_frobenius_ratio", norm / base_norm.sqrt(), 1e-9);
    check(&tuned, "delta_stable_rank", norm.powi(2) / 3.3520732814f64.powi(2), 1e-9);
    check(&tuned, "delta_rank_at_90", 1.0, 0.0);
    check(&tuned, "delta_top1_share", 3.3520732814f64.powi(2) / norm.powi(2), 1e-9);
    check(&tuned, "leak_left", 0.4822030372, 1e-10);
    check(&tuned, "leak_right", 0.6353585543, 1e-10);
    check(&tuned, "principal_share", 0.0976495395, 1e-10);
    check(&tuned, "minor_share", 0.4614492779, 1e-10);
    check(&tuned, "diag_share", 0.2364867205, 1e-10);
}

#[test]
fn subspaces_overlap_as_the_peers_compute_it() {
    let base = Dense::seeded(32, 24, 5);
    let update = Dense::seeded(32, 4, 6).times(&Dense::seeded(4, 24, 7));
    let tuned = base.plus(2.0, &update);
    for (top, expected) in [(4, 0.28245794340817243), (8, 0.6334238958697958)] {
        check(
            &compared(&base, &tuned, &Settings { top, ..settings(Preserve::Rank(2), 2) }),
            "subspace_overlap",
            expected,
            1e-12,
        );
    }
}

#[test]
fn alignment_is_the_product_of_the_polar_factors() {
    let [base, tuned] = [Dense::seeded(9, 6, 1), Dense::seeded(9, 6, 2)];
    let polar = |of: &Dense| {
        let svd = all_vectors(&Matrix::from_f64(of.rows, of.cols, &of.entries).unwrap()).unwrap();
        Dense::of(of.rows, of.cols, |i, j| {
            (0..6).map(|k| svd.left.column(k)[i] * svd.right.column(k)[j]).sum()
        })
    };
    let (a, b) = (polar(&base), polar(&tuned));
    let expected = a.entries.iter().zip(&b.entries).map(|(x, y)| x * y).sum::<f64>() / 6.0;
    check(&compared(&base, &tuned, &settings(Preserve::Rank(2), 2)), "alignment", expected, 1e-13);
}

#[test]
fn a_scaled_weight_has_only_moved_along_its_own_directions() {
    let base = Dense::seeded(12, 7, 3);
    let tuned = compared(&base, &base.plus(1.0, &base), &settings(Preserve::Rank(2), 2));
    for (key, expected) in [
        ("delta_frobenius_ratio", 1.0),
        ("log_sigma_distance", 2f64.ln()),
        ("delta_spectral_ratio", 1.0),
        ("alignment", 1.0),
        ("alignment_strong", 1.0),
        ("direction_drift", 0.0),
        ("direction_drift_best", 0.0),
        ("subspace_overlap", 1.0),
        ("right_subspace_overlap", 1.0),
        ("subspace_angle", 0.0),
        ("right_subspace_angle", 0.0),
        ("diag_share", 1.0),
    ] {
        check(&tuned, key, expected, 1e-12);
    }
    assert!(tuned.found.flags.iter().all(|flag| *flag != Flag::LikelyPermuted));
}

/// `U·diag(d)·Vᵀ` of the singular vectors of `base`.
fn in_its_basis(base: &Dense, core: impl Fn(usize, usize) -> f64) -> Dense {
    let svd = all_vectors(&Matrix::from_f64(base.rows, base.cols, &base.entries).unwrap()).unwrap();
    let k = svd.values.len();
    let u = Dense::of(base.rows, k, |i, j| svd.left.column(j)[i]);
    let v = Dense::of(k, base.cols, |i, j| svd.right.column(i)[j]);
    u.times(&Dense::of(k, k, core)).times(&v)
}

#[test]
fn an_update_is_found_where_it_was_put_in_the_bases_basis() {
    let base = Dense::seeded(10, 8, 4);
    let noise = Dense::seeded(8, 8, 5);
    let shares = |core: &dyn Fn(usize, usize) -> f64, expected: [f64; 3]| {
        let tuned =
            compared(&base, &base.plus(0.1, &in_its_basis(&base, core)), &settings(Preserve::Rank(2), 2));
        for (key, expected) in ["principal_share", "minor_share", "diag_share"].into_iter().zip(expected) {
            check(&tuned, key, expected, 1e-12);
        }
    };
    // Singular values alone, as SVFit trains them: 2 of 8 are principal.
    let square = |i: usize| noise.at(i, i).powi(2);
    let (two, all): (f64, f64) = ((0..2).map(square).sum(), (0..8).map(square).sum());
    shares(&|i, j| if i == j { noise.at(i, j) } else { 0.0 }, [two / all, 1.0 - two / all, 1.0]);
    // Only among the principal directions, or only among the others.
    let diagonal = |range: Range<usize>| {
        let energy = |i: usize, j: usize| noise.at(i, j).powi(2);
        let whole: f64 = range.clone().flat_map(|i| range.clone().map(move |j| energy(i, j))).sum();
        range.clone().map(|i| energy(i, i)).sum::<f64>() / whole
    };
    shares(&|i, j| if i < 2 && j < 2 { noise.at(i, j) } else { 0.0 }, [1.0, 0.0, diagonal(0..2)]);
    shares(&|i, j| if i > 1 && j > 1 { noise.at(i, j) } else { 0.0 }, [0.0, 1.0, diagonal(2..8)]);
    // From the ones to the others.
    shares(&|i, j| if i < 2 && j > 1 { noise.at(i, j) } else { 0.0 }, [0.0, 0.0, 0.0]);
    let one_way = in_its_basis(&base, |i, j| if i < 2 && j > 1 { noise.at(i, j) } else { 0.0 });
    let tuned = compared(&base, &base.plus(0.1, &one_way), &settings(Preserve::Rank(2), 2));
    check(&tuned, "leak_left", 1.0, 1e-12);
    check(&tuned, "leak_right", 0.0, 1e-6);
    // One direction is all of an update of rank one.
    let one = Dense::seeded(10, 1, 6).times(&Dense::seeded(1, 8, 7));
    check(
        &compared(&base, &base.plus(0.3, &one), &settings(Preserve::Rank(2), 2)),
        "delta_top1_share",
        1.0,
        1e-12,
    );
}

#[test]
fn what_is_principal_is_a_number_of_directions_or_a_share_of_energy() {
    let base =
        in_its_basis(&Dense::seeded(6, 5, 1), |i, j| if i == j { [4.0, 2.0, 1.0, 1.0, 0.5][i] } else { 0.0 });
    let tuned = base.plus(0.1, &Dense::seeded(6, 5, 2));
    // Σσ² = 22.25: the first holds 72 %, the first two 90 %.
    for (preserve, expected) in [
        (Preserve::Rank(3), 3.0),
        (Preserve::Rank(99), 5.0),
        (Preserve::Energy(0.7), 1.0),
        (Preserve::Energy(0.89), 2.0),
        (Preserve::Energy(0.9), 3.0),
        (Preserve::Energy(1.0), 5.0),
    ] {
        check(
            &compared(&base, &tuned, &Settings { preserve, ..settings(Preserve::Rank(2), 2) }),
            "principal_rank",
            expected,
            0.0,
        );
    }
}

#[test]
fn turning_both_sides_changes_no_drift() {
    let [base, tuned] = [Dense::seeded(14, 9, 6), Dense::seeded(14, 9, 7)];
    let tuned = base.plus(0.3, &tuned);
    let plain = compared(&base, &tuned, &settings(Preserve::Rank(2), 2));
    let turn = |of: &Dense| of.reflected(11).transposed().reflected(12).transposed();
    let turned = compared(&turn(&base), &turn(&tuned), &settings(Preserve::Rank(2), 2));
    // Gains belong to rows and columns, stored bits to entries.
    let of_rows_and_columns = |key: &str| key.contains("gain") || key == "changed_share";
    for drift in drifts_of(Vectors::All) {
        let key = drift.column.key;
        if of_rows_and_columns(key) {
            continue;
        }
        check(&turned, key, self::drift(&plain, key).number().unwrap(), 1e-10);
    }
}

#[test]
fn reordered_rows_are_flagged_and_small_updates_are_not() {
    let base = Dense::seeded(9, 7, 8);
    let flagged = |tuned: &Dense, flag| {
        compared(&base, tuned, &settings(Preserve::Rank(2), 2)).found.flags.contains(&flag)
    };
    assert!(flagged(&Dense::of(9, 7, |i, j| base.at((i + 1) % 9, j)), Flag::LikelyPermuted));
    assert!(flagged(&Dense::of(9, 7, |i, j| base.at(i, 6 - j)), Flag::LikelyPermuted));
    assert!(flagged(&base.reflected(3), Flag::LikelyRotated));
    assert!(flagged(&base.transposed(), Flag::LikelyTransposed));
    assert!(!flagged(&base.plus(1e-6, &Dense::seeded(9, 7, 9)), Flag::LikelyPermuted));
    assert!(!flagged(&base.plus(0.5, &Dense::seeded(9, 7, 9)), Flag::LikelyPermuted));
}

#[test]
fn what_only_looks_like_another_weight_is_called_what_it_is() {
    let base = Dense::seeded(8, 8, 4);
    let orthogonal = Dense::of(8, 8, |i, j| f64::from(u8::from(i == j))).reflected(5);
    let flags =
        |base: &Dense, tuned: &Dense| compared(base, tuned, &settings(Preserve::Rank(2), 2)).found.flags;
    let check = |base: &Dense, tuned: &Dense, expected: &[Flag]| {
        let mut found = flags(base, tuned);
        found.retain(|flag| *flag != Flag::LowNTail);
        assert_eq!(found, expected);
    };
    let signed = |sign: fn(usize, usize) -> bool| {
        Dense::of(8, 8, |i, j| if sign(i, j) { -base.at(i, j) } else { base.at(i, j) })
    };
    check(&base, &signed(|_, _| true), &[Flag::SignsDiffer]);
    check(&base, &signed(|i, _| i == 3), &[Flag::SignsDiffer]);
    check(&base, &signed(|i, j| i % 2 == 1 || j == 0), &[Flag::SignsDiffer]);
    check(&base, &signed(|i, j| (i, j) == (7, 7)), &[Flag::SignsDiffer]);
    check(&base, &base.plus(1.0, &base), &[Flag::ScaledCopy]);
    check(&base, &base.plus(-4.0, &base), &[Flag::ScaledCopy]);
    check(&base, &base.plus(0.3, &base), &[Flag::ScaledCopy]);
    check(&base, &Dense::of(8, 8, |i, j| base.at((3 * i) % 8, (5 * j) % 8)), &[Flag::LikelyPermuted]);
    check(&base, &base.transposed(), &[Flag::LikelyTransposed]);
    check(&base, &base.reflected(2), &[Flag::LikelyRotated]);
    // Equal singular values alone are no other order of rows.
    check(&orthogonal, &orthogonal.reflected(6), &[Flag::LikelyRotated]);
    check(&base, &base.plus(0.5, &Dense::seeded(8, 8, 9)), &[]);
    let zero = Dense::of(8, 8, |_, _| 0.0);
    check(&zero, &base, &[]);
    check(&base, &zero, &[]);
}

#[test]
fn directions_that_are_not_determined_are_left_out() {
    // All singular values equal: no vector is more than a choice of the solver.
    let base = Dense::of(6, 6, |i, j| f64::from(u8::from(i == j)));
    let tuned = compared(&base, &base.plus(1.0, &base), &settings(Preserve::Rank(2), 2));
    assert_eq!(drift(&tuned, "direction_drift"), Value::Missing(MissingReason::Degenerate));
    check(&tuned, "alignment", 1.0, 1e-12);
    // Rank one on both sides: the other directions are rounding.
    let one = Dense::seeded(6, 1, 1).times(&Dense::seeded(1, 5, 2));
    let tuned = compared(&one, &one.plus(1.0, &one), &settings(Preserve::Rank(2), 2));
    check(&tuned, "direction_drift", 0.0, 1e-12);
    check(&tuned, "alignment", 1.0, 1e-12);
    check(&tuned, "subspace_overlap", 1.0, 1e-12);
}

#[test]
fn what_has_no_number_says_why() {
    let base = Dense::seeded(6, 5, 1);
    let zero = Dense::of(6, 5, |_, _| 0.0);
    let mut broken = base.clone();
    broken.entries[7] = f64::NAN;
    for drift in compared(&base, &broken, &settings(Preserve::Rank(2), 2)).drifts.unwrap() {
        assert_eq!(drift, Value::Missing(MissingReason::NonFinite));
    }
    let from_zero = compared(&zero, &base, &settings(Preserve::Rank(2), 2));
    assert_eq!(drift(&from_zero, "delta_frobenius_ratio"), Value::Missing(MissingReason::ZeroBase));
    assert_eq!(drift(&from_zero, "alignment"), Value::Missing(MissingReason::AllZero));
    let to_zero = compared(&base, &zero, &settings(Preserve::Rank(2), 2));
    check(&to_zero, "delta_frobenius_ratio", 1.0, 1e-12);
    check(&to_zero, "diag_share", 1.0, 1e-12);
    // The same numbers in other bytes.
    let negative = Dense::of(6, 5, |i, j| if i == 0 { -0.0 } else { zero.at(i, j) });
    assert_eq!(
        drift(&compared(&zero, &negative, &settings(Preserve::Rank(2), 2)), "minor_share"),
        Value::Missing(MissingReason::NoUpdate)
    );
}
