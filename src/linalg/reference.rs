//! A weight that directions of others are held against: its singular values, its leading triplets, and how close a
//! direction comes to any of its singular vectors.

use super::bounds::Eigenvalues;
use super::certificate::{BestCosine, Question, by_vectors, certified};
use super::dense::on_one_thread;
use super::factors::{Basis, Factors};
use super::krylov::TOLERANCE;
use super::leading::leading_to;
use super::operator::{Operator, Vectors};
use super::reduced::{Reduced, times};
use super::scan::{Seen, scanned};
use super::{exact, levels};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::{Route, Spectrum};

/// Up to this short side all vectors cost next to nothing, and give the cosines themselves.
const SMALL_SIDE: usize = 256;

/// A weight and its reference results.
pub struct Reference<'a> {
    pub(super) weight: Operator<'a>,
    spectrum: Spectrum,
    /// On its short side, where the fast route was taken.
    pub(super) reduced: Option<(Vectors, Reduced)>,
}

impl<'a> Reference<'a> {
    /// Decomposes a finite weight; of a square one, so that `first` vectors are the cheaper ones.
    ///
    /// # Errors
    /// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not.
    pub fn new(matrix: &'a Matrix, first: Vectors, route: Route) -> Result<Self, Error> {
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let weight = Operator::from(matrix);
        if route == Route::Direct {
            return Ok(Self { weight, spectrum: exact::singular_values(matrix)?, reduced: None });
        }
        let short = match rows.cmp(&cols) {
            std::cmp::Ordering::Less => Vectors::Left,
            std::cmp::Ordering::Equal => first,
            std::cmp::Ordering::Greater => Vectors::Right,
        };
        match Reduced::of(&weight.towards(short)) {
            Some(reduced) => {
                let spectrum = reduced.spectrum(rows, cols)?;
                Ok(Self { weight, spectrum, reduced: Some((short, reduced)) })
            }
            None => Ok(Self { weight, spectrum: super::singular_values(matrix, route)?, reduced: None }),
        }
    }

    /// The singular values.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// The same, all that is left of it.
    pub fn into_spectrum(self) -> Spectrum {
        self.spectrum
    }

    /// All `min(m, n)` triplets, from the Gram matrix that the values came from if it is the right one.
    ///
    /// # Errors
    /// As [`factors`](super::factors()).
    pub fn into_factors(self) -> Result<Factors, Error> {
        let Self { weight, reduced, .. } = self;
        let known = reduced.filter(|(side, _)| *side == levels::near(&weight));
        exact::factors_by(&weight, known.map(|(_, reduced)| reduced))
    }

    /// The `k` largest triplets, or as many as there are above rounding.
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub fn leading(&self, k: usize) -> Result<Factors, Error> {
        self.leading_to(k, TOLERANCE)
    }

    /// The same to a `tolerance` of [`leading_to`].
    ///
    /// # Errors
    /// [`Error::NotConverged`].
    pub fn leading_to(&self, k: usize, tolerance: f64) -> Result<Factors, Error> {
        let found = self.reduced.as_ref().and_then(|(short, reduced)| {
            let found = reduced.leading(&self.weight.towards(*short), k, tolerance)?;
            Some(if *short == Vectors::Left { found } else { found.transposed() })
        });
        found.map_or_else(|| leading_to(&self.weight, k, tolerance), Ok)
    }

    /// The best cosine of each of `directions` (unit columns) with the singular vectors of one side; as sharp as
    /// `question` wants it.
    ///
    /// # Errors
    /// When a direction stays undecided and the whole decomposition, made in its place, does not converge.
    pub fn best_cosines(
        &self,
        vectors: Vectors,
        directions: &Basis,
        question: Question<'_>,
    ) -> Result<Vec<BestCosine>, Error> {
        on_one_thread();
        let weight = self.weight.towards(vectors);
        if weight.rows().min(weight.cols()) > SMALL_SIDE
            && let Some(found) = self.without_vectors(vectors, directions, question)
        {
            return Ok(found);
        }
        Ok(by_vectors(&exact::factors(&weight)?, directions))
    }

    /// The same by bounds, first from a few Lanczos steps, then from all vectors of the tridiagonal matrix.
    fn without_vectors(
        &self,
        vectors: Vectors,
        directions: &Basis,
        question: Question<'_>,
    ) -> Option<Vec<BestCosine>> {
        let weight = self.weight.towards(vectors);
        let transposed = weight.clone().transposed();
        let eigenvalues = Eigenvalues::new(&self.spectrum, weight.rows());
        let on_weight = |block: &Basis| times(&weight, &times(&transposed, block));
        let Some((short, reduced)) = &self.reduced else {
            return certified(on_weight, &eigenvalues, directions, question).into_iter().collect();
        };
        let inside = (*short == vectors).then(|| reduced.inside(directions));
        let mut found = match &inside {
            Some(inside) => certified(|block| reduced.times(block), &eigenvalues, inside, question),
            None => certified(on_weight, &eigenvalues, directions, question),
        };
        if found.iter().any(Option::is_none) {
            let scanned = if let Some(inside) = &inside {
                scanned(reduced, &self.spectrum, &Seen::Directly(inside))
            } else {
                let images = reduced.inside(&times(&transposed, directions));
                scanned(reduced, &self.spectrum, &Seen::ThroughWeight(&images))
            };
            for (found, scanned) in found.iter_mut().zip(scanned?) {
                *found = found.or(Some(scanned).filter(|scanned| scanned.answers(question)));
            }
        }
        found.into_iter().collect()
    }
}
