//! How many directions a matrix uses, by many definitions. None is the rank; each counts something else.

use super::{Metric, Subject};
use crate::matrix::Dtype;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{Largest, Needs};
use crate::spectrum::Spectrum;

pub(super) const STABLE_RANK: Metric = Metric {
    column: Column {
        key: "stable_rank",
        label: "stable",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "Σσ²/σ₁²: how many directions as strong as the first would carry the energy",
        range: "[1, min(m, n)]",
        source: "Rudelson & Vershynin 2007",
    },
    needs: Needs::Largest,
    value: |subject| match subject.largest {
        Some(Largest { value: 0.0, .. }) => Value::Missing(MissingReason::AllZero),
        Some(Largest { value, .. }) => {
            let most = subject.layer.rows.min(subject.layer.cols) as f64;
            subject
                .energy()
                .map_or_else(Value::Missing, |energy| Value::within(energy / value.powi(2), 1.0, most))
        }
        None => subject.nonzero(|spectrum| among(spectrum, relative(spectrum).map(|s| s * s).sum())),
    },
};

pub(super) const EFFECTIVE_RANK: Metric = Metric {
    column: Column {
        key: "effective_rank",
        label: "effective",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "exp(−Σ p ln p) with p = σ/Σσ: how many equal directions would be as spread out",
        range: "[1, min(m, n)]",
        source: "Roy & Vetterli 2007",
    },
    needs: Needs::Values,
    value: |subject| subject.nonzero(|spectrum| among(spectrum, entropy(relative(spectrum)).exp())),
};

pub(super) const EFFECTIVE_RANK_ENERGY: Metric = Metric {
    column: Column {
        key: "effective_rank_energy",
        label: "eff. energy",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "exp(−Σ q ln q) with q = σ²/Σσ²: effective rank of the energy, at most effective_rank",
        range: "[1, min(m, n)]",
        source: "Roy & Vetterli 2007, on squared values",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.nonzero(|spectrum| among(spectrum, entropy(relative(spectrum).map(|s| s * s)).exp()))
    },
};

pub(super) const ENTROPY: Metric = Metric {
    column: Column {
        key: "entropy",
        label: "entropy",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "−Σ q ln q / ln(numerical rank) with q = σ²/Σσ²: 1 when all directions are equal, near 0 when one dominates",
        range: "[0, 1]",
        source: "Alter, Brown & Botstein 2000",
    },
    needs: Needs::Values,
    value: |subject| {
        let dtype = subject.layer.dtype;
        subject.nonzero(|spectrum| match numerical_rank(spectrum, dtype) {
            rank @ 2.. => {
                // Values between the two floors count in the sum but not in the rank.
                Value::within(entropy(relative(spectrum).map(|s| s * s)) / (rank as f64).ln(), 0.0, 1.0)
            }
            _ => Value::Missing(MissingReason::TooFewValues),
        })
    },
};

pub(super) const PARTICIPATION_RATIO: Metric = Metric {
    column: Column {
        key: "participation_ratio",
        label: "participation",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "(Σλ)²/Σλ² with λ = σ²: how many directions share the energy, weighed towards the strong ones",
        range: "[1, min(m, n)]",
        source: "Bell & Dean 1970",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.nonzero(|spectrum| {
            let (sum, squares) =
                relative(spectrum).map(|s| s * s).fold((0.0, 0.0), |(a, b), q| (a + q, b + q * q));
            among(spectrum, sum * sum / squares)
        })
    },
};

pub(super) const NUMERICAL_RANK: Metric = Metric {
    column: Column {
        key: "numerical_rank",
        label: "rank",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many σ exceed max(m, n)·ε·σ₁, with ε of f64 for f64 weights and of f32 for all others",
        range: "[0, min(m, n)]",
        source: "Golub & Van Loan 2013, 5.5; numpy.linalg.matrix_rank",
    },
    needs: Needs::Values,
    value: |subject| {
        let dtype = subject.layer.dtype;
        subject.measure(|spectrum| Value::count(numerical_rank(spectrum, dtype)))
    },
};

pub(super) const INTRINSIC_RANK: Metric = Metric {
    column: Column {
        key: "intrinsic_rank",
        label: "intrinsic",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "Σσ/σ₁: how many directions as strong as the first would carry the nuclear norm",
        range: "[1, min(m, n)]",
        source: "nuclear over spectral norm; Fazel 2002",
    },
    needs: Needs::Values,
    value: |subject| subject.nonzero(|spectrum| among(spectrum, relative(spectrum).sum())),
};

pub(super) const RANKME: Metric = Metric {
    column: Column {
        key: "rankme",
        label: "RankMe",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "exp(−Σ p ln p) with p = σ/Σσ + 1e-7 over all min(m, n) values, not renormalized",
        range: "[1, min(m, n)], give or take what the constant adds",
        source: "Garrido et al. 2023, eq. 2",
    },
    needs: Needs::Values,
    value: |subject| {
        subject.nonzero(|spectrum| {
            // The published constant: part of the definition, not a guard.
            const ADDED: f64 = 1e-7;
            let sum: f64 = relative(spectrum).sum();
            let shares = relative(spectrum).map(|s| s / sum).chain(std::iter::repeat(0.0));
            let shares = shares.take(spectrum.values().len()).map(|p| p + ADDED);
            Value::real((-shares.map(|p| p * p.ln()).sum::<f64>()).exp())
        })
    },
};

const fn nuclear_rank(
    key: &'static str,
    label: &'static str,
    doc: &'static str,
    value: fn(&Subject<'_>) -> Value,
) -> Metric {
    Metric {
        column: Column {
            key,
            label,
            format: Format::Count,
            quantity: Quantity::Matrix(Accuracy::Exact),
            doc,
            range: "[1, min(m, n)]",
            source: "SVFit, Sun et al. 2024, by σ",
        },
        needs: Needs::Values,
        value,
    }
}

pub(super) const NUCLEAR_RANK_AT_90: Metric = nuclear_rank(
    "nuclear_rank_at_90",
    "Σσ 90%",
    "the fewest leading directions that hold 90 % of Σσ",
    |subject| subject.nonzero(|spectrum| Value::count(nuclear_rank_at(spectrum, 0.90))),
);
pub(super) const NUCLEAR_RANK_AT_95: Metric = nuclear_rank(
    "nuclear_rank_at_95",
    "Σσ 95%",
    "the fewest leading directions that hold 95 % of Σσ",
    |subject| subject.nonzero(|spectrum| Value::count(nuclear_rank_at(spectrum, 0.95))),
);
pub(super) const NUCLEAR_RANK_AT_99: Metric = nuclear_rank(
    "nuclear_rank_at_99",
    "Σσ 99%",
    "the fewest leading directions that hold 99 % of Σσ",
    |subject| subject.nonzero(|spectrum| Value::count(nuclear_rank_at(spectrum, 0.99))),
);

pub(super) const RANK_AT_90: Metric = Metric {
    column: Column {
        key: "rank_at_90",
        label: "k 90%",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "the fewest leading directions that hold 90 % of Σσ²",
        range: "[1, min(m, n)]",
        source: "Jolliffe 2002, 6.1",
    },
    needs: Needs::Values,
    value: |subject| subject.nonzero(|spectrum| Value::count(energy_rank(spectrum, 0.90))),
};

pub(super) const RANK_AT_95: Metric = Metric {
    column: Column {
        key: "rank_at_95",
        label: "k 95%",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "the fewest leading directions that hold 95 % of Σσ²",
        range: "[1, min(m, n)]",
        source: "Jolliffe 2002, 6.1",
    },
    needs: Needs::Values,
    value: |subject| subject.nonzero(|spectrum| Value::count(energy_rank(spectrum, 0.95))),
};

pub(super) const RANK_AT_99: Metric = Metric {
    column: Column {
        key: "rank_at_99",
        label: "k 99%",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "the fewest leading directions that hold 99 % of Σσ²",
        range: "[1, min(m, n)]",
        source: "Jolliffe 2002, 6.1",
    },
    needs: Needs::Values,
    value: |subject| subject.nonzero(|spectrum| Value::count(energy_rank(spectrum, 0.99))),
};

/// σ/σ₁ of the values above the floor, so that no power of an extreme value over- or underflows: a matrix of rank one
/// has effective rank one on every route. The spectrum is not all zero.
fn relative(spectrum: &Spectrum) -> impl Iterator<Item = f64> + Clone {
    let first = spectrum.largest();
    spectrum.resolved().iter().map(move |s| s / first)
}

/// A number of directions: rounding does not make it more than there are values.
fn among(spectrum: &Spectrum, x: f64) -> Value {
    Value::within(x, 1.0, spectrum.values().len() as f64)
}

/// −Σ p ln p in nats of the shares p = x/Σx, where 0 ln 0 is 0.
fn entropy(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let sum: f64 = x.clone().sum();
    // + 0.0 turns the −0 of a single value into 0.
    -x.map(|x| x / sum).filter(|p| *p > 0.0).map(|p| p * p.ln()).sum::<f64>() + 0.0
}

pub(super) fn numerical_rank(spectrum: &Spectrum, dtype: Dtype) -> usize {
    let epsilon = if dtype == Dtype::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
    let tolerance = spectrum.rows().max(spectrum.cols()) as f64 * epsilon * spectrum.largest();
    spectrum.values().iter().filter(|s| **s > tolerance).count()
}

/// The fewest leading directions that hold `share` of the energy to rounding; 0 for an all-zero matrix.
pub fn energy_rank(spectrum: &Spectrum, share: f64) -> usize {
    holding(spectrum, share, |s| s * s)
}

/// The fewest leading directions that hold `share` of Σσ.
pub(super) fn nuclear_rank_at(spectrum: &Spectrum, share: f64) -> usize {
    holding(spectrum, share, |s| s)
}

/// The fewest leading values that hold `share` of the sum of what `of` makes of each.
fn holding(spectrum: &Spectrum, share: f64, of: fn(f64) -> f64) -> usize {
    let total: f64 = relative(spectrum).map(of).sum();
    // Of equal values the last digit would decide.
    let rounding = spectrum.rows().max(spectrum.cols()) as f64 * f64::EPSILON;
    let mut held = 0.0;
    let reached = relative(spectrum).position(|s| {
        held += of(s);
        held >= share * total * (1.0 - rounding)
    });
    reached.map_or_else(|| relative(spectrum).count(), |i| i + 1)
}

/// σ²/Σσ² of the values that the decomposition resolves, descending.
pub fn energy_shares(spectrum: &Spectrum) -> Vec<f64> {
    let total: f64 = relative(spectrum).map(|s| s * s).sum();
    relative(spectrum).map(|s| s * s / total).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, missing};
    use super::*;
    use crate::spectrum::Route;

    #[test]
    fn equal_directions_are_counted_by_every_definition() {
        for metric in [
            STABLE_RANK,
            EFFECTIVE_RANK,
            EFFECTIVE_RANK_ENERGY,
            PARTICIPATION_RATIO,
            NUMERICAL_RANK,
            INTRINSIC_RANK,
        ] {
            check(&metric, &[2.0, 2.0, 2.0], 3.0);
            check(&metric, &[7e300, 0.0], 1.0);
        }
        check(&ENTROPY, &[2.0, 2.0, 2.0], 1.0);
    }

    #[test]
    fn a_known_spectrum_by_hand() {
        check(&STABLE_RANK, &[2.0, 1.0], 1.25);
        check(&PARTICIPATION_RATIO, &[2.0, 1.0], 25.0 / 17.0);
        // p = ⅔, ⅓ : entropy ln 3 − ⅔ ln 2.
        check(&EFFECTIVE_RANK, &[2.0, 1.0], 3.0 / 2f64.powf(2.0 / 3.0));
        // q = ⅘, ⅕ : entropy ln 5 − ⅘ ln 4.
        check(&EFFECTIVE_RANK_ENERGY, &[2.0, 1.0], 5.0 / 4f64.powf(0.8));
        check(&RANK_AT_90, &[4.0, 1.0, 0.1], 1.0);
        check(&RANK_AT_95, &[4.0, 1.0, 0.1], 2.0);
        // 4, 5 and 5.1 of 5.1.
        check(&NUCLEAR_RANK_AT_90, &[4.0, 1.0, 0.1], 2.0);
        check(&NUCLEAR_RANK_AT_99, &[4.0, 1.0, 0.1], 3.0);
        check(&INTRINSIC_RANK, &[4.0, 1.0, 0.1], 1.275);
    }

    #[test]
    fn a_share_that_is_held_exactly_is_held() {
        let check = |leading: f64, count: usize, ones: usize| {
            let values = [vec![leading; count], vec![1.0; ones]].concat();
            let side = values.len();
            let spectrum = Spectrum::new(values, side, side, Route::Direct).expect("sound values");
            assert_eq!(energy_rank(&spectrum, 0.5), count, "{leading}");
        };
        // Half of the energy each; the last digits of the sums differ.
        check(3.0, 1, 9);
        check(7.0, 1, 49);
        check(7f64.sqrt(), 3, 21);
    }

    #[test]
    fn rounding_is_no_direction() {
        let mut values = vec![1e-14; 200];
        values[0] = 1.0;
        for metric in [
            STABLE_RANK,
            EFFECTIVE_RANK,
            EFFECTIVE_RANK_ENERGY,
            PARTICIPATION_RATIO,
            NUMERICAL_RANK,
            INTRINSIC_RANK,
        ] {
            check(&metric, &values, 1.0);
        }
    }

    #[test]
    fn rankme_is_the_effective_rank_with_its_constant_added() {
        let added = |p: f64| (p + 1e-7) * (p + 1e-7).ln();
        check(&RANKME, &[3.0, 1.0, 0.0], (-(added(0.75) + added(0.25) + added(0.0))).exp());
    }

    #[test]
    fn shares_of_energy_are_a_distribution_of_what_is_resolved() {
        let spectrum = Spectrum::new(vec![2.0, 1.0, 1e-17], 3, 3, Route::Direct).expect("sound");
        assert_eq!(energy_shares(&spectrum), [0.8, 0.2]);
        assert_eq!((energy_rank(&spectrum, 0.8), energy_rank(&spectrum, 1.0)), (1, 2));
        let zero = Spectrum::new(vec![0.0; 3], 3, 3, Route::Direct).expect("sound");
        assert_eq!((energy_shares(&zero), energy_rank(&zero, 0.9)), (vec![], 0));
    }

    #[test]
    fn a_zero_matrix_has_rank_zero_and_no_other() {
        check(&NUMERICAL_RANK, &[0.0, 0.0], 0.0);
        missing(&STABLE_RANK, &[0.0, 0.0], MissingReason::AllZero);
        missing(&ENTROPY, &[1.0], MissingReason::TooFewValues);
    }
}
