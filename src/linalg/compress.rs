//! A tridiagonal matrix and a thin symmetric one, added, become a band matrix of the same eigenvalues.
//!
//! `T + Y·J·Yᵀ`, where `J` exchanges the two halves of `Y`'s `p` columns, is turned into a band matrix little wider than
//! `p`, with `Y` zero below its first `p + 1` rows. Rows are taken in from the bottom, [`TAKEN`] at a time. Reflections of
//! [`TALL`] rows make the part of `Y` that has been taken in triangular again, and leave a band that is `TAKEN` too wide;
//! one more for each column further down takes that away. Both cost about `4·n²·p` operations, where a reduction from the
//! start costs `n³`.

use pulp::{Arch, Simd, WithSimd};

use super::bulge::{Sweep, begin, diagonal, turn_columns, turn_rows};
use super::chase::Band;
use super::factors::Basis;
use super::inverse::Tridiagonal;
use super::reflections::{ACROSS, Reflections, reflect, swept_back};

/// Rows of a reflection.
const TALL: usize = 8;
/// Rows that are taken in together.
const TAKEN: usize = TALL - 1;

/// A side shorter than this many bands is reduced as fast from the start, as measured.
const BANDS: usize = 50;

/// Widths of a band that the last stage, the chase, takes on some machine.
const WIDTHS: [usize; 6] = [16, 24, 32, 48, 64, 96];

/// The width that the chase takes a band of, for `Y` of twice `rank` columns; none where it is too wide for this machine.
pub(super) fn width(arch: Arch, rank: usize) -> Option<usize> {
    WIDTHS.into_iter().find(|width| wide(2 * rank) <= *width && Band::takes(arch, *width))
}

/// [`width()`] on this machine, where a reduction of its own takes longer for a matrix of this side.
pub(super) fn affordable(side: usize, rank: usize) -> Option<usize> {
    width(Arch::new(), rank).filter(|width| BANDS * width <= side)
}

/// The band's own width: the first row that `Y` has after `p + 1` others is free, in whole vectors.
fn wide(columns: usize) -> usize {
    (columns + 1).next_multiple_of(TALL)
}

/// The tridiagonal matrix that `T + Y·J·Yᵀ` has become, and the way back.
pub(super) struct Compressed {
    arch: Arch,
    /// As long as `T`, and a few zeros more.
    pub(super) tridiagonal: Tridiagonal,
    growing: Growing,
    /// What the band became by.
    width: usize,
    chased: Vec<f64>,
}

impl Compressed {
    /// Of `T` and a `Y` of as many rows; `width` as [`width()`] gives it.
    pub(super) fn of(arch: Arch, t: &Tridiagonal, y: &Basis, width: usize) -> Self {
        let mut growing = Growing::new(t, y);
        arch.dispatch(Compress(&mut growing));
        growing.close();
        let (side, wide, ld) = (growing.side, growing.wide, growing.ld);
        let mut chased = vec![0.0; Reflections::len(side, width)];
        let mut band = vec![0.0; Band::len(side, width)];
        let column = |j: usize| &growing.entries[(wide + j) * ld..][..=wide];
        let band = Band::of_columns(&mut band, side, width, column);
        let (diagonal, coupling) = band.tridiagonal(arch, Some(&mut chased));
        growing.entries = vec![];
        Self { arch, tridiagonal: Tridiagonal { diagonal, coupling }, growing, width, chased }
    }

    /// Vectors of the tridiagonal matrix as those of `T + Y·J·Yᵀ`.
    pub(super) fn back(&self, vectors: &Basis) -> Basis {
        let Growing { before, taken, side, .. } = self.growing;
        let mut moved = Basis::empty(taken - before);
        let columns: Vec<&[f64]> = vectors.columns().collect();
        for columns in columns.chunks(ACROSS) {
            let mut block = Basis::empty(side);
            columns.iter().for_each(|column| block.push(column));
            let mut x = block.interleaved(ACROSS);
            // The last reflections reach beyond the end, over zeros.
            x.resize((side + self.width.max(TALL)) * ACROSS, 0.0);
            swept_back(self.arch, (side, self.width), &self.chased, &mut x);
            self.arch.dispatch(Back { of: &self.growing, x: &mut x });
            moved.extend(&Basis::separated(&x[before * ACROSS..taken * ACROSS], ACROSS, columns.len()));
        }
        moved
    }
}

/// The band, taken in row by row.
struct Growing {
    /// By columns, entry `(i, j)` of the lower triangle at `(wide + j)·ld + i − j`: `wide` columns of zeros come first.
    entries: Vec<f64>,
    ld: usize,
    wide: usize,
    /// Rows of zeros before those of `T`, all rows that are taken in, and all rows.
    before: usize,
    taken: usize,
    side: usize,
    /// `Y`, row-major, and how many columns it has.
    y: Vec<f64>,
    columns: usize,
    /// What it has become in the rows that were taken in last.
    top: Vec<f64>,
    /// All reflections, in order, [`TALL`] entries each.
    kept: Vec<f64>,
}

impl Growing {
    fn new(t: &Tridiagonal, y: &Basis) -> Self {
        let (n, columns) = (t.side(), y.count());
        let wide = wide(columns);
        let before = n.next_multiple_of(TAKEN) - n;
        let taken = before + n;
        let (side, ld) = (taken + columns + 1, wide + TALL + 1);
        let mut entries = vec![0.0; (wide + side + TALL) * ld];
        for (j, column) in entries[(wide + before) * ld..].chunks_exact_mut(ld).take(n).enumerate() {
            column[0] = t.diagonal[j];
            column[1] = t.coupling.get(j).copied().unwrap_or(0.0);
        }
        let top = vec![0.0; (TAKEN + columns + 1) * columns];
        let count = |first: usize| columns + side.saturating_sub(first + wide);
        let kept = Vec::with_capacity((0..taken).step_by(TAKEN).map(count).sum::<usize>() * TALL);
        Self { entries, ld, wide, before, taken, side, y: y.interleaved(columns), columns, top, kept }
    }

    /// Puts the rows of `Y` from `first` on above those that were taken in before.
    fn take(&mut self, first: usize) {
        let columns = self.columns;
        let fresh = TAKEN * columns;
        self.top.copy_within(..(columns + 1) * columns, fresh);
        for (i, row) in self.top[..fresh].chunks_exact_mut(columns).enumerate() {
            match (first + i).checked_sub(self.before) {
                Some(i) => row.copy_from_slice(&self.y[i * columns..(i + 1) * columns]),
                None => row.fill(0.0),
            }
        }
    }

    /// Writes a reflection down.
    #[inline(always)]
    fn keep<S: Simd, const V: usize>(&mut self, sweep: &Sweep<S, V>) {
        let mut v = [0.0; TALL];
        sweep.write(&mut v);
        self.kept.extend_from_slice(&v);
    }

    /// Adds what `Y·J·Yᵀ` has become to the first rows.
    fn close(&mut self) {
        let (columns, half) = (self.columns, self.columns / 2);
        let row = |i: usize| &self.top[i * columns..(i + 1) * columns];
        for j in 0..=columns {
            for i in j..=columns {
                let (a, b) = (row(i), row(j));
                let sum: f64 = (0..half).map(|m| a[m] * b[m + half] + a[m + half] * b[m]).sum();
                self.entries[(self.wide + j) * self.ld + i - j] += sum;
            }
        }
    }
}

struct Compress<'a>(&'a mut Growing);

impl WithSimd for Compress<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F64_LANES {
            8 => run::<S, 1>(simd, self.0),
            4 => run::<S, 2>(simd, self.0),
            2 => run::<S, 4>(simd, self.0),
            _ => run::<S, TALL>(simd, self.0),
        }
    }
}

#[inline(always)]
fn run<S: Simd, const V: usize>(simd: S, growing: &mut Growing) {
    let (ld, wide, columns) = (growing.ld, growing.wide, growing.columns);
    for first in (0..growing.taken).step_by(TAKEN).rev() {
        growing.take(first);
        // The first row is where the rows above are coupled, so it is left alone.
        for j in 1..=columns {
            let rows = &mut growing.top[j * columns..][..TALL * columns];
            let sweep = clear::<S, V>(simd, rows, columns, j - 1);
            turn::<S, V>(simd, &mut growing.entries[(first + j) * ld..], (ld, wide), &sweep);
            growing.keep(&sweep);
        }
        for row in first + wide..growing.side {
            let entries = &mut growing.entries[row * ld..];
            let mut column: [f64; TALL] = std::array::from_fn(|i| entries[wide + i]);
            let sweep = begin::<S, V>(simd, &mut column);
            turn::<S, V>(simd, entries, (ld, wide), &sweep);
            entries[wide..wide + TALL].copy_from_slice(&column);
            growing.keep(&sweep);
        }
    }
}

/// All reflections, the last one first, on a block of vectors.
struct Back<'a> {
    of: &'a Growing,
    x: &'a mut [f64],
}

impl WithSimd for Back<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F64_LANES {
            8 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            2 => self.run::<S, 8>(simd),
            _ => self.run::<S, ACROSS>(simd),
        }
    }
}

impl Back<'_> {
    #[inline(always)]
    fn run<S: Simd, const G: usize>(self, simd: S) {
        let Back { of: Growing { wide, taken, side, columns, kept, .. }, x } = self;
        let mut kept = kept.chunks_exact(TALL).rev();
        for first in (0..*taken).step_by(TAKEN) {
            let rows = (first + wide..*side).rev().chain((first + 1..=first + columns).rev());
            for (row, v) in rows.zip(&mut kept) {
                reflect::<S, G>(simd, v, &mut x[row * ACROSS..][..TALL * ACROSS]);
            }
        }
    }
}

/// The reflection that clears `column` of the rows below the first, applied to them.
#[inline(always)]
fn clear<S: Simd, const V: usize>(simd: S, rows: &mut [f64], columns: usize, column: usize) -> Sweep<S, V> {
    let mut x: [f64; TALL] = std::array::from_fn(|i| rows[i * columns + column]);
    let sweep = begin::<S, V>(simd, &mut x);
    let (mut v, mut along) = ([0.0; TALL], vec![0.0; columns]);
    sweep.write(&mut v);
    let tau = std::mem::replace(&mut v[0], 1.0);
    for (v, row) in v.iter().zip(rows.chunks_exact(columns)) {
        along.iter_mut().zip(row).for_each(|(sum, x)| *sum += v * x);
    }
    for (v, row) in v.iter().zip(rows.chunks_exact_mut(columns)) {
        row.iter_mut().zip(&along).for_each(|(x, sum)| *x -= tau * v * sum);
    }
    for (i, x) in x.iter().enumerate() {
        rows[i * columns + column] = *x;
    }
    sweep
}

/// A reflection of [`TALL`] rows from both sides; `entries` begin with the column that is `wide` before them.
#[inline(always)]
fn turn<S: Simd, const V: usize>(
    simd: S,
    entries: &mut [f64],
    (ld, wide): (usize, usize),
    sweep: &Sweep<S, V>,
) {
    if sweep.is_identity() {
        return;
    }
    // Seen from the first row of the reflection, every column begins at that row.
    let seen = &mut entries[wide..][..(wide + TALL) * (ld - 1)];
    let stride = (ld - 1) / S::F64_LANES;
    let (before, own) = S::as_mut_simd_f64s(seen).0.split_at_mut(wide * stride);
    turn_rows::<S, V>(simd, before, stride, sweep);
    diagonal::<S, V>(simd, own, stride, sweep);
    turn_columns::<S, V>(simd, own, stride, sweep);
}

#[cfg(test)]
mod tests {
    use faer::{Mat, Side};

    use super::super::kernel::tests::{machines, noise};
    use super::super::vector::dot;
    use super::*;

    /// Eigenvalues of the sum, entry by entry.
    fn naive(t: &Tridiagonal, y: &Basis) -> Vec<f64> {
        let (n, half) = (t.side(), y.count() / 2);
        let entry = |i: usize, j: usize| {
            let thin: f64 = (0..half)
                .map(|m| {
                    let (a, b) = (y.column(m), y.column(m + half));
                    a[i] * b[j] + b[i] * a[j]
                })
                .sum();
            thin + match i - j {
                0 => t.diagonal[i],
                1 => t.coupling[j],
                _ => 0.0,
            }
        };
        let matrix = Mat::from_fn(n, n, |i, j| entry(i.max(j), i.min(j)));
        matrix.self_adjoint_eigenvalues(Side::Lower).expect("converges")
    }

    fn eigenvalues(arch: Arch, compressed: &Compressed) -> Vec<f64> {
        let Tridiagonal { diagonal, coupling } = &compressed.tridiagonal;
        super::super::tridiagonal::eigenvalues(arch, diagonal, coupling)
    }

    #[test]
    fn a_thin_sum_keeps_its_eigenvalues_on_every_machine() {
        for (n, rank) in [(1, 1), (7, 2), (20, 8), (50, 5), (64, 12), (75, 16), (100, 16), (90, 24)] {
            let t = Tridiagonal {
                diagonal: noise(n as u64).take(n).collect(),
                coupling: noise(2).take(n - 1).collect(),
            };
            for arch in machines() {
                let Some(width) = width(arch, rank) else { continue };
                let mut y = Basis::empty(n);
                (0..2 * rank as u64).for_each(|j| y.push(&noise(j + 9).take(n).collect::<Vec<_>>()));
                let compressed = Compressed::of(arch, &t, &y, width);
                let found = eigenvalues(arch, &compressed);
                let mut expected = naive(&t, &y);
                expected.resize(found.len(), 0.0);
                expected.sort_by(f64::total_cmp);
                let size = expected.iter().fold(0.0f64, |size, x| size.max(x.abs()));
                for (found, expected) in found.iter().zip(&expected) {
                    let miss = (found - expected).abs() / size;
                    assert!(miss < 1e-14 * (n as f64 + 8.0), "{arch:?} {n}, {rank}: off by {miss:e}");
                }
                // (T + Y·J·Yᵀ)·P = P·(what it has become), seen on a few vectors.
                let mut inside = Basis::empty(found.len());
                (0..18).for_each(|j| inside.push(&noise(j).take(found.len()).collect::<Vec<_>>()));
                let mut turned = Basis::empty(found.len());
                inside.columns().for_each(|x| turned.push(&compressed.tridiagonal.times(x)));
                let (back, turned) = (compressed.back(&inside), compressed.back(&turned));
                for (x, expected) in back.columns().zip(turned.columns()) {
                    let mut image = t.times(x);
                    for m in 0..2 * rank {
                        let along = dot(y.column((m + rank) % (2 * rank)), x);
                        image.iter_mut().zip(y.column(m)).for_each(|(image, y)| *image += along * y);
                    }
                    for (image, expected) in image.iter().zip(expected) {
                        let miss = (image - expected).abs() / size;
                        assert!(
                            miss < 1e-14 * (n as f64 + 8.0),
                            "{arch:?} {n}, {rank}: back is off by {miss:e}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_added_leaves_the_eigenvalues() {
        let t = Tridiagonal { diagonal: vec![2.0; 40], coupling: vec![-1.0; 39] };
        for arch in machines() {
            let mut found = eigenvalues(arch, &Compressed::of(arch, &t, &Basis::zero(40, 6), 16));
            found.retain(|x| x.abs() > 1e-9);
            for (k, found) in found.iter().enumerate() {
                let expected = 2.0 - 2.0 * ((k + 1) as f64 * std::f64::consts::PI / 41.0).cos();
                assert!((found - expected).abs() < 1e-13, "{arch:?}: {found}, not {expected}");
            }
        }
    }
}
