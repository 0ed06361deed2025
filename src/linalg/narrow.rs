//! Products of a large symmetric matrix with a narrow one: `S·V`, `V` of 16 or 24 columns.
//!
//! `V` and the result are row-major, so that one row is two or three vectors. A tile holds `J` rows of the result in
//! registers; each entry of `S` it meets is copied to all lanes and multiplied with a row of `V`. Because rows of the
//! result may follow rows or columns of `S`, one pass over a block below the diagonal serves both `S·V` and `Sᵀ·V`
//! while the block is in the cache: `S` is read once from memory, half of it is never stored.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Columns of `S` taken together.
const BLOCK_COLUMNS: usize = 48;
/// Rows of `S` taken together: 48 columns of them stay in the second-level cache.
const BLOCK_ROWS: usize = 192;
/// Rows for each part of the product that may run on its own.
const PART_ROWS: usize = 1000;

/// Into how many parts an `m`-row product is cut: by size alone, so that the sum has one order.
pub(super) fn parts(m: usize) -> usize {
    (m / PART_ROWS + 1).min(8)
}

/// A symmetric matrix, lower triangle, column-major with columns `ld` apart.
#[derive(Clone, Copy)]
pub(super) struct Symmetric<'a> {
    pub(super) entries: &'a [f64],
    pub(super) ld: usize,
}

/// `y = S·v` for a row-major `v` of `width` columns whose number of rows is a multiple of 8. `y` holds [`parts`] times
/// the result's entries and ends with the result in its first part.
pub(super) fn symmetric_times(arch: Arch, s: Symmetric<'_>, v: &[f64], width: usize, y: &mut [f64]) {
    let parts = parts(v.len() / width);
    let task =
        |(part, y): (usize, &mut [f64])| arch.dispatch(BlockColumns { s, v, width, y, first: part, parts });
    if parts == 1 {
        task((0, y));
        return;
    }
    y.par_chunks_mut(v.len()).enumerate().for_each(task);
    let (sum, rest) = y.split_at_mut(v.len());
    for part in rest.chunks_exact(v.len()) {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
}

/// `y += block·v` for row-major `v` and `y` of `width` columns; the rows of `y` are a multiple of 8.
pub(super) fn add_product(arch: Arch, block: Block<'_>, v: &[f64], y: &mut [f64], width: usize) {
    arch.dispatch(AddProduct { block, v, y, width });
}

struct AddProduct<'a> {
    block: Block<'a>,
    v: &'a [f64],
    y: &'a mut [f64],
    width: usize,
}

impl WithSimd for AddProduct<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { block, v, y, width } = self;
        match (S::F64_LANES, width) {
            (8, 24) => tiles::<S, 3, 8>(simd, block, v, y, width),
            (8, 8) => tiles::<S, 1, 8>(simd, block, v, y, width),
            (4, 24) => tiles::<S, 3, 4>(simd, block, v, y, width),
            (8, _) => tiles::<S, 2, 8>(simd, block, v, y, width),
            _ => tiles::<S, 2, 4>(simd, block, v, y, width),
        }
    }
}

/// Every `parts`-th block of columns, from block `first` on.
struct BlockColumns<'a> {
    s: Symmetric<'a>,
    v: &'a [f64],
    width: usize,
    y: &'a mut [f64],
    first: usize,
    parts: usize,
}

impl WithSimd for BlockColumns<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // G vectors are a row of `v`; rows wider than that are taken in bands of G vectors.
        match (S::F64_LANES, self.width) {
            (8, 24) => self.run::<S, 3, 8>(simd),
            (4, 24) => self.run::<S, 3, 4>(simd),
            (8, _) => self.run::<S, 2, 8>(simd),
            _ => self.run::<S, 2, 4>(simd),
        }
    }
}

impl BlockColumns<'_> {
    #[inline(always)]
    fn run<S: Simd, const G: usize, const J: usize>(self, simd: S) {
        let BlockColumns { s: Symmetric { entries, ld }, v, width, y, first, parts } = self;
        let m = v.len() / width;
        y.fill(0.0);
        let mut square = vec![0.0; BLOCK_COLUMNS * BLOCK_COLUMNS];
        for left in (first * BLOCK_COLUMNS..m).step_by(parts * BLOCK_COLUMNS) {
            let right = m.min(left + BLOCK_COLUMNS);
            mirror(&entries[left * ld + left..], ld, right - left, &mut square);
            let (above, below) = y.split_at_mut(right * width);
            let (v_columns, y_columns) = (&v[left * width..right * width], &mut above[left * width..]);
            let square = Block { entries: &square, across: 1, along: BLOCK_COLUMNS };
            tiles::<S, G, J>(simd, square, v_columns, y_columns, width);
            for top in (right..m).step_by(BLOCK_ROWS) {
                let bottom = m.min(top + BLOCK_ROWS);
                let entries = &entries[left * ld + top..];
                let y_rows = &mut below[(top - right) * width..(bottom - right) * width];
                let block = Block { entries, across: 1, along: ld };
                tiles::<S, G, J>(simd, block, v_columns, y_rows, width);
                let transposed = Block { entries, across: ld, along: 1 };
                tiles::<S, G, J>(simd, transposed, &v[top * width..bottom * width], y_columns, width);
            }
        }
    }
}

/// A factor: neighbors in the result lie `across` entries apart, neighbors in the sum `along` entries.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) entries: &'a [f64],
    pub(super) across: usize,
    pub(super) along: usize,
}

/// `y += block·v`, both row-major of `width` columns; the rows of `y` are a multiple of `J`.
#[inline(always)]
pub(super) fn tiles<S: Simd, const G: usize, const J: usize>(
    simd: S,
    block: Block<'_>,
    v: &[f64],
    y: &mut [f64],
    width: usize,
) {
    let band = G * S::F64_LANES;
    for (tile, y) in y.chunks_exact_mut(J * width).enumerate() {
        let entries = &block.entries[tile * J * block.across..];
        for first in (0..width).step_by(band) {
            // Nothing points at it while it grows, so it stays in registers.
            let mut grown = [[simd.splat_f64s(0.0); G]; J];
            for (l, v) in v.chunks_exact(width).enumerate() {
                let (v, _) = S::as_simd_f64s(&v[first..first + band]);
                let entries = &entries[l * block.along..][..=(J - 1) * block.across];
                for j in 0..J {
                    let factor = simd.splat_f64s(entries[j * block.across]);
                    for g in 0..G {
                        grown[j][g] = simd.mul_add_e_f64s(v[g], factor, grown[j][g]);
                    }
                }
            }
            let sum = grown;
            for (j, sum) in sum.iter().enumerate() {
                let (y, _) = S::as_mut_simd_f64s(&mut y[j * width + first..][..band]);
                for (y, sum) in y.iter_mut().zip(sum) {
                    *y = simd.add_f64s(*y, *sum);
                }
            }
        }
    }
}

/// Both triangles of a small symmetric block, columns [`BLOCK_COLUMNS`] apart.
fn mirror(lower: &[f64], ld: usize, side: usize, square: &mut [f64]) {
    for j in 0..side {
        for i in j..side {
            square[j * BLOCK_COLUMNS + i] = lower[j * ld + i];
            square[i * BLOCK_COLUMNS + j] = lower[j * ld + i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::{machines, noise};
    use super::*;

    #[test]
    fn products_with_a_narrow_matrix_equal_the_naive_ones_on_every_machine() {
        for arch in machines() {
            for (m, width) in [(8, 16), (56, 24), (248, 16), (1080, 24)] {
                let ld = m + 3;
                let entries: Vec<f64> = noise(m as u64).take(ld * m).collect();
                let v: Vec<f64> = noise(7).take(m * width).collect();
                let mut y = vec![f64::NAN; parts(m) * m * width];
                symmetric_times(arch, Symmetric { entries: &entries, ld }, &v, width, &mut y);
                for i in (0..m).step_by(m / 8) {
                    for c in 0..width {
                        let s = |j: usize| entries[i.min(j) * ld + i.max(j)];
                        let expected: f64 = (0..m).map(|j| s(j) * v[j * width + c]).sum();
                        let miss = (y[i * width + c] - expected).abs();
                        assert!(miss < 1e-12 * m as f64, "{arch:?} {m}×{width} ({i}, {c}): off by {miss:e}");
                    }
                }
            }
        }
    }
}
