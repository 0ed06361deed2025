//! The next rows of a merged weight, in the widest registers there are: base + update, rounded, and the sums over both.
//!
//! Everything is in f64. A tile of a few rows and columns is worked on at once, so that all of it stays in the first
//! cache. A tile with an entry that is not common is rounded again, one entry after the other.

use pulp::{Arch, Simd, WithSimd};

use crate::error::Error;
use crate::matrix::{Dtype, Matrix, narrow, nearest};

use super::tile::{COLUMNS, Lanes, Limits, Panels, ROWS, Tile, add_product, differing, distance};

/// What is added to the rows.
pub(super) enum Change<'a> {
    /// The rows of a product from this one on.
    Product(&'a Panels, usize),
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
    /// The rows `before` with `change`, rounded to the type that they are stored in; `room` is used for their bytes.
    ///
    /// # Errors
    /// When an entry is not finite, or does not fit the type.
    pub(super) fn take(
        &mut self,
        before: &Matrix,
        change: &Change<'_>,
        mut room: Vec<u8>,
    ) -> Result<Matrix, Error> {
        if let Dtype::F8E4M3 | Dtype::F8E5M2 = before.dtype() {
            // Says why nothing is rounded to it.
            return Matrix::rounded(before.rows(), before.cols(), before.dtype(), &vec![0.0; before.len()]);
        }
        room.resize(before.bytes().len(), 0);
        let limits = Limits::of(before.dtype());
        let step = Step { sums: self, before, change, limits, bytes: &mut room, finite: true, common: true };
        let (finite, common) = Arch::new().dispatch(step);
        if !finite {
            return Err(Error::NotFinite { rows: before.rows(), cols: before.cols() });
        }
        let rounded = Matrix::new(before.rows(), before.cols(), before.dtype(), room)?;
        if common || rounded.is_finite() {
            return Ok(rounded);
        }
        Err(Error::Usage(format!("an entry is too large for {}", before.dtype())))
    }
}

/// All tiles of a block of rows.
struct Step<'a> {
    sums: &'a mut Sums,
    before: &'a Matrix,
    change: &'a Change<'a>,
    limits: Limits,
    bytes: &'a mut [u8],
    finite: bool,
    common: bool,
}

impl WithSimd for Step<'_> {
    /// Whether all entries and their sums are finite, and whether all of them are common.
    type Output = (bool, bool);

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> (bool, bool) {
        let (rows, cols) = (self.before.rows(), self.before.cols());
        let whole = rows / ROWS * ROWS;
        let mut left = vec![];
        if let Change::Product(panels, from) = self.change {
            let rank = panels.rank;
            let lines = &panels.left[from * rank..][..rows * rank];
            for lines in lines[..whole * rank].chunks_exact((ROWS * rank).max(1)) {
                left.extend((0..rank).flat_map(|r| (0..ROWS).map(move |i| lines[i * rank + r])));
            }
            left.extend_from_slice(&lines[whole * rank..]);
        }
        let mut tiles = [const { Tile([0.0; ROWS * COLUMNS]) }; 3];
        for start in (0..cols).step_by(COLUMNS) {
            if cols < start + COLUMNS {
                // What lies beside the last columns adds nothing.
                tiles.iter_mut().for_each(|tile| tile.0.fill(0.0));
            }
            for first in (0..whole).step_by(ROWS) {
                self.tile::<S, ROWS>(simd, &mut tiles, &left, (first, start));
            }
            for first in whole..rows {
                self.tile::<S, 1>(simd, &mut tiles, &left, (first, start));
            }
        }
        (self.finite, self.common)
    }
}

impl Step<'_> {
    /// `R` rows from `first` on, in the columns of a tile from `start` on.
    #[inline(always)]
    fn tile<S: Simd, const R: usize>(
        &mut self,
        simd: S,
        tiles: &mut [Tile; 3],
        left: &[f64],
        (first, start): (usize, usize),
    ) {
        let (cols, dtype, size) = (self.before.cols(), self.before.dtype(), self.before.dtype().size());
        let width = COLUMNS.min(cols - start);
        let line = |i: usize| (first + i) * cols + start..(first + i) * cols + start + width;
        let part = |i: usize| i * COLUMNS..i * COLUMNS + width;
        let [before, after, written] = tiles.each_mut().map(|tile| &mut tile.0[..R * COLUMNS]);
        for i in 0..R {
            self.before.widen(line(i), &mut before[part(i)]);
        }
        match self.change {
            Change::Product(panels, _) => {
                let (left, _) = left[first * panels.rank..][..R * panels.rank].as_chunks::<R>();
                add_product(simd, (left, panels.columns(start, width)), before, after);
            }
            Change::Entries(entries) => {
                for i in 0..R {
                    let sums = before[part(i)].iter().zip(&entries[line(i)]).map(|(x, y)| sum(*x, *y));
                    after[part(i)].iter_mut().zip(sums).for_each(|(z, sum)| *z = sum);
                }
            }
            Change::Instead(entries) => {
                (0..R).for_each(|i| after[part(i)].copy_from_slice(&entries[line(i)]));
            }
        }
        let mut lanes = Lanes::new(simd, self.limits);
        lanes.add(simd, before, after, written);
        let [base, update, mut lost] =
            [lanes.base, lanes.update, lanes.lost].map(|sum| simd.reduce_sum_f64s(sum));
        let common = simd.reduce_min_f64s(lanes.least) >= self.limits.least
            && simd.reduce_max_f64s(lanes.largest) <= self.limits.largest;
        if !common {
            self.common = false;
            if let Change::Product(..) = self.change {
                // What nothing is added to keeps the sign of its zero.
                let zeros = after.iter_mut().zip(before.iter()).filter(|(y, x)| **y == 0.0 && **x == 0.0);
                zeros.for_each(|(y, x)| *y = *x);
            }
            nearest(dtype, after, written);
            lost = distance(after, written);
        }
        // Where a square does not fit, or nothing is rounded to a number, the entries say which it was.
        self.finite &=
            (base + update + lost).is_finite() || before.iter().chain(&*after).all(|x| x.is_finite());
        self.sums.base += base;
        self.sums.update += update;
        self.sums.lost += lost;
        for i in 0..R {
            let bytes = line(i).start * size..line(i).end * size;
            narrow(dtype, &written[part(i)], &mut self.bytes[bytes.clone()]);
            self.sums.changed += differing(&self.before.bytes()[bytes.clone()], &self.bytes[bytes], size);
        }
    }
}

/// `x` + `change`, where that is not zero: what nothing is added to keeps its bits, the sign of a zero, too.
fn sum(x: f64, change: f64) -> f64 {
    if change == 0.0 { x } else { x + change }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::low_rank::LowRank;

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
        // Ordinary numbers, and some that have no whole mantissa in their type.
        for (dtype, rank, cols, scale) in [
            (Dtype::Bf16, 7, 13, 2f64.powi(-130)),
            (Dtype::F32, 4, 700, 2f64.powi(-145)),
            (Dtype::F16, 1, 8, 2f64.powi(-22)),
            (Dtype::F16, 3, 256, 2f64.powi(-15)),
            (Dtype::F64, 9, 520, 2f64.powi(-300)),
        ]
        .into_iter()
        .flat_map(|(dtype, rank, cols, tiny)| [1.0, tiny].map(|scale| (dtype, rank, cols, scale)))
        {
            let rows = 9;
            let scaled = |count, seed| numbers(count, seed).iter().map(|x| x * scale).collect::<Vec<_>>();
            let before = Matrix::rounded(rows, cols, dtype, &scaled(rows * cols, 1)).expect("fits");
            let (left, right) = (scaled((rows + 2) * rank, 2), numbers(rank * cols, 3));
            let product = LowRank::new((rows + 2, cols), rank, left, right).expect("factors fit");
            let mut sums = Sums::default();
            let found =
                sums.take(&before, &Change::Product(&Panels::of(&product), 2), vec![]).expect("finite");
            let (expected, wanted) = plainly(&before, &product, 2);
            assert_eq!(found.bytes(), expected.bytes(), "{dtype} {scale:e}");
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
        let zeros = [-0.0, 0.0, 1.0];
        let bits = |matrix: &Matrix| matrix.to_f64().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let take = |before: &Matrix, change: &Change<'_>| {
            bits(&Sums::default().take(before, change, vec![]).expect("finite"))
        };
        let before = Matrix::from_f64(1, 3, &zeros).expect("three");
        assert_eq!(take(&before, &Change::Entries(&[0.0, -0.0, 2.0])), [-0.0f64, 0.0, 3.0].map(f64::to_bits));
        for (dtype, x) in [(Dtype::F64, 1.0), (Dtype::Bf16, 1.0), (Dtype::Bf16, -1.0)] {
            let before = Matrix::rounded(1, 3, dtype, &zeros).expect("three");
            let nothing = LowRank::new((1, 3), 1, vec![0.0], vec![x; 3]).expect("factors fit");
            assert_eq!(
                take(&before, &Change::Product(&Panels::of(&nothing), 0)),
                bits(&before),
                "{dtype} {x}"
            );
        }
    }

    #[test]
    fn sums_that_are_not_finite_or_do_not_fit_are_refused() {
        let row = |dtype, entries: &[f64]| Matrix::rounded(1, 2, dtype, entries).expect("fits");
        let take =
            |before: Matrix, update: &[f64]| Sums::default().take(&before, &Change::Entries(update), vec![]);
        assert!(matches!(take(row(Dtype::F32, &[1.0, 2.0]), &[0.0, f64::NAN]), Err(Error::NotFinite { .. })));
        assert!(matches!(take(row(Dtype::F16, &[1.0, 2.0]), &[1e5, 0.0]), Err(Error::Usage(_))));
        assert!(matches!(take(row(Dtype::Bf16, &[1.0, 2.0]), &[3.4e38, 0.0]), Err(Error::Usage(_))));
        assert!(take(row(Dtype::Bf16, &[1.0, 2.0]), &[3e38, 0.0]).is_ok());
    }
}
