//! The Gram matrix of a weight, summed slab by slab from its stored bytes.
//!
//! For an m × n weight `W` the small one of `WᵀW` and `WWᵀ` is formed: its eigenvalues are `σ²`, its side is `min(m, n)`.
//! A slab is a few hundred rows (or columns) along the long side; it is widened to f64 straight into the packed form
//! that the product wants, so a dense f64 copy of the weight never exists, and a tall weight can come in blocks of rows
//! as they are read. Squaring costs accuracy for small values: an eigenvalue is right to rounding of the largest.

use pulp::Arch;

use super::audit::{self, Contradiction, Invariants};
use super::band::Square;
use super::chase::Band;
use super::kernel::{self, Lower, OVERHANG, Panels, Product};
use super::reflections::Reflections;
use super::workspace::{Lease, Workspace};
use super::{band, power_of_two, tridiagonal};
use crate::matrix::Matrix;

/// Length of a slab along the long side.
const SLAB: usize = 256;

/// A smaller sum of squares, above zero, has lost terms that count to the range of a double: 2⁻⁹⁰⁰.
const LEAST: f64 = f64::from_bits((1023 - 900) << 52);

/// A Gram matrix in the making.
pub(super) struct Gram {
    arch: Arch,
    workspace: Lease,
    /// Side of the Gram matrix, and the same rounded up for the reduction.
    side: usize,
    padded: usize,
    /// Rows of a packed panel.
    height: usize,
    /// How much of the slab is filled, and whether any was summed before.
    filled: usize,
    product: Product,
}

/// Distance between the columns of a Gram matrix of `padded` columns: room for the overhang of a tile, and no multiple
/// of 64, which would crowd the columns into few sets of the cache.
pub(super) fn leading(padded: usize) -> usize {
    let ld = (padded + OVERHANG).next_multiple_of(8);
    if ld.is_multiple_of(64) { ld + 8 } else { ld }
}

impl Gram {
    /// Of a whole weight.
    pub(super) fn of(arch: Arch, weight: &Matrix) -> Self {
        let (rows, cols) = (weight.rows(), weight.cols());
        let mut gram = Self::new(arch, rows.min(cols));
        if rows >= cols {
            gram.push_rows(weight);
        } else {
            gram.push_columns(weight);
        }
        gram
    }

    /// For a weight whose short side is `side`, before anything is computed.
    pub(super) fn new(arch: Arch, side: usize) -> Self {
        let mut workspace = Lease::new();
        let (height, padded) = (kernel::height(arch), band::padded(side));
        workspace.gram.take(leading(padded) * (padded + 1)).fill(0.0);
        workspace.slab.take(padded.next_multiple_of(height) * SLAB).fill(0.0);
        Self { arch, workspace, side, padded, height, filled: 0, product: Product::Replace }
    }

    /// Of the lower triangle whose column `j`, from the diagonal down, is `column(j)`.
    pub(super) fn summed<'a>(arch: Arch, side: usize, column: impl Fn(usize) -> &'a [f64]) -> Self {
        let mut gram = Self::new(arch, side);
        let ld = leading(gram.padded);
        let entries = gram.entries();
        for j in 0..side {
            entries[j * ld + j..j * ld + side].copy_from_slice(column(j));
        }
        gram
    }

    /// Takes the next rows of a weight with `side` columns.
    pub(super) fn push_rows(&mut self, rows: &Matrix) {
        let mut row = vec![0.0; self.side];
        for r in 0..rows.rows() {
            rows.widen(r * self.side..(r + 1) * self.side, &mut row);
            self.push_row(&row);
        }
    }

    /// Takes the next rows, row-major.
    pub(super) fn push_block(&mut self, rows: &[f64]) {
        rows.chunks_exact(self.side).for_each(|row| self.push_row(row));
    }

    fn push_row(&mut self, row: &[f64]) {
        let (height, at) = (self.height, self.filled * self.height);
        let slab = self.workspace.slab.take(self.padded.next_multiple_of(height) * SLAB);
        for (panel, entries) in slab.chunks_exact_mut(SLAB * height).zip(row.chunks(height)) {
            panel[at..at + entries.len()].copy_from_slice(entries);
        }
        self.filled += 1;
        if self.filled == SLAB {
            self.flush();
        }
    }

    /// Takes all columns of a weight with `side` rows.
    pub(super) fn push_columns(&mut self, weight: &Matrix) {
        let cols = weight.cols();
        for first in (0..cols).step_by(SLAB) {
            let length = SLAB.min(cols - first);
            self.pack_columns(weight, first, length);
            self.filled = length;
            self.flush();
        }
    }

    /// Widens the columns `first..first + length` of all rows, transposing a few rows at a time.
    fn pack_columns(&mut self, weight: &Matrix, first: usize, length: usize) {
        const GROUP: usize = 8;
        let (height, cols) = (self.height, weight.cols());
        let slab = self.workspace.slab.take(self.padded.next_multiple_of(height) * SLAB);
        let mut rows = [[0.0; SLAB]; GROUP];
        for group in (0..self.side).step_by(GROUP) {
            let here = GROUP.min(self.side - group);
            for (r, row) in rows.iter_mut().enumerate().take(here) {
                let start = (group + r) * cols + first;
                weight.widen(start..start + length, &mut row[..length]);
            }
            let panel = &mut slab[group / height * SLAB * height..][..SLAB * height];
            let at = group % height;
            if here == GROUP && at + GROUP <= height {
                for (l, column) in panel.chunks_exact_mut(height).take(length).enumerate() {
                    let column = &mut column[at..at + GROUP];
                    for r in 0..GROUP {
                        column[r] = rows[r][l];
                    }
                }
            } else {
                for (r, row) in rows.iter().enumerate().take(here) {
                    let panel = &mut slab[(group + r) / height * SLAB * height..];
                    for l in 0..length {
                        panel[l * height + (group + r) % height] = row[l];
                    }
                }
            }
        }
    }

    /// All `padded` eigenvalues, ascending; the smallest belong to the padding. NaN if the squares leave
    /// the range of a double, or an entry was none.
    ///
    /// # Errors
    /// When they contradict the matrix.
    pub(super) fn eigenvalues(mut self) -> Result<Vec<f64>, Contradiction> {
        let unit = match self.scale() {
            Ok(unit) => unit,
            Err(trace) => return Ok(vec![trace; self.padded]),
        };
        let sums = self.invariants();
        self.reduce();
        let (diagonal, coupling) = self.chase();
        let mut eigenvalues = tested(self.arch, &sums, &diagonal, &coupling)?;
        eigenvalues.iter_mut().for_each(|x| *x *= unit);
        Ok(eigenvalues)
    }

    /// What the reduction must leave as it is.
    pub(super) fn invariants(&mut self) -> Invariants {
        let (n, ld) = (self.padded, leading(self.padded));
        let entries = &*self.entries();
        Invariants::of_columns(n, |j| &entries[j * ld + j..j * ld + n])
    }

    /// Ends the sum and divides it by the power of two that it gives; or gives zero where it is, and else no number where
    /// squares over- or underflowed.
    pub(super) fn scale(&mut self) -> Result<f64, f64> {
        self.flush();
        let (n, ld) = (self.padded, leading(self.padded));
        let entries = self.entries();
        let largest = (0..n).map(|j| entries[j * ld + j]).fold(0.0, f64::max);
        let trace: f64 = (0..n).map(|j| entries[j * ld + j]).sum();
        if trace == 0.0 {
            return Err(0.0);
        }
        if !(trace >= LEAST && trace.is_finite()) {
            return Err(f64::NAN);
        }
        // Near one, no square of a square over- or underflows; a power of two changes no bit.
        let unit = power_of_two(largest);
        entries.iter_mut().for_each(|x| *x /= unit);
        Ok(unit)
    }

    /// Makes the scaled sum a band matrix.
    pub(super) fn reduce(&mut self) {
        self.reduce_and(None);
    }

    fn reduce_and(&mut self, kept: Option<&mut Vec<Square>>) {
        let (n, ld, width) = (self.padded, leading(self.padded), band::width(self.side));
        let Workspace { gram, reduction, .. } = &mut *self.workspace;
        band::reduce(self.arch, gram.take(ld * (n + 1)), (n, ld), width, reduction, kept);
    }

    /// The diagonal and subdiagonal that the band matrix becomes.
    pub(super) fn chase(&mut self) -> (Vec<f64>, Vec<f64>) {
        let (n, ld, width) = (self.padded, leading(self.padded), band::width(self.side));
        let Workspace { gram, band, .. } = &mut *self.workspace;
        let dense = gram.take(ld * (n + 1));
        Band::new(band.take(Band::len(n, width)), dense, (n, ld), width).tridiagonal(self.arch, None)
    }

    /// The diagonal and subdiagonal of the scaled sum, and the reflections that lead there.
    pub(super) fn tridiagonal(mut self) -> (Vec<f64>, Vec<f64>, Reflections) {
        let mut triangles = vec![];
        self.reduce_and(Some(&mut triangles));
        let (n, ld, width) = (self.padded, leading(self.padded), band::width(self.side));
        let mut chased = vec![0.0; Reflections::len(n, width)];
        let Workspace { gram, band, .. } = &mut *self.workspace;
        let dense = gram.take(ld * (n + 1));
        let band = Band::new(band.take(Band::len(n, width)), dense, (n, ld), width);
        let (diagonal, coupling) = band.tridiagonal(self.arch, Some(&mut chased));
        let (arch, workspace) = (self.arch, self.workspace);
        (diagonal, coupling, Reflections { arch, workspace, n, ld, width, triangles, chased })
    }

    /// The matrix by columns, [`leading`] apart.
    pub(super) fn entries(&mut self) -> &mut [f64] {
        self.workspace.gram.take(leading(self.padded) * (self.padded + 1))
    }

    /// Adds the filled part of the slab to the sum.
    pub(super) fn flush(&mut self) {
        if self.filled == 0 {
            return;
        }
        let ld = leading(self.padded);
        let Workspace { gram, slab, .. } = &mut *self.workspace;
        let entries = gram.take(ld * (self.padded + 1));
        let data = slab.take(self.padded.next_multiple_of(self.height) * SLAB);
        let factor = Panels { data, stride: SLAB * self.height, columns: self.filled };
        kernel::update_lower(self.arch, self.product, factor, self.padded, Lower { entries, ld });
        (self.filled, self.product) = (0, Product::Add);
    }
}

/// The eigenvalues, ascending, of the tridiagonal matrix that one with these invariants became.
pub(super) fn tested(
    arch: Arch,
    sums: &Invariants,
    diagonal: &[f64],
    coupling: &[f64],
) -> Result<Vec<f64>, Contradiction> {
    let n = diagonal.len();
    sums.agree(&Invariants::of_tridiagonal(diagonal, coupling), n)?;
    let eigenvalues = tridiagonal::eigenvalues(arch, diagonal, coupling);
    sums.agree(&Invariants::of_eigenvalues(&eigenvalues), n)?;
    audit::counts(diagonal, coupling, 0, &eigenvalues)?;
    Ok(eigenvalues)
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::{machines, noise};
    use super::*;

    /// The lower triangle that was summed, against one dot product an entry.
    fn check(arch: Arch, gram: &mut Gram, side: usize, entry: impl Fn(usize, usize) -> f64, long: usize) {
        gram.flush();
        let (padded, ld) = (gram.padded, leading(gram.padded));
        let sums = gram.entries();
        for j in 0..padded {
            for i in j..padded {
                let inside = i < side && j < side;
                let expected: f64 =
                    if inside { (0..long).map(|l| entry(l, i) * entry(l, j)).sum() } else { 0.0 };
                let miss = (sums[j * ld + i] - expected).abs();
                assert!(miss < 1e-12 * long as f64, "{arch:?} {side} ({i}, {j}): off by {miss:e}");
            }
        }
    }

    #[test]
    fn the_gram_matrix_of_any_shape_equals_the_naive_one_on_every_machine() {
        for arch in machines() {
            for (side, long) in [(1, 1), (5, 300), (24, 256), (50, 513), (67, 70)] {
                let entries: Vec<f64> = noise(3).take(side * long).collect();
                let tall = Matrix::from_f64(long, side, &entries).expect("sizes agree");
                check(arch, &mut Gram::of(arch, &tall), side, |l, i| entries[l * side + i], long);
                let wide = Matrix::from_f64(side, long, &entries).expect("sizes agree");
                check(arch, &mut Gram::of(arch, &wide), side, |l, i| entries[i * long + l], long);
            }
        }
    }

    #[test]
    fn what_a_workspace_held_before_is_never_read() {
        let (side, long) = (70, 300);
        let entries: Vec<f64> = noise(3).take(side * long).collect();
        for arch in machines() {
            let spectrum = |entries: &[f64]| {
                Gram::of(arch, &Matrix::from_f64(long, side, entries).expect("sizes agree"))
                    .eigenvalues()
                    .expect("sound")
            };
            let before = spectrum(&entries);
            assert!(spectrum(&vec![f64::NAN; side * long]).iter().all(|x| x.is_nan()));
            assert_eq!(spectrum(&entries), before, "{arch:?}");
        }
    }
}
