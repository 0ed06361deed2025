//! A weight after a thin update, from the reduction of the weight.
//!
//! On the short side `(A + L·R)(A + L·R)ᵀ = A·Aᵀ + C·Lᵀ + L·Cᵀ` with `C = A·Rᵀ + ½·L·R·Rᵀ`. From `A·Aᵀ = Q·T·Qᵀ`, known from
//! the weight, follows `Q·(T + Y·J·Yᵀ)·Qᵀ` with `Y = Qᵀ(C, L)`: a tridiagonal matrix and a thin one (`compress`).
//! That takes a few passes over the reflections, where a reduction of its own would take as long as the
//! weight's.

use faer::{Mat, MatRef};

use super::compress::{self, Compressed};
use super::dense::on_one_thread;
use super::factors::{Basis, Factors};
use super::gram::tested;
use super::inverse::Tridiagonal;
use super::leading::leading_to;
use super::operator::{Operator, Vectors, thin};
use super::qr::Qr;
use super::reduced::{Reduced, clear, from_left, times};
use super::reference::Reference;
use super::vector::dot;
use crate::error::Error;
use crate::low_rank::LowRank;
use crate::spectrum::Spectrum;

/// The rounding of what an update cancels stays: at most this much may be cancelled, as a share of what is left.
const CANCELLED: f64 = 8.0;

/// A weight after an update.
pub struct Updated<'a> {
    /// The sum, and the weight's reduction on the short side.
    weight: Operator<'a>,
    side: Vectors,
    reduced: &'a Reduced,
    /// `T + Y·J·Yᵀ`, in units of the reduction.
    compressed: Compressed,
    eigenvalues: Vec<f64>,
    spectrum: Spectrum,
}

impl<'w> Reference<'w> {
    /// The weight after `update`, which has its shape; none where the reduction of the weight is not known, or the
    /// update is too thick for this machine, or cancels too much of it. [`update_cost`](super::update_cost) says whether it
    /// pays.
    pub fn updated<'a>(&'a self, update: &'a LowRank) -> Option<Updated<'a>>
    where
        'w: 'a,
    {
        let (side, reduced) = self.reduced.as_ref()?;
        let weight: Operator<'a> = self.weight.clone();
        let (rows, cols) = (weight.rows(), weight.cols());
        let (compressed, eigenvalues) = reduced.after(&weight.towards(*side), update, *side)?;
        let values = eigenvalues.iter().map(|x| x * reduced.unit);
        let spectrum = super::from_eigenvalues(values, rows, cols).ok()?;
        let weight = weight.plus(&Operator::from(update)).ok()?;
        Some(Updated { weight, side: *side, reduced, compressed, eigenvalues, spectrum })
    }

    /// [`Reference::updated`], much of which is for one thread, and `work` on another meanwhile.
    pub fn updated_beside<'a, R: Send>(
        &'a self,
        update: &'a LowRank,
        work: impl FnOnce() -> R + Send,
    ) -> (Option<Updated<'a>>, R)
    where
        'w: 'a,
    {
        rayon::join(|| self.updated(update), work)
    }
}

impl Updated<'_> {
    /// Its singular values, by the route of the weight's.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// Its `k` largest triplets, or as many as there are above rounding, to a `tolerance` of [`leading_to`].
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub fn leading_to(&self, k: usize, tolerance: f64) -> Result<Factors, Error> {
        match self.leading(k, tolerance) {
            Some(found) if self.side == Vectors::Left => Ok(found),
            Some(found) => Ok(found.transposed()),
            None => leading_to(&self.weight, k, tolerance),
        }
    }

    fn leading(&self, k: usize, tolerance: f64) -> Option<Factors> {
        let wanted = &self.eigenvalues[..k.min(self.eigenvalues.len())];
        if !clear(wanted) {
            return None;
        }
        let vectors = self.compressed.tridiagonal.eigenvectors(wanted)?;
        let operator = self.weight.towards(self.side);
        from_left(
            &operator,
            &self.reduced.reflections.back(&self.compressed.back(&vectors), operator.rows()),
            tolerance,
        )
    }
}

impl Reduced {
    /// `T + Y·J·Yᵀ` and its eigenvalues, descending, after `update` of the weight whose short `side` this is of.
    fn after(
        &self,
        operator: &Operator<'_>,
        update: &LowRank,
        side: Vectors,
    ) -> Option<(Compressed, Vec<f64>)> {
        on_one_thread();
        let (rows, rank) = (operator.rows(), update.rank());
        let width = compress::width(self.reflections.arch, rank).filter(|width| *width < rows)?;
        let (left, right) = match (thin(update), side) {
            ((left, right), Vectors::Left) => (left, right),
            ((left, right), Vectors::Right) => (right.transpose(), left.transpose()),
        };
        let Change { basis, along, trace, square } = Change::of(operator, left, right);
        let unit = self.unit;
        let size = (norm(&along) / unit / (rank as f64).sqrt()).sqrt();
        if !(size.is_normal() && trace.is_finite() && square.is_finite()) {
            return None;
        }
        let mut both = Basis::empty(rows);
        along.columns().for_each(|c| both.push(&c.iter().map(|x| x / unit / size).collect::<Vec<_>>()));
        basis.columns().for_each(|l| both.push(&l.iter().map(|x| x * size).collect::<Vec<_>>()));
        let y = self.reflections.forth(&both);
        let arch = self.reflections.arch;
        let compressed = Compressed::of(arch, &self.tridiagonal, &y, width);
        let Tridiagonal { diagonal, coupling } = &compressed.tridiagonal;
        let sums = self.sums.plus(trace / unit, square / unit / unit);
        let mut eigenvalues = tested(arch, &sums, diagonal, coupling).ok()?;
        eigenvalues.reverse();
        eigenvalues.truncate(rows);
        let most = self.eigenvalues[0] + 2.0 * norm(&along) / unit;
        (most <= CANCELLED * eigenvalues[0]).then_some((compressed, eigenvalues))
    }
}

/// What `L·R` adds to the Gram matrix of rows: `C·Lᵀ + L·Cᵀ`, with `L` orthonormal.
struct Change {
    /// `L`.
    basis: Basis,
    /// `C`.
    along: Basis,
    /// What it adds to the trace, and to the sum of squares.
    trace: f64,
    square: f64,
}

impl Change {
    fn of(operator: &Operator<'_>, left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Self {
        let rank = left.ncols();
        let qr = Qr::of(left);
        let triangle = qr.triangle();
        let basis = qr.times(Mat::<f64>::identity(rank, rank).as_ref());
        let right = triangle * right;
        let along = times(operator, &Basis::of(right.transpose()));
        let along = along.as_mat() + &basis * (&right * right.transpose()) * 0.5;
        let (basis, along) = (Basis::of(basis.as_ref()), Basis::of(along.as_ref()));
        let meeting = basis.as_mat().transpose() * along.as_mat();
        let transposed = operator.clone().transposed();
        let images = [&basis, &along].map(|block| times(&transposed, block));
        let inner = |a: &Basis, b: &Basis| a.columns().zip(b.columns()).map(|(a, b)| dot(a, b)).sum::<f64>();
        let crossed: f64 = (0..rank)
            .flat_map(|i| (0..rank).map(move |j| (i, j)))
            .map(|at| meeting[at] * meeting[(at.1, at.0)])
            .sum();
        let [of_basis, of_along] = &images;
        Self {
            trace: 2.0 * inner(&basis, &along),
            square: 4.0 * inner(of_basis, of_along) + 2.0 * inner(&along, &along) + 2.0 * crossed,
            basis,
            along,
        }
    }
}

/// The root of the sum of all squares.
fn norm(block: &Basis) -> f64 {
    block.columns().map(|column| dot(column, column)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::operator::tests::{random, update};
    use super::*;
    use crate::matrix::Matrix;
    use crate::spectrum::Route;

    /// The sum, entry by entry.
    fn merged(base: &Matrix, update: &LowRank) -> Matrix {
        let sum = Operator::from(base).plus(&Operator::from(update)).expect("one shape");
        Matrix::from_f64(base.rows(), base.cols(), &sum.to_f64()).expect("sizes agree")
    }

    #[test]
    fn an_updated_weight_has_the_values_and_directions_of_the_sum() {
        for (rows, cols, rank, share) in
            [(330, 400, 4, 1.0), (400, 330, 4, 0.01), (400, 400, 7, 30.0), (500, 520, 8, 1e-4)]
        {
            let (base, update) = (random(rows, cols, 1), update(rows, cols, rank, share, 3));
            let reference = Reference::new(&base, Vectors::Right, Route::Gram).expect("converges");
            let updated = reference.updated(&update).expect("thin enough");
            let sum = merged(&base, &update);
            let exact = super::super::factors(&sum).expect("converges");
            let spectrum = updated.spectrum();
            let (first, long) = (exact.values[0], rows.max(cols) as f64);
            for (found, expected) in spectrum.values().iter().zip(&exact.values) {
                let allowed = long * f64::EPSILON * first * first / expected;
                assert!((found - expected).abs() <= allowed, "{rows}×{cols}: {found}, not {expected}");
            }
            let found = updated.leading(5, 1e-12).expect("clear of rounding");
            let found = if updated.side == Vectors::Left { found } else { found.transposed() };
            for i in 0..5 {
                assert!((found.values[i] - exact.values[i]).abs() < 1e-12 * first);
                for (a, b) in [(&found.left, &exact.left), (&found.right, &exact.right)] {
                    let cosine = dot(a.column(i), b.column(i)).abs();
                    assert!((1.0 - cosine).abs() < 1e-9, "{rows}×{cols}, {i}: {cosine}");
                }
            }
        }
    }

    #[test]
    fn what_cancels_a_weight_or_is_thick_is_not_taken() {
        let base = random(330, 330, 1);
        let reference = Reference::new(&base, Vectors::Right, Route::Gram).expect("converges");
        assert!(reference.updated(&update(330, 330, 60, 1.0, 3)).is_none());
        // A weight of one large direction, and an update that takes it away.
        let product = update(330, 330, 1, 1e6, 5);
        let large = merged(&base, &product);
        let reference = Reference::new(&large, Vectors::Right, Route::Gram).expect("converges");
        let left = product.left().iter().map(|x| -x).collect();
        let away = LowRank::new((330, 330), 1, left, product.right().to_vec()).expect("sizes agree");
        assert!(reference.updated(&away).is_none());
    }
}
