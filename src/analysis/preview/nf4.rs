//! What 4 bits cost, and what an adapter of a rank makes up for: NF4 as bitsandbytes has it, without double quantization.

use super::super::weighting::scaled;
use super::columns::QUANTIZED;
use super::{Notes, leading, norm, share, values};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::Value;
use crate::solver::{self, Weighting};

/// Entries that share a scale.
const BLOCK: usize = 64;
/// The levels of NF4 (Dettmers et al. 2023, appendix E), as bitsandbytes stores them.
const LEVELS: [f64; 16] = [
    -1.0,
    -0.696_192_800_998_687_7,
    -0.525_073_051_452_636_7,
    -0.394_917_488_098_144_53,
    -0.284_441_381_692_886_35,
    -0.184_773_430_228_233_34,
    -0.091_050_036_251_544_95,
    0.0,
    0.079_580_299_556_255_34,
    0.160_930_201_411_247_25,
    0.246_112_301_945_686_34,
    0.337_915_241_718_292_24,
    0.440_709_829_330_444_34,
    0.562_617_003_917_694_1,
    0.722_956_836_223_602_3,
    1.0,
];
/// Rounds of QPiSSA after which its error is told.
const TOLD: [usize; 3] = [1, 2, 5];

pub(super) fn measure(notes: &mut Notes, matrix: &Matrix, rank: usize) -> Result<(), Error> {
    let plain = less(matrix, &rounded(matrix)?)?;
    let (plain_norm, spectrum) = (norm(&plain)?, values(&plain)?);
    let plain_nuclear: f64 = spectrum.values().iter().sum();
    let rest: f64 = spectrum.values().iter().skip(rank).sum();
    let rest_norm = spectrum.values().iter().skip(rank).map(|s| s * s).sum::<f64>().sqrt();
    let (mut norms, mut nuclear) = (vec![], vec![]);
    let mut target = Matrix::from_f64(matrix.rows(), matrix.cols(), &matrix.to_f64())?;
    for round in 1..=TOLD[2] {
        let cut = leading(&target, (&Weighting::None, &Weighting::None), rank)?;
        let directions = (&scaled(&cut.left, &cut.values), &cut.right);
        let codes = rounded(&solver::less(matrix, directions)?)?;
        target = less(matrix, &codes)?;
        if TOLD.contains(&round) {
            let error = solver::less(&target, directions)?;
            norms.push(norm(&error)?);
            nuclear.push(values(&error)?.values().iter().sum::<f64>());
        }
    }
    let saved = |nuclear: f64| match share(nuclear, plain_nuclear) {
        Value::Real(left) => Value::real(1.0 - left),
        other => other,
    };
    notes.add(
        &QUANTIZED,
        [
            Value::real(plain_norm),
            share(plain_norm, norm(matrix)?),
            Value::real(plain_nuclear),
            saved(rest),
            saved(nuclear[0]),
            saved(nuclear[2]),
        ],
    );
    notes.lists.count("qpissa_rounds", TOLD);
    notes.lists.real("qpissa_error_norm", norms);
    notes.lists.real("qpissa_nuclear", nuclear);
    notes.lists.real("loftq_error_norm", [rest_norm]);
    notes.lists.real("loftq_nuclear", [rest]);
    Ok(())
}

/// The difference of two matrices of one shape.
fn less(matrix: &Matrix, other: &Matrix) -> Result<Matrix, Error> {
    let entries: Vec<f64> = matrix.to_f64().iter().zip(other.to_f64()).map(|(x, y)| x - y).collect();
    Matrix::from_f64(matrix.rows(), matrix.cols(), &entries)
}

/// Rounded to NF4 and back: blocks along the rows, each scaled by its largest magnitude; of two levels that are as near the
/// lower one.
fn rounded(matrix: &Matrix) -> Result<Matrix, Error> {
    let mut entries = matrix.to_f64();
    for block in entries.chunks_mut(BLOCK) {
        let largest = block.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        let scale = if largest > 0.0 { largest } else { 1.0 };
        block.iter_mut().for_each(|x| *x = scale * nearest(*x / scale));
    }
    Matrix::from_f64(matrix.rows(), matrix.cols(), &entries)
}

fn nearest(x: f64) -> f64 {
    let above = LEVELS.partition_point(|level| *level < x).min(LEVELS.len() - 1);
    let below = LEVELS[above.saturating_sub(1)];
    if (x - below).abs() <= (LEVELS[above] - x).abs() { below } else { LEVELS[above] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_level_is_the_nearest_of_all() {
        for i in -1000..=1000 {
            let x = f64::from(i) / 1000.0;
            let by_all = LEVELS.iter().copied().fold(2.0, |best: f64, level| {
                if (x - level).abs() < (x - best).abs() { level } else { best }
            });
            assert_eq!(nearest(x).to_bits(), by_all.to_bits(), "{x}");
        }
    }

    #[test]
    fn levels_stay_where_they_are_and_blocks_have_their_own_scale() {
        let entries: Vec<f64> = (0..160).map(|i| LEVELS[i % 16] * if i < 64 { 4.0 } else { 0.5 }).collect();
        let matrix = Matrix::from_f64(10, 16, &entries).expect("160 entries");
        assert_eq!(rounded(&matrix).expect("sizes agree"), matrix);
        let zeros = Matrix::from_f64(2, 2, &[0.0; 4]).expect("four entries");
        assert_eq!(rounded(&zeros).expect("sizes agree"), zeros);
    }
}
