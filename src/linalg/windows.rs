//! The spectra of many overlapping windows of one matrix, which share most of their products.
//!
//! The Gram matrix of a set of rows over all columns holds the Gram matrix of every window of these rows as a principal
//! block, so one product serves all windows side by side. Of it only a band is formed: no window is wider. Windows one
//! below the other share rows: what all of a set have in common is summed once, then each half of the set goes on from
//! a copy of that sum with what only its own windows share, and so on down to one window. Sums of squares are only ever
//! added to, never subtracted from, so a window's spectrum is as accurate as if it were alone. What is left is the work
//! of the eigenvalues. (With rows and columns exchanged where that is cheaper.)
//!
//! Memory: a band of the sums for each halving, of `8·extent·window` bytes, and [`TOGETHER`] windows being reduced.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::cost::eigenvalue_cost;
use super::exact;
use super::gram::Gram;
use super::kernel::{self, BAND_SLACK, Lower, Panels, Product};
use super::window_grid::{WindowGrid, halving};
use super::workspace::Buffer;
use super::{Cost, cost};
use crate::error::Error;
use crate::matrix::{Dtype, Matrix};
use crate::spectrum::{Route, Spectrum};

/// Windows whose eigenvalues are sought at the same time. A constant, so that memory does not depend on the threads.
const TOGETHER: usize = 4;
/// Rows or columns summed at once.
const SLAB: usize = 256;

/// A grid of windows of one shape, all inside the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// Where they lie among the rows.
    pub rows: WindowGrid,
    /// Where they lie among the columns.
    pub cols: WindowGrid,
}

/// The side of the matrix that the Gram matrix is formed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Rows,
    Cols,
}

impl Windows {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows.starts.len() * self.cols.starts.len()
    }

    /// The spectra of all windows of a finite matrix, row by row.
    ///
    /// # Errors
    /// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not.
    pub fn spectra(&self, matrix: &Matrix, route: Route) -> Result<Vec<Spectrum>, Error> {
        match route {
            Route::Direct => self.one_by_one(matrix),
            Route::Gram => match self.shared(Arch::new(), matrix) {
                // Squares may leave the range of a double where the singular values do not.
                Err(Error::Overflow(_)) => self.one_by_one(matrix),
                found => found,
            },
        }
    }

    /// The cost of the spectra of all windows, without the matrix.
    pub fn cost(&self, read_as: Dtype, route: Route) -> Cost {
        let windows = self.count() as f64;
        let spectra = 8 * (self.count() * self.rows.length.min(self.cols.length)) as u64;
        match route {
            Route::Direct => {
                let one = cost(self.rows.length, self.cols.length, read_as, route);
                Cost { flops: windows * one.flops, bytes: spectra + TOGETHER as u64 * one.bytes }
            }
            Route::Gram => {
                let plan = self.plan();
                let one = eigenvalue_cost(plan.reach);
                let sums = plan.levels * plan.band() + plan.padded * SLAB;
                Cost {
                    flops: windows * one.flops + plan.products(),
                    bytes: spectra + 8 * sums as u64 + TOGETHER as u64 * one.bytes,
                }
            }
        }
    }

    /// Every window on its own, exactly.
    fn one_by_one(&self, matrix: &Matrix) -> Result<Vec<Spectrum>, Error> {
        let corners: Vec<(usize, usize)> =
            self.rows.starts.iter().flat_map(|r| self.cols.starts.iter().map(move |c| (*r, *c))).collect();
        let mut spectra = vec![];
        for together in corners.chunks(TOGETHER) {
            let found = together.par_iter().map(|corner| exact::singular_values(&self.cut(matrix, *corner)?));
            spectra.extend(found.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(spectra)
    }

    /// A copy of the window at a corner.
    fn cut(&self, matrix: &Matrix, (top, left): (usize, usize)) -> Result<Matrix, Error> {
        let (rows, cols, size) = (self.rows.length, self.cols.length, matrix.dtype().size());
        let row = |r: usize| &matrix.bytes()[((top + r) * matrix.cols() + left) * size..][..cols * size];
        let bytes = (0..rows).flat_map(row).copied().collect();
        Matrix::new(rows, cols, matrix.dtype(), bytes)
    }

    /// All windows by shared sums.
    fn shared(&self, arch: Arch, matrix: &Matrix) -> Result<Vec<Spectrum>, Error> {
        let plan = self.plan();
        let mut run = Run {
            arch,
            windows: self,
            matrix,
            height: kernel::height(arch),
            slab: Buffer::default(),
            spectra: Vec::with_capacity(self.count()),
            plan,
        };
        let mut sums: Vec<Buffer> = (0..run.plan.levels).map(|_| Buffer::default()).collect();
        let all = 0..run.plan.along.starts.len();
        run.halve(all, 0..0, &mut sums)?;
        let found = run.spectra;
        if run.plan.over == Over::Cols {
            return Ok(found);
        }
        let (rows, cols) = (self.rows.starts.len(), self.cols.starts.len());
        Ok((0..rows * cols).map(|i| found[i % cols * rows + i / cols].clone()).collect())
    }

    /// The cheaper way among those whose Gram matrix is as small as the window's short side.
    fn plan(&self) -> Plan<'_> {
        let over_cols = || Plan::new(Over::Cols, &self.rows, &self.cols);
        let over_rows = || Plan::new(Over::Rows, &self.cols, &self.rows);
        match self.cols.length.cmp(&self.rows.length) {
            std::cmp::Ordering::Less => over_cols(),
            std::cmp::Ordering::Greater => over_rows(),
            std::cmp::Ordering::Equal => {
                let (cols, rows) = (over_cols(), over_rows());
                if rows.products() < cols.products() { rows } else { cols }
            }
        }
    }
}

/// How the sums are shared.
struct Plan<'a> {
    over: Over,
    /// The windows along the side that is summed over.
    along: &'a WindowGrid,
    /// Stored ranges of the other side, and where its windows start once these are moved together.
    ranges: Vec<Range<usize>>,
    starts: Vec<usize>,
    /// Length of that side, and the same rounded up for the product.
    extent: usize,
    padded: usize,
    /// Width of the band: a window's width.
    reach: usize,
    /// Rows (or columns) added to sums, and sums in memory at the same time.
    summed: usize,
    levels: usize,
}

impl<'a> Plan<'a> {
    fn new(over: Over, along: &'a WindowGrid, across: &WindowGrid) -> Self {
        let (starts, extent) = across.packed();
        let (summed, levels) = halving(along, &(0..along.starts.len()), &(0..0));
        Self {
            over,
            along,
            ranges: across.ranges(),
            starts,
            extent,
            padded: extent.next_multiple_of(8),
            reach: across.length,
            summed,
            levels,
        }
    }

    /// Distance between the diagonal entries of a band.
    fn leading(&self) -> usize {
        self.reach + BAND_SLACK
    }

    /// Doubles of a band.
    fn band(&self) -> usize {
        self.padded * self.leading()
    }

    /// Operations of the products.
    fn products(&self) -> f64 {
        let (extent, reach) = (self.extent as f64, self.reach as f64);
        2.0 * self.summed as f64 * (extent * reach - 0.5 * reach * reach)
    }
}

/// A matrix on its way to the spectra of its windows.
struct Run<'a> {
    arch: Arch,
    windows: &'a Windows,
    matrix: &'a Matrix,
    plan: Plan<'a>,
    height: usize,
    slab: Buffer,
    spectra: Vec<Spectrum>,
}

impl Run<'_> {
    /// The spectra of `windows`, where the first of `sums` holds the sum over `done`.
    fn halve(&mut self, windows: Range<usize>, done: Range<usize>, sums: &mut [Buffer]) -> Result<(), Error> {
        let common = self.plan.along.common(&windows);
        let Some((sum, rest)) = sums.split_first_mut() else { return Ok(()) };
        let sum = sum.take(self.plan.band());
        if done.is_empty() {
            self.add(common.clone(), Product::Replace, sum);
        } else {
            self.add(common.start..done.start, Product::Add, sum);
            self.add(done.end..common.end, Product::Add, sum);
        }
        if windows.len() == 1 {
            return self.solve(sum);
        }
        let middle = windows.start.midpoint(windows.end);
        if common.is_empty() {
            self.halve(windows.start..middle, 0..0, sums)?;
            return self.halve(middle..windows.end, 0..0, sums);
        }
        if let Some(copy) = rest.first_mut() {
            copy.take(sum.len()).copy_from_slice(sum);
        }
        self.halve(windows.start..middle, common.clone(), rest)?;
        self.halve(middle..windows.end, common, sums)
    }

    /// Adds the products of `range` of the long side.
    fn add(&mut self, range: Range<usize>, mut product: Product, sum: &mut [f64]) {
        for first in range.clone().step_by(SLAB) {
            let length = SLAB.min(range.end - first);
            self.pack(first, length);
            let stride = SLAB * self.height;
            let data = self.slab.take(self.plan.padded.next_multiple_of(self.height) * SLAB);
            let (n, ld) = (self.plan.padded, self.plan.leading());
            let factor = Panels { data, stride, columns: length };
            kernel::update_band(
                self.arch,
                product,
                factor,
                (n, self.plan.reach),
                Lower { entries: &mut *sum, ld },
            );
            product = Product::Add;
        }
    }

    /// Widens `length` rows (or columns) from `first` on into panels.
    fn pack(&mut self, first: usize, length: usize) {
        let (height, cols) = (self.height, self.matrix.cols());
        let slab = self.slab.take(self.plan.padded.next_multiple_of(height) * SLAB);
        match self.plan.over {
            Over::Cols => {
                let mut row = vec![0.0; self.plan.padded];
                for l in 0..length {
                    let mut at = 0;
                    for range in &self.plan.ranges {
                        let start = (first + l) * cols;
                        let entries = &mut row[at..at + range.len()];
                        self.matrix.widen(start + range.start..start + range.end, entries);
                        at += range.len();
                    }
                    for (panel, entries) in slab.chunks_exact_mut(SLAB * height).zip(row.chunks(height)) {
                        panel[l * height..][..entries.len()].copy_from_slice(entries);
                    }
                }
            }
            Over::Rows => {
                let mut entries = [0.0; SLAB];
                for (i, r) in self.plan.ranges.iter().cloned().flatten().enumerate() {
                    let start = r * cols + first;
                    self.matrix.widen(start..start + length, &mut entries[..length]);
                    let panel = &mut slab[i / height * SLAB * height + i % height..];
                    for (l, entry) in entries[..length].iter().enumerate() {
                        panel[l * height] = *entry;
                    }
                }
            }
        }
    }

    /// The spectra of the windows side by side in one sum.
    fn solve(&mut self, sum: &[f64]) -> Result<(), Error> {
        let (side, ld) = (self.plan.reach, self.plan.leading());
        let (rows, cols) = (self.windows.rows.length, self.windows.cols.length);
        for together in self.plan.starts.chunks(TOGETHER) {
            let found = together.par_iter().map(|start| {
                let column = |j: usize| &sum[(start + j) * ld..][..side - j];
                super::spectrum(Gram::summed(self.arch, side, column), rows, cols)
            });
            self.spectra.extend(found.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::{machines, noise};
    use super::super::singular_values;
    use super::*;

    fn places(length: usize, starts: &[usize]) -> WindowGrid {
        WindowGrid { length, starts: starts.to_vec() }
    }

    /// Every window against its own decomposition: to 1e-8 of its largest value.
    #[track_caller]
    fn check(shape: (usize, usize), rows: WindowGrid, cols: WindowGrid, entry: impl Fn(usize) -> f64) {
        let bytes = (0..shape.0 * shape.1).flat_map(|i| (entry(i) as f32).to_le_bytes()).collect();
        let matrix = Matrix::new(shape.0, shape.1, Dtype::F32, bytes).expect("sizes agree");
        let windows = Windows { rows, cols };
        let alone = windows.one_by_one(&matrix).expect("converges");
        for arch in machines() {
            let shared = windows.shared(arch, &matrix).expect("converges");
            assert_eq!(shared.len(), windows.count());
            for (i, (shared, alone)) in shared.iter().zip(&alone).enumerate() {
                for (found, expected) in shared.values().iter().zip(alone.values()) {
                    let miss = (found - expected).abs() / alone.largest();
                    assert!(miss < 1e-8, "{arch:?} {windows:?}, window {i}: {found:e} is not {expected:e}");
                }
            }
        }
    }

    fn check_noise(shape: (usize, usize), rows: WindowGrid, cols: WindowGrid) {
        let entries: Vec<f64> = noise(shape.0 as u64).take(shape.0 * shape.1).collect();
        check(shape, rows, cols, |i| entries[i]);
    }

    #[test]
    fn shared_sums_give_every_window_its_own_spectrum() {
        // Overlapping both ways, wide and tall, more in one direction than in the other.
        check_noise((150, 97), places(60, &[0, 22, 44, 66, 88]), places(60, &[0, 9, 18, 27, 36]));
        check_noise((90, 400), places(50, &[0, 20, 40]), places(50, &[0, 87, 174, 261, 348]));
        check_noise((400, 90), places(50, &[0, 87, 174, 261, 348]), places(50, &[0, 20, 40]));
        // Windows that are not square.
        check_noise((90, 120), places(30, &[0, 15, 30, 45, 60]), places(60, &[0, 20, 40, 60]));
        check_noise((120, 90), places(70, &[0, 10, 20, 30]), places(21, &[0, 17, 34, 51, 68]));
        // The whole of one side, the whole of both, a single row.
        check_noise((64, 300), places(64, &[0]), places(64, &[0, 59, 118, 177, 236]));
        check_noise((70, 70), places(70, &[0]), places(70, &[0]));
        check_noise((9, 40), places(1, &[0, 4, 8]), places(1, &[0, 1, 2, 30]));
        // Slabs that are filled more than once.
        check_noise((900, 80), places(600, &[0, 100, 200, 300]), places(40, &[0, 13, 26, 39]));
    }

    #[test]
    fn heavy_tails_keep_their_accuracy() {
        let entries: Vec<f64> = noise(3).take(140 * 140).collect();
        let starts = [0, 20, 40, 60];
        check((140, 140), places(80, &starts), places(80, &starts), |i| {
            entries[i] / (1 + i % 140) as f64 * if i == 5 { 300.0 } else { 1.0 }
        });
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit_of_any_window() {
        let bytes = noise(2).take(700 * 640).flat_map(|x| (x as f32).to_le_bytes()).collect();
        let matrix = Matrix::new(700, 640, Dtype::F32, bytes).expect("sizes agree");
        let windows = Windows { rows: places(300, &[0, 130, 260, 390]), cols: places(300, &[0, 150, 300]) };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| windows.spectra(&matrix, Route::Gram)).expect("converges")
        };
        let one = run(1);
        assert_eq!((one.len(), &one), (12, &run(3)));
    }

    #[test]
    fn each_window_is_what_a_matrix_of_its_own_would_be() {
        let entries: Vec<f64> = noise(4).take(30 * 20).collect();
        let matrix = Matrix::from_f64(30, 20, &entries).expect("sizes agree");
        let windows = Windows { rows: places(12, &[0, 18]), cols: places(8, &[0, 12]) };
        let spectra = windows.spectra(&matrix, Route::Direct).expect("converges");
        let last = windows.cut(&matrix, (18, 12)).expect("inside");
        assert_eq!(spectra[3], singular_values(&last, Route::Direct).expect("converges"));
    }
}
