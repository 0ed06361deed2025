//! Intruder dimensions: leading directions of a tuned weight that no singular vector of its base comes close to.
//!
//! Shuttleworth et al. 2024, arXiv 2410.21228: `uᵢ` of `W₀ + ΔW`, `i ≤ k`, is an intruder when `maxⱼ |uᵢᵀu⁰ⱼ| < ε` over
//! all singular vectors of `W₀`. An adapter's update is added to the base only in products, never in memory. What rows
//! come to together is in `totals`.

pub mod columns;
pub mod totals;
mod update;

use crate::dialect::Pairs;
use crate::error::Error;
use crate::layer::Layer;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};
use crate::report::{
    Column, Direction, Drawings, Drawn, Flag, Intruders, Measurements, MissingReason, Value,
};
use crate::solver::{
    self, BestCosine, Entries, Factors, Held, Needs, Operator, Precision, Question, Vectors, unit,
};
use crate::spectrum::{Spectrum, scaled};
use crate::weight::{ContentId, Holds};

use super::Measured;
use super::delta::{self, UpdateNumbers};
pub use update::{costs, needs_of_update};

/// The options.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Number of leading directions to check.
    pub k: usize,
    /// A direction is an intruder if its best cosine is below this.
    pub epsilon: f64,
    /// Other limits to count at.
    pub sweep: Vec<f64>,
    /// Which singular vectors.
    pub side: VectorSide,
    /// Whose directions.
    pub of: Of,
    /// Whether bounds that decide are enough.
    pub cosines: Cosines,
    /// Whether every direction is reported.
    pub detail: Detail,
    /// The share of an intruder's singular value that a mitigated copy keeps, if one is wanted.
    pub mitigate: Option<f64>,
}

impl Options {
    /// The columns that they fill.
    pub fn columns(&self) -> Vec<&'static Column> {
        columns_of(self.side)
    }
}

/// Which singular vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorSide {
    /// Left: in the space of outputs.
    Left,
    /// Right: in the space of inputs.
    Right,
    /// Both; columns without a side are of the left one.
    Both,
}

/// Whose leading directions are held against the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The tuned weight's.
    Tuned,
    /// The update's.
    Delta,
}

/// How sharp the best cosines have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cosines {
    /// Bounds that lie on one side of every limit.
    Decided,
    /// The cosines themselves.
    Exact,
}

/// Which details of the directions are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Which are intruders.
    Indices,
    /// Every one.
    Directions,
}

/// The results for one pair.
#[derive(Debug, Clone, PartialEq)]
pub struct PairMeasured {
    /// The numbers, and what the tuned side, or the update to the base, is called equal by.
    pub measured: Measured,
    /// What the base is called equal by.
    pub base: ContentId,
    /// Which directions are intruders.
    pub intruders: Intruders,
    /// What pictures are drawn from.
    pub drawn: Drawings,
    /// The correction that scales the intruders of the tuned weight, if there are any and a copy is wanted.
    pub correction: Option<LowRank>,
}

/// The columns that `side` fills.
pub fn columns_of(side: VectorSide) -> Vec<&'static Column> {
    let right = columns::RIGHT.iter().filter(|_| side == VectorSide::Both);
    columns::COLUMNS.iter().chain(right).collect()
}

/// Looks for intruders in the pair whose tuned side is called `name`, and fills `columns`.
///
/// # Errors
/// When a side cannot be read or a decomposition does not converge.
pub fn measure(
    pairs: &Pairs,
    name: &str,
    options: &Options,
    columns: &[&'static Column],
) -> Result<PairMeasured, Error> {
    let pair = pairs.get(name)?;
    let base = pairs.base().read(&pair.base, 0..pair.base.rows)?;
    let change = Held::read(pairs.tuned().as_ref(), &pair.tuned)?;
    let (identity, base_identity) = (change.identity(), ContentId::of_matrix(&base));
    if Entries::of(&base).nonfinite_count() + change.entries().nonfinite_count() > 0 {
        let missing = columns.iter().map(|column| (*column, Value::Missing(MissingReason::NonFinite)));
        let measured = Measured { values: Measurements(missing.collect()), ..Measured::nothing(identity) };
        return Ok(PairMeasured {
            measured,
            base: base_identity,
            intruders: Intruders::default(),
            drawn: Drawings::default(),
            correction: None,
        });
    }
    // Everything but the size of a direction is a ratio, and ratios don't change with scale.
    let exponent = unit::common([unit::of_matrix(&base), change.exponent()]);
    let near = match exponent {
        0 => None,
        _ => Some((unit::matrix(&base, -exponent)?, change.rescaled(-exponent)?)),
    };
    let (base, change) = near.as_ref().map_or((&base, &change), |(base, change)| (base, change));
    let needs = needs_of_update(columns);
    let sides = Sides::new(base, (pairs.tuned().holds(), change), pair.base.dtype, needs)?;
    let looked = sides.look(options, exponent)?;
    let (mut values, flags) = sides.values(&looked, options, &pair.tuned);
    values.retain(|(column, _)| columns.contains(column));
    let correction = match options.mitigate {
        Some(keep) => looked.correction(keep, (base.rows(), base.cols()), options.epsilon)?,
        None => None,
    };
    // What was not changed at all is nobody's copy.
    let identity = ContentId { varies: identity.varies && sides.update.norm > 0.0, ..identity };
    let measured = Measured { values: Measurements(values), flags, ..Measured::nothing(identity) };
    let directions = looked.directions(options)?;
    let drawn = Drawings { spectra: sides.spectra(&looked, options.of), directions: directions.clone() };
    let intruders = looked.intruders(options, directions);
    Ok(PairMeasured { measured, base: base_identity, intruders, drawn, correction })
}

/// A pair as operators, with as much of its update as is needed.
struct Sides<'a> {
    base: &'a Matrix,
    precision: Precision,
    tuned: Operator<'a>,
    delta: Operator<'a>,
    update: UpdateNumbers,
}

impl<'a> Sides<'a> {
    fn new(
        base: &'a Matrix,
        (holds, change): (Holds, &'a Held),
        stored: Dtype,
        needs: Needs,
    ) -> Result<Self, Error> {
        let precision = Precision::Fast.of(stored);
        let (weight, change) = (Operator::from(base), Operator::from(change));
        let (tuned, delta, of_delta) = match holds {
            Holds::Weights => (change.clone(), change.minus(&weight)?, precision),
            // Computed entries are doubles and known no better for it.
            Holds::Updates => (weight.plus(&change)?, change, Precision::Fast),
        };
        let update = UpdateNumbers::new(&delta, of_delta, needs)?;
        Ok(Self { base, precision, tuned, delta, update })
    }

    /// The leading directions and how close the base's singular vectors come to them; the sides are in units of
    /// `2^unit`.
    fn look(&self, options: &Options, unit: i32) -> Result<Looked, Error> {
        let subject = if options.of == Of::Delta { &self.delta } else { &self.tuned };
        let factors = solver::leading(subject, options.k)?;
        // Not before: the Gram matrices that both keep are the largest data here.
        let first = if options.side == VectorSide::Right { Vectors::Right } else { Vectors::Left };
        let base = solver::reference(self.base, first, self.precision)?;
        let limits: Vec<f64> =
            std::iter::once(options.epsilon).chain(options.sweep.iter().copied()).collect();
        let question = match options.cosines {
            Cosines::Decided => Question::Below(&limits),
            Cosines::Exact => Question::Value,
        };
        let left = match options.side {
            VectorSide::Right => None,
            VectorSide::Left | VectorSide::Both => {
                Some(base.best_cosines(Vectors::Left, &factors.left, question)?)
            }
        };
        let right = match options.side {
            VectorSide::Left => None,
            VectorSide::Right | VectorSide::Both => {
                Some(base.best_cosines(Vectors::Right, &factors.right, question)?)
            }
        };
        let leading = base.leading(options.k)?;
        let overlap = match options.side {
            VectorSide::Right => leading.right.overlap(&factors.right),
            VectorSide::Left | VectorSide::Both => leading.left.overlap(&factors.left),
        };
        Ok(Looked { factors, left, right, overlap, base_values: base.into_spectrum(), unit })
    }

    /// All columns and flags.
    fn values(
        &self,
        looked: &Looked,
        options: &Options,
        layer: &Layer,
    ) -> (Vec<(&'static Column, Value)>, Vec<Flag>) {
        let update = &self.update;
        let base = &looked.base_values;
        let main = looked.left.as_ref().or(looked.right.as_ref()).map_or(&[][..], Vec::as_slice);
        let epsilon = options.epsilon;
        let mut values = vec![
            (&columns::INTRUDER_COUNT, Value::count(indices(main, epsilon).count())),
            (&columns::K, Value::count(looked.factors.values.len())),
            (&columns::INTRUDER_ENERGY, looked.energy(main, epsilon)),
            (&columns::LOWEST_COSINE, lowest(main)),
            (
                &delta::SUBSPACE_OVERLAP,
                looked.overlap.map_or(Value::Missing(MissingReason::AllZero), Value::real),
            ),
            (&delta::DELTA_SPECTRAL_RATIO, update.spectral_ratio(base.largest())),
            (&delta::DELTA_FROBENIUS_RATIO, update.frobenius_ratio(base.norm())),
            (&delta::DELTA_EFFECTIVE_RANK, update.metric("effective_rank", layer)),
            (&delta::DELTA_STABLE_RANK, update.metric("stable_rank", layer)),
        ];
        if let (VectorSide::Both, Some(right)) = (options.side, &looked.right) {
            values.extend([
                (&columns::RIGHT_INTRUDER_COUNT, Value::count(indices(right, epsilon).count())),
                (&columns::RIGHT_INTRUDER_ENERGY, looked.energy(right, epsilon)),
                (&columns::RIGHT_LOWEST_COSINE, lowest(right)),
            ]);
        }
        let bounds = looked
            .left
            .iter()
            .chain(&looked.right)
            .flatten()
            .any(|cosine| cosine.upper - cosine.lower > ROUNDING);
        (values, if bounds { vec![Flag::CosineBounds] } else { vec![] })
    }
}

impl Sides<'_> {
    /// The spectra of the base and of the update, and the leading values of the subject, for pictures.
    fn spectra(&self, looked: &Looked, of: Of) -> Vec<Drawn> {
        let outline = |values: Vec<(usize, f64)>| -> Vec<(usize, f64)> {
            values.into_iter().map(|(i, s)| (i, scaled(s, looked.unit))).collect()
        };
        let update = self.update.values.as_ref();
        let update = update.map_or_else(Vec::new, |values| values.outline(values.resolved().len()));
        // The leading values of the update are among all of it.
        let leading = if of == Of::Tuned { looked.factors.values.as_slice() } else { &[] };
        let all = [
            Drawn::new("base", outline(looked.base_values.outline(usize::MAX))),
            Drawn::new("tuned, leading", outline(leading.iter().copied().enumerate().collect())),
            Drawn::new("update", outline(update)),
        ];
        let fits = |drawn: &Drawn| drawn.outline.iter().all(|(_, s)| s.is_finite());
        all.into_iter().filter(|drawn| !drawn.outline.is_empty() && fits(drawn)).collect()
    }
}

/// Bounds that are closer than this are the cosine to every digit that is shown.
const ROUNDING: f64 = 1e-8;

/// The leading directions, held against the base.
struct Looked {
    factors: Factors,
    left: Option<Vec<BestCosine>>,
    right: Option<Vec<BestCosine>>,
    overlap: Option<f64>,
    base_values: Spectrum,
    /// The exponent of the power of two that singular values are in units of.
    unit: i32,
}

impl Looked {
    /// The intruders' share of `Σσ²`.
    fn energy(&self, cosines: &[BestCosine], epsilon: f64) -> Value {
        let Some(largest) = self.factors.values.first() else {
            return Value::Missing(MissingReason::AllZero);
        };
        let square = |s: f64| (s / largest) * (s / largest);
        let all: f64 = self.factors.values.iter().map(|s| square(*s)).sum();
        let intruders = indices(cosines, epsilon).map(|i| square(self.factors.values[i]));
        Value::within(intruders.fold(0.0, |sum, square| sum + square) / all, 0.0, 1.0)
    }

    /// Every direction that was checked.
    ///
    /// # Errors
    /// [`Error::Overflow`] where the size of a direction does not fit a double.
    fn directions(&self, options: &Options) -> Result<Vec<Direction>, Error> {
        let sides = [("left", &self.left), ("right", &self.right)];
        let directions = sides.into_iter().flat_map(|(side, cosines)| {
            cosines.iter().flatten().enumerate().map(move |(i, cosine)| Direction {
                side: side.into(),
                index: i as u64 + 1,
                singular_value: scaled(self.factors.values[i], self.unit),
                best_cosine: [cosine.lower, cosine.upper],
                base_index: cosine.index.map(|j| j as u64 + 1),
                intruder: cosine.upper < options.epsilon,
            })
        });
        let directions: Vec<Direction> = directions.collect();
        let too_large = directions.iter().any(|direction| direction.singular_value.is_infinite());
        if too_large && options.detail == Detail::Directions {
            return Err(Error::Overflow("the singular value of a direction".to_owned()));
        }
        Ok(if too_large { vec![] } else { directions })
    }

    /// The report's entries on single directions.
    fn intruders(&self, options: &Options, directions: Vec<Direction>) -> Intruders {
        let main = self.left.as_ref().or(self.right.as_ref()).map_or(&[][..], Vec::as_slice);
        let count = |epsilon: f64| indices(main, epsilon).count() as u64;
        let swept = |epsilon: &f64| (*epsilon, count(*epsilon));
        Intruders {
            indices: indices(main, options.epsilon).map(|i| i as u64 + 1).collect(),
            sweep: options.sweep.iter().map(swept).collect(),
            directions: if options.detail == Detail::Directions { directions } else { vec![] },
            energy_kept: None,
        }
    }

    /// `(keep − 1)·Σ σᵢ·uᵢ·vᵢᵀ` over the intruders.
    fn correction(&self, keep: f64, shape: (usize, usize), epsilon: f64) -> Result<Option<LowRank>, Error> {
        let main = self.left.as_ref().or(self.right.as_ref()).map_or(&[][..], Vec::as_slice);
        let intruders: Vec<usize> = indices(main, epsilon).collect();
        if intruders.is_empty() {
            return Ok(None);
        }
        let Factors { left, values, right } = &self.factors;
        let size = |i: usize| scaled((keep - 1.0) * values[i], self.unit);
        let left =
            (0..shape.0).flat_map(|row| intruders.iter().map(move |i| size(*i) * left.column(*i)[row]));
        let right = intruders.iter().flat_map(|i| right.column(*i).iter().copied());
        LowRank::new(shape, intruders.len(), left.collect(), right.collect()).map(Some)
    }
}

/// The directions whose best cosine is below `epsilon`.
fn indices(cosines: &[BestCosine], epsilon: f64) -> impl Iterator<Item = usize> {
    cosines.iter().enumerate().filter(move |(_, cosine)| cosine.upper < epsilon).map(|(i, _)| i)
}

/// The smallest best cosine, from above.
fn lowest(cosines: &[BestCosine]) -> Value {
    cosines
        .iter()
        .map(|cosine| cosine.upper)
        .min_by(f64::total_cmp)
        .map_or(Value::Missing(MissingReason::AllZero), Value::real)
}
