//! The cosines of a few directions with all singular vectors of a weight, each with its error.
//!
//! Where the weight's Gram matrix was made tridiagonal, each eigenvector of that costs a few passes over its diagonal,
//! and all of them together less than the singular values did. A computed vector of residual ρ at a distance g from every
//! other eigenvalue makes an angle of sine at most `ρ/g` with the true one (Davis & Kahan 1970). Eigenvalues that cannot
//! be told apart are taken together, as the space they span.

use rayon::prelude::*;

use super::bounds::{EQUAL, clusters};
use super::certificate::BestCosine;
use super::factors::Basis;
use super::reduced::Reduced;
use super::vector::{dot, norm};
use crate::spectrum::{Route, Spectrum};

/// Most singular vectors taken together: they are made orthogonal to each other one by one.
const MOST: usize = 64;

/// The directions in the basis of the tridiagonal matrix.
pub(super) enum Seen<'a> {
    /// The directions themselves.
    Directly(&'a Basis),
    /// Their images by the weight: `vⱼᵀWᵀu = σⱼ·uⱼᵀu`.
    ThroughWeight(&'a Basis),
}

/// The best cosine of each direction, as exact as the arithmetic allows; none if it can't decide.
pub(super) fn scanned(reduced: &Reduced, spectrum: &Spectrum, seen: &Seen<'_>) -> Option<Vec<BestCosine>> {
    let (Seen::Directly(directions) | Seen::ThroughWeight(directions)) = seen;
    let resolved = spectrum.resolved().len();
    let eigenvalues = &reduced.eigenvalues;
    let rounding = f64::EPSILON * spectrum.rows().max(spectrum.cols()) as f64;
    let error = 4.0 * rounding * eigenvalues[0];
    let spaces = clusters(&eigenvalues[..resolved], EQUAL * error);
    let lengths: Vec<f64> = directions.columns().map(norm).collect();
    // For each space and direction: the cosine and its error.
    let cosines = |(first, last): &(usize, usize)| -> Option<Vec<(f64, f64)>> {
        let size = last - first + 1;
        let vectors = if size <= MOST {
            reduced.tridiagonal.eigenvectors(&eigenvalues[*first..=*last])?
        } else {
            return None;
        };
        let above = first.checked_sub(1).map_or(f64::INFINITY, |i| eigenvalues[i] - eigenvalues[*first]);
        let below = eigenvalues.get(last + 1).map_or(f64::INFINITY, |x| eigenvalues[*last] - x);
        let gap = above.min(below) - error;
        let sine = if gap > error { (error * (size as f64).sqrt() / gap).min(1.0) } else { 1.0 };
        let scale = |i: usize| match seen {
            Seen::Directly(_) => 1.0,
            Seen::ThroughWeight(_) => spectrum.values()[first + i],
        };
        let cosine = |(direction, length): (&[f64], &f64)| {
            let squares = vectors.columns().enumerate().map(|(i, y)| (dot(y, direction) / scale(i)).powi(2));
            (squares.sum::<f64>().sqrt(), sine * length / scale(size - 1))
        };
        Some(directions.columns().zip(&lengths).map(cosine).collect())
    };
    let found: Vec<Vec<(f64, f64)>> = spaces.par_iter().map(cosines).collect::<Option<_>>()?;
    // Values that can't be told from zero may have vectors that count.
    let unresolved = spectrum.route() == Route::Gram && resolved < spectrum.values().len();
    let equal = |(first, last): (usize, usize)| {
        spectrum.values()[first] - spectrum.values()[last] <= EQUAL * rounding * spectrum.largest()
    };
    let best = |direction: usize| {
        let (mut best, mut rest) = (BestCosine { lower: 0.0, upper: 0.0, index: None }, 1.0f64);
        for (space, found) in spaces.iter().zip(&found) {
            let (cosine, slack) = found[direction];
            best.upper = best.upper.max(cosine + slack);
            rest -= (cosine - slack).max(0.0).powi(2);
            if equal(*space) && cosine - slack > best.lower {
                (best.lower, best.index) = (cosine - slack, Some(space.0));
            }
        }
        if unresolved {
            best.upper = best.upper.max(rest.max(0.0).sqrt());
        }
        BestCosine { lower: best.lower.min(1.0), upper: best.upper.min(1.0), ..best }
    };
    Some((0..directions.count()).map(best).collect())
}

#[cfg(test)]
mod tests {
    use super::super::certificate::by_vectors;
    use super::super::exact;
    use super::super::leading::leading;
    use super::super::operator::Operator;
    use super::super::operator::tests::{random, update};
    use super::*;
    use crate::matrix::Matrix;

    /// The cosines against those from all vectors, directly and through the weight.
    #[track_caller]
    fn check(name: &str, base: &Matrix, share: f64, slack: f64) {
        let change = update(base.rows(), base.cols(), 5, share, 9);
        let spectrum = exact::singular_values(base).expect("converges");
        // The accuracy that comes with the eigenvalues.
        let spectrum = Spectrum::new(spectrum.values().to_vec(), base.rows(), base.cols(), Route::Gram);
        let spectrum = spectrum.expect("sound values");
        let weight = Operator::from(base);
        let tuned = weight.clone().plus(&Operator::from(&change)).expect("one shape");
        for (weight, tuned) in [(weight.clone(), tuned.clone()), (weight.transposed(), tuned.transposed())] {
            if weight.rows() > weight.cols() {
                continue;
            }
            let directions = leading(&tuned, 8).expect("converges");
            let reduced = Reduced::of(&weight).expect("not zero");
            let factors = exact::factors(&weight).expect("converges");
            let inside = reduced.inside(&directions.left);
            let hold = |found: Vec<BestCosine>, expected: Vec<BestCosine>| {
                for (found, expected) in found.iter().zip(&expected) {
                    let (low, high) = (found.lower - slack, found.upper + slack);
                    assert!((low..=high).contains(&expected.lower), "{name}: {expected:?} is not {found:?}");
                    assert!(found.upper - found.lower < 1e-6, "{name}: {found:?}");
                    assert!(found.index.is_none() || found.index == expected.index, "{name}: {found:?}");
                }
            };
            let found = scanned(&reduced, &spectrum, &Seen::Directly(&inside)).expect("eigenvectors");
            hold(found, by_vectors(&factors, &directions.left));
            let images = super::super::reduced::times(&weight, &directions.right);
            let found = scanned(&reduced, &spectrum, &Seen::ThroughWeight(&reduced.inside(&images)));
            hold(found.expect("eigenvectors"), by_vectors(&factors.transposed(), &directions.right));
        }
    }

    #[test]
    fn cosines_are_those_from_all_singular_vectors() {
        for (rows, cols) in [(120, 120), (100, 150), (150, 100)] {
            for share in [0.0, 0.5, 2.0] {
                check("noise", &random(rows, cols, 4), share, 1e-9);
            }
        }
        let steps: Vec<f64> =
            (0..90 * 90).map(|i| if i % 91 == 0 { 1.0 + f64::from(i / 91 / 8) } else { 0.0 }).collect();
        check("clusters", &Matrix::from_f64(90, 90, &steps).expect("sizes agree"), 0.7, 1e-9);
    }
}
