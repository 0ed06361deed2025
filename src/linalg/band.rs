//! A symmetric matrix, dense, becomes a band matrix of the same eigenvalues.
//!
//! Panel by panel: the block of `b` columns below the band is factored, `A₂₁ = Q·R` with `Q = I − V·T·Vᵀ` a product of
//! `b` reflections, and the rest of the matrix becomes `QᵀSQ = S − V·Wᵀ − W·Vᵀ` with `Y = S·V` and
//! `W = Y·T − ½·V·TᵀVᵀY·T`. All but the panel itself is matrix products, which is why this beats the one-stage
//! reductions: those spend half of their operations in products with a vector, at the speed of memory.
//! Bischof, Lang & Sun, ACM TOMS 26 (2000).

use pulp::{Arch, Simd, WithSimd};

use super::kernel::{self, Lower, OVERHANG, Panels, Product};
use super::narrow::{self, Block, Symmetric};
use super::workspace::Buffer;

/// Widest band.
pub(super) const WIDEST: usize = 24;
/// A small matrix, row-major, as wide as the band.
pub(super) type Square = [f64; WIDEST * WIDEST];

/// The bandwidth for a matrix of this side: narrow bands are cheaper to chase, wide ones to reach.
pub(super) fn width(side: usize) -> usize {
    if side <= 1300 { 16 } else { 24 }
}

/// A side that a band of its own width divides.
pub(super) fn padded(side: usize) -> usize {
    side.next_multiple_of(width(side))
}

/// Reduces the lower triangle of an `n` × `n` matrix in place (column-major, columns `ld` apart, `n` a multiple of
/// `width`): below the `width`-th subdiagonal there is nothing left to read, or `V` of each panel where the triangles
/// `T` are `kept`.
pub(super) fn reduce(
    arch: Arch,
    matrix: &mut [f64],
    (n, ld): (usize, usize),
    width: usize,
    buffer: &mut Buffer,
    mut kept: Option<&mut Vec<Square>>,
) {
    let height = kernel::height(arch);
    let most = n * width;
    let packed = (n + OVERHANG).next_multiple_of(height) * 2 * width;
    let buffer = buffer.take(most * (2 + narrow::parts(n)) + packed);
    let (v, rest) = buffer.split_at_mut(most);
    let (w, rest) = rest.split_at_mut(most);
    let (y, packed) = rest.split_at_mut(most * narrow::parts(n));
    for first in (0..n.saturating_sub(width)).step_by(width) {
        let below = first + width;
        let m = n - below;
        let (v, w) = (&mut v[..m * width], &mut w[..m * width]);
        let y = &mut y[..m * width * narrow::parts(m)];
        for (i, row) in v.chunks_exact_mut(width).enumerate() {
            for (j, entry) in row.iter_mut().enumerate() {
                *entry = matrix[(first + j) * ld + below + i];
            }
        }
        let tau = arch.dispatch(Factor { panel: v, width });
        // R remains of the panel: the outer triangle of the band.
        for j in 0..width {
            for i in 0..=j {
                matrix[(first + j) * ld + below + i] = v[i * width + j];
            }
        }
        for i in 0..width {
            v[i * width + i] = 1.0;
            v[i * width + i + 1..(i + 1) * width].fill(0.0);
        }
        let t = triangle(arch, v, &tau, width);
        if let Some(kept) = &mut kept {
            for j in 0..width {
                let column = &mut matrix[(first + j) * ld + below + j + 1..][..m - j - 1];
                for (entry, row) in column.iter_mut().zip(v.chunks_exact(width).skip(j + 1)) {
                    *entry = row[j];
                }
            }
            kept.push(t);
        }
        let rest = &mut matrix[below * ld + below..];
        narrow::symmetric_times(arch, Symmetric { entries: rest, ld }, v, width, y);
        companion(arch, [v, &y[..m * width]], &t, w, width);
        pack(&[v, w], width, height, packed);
        let factor = Panels { data: packed, stride: 2 * width * height, columns: 2 * width };
        kernel::update_lower(arch, Product::SubtractCrossed, factor, m, Lower { entries: rest, ld });
    }
}

/// The rows of two row-major matrices side by side, in panels.
fn pack(factors: &[&mut [f64]; 2], width: usize, height: usize, packed: &mut [f64]) {
    for (half, factor) in factors.iter().enumerate() {
        let panels = packed.chunks_exact_mut(2 * width * height);
        for (rows, panel) in factor.chunks(height * width).zip(panels) {
            let panel = &mut panel[half * width * height..][..width * height];
            if rows.len() < height * width {
                panel.fill(0.0);
            }
            for (i, row) in rows.chunks_exact(width).enumerate() {
                for (j, entry) in row.iter().enumerate() {
                    panel[j * height + i] = *entry;
                }
            }
        }
    }
}

/// Factors a row-major panel in place: reflections below the diagonal, R on and above it. Gives the factors τ.
struct Factor<'a> {
    panel: &'a mut [f64],
    width: usize,
}

impl WithSimd for Factor<'_> {
    type Output = [f64; WIDEST];
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; WIDEST] {
        match self.width / S::F64_LANES {
            2 => self.run::<S, 2>(simd),
            3 => self.run::<S, 3>(simd),
            4 => self.run::<S, 4>(simd),
            6 => self.run::<S, 6>(simd),
            8 => self.run::<S, 8>(simd),
            12 => self.run::<S, 12>(simd),
            16 => self.run::<S, 16>(simd),
            _ => self.run::<S, WIDEST>(simd),
        }
    }
}

impl Factor<'_> {
    /// One pass over the rows a column: it removes the column and, while a row is at hand, sums the products of the
    /// next column with all others.
    #[inline(always)]
    fn run<S: Simd, const V: usize>(self, simd: S) -> [f64; WIDEST] {
        let Factor { panel, width } = self;
        let zero = simd.splat_f64s(0.0);
        let mut tau = [0.0; WIDEST];
        let mut products = [zero; V];
        for row in panel[width..].chunks_exact(width) {
            let (factor, row) = (simd.splat_f64s(row[0]), S::as_simd_f64s(row).0);
            for q in 0..V {
                products[q] = simd.mul_add_e_f64s(factor, row[q], products[q]);
            }
        }
        for j in 0..width {
            let (head, tail) = panel.split_at_mut((j + 1) * width);
            let row = &mut head[j * width..];
            // Of column j with column l below row j; with itself, the squared length of what goes.
            let dots: &[f64] = pulp::bytemuck::cast_slice(&products);
            let reflection = Reflection::new(row[j], dots[j]);
            tau[j] = reflection.tau;
            let mut subtract = [0.0; WIDEST];
            for l in j + 1..width {
                subtract[l] = -reflection.tau * (row[l] + reflection.scale * dots[l]);
                row[l] += subtract[l];
            }
            row[j] = reflection.beta;
            let subtract = S::as_simd_f64s(&subtract).0;
            let subtract: [S::f64s; V] = std::array::from_fn(|q| subtract[q]);
            let next = (j + 1).min(width - 1);
            let mut sums = [zero; V];
            for (i, row) in tail.chunks_exact_mut(width).enumerate() {
                let v = row[j] * reflection.scale;
                let factor = simd.splat_f64s(v);
                let vectors = S::as_mut_simd_f64s(row).0;
                let mut moved = [zero; V];
                for q in 0..V {
                    moved[q] = simd.mul_add_e_f64s(factor, subtract[q], vectors[q]);
                    vectors[q] = moved[q];
                }
                // The next column's own first row takes no part in its products.
                let factor = simd.splat_f64s(if i > 0 { row[next] } else { 0.0 });
                for q in 0..V {
                    sums[q] = simd.mul_add_e_f64s(factor, moved[q], sums[q]);
                }
                row[j] = v;
            }
            products = sums;
        }
        tau
    }
}

/// The reflection `I − τ·v·vᵀ`, `v = (1, scale·x)`, that sends `(α, x)` to `(β, 0)`.
pub(super) struct Reflection {
    pub(super) tau: f64,
    pub(super) beta: f64,
    pub(super) scale: f64,
}

impl Reflection {
    /// A squared length below this is nothing to reflect: the matrix is scaled to entries near one.
    const NOTHING: f64 = 1e-280;

    /// For a leading entry and the squared length of the rest.
    #[inline(always)]
    pub(super) fn new(alpha: f64, squares: f64) -> Self {
        if squares <= Self::NOTHING {
            return Self { tau: 0.0, beta: alpha, scale: 0.0 };
        }
        let norm = (alpha * alpha + squares).sqrt();
        let beta = if alpha >= 0.0 { -norm } else { norm };
        Self { tau: (beta - alpha) / beta, beta, scale: 1.0 / (alpha - beta) }
    }
}

/// The triangle `T` of `Q = I − V·T·Vᵀ`, from `V` and the factors τ.
fn triangle(arch: Arch, v: &[f64], tau: &[f64; WIDEST], width: usize) -> Square {
    let mut gram = [0.0; WIDEST * WIDEST];
    let transposed = Block { entries: v, across: 1, along: width };
    narrow::add_product(arch, transposed, v, &mut gram[..width * width], width);
    let mut t = [0.0; WIDEST * WIDEST];
    for j in 0..width {
        for i in 0..j {
            t[i * width + j] = -tau[j] * (i..j).map(|l| t[i * width + l] * gram[l * width + j]).sum::<f64>();
        }
        t[j * width + j] = tau[j];
    }
    t
}

/// `w = Y·T − V·(½·Tᵀ·VᵀY·T)`.
fn companion(arch: Arch, [v, y]: [&[f64]; 2], t: &Square, w: &mut [f64], width: usize) {
    let area = width * width;
    let times =
        |block, right: &[f64], result: &mut [f64]| narrow::add_product(arch, block, right, result, width);
    let rows = |entries| Block { entries, across: width, along: 1 };
    let columns = |entries| Block { entries, across: 1, along: width };
    let (mut inner, mut half, mut scaled) =
        ([0.0; WIDEST * WIDEST], [0.0; WIDEST * WIDEST], [0.0; WIDEST * WIDEST]);
    times(columns(v), y, &mut inner[..area]);
    times(rows(&inner), &t[..area], &mut half[..area]);
    times(columns(t), &half[..area], &mut scaled[..area]);
    scaled.iter_mut().for_each(|x| *x *= -0.5);
    w.fill(0.0);
    times(rows(y), &t[..area], w);
    times(rows(v), &scaled[..area], w);
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::kernel::tests::{machines, noise};
    use super::*;

    /// The naive twin of all that follows the Gram matrix: eigenvalues of the lower triangle of a `side` × `side` matrix
    /// (by columns), ascending, by rotations that clear one entry after the other until nothing is left.
    pub(in super::super) fn jacobi(lower: &[f64], side: usize) -> Vec<f64> {
        let mut a = vec![0.0; side * side];
        for j in 0..side {
            for i in j..side {
                (a[j * side + i], a[i * side + j]) = (lower[j * side + i], lower[j * side + i]);
            }
        }
        for _ in 0..12 {
            for p in 0..side {
                for q in p + 1..side {
                    let (app, aqq, apq) = (a[p * side + p], a[q * side + q], a[p * side + q]);
                    if apq == 0.0 {
                        continue;
                    }
                    let half = (aqq - app) / (2.0 * apq);
                    let tangent = half.signum() / (half.abs() + (half * half + 1.0).sqrt());
                    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
                    let sine = tangent * cosine;
                    for k in 0..side {
                        let (x, y) = (a[p * side + k], a[q * side + k]);
                        (a[p * side + k], a[q * side + k]) = (cosine * x - sine * y, sine * x + cosine * y);
                    }
                    for k in 0..side {
                        let (x, y) = (a[k * side + p], a[k * side + q]);
                        (a[k * side + p], a[k * side + q]) = (cosine * x - sine * y, sine * x + cosine * y);
                    }
                }
            }
        }
        let mut eigenvalues: Vec<f64> = (0..side).map(|i| a[i * side + i]).collect();
        eigenvalues.sort_by(f64::total_cmp);
        eigenvalues
    }

    #[test]
    fn the_band_has_the_eigenvalues_of_the_dense_matrix_on_every_machine() {
        for (n, width) in [(16, 16), (32, 16), (48, 24), (80, 16), (96, 24)] {
            let ld = n + OVERHANG + 3;
            let entries: Vec<f64> = noise(n as u64).take(ld * (n + 1)).collect();
            let dense: Vec<f64> = (0..n).flat_map(|j| entries[j * ld..][..n].to_vec()).collect();
            let expected = jacobi(&dense, n);
            for arch in machines() {
                let mut reduced = entries.clone();
                reduce(arch, &mut reduced, (n, ld), width, &mut Buffer::default(), None);
                let band: Vec<f64> = (0..n * n)
                    .map(|at| (at % n, at / n))
                    .map(|(i, j)| if i >= j && i - j <= width { reduced[j * ld + i] } else { 0.0 })
                    .collect();
                for (found, expected) in jacobi(&band, n).iter().zip(&expected) {
                    let miss = (found - expected).abs();
                    assert!(miss < 1e-13 * n as f64, "{arch:?} {n}, {width}: off by {miss:e}");
                }
            }
        }
    }
}
