//! How far apart two models are before and after their units are matched.

use super::{Order, lines_of};
use crate::analysis::compare::alignment;
use crate::analysis::units::{Axis, Models, UnitGroup, UnitTensor};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::{MissingReason, Value};
use crate::solver::{self, Basis, Cost, Factors, Form, Need, Precision};

/// Of which matrices `alignment` is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignments {
    /// Of none.
    Nowhere,
    /// Of those with no more than so many directions.
    UpTo(usize),
}

/// Squared distances.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distances {
    /// As the models are stored.
    pub before: f64,
    /// With the units in their matched places.
    pub after: f64,
}

/// What was found of one tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorMeasured {
    /// A value for each of [`PERMUTED`](super::PERMUTED).
    pub values: [Value; 7],
    /// The distances, to be added up.
    pub distances: Distances,
}

/// Measures the tensor at `tensor`, whose units have these orders.
///
/// # Errors
/// When it cannot be read, or does not converge.
pub fn measure(
    models: Models<'_>,
    tensor: usize,
    (groups, orders): (&[&UnitGroup], &[Order]),
    alignments: Alignments,
) -> Result<TensorMeasured, Error> {
    let [first, second] = models.read(tensor)?;
    let (rows, cols) = (first.rows(), first.cols());
    let of_rows = lines_of((tensor, Axis::Rows, rows), groups, orders);
    let of_cols = lines_of((tensor, Axis::Columns, cols), groups, orders);
    let distances = distances((&first, &second), of_rows.as_deref(), of_cols.as_deref());
    let moved = |lines: &Option<Vec<u32>>| {
        let lines = lines.iter().flatten().enumerate();
        lines.filter(|(i, from)| *i as u32 != **from).count()
    };
    let is_vector = models.tensors[0][tensor].is_vector;
    // A vector has one column, which stays.
    let length = if is_vector { rows } else { rows + cols };
    let share = (moved(&of_rows) + moved(&of_cols)) as f64 / length.max(1) as f64;
    let aligned = match alignments {
        _ if is_vector => [Value::Missing(MissingReason::NotMatrix); 4],
        Alignments::UpTo(most) if rows.min(cols) <= most => {
            aligned((&first, &second), of_rows.as_deref(), of_cols.as_deref())?
        }
        Alignments::UpTo(_) | Alignments::Nowhere => [Value::Missing(MissingReason::NotSought); 4],
    };
    let [before, after, strong_before, strong_after] = aligned;
    let size = |square: f64| Value::real(square.sqrt());
    let values = [
        size(distances.before),
        size(distances.after),
        Value::within(share, 0.0, 1.0),
        before,
        after,
        strong_before,
        strong_after,
    ];
    Ok(TensorMeasured { values, distances })
}

/// `‖B − A‖²` as stored, and with B's rows and columns in other places.
fn distances((a, b): (&Matrix, &Matrix), rows: Option<&[u32]>, cols: Option<&[u32]>) -> Distances {
    let width = a.cols();
    let (mut ours, mut theirs, mut placed) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
    let mut sums = Distances::default();
    for i in 0..a.rows() {
        let row = |at: usize| at * width..(at + 1) * width;
        a.widen(row(i), &mut ours);
        b.widen(row(i), &mut theirs);
        b.widen(row(rows.map_or(i, |rows| rows[i] as usize)), &mut placed);
        for (j, x) in ours.iter().enumerate() {
            let from = cols.map_or(j, |cols| cols[j] as usize);
            sums.before += (theirs[j] - x).powi(2);
            sums.after += (placed[from] - x).powi(2);
        }
    }
    sums
}

/// The alignment before and after, of all directions and of the strong ones.
fn aligned(
    (a, b): (&Matrix, &Matrix),
    rows: Option<&[u32]>,
    cols: Option<&[u32]>,
) -> Result<[Value; 4], Error> {
    let (a, b) = (solver::all_vectors(a)?, solver::all_vectors(b)?);
    let spectra = (&a.spectrum()?, &b.spectrum()?);
    let of = |b: &Factors, share| {
        alignment((&a.left.cosines(&b.left), &a.right.cosines(&b.right)), spectra, share)
    };
    let before = [of(&b, 0.0), of(&b, 0.3)];
    let placed =
        Factors { left: placed(&b.left, rows), right: placed(&b.right, cols), values: b.values.clone() };
    Ok([before[0], of(&placed, 0.0), before[1], of(&placed, 0.3)])
}

/// The same vectors with their entries in other places.
fn placed(basis: &Basis, lines: Option<&[u32]>) -> Basis {
    let entry = |column: &[f64], i: usize| column[lines.map_or(i, |lines| lines[i] as usize)];
    let entries = basis.columns().flat_map(|column| (0..basis.length()).map(move |i| entry(column, i)));
    Basis::from_columns(basis.length(), entries.collect())
}

/// What the alignment of a tensor takes.
pub fn alignment_cost(tensor: &UnitTensor, alignments: Alignments) -> Cost {
    let layer = &tensor.layer;
    match alignments {
        Alignments::UpTo(most) if !tensor.is_vector && layer.rows.min(layer.cols) <= most => {
            let form = Form::of(layer, Precision::Fast).kept();
            let Cost { flops, bytes } = solver::cost(&form, Need::Vectors);
            let basis = 8 * (layer.rows + layer.cols) * layer.rows.min(layer.cols);
            Cost { flops: 2.0 * flops, bytes: bytes + 3 * basis as u64 }
        }
        _ => Cost { flops: 4.0 * layer.len() as f64, bytes: 2 * layer.bytes() },
    }
}
