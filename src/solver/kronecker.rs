//! Kronecker products by the two matrices that are multiplied, which are never multiplied out: their singular values are
//! the products of both, and so are entries and norms.

use super::choice::Precision;
use super::entries::{Entries, Entry};
use super::held::Held;
use super::memory::singular_values;
use crate::error::Error;
use crate::layer::Layer;
use crate::spectrum::{Route, Spectrum, magnitude, scaled};
use crate::weight::{Catalogue, ContentId};

/// Two matrices in memory, and what their product is multiplied by.
pub struct Pair {
    shape: (usize, usize),
    both: [Held; 2],
    scale: f64,
}

impl Pair {
    /// The matrices that `layer` is the product of, if it is one.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(source: &Catalogue, layer: &Layer) -> Result<Option<Self>, Error> {
        let Some((operands, [first, second], scale)) = source.operands(layer) else { return Ok(None) };
        let both = [Held::read(&operands, &first)?, Held::read(&operands, &second)?];
        Ok(Some(Self { shape: (layer.rows, layer.cols), both, scale }))
    }

    /// What its entries say.
    ///
    /// # Errors
    /// When one does not fit a double.
    pub fn entries(&self) -> Result<Entries, Error> {
        let [first, second] =
            self.both.each_ref().map(|held| of_all(held).map(|entries| (entries, height(held))));
        let ((first, rows), (second, height)) = (first?, second?);
        let nonfinite = first.nonfinite_count() + second.nonfinite_count();
        let zero_rows = rows * height - (rows - first.zero_rows()) * (height - second.zero_rows());
        let largest = first.largest().zip(second.largest()).map(|(one, other)| Entry {
            row: one.row * height + other.row,
            column: one.column * width(&self.both[1]) + other.column,
            value: self.scale * one.value * other.value,
        });
        if largest.is_some_and(|entry| !entry.value.is_finite()) {
            return Err(Error::Overflow("an entry".to_owned()));
        }
        Ok(Entries::of_product(nonfinite, zero_rows, largest))
    }

    /// What it is called equal by.
    pub fn identity(&self) -> ContentId {
        let mut hash = blake3::Hasher::new();
        let identities = self.both.each_ref().map(Held::identity);
        for one in &identities {
            hash.update(one.blake3.as_bytes());
        }
        hash.update(&self.scale.to_le_bytes());
        let varies = identities.iter().any(|one| one.varies) && self.scale != 0.0;
        ContentId { blake3: hash.finalize(), varies }
    }

    /// Its singular values.
    pub(super) fn spectrum(&self) -> Result<Spectrum, Error> {
        let (rows, cols) = self.shape;
        let [one, other] = self.both.each_ref().map(|held| singular_values(held, Precision::Exact));
        let (one, other) = (one?, other?);
        // Powers of two near the largest, so that no product over- or underflows alone.
        let unit =
            |spectrum: &Spectrum| if spectrum.largest() > 0.0 { magnitude(spectrum.largest()) } else { 0 };
        let (mine, theirs) = (unit(&one), unit(&other));
        let of_scale = if self.scale == 0.0 { 0 } else { magnitude(self.scale.abs()) };
        let scale = scaled(self.scale.abs(), -of_scale);
        let near = |spectrum: &Spectrum, unit: i32| -> Vec<f64> {
            spectrum.values().iter().map(|s| scaled(*s, -unit)).collect()
        };
        let (first, second) = (near(&one, mine), near(&other, theirs));
        let mut values: Vec<f64> =
            first.iter().flat_map(|x| second.iter().map(move |y| scale * x * y)).collect();
        values.resize(rows.min(cols), 0.0);
        let exponent = one.exponent() + other.exponent() + mine + theirs + of_scale;
        let spectrum = Spectrum::in_units(values, (rows, cols), Route::Direct, exponent)?;
        // Rounding of either is as large as its floor.
        let floor = |of: &Spectrum, unit: i32, with: &[f64]| {
            scaled(of.floor(), -unit) * with.first().copied().unwrap_or(0.0) * scale
        };
        let floor = floor(&one, mine, &second).max(floor(&other, theirs, &first));
        let size = floor / (rows.max(cols) as f64 * f64::EPSILON);
        Ok(if spectrum.fits() { spectrum.of_terms(scaled(size, exponent)) } else { spectrum.of_terms(size) })
    }
}

fn height(held: &Held) -> usize {
    match held {
        Held::Dense(matrix) => matrix.rows(),
        Held::Thin(product) => product.rows(),
    }
}

fn width(held: &Held) -> usize {
    match held {
        Held::Dense(matrix) => matrix.cols(),
        Held::Thin(product) => product.cols(),
    }
}

/// What all entries say, those of a product a few rows at a time.
fn of_all(held: &Held) -> Result<Entries, Error> {
    const BLOCK: usize = 1 << 18;
    let product = match held {
        Held::Dense(_) => return Ok(held.entries()),
        Held::Thin(product) => product,
    };
    let (rows, cols) = (product.rows(), product.cols());
    let mut entries = Entries::of_numbers();
    for first in (0..rows).step_by((BLOCK / cols.max(1)).max(1)) {
        let last = rows.min(first + (BLOCK / cols.max(1)).max(1));
        entries.push(&product.dense(first..last)?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::low_rank::LowRank;
    use crate::matrix::Matrix;

    fn entry(i: usize) -> f64 {
        ((i * 37 + 11) % 101) as f64 / 50.0 - 1.0
    }

    #[test]
    fn values_and_entries_are_those_of_the_product() {
        let (a, b, c, d) = (3, 4, 5, 2);
        let first: Vec<f64> = (0..a * b).map(entry).collect();
        let thin = LowRank::new((c, d), 1, (5..5 + c).map(entry).collect(), (9..9 + d).map(entry).collect());
        let thin = thin.expect("sizes agree");
        let second = thin.dense(0..c).expect("its rows").to_f64();
        for scale in [1.0, -0.25, 1e-200, 1e200] {
            let dense: Vec<f64> = (0..a * c)
                .flat_map(|i| (0..b * d).map(move |j| (i, j)))
                .map(|(i, j)| scale * first[i / c * b + j / d] * second[i % c * d + j % d])
                .collect();
            let dense = Matrix::from_f64(a * c, b * d, &dense).expect("sizes agree");
            let held =
                [Held::Dense(Matrix::from_f64(a, b, &first).expect("sizes agree")), Held::Thin(thin.clone())];
            let pair = Pair { shape: (a * c, b * d), both: held, scale };
            let expected = singular_values(&dense, Precision::Exact).expect("converges");
            let found = pair.spectrum().expect("converges");
            for (found, value) in found.values().iter().zip(expected.values()) {
                assert!((found - value).abs() <= 1e-13 * expected.largest(), "{found:e} is not {value:e}");
            }
            let (entries, whole) = (pair.entries().expect("fits"), Entries::of(&dense));
            let close = |x: f64, y: f64| (x - y).abs() <= 1e-15 * y.abs();
            assert!(close(entries.max_abs(), whole.max_abs()), "{} {}", entries.max_abs(), whole.max_abs());
            assert_eq!(
                entries.largest().map(|at| (at.row, at.column)),
                whole.largest().map(|at| (at.row, at.column))
            );
        }
    }
}
