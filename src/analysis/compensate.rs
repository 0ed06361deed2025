//! What compression took from a weight, and how much of that an adapter of so many directions gives back: by the leading
//! directions of the error itself (SVD), or of the error as the layer's outputs see it (EoRA).
//!
//! `E = W₀ − W`, outputs × inputs; `R·Rᵀ = XᵀX` of the layer's inputs, so that `‖E·R‖_F = ‖E·Xᵀ‖_F` is the error of its
//! outputs.

use super::delta::{
    DELTA_EFFECTIVE_RANK, DELTA_FROBENIUS_RATIO, DELTA_SPECTRAL_RATIO, NMSE, UpdateNumbers, nmse,
};
use super::ranked::at_rank;
use super::weighting::{self, scaled, seen};
use crate::checkpoint::Moments;
use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::{Dtype, Matrix};
use crate::report::{Accuracy, Column, Format, Lists, Measurements, MissingReason, Quantity, Value};
use crate::solver::{self, Chosen, Cost, Cut, Form, Need, Needs, Operator, Precision, Weighting};
use crate::spectrum::Spectrum;

/// A module may get this many times the largest rank where parameters are spent freely: so many directions are found.
pub const RHO: usize = 2;

/// Values of the error below this share of its first are faint.
const FAINT: f64 = 0.01;

const fn of_error(key: &'static str, label: &'static str, format: Format, doc: &'static str) -> Column {
    let quantity = Quantity::Pair(Accuracy::Relative);
    Column { key, label, format, quantity, doc, range: "[0, ∞)", source: "Eckart & Young 1936" }
}

const fn by_eora(column: Column) -> Column {
    Column { source: "EoRA, Liu et al. 2024", ..column }
}

const fn counted(column: Column) -> Column {
    Column { quantity: Quantity::Pair(Accuracy::Exact), source: "definition", ..column }
}

const ERROR_NORM: Column = of_error("error_norm", "‖E‖", Format::Real, "‖W₀ − W‖_F: what compression took");
const FAINT_SHARE: Column = Column {
    range: "[0, 1]",
    ..of_error(
        "faint_share",
        "faint",
        Format::Share,
        "the share of the error's singular values below 1 % of its first: above 0 if the error has few directions",
    )
};
const OUTPUT_ERROR: Column = by_eora(of_error(
    "output_error",
    "outputs",
    Format::Share,
    "‖(W₀ − W)Xᵀ‖_F/‖W₀Xᵀ‖_F: the error of the layer's outputs, against them",
));
const OUTPUT_ERROR_NORM: Column = by_eora(of_error(
    "output_error_norm",
    "‖EXᵀ‖",
    Format::Real,
    "‖(W₀ − W)Xᵀ‖_F of the inputs X of the layer",
));
const BEST_RANK: Column = counted(of_error(
    "best_rank",
    "best r",
    Format::Count,
    "the rank that the matrix gets where the parameters of the smallest rank for every matrix go where they take most of the error away, at most twice the largest rank",
));
const BEST_PARAMETERS: Column = counted(of_error(
    "best_parameters",
    "best cost",
    Format::Count,
    "r(m + n) for that rank: the parameters of its factors",
));

/// The columns that there are for each rank.
pub static FAMILIES: [Column; 5] = [
    of_error(
        "svd_error",
        "SVD",
        Format::Share,
        "‖E − E_r‖_F/‖W₀‖_F: what is left of the error of the weight after its r leading directions",
    ),
    by_eora(of_error(
        "svd_output_error",
        "outputs, SVD",
        Format::Share,
        "‖(E − E_r)Xᵀ‖_F/‖W₀Xᵀ‖_F: what is left of the error of the outputs after the r leading directions of E",
    )),
    by_eora(of_error(
        "eora_error",
        "EoRA",
        Format::Share,
        "‖E − C_r‖_F/‖W₀‖_F: what is left of the error of the weight after EoRA's r directions C_r, which may grow it",
    )),
    by_eora(of_error(
        "eora_output_error",
        "outputs, EoRA",
        Format::Share,
        "‖(E − C_r)Xᵀ‖_F/‖W₀Xᵀ‖_F: what is left of the error of the outputs after EoRA's r directions, the least for that rank",
    )),
    counted(of_error(
        "compensation_parameters",
        "parameters",
        Format::Count,
        "r(m + n): the parameters of both factors, r at most min(m, n)",
    )),
];

/// The columns beside those of each rank.
pub static COMPENSATED: [Column; 10] = [
    DELTA_FROBENIUS_RATIO,
    NMSE,
    ERROR_NORM,
    DELTA_SPECTRAL_RATIO,
    DELTA_EFFECTIVE_RANK,
    FAINT_SHARE,
    OUTPUT_ERROR,
    OUTPUT_ERROR_NORM,
    BEST_RANK,
    BEST_PARAMETERS,
];

/// Every column for these ranks, in report order; those of outputs where their inputs are known.
pub fn columns(ranks: &[usize], has_inputs: bool) -> Vec<&'static Column> {
    let is_there = |column: &&Column| has_inputs || !is_of_inputs(column);
    let (fixed, best) = COMPENSATED.split_at(8);
    let families: Vec<&'static Column> = FAMILIES.iter().filter(is_there).collect();
    let of_ranks = ranks.iter().flat_map(|rank| families.iter().map(|family| at_rank(family, *rank)));
    let of_ranks: Vec<&'static Column> = of_ranks.collect();
    fixed.iter().filter(is_there).chain(of_ranks).chain(best).collect()
}

fn is_of_inputs(column: &Column) -> bool {
    column.key.starts_with("output") || column.key.contains("_output_") || column.key.starts_with("eora")
}

/// A weight before and after it was compressed, outputs × inputs; both are finite.
#[derive(Debug, Clone, Copy)]
pub struct Compressed<'m> {
    /// Before.
    pub original: &'m Matrix,
    /// After.
    pub compressed: &'m Matrix,
    /// What is known of its inputs.
    pub moments: Option<&'m Moments>,
    /// The matrix as the report names it.
    pub layer: &'m Layer,
}

/// What was found of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensated {
    /// The numbers, in the order of the columns.
    pub values: Measurements,
    /// Spectra and norms.
    pub lists: Lists,
    /// The singular values of the error.
    pub spectrum: Option<Spectrum>,
}

/// What a matrix takes, at most.
pub fn cost(layer: &Layer, ranks: &[usize], has_inputs: bool) -> Cost {
    let most = ranks.last().copied().unwrap_or(1);
    let shape @ (rows, cols) = (layer.rows, layer.cols);
    let error = Form::whole(shape, Dtype::F64, Precision::Fast);
    let entries = layer.len() as f64;
    let parts =
        [solver::cost(&error, Need::Values), solver::cost(&error, Need::Leading(most.min(rows.min(cols))))];
    let of_inputs = has_inputs.then(|| {
        let square = Form::whole((cols, cols), Dtype::F64, Precision::Exact);
        let product = Cost { flops: 4.0 * entries * cols as f64, bytes: 0 };
        let leading = solver::cost(&error, Need::Leading((RHO * most).min(rows.min(cols))));
        [solver::cost(&square, Need::Vectors), product, leading]
    });
    let parts = parts.into_iter().chain(of_inputs.into_iter().flatten());
    let (flops, bytes) =
        parts.fold((0.0, 0), |(flops, most), part| (flops + part.flops, part.bytes.max(most)));
    let remainders = 2.0 * entries * 4.0 * most as f64;
    Cost { flops: flops + remainders, bytes: bytes + 40 * layer.len() as u64 + 16 * (cols * cols) as u64 }
}

/// The numbers of one matrix for these ranks, which ascend.
///
/// # Errors
/// When the data cannot be what they should, or a decomposition does not converge.
pub fn measure(of: &Compressed<'_>, ranks: &[usize]) -> Result<Compensated, Error> {
    let Compressed { original, compressed, moments, layer } = *of;
    let none = Weighting::None;
    let operator = Operator::from(original).minus(&Operator::from(compressed))?;
    let error = solver::weighted(&operator, (&none, &none))?;
    let short = error.rows().min(error.cols());
    let weight = solver::norm_of_entries(&Operator::from(original)).ok_or(too_large(original))?;
    let precision = Precision::Fast.of(original.dtype().coarser(compressed.dtype()));
    let update = UpdateNumbers::new(&Operator::from(&error), precision, Needs::Values)?;
    let plain = Left::of(&error, (&none, &error), &most_directions(&error, &none, ranks.last())?, ranks)?;
    let outputs = match moments {
        Some(moments) => Some(Outputs::of(original, &error, &plain.cut, &weighting::root(moments)?, ranks)?),
        None => None,
    };
    let values = update.values.as_ref().map_or(&[][..], Spectrum::values);
    let first = values.first().copied().unwrap_or(0.0);
    let faint = values.iter().filter(|s| **s < FAINT * first).count() as f64 / short as f64;
    let share = |part: f64, whole: f64| match (part, whole) {
        (0.0, _) => Value::Real(0.0),
        (_, 0.0) => Value::Missing(MissingReason::ZeroBase),
        (part, whole) => Value::real(part / whole),
    };
    let of_outputs = |number: &dyn Fn(&Outputs) -> Value| {
        outputs.as_ref().map_or(Value::Missing(MissingReason::NotApplicable), number)
    };
    let unchanged = |value: Value| match value {
        Value::Missing(MissingReason::AllZero) => Value::Missing(MissingReason::NoUpdate),
        value => value,
    };
    let of_rank = |family: &Column, at: usize| match family.key {
        "svd_error" => share(plain.own[at], weight),
        "svd_output_error" => of_outputs(&|outputs| share(outputs.by_svd[at], outputs.norm)),
        "eora_error" => of_outputs(&|outputs| share(outputs.eora.own[at], weight)),
        "eora_output_error" => of_outputs(&|outputs| share(outputs.eora.weighted[at], outputs.norm)),
        _ => Value::count(ranks[at].min(short) * (error.rows() + error.cols())),
    };
    let ranked = (0..ranks.len()).flat_map(|at| FAMILIES.iter().map(move |family| (family, at)));
    let ranked = ranked.filter(|(family, _)| outputs.is_some() || !is_of_inputs(family));
    let mut found = vec![
        update.frobenius_ratio(weight),
        nmse(update.norm, weight),
        Value::real(update.norm),
        unchanged(share(first, solver::largest(original, precision)?.value)),
        unchanged(update.metric("effective_rank", layer)),
        Value::real(faint),
    ];
    if let Some(outputs) = &outputs {
        found.extend([share(outputs.error, outputs.norm), Value::real(outputs.error)]);
    }
    found.extend(ranked.map(|(family, at)| of_rank(family, at)));
    // How parameters are spent is known when all matrices are.
    found.extend([Value::Missing(MissingReason::NotApplicable); 2]);
    let values = Measurements(columns(ranks, outputs.is_some()).into_iter().zip(found).collect());
    let mut lists = Lists::default();
    lists.count("ranks", ranks.iter().copied());
    lists.real("error_spectrum", update.values.iter().flat_map(|of| of.values().iter().copied()));
    lists.real("svd_error_norm", plain.own);
    if let Some(outputs) = outputs {
        lists.real("output_error_spectrum", outputs.eora.cut.found);
        lists.real("svd_output_error_norm", outputs.by_svd);
        lists.real("eora_error_norm", outputs.eora.own);
        lists.real("eora_output_error_norm", outputs.eora.weighted);
    }
    Ok(Compensated { values, lists, spectrum: update.values })
}

fn too_large(matrix: &Matrix) -> Error {
    Error::Overflow(format!(
        "the entries of a {} × {} matrix are too large for a double when squared",
        matrix.rows(),
        matrix.cols()
    ))
}

/// The leading directions of `error·R`, as many as `count` or as there are.
fn most_directions(error: &Matrix, right: &Weighting, count: Option<&usize>) -> Result<Cut, Error> {
    let axes = if let Weighting::Axes(axes, _) = right { axes.count() } else { error.cols() };
    let count = count.copied().unwrap_or(1).min(error.rows()).min(axes);
    solver::cut(&Operator::from(error), (&Weighting::None, right), &Chosen::Top(count))
}

/// What the directions of a cut leave of the error, for each rank.
struct Left {
    cut: Cut,
    /// Of the error itself.
    own: Vec<f64>,
    /// Of `E·R`.
    weighted: Vec<f64>,
}

impl Left {
    fn of(
        error: &Matrix,
        (right, weighted): (&Weighting, &Matrix),
        cut: &Cut,
        ranks: &[usize],
    ) -> Result<Self, Error> {
        let up = scaled(&cut.left, &cut.values);
        let own = solver::remainders(error, (&up, &cut.right), ranks);
        let weighted = match right {
            Weighting::None => own.clone(),
            _ => solver::remainders(weighted, (&up, &seen(right, &cut.right)?), ranks),
        };
        Ok(Self { cut: cut.clone(), own, weighted })
    }
}

/// The error of a layer's outputs.
struct Outputs {
    /// `‖W₀·R‖_F`.
    norm: f64,
    /// `‖E·R‖_F`.
    error: f64,
    /// After the leading directions of the error itself.
    by_svd: Vec<f64>,
    eora: Left,
}

impl Outputs {
    fn of(
        original: &Matrix,
        error: &Matrix,
        plain: &Cut,
        right: &Weighting,
        ranks: &[usize],
    ) -> Result<Self, Error> {
        let most = ranks.last().map(|most| RHO * most);
        let mut cut = most_directions(error, right, most.as_ref())?;
        let weighted = match cut.weighted.take() {
            Some(weighted) => weighted,
            None => right.times(error)?,
        };
        let up = scaled(&plain.left, &plain.values);
        let by_svd = solver::remainders(&weighted, (&up, &seen(right, &plain.right)?), ranks);
        let whole = right.times(original)?;
        let norm = solver::norm_of_entries(&Operator::from(&whole)).ok_or(too_large(&whole))?;
        drop(whole);
        let eora = Left::of(error, (right, &weighted), &cut, ranks)?;
        Ok(Self { norm, error: cut.norm, by_svd, eora })
    }
}
