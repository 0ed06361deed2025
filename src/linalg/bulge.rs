//! One bulge moved on by one block: a step of `chase`.
//!
//! A block is `b` columns of a band, each one row lower than the one before, so that all begin at the same place of a
//! cache line: `stride` vectors apart, the `V` vectors of the diagonal block come first, then those of the block below.
//! Every function runs over columns; a sum over a column's lanes is taken for as many columns at once as there are lanes.

use pulp::Simd;

use super::band::Reflection;

/// Most lanes of a vector.
const LANES: usize = 8;

/// A sweep on its way: the reflection that its last block made.
#[derive(Clone, Copy)]
pub(super) struct Sweep<S: Simd, const V: usize> {
    v: [S::f64s; V],
    tau: f64,
}

impl<S: Simd, const V: usize> Sweep<S, V> {
    /// One that has not begun.
    #[inline(always)]
    pub(super) fn none(simd: S) -> Self {
        Self { v: [simd.splat_f64s(0.0); V], tau: 0.0 }
    }

    /// Writes the reflection `I − τ·v·vᵀ` down: τ in the place of `v`'s first entry, which is one.
    #[inline(always)]
    pub(super) fn write(&self, out: &mut [f64]) {
        out.copy_from_slice(lanes::<S, V>(&self.v));
        out[0] = self.tau;
    }

    /// Whether there was nothing to clear.
    #[inline(always)]
    pub(super) fn is_identity(&self) -> bool {
        self.tau == 0.0
    }
}

/// Clears a column below its first entry.
#[inline(always)]
pub(super) fn begin<S: Simd, const V: usize>(simd: S, column: &mut [f64]) -> Sweep<S, V> {
    let (x, _) = S::as_mut_simd_f64s(column);
    let x = &mut pulp::as_arrays_mut::<V, _>(x).0[0];
    let (sweep, beta) = reflection::<S, V>(simd, x);
    column.fill(0.0);
    column[0] = beta;
    sweep
}

/// The reflection that clears `x` below its first entry, and the new first entry.
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

/// The first `V` vectors of a column.
#[inline(always)]
fn head<S: Simd, const V: usize>(column: &mut [S::f64s]) -> &mut [S::f64s; V] {
    &mut pulp::as_arrays_mut::<V, _>(column).0[0]
}

/// The sums over the lanes of as many vectors as there are lanes: lane `i` gets the sum of vector `i`.
///
/// Pairs of vectors are folded into one, each lane with its neighbor at distance 1, 2, 4: half the operations of one
/// sum after the other. Around the end the lanes of the second vector of a pair are folded with those of the first.
#[inline(always)]
fn sums<S: Simd>(simd: S, mut vectors: [S::f64s; LANES]) -> S::f64s {
    let half = simd.splat_f64s(0.5);
    let mut distance = 1;
    while distance < S::F64_LANES {
        let second: [f64; LANES] = std::array::from_fn(|i| f64::from(u8::from(i & distance != 0)));
        let first = simd.less_than_f64s(S::as_simd_f64s(&second).0[0], half);
        for i in 0..S::F64_LANES / distance / 2 {
            let (a, b) = (vectors[2 * i], vectors[2 * i + 1]);
            let (stay, come) = (simd.select_f64s(first, a, b), simd.select_f64s(first, b, a));
            vectors[i] = simd.add_f64s(stay, simd.rotate_left_f64s(come, distance));
        }
        distance *= 2;
    }
    vectors[0]
}

/// The lanes from `k` on.
#[inline(always)]
fn lanes_from<S: Simd>(simd: S, k: usize) -> S::m64s {
    let positions: [f64; LANES] = std::array::from_fn(|i| i as f64);
    simd.less_than_or_equal_f64s(simd.splat_f64s(k as f64), S::as_simd_f64s(&positions).0[0])
}

/// The diagonal block from both sides: `D − v·wᵀ − w·vᵀ`, `w = τ·D·v − ½·τ²·(vᵀD·v)·v`.
///
/// `block` begins at its first entry; what a column's vectors hold above the diagonal belongs to the column before.
#[inline(always)]
pub(super) fn diagonal<S: Simd, const V: usize>(
    simd: S,
    block: &mut [S::f64s],
    stride: usize,
    sweep: &Sweep<S, V>,
) {
    let Sweep { v, tau } = sweep;
    let mut y = [simd.splat_f64s(0.0); V];
    // Numbers that the compiler knows keep the sums in registers.
    let mut groups = block.chunks_exact_mut(stride * S::F64_LANES);
    if let Some(columns) = groups.next() {
        multiply(simd, columns, stride, (v, 0), &mut y);
    }
    if V > 1
        && let Some(columns) = groups.next()
    {
        multiply(simd, columns, stride, (v, 1), &mut y);
    }
    if V > 2
        && let Some(columns) = groups.next()
    {
        multiply(simd, columns, stride, (v, 2), &mut y);
    }
    for (q0, columns) in (3..V).zip(groups) {
        multiply(simd, columns, stride, (v, q0), &mut y);
    }
    let half = -0.5 * tau * tau * simd.reduce_sum_f64s(dot::<S, V>(simd, &y, v));
    let (half, tau) = (simd.splat_f64s(half), simd.splat_f64s(*tau));
    let mut w = y;
    for q in 0..V {
        w[q] = simd.neg_f64s(simd.mul_add_e_f64s(half, v[q], simd.mul_f64s(tau, y[q])));
    }
    let mut groups = block.chunks_exact_mut(stride * S::F64_LANES);
    if let Some(columns) = groups.next() {
        subtract(simd, columns, stride, (v, &w, 0));
    }
    if V > 1
        && let Some(columns) = groups.next()
    {
        subtract(simd, columns, stride, (v, &w, 1));
    }
    if V > 2
        && let Some(columns) = groups.next()
    {
        subtract(simd, columns, stride, (v, &w, 2));
    }
    for (q0, columns) in (3..V).zip(groups) {
        subtract(simd, columns, stride, (v, &w, q0));
    }
}

/// `y += D·v` for what group `q0` of the columns holds, on and below the diagonal, and by symmetry above it.
#[inline(always)]
fn multiply<S: Simd, const V: usize>(
    simd: S,
    columns: &mut [S::f64s],
    stride: usize,
    (v, q0): (&[S::f64s; V], usize),
    y: &mut [S::f64s; V],
) {
    let (n, zero) = (S::F64_LANES, simd.splat_f64s(0.0));
    let mut products = [zero; LANES];
    let mut sum = *y;
    for (k, column) in columns.chunks_exact_mut(stride).enumerate() {
        let a = head::<S, V>(column);
        let factor = simd.splat_f64s(lanes::<S, V>(v)[q0 * n + k]);
        let (on, below) = (
            simd.select_f64s(lanes_from(simd, k), a[q0], zero),
            simd.select_f64s(lanes_from(simd, k + 1), a[q0], zero),
        );
        sum[q0] = simd.mul_add_e_f64s(on, factor, sum[q0]);
        let mut product = simd.mul_f64s(below, v[q0]);
        for q in q0 + 1..V {
            sum[q] = simd.mul_add_e_f64s(a[q], factor, sum[q]);
            product = simd.mul_add_e_f64s(a[q], v[q], product);
        }
        products[k] = product;
    }
    sum[q0] = simd.add_f64s(sum[q0], sums::<S>(simd, products));
    *y = sum;
}

/// `D + v·wᵀ + w·vᵀ` in group `q0` of the columns.
#[inline(always)]
fn subtract<S: Simd, const V: usize>(
    simd: S,
    columns: &mut [S::f64s],
    stride: usize,
    (v, w, q0): (&[S::f64s; V], &[S::f64s; V], usize),
) {
    let n = S::F64_LANES;
    for (k, column) in columns.chunks_exact_mut(stride).enumerate() {
        let a = head::<S, V>(column);
        let c = q0 * n + k;
        let (vc, wc) = (simd.splat_f64s(lanes::<S, V>(v)[c]), simd.splat_f64s(lanes::<S, V>(w)[c]));
        let above = a[q0];
        for q in q0..V {
            a[q] = simd.mul_add_e_f64s(v[q], wc, simd.mul_add_e_f64s(w[q], vc, a[q]));
        }
        a[q0] = simd.select_f64s(lanes_from(simd, k), a[q0], above);
    }
}

/// The sweep's reflection of rows, whose part of each column comes first in it.
#[inline(always)]
pub(super) fn turn_rows<S: Simd, const V: usize>(
    simd: S,
    columns: &mut [S::f64s],
    stride: usize,
    sweep: &Sweep<S, V>,
) {
    let (zero, minus_tau) = (simd.splat_f64s(0.0), simd.splat_f64s(-sweep.tau));
    for columns in columns.chunks_exact_mut(stride * S::F64_LANES) {
        let mut products = [zero; LANES];
        for (column, product) in columns.chunks_exact_mut(stride).zip(&mut products) {
            *product = dot::<S, V>(simd, head::<S, V>(column), &sweep.v);
        }
        let share = [simd.mul_f64s(minus_tau, sums::<S>(simd, products))];
        for (column, factor) in columns.chunks_exact_mut(stride).zip(lanes::<S, 1>(&share)) {
            let (a, factor) = (head::<S, V>(column), simd.splat_f64s(*factor));
            for q in 0..V {
                a[q] = simd.mul_add_e_f64s(sweep.v[q], factor, a[q]);
            }
        }
    }
}

/// The sweep's reflection of eight columns, below their first `V` vectors.
#[inline(always)]
pub(super) fn turn_columns<S: Simd, const V: usize>(
    simd: S,
    columns: &mut [S::f64s],
    stride: usize,
    sweep: &Sweep<S, V>,
) {
    let zero = simd.splat_f64s(0.0);
    let mut factors = [zero; LANES];
    for (factor, v) in factors.iter_mut().zip(lanes::<S, V>(&sweep.v)) {
        *factor = simd.splat_f64s(*v);
    }
    let minus_tau = simd.splat_f64s(-sweep.tau);
    let columns = &mut columns[..LANES * stride];
    for q in V..stride {
        let (mut even, mut odd) = (zero, zero);
        for m in (0..LANES).step_by(2) {
            even = simd.mul_add_e_f64s(columns[m * stride + q], factors[m], even);
            odd = simd.mul_add_e_f64s(columns[(m + 1) * stride + q], factors[m + 1], odd);
        }
        let sum = simd.mul_f64s(minus_tau, simd.add_f64s(even, odd));
        for m in 0..LANES {
            let x = &mut columns[m * stride + q];
            *x = simd.mul_add_e_f64s(sum, factors[m], *x);
        }
    }
}

/// The block below the diagonal one: the sweep's reflection from the right, then a new one from the left that clears
/// its first column. Gives the new one.
#[inline(always)]
pub(super) fn below<S: Simd, const V: usize>(
    simd: S,
    block: &mut [S::f64s],
    stride: usize,
    sweep: &Sweep<S, V>,
) -> Sweep<S, V> {
    let Sweep { v, tau } = sweep;
    let (n, zero) = (S::F64_LANES, simd.splat_f64s(0.0));
    // Two sums, so that one column need not wait for the other.
    let (mut even, mut odd) = ([zero; V], [zero; V]);
    for (columns, v) in block.chunks_exact_mut(2 * stride).zip(lanes::<S, V>(v).chunks_exact(2)) {
        let (first, second) = columns.split_at_mut(stride);
        let (first, second) = (head::<S, V>(&mut first[V..]), head::<S, V>(&mut second[V..]));
        let factors = (simd.splat_f64s(v[0]), simd.splat_f64s(v[1]));
        for q in 0..V {
            even[q] = simd.mul_add_e_f64s(first[q], factors.0, even[q]);
            odd[q] = simd.mul_add_e_f64s(second[q], factors.1, odd[q]);
        }
    }
    let minus_tau = simd.splat_f64s(-tau);
    let (mut u, mut x) = ([zero; V], [zero; V]);
    let column = head::<S, V>(&mut block[V..]);
    for q in 0..V {
        u[q] = simd.mul_f64s(minus_tau, simd.add_f64s(even[q], odd[q]));
        // v starts with a one.
        x[q] = simd.add_f64s(column[q], u[q]);
    }
    let (next, beta) = reflection::<S, V>(simd, &x);
    let minus_tau = simd.splat_f64s(-next.tau);
    let factors = lanes::<S, V>(v).chunks_exact(n);
    for (columns, factors) in block.chunks_exact_mut(stride * n).zip(factors) {
        let mut products = [zero; LANES];
        for ((column, factor), product) in columns.chunks_exact_mut(stride).zip(factors).zip(&mut products) {
            let a = head::<S, V>(&mut column[V..]);
            let factor = simd.splat_f64s(*factor);
            for q in 0..V {
                a[q] = simd.mul_add_e_f64s(u[q], factor, a[q]);
            }
            *product = dot::<S, V>(simd, a, &next.v);
        }
        let share = [simd.mul_f64s(minus_tau, sums::<S>(simd, products))];
        for (column, factor) in columns.chunks_exact_mut(stride).zip(lanes::<S, 1>(&share)) {
            let a = head::<S, V>(&mut column[V..]);
            let factor = simd.splat_f64s(*factor);
            for q in 0..V {
                a[q] = simd.mul_add_e_f64s(next.v[q], factor, a[q]);
            }
        }
    }
    let column = head::<S, V>(&mut block[V..]);
    *column = [zero; V];
    set_first::<S>(&mut column[0], beta);
    next
}

#[cfg(test)]
mod tests {
    use pulp::WithSimd;

    use super::super::kernel::tests::{machines, noise};
    use super::*;

    #[test]
    fn sums_over_lanes_are_those_of_each_vector() {
        struct Sums([[f64; LANES]; LANES]);
        impl WithSimd for Sums {
            type Output = ();
            #[inline(always)]
            fn with_simd<S: Simd>(self, simd: S) {
                let vectors = std::array::from_fn(|i| S::as_simd_f64s(&self.0[i]).0[0]);
                let found = [sums::<S>(simd, vectors)];
                for (i, found) in lanes::<S, 1>(&found).iter().enumerate() {
                    let expected: f64 = self.0[i][..S::F64_LANES].iter().sum();
                    assert!((found - expected).abs() < 1e-14, "vector {i}: {found}, not {expected}");
                }
            }
        }
        let mut noise = noise(3);
        let vectors = std::array::from_fn(|_| std::array::from_fn(|_| noise.next().unwrap_or(0.0)));
        machines().into_iter().for_each(|arch| arch.dispatch(Sums(vectors)));
    }
}
