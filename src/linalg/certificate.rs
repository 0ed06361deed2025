//! How close does a direction come to a singular vector of a weight? An answer without the vectors.
//!
//! Lanczos on `W·Wᵀ`, or on what is similar to it, from each direction, all directions in one product a step; every few steps the bounds of `bounds`
//! are compared with the limit. Directions that stay undecided, in a cluster of nearly equal singular values, are left
//! to others.
//!
//! Equal singular values have no vectors of their own: there the cosine is that with the space they span, which is what
//! Lanczos sees. Vectors of values below the accuracy floor of the spectrum are rounding and count as none.

use faer::{Mat, Side};
use rayon::prelude::*;

use super::audit;
use super::bounds::{EQUAL, Eigenvalues, Ritz, clusters, lower, upper};
use super::factors::{Basis, Factors};
use super::orthogonal::project;
use super::vector::dot;

/// Steps after which whole decompositions are cheaper.
const PATIENCE: usize = 96;
/// Steps before the bounds are checked.
const FIRST_LOOK: usize = 4;
/// How close the bounds of a cosine come when it is asked for itself.
const CLOSED: f64 = 1e-9;

/// The question about the cosines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Question<'a> {
    /// On which side of each of these numbers they are.
    Below(&'a [f64]),
    /// The cosines themselves.
    Value,
}

/// The best cosine of one direction with any singular vector of a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestCosine {
    /// It is at least this.
    pub lower: f64,
    /// It is at most this.
    pub upper: f64,
    /// The singular vector that comes closest, from 0 on, where that is known; of equal ones the first.
    pub index: Option<usize>,
}

impl BestCosine {
    pub(super) fn answers(&self, question: Question<'_>) -> bool {
        match question {
            Question::Below(limits) => limits.iter().all(|x| self.upper < *x || self.lower >= *x),
            Question::Value => self.upper - self.lower <= CLOSED,
        }
    }
}

/// The cosines themselves, from all left singular vectors.
pub(super) fn by_vectors(factors: &Factors, directions: &Basis) -> Vec<BestCosine> {
    let rounding = factors.left.length().max(factors.right.length()) as f64 * f64::EPSILON;
    let largest = factors.values.first().copied().unwrap_or(0.0);
    let floor = rounding * largest;
    let count = factors.values.iter().take_while(|s| **s > floor).count();
    let cosines = factors.left.as_mat().subcols(0, count).transpose() * directions.as_mat();
    let spaces = clusters(&factors.values[..count], EQUAL * floor);
    let best = |column: faer::ColRef<'_, f64>| {
        let square = |j: usize| column[j] * column[j];
        let cosine = |first: usize, last: usize| (first..=last).map(square).sum::<f64>().sqrt().min(1.0);
        let each = spaces.iter().map(|(first, last)| (cosine(*first, *last), Some(*first)));
        let (cosine, index) = each.fold((0.0, None), |best, next| if next.0 > best.0 { next } else { best });
        BestCosine { lower: cosine, upper: cosine, index }
    };
    cosines.col_iter().map(best).collect()
}

/// The bounds by Lanczos, one for each direction; none where the question stays open. `image` is the product with the
/// matrix that has these `eigenvalues`.
pub(super) fn certified(
    image: impl Fn(&Basis) -> Basis,
    eigenvalues: &Eigenvalues,
    directions: &Basis,
    question: Question<'_>,
) -> Vec<Option<BestCosine>> {
    let mut next_look = FIRST_LOOK;
    let mut runs: Vec<Run> = directions.columns().map(Run::new).collect();
    for step in 1..=PATIENCE.min(directions.length()) {
        let mut open: Vec<&mut Run> = runs.iter_mut().filter(|run| run.state == State::Open).collect();
        if open.is_empty() {
            break;
        }
        let mut block = Basis::empty(directions.length());
        open.iter().for_each(|run| block.push(run.basis.column(step - 1)));
        let image = image(&block);
        let look = step == next_look;
        if look {
            next_look += (step / 8).max(2);
        }
        open.par_iter_mut().enumerate().for_each(|(i, run)| {
            run.grow(image.column(i), eigenvalues.error);
            if look || run.state == State::Exhausted {
                run.look(eigenvalues, question);
            }
        });
    }
    runs.into_iter().map(|run| run.found).collect()
}

/// Lanczos from one direction.
struct Run {
    basis: Basis,
    /// Diagonal and off-diagonal of `T`; the last of these is `β`.
    diagonal: Vec<f64>,
    beside: Vec<f64>,
    state: State,
    found: Option<BestCosine>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The Krylov space ends here, or the arithmetic did.
    Exhausted,
    Answered,
}

impl Run {
    fn new(direction: &[f64]) -> Self {
        let mut basis = Basis::empty(direction.len());
        basis.push(direction);
        Self { basis, diagonal: vec![], beside: vec![], state: State::Open, found: None }
    }

    /// One step, given `G` times the last basis vector.
    fn grow(&mut self, image: &[f64], error: f64) {
        let mut next = image.to_vec();
        self.diagonal.push(dot(self.basis.column(self.diagonal.len()), image));
        project(&self.basis, &mut next);
        project(&self.basis, &mut next);
        let beta = super::vector::norm(&next);
        self.beside.push(beta);
        if beta > error {
            next.iter_mut().for_each(|x| *x /= beta);
            self.basis.push(&next);
        } else {
            self.state = State::Exhausted;
        }
    }

    /// Bounds from the steps taken so far.
    fn look(&mut self, eigenvalues: &Eigenvalues, question: Question<'_>) {
        let Some(ritz) = self.ritz() else {
            self.state = State::Exhausted;
            return;
        };
        let (lower, index) = lower(eigenvalues, &ritz);
        // Rounding of `u` itself is all that a cosine above one can be.
        let found =
            BestCosine { lower: lower.min(1.0), upper: upper(eigenvalues, &ritz).max(lower).min(1.0), index };
        if found.answers(question) {
            self.state = State::Answered;
            self.found = Some(found);
        }
    }

    /// Eigenvalues of `T` with the ends of their eigenvectors.
    fn ritz(&self) -> Option<Vec<Ritz>> {
        let n = self.diagonal.len();
        if !self.diagonal.iter().chain(&self.beside).all(|x| x.is_finite()) {
            return None;
        }
        let t = Mat::from_fn(n, n, |i, j| match i.abs_diff(j) {
            0 => self.diagonal[i],
            1 => self.beside[i.min(j)],
            _ => 0.0,
        });
        let found = t.self_adjoint_eigen(Side::Lower).ok()?;
        let values: Vec<f64> = found.S().column_vector().iter().copied().collect();
        audit::eigenvectors(t.as_ref(), found.U(), &values).ok()?;
        let beta = self.beside[n - 1];
        let ritz = |i: usize| Ritz {
            value: values[i],
            first: found.U()[(0, i)],
            residual: beta * found.U()[(n - 1, i)],
        };
        Some((0..n).map(ritz).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::leading::leading;
    use super::super::operator::tests::{random, update};
    use super::super::reduced::times;
    use super::super::{Reference, Vectors, exact, operator::Operator};
    use super::*;
    use crate::matrix::Matrix;
    use crate::spectrum::Route;

    fn products<'a>(weight: &'a Operator<'_>) -> impl Fn(&Basis) -> Basis + 'a {
        let transposed = weight.clone().transposed();
        move |block| times(weight, &times(&transposed, block))
    }

    /// The bounds against the cosines from all vectors, for the leading directions of `tuned` and at several limits.
    /// Returns how many directions the bounds alone decided. `slack` is the accuracy of the vectors themselves.
    #[track_caller]
    fn check(name: &str, base: &Matrix, tuned: &Operator<'_>, slack: f64) -> usize {
        let mut decided = 0;
        let sides = [
            (Operator::from(base), leading(tuned, 10).expect("converges").left),
            (
                Operator::from(base).transposed(),
                leading(&tuned.clone().transposed(), 10).expect("converges").left,
            ),
        ];
        for (weight, directions) in sides {
            let spectrum = exact::singular_values(base).expect("converges");
            let exact = by_vectors(&exact::factors(&weight).expect("converges"), &directions);
            let eigenvalues = Eigenvalues::new(&spectrum, weight.rows());
            for epsilon in [0.3, 0.5, 0.7, 0.9] {
                let found =
                    certified(products(&weight), &eigenvalues, &directions, Question::Below(&[epsilon]));
                for (found, exact) in found.into_iter().zip(&exact) {
                    let Some(BestCosine { lower, upper, index }) = found else { continue };
                    let inside = lower - slack <= exact.lower && exact.lower <= upper + slack;
                    assert!(inside, "{name}: {} is not in {lower}..{upper}", exact.lower);
                    assert!(
                        (lower >= epsilon) != (upper < epsilon),
                        "{name}: {lower}..{upper} and {epsilon}"
                    );
                    // If it is the larger part of the direction, no other vector can be the best.
                    let own = exact.index.is_some() && lower * lower > 0.5;
                    assert!(!own || index == exact.index, "{name}: matched {index:?}, not {:?}", exact.index);
                    decided += 1;
                }
            }
        }
        decided
    }

    fn of(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Matrix {
        let entries: Vec<f64> = (0..rows * cols).map(|i| entry(i / cols, i % cols)).collect();
        Matrix::from_f64(rows, cols, &entries).expect("sizes agree")
    }

    #[test]
    fn bounds_hold_and_decide_on_weights_with_updates_of_any_size() {
        let mut decided = 0;
        for (i, (rows, cols)) in [(120, 120), (80, 200), (200, 80)].into_iter().enumerate() {
            let base = random(rows, cols, i as u64 + 1);
            for share in [0.0, 0.3, 1.0, 3.0] {
                let update = update(rows, cols, 6, share, 9);
                let tuned = Operator::from(&base).plus(&Operator::from(&update)).expect("one shape");
                decided += check("an update", &base, &tuned, 1e-9);
            }
            decided += check("another weight", &base, &Operator::from(&random(rows, cols, 77)), 1e-9);
        }
        // Of 3 × 5 × 2 × 4 × 10 questions.
        assert!(decided > 1150, "{decided}");
    }

    #[test]
    fn bounds_hold_on_clusters_low_ranks_and_zeros() {
        let unit = |x: bool| f64::from(u8::from(x));
        let noise = random(90, 90, 5);
        let entries = noise.to_f64();
        let cases = [
            ("identity", of(90, 90, |i, j| unit(i == j))),
            ("two values", of(90, 90, |i, j| if i == j { 1.0 + unit(i < 30) } else { 0.0 })),
            ("close", of(90, 90, |i, j| if i == j { 2.0 - 1e-9 * i as f64 } else { 0.0 })),
            ("rank one", of(90, 90, |i, j| (i + 1) as f64 * (j as f64 - 40.0))),
            ("half zero", of(90, 90, |i, j| if i < 45 { entries[i * 90 + j] } else { 0.0 })),
            ("decaying", of(90, 90, |i, j| entries[i * 90 + j] * 0.8f64.powf(j as f64))),
            ("one large", of(90, 90, |i, j| entries[i * 90 + j] + 100.0 * unit(i + j == 0))),
            ("zero", of(90, 90, |_, _| 0.0)),
            ("tiny", of(90, 90, |i, j| entries[i * 90 + j] * 1e-20)),
            ("huge", of(90, 90, |i, j| entries[i * 90 + j] * 1e20)),
        ];
        for (name, base) in cases {
            check(name, &base, &Operator::from(&noise), 1e-6);
            check(name, &base, &Operator::from(&base), 1e-6);
            let size = base.to_f64().iter().fold(0.0f64, |a, x| a.max(x.abs())).max(1e-30);
            let update = update(90, 90, 3, size, 3);
            let tuned = Operator::from(&base).plus(&Operator::from(&update)).expect("one shape");
            check(name, &base, &tuned, 1e-6);
        }
    }

    #[test]
    fn the_value_itself_is_found_to_rounding() {
        for share in [0.1, 1.0] {
            let base = random(300, 280, 4);
            let update = update(300, 280, 4, share, 6);
            let tuned = Operator::from(&base).plus(&Operator::from(&update)).expect("one shape");
            let directions = leading(&tuned, 10).expect("converges").left;
            let weight = Operator::from(&base);
            let reference = Reference::new(&base, Vectors::Left, Route::Gram).expect("converges");
            let found =
                reference.best_cosines(Vectors::Left, &directions, Question::Value).expect("converges");
            let expected = by_vectors(&exact::factors(&weight).expect("converges"), &directions);
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found.upper - found.lower <= CLOSED);
                assert!((found.lower - expected.lower).abs() < 2.0 * CLOSED, "{found:?} is not {expected:?}");
            }
        }
    }

    #[test]
    fn a_direction_outside_the_column_space_meets_no_vector() {
        let base =
            of(400, 300, |i, j| if i < 399 { random(1, 1, (i * 300 + j) as u64).to_f64()[0] } else { 0.0 });
        let mut direction = vec![0.0; 400];
        direction[399] = 1.0;
        let mut directions = Basis::empty(400);
        directions.push(&direction);
        let reference = Reference::new(&base, Vectors::Left, Route::Gram).expect("converges");
        let found = reference.best_cosines(Vectors::Left, &directions, Question::Below(&[0.5]));
        assert!(found.expect("converges")[0].upper < 1e-12);
    }
}
