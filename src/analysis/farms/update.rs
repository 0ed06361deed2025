//! The windows of an update stored as thin factors: a window of the product is the product of rows of the left factor
//! and columns of the right one, so none is ever multiplied out.

use crate::error::Error;
use crate::linalg::{self, Cost, Places, Windows};
use crate::low_rank::LowRank;
use crate::spectrum::Spectrum;

/// The spectra of all windows, row by row: at most as many values each as the update has directions.
pub(super) fn spectra(factors: &LowRank, windows: &Windows) -> Result<Vec<Spectrum>, Error> {
    let mut spectra = Vec::with_capacity(windows.count());
    for top in &windows.rows.starts {
        for left in &windows.cols.starts {
            let window = cut(factors, (*top, &windows.rows), (*left, &windows.cols))?;
            spectra.push(linalg::low_rank_values(&window)?);
        }
    }
    Ok(spectra)
}

/// What they cost, themselves included.
pub(super) fn cost(rank: usize, windows: &Windows) -> Cost {
    let one = linalg::low_rank_cost(windows.rows.length, windows.cols.length, rank);
    let spectra = 8 * (windows.count() * windows.rows.length.min(windows.cols.length)) as u64;
    Cost { flops: windows.count() as f64 * one.flops, bytes: spectra + one.bytes }
}

/// The factors of one window.
fn cut(
    factors: &LowRank,
    (top, rows): (usize, &Places),
    (left, cols): (usize, &Places),
) -> Result<LowRank, Error> {
    let rank = factors.rank();
    let tall = factors.left()[top * rank..(top + rows.length) * rank].to_vec();
    let row = |r: usize| &factors.right()[r * factors.cols() + left..][..cols.length];
    let wide = (0..rank).flat_map(row).copied().collect();
    LowRank::new((rows.length, cols.length), rank, tall, wide)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::Precision;

    #[test]
    fn windows_of_factors_are_windows_of_their_product() {
        let (shape, rank) = ((30, 20), 3);
        let entry = |i: usize| ((i * 37 + 11) % 101) as f64 / 50.0 - 1.0;
        let left: Vec<f64> = (0..shape.0 * rank).map(entry).collect();
        let right: Vec<f64> = (7..7 + rank * shape.1).map(entry).collect();
        let factors = LowRank::new(shape, rank, left, right).expect("sizes agree");
        let windows = Windows {
            rows: Places { length: 9, starts: vec![0, 5, 21] },
            cols: Places { length: 8, starts: vec![0, 12] },
        };
        let dense = factors.dense(0..shape.0).expect("fits");
        let expected = windows.spectra(&dense, Precision::Exact).expect("converges");
        for (found, expected) in spectra(&factors, &windows).expect("converges").iter().zip(&expected) {
            for (found, value) in found.values().iter().zip(expected.values()) {
                assert!((found - value).abs() < 1e-13 * expected.largest(), "{found:e} is not {value:e}");
            }
        }
    }
}
