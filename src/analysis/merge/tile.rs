//! A few rows and columns of a merged weight at once: sums and rounding in the widest registers there are.
//!
//! Common entries are rounded in registers. Zeros, what may become zero, and entries near the upper end of their type or
//! beyond it are not: the least and the largest power of two say whether a tile holds such.

use pulp::{Arch, Simd, WithSimd, as_arrays, as_arrays_mut};

use crate::low_rank::LowRank;
use crate::matrix::Dtype;

/// Rows of a tile. Blocks of a multiple of it are fastest.
pub(super) const ROWS: usize = 4;
/// Columns of a tile: sixteen directions of a product's right factor fit beside it.
pub(super) const COLUMNS: usize = 128;
/// Registers of a row that are summed at once.
const VECTORS: usize = 2;

/// The rows of a tile, one after the other.
#[repr(align(64))]
pub(super) struct Tile(pub(super) [f64; ROWS * COLUMNS]);

/// A product in the order that tiles need it.
pub(super) struct Panels {
    pub(super) rank: usize,
    /// The left factor, row by row.
    pub(super) left: Vec<f64>,
    /// The right factor: the first columns that are summed at once, direction by direction, then the next ones.
    right: Vec<f64>,
    /// Columns that are summed at once.
    width: usize,
}

impl Panels {
    pub(super) fn of(product: &LowRank) -> Self {
        struct Width;
        impl WithSimd for Width {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                VECTORS * S::F64_LANES
            }
        }
        let (width, rank, cols) = (Arch::new().dispatch(Width), product.rank(), product.cols());
        let mut right = Vec::with_capacity(cols.next_multiple_of(width) * rank);
        for start in (0..cols).step_by(width) {
            for line in product.right().chunks_exact(cols) {
                right.extend_from_slice(&line[start..cols.min(start + width)]);
                right.resize(right.len().next_multiple_of(width), 0.0);
            }
        }
        Self { rank, left: product.left().to_vec(), right, width }
    }

    /// The right factor of so many columns from `start` on, a multiple of [`COLUMNS`].
    pub(super) fn columns(&self, start: usize, count: usize) -> &[f64] {
        &self.right[start * self.rank..][..count.next_multiple_of(self.width) * self.rank]
    }
}

/// What is rounded in registers.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Times the power of two in a number, it has the last bit where the number's is to be.
    cut: f64,
    /// The power of two of the least number with a whole mantissa: below it, last bits stay where they are.
    whole: f64,
    /// The least and the largest power of two.
    pub(super) least: f64,
    pub(super) largest: f64,
}

impl Limits {
    pub(super) fn of(dtype: Dtype) -> Self {
        let whole = if dtype == Dtype::F16 { 2f64.powi(-14) } else { f64::from(f32::MIN_POSITIVE) };
        // Doubles are not rounded.
        let largest = if dtype == Dtype::F64 { -1.0 } else { 0.25 / whole };
        let (cut, least) = (1.5 * dtype.epsilon() / f64::EPSILON, whole * dtype.epsilon());
        Self { cut, whole, least, largest }
    }
}

/// What is known of the entries of a tile, lane by lane.
#[derive(Clone, Copy)]
pub(super) struct Lanes<S: Simd> {
    pub(super) base: S::f64s,
    pub(super) update: S::f64s,
    pub(super) lost: S::f64s,
    /// The least and the largest power of two in a sum.
    pub(super) least: S::f64s,
    pub(super) largest: S::f64s,
    cut: S::u64s,
    whole: S::f64s,
}

impl<S: Simd> Lanes<S> {
    #[inline(always)]
    pub(super) fn new(simd: S, limits: Limits) -> Self {
        let [zero, least, whole] = [0.0, f64::INFINITY, limits.whole].map(|x| simd.splat_f64s(x));
        let cut = simd.splat_u64s(limits.cut.to_bits() - 1f64.to_bits());
        Self { base: zero, update: zero, lost: zero, least, largest: zero, cut, whole }
    }

    /// Takes entries `x` that become `y`, and gives them rounded, where they are common.
    #[inline(always)]
    fn rounded(&mut self, simd: S, x: S::f64s, y: S::f64s) -> S::f64s {
        // The bits of its exponent are those of infinity.
        let power = simd.and_f64s(y, simd.splat_f64s(f64::INFINITY));
        let last = simd.max_f64s(power, self.whole);
        // Times a number, by the sum of exponents.
        let cut = simd.transmute_f64s_u64s(simd.add_u64s(simd.transmute_u64s_f64s(last), self.cut));
        let z = simd.sub_f64s(simd.add_f64s(y, cut), cut);
        self.least = simd.min_f64s(self.least, power);
        self.largest = simd.max_f64s(self.largest, power);
        let (update, lost) = (simd.sub_f64s(y, x), simd.sub_f64s(z, y));
        self.base = simd.mul_add_e_f64s(x, x, self.base);
        self.update = simd.mul_add_e_f64s(update, update, self.update);
        self.lost = simd.mul_add_e_f64s(lost, lost, self.lost);
        z
    }

    /// Takes a tile whose entries `before` become `after`, and rounds those.
    #[inline(always)]
    pub(super) fn add(&mut self, simd: S, before: &[f64], after: &[f64], written: &mut [f64]) {
        let (written, _) = S::as_mut_simd_f64s(written);
        let entries = S::as_simd_f64s(before).0.iter().zip(S::as_simd_f64s(after).0);
        for (z, (x, y)) in written.iter_mut().zip(entries) {
            *z = self.rounded(simd, *x, *y);
        }
    }
}

/// `after` is `before` and a product: of factors of the rows and of the columns of a tile, direction by direction. Each entry
/// of the product is summed in that order.
#[inline(always)]
pub(super) fn add_product<S: Simd, const R: usize>(
    simd: S,
    (left, right): (&[[f64; R]], &[f64]),
    before: &[f64],
    after: &mut [f64],
) {
    let wide = COLUMNS / S::F64_LANES / VECTORS;
    let [right, before] = [right, before].map(|lines| as_arrays::<VECTORS, _>(S::as_simd_f64s(lines).0).0);
    let after = as_arrays_mut::<VECTORS, _>(S::as_mut_simd_f64s(after).0).0;
    for (j, right) in right.chunks_exact(left.len().max(1)).enumerate() {
        let mut sums = [[simd.splat_f64s(0.0); VECTORS]; R];
        for (right, left) in right.iter().zip(left) {
            for i in 0..R {
                let left = simd.splat_f64s(left[i]);
                for v in 0..VECTORS {
                    sums[i][v] = simd.mul_add_e_f64s(left, right[v], sums[i][v]);
                }
            }
        }
        for i in 0..R {
            for v in 0..VECTORS {
                after[i * wide + j][v] = simd.add_f64s(before[i * wide + j][v], sums[i][v]);
            }
        }
    }
}

/// ‖one − other‖².
#[inline(always)]
pub(super) fn distance(one: &[f64], other: &[f64]) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    for (x, y) in one.as_chunks::<LANES>().0.iter().zip(other.as_chunks::<LANES>().0) {
        for i in 0..LANES {
            sums[i] += (x[i] - y[i]) * (x[i] - y[i]);
        }
    }
    sums.iter().sum()
}

/// How many entries of so many bytes differ.
#[inline(always)]
pub(super) fn differing(one: &[u8], other: &[u8], size: usize) -> u64 {
    match size {
        2 => count::<2>(one, other),
        4 => count::<4>(one, other),
        _ => count::<8>(one, other),
    }
}

#[inline(always)]
fn count<const N: usize>(one: &[u8], other: &[u8]) -> u64 {
    // A row of a tile is short: a small number holds the count, so that it vectorizes.
    let pairs = one.as_chunks::<N>().0.iter().zip(other.as_chunks::<N>().0);
    u64::from(pairs.map(|(x, y)| u16::from(x != y)).sum::<u16>())
}
