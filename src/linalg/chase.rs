//! A symmetric band matrix becomes a tridiagonal one of the same eigenvalues, by chasing bulges off its end.
//!
//! One sweep clears a column below its first subdiagonal with a reflection of `b` rows. Applied from both sides it
//! fills in a triangle `b` rows further down, whose first column the next reflection clears, and so on to the end: the
//! matrix keeps its band plus one moving bulge. All blocks are `b × b`, so a column is a few vectors. Sweeps follow
//! each other at a distance of one block, several in a group, so that a block is worked on many times while it is in
//! the cache. Lang, Parallel Computing 25 (1999).

use pulp::{Arch, Simd, WithSimd};

use super::band::{Reflection, WIDEST};

/// Sweeps that travel together.
const GROUP: usize = 8;

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
        entries.fill(0.0);
        let leading = Self::leading(width);
        for j in 0..side {
            let rows = (width + 1).min(side - j);
            entries[j * leading..][..rows].copy_from_slice(&dense[j * ld + j..][..rows]);
        }
        Self { entries, side, width, ld: leading }
    }

    /// Reduces to diagonal and subdiagonal.
    pub(super) fn tridiagonal(self, arch: Arch) -> (Vec<f64>, Vec<f64>) {
        let (side, ld) = (self.side, self.ld);
        let entries = arch.dispatch(Chase { band: self });
        let diagonal = (0..side).map(|j| entries[j * ld]).collect();
        let subdiagonal = (1..side).map(|j| entries[(j - 1) * ld + 1]).collect();
        (diagonal, subdiagonal)
    }
}

struct Chase<'a> {
    band: Band<'a>,
}

impl<'a> WithSimd for Chase<'a> {
    type Output = &'a mut [f64];
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> &'a mut [f64] {
        match (self.band.width / S::F64_LANES, self.band.width % S::F64_LANES) {
            (2, 0) => run::<S, 2>(simd, self.band),
            (3, 0) => run::<S, 3>(simd, self.band),
            (4, 0) => run::<S, 4>(simd, self.band),
            (6, 0) => run::<S, 6>(simd, self.band),
            (8, 0) => run::<S, 8>(simd, self.band),
            (12, 0) => run::<S, 12>(simd, self.band),
            (16, 0) => run::<S, 16>(simd, self.band),
            _ => run::<S, WIDEST>(simd, self.band),
        }
    }
}

/// A sweep on its way: the reflection that its last block made.
#[derive(Clone, Copy)]
struct Sweep<S: Simd, const V: usize> {
    v: [S::f64s; V],
    tau: f64,
}

#[inline(always)]
fn run<S: Simd, const V: usize>(simd: S, band: Band<'_>) -> &mut [f64] {
    let Band { entries, side, width, ld } = band;
    let columns = side.saturating_sub(2);
    for first in (0..columns).step_by(GROUP) {
        let sweeps = GROUP.min(columns - first);
        let mut group = [Sweep::<S, V> { v: [simd.splat_f64s(0.0); V], tau: 0.0 }; GROUP];
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
                let here = &mut entries[start * ld - width..];
                diagonal::<S, V>(simd, here, (width, ld), sweep);
                *sweep = below::<S, V>(simd, &mut here[width..], (width, ld), sweep);
            }
        }
    }
    entries
}

/// Clears a column below its first entry.
#[inline(always)]
fn begin<S: Simd, const V: usize>(simd: S, column: &mut [f64]) -> Sweep<S, V> {
    let (x, _) = S::as_mut_simd_f64s(column);
    let x = &mut pulp::as_arrays_mut::<V, _>(x).0[0];
    let (sweep, beta) = reflection::<S, V>(simd, x);
    column.fill(0.0);
    column[0] = beta;
    sweep
}

/// The reflection that clears `x` below its first entry, and what that becomes.
#[inline(always)]
fn reflection<S: Simd, const V: usize>(simd: S, x: &[S::f64s; V]) -> (Sweep<S, V>, f64) {
    let mut v = *x;
    let alpha = first::<S>(&v[0]);
    set_first::<S>(&mut v[0], 0.0);
    let squares = dot::<S, V>(simd, &v, &v);
    let Reflection { tau, beta, scale } = Reflection::new(alpha, simd.reduce_sum_f64s(squares));
    let scale = simd.splat_f64s(scale);
    for v in &mut v {
        *v = simd.mul_f64s(*v, scale);
    }
    set_first::<S>(&mut v[0], 1.0);
    (Sweep { v, tau }, beta)
}

#[inline(always)]
fn first<S: Simd>(x: &S::f64s) -> f64 {
    pulp::bytemuck::cast_slice::<S::f64s, f64>(std::slice::from_ref(x))[0]
}

#[inline(always)]
fn set_first<S: Simd>(x: &mut S::f64s, value: f64) {
    pulp::bytemuck::cast_slice_mut::<S::f64s, f64>(std::slice::from_mut(x))[0] = value;
}

#[inline(always)]
fn dot<S: Simd, const V: usize>(simd: S, x: &[S::f64s; V], y: &[S::f64s; V]) -> S::f64s {
    let mut sum = simd.mul_f64s(x[0], y[0]);
    for q in 1..V {
        sum = simd.mul_add_e_f64s(x[q], y[q], sum);
    }
    sum
}

/// The entries of a vector of `V` vectors.
#[inline(always)]
fn lanes<S: Simd, const V: usize>(x: &[S::f64s; V]) -> &[f64] {
    pulp::bytemuck::cast_slice(x)
}

/// Rows `q·lanes..` of a column as vectors.
#[inline(always)]
fn column<S: Simd>(entries: &mut [f64]) -> &mut [S::f64s] {
    S::as_mut_simd_f64s(entries).0
}

/// The diagonal block from both sides: `D − v·wᵀ − w·vᵀ`, `w = τ·D·v − ½·τ²·(vᵀD·v)·v`.
///
/// `band` starts `width` entries before the block's first diagonal entry, so that a vector that begins above the
/// diagonal lies within it; what is above belongs to the column before and is kept.
#[inline(always)]
fn diagonal<S: Simd, const V: usize>(
    simd: S,
    band: &mut [f64],
    (width, ld): (usize, usize),
    sweep: &Sweep<S, V>,
) {
    let n = S::F64_LANES;
    let Sweep { v, tau } = sweep;
    let zero = simd.splat_f64s(0.0);
    let positions: [f64; WIDEST] = std::array::from_fn(|i| i as f64);
    let iota = S::as_simd_f64s(&positions).0[0];
    let keep = |k: usize| simd.less_than_or_equal_f64s(simd.splat_f64s(k as f64), iota);
    let strict = |k: usize| simd.less_than_f64s(simd.splat_f64s(k as f64), iota);
    // Of column c the rows from c/n·n on; entry (i, c) of the block lies at width + c·ld + i − c.
    let from = |c: usize| width + c * ld + c / n * n - c;
    let mut y = [zero; V];
    let mut dots = [0.0; WIDEST];
    for q0 in 0..V {
        for k in 0..n {
            let c = q0 * n + k;
            let a = column::<S>(&mut band[from(c)..][..width - q0 * n]);
            let factor = simd.splat_f64s(lanes::<S, V>(v)[c]);
            let head = simd.select_f64s(keep(k), a[0], zero);
            y[q0] = simd.mul_add_e_f64s(head, factor, y[q0]);
            let mut sum = simd.mul_f64s(simd.select_f64s(strict(k), a[0], zero), v[q0]);
            for q in q0 + 1..V {
                y[q] = simd.mul_add_e_f64s(a[q - q0], factor, y[q]);
                sum = simd.mul_add_e_f64s(a[q - q0], v[q], sum);
            }
            dots[c] = simd.reduce_sum_f64s(sum);
        }
    }
    let upper = S::as_simd_f64s(&dots[..width]).0;
    for q in 0..V {
        y[q] = simd.add_f64s(y[q], upper[q]);
    }
    let half = -0.5 * tau * tau * simd.reduce_sum_f64s(dot::<S, V>(simd, &y, v));
    let (half, tau) = (simd.splat_f64s(half), simd.splat_f64s(*tau));
    let mut w = [zero; V];
    for q in 0..V {
        w[q] = simd.neg_f64s(simd.mul_add_e_f64s(half, v[q], simd.mul_f64s(tau, y[q])));
    }
    for q0 in 0..V {
        for k in 0..n {
            let c = q0 * n + k;
            let a = column::<S>(&mut band[from(c)..][..width - q0 * n]);
            let (vc, wc) = (simd.splat_f64s(lanes::<S, V>(v)[c]), simd.splat_f64s(lanes::<S, V>(&w)[c]));
            let update = |a, q: usize| simd.mul_add_e_f64s(v[q], wc, simd.mul_add_e_f64s(w[q], vc, a));
            a[0] = simd.select_f64s(keep(k), update(a[0], q0), a[0]);
            for q in q0 + 1..V {
                a[q - q0] = update(a[q - q0], q);
            }
        }
    }
}

/// The block below the diagonal one, whose first row and column start `band`: the sweep's reflection from the right,
/// then a new one from the left that clears its first column. Gives the new one.
#[inline(always)]
fn below<S: Simd, const V: usize>(
    simd: S,
    band: &mut [f64],
    (width, ld): (usize, usize),
    sweep: &Sweep<S, V>,
) -> Sweep<S, V> {
    let Sweep { v, tau } = sweep;
    let zero = simd.splat_f64s(0.0);
    let from = |c: usize| width + c * (ld - 1);
    // Two sums, so that one column need not wait for the other.
    let (mut even, mut odd) = ([zero; V], [zero; V]);
    for c in (0..width).step_by(2) {
        let a = column::<S>(&mut band[from(c)..][..width]);
        let factor = simd.splat_f64s(lanes::<S, V>(v)[c]);
        for q in 0..V {
            even[q] = simd.mul_add_e_f64s(a[q], factor, even[q]);
        }
        let a = column::<S>(&mut band[from(c + 1)..][..width]);
        let factor = simd.splat_f64s(lanes::<S, V>(v)[c + 1]);
        for q in 0..V {
            odd[q] = simd.mul_add_e_f64s(a[q], factor, odd[q]);
        }
    }
    let minus_tau = simd.splat_f64s(-tau);
    let mut u = [zero; V];
    for q in 0..V {
        u[q] = simd.mul_f64s(minus_tau, simd.add_f64s(even[q], odd[q]));
    }
    let head = column::<S>(&mut band[width..][..width]);
    let mut x = [zero; V];
    for q in 0..V {
        // v starts with a one.
        x[q] = simd.add_f64s(head[q], u[q]);
    }
    let (next, beta) = reflection::<S, V>(simd, &x);
    for head in head.iter_mut() {
        *head = zero;
    }
    set_first::<S>(&mut head[0], beta);
    for c in 1..width {
        let a = column::<S>(&mut band[from(c)..][..width]);
        let factor = simd.splat_f64s(lanes::<S, V>(v)[c]);
        let mut moved = [zero; V];
        for q in 0..V {
            moved[q] = simd.mul_add_e_f64s(u[q], factor, a[q]);
        }
        let product = -next.tau * simd.reduce_sum_f64s(dot::<S, V>(simd, &moved, &next.v));
        let product = simd.splat_f64s(product);
        for q in 0..V {
            a[q] = simd.mul_add_e_f64s(next.v[q], product, moved[q]);
        }
    }
    next
}
