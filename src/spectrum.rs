//! The singular values of one matrix, with the accuracy they carry.
//!
//! A `Spectrum` is always finite, not negative and descending; users need not check.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// How the values were found, which decides how small a value they resolve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Route {
    /// From the eigenvalues of the Gram matrix: errors grow like `σ₁²/σ`.
    Gram,
    /// From the matrix itself: errors stay near rounding of `σ₁`.
    Direct,
}

/// Singular values `σ₁ ≥ σ₂ ≥ … ≥ 0` of a `rows` × `cols` matrix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Spectrum {
    values: Vec<f64>,
    rows: usize,
    cols: usize,
    route: Route,
    exponent: i32,
    /// The scale of rounding, if it is larger than σ₁; in the units of the values.
    size: f64,
}

/// A spectrum as it was written, which may be damaged.
#[derive(Deserialize)]
struct Unchecked {
    values: Vec<f64>,
    rows: usize,
    cols: usize,
    route: Route,
    exponent: i32,
    size: f64,
}

impl TryFrom<Unchecked> for Spectrum {
    type Error = Error;

    fn try_from(written: Unchecked) -> Result<Self, Error> {
        let Unchecked { values, rows, cols, route, exponent, size } = written;
        if !(size.is_finite() && size >= 0.0) {
            return Err(Error::NotConverged { rows, cols });
        }
        Ok(Self { size, ..Self::in_units(values, (rows, cols), route, exponent)? })
    }
}

/// `x·2^exponent`, which over- or underflows only where the result does.
pub fn scaled(x: f64, exponent: i32) -> f64 {
    const STEP: i32 = 1000;
    let step = exponent.clamp(-STEP, STEP);
    let product = x * f64::from_bits(((step + 1023) as u64) << 52);
    if step == exponent { product } else { scaled(product, exponent - step) }
}

/// The exponent of the largest power of two that is not above a normal positive `x`.
pub fn magnitude(x: f64) -> i32 {
    (((x.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(f64::MIN_EXP - 1)
}

impl Spectrum {
    /// Takes the `min(rows, cols)` singular values of a matrix, in any order.
    ///
    /// # Errors
    /// When a value is negative or not finite, or their number is not `min(rows, cols)`.
    pub fn new(mut values: Vec<f64>, rows: usize, cols: usize, route: Route) -> Result<Self, Error> {
        let sound = values.len() == rows.min(cols) && values.iter().all(|s| s.is_finite() && *s >= 0.0);
        if !sound {
            return Err(Error::NotConverged { rows, cols });
        }
        // −0 becomes 0, or it would be printed.
        for value in &mut values {
            *value += 0.0;
        }
        values.sort_by(|a, b| b.total_cmp(a));
        Ok(Self { values, rows, cols, route, exponent: 0, size: 0.0 })
    }

    /// The same of values in units of `2^exponent`. They keep that unit only where σ₁ itself does not fit a double, being too
    /// large or too small.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn in_units(
        mut values: Vec<f64>,
        (rows, cols): (usize, usize),
        route: Route,
        exponent: i32,
    ) -> Result<Self, Error> {
        let largest = values.iter().fold(0.0f64, |largest, s| largest.max(*s));
        let fits = largest <= 0.0 || !largest.is_finite() || scaled(largest, exponent).is_normal();
        if fits {
            values.iter_mut().for_each(|s| *s = scaled(*s, exponent));
        }
        Ok(Self { exponent: if fits { 0 } else { exponent }, ..Self::new(values, rows, cols, route)? })
    }

    /// The same, computed from terms of this size, which may cancel each other: rounding is relative to them. What cannot
    /// be told from zero is zero, as on the exact route.
    #[must_use]
    pub fn of_terms(self, size: f64) -> Self {
        let mut spectrum = Self { size, ..self };
        let floor = spectrum.floor();
        spectrum.values.iter_mut().filter(|s| **s <= floor).for_each(|s| *s = 0.0);
        spectrum
    }

    /// Whether the values are in the units of the matrix. If σ₁ does not fit a double they are in units of a power of
    /// two: ratios hold, and [`sized`](Self::sized) gives the size of one.
    pub fn fits(&self) -> bool {
        self.exponent == 0
    }

    /// The power of two that the values are in units of: 0 where they [`fits`](Self::fits).
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// The spectrum of the matrix times `2^exponent`.
    ///
    /// # Errors
    /// Never: the values keep the invariant of [`new`](Self::new).
    pub fn rescaled(&self, exponent: i32) -> Result<Self, Error> {
        let (shape, exponent) = ((self.rows, self.cols), self.exponent + exponent);
        let spectrum = Self::in_units(self.values.clone(), shape, self.route, exponent)?;
        let size = if spectrum.fits() { scaled(self.size, exponent) } else { self.size };
        Ok(spectrum.of_terms(size))
    }

    /// A number in the units of the values as one in the units of the weights; infinite or not a number where that is too
    /// large or too small for a double.
    pub fn sized(&self, x: f64) -> f64 {
        let sized = scaled(x, self.exponent);
        if sized == 0.0 && x != 0.0 { f64::NAN } else { sized }
    }

    /// `σ₁ ≥ σ₂ ≥ …`, `min(rows, cols)` of them.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How the values were found.
    pub fn route(&self) -> Route {
        self.route
    }

    /// `σ₁`, or 0 for an empty matrix.
    pub fn largest(&self) -> f64 {
        self.values.first().copied().unwrap_or(0.0)
    }

    /// `√Σσ²`, relative to `σ₁` on the way, so that squares neither over- nor underflow.
    pub fn norm(&self) -> f64 {
        let first = self.largest();
        let squares = self.values.iter().map(|s| (s / first).powi(2)).sum::<f64>();
        if first > 0.0 { first * squares.sqrt() } else { 0.0 }
    }

    /// The values above the [`floor`](Self::floor), descending.
    pub fn resolved(&self) -> &[f64] {
        let floor = self.floor();
        &self.values[..self.values.partition_point(|s| *s > floor)]
    }

    /// Up to 32 values at even steps from the first to the last: enough to draw the spectrum.
    pub fn sketch(&self) -> Vec<f64> {
        self.leading_sketch(self.values.len())
    }

    /// The same of the first `count` values, where the others are zero by construction.
    pub fn leading_sketch(&self, count: usize) -> Vec<f64> {
        const POINTS: usize = 32;
        let n = self.values.len().min(count);
        let steps = POINTS.min(n);
        (0..steps).map(|i| self.values[if steps < 2 { 0 } else { i * (n - 1) / (steps - 1) }]).collect()
    }

    /// Up to 200 of the first `count` values with their positions, all leading ones and the last among them: enough to
    /// draw any picture of the spectrum without keeping it.
    pub fn outline(&self, count: usize) -> Vec<(usize, f64)> {
        const POINTS: usize = 200;
        const LEADING: usize = 64;
        let n = self.values.len().min(count);
        if n <= POINTS {
            return self.values.iter().copied().enumerate().take(n).collect();
        }
        let (rest, steps) = (n - 1 - LEADING, POINTS - 1 - LEADING);
        let places = (0..LEADING).chain((0..=steps).map(|i| LEADING + i * rest / steps));
        places.map(|i| (i, self.values[i])).collect()
    }

    /// The smallest singular value that still carries information: anything below is rounding of the route.
    ///
    /// `Gram`: the eigenvalues are exact to about `max(m,n)·ε·σ₁²`, so `σ₁·√(max(m,n)·ε)`; `Direct`: `σ₁·max(m,n)·ε`, ε of f64.
    /// Where the matrix is a sum of larger terms, their size takes the place of `σ₁`.
    pub fn floor(&self) -> f64 {
        let rounding = self.rows.max(self.cols) as f64 * f64::EPSILON;
        match self.route {
            Route::Gram => self.largest() * rounding.sqrt(),
            Route::Direct => self.largest().max(self.size) * rounding,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spectrum_is_descending_whatever_the_solver_returned() {
        let spectrum = Spectrum::new(vec![1.0, 3.0, 2.0], 3, 5, Route::Direct).expect("sound values");
        assert_eq!(spectrum.values(), [3.0, 2.0, 1.0]);
        let spectrum = Spectrum::new(vec![-0.0, 3.0], 2, 2, Route::Gram).expect("sound values");
        assert!(spectrum.values()[1].is_sign_positive());
    }

    #[test]
    fn an_outline_holds_the_leading_values_and_the_last() {
        let outline = |n: usize| {
            let values = (0..n).map(|i| 1.0 / (1.0 + i as f64)).collect();
            Spectrum::new(values, n, n, Route::Direct).expect("sound values").outline(usize::MAX)
        };
        assert_eq!(outline(150).len(), 150);
        let long = outline(5000);
        assert_eq!((long.len(), long[63].0, long[64].0, long[199].0), (200, 63, 64, 4999));
        assert!(long.is_sorted_by(|a, b| a.0 < b.0 && a.1 > b.1));
        assert!(outline(201).is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn values_that_do_not_fit_a_double_keep_their_unit() {
        let spectrum = |exponent| {
            Spectrum::in_units(vec![3.0, 1.0], (2, 2), Route::Direct, exponent).expect("sound values")
        };
        assert_eq!((spectrum(1022).values()[0], spectrum(1022).fits()), (3.0 * 2f64.powi(1022), true));
        let large = spectrum(1023);
        assert_eq!((large.values(), large.exponent(), large.fits()), (&[3.0, 1.0][..], 1023, false));
        assert_eq!((large.sized(3.0), large.sized(1.0)), (f64::INFINITY, 2f64.powi(1023)));
        assert_eq!(
            (scaled(1.0, -1074), scaled(3.0, 2500), scaled(1e-300, 1990)),
            (f64::from_bits(1), f64::INFINITY, 1e-300 * 2f64.powi(1000) * 2f64.powi(990))
        );
        assert_eq!([1.0, 1.9, 0.5, 1.7e308, 1e-310].map(magnitude), [0, 0, -1, 1023, -1022]);
    }

    #[test]
    fn a_spectrum_refuses_what_no_matrix_has() {
        for values in [vec![f64::NAN, 1.0], vec![-1.0, 1.0], vec![f64::INFINITY, 1.0], vec![1.0]] {
            assert!(Spectrum::new(values.clone(), 2, 2, Route::Gram).is_err(), "{values:?}");
        }
    }
}
