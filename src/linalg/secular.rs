//! Eigenvalues and eigenvectors of a diagonal matrix plus one of rank one: `D + ρ·z·zᵀ`, `ρ > 0`.
//!
//! The eigenvalues are the roots of `1/ρ + Σ zⱼ²/(dⱼ − λ)`, one above each pole. A root is sought inside a bracket, as the
//! distance from its nearer pole: a step of a rational model that leaves the bracket, or gains less than halving would, is
//! replaced by halving, so that the search ends at rounding however flat the function is. The vectors belong to a `z` for
//! which the roots found are exact, which makes them orthogonal to rounding whatever the gaps (Gu & Eisenstat 1995).

use faer::{ColMut, Mat};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Roots in one task.
const TASK: usize = 64;
/// Steps of one search: more than halving a bracket to rounding can take.
const STEPS: usize = 120;

/// `D + ρ·z·zᵀ`.
pub(super) struct Secular<'a> {
    pub(super) arch: Arch,
    /// `D`, ascending and apart.
    pub(super) poles: &'a [f64],
    /// No entry is zero.
    pub(super) z: &'a [f64],
    pub(super) rho: f64,
}

/// An eigenvalue as a pole and the distance from it, which keeps the digits that their sum would lose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Root {
    origin: f64,
    offset: f64,
}

impl Root {
    pub(super) fn value(&self) -> f64 {
        self.origin + self.offset
    }

    /// How far a pole lies above.
    #[inline(always)]
    fn to(&self, pole: f64) -> f64 {
        (pole - self.origin) - self.offset
    }
}

/// The function's two sums at a point and their slopes: over the poles up to the root's own, and over those above it.
#[derive(Clone, Copy)]
struct Sums {
    below: [f64; 2],
    above: [f64; 2],
}

impl Secular<'_> {
    /// All eigenvalues, ascending.
    pub(super) fn roots(&self) -> Vec<Root> {
        (0..self.poles.len()).into_par_iter().with_min_len(TASK).map(|i| self.root(i)).collect()
    }

    /// The eigenvectors of the `chosen` ones of all `roots`; their row `i` is the entry `rows[i]`.
    pub(super) fn vectors(&self, roots: &[Root], chosen: &[usize], rows: &[usize]) -> Mat<f64> {
        let z = self.fitting(roots);
        let mut vectors = Mat::zeros(rows.len(), chosen.len());
        let fill = |(part, mut columns): (usize, faer::MatMut<'_, f64>)| {
            let mut entries = vec![0.0; z.len()];
            for (column, i) in columns.as_mut().col_iter_mut().zip(&chosen[part * TASK..]) {
                let size = self.arch.dispatch(Entries {
                    poles: self.poles,
                    z: &z,
                    root: roots[*i],
                    out: &mut entries,
                });
                ordered(column, &entries, rows, 1.0 / size);
            }
        };
        if !chosen.is_empty() {
            vectors.as_mut().par_col_chunks_mut(TASK).enumerate().for_each(fill);
        }
        vectors
    }

    /// The `z` for which `roots` are exact: `ẑᵢ² = Πⱼ (λⱼ − dᵢ) / Πⱼ₌ᵢ (dⱼ − dᵢ)`.
    fn fitting(&self, roots: &[Root]) -> Vec<f64> {
        let count = self.poles.len();
        let task = |(part, roots): (usize, &[Root])| {
            let mut product = vec![1.0; count];
            for (j, root) in roots.iter().enumerate() {
                self.arch.dispatch(Ratios {
                    poles: self.poles,
                    own: part * TASK + j,
                    root: *root,
                    product: &mut product,
                });
            }
            product
        };
        let parts: Vec<Vec<f64>> = roots.par_chunks(TASK).enumerate().map(task).collect();
        let square = |i: usize| parts.iter().map(|part| part[i]).product::<f64>();
        (0..count).map(|i| square(i).abs().sqrt().copysign(self.z[i])).collect()
    }

    fn root(&self, i: usize) -> Root {
        let Self { poles, z, rho, .. } = *self;
        let last = i + 1 == poles.len();
        let width = if last { rho * z.iter().map(|z| z * z).sum::<f64>() } else { poles[i + 1] - poles[i] };
        if poles.len() == 1 {
            return Root { origin: poles[0], offset: width };
        }
        let value = |sums: &Sums| 1.0 / rho + sums.below[0] + sums.above[0];
        let mut root = Root { origin: poles[i], offset: 0.5 * width };
        let mut sums = self.sums(i, root);
        let (mut low, mut high) = if last {
            (0.0, width * (1.0 + 4.0 * f64::EPSILON))
        } else if value(&sums) > 0.0 {
            (0.0, 0.5 * width)
        } else {
            root = Root { origin: poles[i + 1], offset: -0.5 * width };
            (-0.5 * width, 0.0)
        };
        // The poles on both sides, from the origin; the last root has its own and the one below that.
        let sides = if last { [i - 1, i] } else { [i, i + 1] }.map(|j| poles[j] - root.origin);
        let mut before = f64::INFINITY;
        for step in 0..STEPS {
            let here = value(&sums);
            let Sums { below, above } = sums;
            if here.abs() <= 2.0 * f64::EPSILON * (1.0 / rho + below[0].abs() + above[0].abs()) {
                break;
            }
            *(if here < 0.0 { &mut low } else { &mut high }) = root.offset;
            if high - low <= 2.0 * f64::EPSILON * low.abs().min(high.abs()) {
                break;
            }
            let own = last.then(|| z[i] / (sides[1] - root.offset));
            let mut next = root.offset
                + modelled(here, sums, sides.map(|side| side - root.offset), own.map(|t| [z[i] * t, t * t]));
            let stalled = step % 3 == 2 && here.abs() > 0.25 * before;
            if step % 3 == 2 {
                before = here.abs();
            }
            if !(next > low && next < high) || stalled {
                next = halved(low, high);
            }
            if next.to_bits() == root.offset.to_bits() {
                break;
            }
            root.offset = next;
            sums = self.sums(i, root);
        }
        root
    }

    fn sums(&self, i: usize, root: Root) -> Sums {
        let ((below, above), (z_below, z_above)) = (self.poles.split_at(i + 1), self.z.split_at(i + 1));
        let sum = |poles, z| self.arch.dispatch(Sum { poles, z, root });
        Sums {
            below: sum(below, z_below),
            above: if above.is_empty() { [0.0; 2] } else { sum(above, z_above) },
        }
    }
}

/// A step to the root of `c + a/(left − x) + b/(right − x)`, which has the function's value and slopes here ("the middle
/// way", Li 1993). `own` is the share of the last pole, for the root above it.
fn modelled(value: f64, sums: Sums, [left, right]: [f64; 2], own: Option<[f64; 2]>) -> f64 {
    let Sums { below, above } = sums;
    let slope = below[1] + above[1];
    let c = match own {
        None => value - left * below[1] - right * above[1],
        Some([share, its_slope]) => value - share - left * (below[1] - its_slope),
    };
    let (a, b) = ((left + right) * value - left * right * slope, left * right * value);
    let root = (a * a - 4.0 * b * c).abs().sqrt();
    let step = if a <= 0.0 { (a - root) / (2.0 * c) } else { 2.0 * b / (a + root) };
    // It goes down where the function is above zero, and up where it is below; else by Newton.
    if step.is_finite() && value * step < 0.0 { step } else { -value / slope }
}

/// The middle of a bracket that does not hold zero inside: over many powers of two the geometric one.
fn halved(low: f64, high: f64) -> f64 {
    let (near, far) = (low.abs().min(high.abs()), low.abs().max(high.abs()));
    let size = match near {
        0.0 => far / 64.0,
        _ if far > 16.0 * near => near.sqrt() * far.sqrt(),
        _ => 0.5 * (near + far),
    };
    if low + high < 0.0 { -size } else { size }
}

/// The entries of a vector in the order of `rows`, times `scale`.
fn ordered(column: ColMut<'_, f64>, entries: &[f64], rows: &[usize], scale: f64) {
    for (x, row) in column.iter_mut().zip(rows) {
        *x = entries[*row] * scale;
    }
}

/// `Σ z²/(d − λ)` and its slope `Σ z²/(d − λ)²`.
struct Sum<'a> {
    poles: &'a [f64],
    z: &'a [f64],
    root: Root,
}

impl WithSimd for Sum<'_> {
    type Output = [f64; 2];
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; 2] {
        let Self { poles, z, root } = self;
        let zero = simd.splat_f64s(0.0);
        let (origin, offset) = (simd.splat_f64s(root.origin), simd.splat_f64s(root.offset));
        let ((poles, poles_rest), (z, z_rest)) = (S::as_simd_f64s(poles), S::as_simd_f64s(z));
        let ((poles, poles_few), (z, z_few)) = (pulp::as_arrays::<4, _>(poles), pulp::as_arrays::<4, _>(z));
        let (mut sums, mut slopes) = ([zero; 4], [zero; 4]);
        let mut add = |l: usize, pole, z| {
            let share = simd.div_f64s(z, simd.sub_f64s(simd.sub_f64s(pole, origin), offset));
            sums[l] = simd.mul_add_e_f64s(z, share, sums[l]);
            slopes[l] = simd.mul_add_e_f64s(share, share, slopes[l]);
        };
        for (poles, z) in poles.iter().zip(z) {
            for l in 0..4 {
                add(l, poles[l], z[l]);
            }
        }
        for (pole, z) in poles_few.iter().zip(z_few) {
            add(0, *pole, *z);
        }
        let total = |x: [S::f64s; 4]| {
            simd.reduce_sum_f64s(simd.add_f64s(simd.add_f64s(x[0], x[1]), simd.add_f64s(x[2], x[3])))
        };
        let mut found = [total(sums), total(slopes)];
        for (pole, z) in poles_rest.iter().zip(z_rest) {
            let share = z / root.to(*pole);
            found[0] += z * share;
            found[1] += share * share;
        }
        found
    }
}

/// `(dᵢ − λ)/(dᵢ − d)` for the root above the pole `own`, into the products of all poles.
struct Ratios<'a> {
    poles: &'a [f64],
    own: usize,
    root: Root,
    product: &'a mut [f64],
}

impl WithSimd for Ratios<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { poles, own, root, product } = self;
        let pole = poles[own];
        let run = |product: &mut [f64], poles: &[f64]| {
            for (x, d) in product.iter_mut().zip(poles) {
                *x *= root.to(*d) / (d - pole);
            }
        };
        run(&mut product[..own], &poles[..own]);
        product[own] *= root.to(pole);
        run(&mut product[own + 1..], &poles[own + 1..]);
    }
}

/// `z/(d − λ)` for all poles; gives their length.
struct Entries<'a> {
    poles: &'a [f64],
    z: &'a [f64],
    root: Root,
    out: &'a mut [f64],
}

impl WithSimd for Entries<'_> {
    type Output = f64;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let Self { poles, z, root, out } = self;
        for ((x, d), z) in out.iter_mut().zip(poles).zip(z) {
            *x = z / root.to(*d);
        }
        let mut sums = [0.0; 8];
        let (whole, rest) = out.as_chunks::<8>();
        for x in whole {
            for l in 0..8 {
                sums[l] += x[l] * x[l];
            }
        }
        (sums.iter().sum::<f64>() + rest.iter().map(|x| x * x).sum::<f64>()).sqrt()
    }
}
