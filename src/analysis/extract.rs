//! An update cut to a few directions: thin factors, and what the cut loses.

use crate::dialect::Pairs;
use crate::error::Error;
use crate::layer::Layer;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::metric::{FROBENIUS_NORM, SPECTRAL_NORM, energy_rank};
use crate::report::{Accuracy, Column, Format, Measurements, MissingReason, Quantity, Value};
use crate::solver::{self, Cost, Entries, Factors, Form, Held, Need, Operand, Operator, Precision};
use crate::weight::{Catalogue, ContentId, Holds};

use super::Measured;

/// The columns, in report order.
pub static EXTRACTED: [Column; 6] =
    [SPECTRAL_NORM.column, FROBENIUS_NORM.column, KEPT_RANK, KEPT_ENERGY, LOST_NORM, LOST_RATIO];

const KEPT_RANK: Column = Column {
    key: "kept_rank",
    label: "kept",
    format: Format::Count,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "the directions that are written: as many as asked for, or as the update has",
    range: "[0, min(m, n)]",
    source: "setting",
};

const KEPT_ENERGY: Column = Column {
    key: "kept_energy",
    label: "energy kept",
    format: Format::Share,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "Σσ² over the kept directions / Σσ²: how much of the update they hold",
    range: "[0, 1]",
    source: "Jolliffe 2002, 6.1",
};

const LOST_NORM: Column = Column {
    key: "lost_norm",
    label: "lost",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "‖ΔW − BA‖_F of the factors as they are written: √Σσ² over the directions left out, and rounding",
    range: "[0, ∞), units of the weights",
    source: "Eckart & Young 1936",
};

const LOST_RATIO: Column = Column {
    key: "lost_ratio",
    label: "lost/‖ΔW‖",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "‖ΔW − BA‖_F/‖ΔW‖_F: what the cut loses, against the update",
    range: "[0, ∞)",
    source: "Eckart & Young 1936",
};

/// How many directions are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Keep {
    /// So many.
    Rank(usize),
    /// The fewest that hold this share of the energy.
    Energy(f64),
}

/// What is written of an update.
#[derive(Debug, Clone, PartialEq)]
pub struct Extracted {
    /// The numbers.
    pub measured: Measured,
    /// Both factors, of equal size and rounded to the type that they are written in: `U√Σ` and `√ΣVᵀ`.
    pub factors: LowRank,
}

/// The cost of an update cut to so many directions.
pub fn cost(layer: &Layer, keep: Keep) -> Cost {
    let operand = layer.rank.map_or(Operand::Terms, Operand::Factors);
    let form = Form { operand, ..Form::of(layer, Precision::Fast) };
    let stored = if layer.rank.is_some() { 0 } else { 2 * layer.len() as u64 * layer.dtype.size() as u64 };
    let cost = match (keep, layer.rank) {
        (_, Some(_)) => solver::cost(&form, Need::Vectors),
        (Keep::Rank(rank), None) => solver::cost(&form, Need::Leading(rank)),
        (Keep::Energy(_), None) => {
            let (values, all) = (solver::cost(&form, Need::Values), solver::cost(&form, Need::Vectors));
            Cost { flops: values.flops + all.flops, bytes: values.bytes.max(all.bytes) }
        }
    };
    Cost { flops: cost.flops + 4.0 * layer.len() as f64, bytes: cost.bytes + stored }
}

/// An update in memory.
enum Change {
    Held(Held),
    /// The two weights that it is between, as they are stored.
    Between {
        base: Matrix,
        tuned: Matrix,
    },
}

/// Cuts the update that `layer` of `source` is, of the `pairs` if it is a difference; its factors are rounded to `dtype`.
///
/// # Errors
/// When something cannot be read or does not converge, or an entry is not finite.
pub fn extract(
    (source, pairs): (&Catalogue, Option<&Pairs>),
    layer: &Layer,
    keep: Keep,
    dtype: Dtype,
) -> Result<Extracted, Error> {
    let weights = pairs.filter(|pairs| pairs.tuned().holds() == Holds::Weights);
    let change = match weights {
        Some(pairs) => {
            let pair = pairs.get(&layer.name)?;
            let base = pairs.base().read(&pair.base, 0..pair.base.rows)?;
            Change::Between { base, tuned: pairs.tuned().read(&pair.tuned, 0..pair.tuned.rows)? }
        }
        None => Change::Held(Held::read(source, layer)?),
    };
    change.check()?;
    let operator = change.operator()?;
    let norm = change.norm()?;
    let found = if norm > 0.0 { factors(&change, &operator, keep, layer)? } else { none(layer) };
    let shape = (layer.rows, layer.cols);
    let factors = balanced(&found, shape, dtype)?;
    let largest = found.values.first().copied().unwrap_or(0.0);
    let lost = change.less(&factors)?;
    let energy: f64 = found.values.iter().map(|s| (s / norm).powi(2)).sum();
    let missing = || Value::Missing(MissingReason::NoUpdate);
    let values = [
        Value::real(largest),
        Value::real(norm),
        Value::count(found.values.len()),
        if norm > 0.0 { Value::within(energy, 0.0, 1.0) } else { missing() },
        Value::real(lost),
        if norm > 0.0 { Value::real(lost / norm) } else { missing() },
    ];
    let measured = Measured {
        values: Measurements(EXTRACTED.iter().zip(values).collect()),
        ..Measured::nothing(ContentId::of_factors(&factors))
    };
    Ok(Extracted { measured, factors })
}

/// The triplets that are kept; only leading ones are sought where they are few.
fn factors(change: &Change, operator: &Operator<'_>, keep: Keep, layer: &Layer) -> Result<Factors, Error> {
    let precision = Precision::Fast.of(layer.dtype);
    if let Change::Held(Held::Thin(product)) = change {
        let all = solver::all_vectors(product)?;
        let spectrum = solver::singular_values(product, precision)?;
        let rank = match keep {
            Keep::Rank(rank) => rank.min(spectrum.resolved().len()),
            Keep::Energy(share) => energy_rank(&spectrum, share),
        };
        return Ok(all.truncated(rank));
    }
    let rank = match keep {
        Keep::Rank(rank) => rank,
        Keep::Energy(share) => energy_rank(&solver::singular_values(operator.clone(), precision)?, share),
    };
    if rank == 0 { Ok(none(layer)) } else { solver::leading(operator, rank) }
}

/// No triplet at all.
fn none(layer: &Layer) -> Factors {
    Factors::none(layer.rows, layer.cols)
}

/// `U√Σ · √ΣVᵀ`, each rounded to `dtype`.
fn balanced(found: &Factors, shape: (usize, usize), dtype: Dtype) -> Result<LowRank, Error> {
    let rank = found.values.len();
    let roots: Vec<f64> = found.values.iter().map(|s| s.sqrt()).collect();
    let left = (0..shape.0).flat_map(|row| {
        let roots = &roots;
        (0..rank).map(move |i| found.left.column(i)[row] * roots[i])
    });
    let right = (0..rank).flat_map(|i| {
        let root = roots[i];
        found.right.column(i).iter().map(move |x| x * root)
    });
    let rounded = |rows, cols, entries: Vec<f64>| -> Result<Vec<f64>, Error> {
        Ok(Matrix::rounded(rows, cols, dtype, &entries)?.to_f64())
    };
    let left = rounded(shape.0, rank, left.collect())?;
    LowRank::new(shape, rank, left, rounded(rank, shape.1, right.collect())?)
}

impl Change {
    /// Refuses entries that are not finite.
    fn check(&self) -> Result<(), Error> {
        let (rows, cols, bad) = match self {
            Self::Held(Held::Thin(product)) => {
                (product.rows(), product.cols(), Entries::of_factors(product).nonfinite_count())
            }
            Self::Held(Held::Dense(matrix)) => {
                (matrix.rows(), matrix.cols(), Entries::of(matrix).nonfinite_count())
            }
            Self::Between { base, tuned } => {
                let bad = Entries::of(base).nonfinite_count() + Entries::of(tuned).nonfinite_count();
                (base.rows(), base.cols(), bad)
            }
        };
        if bad > 0 { Err(Error::NotFinite { rows, cols }) } else { Ok(()) }
    }

    fn operator(&self) -> Result<Operator<'_>, Error> {
        match self {
            Self::Held(held) => Ok(held.into()),
            Self::Between { base, tuned } => Operator::from(tuned).minus(&Operator::from(base)),
        }
    }

    /// `‖Δ‖_F`.
    fn norm(&self) -> Result<f64, Error> {
        match self {
            Self::Held(Held::Thin(product)) => Ok(solver::singular_values(product, Precision::Exact)?.norm()),
            _ => Ok(self.squares(&|_, _| {}).sqrt()),
        }
    }

    /// `‖Δ − product‖_F`.
    fn less(&self, product: &LowRank) -> Result<f64, Error> {
        match self {
            Self::Held(Held::Thin(update)) => {
                let rest = update.plus(product, -1.0)?;
                Ok(solver::singular_values(&rest, Precision::Exact)?.norm())
            }
            _ => Ok(self.squares(&|row, entries| product.row(row, entries)).sqrt()),
        }
    }

    /// The sum of squares of its entries less the rows that `other` fills.
    fn squares(&self, other: &dyn Fn(usize, &mut [f64])) -> f64 {
        let (rows, cols) = match self {
            Self::Held(Held::Dense(matrix)) | Self::Between { base: matrix, .. } => {
                (matrix.rows(), matrix.cols())
            }
            Self::Held(Held::Thin(product)) => (product.rows(), product.cols()),
        };
        let (mut line, mut less, mut also) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        let mut sum = 0.0;
        for row in 0..rows {
            let range = row * cols..(row + 1) * cols;
            match self {
                Self::Held(Held::Dense(matrix)) => matrix.widen(range, &mut line),
                Self::Held(Held::Thin(product)) => product.row(row, &mut line),
                Self::Between { base, tuned } => {
                    tuned.widen(range.clone(), &mut line);
                    base.widen(range, &mut also);
                }
            }
            other(row, &mut less);
            let terms = line.iter().zip(&less).zip(&also).map(|((x, y), z)| x - z - y);
            sum += terms.map(|x| x * x).sum::<f64>();
        }
        sum
    }
}
