//! The next rows of a merged weight, in the widest registers there are: base + update, rounded, and the sums over both.
//!
//! Everything but the rounding is in f64. A tile of a few rows and columns is worked on at once, so that all of it stays in
//! the first cache.

use pulp::{Arch, Simd, WithSimd, as_arrays, as_arrays_mut};

use crate::error::Error;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix, narrow, nearest};

/// Rows of a tile.
const ROWS: usize = 4;
/// Columns of a tile: sixteen directions of a product's right factor fit beside it.
const COLUMNS: usize = 128;
/// Entries of a tile.
type Tile = [f64; ROWS * COLUMNS];
/// Registers of a row that are summed at once.
const VECTORS: usize = 2;
/// Sums that are kept side by side.
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
        if let Dtype::F8E4M3 | Dtype::F8E5M2 = before.dtype() {
            // Says why nothing is rounded to it.
            return Matrix::rounded(before.rows(), before.cols(), before.dtype(), &vec![0.0; before.len()]);
        }
        let mut bytes = vec![0; before.bytes().len()];
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
    bytes: &'a mut [u8],
}

impl WithSimd for Step<'_> {
    /// Whether all entries and their sums are finite.
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let Self { sums, before: rows, change, bytes } = self;
        let (cols, dtype, size) = (rows.cols(), rows.dtype(), rows.dtype().size());
        let [mut before, mut after, mut written] = [[0.0; ROWS * COLUMNS]; 3];
        let mut panel = vec![];
        let mut finite = true;
        for start in (0..cols).step_by(COLUMNS) {
            let width = COLUMNS.min(cols - start);
            if width < COLUMNS {
                // What lies beside the last columns adds nothing.
                for tile in [&mut before, &mut after, &mut written] {
                    tile.fill(0.0);
                }
            }
            if let Change::Product(product, _) = change {
                pack(product, start, width, &mut panel);
            }
            for first in (0..rows.rows()).step_by(ROWS) {
                let count = ROWS.min(rows.rows() - first);
                let line = |i: usize| (first + i) * cols + start..(first + i) * cols + start + width;
                let tile = |i: usize| i * COLUMNS..i * COLUMNS + width;
                for i in 0..count {
                    rows.widen(line(i), &mut before[tile(i)]);
                }
                match change {
                    Change::Product(product, from) => {
                        add_product(simd, product, (from + first, count), &panel, &before, &mut after);
                    }
                    Change::Entries(entries) => {
                        for i in 0..count {
                            let sums =
                                before[tile(i)].iter().zip(&entries[line(i)]).map(|(x, y)| sum(*x, *y));
                            after[tile(i)].iter_mut().zip(sums).for_each(|(z, sum)| *z = sum);
                        }
                    }
                    Change::Instead(entries) => {
                        (0..count).for_each(|i| after[tile(i)].copy_from_slice(&entries[line(i)]));
                    }
                }
                for i in 0..count {
                    let written = &mut written[tile(i)];
                    nearest(dtype, &after[tile(i)], written);
                    narrow(dtype, written, &mut bytes[line(i).start * size..line(i).end * size]);
                }
                let all = ..count * COLUMNS;
                finite &= sums.push(simd, &before[all], &after[all], &written[all]);
            }
        }
        finite
    }
}

impl Sums {
    /// Adds some entries; whether those before rounding are finite.
    #[inline(always)]
    fn push<S: Simd>(&mut self, simd: S, before: &[f64], after: &[f64], written: &[f64]) -> bool {
        let [base, update, lost] = match S::F64_LANES {
            8 => squares::<S, 1>(simd, before, after, written),
            4 => squares::<S, 2>(simd, before, after, written),
            2 => squares::<S, 4>(simd, before, after, written),
            _ => squares::<S, LANES>(simd, before, after, written),
        };
        self.base += base;
        self.update += update;
        self.lost += lost;
        // Where a square does not fit, or nothing is rounded to a number, the entries say which it was.
        (base + update + lost).is_finite() || before.iter().chain(after).all(|x| x.is_finite())
    }
}

/// ‖before‖², ‖after − before‖² and ‖written − after‖².
#[inline(always)]
fn squares<S: Simd, const G: usize>(simd: S, before: &[f64], after: &[f64], written: &[f64]) -> [f64; 3] {
    let [before, after, written] =
        [before, after, written].map(|tile| as_arrays::<G, _>(S::as_simd_f64s(tile).0).0);
    let mut sums = [[simd.splat_f64s(0.0); G]; 3];
    for ((x, y), z) in before.iter().zip(after).zip(written) {
        for g in 0..G {
            let terms = [x[g], simd.sub_f64s(y[g], x[g]), simd.sub_f64s(z[g], y[g])];
            for (sum, term) in sums.iter_mut().zip(terms) {
                sum[g] = simd.mul_add_e_f64s(term, term, sum[g]);
            }
        }
    }
    sums.map(|lanes| lanes.into_iter().map(|lanes| simd.reduce_sum_f64s(lanes)).sum())
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

/// `x` + `change`, where that is not zero: what nothing is added to keeps its bits, the sign of a zero, too.
fn sum(x: f64, change: f64) -> f64 {
    if change == 0.0 { x } else { x + change }
}

/// Columns of the right factor from `start` on, direction by direction, in lines as wide as a tile.
fn pack(product: &LowRank, start: usize, width: usize, panel: &mut Vec<f64>) {
    panel.clear();
    for line in product.right().chunks_exact(product.cols()) {
        panel.extend_from_slice(&line[start..start + width]);
        panel.resize(panel.len() + COLUMNS - width, 0.0);
    }
}

/// `after = before + product`, of `count` rows of `product` from `first` on, in the columns of `panel`. Each entry of the
/// product is summed in the order of the directions.
#[inline(always)]
fn add_product<S: Simd>(
    simd: S,
    product: &LowRank,
    (first, count): (usize, usize),
    panel: &[f64],
    before: &Tile,
    after: &mut Tile,
) {
    let rank = product.rank();
    let left = |i: usize| &product.left()[(first + i.min(count - 1)) * rank..][..rank];
    let wide = COLUMNS / S::F64_LANES / VECTORS;
    let [panel, before] = [panel, before].map(|lines| as_arrays::<VECTORS, _>(S::as_simd_f64s(lines).0).0);
    let (after, _) = as_arrays_mut::<VECTORS, _>(S::as_mut_simd_f64s(after).0);
    let zero = simd.splat_f64s(0.0);
    for j in 0..wide {
        let mut sums = [[zero; VECTORS]; ROWS];
        let lefts = left(0).iter().zip(left(1)).zip(left(2).iter().zip(left(3)));
        for (right, ((x, y), (z, w))) in panel[j..].iter().step_by(wide).zip(lefts) {
            for (sums, left) in sums.iter_mut().zip([x, y, z, w]) {
                let left = simd.splat_f64s(*left);
                for v in 0..VECTORS {
                    sums[v] = simd.mul_add_e_f64s(left, right[v], sums[v]);
                }
            }
        }
        for i in 0..count {
            for v in 0..VECTORS {
                let (x, change) = (before[i * wide + j][v], sums[i][v]);
                let sum = simd.add_f64s(x, change);
                after[i * wide + j][v] = simd.select_f64s(simd.equal_f64s(change, zero), x, sum);
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

    /// Entry by entry, in the same order.
    fn plainly(before: &Matrix, product: &LowRank, first: usize) -> (Matrix, Sums) {
        let (mut sums, mut all) = (Sums::default(), vec![]);
        let (entries, cols, rank) = (before.to_f64(), before.cols(), product.rank());
        for (i, x) in entries.iter().enumerate() {
            let (left, right) = (&product.left()[(first + i / cols) * rank..], &product.right()[i % cols..]);
            let y =
                left[..rank].iter().zip(right.iter().step_by(cols)).fold(0.0, |y, (l, r)| l.mul_add(*r, y));
            all.push(if y == 0.0 { *x } else { x + y });
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
            // What is rounded off hangs on the last digits of a sum, and not every processor adds a product in one step.
            assert!(
                (sums.lost - wanted.lost).abs() <= 1e-6 * wanted.lost && sums.changed == wanted.changed,
                "{sums:?} {wanted:?}"
            );
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
