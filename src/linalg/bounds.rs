//! Bounds on the best cosine of a direction with the eigenvectors of a matrix whose eigenvalues are known.
//!
//! Let `u` be a unit vector, `G = W·Wᵀ` with eigenvalues `λⱼ = σⱼ²` that are known, and `uⱼ` its eigenvectors. Lanczos
//! on `G` from `u` gives `G·Q = Q·T + β·q·eᵀ`; `T` has eigenvalues `θᵢ` whose eigenvectors begin with `aᵢ` and end with `zᵢ`.
//!
//! *From above.* A unit eigenvector splits into `y = Qᵀuⱼ`, in the basis of `T`, and `c = qᵀuⱼ`, with `|y|² + c² ≤ 1`, and
//! multiplying the Lanczos relation by it gives `(λⱼ − θᵢ)·yᵢ = β·c·zᵢ`. Where `θᵢ` is `λⱼ` up to rounding this says nothing
//! of `yᵢ`; elsewhere it gives `yᵢ` in terms of `c`. With `w` the sum of `aᵢ²` over the first kind, and over the second
//! `b = β·|Σ aᵢzᵢ/(λⱼ − θᵢ)|` and `κ = 1 + β²·Σ zᵢ²/(λⱼ − θᵢ)²`, the largest value of `uᵀuⱼ = Σ aᵢyᵢ` squared is `w + b²/κ`.
//! The largest of these over `j` bounds the best cosine. Because every `λⱼ` is known, it also holds between them.
//!
//! *From below.* `ρᵢ = β·|zᵢ|` is the residual of Ritz vector `i`, at which `u` has the cosine `|aᵢ|`. If no other eigenvalue is
//! nearer than `g`, it makes an angle of sine at most `s = ρᵢ/g` with the eigenvector (Davis & Kahan 1970), so the best
//! cosine is at least `|aᵢ|·√(1 − s²) − s·√(1 − aᵢ²)`.

use crate::spectrum::{Route, Spectrum};

/// Eigenvalues count as equal if they are closer than this many times their error.
pub(super) const EQUAL: f64 = 32.0;

/// First and last index of each run of descending `values` in which neighbors are closer than `gap`.
pub(super) fn clusters(values: &[f64], gap: f64) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = vec![];
    for (i, value) in values.iter().enumerate() {
        match runs.last_mut() {
            Some((_, last)) if values[*last] - value <= gap => *last = i,
            _ => runs.push((i, i)),
        }
    }
    runs
}

/// The eigenvalues of `W·Wᵀ` with their accuracy.
pub(super) struct Eigenvalues {
    /// Those whose vectors count, descending; a zero stands for those too small to decide.
    values: Vec<f64>,
    /// How far each may be off, the products' rounding included.
    pub(super) error: f64,
    /// Distinguishable groups: largest and smallest value, and the index of the first if they are equal. Not equal,
    /// yet not told apart, may be those whose squares are rounding; the last may stand for all that does not count.
    spaces: Vec<(f64, f64, Option<usize>)>,
}

impl Eigenvalues {
    pub(super) fn new(spectrum: &Spectrum, length: usize) -> Self {
        let largest = spectrum.largest() * spectrum.largest();
        let error = 4.0 * f64::EPSILON * spectrum.rows().max(spectrum.cols()) as f64 * largest;
        let mut values: Vec<f64> = spectrum.resolved().iter().map(|s| s * s).collect();
        let equal = EQUAL * f64::EPSILON * spectrum.rows().max(spectrum.cols()) as f64 * spectrum.largest();
        let space = |(first, last): (usize, usize)| {
            let spread = spectrum.values()[first] - spectrum.values()[last];
            (values[first], values[last], (spread <= equal).then_some(first))
        };
        let mut spaces: Vec<_> = clusters(&values, EQUAL * error).into_iter().map(space).collect();
        if values.len() < length {
            spaces.push((0.0, 0.0, None));
        }
        if spectrum.route() == Route::Gram && values.len() < spectrum.values().len() {
            values.push(0.0);
        }
        Self { values, error, spaces }
    }
}

/// An eigenvalue of `T`: `θ`, `a` and `β·z`.
pub(super) struct Ritz {
    pub(super) value: f64,
    pub(super) first: f64,
    pub(super) residual: f64,
}

/// No singular vector comes closer than this.
pub(super) fn upper(eigenvalues: &Eigenvalues, ritz: &[Ritz]) -> f64 {
    let error = eigenvalues.error;
    let near = EQUAL * error;
    let bound = |value: &f64| {
        let (mut met, mut sum, mut slack, mut spread) = (0.0, 0.0, 0.0, 1.0);
        for Ritz { value: theta, first, residual } in ritz {
            let distance = value - theta;
            if distance.abs() <= near {
                met += first * first;
            } else {
                let share = residual / distance;
                sum += first * share;
                spread += share * share;
                // The error of `distance` changes the sum by this much.
                slack += (first * share / distance).abs();
            }
        }
        let sum = sum.abs() + slack * error * (1.0 + 2.0 / EQUAL);
        met + sum * sum / spread
    };
    eigenvalues.values.iter().map(bound).fold(0.0, |a: f64, b| if a >= b { a } else { b }).sqrt()
}

/// Some singular vector comes as close as this, and which.
pub(super) fn lower(eigenvalues: &Eigenvalues, ritz: &[Ritz]) -> (f64, Option<usize>) {
    let Eigenvalues { spaces, error, .. } = eigenvalues;
    let mut best = (0.0, None);
    for Ritz { value, first, residual } in ritz {
        // The spaces above and below; the nearer one is the Ritz vector's own.
        let below = spaces.partition_point(|(_, smallest, _)| smallest > value);
        let distance = |i: usize| {
            spaces.get(i).map_or(f64::INFINITY, |(largest, smallest, _)| {
                (value - largest).max(smallest - value).max(0.0)
            })
        };
        let own = match below.checked_sub(1) {
            Some(above) if distance(above) < distance(below) => above,
            _ => below,
        };
        let Some((_, _, Some(index))) = spaces.get(own) else { continue };
        let gap = distance(own + 1).min(own.checked_sub(1).map_or(f64::INFINITY, distance)) - error;
        let sine = (residual.abs() + error) / gap;
        if gap > 0.0 && sine < 1.0 {
            let across = (1.0 - first * first).max(0.0).sqrt();
            let cosine = first.abs() * (1.0 - sine * sine).sqrt() - sine * across;
            if cosine > best.0 {
                best = (cosine, Some(*index));
            }
        }
    }
    best
}
