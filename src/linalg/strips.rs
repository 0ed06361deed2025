//! Many vectors on their way from the tridiagonal matrix to the Gram matrix: `Q·y` as in `reflections`, at the speed of
//! products.
//!
//! Vectors travel in strips of [`ACROSS`], row-major: a row is a few registers, and a strip stays in the second-level cache
//! from the one form to the other. Strips know nothing of each other: the same bits for any number of threads.
//!
//! Reflections of a few neighboring sweeps at the same block overlap but for one row each; together they are
//! `I − V·T·Vᵀ` with a narrow `V`, a *diamond*. Diamonds are packed once, in the order of use: those of a group of sweeps
//! pass over the same rows before the next block, while these are in the first-level cache (Bischof, Lang & Sun 2000).

use faer::MatRef;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::band::{Square, WIDEST};
use super::chase::reflections;
use super::narrow::{Block, tiles};
use super::reflections::Reflections;

/// Vectors in a strip: two times three registers of eight doubles.
const ACROSS: usize = 48;
/// Rows of a strip that are multiplied together: they stay in the first-level cache.
const CHUNK: usize = 64;
/// Sweeps in a diamond: with three registers a row, as many sums as stay in registers.
const SWEEPS: usize = 4;
/// Sweeps whose diamonds travel together.
const GROUP: usize = 32;

/// Everything that was reflected, packed.
pub(super) struct Packed {
    arch: Arch,
    n: usize,
    width: usize,
    /// For each group of sweeps, the last one first: `V` and `T` of its diamonds.
    diamonds: Vec<f64>,
    /// `V` of each panel, row-major, the first panel first.
    panels: Vec<f64>,
    triangles: Vec<Square>,
}

impl Packed {
    /// The reflections, which need not be kept as they were made.
    pub(super) fn of(made: Reflections) -> Self {
        let (n, width) = (made.n, made.width);
        let panels = panels(&made);
        let size = diamond(width);
        let groups = groups(n, width);
        let mut diamonds = vec![0.0; groups.iter().map(|group| group.diamonds * size).sum()];
        let (mut rest, mut parts) = (&mut diamonds[..], vec![]);
        for group in &groups {
            let (own, others) = rest.split_at_mut(group.diamonds * size);
            parts.push(own);
            rest = others;
        }
        let mut starts = vec![0];
        for column in 0..n.saturating_sub(2) {
            starts.push(starts[column] + reflections(n, width, column) * width);
        }
        let sweep = |column: usize| made.chased.get(*starts.get(column)?..*starts.get(column + 1)?);
        groups.par_iter().zip(parts).for_each(|(group, part)| {
            let mut places = part.chunks_exact_mut(size);
            group.each(n, width, |first, block| {
                if let Some(place) = places.next() {
                    pack(place, width, |s| sweep(first + s)?.chunks_exact(width).nth(block));
                }
            });
        });
        Self { arch: made.arch, n, width, diamonds, panels, triangles: made.triangles }
    }

    /// `Q` times these `columns` of `vectors`, each cut to `rows` entries: what is beyond is zero, as the padding of the Gram
    /// matrix. Column-major.
    pub(super) fn back(&self, vectors: MatRef<'_, f64>, columns: &[usize], rows: usize) -> Vec<f64> {
        let mut out = vec![0.0; rows * columns.len()];
        // The last reflection of a sweep reaches a block beyond the end, over zeros.
        let strip = || vec![0.0; (self.n + 2 * WIDEST) * ACROSS];
        let strips = out.par_chunks_mut(rows.max(1) * ACROSS).zip(columns.par_chunks(ACROSS));
        strips.for_each_init(strip, |x, (out, columns)| {
            x.fill(0.0);
            for (j, column) in columns.iter().enumerate() {
                for (row, entry) in x.chunks_exact_mut(ACROSS).zip(vectors.col(*column).iter()) {
                    row[j] = *entry;
                }
            }
            self.arch.dispatch(Strip { of: self, x });
            for (j, column) in out.chunks_exact_mut(rows).enumerate() {
                for (entry, row) in column.iter_mut().zip(x.chunks_exact(ACROSS)) {
                    *entry = row[j];
                }
            }
        });
        out
    }
}

/// `V` of every panel: ones on its diagonal, zeros above.
fn panels(made: &Reflections) -> Vec<f64> {
    let (n, ld, width) = (made.n, made.ld, made.width);
    let dense = made.workspace.gram.taken(ld * (n + 1));
    let rows = |panel: usize| n - (panel + 1) * width;
    let mut panels = vec![0.0; (0..made.triangles.len()).map(|panel| rows(panel) * width).sum()];
    let (mut rest, mut parts) = (&mut panels[..], vec![]);
    for panel in 0..made.triangles.len() {
        let (own, others) = rest.split_at_mut(rows(panel) * width);
        parts.push(own);
        rest = others;
    }
    parts.into_par_iter().enumerate().for_each(|(panel, part)| {
        for j in 0..width {
            let column = &dense[(panel * width + j) * ld + (panel + 1) * width..][..rows(panel)];
            part[j * width + j] = 1.0;
            for (row, entry) in part.chunks_exact_mut(width).zip(column).skip(j + 1) {
                row[j] = *entry;
            }
        }
    });
    panels
}

/// Doubles of a diamond: `V`, row-major, and `T`.
fn diamond(width: usize) -> usize {
    (width + SWEEPS - 1) * SWEEPS + SWEEPS * SWEEPS
}

/// The `V` and `T` of up to [`SWEEPS`] reflections, each a row lower than the one before; τ stands in place of a first
/// entry, which is one.
fn pack<'a>(place: &mut [f64], width: usize, reflection: impl Fn(usize) -> Option<&'a [f64]>) {
    let (v, t) = place.split_at_mut((width + SWEEPS - 1) * SWEEPS);
    let mut tau = [0.0; SWEEPS];
    for s in 0..SWEEPS {
        let Some(entries) = reflection(s) else { continue };
        tau[s] = entries[0];
        v[s * SWEEPS + s] = 1.0;
        for (row, entry) in v.chunks_exact_mut(SWEEPS).skip(s).zip(entries).skip(1) {
            row[s] = *entry;
        }
    }
    for j in 0..SWEEPS {
        // −τⱼ·T·(Vᵀvⱼ)
        let along: [f64; SWEEPS] =
            std::array::from_fn(|l| v.chunks_exact(SWEEPS).map(|row| row[l] * row[j]).sum::<f64>());
        for i in 0..j {
            t[i * SWEEPS + j] = -tau[j] * (i..j).map(|l| t[i * SWEEPS + l] * along[l]).sum::<f64>();
        }
        t[j * SWEEPS + j] = tau[j];
    }
}

/// Sweeps that travel together.
struct Group {
    first: usize,
    end: usize,
    diamonds: usize,
}

/// All groups in the order of use, the last sweeps first.
fn groups(n: usize, width: usize) -> Vec<Group> {
    let sweeps = n.saturating_sub(2);
    let group = |first: usize| {
        let mut group = Group { first, end: sweeps.min(first + GROUP), diamonds: 0 };
        let mut diamonds = 0;
        group.each(n, width, |_, _| diamonds += 1);
        group.diamonds = diamonds;
        group
    };
    (0..sweeps).step_by(GROUP).map(group).rev().collect()
}

impl Group {
    /// The first sweep and the block of each diamond, in the order of use.
    #[inline(always)]
    fn each(&self, n: usize, width: usize, mut act: impl FnMut(usize, usize)) {
        for block in 0..reflections(n, width, self.first) {
            for first in (self.first..self.end).step_by(SWEEPS).rev() {
                if block < reflections(n, width, first) {
                    act(first, block);
                }
            }
        }
    }
}

/// A strip, from the tridiagonal form to the dense one.
struct Strip<'a> {
    of: &'a Packed,
    x: &'a mut [f64],
}

impl WithSimd for Strip<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { of, x } = self;
        match S::F64_LANES {
            8 => {
                sweeps::<S, 3>(simd, of, x);
                panels_back::<S, 3, 8>(simd, of, x);
            }
            4 => {
                sweeps::<S, 2>(simd, of, x);
                panels_back::<S, 3, 4>(simd, of, x);
            }
            _ => {
                sweeps::<S, 3>(simd, of, x);
                panels_back::<S, 2, 4>(simd, of, x);
            }
        }
    }
}

#[inline(always)]
fn sweeps<S: Simd, const G: usize>(simd: S, of: &Packed, x: &mut [f64]) {
    let Packed { n, width, diamonds, .. } = of;
    let rows = width + SWEEPS - 1;
    let mut packed = diamonds.chunks_exact(diamond(*width));
    for group in groups(*n, *width) {
        group.each(*n, *width, |first, block| {
            let Some((v, t)) = packed.next().and_then(|diamond| diamond.split_at_checked(rows * SWEEPS))
            else {
                return;
            };
            let x = &mut x[(first + 1 + block * width) * ACROSS..][..rows * ACROSS];
            for part in (0..ACROSS).step_by(G * S::F64_LANES) {
                reflect::<S, G>(simd, v, t, x, part);
            }
        });
    }
}

/// `x − V·T·Vᵀx` on the part of each row that `G` registers hold.
#[inline(always)]
fn reflect<S: Simd, const G: usize>(simd: S, v: &[f64], t: &[f64], x: &mut [f64], part: usize) {
    let lanes = G * S::F64_LANES;
    let mut grown = [[simd.splat_f64s(0.0); G]; SWEEPS];
    for (v, row) in v.chunks_exact(SWEEPS).zip(x.chunks_exact(ACROSS)) {
        let row = pulp::as_arrays::<G, _>(S::as_simd_f64s(&row[part..part + lanes]).0).0[0];
        for s in 0..SWEEPS {
            let factor = simd.splat_f64s(v[s]);
            for g in 0..G {
                grown[s][g] = simd.mul_add_e_f64s(row[g], factor, grown[s][g]);
            }
        }
    }
    // Copies that nothing points at stay in registers.
    let sums = grown;
    let mut scaled = [[simd.splat_f64s(0.0); G]; SWEEPS];
    for s in 0..SWEEPS {
        for l in s..SWEEPS {
            let factor = simd.splat_f64s(-t[s * SWEEPS + l]);
            for g in 0..G {
                scaled[s][g] = simd.mul_add_e_f64s(sums[l][g], factor, scaled[s][g]);
            }
        }
    }
    let scaled = scaled;
    for (v, row) in v.chunks_exact(SWEEPS).zip(x.chunks_exact_mut(ACROSS)) {
        let row = &mut pulp::as_arrays_mut::<G, _>(S::as_mut_simd_f64s(&mut row[part..part + lanes]).0).0[0];
        let mut moved = *row;
        for s in 0..SWEEPS {
            let factor = simd.splat_f64s(v[s]);
            for g in 0..G {
                moved[g] = simd.mul_add_e_f64s(scaled[s][g], factor, moved[g]);
            }
        }
        *row = moved;
    }
}

/// `x − V·T·Vᵀx` for one panel after the other, the last one first.
#[inline(always)]
fn panels_back<S: Simd, const G: usize, const J: usize>(simd: S, of: &Packed, x: &mut [f64]) {
    let Packed { n, width, panels, triangles, .. } = of;
    let (n, width) = (*n, *width);
    let mut end = panels.len();
    for (panel, t) in triangles.iter().enumerate().rev() {
        let below = (panel + 1) * width;
        let v = &panels[end - (n - below) * width..end];
        end -= v.len();
        let x = &mut x[below * ACROSS..n * ACROSS];
        let (mut inner, mut scaled) = ([0.0; WIDEST * ACROSS], [0.0; WIDEST * ACROSS]);
        let (inner, scaled) = (&mut inner[..width * ACROSS], &mut scaled[..width * ACROSS]);
        for (v, x) in v.chunks(CHUNK * width).zip(x.chunks(CHUNK * ACROSS)) {
            tiles::<S, G, J>(simd, Block { entries: v, across: 1, along: width }, x, inner, ACROSS);
        }
        tiles::<S, G, J>(simd, Block { entries: t, across: width, along: 1 }, inner, scaled, ACROSS);
        scaled.iter_mut().for_each(|x| *x = -*x);
        tiles::<S, G, J>(simd, Block { entries: v, across: width, along: 1 }, scaled, x, ACROSS);
    }
}
