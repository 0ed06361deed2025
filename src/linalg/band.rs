//! A symmetric matrix, dense, becomes a band matrix of the same eigenvalues.
//!
//! Panel by panel: the block of `b` columns below the band is factored, `A₂₁ = Q·R` with `Q = I − V·T·Vᵀ` a product of
//! `b` reflections, and the rest of the matrix becomes `QᵀSQ = S − V·Wᵀ − W·Vᵀ` with `Y = S·V` and
//! `W = Y·T − ½·V·TᵀVᵀY·T`. All but the panel itself is matrix products, which is why this beats the one-stage
//! reductions: those spend half of their operations in products with a vector, at the speed of memory.
//! Bischof, Lang & Sun, ACM TOMS 26 (2000).

use pulp::{Arch, Simd, WithSimd};

use super::kernel::{self, Lower, OVERHANG, Panels, Product};
use super::narrow::{self, Symmetric};
use super::workspace::Buffer;

/// Widest band.
pub(super) const WIDEST: usize = 24;
type Square = [[f64; WIDEST]; WIDEST];

/// The bandwidth for a matrix of this side: narrow bands are cheaper to chase, wide ones to reach.
pub(super) fn width(side: usize) -> usize {
    if side <= 1300 { 16 } else { 24 }
}

/// A side that a band of its own width divides.
pub(super) fn padded(side: usize) -> usize {
    side.next_multiple_of(width(side))
}

/// Reduces the lower triangle of an `n` × `n` matrix in place (column-major, columns `ld` apart, `n` a multiple of
/// `width`): below the `width`-th subdiagonal there is nothing left to read.
pub(super) fn reduce(
    arch: Arch,
    matrix: &mut [f64],
    (n, ld): (usize, usize),
    width: usize,
    buffer: &mut Buffer,
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
        let t = arch.dispatch(Factor { panel: v, width });
        // R is what remains of the panel: the outer triangle of the band.
        for j in 0..width {
            for i in 0..=j {
                matrix[(first + j) * ld + below + i] = v[i * width + j];
            }
        }
        for i in 0..width {
            v[i * width + i] = 1.0;
            v[i * width + i + 1..(i + 1) * width].fill(0.0);
        }
        let t = arch.dispatch(Triangle { v, width, tau: &t });
        let rest = &mut matrix[below * ld + below..];
        narrow::symmetric_times(arch, Symmetric { entries: rest, ld }, v, width, y);
        arch.dispatch(Companion { v, y: &y[..m * width], t: &t, w, width });
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
        let Factor { panel, width } = self;
        let mut tau = [0.0; WIDEST];
        // What is subtracted from a row, as a multiple of its entry in the column being removed; none at first.
        let mut dots = [0.0; WIDEST];
        for row in panel[width..].chunks_exact(width) {
            add_multiple::<S>(simd, row[0], row, &mut dots[..width]);
        }
        for j in 0..width.min(panel.len() / width) {
            let (head, tail) = panel.split_at_mut((j + 1) * width);
            let row = &mut head[j * width..];
            // dots[l] is now the product of columns j and l below row j; dots[j] the squared length of what goes.
            let reflection = Reflection::new(row[j], dots[j]);
            tau[j] = reflection.tau;
            let mut subtract = [0.0; WIDEST];
            for l in j + 1..width {
                subtract[l] = reflection.tau * (row[l] + reflection.scale * dots[l]);
                row[l] -= subtract[l];
            }
            row[j] = reflection.beta;
            dots = [0.0; WIDEST];
            for (i, row) in tail.chunks_exact_mut(width).enumerate() {
                let v = row[j] * reflection.scale;
                add_multiple::<S>(simd, -v, &subtract[..width], row);
                row[j] = v;
                // The next column's products, while the row is at hand; its own first row takes no part.
                if i > 0 && j + 1 < width {
                    add_multiple::<S>(simd, row[j + 1], row, &mut dots[..width]);
                }
            }
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
struct Triangle<'a> {
    v: &'a [f64],
    width: usize,
    tau: &'a [f64; WIDEST],
}

impl WithSimd for Triangle<'_> {
    type Output = Square;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Square {
        let Triangle { v, width, tau } = self;
        let gram = transposed_times::<S>(simd, v, v, width);
        let mut t = [[0.0; WIDEST]; WIDEST];
        for j in 0..width {
            for i in 0..j {
                t[i][j] = -tau[j] * (i..j).map(|l| t[i][l] * gram[l][j]).sum::<f64>();
            }
            t[j][j] = tau[j];
        }
        t
    }
}

/// `W = Y·T − V·(½·Tᵀ·VᵀY·T)`.
struct Companion<'a> {
    v: &'a [f64],
    y: &'a [f64],
    t: &'a Square,
    w: &'a mut [f64],
    width: usize,
}

impl WithSimd for Companion<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Companion { v, y, t, w, width } = self;
        let inner = transposed_times::<S>(simd, v, y, width);
        let times = |left: &dyn Fn(usize, usize) -> f64, right: &Square| {
            let mut product = [[0.0; WIDEST]; WIDEST];
            for i in 0..width {
                for j in 0..width {
                    product[i][j] = (0..width).map(|l| left(i, l) * right[l][j]).sum();
                }
            }
            product
        };
        let inner = times(&|i, l| inner[i][l], t);
        let half = times(&|i, l| -0.5 * t[l][i], &inner);
        for ((w, y), v) in w.chunks_exact_mut(width).zip(y.chunks_exact(width)).zip(v.chunks_exact(width)) {
            w.fill(0.0);
            for l in 0..width {
                add_multiple::<S>(simd, y[l], &t[l][..width], w);
                add_multiple::<S>(simd, v[l], &half[l][..width], w);
            }
        }
    }
}

/// `Xᵀ·Y` of two row-major matrices.
#[inline(always)]
fn transposed_times<S: Simd>(simd: S, x: &[f64], y: &[f64], width: usize) -> Square {
    let mut product = [[0.0; WIDEST]; WIDEST];
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact(width)) {
        for i in 0..width {
            add_multiple::<S>(simd, x[i], y, &mut product[i][..width]);
        }
    }
    product
}

/// `y += a·x`, of a length that is a multiple of 8.
#[inline(always)]
fn add_multiple<S: Simd>(simd: S, a: f64, x: &[f64], y: &mut [f64]) {
    let a = simd.splat_f64s(a);
    let (x, y) = (S::as_simd_f64s(x).0, S::as_mut_simd_f64s(y).0);
    for (x, y) in x.iter().zip(y) {
        *y = simd.mul_add_e_f64s(a, *x, *y);
    }
}
