//! A weight against its original: every metric on both sides, and how far entries, values and directions have moved.
//!
//! Either side may be the numbers of an earlier run; columns that need weights on both sides are then left out.

mod columns;
mod content;
mod directions;
mod drift;
mod drifts;
mod fused;
mod gains;
mod likeness;
mod reordered;
mod subspaces;
mod update;
mod vocabulary;

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Dtype;
use crate::metric::{Metric, Subject};
use crate::report::{Flag, Measurements, MissingReason, Places, Resolution, Standing, Value};
use crate::solver::unit::Rescaled;
use crate::solver::{self, Cost, Form, Memo, Need, Operand, Precision, Sought, Triplets};
use crate::spectrum::Spectrum;
use crate::weight::Catalogue;

use super::spectrum;
use directions::Directions;
use drifts::{drifts, same_values};
use gains::Gains;
use subspaces::Subspaces;

pub use columns::{Retyped, STATUS_COLUMNS, TwoSided};
pub use content::{BLOCK, Content, equal};
pub use drift::Drift;
pub use fused::{Arrangement, HashedAs, Lines, arrangement};
pub use vocabulary::{Bytes, Fate, Half, Vocabulary};

/// Columns of a pair from entries and singular values, in report order.
pub static DRIFTS: &[Drift] = &[
    drift::DELTA_FROBENIUS_RATIO,
    drift::LOG_SIGMA_DISTANCE,
    drift::SIGMA_DRIFT,
    drift::DELTA_SPECTRAL_RATIO,
    drift::DELTA_STABLE_RANK,
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
];

/// The settings of a comparison.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The metrics of each side.
    pub metrics: &'static [Metric],
    /// How exact singular values have to be.
    pub precision: Precision,
    /// Which singular vectors are compared.
    pub vectors: Vectors,
    /// Which of the base's directions count as principal.
    pub preserve: Preserve,
    /// Number of leading directions in the compared subspace.
    pub top: usize,
}

/// Which singular vectors are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Its singular values, where it has any.
    pub spectrum: Option<Spectrum>,
    /// Its triplets, where they came with its values.
    triplets: Option<Triplets>,
}

impl SideMeasured {
    /// How small a number its spectrum resolves, where it has one.
    pub fn resolution(&self) -> Option<Resolution> {
        self.spectrum.as_ref().and_then(super::resolution)
    }
}

/// The results of a tuned side and of its change from the base.
#[derive(Debug, Clone, PartialEq)]
pub struct TunedMeasured {
    /// The side itself.
    pub found: SideMeasured,
    /// The values of the columns of [`drifts_of`]; none without weights of one shape on both sides.
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
pub fn measure(
    base: Option<PairSide<'_>>,
    tuned: &[Option<(PairSide<'_>, Standing)>],
    settings: &Settings,
    memo: &dyn Memo,
) -> Result<PairOutcome, Error> {
    let compared = |standing| matches!(standing, Standing::Measured | Standing::Reshaped);
    let needed = tuned.iter().flatten().any(|(_, standing)| compared(*standing));
    // Vectors are compared where both sides are weights of one shape, and found nowhere else.
    let is_weight = |side: &PairSide<'_>| matches!(side, PairSide::Weight(_));
    let vectors = |side: &PairSide<'_>, standing| match standing {
        Standing::Measured if base.as_ref().is_some_and(is_weight) && is_weight(side) => settings.vectors,
        _ => Vectors::None,
    };
    let mut paired = tuned.iter().flatten().map(|(side, standing)| vectors(side, *standing));
    let of_base = if paired.any(|of| of != Vectors::None) { settings.vectors } else { Vectors::None };
    let found = base.filter(|_| needed).map(|side| found(side, of_base, settings, memo)).transpose()?;
    let mut outcome = PairOutcome { base: found, tuned: vec![] };
    for side in tuned {
        let Some((side, standing)) = *side else {
            outcome.tuned.push(None);
            continue;
        };
        let mut found = self::found(side, vectors(&side, standing), settings, memo)?;
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
    vectors: Vectors,
    settings: &Settings,
    memo: &dyn Memo,
) -> Result<SideMeasured, Error> {
    Ok(match side {
        PairSide::Saved(values) => SideMeasured {
            values: values.clone(),
            blake3: None,
            flags: vec![],
            places: Places::default(),
            spectrum: None,
            triplets: None,
        },
        PairSide::Weight(weight) => {
            let Weight { source, layer } = weight;
            let (precision, metrics) = (settings.precision, settings.metrics);
            let (measured, triplets) = match vectors {
                Vectors::None => (spectrum::measure(source, layer, precision, metrics, memo)?, None),
                Vectors::Leading | Vectors::All => {
                    let (k, tolerance) = (settings.top, subspaces::TOLERANCE);
                    let sought = Sought { k, tolerance, all: vectors == Vectors::All };
                    spectrum::measure_triplets(source, layer, precision, metrics, sought)?
                }
            };
            SideMeasured {
                values: measured.values,
                blake3: Some(measured.identity.hex()),
                flags: measured.flags,
                places: measured.places,
                spectrum: measured.spectrum,
                triplets,
            }
        }
    })
}

/// A pair whose entries are all finite, and the difference between its sides.
pub struct Both<'a> {
    base: &'a Spectrum,
    tuned: &'a Spectrum,
    update: &'a Spectrum,
    /// The update as its metrics see it.
    subject: Subject<'a>,
    subspaces: Option<Subspaces>,
    directions: Option<&'a Directions>,
    /// Gains of rows and columns that explain the change best; none where a side is zero.
    gains: Option<Gains>,
    /// All spectra are of the weights divided by this power of two.
    exponent: i32,
}

impl Both<'_> {
    /// A metric of the update.
    fn of_update(&self, key: &str) -> Value {
        match self.subject.value(key) {
            Value::Missing(MissingReason::AllZero) => Value::Missing(MissingReason::NoUpdate),
            value => value,
        }
    }
}

/// The columns of a pair.
pub fn drifts_of(vectors: Vectors) -> impl Iterator<Item = &'static Drift> {
    let (leading, all): (&[Drift], &[Drift]) = match vectors {
        Vectors::None => (&[], &[]),
        Vectors::Leading => (SUBSPACE_COLUMNS, &[]),
        Vectors::All => (SUBSPACE_COLUMNS, DIRECTION_COLUMNS),
    };
    DRIFTS.iter().chain(leading).chain(all)
}

/// What a pair takes beside its decompositions, as measured on small ones: gains, distances, all metrics three times.
const BESIDE: f64 = 1e8;

/// The largest cost of measuring each of `tuned` and its change from `base`.
pub fn cost(base: Option<PairSide<'_>>, tuned: &[PairSide<'_>], settings: &Settings) -> Cost {
    let weight = |side| if let PairSide::Weight(weight) = side { Some(weight) } else { None };
    let base = base.and_then(weight);
    let tuned: Vec<Weight<'_>> = tuned.iter().copied().filter_map(weight).collect();
    let form = |of: &Weight<'_>| Form::of(of.layer, settings.precision).kept();
    let side = |side: &Weight<'_>| {
        let form = form(side);
        let values = solver::cost(&form, Need::Values);
        match settings.vectors {
            Vectors::Leading | Vectors::All if base.is_some() && !tuned.is_empty() => Cost {
                flops: values.flops + solver::leading_flops(&form, settings.top),
                bytes: solver::cost(&form, Need::Cosines(settings.top)).bytes,
            },
            _ => values,
        }
    };
    let updates = base.iter().flat_map(|base| tuned.iter().map(|tuned| base.update(tuned, settings)));
    let updates = updates.map(|form| solver::cost(&form, Need::Values));
    let costs = base.iter().chain(&tuned).map(side).chain(updates);
    let mut cost = costs.fold(Cost { flops: 0.0, bytes: 0 }, |sum, one| Cost {
        flops: sum.flops + one.flops,
        bytes: sum.bytes.max(one.bytes),
    });
    let pair = base.filter(|_| !tuned.is_empty());
    if pair.is_some() {
        cost.flops += BESIDE * tuned.len() as f64;
    }
    if let Some(base @ Weight { layer, .. }) = pair.filter(|_| settings.vectors == Vectors::All) {
        let (short, long) = (layer.rows.min(layer.cols) as f64, layer.rows.max(layer.cols) as f64);
        let whole = Form { operand: Operand::Whole, ..form(&base) };
        let (values, factors) = (solver::cost(&whole, Need::Values), solver::cost(&whole, Need::Vectors));
        // They begin with what the values come from.
        let beyond = (factors.flops - values.flops).max(0.0);
        // Cosines of both sides, and the update in the base's.
        let products = 2.0 * (long + short) * short * short + 4.0 * long * short * short;
        cost.flops += beyond + (beyond + products) * tuned.len() as f64;
        // The base's factors wait while the tuned side is decomposed; then both, with both weights, for their products.
        let read_as = tuned.iter().map(|tuned| tuned.layer.read_as.size()).fold(0, usize::max);
        let stored = (layer.len() * (layer.read_as.size() + read_as)) as u64;
        let basis = (8.0 * (long + short) * short) as u64;
        cost.bytes = cost.bytes.max(factors.bytes + basis + stored).max(values.bytes + 2 * basis + stored);
    }
    cost
}
