//! The stages of the fast route one by one, for benchmarks and tests. No part of the library's interface.

use pulp::Arch;

use super::gram::Gram;
use super::kernel::{self, Lower, OVERHANG, Panels, Product};
use super::{band, tridiagonal};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::Spectrum;

/// A weight on the fast route, stopped between two stages.
pub struct Stopped {
    gram: Gram,
    /// The scaled Gram matrix, to start over from.
    sum: Vec<f64>,
}

impl Stopped {
    /// After the first stage, for a weight that is finite and not zero.
    pub fn new(weight: &Matrix) -> Self {
        let mut gram = Gram::of(Arch::new(), weight);
        // The trace shows a weight without a scale; there is nothing to time then.
        let sum = if gram.scale().is_ok() { gram.entries().to_vec() } else { vec![] };
        Self { gram, sum }
    }

    /// Goes back to the Gram matrix.
    pub fn rewind(&mut self) {
        self.gram.entries()[..self.sum.len()].copy_from_slice(&self.sum);
    }

    /// Dense to band.
    pub fn reduce(&mut self) {
        self.gram.reduce();
    }

    /// Band to diagonal and subdiagonal; may be repeated.
    pub fn chase(&mut self) -> (Vec<f64>, Vec<f64>) {
        self.gram.chase()
    }
}

/// The fast route, also for a weight so small that it would take the exact one.
///
/// # Errors
/// [`Error::Overflow`], also when an entry is not finite.
pub fn fast(weight: &Matrix) -> Result<Spectrum, Error> {
    super::by_gram(Arch::new(), weight)
}

/// The first stage: a weight's Gram matrix.
pub fn sum(weight: &Matrix) {
    Gram::of(Arch::new(), weight).flush();
}

/// The last stage.
pub fn eigenvalues(diagonal: &[f64], subdiagonal: &[f64]) -> Vec<f64> {
    tridiagonal::eigenvalues(Arch::new(), diagonal, subdiagonal)
}

/// The width of the band for a weight of this short side.
pub fn width(side: usize) -> usize {
    band::width(side)
}

/// A product whose factor and result lie in the caches: the most that the tiles can do.
pub struct Peak {
    arch: Arch,
    factor: Vec<f64>,
    result: Vec<f64>,
}

impl Peak {
    /// Side of the result: two tasks, which run one after the other.
    const SIDE: usize = 192;
    /// Columns of the factor.
    const COLUMNS: usize = 256;

    /// Factor and result.
    #[expect(clippy::new_without_default, reason = "there is no other peak")]
    pub fn new() -> Self {
        let arch = Arch::new();
        let factor = vec![0.5; Self::SIDE.next_multiple_of(kernel::height(arch)) * Self::COLUMNS];
        Self { arch, factor, result: vec![0.0; (Self::SIDE + OVERHANG) * (Self::SIDE + 1)] }
    }

    /// Computes it once and gives the operations that took, whole tiles on the diagonal included.
    pub fn run(&mut self) -> f64 {
        let height = kernel::height(self.arch);
        let factor = Panels { data: &self.factor, stride: Self::COLUMNS * height, columns: Self::COLUMNS };
        let result = Lower { entries: &mut self.result, ld: Self::SIDE + OVERHANG };
        kernel::update_lower(self.arch, Product::Replace, factor, Self::SIDE, result);
        // A column of tiles starts at the panel that its first column lies in.
        let rows = |column: usize| Self::SIDE.next_multiple_of(height) - column / height * height;
        (0..Self::SIDE).map(|column| 2.0 * rows(column) as f64 * Self::COLUMNS as f64).sum()
    }
}
