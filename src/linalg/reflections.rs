//! The way back from the tridiagonal matrix to the Gram matrix: `G = Q·T·Qᵀ`, with `Q` as the reflections that `band` and
//! `chase` made. A few vectors at a time go from one to the other and back; `Q` itself is never formed.
//!
//! `Q` is the product of the panels' `I − V·T·Vᵀ`, which lie where the matrix was, and of the sweeps' small reflections.
//! Reflections of one sweep meet no common row, and those of the next sweep come after the ones whose rows they share, so
//! they may be taken sweep by sweep, whatever order the chase made them in.

use pulp::{Arch, Simd, WithSimd};

use super::band::{Square, WIDEST};
use super::chase::reflections;
use super::factors::Basis;
use super::narrow::{Block, add_product};
use super::workspace::Lease;

/// Vectors taken together, row-major.
pub(super) const ACROSS: usize = 16;

/// `Q`.
pub(super) struct Reflections {
    pub(super) arch: Arch,
    /// Whose Gram matrix holds `V` of each panel below the band.
    pub(super) workspace: Lease,
    pub(super) n: usize,
    pub(super) ld: usize,
    pub(super) width: usize,
    pub(super) triangles: Vec<Square>,
    /// The reflections of all sweeps, `width` entries each.
    pub(super) chased: Vec<f64>,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `Qᵀx`.
    Forth,
    /// `Q·x`.
    Back,
}

impl Reflections {
    /// Entries of all sweeps' reflections.
    pub(super) fn len(n: usize, width: usize) -> usize {
        (0..n.saturating_sub(2)).map(|column| reflections(n, width, column) * width).sum()
    }

    /// `Qᵀ` times each column: from the Gram matrix's space to the tridiagonal one, which is a little longer.
    pub(super) fn forth(&self, vectors: &Basis) -> Basis {
        self.all(vectors, self.n, Way::Forth)
    }

    /// `Q` times each column, cut to `length` entries: those beyond are zero, as the padding of the Gram matrix.
    pub(super) fn back(&self, vectors: &Basis, length: usize) -> Basis {
        self.all(vectors, length, Way::Back)
    }

    fn all(&self, vectors: &Basis, length: usize, way: Way) -> Basis {
        let mut moved = Basis::empty(length);
        for first in (0..vectors.count()).step_by(ACROSS) {
            let last = vectors.count().min(first + ACROSS);
            let mut block = Basis::empty(vectors.length());
            (first..last).for_each(|j| block.push(vectors.column(j)));
            let mut x = block.interleaved(ACROSS);
            // The last reflection of a sweep reaches a block beyond the end, over zeros.
            x.resize((self.n + self.width) * ACROSS, 0.0);
            if way == Way::Forth {
                self.panels(&mut x, way);
            }
            let (size, chased) = ((self.n, self.width), &self.chased[..]);
            self.arch.dispatch(Sweeps { size, chased, x: &mut x, way });
            if way == Way::Back {
                self.panels(&mut x, way);
            }
            moved.extend(&Basis::separated(&x[..length * ACROSS], ACROSS, last - first));
        }
        moved
    }

    /// `x − V·T·Vᵀx` for one panel after the other, `T` transposed on the way forth.
    fn panels(&self, x: &mut [f64], way: Way) {
        let (n, ld, width) = (self.n, self.ld, self.width);
        let dense = self.workspace.gram.taken(ld * (n + 1));
        let count = self.triangles.len();
        for step in 0..count {
            let panel = if way == Way::Forth { step } else { count - 1 - step };
            let (first, below) = (panel * width, (panel + 1) * width);
            let entries = &dense[first * ld + below..];
            // The first rows of V share their place with the band.
            let mut head = [0.0; WIDEST * WIDEST];
            for j in 0..width {
                head[j * width + j] = 1.0;
                head[j * width + j + 1..(j + 1) * width]
                    .copy_from_slice(&entries[j * ld + j + 1..][..width - j - 1]);
            }
            let (top, bottom) = x[below * ACROSS..n * ACROSS].split_at_mut(width * ACROSS);
            let mut inner = [0.0; WIDEST * ACROSS];
            let inner = &mut inner[..width * ACROSS];
            let times = |block, v: &[f64], y: &mut [f64]| add_product(self.arch, block, v, y, ACROSS);
            times(Block { entries: &head, across: width, along: 1 }, top, inner);
            if !bottom.is_empty() {
                times(Block { entries: &entries[width..], across: ld, along: 1 }, bottom, inner);
            }
            let t = &self.triangles[panel];
            let mut scaled = [0.0; WIDEST * ACROSS];
            let scaled = &mut scaled[..width * ACROSS];
            let (across, along) = if way == Way::Forth { (1, width) } else { (width, 1) };
            times(Block { entries: t, across, along }, inner, scaled);
            scaled.iter_mut().for_each(|x| *x = -*x);
            times(Block { entries: &head, across: 1, along: width }, scaled, top);
            if !bottom.is_empty() {
                times(Block { entries: &entries[width..], across: 1, along: ld }, scaled, bottom);
            }
        }
    }
}

/// `Q·x` of the sweeps alone, for [`ACROSS`] vectors side by side.
pub(super) fn swept_back(arch: Arch, size: (usize, usize), chased: &[f64], x: &mut [f64]) {
    arch.dispatch(Sweeps { size, chased, x, way: Way::Back });
}

/// All sweeps on a block of vectors.
struct Sweeps<'a> {
    /// Side and width of the band.
    size: (usize, usize),
    chased: &'a [f64],
    x: &'a mut [f64],
    way: Way,
}

impl WithSimd for Sweeps<'_> {
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

impl Sweeps<'_> {
    #[inline(always)]
    fn run<S: Simd, const G: usize>(self, simd: S) {
        let Sweeps { size: (n, width), chased, x, way } = self;
        let count = n.saturating_sub(2);
        let mut place = if way == Way::Forth { 0 } else { chased.len() };
        for step in 0..count {
            let column = if way == Way::Forth { step } else { count - 1 - step };
            let length = reflections(n, width, column) * width;
            place -= if way == Way::Forth { 0 } else { length };
            let sweep = chased[place..place + length].chunks_exact(width);
            for (v, x) in sweep.zip(x[(column + 1) * ACROSS..].chunks_exact_mut(width * ACROSS)) {
                reflect::<S, G>(simd, v, x);
            }
            place += if way == Way::Forth { length } else { 0 };
        }
    }
}

/// `x − τ·v·vᵀx`; τ stands for the first entry of `v`, which is one.
#[inline(always)]
pub(super) fn reflect<S: Simd, const G: usize>(simd: S, v: &[f64], x: &mut [f64]) {
    let (x, _) = pulp::as_arrays_mut::<G, _>(S::as_mut_simd_f64s(x).0);
    let mut sum = [simd.splat_f64s(0.0); G];
    // Two sums, so that one row need not wait for the other.
    let mut other = x[0];
    for (rows, v) in x[1..].chunks(2).zip(v[1..].chunks(2)) {
        let factor = simd.splat_f64s(v[0]);
        for g in 0..G {
            sum[g] = simd.mul_add_e_f64s(rows[0][g], factor, sum[g]);
        }
        if let ([_, row], [_, v]) = (rows, v) {
            let factor = simd.splat_f64s(*v);
            for g in 0..G {
                other[g] = simd.mul_add_e_f64s(row[g], factor, other[g]);
            }
        }
    }
    let minus_tau = simd.splat_f64s(-v[0]);
    for g in 0..G {
        sum[g] = simd.mul_f64s(minus_tau, simd.add_f64s(sum[g], other[g]));
        x[0][g] = simd.add_f64s(x[0][g], sum[g]);
    }
    for (row, v) in x[1..].iter_mut().zip(&v[1..]) {
        let factor = simd.splat_f64s(*v);
        for g in 0..G {
            row[g] = simd.mul_add_e_f64s(sum[g], factor, row[g]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::tests::{machines, noise};
    use super::super::operator::Operator;
    use super::super::operator::tests::random;
    use super::*;

    #[test]
    fn the_tridiagonal_matrix_turned_back_is_the_gram_matrix_on_every_machine() {
        for (rows, cols) in [(3, 5), (20, 30), (72, 80), (1304, 40)] {
            let weight = random(rows, cols, 3);
            for arch in machines() {
                let mut gram = Operator::from(&weight).gram(arch);
                let unit = gram.scale().expect("not zero");
                let (diagonal, coupling, reflections) = gram.tridiagonal();
                let mut vectors = Basis::empty(rows);
                (0..18).for_each(|j| vectors.push(&noise(j).take(rows).collect::<Vec<_>>()));
                let inside = reflections.forth(&vectors);
                assert_eq!((inside.length(), inside.count()), (reflections.n, 18));
                let mut turned = Basis::empty(reflections.n);
                for x in inside.columns() {
                    let entry = |i: usize| {
                        let before = if i > 0 { coupling[i - 1] * x[i - 1] } else { 0.0 };
                        let after = if i + 1 < x.len() { coupling[i] * x[i + 1] } else { 0.0 };
                        before + diagonal[i] * x[i] + after
                    };
                    turned.push(&(0..x.len()).map(entry).collect::<Vec<_>>());
                }
                let found = reflections.back(&turned, rows);
                let again = reflections.back(&inside, rows);
                let entries = weight.to_f64();
                for j in 0..18 {
                    let x = vectors.column(j);
                    let y: Vec<f64> =
                        (0..cols).map(|c| (0..rows).map(|r| entries[r * cols + c] * x[r]).sum()).collect();
                    for r in 0..rows {
                        let expected: f64 = (0..cols).map(|c| entries[r * cols + c] * y[c]).sum();
                        let miss = (found.column(j)[r] * unit - expected).abs();
                        assert!(
                            miss < 1e-12 * rows as f64 * cols as f64,
                            "{arch:?} {rows}×{cols}: off by {miss:e}"
                        );
                        assert!((again.column(j)[r] - x[r]).abs() < 1e-13 * rows as f64);
                    }
                }
            }
        }
    }
}
