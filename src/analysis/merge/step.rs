//! The next rows of a merged weight, in the widest registers there are: base + update, rounded, and the sums over both.
//!
//! Everything but the rounding is in f64. A few rows are worked on at once, so that all of it stays in the caches.

use pulp::{Arch, Simd, WithSimd};

use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix, round_into};

/// Rows that share what is read of a product's right factor.
const ROWS: usize = 4;
/// Columns of it that are worked on at once: four directions of them fit the first cache.
const COLUMNS: usize = 512;
/// Sums that are kept side by side, whatever the registers hold.
const LANES: usize = 8;

/// What is added to the rows.
pub(super) enum Change<'a> {
    /// The rows of a product from this one on.
    Product(&'a LowRank, usize),
    /// These entries.
    Entries(&'a [f64]),
    /// Nothing: these entries take the place of the rows.
    Instead(&'a [f64]),
}

/// Sums over the entries.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Sums {
    pub(super) base: f64,
    pub(super) update: f64,
    pub(super) lost: f64,
    pub(super) changed: u64,
}

impl Sums {
    /// The rows `before` with `change`, rounded to the type that they are stored in.
    ///
    /// # Errors
    /// When an entry is not finite, or does not fit the type.
    pub(super) fn take(&mut self, before: &Matrix, change: &Change<'_>) -> Result<Matrix, Error> {
        let mut bytes = Vec::with_capacity(before.bytes().len());
        if let Dtype::F8E4M3 | Dtype::F8E5M2 = before.dtype() {
            // Says why nothing is rounded to it.
            return Matrix::rounded(before.rows(), before.cols(), before.dtype(), &vec![0.0; before.len()]);
        }
        let finite = Arch::new().dispatch(Step { sums: self, before, change, bytes: &mut bytes });
        if !finite {
            return Err(Error::NotFinite { rows: before.rows(), cols: before.cols() });
        }
        self.changed += differing(before.bytes(), &bytes, before.dtype().size());
        let rounded = Matrix::new(before.rows(), before.cols(), before.dtype(), bytes)?;
        if rounded.is_finite() {
            return Ok(rounded);
        }
        Err(Error::Usage(format!("an entry is too large for {}", before.dtype())))
    }
}

struct Step<'a> {
    sums: &'a mut Sums,
    before: &'a Matrix,
    change: &'a Change<'a>,
    bytes: &'a mut Vec<u8>,
}

impl WithSimd for Step<'_> {
    /// Whether all entries and their sums are finite.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let Self { sums, before: rows, change, bytes } = self;
        let cols = rows.cols();
        let room = ROWS * cols;
        let (mut before, mut after, mut written) = (vec![0.0; room], vec![0.0; room], vec![0.0; room]);
        let mut finite = true;
        for first in (0..rows.rows()).step_by(ROWS) {
            let count = ROWS.min(rows.rows() - first);
            let range = first * cols..(first + count) * cols;
            let (before, after) = (&mut before[..count * cols], &mut after[..count * cols]);
            let written = &mut written[..count * cols];
            rows.widen(range.clone(), before);
            match change {
                Change::Product(product, from) => {
                    multiply(product, from + first, count, after);
                    add(before, after);
                }
                Change::Entries(update) => {
                    after.copy_from_slice(&update[range]);
                    add(before, after);
                }
                Change::Instead(entries) => after.copy_from_slice(&entries[range]),
            }
            let start = bytes.len();
            round_into(rows.dtype(), after, bytes);
            crate::matrix::widen(rows.dtype(), &bytes[start..], written);
            finite &= sums.push(before, after, written);
        }
        finite
    }
}

impl Sums {
    /// Adds some entries; whether those before rounding are finite.
    #[inline(always)]
    fn push(&mut self, before: &[f64], after: &[f64], written: &[f64]) -> bool {
        let mut sums = [[0.0; LANES]; 3];
        let (x, x_rest) = before.as_chunks::<LANES>();
        let (y, y_rest) = after.as_chunks::<LANES>();
        let (z, z_rest) = written.as_chunks::<LANES>();
        // A loop for each sum: together, they are not vectorized.
        for ((x, y), z) in x.iter().zip(y).zip(z) {
            for lane in 0..LANES {
                sums[0][lane] += x[lane] * x[lane];
            }
            for lane in 0..LANES {
                sums[1][lane] += (y[lane] - x[lane]) * (y[lane] - x[lane]);
            }
            for lane in 0..LANES {
                sums[2][lane] += (z[lane] - y[lane]) * (z[lane] - y[lane]);
            }
        }
        for ((x, y), z) in x_rest.iter().zip(y_rest).zip(z_rest) {
            for (sum, term) in sums.iter_mut().zip([*x, y - x, z - y]) {
                sum[0] += term * term;
            }
        }
        let [base, update, lost] = sums.map(|lanes| lanes.iter().sum::<f64>());
        self.base += base;
        self.update += update;
        self.lost += lost;
        // Where a square does not fit, or nothing is rounded to a number, the entries say which it was.
        (base + update + lost).is_finite() || before.iter().chain(after).all(|x| x.is_finite())
    }
}

/// How many entries of so many bytes differ.
fn differing(one: &[u8], other: &[u8], size: usize) -> u64 {
    match size {
        2 => count::<2>(one, other),
        4 => count::<4>(one, other),
        _ => count::<8>(one, other),
    }
}

fn count<const N: usize>(one: &[u8], other: &[u8]) -> u64 {
    // Short sums, which fit a small number: so they vectorize.
    let pairs = one.as_chunks::<N>().0.chunks(4096).zip(other.as_chunks::<N>().0.chunks(4096));
    pairs
        .map(|(one, other)| u64::from(one.iter().zip(other).map(|(x, y)| u16::from(x != y)).sum::<u16>()))
        .sum()
}

/// `after` + `before`, where it is not zero: what nothing is added to keeps its bits, the sign of a zero, too.
#[inline(always)]
fn add(before: &[f64], after: &mut [f64]) {
    after.iter_mut().zip(before).for_each(|(y, x)| *y = if *y == 0.0 { *x } else { *x + *y });
}

/// `count` rows of `product` from `first` on, at most [`ROWS`], each entry summed in the order of the directions.
#[inline(always)]
fn multiply(product: &LowRank, first: usize, count: usize, out: &mut [f64]) {
    let (rank, cols) = (product.rank(), product.cols());
    out.fill(0.0);
    for start in (0..cols).step_by(COLUMNS) {
        let end = cols.min(start + COLUMNS);
        let line = |r: usize| &product.right()[r * cols + start..r * cols + end];
        let whole = rank / 4 * 4;
        for r in (0..whole).step_by(4) {
            let (x, y, z, w) = (line(r), line(r + 1), line(r + 2), line(r + 3));
            for i in 0..count {
                let left = &product.left()[(first + i) * rank + r..][..4];
                let out = &mut out[i * cols + start..i * cols + end];
                let lines = x.iter().zip(y).zip(z.iter().zip(w));
                for (entry, ((x, y), (z, w))) in out.iter_mut().zip(lines) {
                    *entry = (((*entry + left[0] * x) + left[1] * y) + left[2] * z) + left[3] * w;
                }
            }
        }
        for r in whole..rank {
            let x = line(r);
            for i in 0..count {
                let left = product.left()[(first + i) * rank + r];
                let out = &mut out[i * cols + start..i * cols + end];
                out.iter_mut().zip(x).for_each(|(entry, x)| *entry += left * x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between −1 and 1.
    fn numbers(count: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Entry by entry, each row of the product by itself.
    fn plainly(before: &Matrix, product: &LowRank, first: usize) -> (Matrix, Sums) {
        let (mut sums, mut all, mut row) = (Sums::default(), vec![], vec![0.0; before.cols()]);
        let entries = before.to_f64();
        for i in 0..before.rows() {
            product.row(first + i, &mut row);
            all.extend(
                row.iter()
                    .zip(&entries[i * before.cols()..])
                    .map(|(y, x)| if *y == 0.0 { *x } else { x + y }),
            );
        }
        let rounded = Matrix::rounded(before.rows(), before.cols(), before.dtype(), &all).expect("fits");
        for ((x, y), z) in entries.iter().zip(&all).zip(rounded.to_f64()) {
            sums.base += x * x;
            sums.update += (y - x) * (y - x);
            sums.lost += (z - y) * (z - y);
            sums.changed += u64::from(x.to_bits() != z.to_bits());
        }
        (rounded, sums)
    }

    #[test]
    fn rows_at_once_are_those_one_by_one() {
        for (dtype, rank, cols) in
            [(Dtype::Bf16, 7, 13), (Dtype::F32, 4, 700), (Dtype::F16, 1, 8), (Dtype::F64, 9, 520)]
        {
            let rows = 9;
            let before = Matrix::rounded(rows, cols, dtype, &numbers(rows * cols, 1)).expect("fits");
            let (left, right) = (numbers((rows + 2) * rank, 2), numbers(rank * cols, 3));
            let product = LowRank::new((rows + 2, cols), rank, left, right).expect("factors fit");
            let mut sums = Sums::default();
            let found = sums.take(&before, &Change::Product(&product, 2)).expect("finite");
            let (expected, wanted) = plainly(&before, &product, 2);
            assert_eq!(found.bytes(), expected.bytes(), "{dtype}");
            let near = |x: f64, y: f64| (x - y).abs() <= 1e-12 * y.abs();
            assert!(near(sums.base, wanted.base) && near(sums.update, wanted.update), "{sums:?} {wanted:?}");
            assert!(near(sums.lost, wanted.lost) && sums.changed == wanted.changed, "{sums:?} {wanted:?}");
        }
    }

    #[test]
    fn what_nothing_is_added_to_keeps_the_sign_of_its_zero() {
        let before = Matrix::from_f64(1, 3, &[-0.0, 0.0, 1.0]).expect("three");
        let found = Sums::default().take(&before, &Change::Entries(&[0.0, -0.0, 2.0])).expect("finite");
        assert_eq!(
            found.to_f64().iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            [-0.0f64, 0.0, 3.0].map(f64::to_bits)
        );
    }

    #[test]
    fn sums_that_are_not_finite_or_do_not_fit_are_refused() {
        let row = |dtype, entries: &[f64]| Matrix::rounded(1, 2, dtype, entries).expect("fits");
        let take = |before: Matrix, update: &[f64]| Sums::default().take(&before, &Change::Entries(update));
        assert!(matches!(take(row(Dtype::F32, &[1.0, 2.0]), &[0.0, f64::NAN]), Err(Error::NotFinite { .. })));
        assert!(matches!(take(row(Dtype::F16, &[1.0, 2.0]), &[1e5, 0.0]), Err(Error::Usage(_))));
        assert!(matches!(take(row(Dtype::Bf16, &[1.0, 2.0]), &[3.4e38, 0.0]), Err(Error::Usage(_))));
        assert!(take(row(Dtype::Bf16, &[1.0, 2.0]), &[3e38, 0.0]).is_ok());
    }
}
