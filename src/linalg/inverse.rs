//! Eigenvectors of a symmetric tridiagonal matrix whose eigenvalues are known, by inverse iteration.
//!
//! `(T − λ)·x = b` from a fixed `b` that nothing was made to be orthogonal to, solved by elimination with row exchanges:
//! one solution is nearly the eigenvector, the second is it to rounding (Jessup & Ilse, SIAM J. Matrix Anal. 13 (1992)).
//! Vectors of one call are made orthogonal to each other as they come, so that equal eigenvalues get vectors that span
//! their space. Distant eigenvalues need not be in the same call: their vectors are orthogonal by themselves.

use super::factors::Basis;
use super::orthogonal::project;
use super::vector::norm;

/// Solutions before an eigenvalue is given up.
const SOLUTIONS: usize = 6;
/// `‖Tx − λx‖` is accepted below this many roundings of `‖T‖`, times the side.
const ROUNDINGS: f64 = 4.0;

/// A symmetric tridiagonal matrix, not zero and of a size near one.
pub(super) struct Tridiagonal {
    pub(super) diagonal: Vec<f64>,
    /// One fewer.
    pub(super) coupling: Vec<f64>,
}

impl Tridiagonal {
    pub(super) fn side(&self) -> usize {
        self.diagonal.len()
    }

    /// `T·x`.
    pub(super) fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut y: Vec<f64> = self.diagonal.iter().zip(x).map(|(d, x)| d * x).collect();
        for (i, e) in self.coupling.iter().enumerate() {
            y[i] += e * x[i + 1];
            y[i + 1] += e * x[i];
        }
        y
    }

    /// The largest sum of sizes in a row.
    fn norm(&self) -> f64 {
        let beside = |i: usize| self.coupling.get(i).map_or(0.0, |e| e.abs());
        (0..self.side())
            .map(|i| self.diagonal[i].abs() + beside(i) + i.checked_sub(1).map_or(0.0, beside))
            .fold(0.0, f64::max)
    }

    /// An orthonormal eigenvector for each of `eigenvalues`; none if one of them is not an eigenvalue.
    pub(super) fn eigenvectors(&self, eigenvalues: &[f64]) -> Option<Basis> {
        let n = self.side();
        let finest = f64::EPSILON * self.norm();
        let mut found = Basis::empty(n);
        for value in eigenvalues {
            let shifted = Eliminated::new(self, *value, finest);
            let start = |i: usize| {
                1.0 + 0.5 * ((i as f64 + 1.0) * (1.0 + found.count() as f64) * 0.618_033_988_749_895).fract()
            };
            let mut x: Vec<f64> = (0..n).map(start).collect();
            let fits = (0..SOLUTIONS).any(|step| {
                // Its size says nothing; near one, the next solution does not overflow.
                let size = norm(&x);
                x.iter_mut().for_each(|x| *x /= size);
                shifted.solve(&mut x);
                let size = norm(&x);
                x.iter_mut().for_each(|x| *x /= size);
                // Twice, because the rest after the first may be mostly rounding.
                for _ in 0..if found.count() > 0 { 2 } else { 0 } {
                    project(&found, &mut x);
                    let size = norm(&x);
                    x.iter_mut().for_each(|x| *x /= size);
                }
                let miss: Vec<f64> = self.times(&x).iter().zip(&x).map(|(y, x)| y - value * x).collect();
                step > 0 && norm(&miss) <= ROUNDINGS * n as f64 * finest
            });
            if !fits {
                return None;
            }
            found.push(&x);
        }
        Some(found)
    }
}

/// `T − λ` as a product of triangles, rows exchanged where the one below is larger.
struct Eliminated {
    /// The multiple of this row that was subtracted from the row below.
    factor: Vec<f64>,
    exchanged: Vec<bool>,
    /// The upper triangle: one over the diagonal, and two more.
    inverse: Vec<f64>,
    second: Vec<f64>,
    third: Vec<f64>,
}

impl Eliminated {
    fn new(t: &Tridiagonal, value: f64, finest: f64) -> Self {
        let n = t.side();
        let mut made = Self {
            factor: vec![0.0; n],
            exchanged: vec![false; n],
            inverse: vec![0.0; n],
            second: vec![0.0; n],
            third: vec![0.0; n],
        };
        // A zero pivot is replaced by one of rounding size: the solution then points along the eigenvector even more.
        let whole = |pivot: f64| if pivot.abs() < finest { finest.copysign(pivot) } else { pivot };
        let coupling = |i: usize| t.coupling.get(i).copied().unwrap_or(0.0);
        let (mut pivot, mut beside) = (t.diagonal[0] - value, coupling(0));
        for i in 0..n.saturating_sub(1) {
            let (below, next) = (t.coupling[i], t.diagonal[i + 1] - value);
            if pivot.abs() >= below.abs() {
                let pivot_here = whole(pivot);
                made.inverse[i] = 1.0 / pivot_here;
                made.second[i] = beside;
                made.factor[i] = below / pivot_here;
                (pivot, beside) = (next - made.factor[i] * beside, coupling(i + 1));
            } else {
                let below_here = whole(below);
                made.exchanged[i] = true;
                made.inverse[i] = 1.0 / below_here;
                made.second[i] = next;
                made.third[i] = coupling(i + 1);
                made.factor[i] = pivot / below_here;
                (pivot, beside) = (beside - made.factor[i] * next, -made.factor[i] * coupling(i + 1));
            }
        }
        made.inverse[n - 1] = 1.0 / whole(pivot);
        made
    }

    fn solve(&self, x: &mut [f64]) {
        let n = x.len();
        for i in 0..n - 1 {
            if self.exchanged[i] {
                x.swap(i, i + 1);
            }
            x[i + 1] -= self.factor[i] * x[i];
        }
        let (mut after, mut later) = (0.0, 0.0);
        for i in (0..n).rev() {
            let y = (x[i] - self.second[i] * after - self.third[i] * later) * self.inverse[i];
            x[i] = y;
            (after, later) = (y, after);
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::super::kernel::tests::noise;
    use super::super::tridiagonal::eigenvalues;
    use super::super::vector::dot;
    use super::*;

    /// All vectors in one call: orthonormal, and each belongs to its value.
    fn check(name: &str, diagonal: Vec<f64>, coupling: Vec<f64>) {
        let t = Tridiagonal { diagonal, coupling };
        let values = eigenvalues(Arch::new(), &t.diagonal, &t.coupling);
        let vectors = t.eigenvectors(&values).unwrap_or_else(|| panic!("{name}: no vectors"));
        let rounding = 4.0 * t.side() as f64 * f64::EPSILON;
        for (i, value) in values.iter().enumerate() {
            let x = vectors.column(i);
            let miss: Vec<f64> = t.times(x).iter().zip(x).map(|(y, x)| y - value * x).collect();
            assert!(norm(&miss) <= rounding * t.norm(), "{name}: {i} is off by {:e}", norm(&miss));
            for j in 0..=i {
                let unit = f64::from(u8::from(i == j));
                let product = dot(x, vectors.column(j));
                assert!((product - unit).abs() <= rounding, "{name}: {i} and {j} meet at {product:e}");
            }
        }
    }

    #[test]
    fn vectors_are_orthonormal_and_belong_to_their_values() {
        check("one", vec![3.0], vec![]);
        check("noise", noise(1).take(90).collect(), noise(2).take(89).collect());
        check("second difference", vec![2.0; 64], vec![-1.0; 63]);
        check("identity", vec![1.0; 40], vec![0.0; 39]);
        let wilkinson: Vec<f64> = (-20..=20).map(|i: i32| f64::from(i.abs())).collect();
        check("pairs", wilkinson, vec![1.0; 40]);
        check("graded", (0..50).map(|i| 0.3f64.powi(i)).collect(), (1..50).map(|i| 0.3f64.powi(i)).collect());
        let blocks = (0..60).map(|i| if i % 12 == 11 { 0.0 } else { 1.0 }).take(59).collect();
        check("equal blocks", (0..60).map(|i| f64::from(i % 12)).collect(), blocks);
    }
}
