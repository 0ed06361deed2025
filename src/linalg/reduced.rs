//! An operator's Gram matrix made tridiagonal, kept so that its eigenvectors can be asked after: `A·Aᵀ = Q·T·Qᵀ`.
//!
//! The left singular vectors of `A` are `Q·y` for the eigenvectors `y` of `T`, which cost a few passes over a diagonal
//! each; the way from `y` to `Q·y`, or from a direction `u` to `Qᵀu`, costs as much as one product with a square matrix.
//! So the values, some of the vectors, and the cosines with all of them cost hardly more than the values alone.

use pulp::Arch;

use super::audit::Invariants;
use super::factors::{Basis, Factors};
use super::gram::tested;
use super::inverse::Tridiagonal;
use super::operator::Operator;
use super::reflections::Reflections;
use super::vector::norm;
use crate::error::Error;
use crate::spectrum::Spectrum;

/// Singular values below this share of `σ₁` are left to others: their vectors would lose half of their digits.
const CLEAR: f64 = 1e-4;

/// The Gram matrix of an operator's rows.
pub(super) struct Reduced {
    pub(super) reflections: Reflections,
    /// In units of `unit`.
    pub(super) tridiagonal: Tridiagonal,
    /// Of `tridiagonal`, descending, as many as the operator has rows.
    pub(super) eigenvalues: Vec<f64>,
    pub(super) unit: f64,
    /// Of the matrix in units of `unit`.
    pub(super) sums: Invariants,
}

impl Reduced {
    /// Of an operator of no more rows than columns; none where it is zero or not finite, or fails its test.
    pub(super) fn of(operator: &Operator<'_>) -> Option<Self> {
        let arch = Arch::new();
        let mut gram = operator.gram(arch);
        let unit = gram.scale().ok()?;
        let sums = gram.invariants();
        let (diagonal, coupling, reflections) = gram.tridiagonal();
        let mut eigenvalues = tested(arch, &sums, &diagonal, &coupling).ok()?;
        eigenvalues.reverse();
        eigenvalues.truncate(operator.rows());
        Some(Self { reflections, tridiagonal: Tridiagonal { diagonal, coupling }, eigenvalues, unit, sums })
    }

    /// `T`, as many rows as the operator has, and the way back; none where what fills the Gram matrix up takes part in it.
    pub(super) fn into_parts(self) -> Option<(Tridiagonal, Reflections)> {
        let Self {
            reflections, tridiagonal: Tridiagonal { mut diagonal, mut coupling }, eigenvalues, ..
        } = self;
        let rows = eigenvalues.len();
        if coupling.get(rows - 1).is_some_and(|e| *e != 0.0) {
            return None;
        }
        diagonal.truncate(rows);
        coupling.truncate(rows - 1);
        Some((Tridiagonal { diagonal, coupling }, reflections))
    }

    /// The singular values of the operator, which is `rows` × `cols` as it is stored.
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub(super) fn spectrum(&self, rows: usize, cols: usize) -> Result<Spectrum, Error> {
        super::from_eigenvalues(self.eigenvalues.iter().map(|x| x * self.unit), rows, cols)
    }

    /// `Qᵀu` for each direction.
    pub(super) fn inside(&self, directions: &Basis) -> Basis {
        self.reflections.forth(directions)
    }

    /// `T` times each column, in the units of the operator.
    pub(super) fn times(&self, block: &Basis) -> Basis {
        let mut image = Basis::empty(block.length());
        for x in block.columns() {
            let y = self.tridiagonal.times(x);
            image.push(&y.iter().map(|y| y * self.unit).collect::<Vec<_>>());
        }
        image
    }

    /// The `k` largest triplets of the operator, if they are clear of rounding: `Wᵀu = σv` to rounding of the arithmetic,
    /// and `‖Wv − σu‖ ≤ tolerance·σ₁`.
    pub(super) fn leading(&self, operator: &Operator<'_>, k: usize, tolerance: f64) -> Option<Factors> {
        let wanted = &self.eigenvalues[..k.min(self.eigenvalues.len())];
        if !clear(wanted) {
            return None;
        }
        let vectors = self.tridiagonal.eigenvectors(wanted)?;
        from_left(operator, &self.reflections.back(&vectors, operator.rows()), tolerance)
    }
}

/// Whether as many leading eigenvalues as `wanted` are clear of rounding.
pub(super) fn clear(wanted: &[f64]) -> bool {
    matches!((wanted.first(), wanted.last()), (Some(first), Some(last)) if *last >= CLEAR * CLEAR * first)
}

/// The triplets of an operator whose left vectors are `left`, if `‖Wv − σu‖ ≤ tolerance·σ₁`.
pub(super) fn from_left(operator: &Operator<'_>, left: &Basis, tolerance: f64) -> Option<Factors> {
    let transposed = operator.clone().transposed();
    let mut images = times(&transposed, left);
    let mut values = vec![];
    for image in images.columns_mut() {
        let value = norm(image);
        image.iter_mut().for_each(|x| *x /= value);
        values.push(value);
    }
    let back = times(operator, &images);
    let miss = |i: usize| {
        let (back, left) = (back.column(i), left.column(i));
        norm(&back.iter().zip(left).map(|(x, u)| x - values[i] * u).collect::<Vec<_>>())
    };
    if !(0..values.len()).all(|i| miss(i) <= tolerance * values[0]) {
        return None;
    }
    // Equal ones may have come in either order.
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|i, j| values[*j].total_cmp(&values[*i]));
    let (mut found, mut right) = (Basis::empty(operator.rows()), Basis::empty(operator.cols()));
    for i in &order {
        found.push(left.column(*i));
        right.push(images.column(*i));
    }
    Some(Factors { left: found, values: order.iter().map(|i| values[*i]).collect(), right })
}

/// The operator times each column.
pub(super) fn times(operator: &Operator<'_>, block: &Basis) -> Basis {
    let width = block.count().next_multiple_of(16);
    Basis::separated(&operator.times(&block.interleaved(width), width), width, block.count())
}
