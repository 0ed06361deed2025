//! A weight against its original: every metric on both sides, and how far entries, values and directions have moved.
//!
//! Either side may be the numbers of an earlier run; columns that need weights on both sides are then left out.

mod columns;
mod content;
mod cost;
mod directions;
mod drift;
mod drifts;
mod fused;
mod gains;
mod likeness;
mod needs;
mod reordered;
mod subspaces;
mod update;
mod vocabulary;

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Dtype;
use crate::metric::Metrics;
use crate::report::{Flag, Measurements, MissingReason, Places, Resolution, Standing, Value};
use crate::solver::unit::Rescaled;
use crate::solver::{Form, Memo, Needs, Operand, Precision, Sought, Triplets};
use crate::spectrum::Spectrum;
use crate::weight::Catalogue;

use super::delta::UpdateNumbers;
use super::spectrum;
use directions::Directions;
use drifts::{drifts, same_values};
use gains::Gains;
use subspaces::Subspaces;

pub use columns::{Retyped, STATUS_COLUMNS, TwoSided};
pub use content::{BLOCK, Content, changed_share, equal};
pub use cost::cost;
pub use directions::alignment;
pub use drift::{BYTE_COLUMNS, Drift};
pub use fused::{Arrangement, HashedAs, Lines, arrangement};
pub use needs::{GainFit, NOTHING, PairNeeds};
pub use vocabulary::{Bytes, Fate, Half, Vocabulary};

/// Columns of a pair from entries and singular values, in report order.
pub static DRIFTS: &[Drift] = &[
    drift::DELTA_FROBENIUS_RATIO,
    drift::NMSE,
    drift::LOG_SIGMA_DISTANCE,
    drift::SIGMA_DRIFT,
    drift::DELTA_SPECTRAL_RATIO,
    drift::DELTA_STABLE_RANK,
    drift::DELTA_TOP1_SHARE,
    drift::DELTA_EFFECTIVE_RANK,
    drift::DELTA_RANK_AT_90,
    gains::GAIN_ALIGNMENT,
    gains::ROW_GAIN_RATIO,
    gains::COLUMN_GAIN_RATIO,
];

/// Columns of a pair from the leading singular vectors, in report order.
pub static SUBSPACE_COLUMNS: &[Drift] = &[
    subspaces::SUBSPACE_OVERLAP,
    subspaces::RIGHT_SUBSPACE_OVERLAP,
    subspaces::SUBSPACE_ANGLE,
    subspaces::RIGHT_SUBSPACE_ANGLE,
];

/// Columns of a pair from all singular vectors, in report order.
pub static DIRECTION_COLUMNS: &[Drift] = &[
    directions::ALIGNMENT,
    directions::ALIGNMENT_STRONG,
    directions::DIRECTION_DRIFT,
    directions::DIRECTION_DRIFT_BEST,
    directions::PRINCIPAL_RANK,
    directions::PRINCIPAL_SHARE,
    directions::MINOR_SHARE,
    directions::DIAG_SHARE,
    directions::LEAK_LEFT,
    directions::LEAK_RIGHT,
];

/// The settings of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The metrics of each side.
    pub metrics: Metrics,
    /// The columns of each pair.
    pub drifts: Drifts,
    /// What all of these are computed from: no more is.
    pub needs: PairNeeds,
    /// How exact singular values have to be.
    pub precision: Precision,
    /// Which of the base's directions count as principal.
    pub preserve: Preserve,
    /// Number of leading directions in the compared subspace.
    pub top: usize,
}

impl Settings {
    /// The triplets that these `vectors` are.
    fn sought(&self, vectors: Vectors) -> Sought {
        Sought { k: self.top, tolerance: subspaces::TOLERANCE, all: vectors == Vectors::All }
    }
}

/// Some columns of a pair: they live as long as the program.
pub type Drifts = &'static [&'static Drift];

/// Which singular vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vectors {
    /// None: only values.
    None,
    /// The leading ones of both sides: [`SUBSPACE_COLUMNS`].
    Leading,
    /// All of them: [`DIRECTION_COLUMNS`], too.
    All,
}

/// Which leading directions of a base count as principal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Preserve {
    /// This many.
    Rank(usize),
    /// The fewest that hold this share of Σσ².
    Energy(f64),
}

/// One side of a pair.
#[derive(Clone, Copy)]
pub enum PairSide<'a> {
    /// Weights to be read.
    Weight(Weight<'a>),
    /// Numbers of an earlier run.
    Saved(&'a Measurements),
}

impl<'a> PairSide<'a> {
    fn weight(self) -> Option<Weight<'a>> {
        if let Self::Weight(weight) = self { Some(weight) } else { None }
    }
}

/// Weights to be read.
#[derive(Clone, Copy)]
pub struct Weight<'a> {
    /// The checkpoint.
    pub source: &'a Catalogue,
    /// Its matrix.
    pub layer: &'a Layer,
}

impl<'a> Weight<'a> {
    /// The same times `2^exponent`.
    fn times(self, exponent: i32) -> Rescaled<'a> {
        Rescaled { source: self.source, layer: self.layer, exponent }
    }

    /// The form of the update from this weight to `tuned`, from headers.
    fn update(&self, tuned: &Weight<'_>, settings: &Settings) -> Form {
        let precision = settings.precision;
        let Some((_, layer)) = tuned.source.added(tuned.layer, (self.source, self.layer)) else {
            let dtype = self.layer.dtype.coarser(tuned.layer.dtype);
            let own = Form::of(self.layer, precision);
            return Form {
                operand: Operand::Terms,
                read_as: Dtype::F64,
                precision: precision.of(dtype),
                ..own
            };
        };
        Form::of(&layer, precision).kept()
    }
}

/// The results of one side.
#[derive(Debug, Clone, PartialEq)]
pub struct SideMeasured {
    /// Its metrics.
    pub values: Measurements,
    /// BLAKE3 of its bytes, where they were read.
    pub blake3: Option<String>,
    /// Flags for the reader of the numbers.
    pub flags: Vec<Flag>,
    /// Entries, rows and columns that findings name, and the order of the base's entries that it holds.
    pub places: Places,
    /// The sum of its squared entries, where a double holds it, or why it is not known.
    energy: Result<f64, MissingReason>,
    /// How small a number its spectrum resolves, where it has one.
    pub resolution: Option<Resolution>,
    /// Its singular values, where it has any.
    pub spectrum: Option<Spectrum>,
    /// Its triplets, where they came with its values.
    triplets: Option<Triplets>,
}

impl From<spectrum::WithTriplets> for SideMeasured {
    fn from((measured, triplets): spectrum::WithTriplets) -> Self {
        Self {
            values: measured.values,
            blake3: Some(measured.identity.hex()),
            flags: measured.flags,
            places: measured.places,
            energy: measured.energy,
            resolution: measured.resolution,
            spectrum: measured.spectrum,
            triplets,
        }
    }
}

impl SideMeasured {
    /// Whether a finite weight was read.
    fn is_finite(&self) -> bool {
        self.energy != Err(MissingReason::NonFinite)
    }

    /// σ₁, where it was found.
    fn largest(&self) -> Option<f64> {
        let alone = || self.resolution.as_ref().map(|of| of.spectral_norm);
        self.spectrum.as_ref().map(Spectrum::largest).or_else(alone)
    }
}

/// The results of a tuned side and of its change from the base.
#[derive(Debug, Clone, PartialEq)]
pub struct TunedMeasured {
    /// The side itself.
    pub found: SideMeasured,
    /// The values of the columns that were asked for; none without weights of one shape on both sides.
    pub drifts: Option<Vec<Value>>,
}

/// The results of a base and its fine-tunes.
#[derive(Debug, Clone, PartialEq)]
pub struct PairOutcome {
    /// The base's side, where it was needed.
    pub base: Option<SideMeasured>,
    /// The tuned sides that were asked for.
    pub tuned: Vec<Option<TunedMeasured>>,
}

/// Measures each of `tuned` and its way from `base`, whose own work is done once.
///
/// # Errors
/// When a side cannot be read or its decomposition does not converge.
pub fn measure<'a>(
    base: Option<PairSide<'a>>,
    tuned: &[Option<(PairSide<'a>, Standing)>],
    settings: &Settings,
    memo: &dyn Memo,
) -> Result<PairOutcome, Error> {
    let compared = |standing| matches!(standing, Standing::Measured | Standing::Reshaped);
    let needed = tuned.iter().flatten().any(|(_, standing)| compared(*standing));
    // Vectors are compared where both sides are weights of one shape, and found nowhere else.
    let is_weight = |side: &PairSide<'_>| side.weight().is_some();
    let vectors = |side: &PairSide<'_>, standing| match standing {
        Standing::Measured if base.as_ref().is_some_and(is_weight) && is_weight(side) => {
            settings.needs.vectors
        }
        _ => Vectors::None,
    };
    let mut paired = tuned.iter().flatten().map(|(side, standing)| vectors(side, *standing));
    let of_base = if paired.any(|of| of != Vectors::None) { settings.needs.vectors } else { Vectors::None };
    let needs = settings.needs;
    let found = |side, needs, vectors| found(side, (needs, vectors), settings, memo);
    let (of_base, mut of_updates) = match base.filter(|_| needed) {
        Some(PairSide::Weight(Weight { source, layer })) if of_base == Vectors::Leading => {
            let stored = |of: &Option<_>| {
                let (side, standing): (PairSide<'a>, _) = (*of)?;
                let weight = side.weight().filter(|_| vectors(&side, standing) == Vectors::Leading)?;
                Some((weight.source, weight.layer))
            };
            let tuned: Vec<_> = tuned.iter().map(stored).collect();
            let (how, sought) = ((settings.precision, settings.metrics), settings.sought(of_base));
            let (base, tuned) = spectrum::measure_with_updates((source, layer), &tuned, how, sought)?;
            (Some(SideMeasured::from(base)), tuned)
        }
        base => (base.map(|side| found(side, needs.base, of_base)).transpose()?, vec![]),
    };
    of_updates.resize_with(tuned.len(), || None);
    let mut outcome = PairOutcome { base: of_base, tuned: vec![] };
    for (side, of_update) in tuned.iter().zip(of_updates) {
        let Some((side, standing)) = *side else {
            outcome.tuned.push(None);
            continue;
        };
        let mut found = match of_update {
            Some(found) => SideMeasured::from(found),
            None => found(side, needs.tuned, vectors(&side, standing))?,
        };
        let drifts = match (base, &outcome.base, side, standing) {
            (Some(PairSide::Weight(weight)), Some(base), PairSide::Weight(tuned), Standing::Measured) => {
                Some(drifts((weight, base), (tuned, &mut found), settings)?)
            }
            _ => None,
        };
        // Dropped before the vectors of the next side are found.
        found.triplets = None;
        if standing == Standing::Reshaped
            && let (Some(base), Some(tuned)) =
                (outcome.base.as_ref().and_then(|f| f.spectrum.as_ref()), &found.spectrum)
            && (base.rows(), base.cols()) == (tuned.cols(), tuned.rows())
            && same_values(base, tuned)
        {
            found.flags.push(Flag::LikelyTransposed);
        }
        let elsewhere = |flag: &Flag| [Flag::LikelyTransposed, Flag::LikelyPermuted].contains(flag);
        if let (Some(PairSide::Weight(base)), PairSide::Weight(tuned), true) =
            (base, side, found.flags.iter().any(elsewhere))
        {
            let whole = |of: Weight<'_>| of.source.read(of.layer, 0..of.layer.rows);
            found.places.reordering = reordered::reordering(&whole(base)?, &whole(tuned)?).map(Box::new);
        }
        outcome.tuned.push(Some(TunedMeasured { found, drifts }));
    }
    Ok(outcome)
}

fn found(
    side: PairSide<'_>,
    (needs, vectors): (Needs, Vectors),
    settings: &Settings,
    memo: &dyn Memo,
) -> Result<SideMeasured, Error> {
    Ok(match side {
        PairSide::Saved(values) => SideMeasured {
            values: values.clone(),
            blake3: None,
            flags: vec![],
            places: Places::default(),
            energy: Err(MissingReason::NotApplicable),
            resolution: None,
            spectrum: None,
            triplets: None,
        },
        PairSide::Weight(Weight { source, layer }) => {
            let (precision, metrics) = (settings.precision, settings.metrics);
            SideMeasured::from(match vectors {
                Vectors::None => {
                    (spectrum::measure_some(source, layer, (precision, needs), metrics, memo)?, None)
                }
                Vectors::Leading | Vectors::All => {
                    spectrum::measure_triplets(source, layer, precision, metrics, settings.sought(vectors))?
                }
            })
        }
    })
}

/// A pair whose entries are all finite, and the difference between its sides, as far as they were asked for.
pub struct Both<'a> {
    base: Side<'a>,
    tuned: Side<'a>,
    update: Option<UpdateNumbers>,
    /// The base's matrix, of whose shape and type the update is.
    layer: &'a Layer,
    subspaces: Option<Subspaces>,
    directions: Option<&'a Directions>,
    /// Gains of rows and columns that explain the change best; none where a side is zero.
    gains: Option<Gains>,
    /// All numbers are of the weights divided by this power of two.
    exponent: i32,
}

/// What is known of one side.
#[derive(Clone, Copy)]
struct Side<'a> {
    spectrum: Option<&'a Spectrum>,
    largest: Option<f64>,
    norm: Result<f64, MissingReason>,
}

impl Both<'_> {
    /// A metric of the update.
    fn of_update(&self, key: &str) -> Value {
        let none = Value::Missing(MissingReason::NotDecomposed);
        match self.update.as_ref().map_or(none, |update| update.metric(key, self.layer)) {
            Value::Missing(MissingReason::AllZero) => Value::Missing(MissingReason::NoUpdate),
            value => value,
        }
    }

    /// The singular values of both sides.
    fn values(&self) -> Option<(&Spectrum, &Spectrum)> {
        self.base.spectrum.zip(self.tuned.spectrum)
    }
}

/// The columns of a pair.
pub fn drifts_of(vectors: Vectors) -> impl Iterator<Item = &'static Drift> {
    let (leading, all): (&[Drift], &[Drift]) = match vectors {
        Vectors::None => (&[], &[]),
        Vectors::Leading => (SUBSPACE_COLUMNS, &[]),
        Vectors::All => (SUBSPACE_COLUMNS, DIRECTION_COLUMNS),
    };
    BYTE_COLUMNS.iter().chain(DRIFTS).chain(leading).chain(all)
}
