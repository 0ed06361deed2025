//! Whether an adapter, with its base, holds what its method promises: orthonormal factors, a base without the directions
//! that the factors hold, the original weights.

mod columns;
mod invariants;

use crate::dialect::Pairs;
use crate::error::Error;
use crate::layer::Layer;
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::report::{Measurements, MissingReason, Value};
use crate::solver::{self, Cost, Entries, Form, Need, Precision};
use crate::weight::{Catalogue, ContentId, StoredFactors};

use super::Measured;
pub use columns::VERIFIED;
pub use invariants::{METHODS, Precisions, broken, judge};

/// What a module takes: the singular values of its base.
pub fn cost(pairs: &Pairs, layer: &Layer) -> Cost {
    let Ok(pair) = pairs.get(&layer.name) else {
        return solver::cost(&Form::of(layer, Precision::Fast), Need::Values);
    };
    let Cost { flops, bytes } = solver::cost(&Form::of(&pair.base, Precision::Fast).kept(), Need::Values);
    let passes = 4.0 * layer.rank.unwrap_or(1) as f64 * layer.len() as f64;
    Cost { flops: flops + passes, bytes: bytes + 2 * pair.base.bytes() }
}

/// Measures the module that `layer` of `source` is; `original` is the weight that training began with.
///
/// # Errors
/// When something cannot be read or decomposed, or the module is not two stored factors.
pub fn measure(
    source: &Catalogue,
    pairs: &Pairs,
    layer: &Layer,
    original: Option<(&Catalogue, &Layer)>,
) -> Result<Measured, Error> {
    let Some(factors) = source.stored_factors(layer)? else {
        return Err(Error::Usage(
            "is not the product of two stored factors; `--exclude` leaves it out".to_owned(),
        ));
    };
    let turn = |matrix: Matrix| if factors.transposed { matrix.transposed() } else { matrix };
    let base = &pairs.get(&layer.name)?.base;
    let base = turn(pairs.base().read(base, 0..base.rows)?);
    let original = original.map(|(source, layer)| source.read(layer, 0..layer.rows).map(turn)).transpose()?;
    let update = update(&factors)?;
    let shape = (base.rows(), base.cols());
    let bad = |matrix: &Matrix| Entries::of(matrix).nonfinite_count() > 0;
    if !update.is_finite() || bad(&base) || original.as_ref().is_some_and(bad) {
        return Err(Error::NotFinite { rows: shape.0, cols: shape.1 });
    }
    if (update.rows(), update.cols()) != shape {
        return Err(Error::Usage(format!("does not fit the base, which is {} × {}", shape.0, shape.1)));
    }
    let sums = Sums::of(&base, &factors, &update, original.as_ref());
    let spectrum = solver::singular_values(&base, Precision::Fast)?;
    let own = solver::singular_values(&update, Precision::Exact)?;
    let rms = sums.base / ((shape.0 * shape.1) as f64).sqrt();
    let noise =
        ((shape.0 as f64).sqrt() + (shape.1 as f64).sqrt()) * base.dtype().epsilon() * rms / 3f64.sqrt();
    // A residual takes up the rounding of the factors, too, and that of a decomposition in f32, as PEFT's.
    let single = 16.0 * f64::from(f32::EPSILON);
    let cut = noise.max(spectrum.floor()) + layer.dtype.epsilon().max(single) * own.largest();
    let kept: Vec<f64> = spectrum.values().iter().copied().take_while(|s| *s > cut).collect();
    let rank = factors.rank;
    let ratio = |part: f64, whole: f64, why| {
        if whole > 0.0 { Value::real(part / whole) } else { Value::Missing(why) }
    };
    let (rows, columns) = (factors.of_rows(), factors.of_columns());
    let values = [
        Value::count(rank),
        Value::Missing(MissingReason::NotApplicable),
        Value::real(own.norm()),
        Value::real(super::adapter::defect(&rows, rank)),
        Value::real(super::adapter::defect(&columns, rank)),
        slant(&rows, rank),
        slant(&columns, rank),
        ratio(sums.left, sums.up * sums.base, MissingReason::AllZero),
        ratio(sums.right, sums.down * sums.base, MissingReason::AllZero),
        Value::count(spectrum.values().len() - kept.len()),
        ratio(
            own.values().get(rank.wrapping_sub(1)).copied().unwrap_or(0.0),
            spectrum.largest(),
            MissingReason::ZeroBase,
        ),
        ratio(own.largest(), kept.last().copied().unwrap_or(0.0), MissingReason::ZeroBase),
        match original {
            Some(_) => ratio(sums.lost, sums.original, MissingReason::AllZero),
            None => Value::Missing(MissingReason::Absent),
        },
    ];
    Ok(Measured {
        values: Measurements(VERIFIED.iter().zip(values).collect()),
        ..Measured::nothing(ContentId::of_factors(&update))
    })
}

/// `s·B·diag(d)·A`, outputs × inputs.
fn update(factors: &StoredFactors) -> Result<LowRank, Error> {
    let by = |k: usize| factors.scale * factors.diagonal.as_ref().map_or(1.0, |d| d[k]);
    let rank = factors.rank.max(1);
    let up = factors.up.iter().enumerate().map(|(at, x)| x * by(at % rank)).collect();
    LowRank::new((factors.outputs(), factors.inputs()), factors.rank, up, factors.down.clone())
}

/// `‖G − I‖_F` of vectors brought to length 1, from their inner products; missing where one is zero.
fn slant(products: &[f64], rank: usize) -> Value {
    let length = |i: usize| products[i * (rank + 1)].max(0.0).sqrt();
    if (0..rank).any(|i| length(i) == 0.0) {
        return Value::Missing(MissingReason::AllZero);
    }
    let pairs = (0..rank).flat_map(|i| (0..i).map(move |j| (i, j)));
    let cosines = pairs.map(|(i, j)| products[i * rank + j] / (length(i) * length(j)));
    Value::real((2.0 * cosines.map(|x| x * x).sum::<f64>()).sqrt())
}

/// Norms of the base, of the factors, and of their products.
#[derive(Default)]
struct Sums {
    base: f64,
    up: f64,
    down: f64,
    left: f64,
    right: f64,
    original: f64,
    lost: f64,
}

impl Sums {
    fn of(base: &Matrix, factors: &StoredFactors, update: &LowRank, original: Option<&Matrix>) -> Self {
        let (cols, rank) = (base.cols(), factors.rank);
        let square = |entries: &[f64]| entries.iter().map(|x| x * x).sum::<f64>();
        let mut sums = Self { up: square(&factors.up), down: square(&factors.down), ..Self::default() };
        let (mut row, mut added, mut before) = (vec![0.0; cols], vec![0.0; cols], vec![0.0; cols]);
        let mut left = vec![0.0; rank * cols];
        for i in 0..base.rows() {
            base.widen(i * cols..(i + 1) * cols, &mut row);
            sums.base += square(&row);
            for (k, (a, left)) in factors.down.chunks_exact(cols).zip(left.chunks_exact_mut(cols)).enumerate()
            {
                let b = factors.up[i * rank + k];
                let mut along = 0.0;
                for ((left, x), a) in left.iter_mut().zip(&row).zip(a) {
                    *left += b * x;
                    along += a * x;
                }
                sums.right += along * along;
            }
            if let Some(original) = original {
                original.widen(i * cols..(i + 1) * cols, &mut before);
                update.row(i, &mut added);
                sums.original += square(&before);
                let lost = before.iter().zip(&row).zip(&added).map(|((w, x), y)| w - x - y);
                sums.lost += lost.map(|x| x * x).sum::<f64>();
            }
        }
        sums.left = square(&left);
        let roots =
            [sums.base, sums.up, sums.down, sums.left, sums.right, sums.original, sums.lost].map(f64::sqrt);
        let [base, up, down, left, right, original, lost] = roots;
        Self { base, up, down, left, right, original, lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_any_length_are_slanted_by_their_angles_alone() {
        // (3, 0), (4, 4): a cosine of √½, twice.
        let slanted = slant(&[9.0, 12.0, 12.0, 32.0], 2);
        assert!((slanted.number().expect("both have a length") - 1.0).abs() < 1e-15, "{slanted:?}");
        assert_eq!(slant(&[9.0, 0.0, 0.0, 4.0], 2), Value::Real(0.0));
        assert_eq!(slant(&[9.0, 0.0, 0.0, 0.0], 2), Value::Missing(MissingReason::AllZero));
    }

    #[test]
    fn products_with_the_base_by_hand() {
        let base = Matrix::from_f64(2, 2, &[3.0, 0.0, 0.0, 4.0]).expect("four entries");
        let factors = StoredFactors {
            up: vec![1.0, 0.0],
            down: vec![0.0, 2.0],
            rank: 1,
            diagonal: Some(vec![0.5]),
            scale: 3.0,
            transposed: false,
        };
        let update = update(&factors).expect("two by two");
        assert_eq!(update.dense(0..2).expect("its rows").to_f64(), [0.0, 3.0, 0.0, 0.0]);
        let sums = Sums::of(&base, &factors, &update, Some(&base));
        assert_eq!((sums.left, sums.right, sums.base, sums.lost), (3.0, 8.0, 5.0, 3.0));
    }
}
