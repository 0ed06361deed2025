//! A symmetric band matrix becomes a tridiagonal one of the same eigenvalues, by chasing bulges off its end.
//!
//! One sweep clears a column below its first subdiagonal with a reflection of `b` rows. Applied from both sides it
//! fills in a triangle `b` rows further down, whose first column the next reflection clears, and so on to the end: the
//! matrix keeps its band plus one moving bulge. All blocks are `b × b`, so a column is a few vectors. Sweeps follow
//! each other at a distance of one block, several in a group, so that a block is worked on many times while it is in
//! the cache. Lang, Parallel Computing 25 (1999).

use pulp::{Arch, Simd, WithSimd};

use super::band::WIDEST;
use super::bulge::{Sweep, begin, below, diagonal};

/// Sweeps that travel together.
const GROUP: usize = 8;

/// Numbers of vectors in a column of a block that [`Chase`] is compiled for.
const VECTORS: [usize; 8] = [2, 3, 4, 6, 8, 12, 16, WIDEST];

/// A symmetric band matrix by columns: entry `(i, j)` of the lower triangle at `j·ld + i − j`, with room for a bulge.
pub(super) struct Band<'a> {
    entries: &'a mut [f64],
    side: usize,
    width: usize,
    ld: usize,
}

impl<'a> Band<'a> {
    /// How many doubles a band of this size takes.
    pub(super) fn len(side: usize, width: usize) -> usize {
        (side + 4 * width) * Self::leading(width)
    }

    /// Whether a band of this width can be chased on this machine.
    pub(super) fn takes(arch: Arch, width: usize) -> bool {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F64_LANES
            }
        }
        let lanes = arch.dispatch(Lanes);
        width.is_multiple_of(lanes) && VECTORS.contains(&(width / lanes))
    }

    /// Odd multiples of a vector and one more: the columns of a block, each one row lower, are aligned alike.
    fn leading(width: usize) -> usize {
        2 * width + 9
    }

    /// Takes the band out of a dense lower triangle whose columns lie `ld` apart.
    pub(super) fn new(
        entries: &'a mut [f64],
        dense: &[f64],
        (side, ld): (usize, usize),
        width: usize,
    ) -> Self {
        Self::of_columns(entries, side, width, |j| &dense[j * ld + j..][..=width.min(side - j - 1)])
    }

    /// The band whose column `j`, from the diagonal down, begins with `column(j)` and has zeros below.
    pub(super) fn of_columns<'b>(
        entries: &'a mut [f64],
        side: usize,
        width: usize,
        column: impl Fn(usize) -> &'b [f64],
    ) -> Self {
        entries.fill(0.0);
        let ld = Self::leading(width);
        for j in 0..side {
            let column = column(j);
            entries[j * ld..][..column.len()].copy_from_slice(column);
        }
        Self { entries, side, width, ld }
    }

    /// Reduces to diagonal and subdiagonal; writes the reflections down, [`reflections`] times the width, if they are to
    /// be `kept`.
    pub(super) fn tridiagonal(self, arch: Arch, kept: Option<&mut [f64]>) -> (Vec<f64>, Vec<f64>) {
        let (side, ld) = (self.side, self.ld);
        let entries = arch.dispatch(Chase { band: self, kept });
        let diagonal = (0..side).map(|j| entries[j * ld]).collect();
        let subdiagonal = (1..side).map(|j| entries[(j - 1) * ld + 1]).collect();
        (diagonal, subdiagonal)
    }
}

/// How many reflections the sweep takes that clears `column`: each begins a block below the one before.
pub(super) fn reflections(side: usize, width: usize, column: usize) -> usize {
    side.saturating_sub(column + 2).div_ceil(width)
}

struct Chase<'a> {
    band: Band<'a>,
    kept: Option<&'a mut [f64]>,
}

impl<'a> WithSimd for Chase<'a> {
    type Output = &'a mut [f64];
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> &'a mut [f64] {
        match (self.band.width / S::F64_LANES, self.band.width % S::F64_LANES) {
            (2, 0) => run::<S, 2>(simd, self.band, self.kept),
            (3, 0) => run::<S, 3>(simd, self.band, self.kept),
            (4, 0) => run::<S, 4>(simd, self.band, self.kept),
            (6, 0) => run::<S, 6>(simd, self.band, self.kept),
            (8, 0) => run::<S, 8>(simd, self.band, self.kept),
            (12, 0) => run::<S, 12>(simd, self.band, self.kept),
            (16, 0) => run::<S, 16>(simd, self.band, self.kept),
            _ => run::<S, WIDEST>(simd, self.band, self.kept),
        }
    }
}

#[inline(always)]
fn run<'a, S: Simd, const V: usize>(simd: S, band: Band<'a>, mut kept: Option<&mut [f64]>) -> &'a mut [f64] {
    let Band { entries, side, width, ld } = band;
    let columns = side.saturating_sub(2);
    let stride = (ld - 1) / S::F64_LANES;
    // Reflections of the sweeps before this group.
    let mut before = 0;
    for first in (0..columns).step_by(GROUP) {
        let sweeps = GROUP.min(columns - first);
        let mut places = [before; GROUP];
        for g in 0..sweeps {
            places[g] = before;
            before += reflections(side, width, first + g);
        }
        let mut group = [Sweep::<S, V>::none(simd); GROUP];
        // At tick t the g-th sweep is at its block t − g; the first one has the farthest to go.
        let ticks = (side - first).div_ceil(width) + sweeps;
        for tick in 0..ticks {
            for (g, sweep) in group.iter_mut().enumerate().take(sweeps.min(tick + 1)) {
                let (column, block) = (first + g, tick - g);
                let start = column + 1 + block * width;
                if start + 1 >= side {
                    continue;
                }
                if block == 0 {
                    *sweep = begin::<S, V>(simd, &mut entries[column * ld + 1..][..width]);
                }
                if let Some(kept) = &mut kept {
                    sweep.write(&mut kept[(places[g] + block) * width..][..width]);
                }
                let block = S::as_mut_simd_f64s(&mut entries[start * ld..][..width * (ld - 1)]).0;
                diagonal::<S, V>(simd, block, stride, sweep);
                *sweep = below::<S, V>(simd, block, stride, sweep);
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::super::band::tests::jacobi;
    use super::super::kernel::tests::{machines, noise};
    use super::*;

    #[test]
    fn the_tridiagonal_matrix_has_the_eigenvalues_of_the_band_on_every_machine() {
        for (side, width) in [(1, 16), (2, 16), (3, 16), (16, 16), (40, 16), (72, 24), (97, 24)] {
            let inside = |i: usize, j: usize| i.abs_diff(j) <= width;
            let dense: Vec<f64> = noise(side as u64)
                .take(side * side)
                .enumerate()
                .map(|(at, x)| if inside(at % side, at / side) { x } else { 0.0 })
                .collect();
            let expected = jacobi(&dense, side);
            for arch in machines() {
                let mut buffer = vec![f64::NAN; Band::len(side, width)];
                let band = Band::new(&mut buffer, &dense, (side, side), width);
                let (diagonal, subdiagonal) = band.tridiagonal(arch, None);
                let mut made = vec![0.0; side * side];
                for i in 0..side {
                    made[i * side + i] = diagonal[i];
                    if i + 1 < side {
                        made[i * side + i + 1] = subdiagonal[i];
                    }
                }
                for (found, expected) in jacobi(&made, side).iter().zip(&expected) {
                    let miss = (found - expected).abs();
                    assert!(miss < 1e-13 * side as f64, "{arch:?} {side}, {width}: off by {miss:e}");
                }
            }
        }
    }
}
