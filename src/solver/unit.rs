//! Weights far from one, multiplied by a power of two: ratios are the same, no bit changes, and squares and sums of
//! entries that are near the largest double, or the smallest, stay numbers.

use std::ops::Range;

use super::entries::Entries;
use crate::error::Error;
use crate::layer::Layer;
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::spectrum::{Spectrum, magnitude, scaled};
use crate::weight::Catalogue;

/// Sums of thousands of products of numbers from 2⁻³⁰⁰ to 2³⁰⁰ fit a double, and all of f32 lies within.
const FAR: i32 = 300;

/// The exponent of the common unit of weights of these sizes: 0 where the largest is not far from one.
pub fn common(sizes: impl IntoIterator<Item = Option<i32>>) -> i32 {
    let size = sizes.into_iter().flatten().max().unwrap_or(0);
    if size.abs() > FAR { size } else { 0 }
}

/// The exponent of the largest entry; none of zeros.
pub fn of_matrix(matrix: &Matrix) -> Option<i32> {
    let entries = Entries::of(matrix);
    (entries.max_abs() > 0.0).then(|| magnitude(entries.max_abs()))
}

/// The exponent that entries of a product have at most, but for its rank; none of zeros.
pub(super) fn of_product(product: &LowRank) -> Option<i32> {
    match [product.left(), product.right()].map(largest) {
        [left, right] if left > 0.0 && right > 0.0 => Some(magnitude(left) + magnitude(right)),
        _ => None,
    }
}

/// The exponent of the largest singular value; none of zeros.
pub fn of_spectrum(spectrum: &Spectrum) -> Option<i32> {
    (spectrum.largest() > 0.0).then(|| magnitude(spectrum.largest()) + spectrum.exponent())
}

/// The largest magnitude in a slice.
fn largest(entries: &[f64]) -> f64 {
    entries.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// A matrix times `2^exponent`, as doubles.
///
/// # Errors
/// None: the shape stays.
pub fn matrix(matrix: &Matrix, exponent: i32) -> Result<Matrix, Error> {
    let entries: Vec<f64> = matrix.to_f64().iter().map(|x| scaled(*x, exponent)).collect();
    Matrix::from_f64(matrix.rows(), matrix.cols(), &entries)
}

/// A product times `2^exponent`: each factor gets near one first, so that neither over- or underflows alone.
pub(super) fn product(product: &LowRank, exponent: i32) -> Result<LowRank, Error> {
    let own = largest(product.right());
    let right = if own > 0.0 { magnitude(own) } else { 0 };
    let by = |entries: &[f64], exponent| entries.iter().map(|x| scaled(*x, exponent)).collect();
    LowRank::new(
        (product.rows(), product.cols()),
        product.rank(),
        by(product.left(), exponent + right),
        by(product.right(), -right),
    )
}

/// A weight times `2^exponent`, read as it is where that is 0.
#[derive(Clone, Copy)]
pub struct Rescaled<'a> {
    /// The checkpoint.
    pub source: &'a Catalogue,
    /// The matrix.
    pub layer: &'a Layer,
    /// The power of two.
    pub exponent: i32,
}

impl Rescaled<'_> {
    /// Its rows `rows`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, rows: Range<usize>) -> Result<Matrix, Error> {
        let read = self.source.read(self.layer, rows)?;
        if self.exponent == 0 { Ok(read) } else { matrix(&read, self.exponent) }
    }

    /// All of it.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn whole(&self) -> Result<Matrix, Error> {
        self.read(0..self.layer.rows)
    }
}
