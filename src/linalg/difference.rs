//! The singular values of a difference of two weights, which is never in memory whole where the fast route takes it.

use super::{Precision, Stream, singular_values};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::spectrum::Spectrum;

/// Rows of a tall difference, or columns of a wide one, that are formed at once.
const BLOCK: usize = 256;

/// The singular values of `tuned` − `base`, two finite weights of one shape, their entries subtracted in f64.
///
/// # Errors
/// [`Error::NotConverged`], also when an entry is not finite.
pub fn difference(tuned: &Matrix, base: &Matrix, precision: Precision) -> Result<Spectrum, Error> {
    let (rows, cols) = (tuned.rows(), tuned.cols());
    let (long, short) = (rows.max(cols), rows.min(cols));
    let Some(mut stream) = Stream::new(long, short, precision) else {
        let entries = subtracted(tuned, base, 0..rows, 0..cols);
        return singular_values(&Matrix::from_f64(rows, cols, &entries)?, precision);
    };
    for first in (0..long).step_by(BLOCK) {
        let last = long.min(first + BLOCK);
        let block = if rows >= cols {
            subtracted(tuned, base, first..last, 0..cols)
        } else {
            transposed(&subtracted(tuned, base, 0..rows, first..last), last - first)
        };
        stream.push(&Matrix::from_f64(last - first, short, &block)?);
    }
    let spectrum = stream.finish()?;
    Spectrum::new(spectrum.values().to_vec(), rows, cols, spectrum.route())
}

/// Part of `tuned` − `base`, row-major.
fn subtracted(
    tuned: &Matrix,
    base: &Matrix,
    rows: std::ops::Range<usize>,
    cols: std::ops::Range<usize>,
) -> Vec<f64> {
    let mut difference = vec![0.0; rows.len() * cols.len()];
    let mut other = vec![0.0; cols.len()];
    for (row, out) in rows.zip(difference.chunks_exact_mut(cols.len().max(1))) {
        let range = row * tuned.cols() + cols.start..row * tuned.cols() + cols.end;
        tuned.widen(range.clone(), out);
        base.widen(range, &mut other);
        out.iter_mut().zip(&other).for_each(|(x, y)| *x -= y);
    }
    difference
}

/// Row-major entries with `cols` columns, the other way round.
fn transposed(entries: &[f64], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::operator::tests::random;
    use super::*;

    fn check(rows: usize, cols: usize) {
        let (base, tuned) = (random(rows, cols, 1), random(rows, cols, 2));
        let found = difference(&tuned, &base, Precision::Fast).expect("converges");
        let entries: Vec<f64> = tuned.to_f64().iter().zip(base.to_f64()).map(|(x, y)| x - y).collect();
        let dense = Matrix::from_f64(rows, cols, &entries).expect("sizes agree");
        let expected = singular_values(&dense, Precision::Exact).expect("converges");
        assert_eq!((found.rows(), found.cols()), (rows, cols));
        for (s, expected) in found.values().iter().zip(expected.values()) {
            assert!(
                (s - expected).abs() <= 1e-9 * expected.max(1e-3),
                "{rows}×{cols}: {s} is not {expected}"
            );
        }
    }

    #[test]
    fn the_difference_has_the_values_of_the_dense_one_on_both_routes() {
        check(30, 50);
        check(600, 530);
        check(530, 600);
    }
}
