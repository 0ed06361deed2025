//! Dense rows of an operator, a few hundred at a time, and its product with many columns at once.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::factors::Basis;
use super::operator::{Operator, Orientation, Term, thin};
use super::product::multiply;
use crate::low_rank::LowRank;

/// Rows in one task.
const ROWS: usize = 256;

/// Some rows of an operator, the way round that its terms are stored.
struct Slab {
    entries: Vec<f64>,
    rows: usize,
    cols: usize,
    side: Orientation,
}

impl Slab {
    fn as_mat(&self) -> MatRef<'_, f64> {
        match self.side {
            Orientation::AsStored => MatRef::from_row_major_slice(&self.entries, self.rows, self.cols),
            Orientation::Transposed => MatRef::from_column_major_slice(&self.entries, self.rows, self.cols),
        }
    }

    fn as_mat_mut(&mut self) -> MatMut<'_, f64> {
        match self.side {
            Orientation::AsStored => {
                MatMut::from_row_major_slice_mut(&mut self.entries, self.rows, self.cols)
            }
            Orientation::Transposed => {
                MatMut::from_column_major_slice_mut(&mut self.entries, self.rows, self.cols)
            }
        }
    }
}

/// Both factors of a product, this way round.
fn turned(product: &LowRank, side: Orientation) -> (MatRef<'_, f64>, MatRef<'_, f64>) {
    let (left, right) = thin(product);
    match side {
        Orientation::AsStored => (left, right),
        Orientation::Transposed => (right.transpose(), left.transpose()),
    }
}

impl Operator<'_> {
    /// The rows `range`.
    fn slab(&self, range: Range<usize>) -> Slab {
        let (length, cols, side) = (range.len(), self.cols, self.side);
        let mut slab = Slab { entries: vec![0.0; length * cols], rows: length, cols, side };
        let mut row = vec![0.0; if side == Orientation::AsStored { cols } else { length }];
        for (factor, term) in &self.terms {
            match term {
                Term::Stored(weight) => {
                    // A stored row is a row of the slab, or crosses all of them.
                    for (r, sum) in slab.entries.chunks_exact_mut(row.len().max(1)).enumerate() {
                        let start = match side {
                            Orientation::AsStored => (range.start + r) * cols,
                            Orientation::Transposed => r * self.rows + range.start,
                        };
                        weight.widen(start..start + row.len(), &mut row);
                        sum.iter_mut().zip(&row).for_each(|(sum, x)| *sum += factor * x);
                    }
                }
                Term::LowRank(product) => {
                    let (left, right) = turned(product, side);
                    let left = left.subrows(range.start, length);
                    matmul(slab.as_mat_mut(), Accum::Add, left, right, *factor, Par::Seq);
                }
            }
        }
        slab
    }

    /// The rows `range`, row-major, as doubles.
    pub fn block(&self, range: Range<usize>) -> Vec<f64> {
        let slab = self.slab(range);
        match slab.side {
            Orientation::AsStored => slab.entries,
            Orientation::Transposed => {
                let mut rows = vec![0.0; slab.entries.len()];
                MatMut::from_row_major_slice_mut(&mut rows, slab.rows, slab.cols).copy_from(slab.as_mat());
                rows
            }
        }
    }

    /// The product with each of many columns. Thin factors take them one after the other and are not multiplied out.
    pub(super) fn images(&self, block: &Basis) -> Basis {
        let mut images = Basis::zero(self.rows, block.count());
        let mut whole = Self { terms: vec![], ..self.clone() };
        for (factor, term) in &self.terms {
            match term {
                Term::Stored(_) => whole.terms.push((*factor, *term)),
                Term::LowRank(product) => {
                    let (left, right) = turned(product, self.side);
                    let mut inner = Mat::zeros(right.nrows(), block.count());
                    multiply(inner.as_mut(), Accum::Replace, right, block.as_mat(), *factor);
                    multiply(images.as_mat_mut(), Accum::Add, left, inner.as_ref(), 1.0);
                }
            }
        }
        if !whole.terms.is_empty() {
            let rows = |(i, out): (usize, MatMut<'_, f64>)| {
                let slab = whole.slab(i * ROWS..i * ROWS + out.nrows());
                matmul(out, Accum::Add, slab.as_mat(), block.as_mat(), 1.0, Par::Seq);
            };
            images.as_mat_mut().par_row_chunks_mut(ROWS).enumerate().for_each(rows);
        }
        images
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::noise;
    use super::super::operator::tests::{random, update};
    use super::*;

    #[test]
    fn rows_and_images_are_those_of_the_dense_sum_either_way_round() {
        for (rows, cols) in [(3, 5), (300, 70), (70, 300)] {
            let (weight, update) = (random(rows, cols, 1), update(rows, cols, 3, 1.0, 7));
            let sum = Operator::from(&weight).minus(&Operator::from(&update)).expect("one shape");
            for operator in [sum.clone(), sum.transposed()] {
                let (rows, cols) = (operator.rows(), operator.cols());
                let entries = operator.to_f64();
                let dense = MatRef::from_row_major_slice(&entries, rows, cols);
                let range = rows / 3..rows;
                let block = operator.block(range.clone());
                let miss = MatRef::from_row_major_slice(&block, range.len(), cols) - dense.get(range, ..);
                assert!(miss.norm_max() < 1e-14, "{rows} × {cols}: {:e}", miss.norm_max());
                let columns = Basis::separated(&noise(5).take(cols * 4).collect::<Vec<_>>(), 4, 4);
                let miss = operator.images(&columns).as_mat() - dense * columns.as_mat();
                assert!(miss.norm_max() < 1e-12, "{rows} × {cols}: {:e}", miss.norm_max());
            }
        }
    }
}
