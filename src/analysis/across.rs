//! Whether matrices of one kind share their leading directions: blocks of a model, or its experts.

use crate::error::Error;
use crate::layer::Layer;
use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Value};
use crate::solver::{self, Basis, Cost, Factors, Form, Need, Operator, Precision};
use crate::weight::Catalogue;

/// The columns, in report order.
pub static ACROSS: [Column; 9] = [
    Column {
        key: "compared",
        label: "matrices",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "how many matrices of one kind and shape were held against each other",
        range: "[2, ∞)",
        source: "definition",
    },
    MEAN_OVERLAP,
    Column {
        key: "highest_overlap",
        label: "highest",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the highest overlap of any two",
        range: "[0, 1]",
        source: "as mean_overlap",
    },
    Column {
        key: "next_overlap",
        label: "next",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "the mean overlap of those that follow each other: neighboring blocks, those without such a matrix aside",
        range: "[0, 1]",
        source: "as mean_overlap",
    },
    Column {
        key: "chance_overlap",
        label: "chance",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "√(k/m): the overlap of two random spaces of k directions among m outputs",
        range: "(0, 1]",
        source: "definition",
    },
    Column {
        key: "right_mean_overlap",
        label: "right mean",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "mean_overlap of the right singular vectors: whether all read the same inputs",
        range: "[0, 1]",
        source: "as mean_overlap",
    },
    Column {
        key: "right_highest_overlap",
        label: "right highest",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "highest_overlap of the right singular vectors",
        range: "[0, 1]",
        source: "as mean_overlap",
    },
    Column {
        key: "right_next_overlap",
        label: "right next",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Relative),
        doc: "next_overlap of the right singular vectors",
        range: "[0, 1]",
        source: "as mean_overlap",
    },
    Column {
        key: "right_chance_overlap",
        label: "right chance",
        format: Format::Real,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "√(k/n): the overlap of two random spaces of k directions among n inputs",
        range: "(0, 1]",
        source: "definition",
    },
];

const MEAN_OVERLAP: Column = Column {
    key: "mean_overlap",
    label: "mean",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Relative),
    doc: "the mean over all pairs of ‖U₁ᵀU₂‖F/√k, k leading left vectors of each: the root mean square of the cosines between both spaces",
    range: "[0, 1]",
    source: "Hu et al. 2021, arXiv 2106.09685, 7.2, as a root",
};

/// How far residuals of leading vectors may be off, relative to σ₁.
const TOLERANCE: f64 = 1e-12;

/// The `k` leading triplets of a matrix, or as many as it has.
///
/// # Errors
/// When it cannot be read, is not finite, or does not converge.
pub fn leading(source: &Catalogue, layer: &Layer, k: usize) -> Result<Factors, Error> {
    let matrix = source.read(layer, 0..layer.rows)?;
    if !matrix.is_finite() {
        return Err(Error::NotFinite { rows: layer.rows, cols: layer.cols });
    }
    solver::leading_to(&Operator::from(&matrix), k, TOLERANCE)
}

/// What that takes.
pub fn cost(layer: &Layer, k: usize) -> Cost {
    let form = Form::of(layer, Precision::Fast).kept();
    let bytes = solver::cost(&form, Need::Cosines(k)).bytes;
    Cost { flops: solver::leading_flops(&form, k), bytes }
}

/// Overlaps of all pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct OverlapMatrices {
    /// A value for each of [`ACROSS`].
    pub values: [Value; 9],
    /// Of left vectors; none where a matrix has no direction.
    pub left: Vec<Vec<Option<f64>>>,
    /// Of right vectors.
    pub right: Vec<Vec<Option<f64>>>,
}

/// How the leading directions of some matrices of one shape lie to each other, of as many as `k` and as both have.
pub fn overlaps(all: &[Factors], k: usize) -> OverlapMatrices {
    // No matrix has more directions than its shorter side.
    let k = all.first().map_or(k, |of| k.min(of.left.length()).min(of.right.length()));
    let shared = |a: &Factors, b: &Factors| k.min(directions(a)).min(directions(b));
    let matrix = |side: &dyn Fn(&Factors) -> &Basis| -> Vec<Vec<Option<f64>>> {
        let one = |a: &Factors, b: &Factors| {
            let k = shared(a, b);
            let cosines = side(a).cosines(side(b));
            let squares = (0..k).flat_map(|j| &cosines.column(j)[..k]).map(|x| x * x).sum::<f64>();
            (k > 0).then(|| (squares / k as f64).sqrt().min(1.0))
        };
        all.iter().map(|a| all.iter().map(|b| one(a, b)).collect()).collect()
    };
    let (left, right) = (matrix(&|factors| &factors.left), matrix(&|factors| &factors.right));
    let length = |side: &dyn Fn(&Factors) -> &Basis| all.first().map_or(0, |factors| side(factors).length());
    // Of all pairs that have directions: updates may have few.
    let mut ks: Vec<usize> = pairs(all.len()).map(|(i, j)| shared(&all[i], &all[j])).collect();
    ks.retain(|k| *k > 0);
    let sides = [
        summary(&left, (&ks, length(&|factors| &factors.left))),
        summary(&right, (&ks, length(&|factors| &factors.right))),
    ];
    let [[a, b, c, d], [e, f, g, h]] = sides;
    let compared = all.iter().filter(|of| directions(of) > 0).count();
    OverlapMatrices { values: [Value::count(compared), a, b, c, d, e, f, g, h], left, right }
}

/// The directions that a decomposition tells from zero.
fn directions(factors: &Factors) -> usize {
    let least = factors.values.first().map_or(0.0, |first| first * TOLERANCE);
    factors.values.iter().filter(|s| **s > least).count()
}

/// Positions of any two of `count`.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |i| (i + 1..count).map(move |j| (i, j)))
}

/// Mean, highest, mean of neighbors, and chance for spaces of `ks` directions.
fn summary(overlaps: &[Vec<Option<f64>>], (ks, length): (&[usize], usize)) -> [Value; 4] {
    let known = |is_wanted: &dyn Fn(usize, usize) -> bool| -> Vec<f64> {
        pairs(overlaps.len()).filter(|(i, j)| is_wanted(*i, *j)).filter_map(|(i, j)| overlaps[i][j]).collect()
    };
    let zero = Value::Missing(MissingReason::AllZero);
    let mean = |of: &[f64]| {
        if of.is_empty() { zero } else { Value::within(of.iter().sum::<f64>() / of.len() as f64, 0.0, 1.0) }
    };
    let all = known(&|_, _| true);
    let chances: Vec<f64> = ks.iter().map(|k| (*k as f64 / length.max(1) as f64).sqrt()).collect();
    let highest = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [
        mean(&all),
        if all.is_empty() { zero } else { Value::Real(highest) },
        mean(&known(&|i, j| j == i + 1)),
        mean(&chances),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Triplets along some coordinates of 8 outputs and 4 inputs.
    fn along(outputs: &[usize], inputs: &[usize]) -> Factors {
        let basis = |length: usize, at: &[usize]| {
            let column = |at: usize| (0..length).map(move |i| f64::from(u8::from(i == at)));
            Basis::from_columns(length, at.iter().copied().flat_map(column).collect())
        };
        Factors { left: basis(8, outputs), values: vec![1.0; outputs.len()], right: basis(4, inputs) }
    }

    #[test]
    fn spaces_that_are_shared_and_that_are_not() {
        let all = [along(&[0, 1], &[0, 1]), along(&[1, 0], &[2, 3]), along(&[0, 2], &[0, 3])];
        let found = overlaps(&all, 2);
        let half = 0.5f64.sqrt();
        let row = |of: &[Option<f64>]| of.iter().map(|x| x.expect("known")).collect::<Vec<_>>();
        for (found, expected) in
            found.left.iter().zip([[1.0, 1.0, half], [1.0, 1.0, half], [half, half, 1.0]])
        {
            assert!(row(found).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15));
        }
        let number = |at: usize| found.values[at].number().expect("measured");
        assert!((number(1) - (1.0 + 2.0 * half) / 3.0).abs() < 1e-15);
        assert!((number(2) - 1.0).abs() < 1e-15 && (number(3) - f64::midpoint(1.0, half)).abs() < 1e-15);
        assert!((number(4) - 0.5).abs() < 1e-15 && (number(8) - half).abs() < 1e-15);
        assert!((number(5) - 2.0 * half / 3.0).abs() < 1e-15, "{}", number(5));
    }

    #[test]
    fn a_matrix_of_zeros_has_no_directions() {
        let zero = Factors { values: vec![0.0; 2], ..along(&[0, 1], &[0, 1]) };
        let found = overlaps(&[along(&[0, 1], &[0, 1]), zero], 2);
        assert_eq!(found.left[0][1], None);
        assert_eq!(found.values[1], Value::Missing(MissingReason::AllZero));
    }
}
