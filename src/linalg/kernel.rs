//! Products that fill the lower triangle of a symmetric matrix, at the speed of the machine's multiply-add units.
//!
//! A factor is packed once into *panels* of [`height`] rows: panel `p`, column `l` holds the entries
//! `(p·height + i, l)` of all its rows `i` side by side. A tile of the result then is a sum over `l` of an outer
//! product: three vectors of one panel times a few entries of another, each entry copied to all lanes. The tile
//! stays in registers for the whole sum; panels stream from the caches.
//!
//! Two products use it: `C = P·Pᵀ`, a slab of a Gram matrix, and `C − V·Wᵀ − W·Vᵀ`, the step of a reduction.
//! The columns of `C` are dealt out in blocks of fixed width, each summed by one task in a fixed order, so that the
//! bits do not depend on the number of threads. Goto & van de Geijn, ACM TOMS 34 (2008), describe the scheme.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Columns of the result in one task: a multiple of every panel height.
const TASK_COLUMNS: usize = 96;
/// Rows of a packed factor that are used together: 240 × 256 doubles fill half a second-level cache.
const BLOCK_ROWS: usize = 240;
/// Rows that a tile may write beyond the last one.
pub(super) const OVERHANG: usize = 24;

/// What happens to the previous entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    /// `C = P·Pᵀ`.
    Replace,
    /// `C + P·Pᵀ`.
    Add,
    /// `C − V·Wᵀ − W·Vᵀ`, where `P = [V W]`.
    SubtractCrossed,
}

/// A packed factor: `columns` columns in panels that lie `stride` doubles apart.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [f64],
    pub(super) stride: usize,
    pub(super) columns: usize,
}

/// Rows of one panel on this machine: the vectors of a tile, times the lanes of a vector.
pub(super) fn height(arch: Arch) -> usize {
    struct Height;
    impl WithSimd for Height {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if S::F64_LANES >= 4 { 3 * S::F64_LANES } else { 4 * S::F64_LANES }
        }
    }
    arch.dispatch(Height)
}

/// The lower triangle of an `n` × `n` matrix `c` (column-major, columns `ld` apart), updated with a packed factor.
///
/// `n` is a multiple of 8; rows up to [`OVERHANG`] below the last and entries next to the diagonal are overwritten.
pub(super) fn update_lower(arch: Arch, product: Product, factor: Panels<'_>, n: usize, c: Lower<'_>) {
    let Lower { entries, ld } = c;
    let task = |(index, c): (usize, &mut [f64])| {
        let first = index * TASK_COLUMNS;
        let last = n.min(first + TASK_COLUMNS);
        arch.dispatch(Tiles { product, factor, n, first, last, reach: n, c, ld, top: 0 });
    };
    each_block(entries, n, ld, task);
}

/// Room that a column of a band needs beside its entries: tiles write above the diagonal and below the band.
pub(super) const BAND_SLACK: usize = 2 * (OVERHANG + 8);

/// The same for the `reach` entries from the diagonal down alone, of an `n` × `n` matrix stored by columns from the
/// diagonal down, `ld` apart: entry `(i, j)` at `j·ld + i − j`. `ld` is at least `reach` and [`BAND_SLACK`].
pub(super) fn update_band(
    arch: Arch,
    product: Product,
    factor: Panels<'_>,
    (n, reach): (usize, usize),
    c: Lower<'_>,
) {
    let Lower { entries, ld } = c;
    let task = |(index, c): (usize, &mut [f64])| {
        let first = index * TASK_COLUMNS;
        let last = n.min(first + TASK_COLUMNS);
        // Columns one entry closer than their diagonals: a dense matrix as far as the band goes.
        arch.dispatch(Tiles { product, factor, n, first, last, reach, c, ld: ld - 1, top: first });
    };
    each_block(entries, n, ld, task);
}

/// Hands out the columns of a result, [`TASK_COLUMNS`] at a time.
fn each_block(entries: &mut [f64], n: usize, ld: usize, task: impl Fn((usize, &mut [f64])) + Sync + Send) {
    let blocks = n.div_ceil(TASK_COLUMNS);
    let chunk = TASK_COLUMNS * ld;
    if blocks <= 2 {
        entries.chunks_mut(chunk).take(blocks).enumerate().for_each(task);
    } else {
        entries.par_chunks_mut(chunk).take(blocks).enumerate().for_each(task);
    }
}

/// Entries of a column-major matrix whose columns lie `ld` apart, from its first one on.
pub(super) struct Lower<'a> {
    pub(super) entries: &'a mut [f64],
    pub(super) ld: usize,
}

/// The tiles of the columns `first..last`, each `reach` rows down from its diagonal; `c` starts at column `first`, row
/// `top`.
struct Tiles<'a> {
    product: Product,
    factor: Panels<'a>,
    n: usize,
    first: usize,
    last: usize,
    reach: usize,
    c: &'a mut [f64],
    ld: usize,
    top: usize,
}

impl WithSimd for Tiles<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many accumulators as there are registers left beside one column of each panel.
        match S::F64_LANES {
            8 => self.run::<S, 3, 8>(simd),
            4 => self.run::<S, 3, 4>(simd),
            2 => self.run::<S, 4, 4>(simd),
            _ => self.run::<S, 4, 2>(simd),
        }
    }
}

impl Tiles<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize, const J: usize>(self, simd: S) {
        let Tiles { product, factor, n, first, last, reach, c, ld, top } = self;
        let height = V * S::F64_LANES;
        let count = n.min(last.saturating_add(reach)).div_ceil(height);
        let length = factor.columns * height;
        let panel = |p: usize| &factor.data[p * factor.stride..][..length];
        for block in (first / height..count).step_by(BLOCK_ROWS / height) {
            let end = count.min(block + BLOCK_ROWS / height);
            for column in (first..last).step_by(J) {
                let right = panel(column / height);
                let end = end.min((column + J).saturating_add(reach).div_ceil(height));
                for p in block.max(column / height)..end {
                    let tile = Tile { left: panel(p), right, entry: column % height, product };
                    tile.run::<S, V, J>(simd, &mut c[(column - first) * ld + p * height - top..], ld);
                }
            }
        }
    }
}

/// One tile: the panel `left` against `J` rows of the panel `right`, from its row `entry` on.
struct Tile<'a> {
    left: &'a [f64],
    right: &'a [f64],
    entry: usize,
    product: Product,
}

impl Tile<'_> {
    #[inline(always)]
    fn run<S: Simd, const V: usize, const J: usize>(self, simd: S, c: &mut [f64], ld: usize) {
        let Tile { left, right, entry, product } = self;
        let width = V * S::F64_LANES;
        for j in 0..J {
            prefetch(&c[j * ld..][..width]);
        }
        let mut sum = [[simd.splat_f64s(0.0); V]; J];
        if product == Product::SubtractCrossed {
            let (v, w) = (left.split_at(left.len() / 2), right.split_at(right.len() / 2));
            accumulate(simd, &mut sum, v.0, w.1, entry);
            accumulate(simd, &mut sum, v.1, w.0, entry);
        } else {
            accumulate(simd, &mut sum, left, right, entry);
        }
        for (j, sum) in sum.iter().enumerate() {
            let (c, _) = S::as_mut_simd_f64s(&mut c[j * ld..][..width]);
            for (c, sum) in c.iter_mut().zip(sum) {
                *c = match product {
                    Product::Replace => *sum,
                    Product::Add => simd.add_f64s(*c, *sum),
                    Product::SubtractCrossed => simd.sub_f64s(*c, *sum),
                };
            }
        }
    }
}

/// `sum[j] += Σ_l left(·, l)·right(entry + j, l)`.
#[inline(always)]
fn accumulate<S: Simd, const V: usize, const J: usize>(
    simd: S,
    sum: &mut [[S::f64s; V]; J],
    left: &[f64],
    right: &[f64],
    entry: usize,
) {
    let (left, _) = pulp::as_arrays::<V, _>(S::as_simd_f64s(left).0);
    // A copy that nothing points at stays in registers; without it every step stores all of them.
    let mut local = *sum;
    for (left, right) in left.iter().zip(right.chunks_exact(V * S::F64_LANES)) {
        let right = &right[entry..][..J];
        for j in 0..J {
            let factor = simd.splat_f64s(right[j]);
            for v in 0..V {
                local[j][v] = simd.mul_add_e_f64s(left[v], factor, local[j][v]);
            }
        }
    }
    *sum = local;
}

/// Asks for the cache lines of `entries` ahead of their use: a sum over few columns would wait for them.
#[inline(always)]
fn prefetch(entries: &[f64]) {
    #[cfg(target_arch = "x86_64")]
    for line in entries.chunks(8) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, and the address is inside a live slice. Worth 15–25 % with 32 columns.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = entries;
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Every instruction set this machine has; the plain one always.
    pub(in super::super) fn machines() -> Vec<Arch> {
        let mut machines = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            machines.extend(pulp::x86::V3::try_new().map(Arch::V3));
            machines.extend(pulp::x86::V4::try_new().map(Arch::V4));
        }
        #[cfg(not(target_arch = "x86_64"))]
        machines.push(Arch::new());
        machines
    }

    /// Entries in (−1, 1) that look random and are the same everywhere.
    pub(in super::super) fn noise(seed: u64) -> impl Iterator<Item = f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
    }

    /// Row-major `n` × `k` entries in the panels of `arch`.
    fn packed(arch: Arch, n: usize, k: usize, entries: &[f64]) -> Vec<f64> {
        let height = height(arch);
        let mut data = vec![0.0; n.div_ceil(height) * height * k];
        for i in 0..n {
            for l in 0..k {
                data[(i / height * k + l) * height + i % height] = entries[i * k + l];
            }
        }
        data
    }

    #[test]
    fn packed_products_equal_the_naive_ones_on_every_machine() {
        for arch in machines() {
            for (n, k) in [(8, 2), (16, 3), (104, 32), (200, 7), (296, 48)] {
                let entries: Vec<f64> = noise(n as u64).take(n * k).collect();
                let data = packed(arch, n, k, &entries);
                let factor = Panels { data: &data, stride: k * height(arch), columns: k };
                let ld = n + OVERHANG;
                for product in [Product::Replace, Product::Add, Product::SubtractCrossed] {
                    if product == Product::SubtractCrossed && k % 2 == 1 {
                        continue;
                    }
                    let mut c = vec![1.0; ld * n];
                    update_lower(arch, product, factor, n, Lower { entries: &mut c, ld });
                    for j in 0..n {
                        for i in j..n {
                            let (row, column) = (&entries[i * k..][..k], &entries[j * k..][..k]);
                            let expected = naive(product, row, column);
                            let miss = (c[j * ld + i] - expected).abs();
                            assert!(miss < 1e-13, "{arch:?} {product:?} {n}×{k} ({i}, {j}): off by {miss:e}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_band_holds_the_entries_of_the_whole_on_every_machine() {
        for arch in machines() {
            for (n, reach, k) in [(8, 3, 2), (104, 40, 32), (296, 100, 48), (400, 97, 5), (200, 200, 7)] {
                let entries: Vec<f64> = noise(n as u64).take(n * k).collect();
                let data = packed(arch, n, k, &entries);
                let factor = Panels { data: &data, stride: k * height(arch), columns: k };
                let ld = reach + BAND_SLACK;
                for product in [Product::Replace, Product::Add] {
                    let mut c = vec![1.0; ld * n];
                    update_band(arch, product, factor, (n, reach), Lower { entries: &mut c, ld });
                    for j in 0..n {
                        for i in j..n.min(j + reach) {
                            let (row, column) = (&entries[i * k..][..k], &entries[j * k..][..k]);
                            let miss = (c[j * ld + i - j] - naive(product, row, column)).abs();
                            assert!(
                                miss < 1e-13,
                                "{arch:?} {product:?} {n} {reach} ({i}, {j}): off by {miss:e}"
                            );
                        }
                    }
                }
            }
        }
    }

    fn naive(product: Product, row: &[f64], column: &[f64]) -> f64 {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let half = row.len() / 2;
        match product {
            Product::Replace => dot(row, column),
            Product::Add => 1.0 + dot(row, column),
            Product::SubtractCrossed => {
                1.0 - dot(&row[..half], &column[half..]) - dot(&row[half..], &column[..half])
            }
        }
    }
}
