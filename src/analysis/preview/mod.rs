//! What a decomposition would keep of a weight, by the ways to compress or train it that papers propose: weighted by data,
//! by chosen columns, by directions and columns, in 4 bits.
//!
//! Weights are outputs × inputs in here.

mod columns;
mod degeneracy;
mod nf4;
mod salt;
mod sparse;
mod subset;
mod weights;

use std::path::Path;

use super::ranked::at_rank;
use crate::checkpoint::Moments;
use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::{Dtype, Matrix};
use crate::report::{Column, Lists, Measurements, MissingReason, Value};
use crate::solver::{self, Chosen, Cost, Cut, Entries, Form, Need, Operator, Precision, Weighting};
use crate::spectrum::Spectrum;
use crate::weight::StoredFactors;

pub use columns::{FAMILIES, fixed};
pub use salt::Salt;

/// What is asked of each matrix.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Previews {
    /// The ranks at which energies and losses are told, ascending.
    pub ranks: Vec<usize>,
    /// So many columns, and the largest coefficient that a strong choice may leave.
    pub select: Option<(usize, f64)>,
    /// A rank, a quarter of all directions where it is none, and a share of the columns beside it.
    pub sparse: Option<(Option<usize>, f64)>,
    /// The directions that SST samples in a round.
    pub sampled: Option<usize>,
    /// The rank that makes up for 4 bits.
    pub quantized: Option<usize>,
    /// Whether inputs are known.
    pub inputs: bool,
    /// Whether Fisher weights are.
    pub fisher: bool,
    /// Whether gradients are.
    pub gradients: bool,
}

/// What is known of a module, moments with the file that says so.
#[derive(Debug, Default)]
pub struct ModuleData<'p> {
    /// Its inputs.
    pub inputs: Option<(Moments, &'p Path)>,
    /// Weights of its entries.
    pub fisher: Option<Matrix>,
    /// The gradients of its outputs.
    pub gradients: Option<(Moments, &'p Path)>,
}

/// Numbers as they are found: columns with their values, and lists.
#[derive(Debug, Default)]
struct Notes {
    values: Vec<(&'static Column, Value)>,
    lists: Lists,
}

impl Notes {
    fn add(&mut self, columns: &'static [Column], values: impl IntoIterator<Item = Value>) {
        self.values.extend(columns.iter().zip(values));
    }
}

impl Previews {
    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        use columns::{
            ENERGY, FISHER, FISHER_AT, OUTPUTS, OUTPUTS_AT, PARAMETERS, QUANTIZED, SAMPLING, SPARSE, SUBSET,
        };
        let groups: [(bool, &'static [Column]); 7] = [
            (self.inputs, &OUTPUTS),
            (self.fisher, &FISHER),
            (self.gradients, &PARAMETERS),
            (self.select.is_some(), &SUBSET),
            (self.sparse.is_some(), &SPARSE),
            (self.sampled.is_some(), &SAMPLING),
            (self.quantized.is_some(), &QUANTIZED),
        ];
        let fixed = groups.into_iter().filter(|(asked, _)| *asked).flat_map(|(_, columns)| columns);
        let families: [(bool, &'static [Column]); 3] =
            [(true, std::slice::from_ref(&ENERGY)), (self.inputs, &OUTPUTS_AT), (self.fisher, &FISHER_AT)];
        let families = families.into_iter().filter(|(asked, _)| *asked).flat_map(|(_, columns)| columns);
        let families: Vec<&'static Column> = families.collect();
        let ranked = self.ranks.iter().flat_map(|rank| families.iter().map(|family| at_rank(family, *rank)));
        fixed.chain(ranked).collect()
    }

    /// What was asked, as reports say it.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let ranks: Vec<String> = self.ranks.iter().map(usize::to_string).collect();
        let sparse = |(rank, share): (Option<usize>, f64)| match rank {
            Some(rank) => format!("{rank},{share}"),
            None => share.to_string(),
        };
        let settings = [
            ("at", (!ranks.is_empty()).then(|| ranks.join(","))),
            ("select_columns", self.select.map(|(count, limit)| format!("{count},{limit}"))),
            ("lowrank_plus_columns", self.sparse.map(sparse)),
            ("sst", self.sampled.map(|count| count.to_string())),
            ("nf4", self.quantized.map(|rank| rank.to_string())),
        ];
        settings.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a matrix takes beside its own numbers, at most.
    pub fn cost(&self, layer: &Layer) -> Cost {
        if self.is_empty() {
            return Cost { flops: 0.0, bytes: 0 };
        }
        let (rows, cols) = (layer.rows, layer.cols);
        let form = Form::whole((rows, cols), Dtype::F64, Precision::Fast);
        let short = rows.min(cols);
        let leading = |k: usize| solver::cost(&form, Need::Leading(k.clamp(1, short.max(1))));
        let values = || solver::cost(&form, Need::Values);
        let square = |side: usize| {
            let form = Form::whole((side, side), Dtype::F64, Precision::Exact);
            solver::cost(&form, Need::Vectors)
        };
        let most = self.ranks.last().copied().unwrap_or(0);
        let mut parts = vec![];
        if self.inputs {
            let product = Cost { flops: 4.0 * layer.len() as f64 * cols as f64, bytes: 0 };
            parts.extend([square(cols), product, values(), values(), leading(most)]);
        }
        if self.fisher {
            parts.extend([values(), leading(most), leading(most), leading(most)]);
        }
        if self.gradients {
            parts.push(square(rows));
        }
        parts.extend(self.select.iter().map(|(count, _)| leading(*count)));
        parts.extend(self.sparse.iter().map(|(rank, _)| leading(2 * rank.unwrap_or(short / 4))));
        parts.extend(self.sampled.iter().map(|_| values()));
        if let Some(rank) = self.quantized {
            parts.extend((0..6).map(|_| leading(rank)).chain((0..4).map(|_| values())));
        }
        let (flops, bytes) =
            parts.iter().fold((0.0, 0), |(flops, most), part| (flops + part.flops, part.bytes.max(most)));
        Cost { flops, bytes: bytes + 40 * layer.len() as u64 }
    }
}

/// The numbers of a `matrix`, which `layer` describes, in the order of the columns.
///
/// # Errors
/// When data cannot be what they should be, or a decomposition does not converge.
pub fn measure(
    previews: &Previews,
    (matrix, layer): (&Matrix, &Layer),
    data: &ModuleData<'_>,
) -> Result<(Measurements, Lists), Error> {
    let columns = previews.columns();
    if Entries::of(matrix).nonfinite_count() > 0 {
        let missing = Value::Missing(MissingReason::NonFinite);
        return Ok((
            Measurements(columns.into_iter().map(|column| (column, missing)).collect()),
            Lists::default(),
        ));
    }
    let mut notes = Notes::default();
    let mut ranked = vec![];
    if !previews.ranks.is_empty() {
        notes.lists.count("ranks", previews.ranks.iter().copied());
        ranked.push(weights::energies(matrix, &previews.ranks)?);
    }
    let named = |path: &Path, error: Error| match error {
        Error::Usage(reason) => Error::tensor(path, &layer.name, reason),
        other => other,
    };
    if let Some((inputs, path)) = &data.inputs {
        let found = weights::by_inputs(&mut notes, (matrix, layer), inputs, &previews.ranks);
        ranked.extend(found.map_err(|error| named(path, error))?);
    }
    if let Some(fisher) = &data.fisher {
        ranked.extend(weights::by_fisher(&mut notes, (matrix, layer), fisher, &previews.ranks)?);
    }
    if let (Some((inputs, _)), Some((gradients, path))) = (&data.inputs, &data.gradients) {
        // Those of the inputs were sound above.
        let found = degeneracy::measure(&mut notes, (matrix.rows(), matrix.cols()), inputs, gradients);
        found.map_err(|error| named(path, error))?;
    }
    if let Some((count, limit)) = previews.select {
        subset::measure(&mut notes, matrix, count, limit)?;
    }
    if let Some(sparse) = previews.sparse {
        sparse::columns_beside(&mut notes, matrix, sparse)?;
    }
    if let Some(count) = previews.sampled {
        sparse::sampled(&mut notes, matrix, count)?;
    }
    if let Some(rank) = previews.quantized {
        nf4::measure(&mut notes, matrix, rank)?;
    }
    let at =
        (0..previews.ranks.len()).flat_map(|at| ranked.iter().map(move |family: &Vec<Value>| family[at]));
    let fixed = notes.values.iter().map(|(_, value)| *value);
    Ok((Measurements(columns.into_iter().zip(fixed.chain(at)).collect()), notes.lists))
}

/// How much each direction of stored factors weighs: Maestro's importances.
pub fn importances(factors: &StoredFactors) -> Lists {
    let (own, hierarchical) = super::adapter::importance(factors);
    let mut lists = Lists::default();
    lists.real("importance", own);
    lists.real("hierarchical_importance", hierarchical);
    lists
}

/// The leading directions of `L·M·R` with both undone, as many as there are at most.
fn leading(matrix: &Matrix, sides: (&Weighting, &Weighting), count: usize) -> Result<Cut, Error> {
    let count = count.min(matrix.rows()).min(matrix.cols());
    let axes = if let Weighting::Axes(axes, _) = sides.1 { axes.count() } else { count };
    solver::cut(&Operator::from(matrix), sides, &Chosen::Top(count.min(axes)))
}

/// All singular values of a finite matrix.
fn values(matrix: &Matrix) -> Result<Spectrum, Error> {
    // Doubles that were computed here are as exact as what they were computed from.
    solver::singular_values(matrix, Precision::Fast)
}

/// `‖M‖_F`.
fn norm(matrix: &Matrix) -> Result<f64, Error> {
    let too_large = || Error::Overflow("a sum of squared entries".to_owned());
    solver::norm_of_entries(&Operator::from(matrix)).ok_or_else(too_large)
}

/// A part of a whole that is not zero.
fn share(part: f64, whole: f64) -> Value {
    if whole > 0.0 { Value::real(part / whole) } else { Value::Missing(MissingReason::AllZero) }
}

/// The fewest directions that hold this share of the energy.
fn rank_at(spectrum: &Spectrum, share: f64) -> Value {
    if spectrum.largest() > 0.0 {
        Value::count(crate::metric::energy_rank(spectrum, share))
    } else {
        Value::Missing(MissingReason::AllZero)
    }
}
