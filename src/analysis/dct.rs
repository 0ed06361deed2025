//! The cosine basis in place of the singular one: how much of a matrix a few fixed directions hold.
//!
//! DCT-II, orthonormal: `Q_ij = √(2/n)·cos(πi(2j + 1)/2n)`, the first row over √2. The shorter side is transformed, rows of a tall
//! matrix by `G·Qᵀ`, columns of a wide one by `Q·G`; no decomposition is made for it.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::layer::Layer;
use crate::report::{Column, Lists, MissingReason, Value};
use crate::solver::{self, Cost};
use crate::spectrum::Spectrum;

const DCT: &str = "Modoranu et al. 2025, arXiv 2505.17967, with G·Qᵀ as its fast transform has it";
const MODES: &str = "Poli et al. 2022, arXiv 2211.14453";

const fn share(key: &'static str, label: &'static str, doc: &'static str, source: &'static str) -> Column {
    Column::real(key, label, doc, "[0, 1]", source).as_share()
}

/// The columns of a rank k, in report order; keys and labels end in the rank.
pub static FAMILIES: [Column; 4] = [
    share(
        "dct_energy",
        "DCT",
        "share of Σx² that k directions of the cosine basis hold, those of the largest sums of magnitudes",
        DCT,
    ),
    share("dct_best_energy", "DCT best", "the same by the k directions that hold most", DCT),
    share("dct_first_energy", "DCT first", "the same by the k directions of the lowest frequencies", MODES),
    share("dct_efficiency", "DCT/SVD", "dct_energy over what the k leading singular directions hold", DCT),
];

/// The columns at these ranks. They live as long as the program: call this once a run.
pub fn columns(ranks: &[usize]) -> Vec<&'static Column> {
    ranks.iter().flat_map(|rank| FAMILIES.iter().map(|family| at(family, *rank))).collect()
}

fn at(family: &'static Column, rank: usize) -> &'static Column {
    let (key, label) =
        (format!("{}_at_{rank}", family.key).leak(), format!("{} {rank}", family.label).leak());
    Box::leak(Box::new(Column { key, label, ..*family }))
}

/// The family that `key` is of, and its rank if it has one.
pub fn family(key: &str) -> Option<(&'static Column, Option<usize>)> {
    let (name, rank) = match key.rsplit_once("_at_") {
        Some((name, rank)) => (name, Some(rank.parse().ok()?)),
        None => (key, None),
    };
    Some((FAMILIES.iter().find(|family| family.key == name)?, rank))
}

/// The column that a report calls `key`.
pub fn of_key(key: &str) -> Option<&'static Column> {
    let (family, rank) = family(key)?;
    Some(at(family, rank?))
}

/// What it takes beside the singular values.
pub fn cost(layer: &Layer) -> Cost {
    let short = layer.rows.min(layer.cols);
    let entries = (layer.len() + short * short) as u64;
    Cost { flops: 2.0 * layer.len() as f64 * short as f64, bytes: 24 * entries }
}

/// So many rows are transformed at a time.
const BLOCK: usize = 256;

/// How much each direction of the cosine basis holds.
struct Shares {
    /// Sums of squares, by frequency.
    squares: Vec<f64>,
    /// Sums of magnitudes.
    magnitudes: Vec<f64>,
}

impl Shares {
    fn of(entries: &[f64], (rows, cols): (usize, usize)) -> Self {
        let turned: Vec<f64>;
        let (lines, side) = if rows >= cols {
            (entries, cols)
        } else {
            turned = (0..rows * cols).map(|k| entries[k % rows * cols + k / rows]).collect();
            (&turned[..], rows)
        };
        let basis = basis(side);
        let (mut squares, mut magnitudes) = (vec![0.0; side], vec![0.0; side]);
        for block in lines.chunks(BLOCK * side) {
            for row in solver::row_products(block, &basis, side).chunks_exact(side) {
                for (j, x) in row.iter().enumerate() {
                    squares[j] += x * x;
                    magnitudes[j] += x.abs();
                }
            }
        }
        Self { squares, magnitudes }
    }

    /// Frequencies, those of the largest `sizes` first.
    fn order(sizes: &[f64]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by(|a, b| sizes[*b].total_cmp(&sizes[*a]));
        order
    }
}

/// The rows of Q, one after the other.
fn basis(side: usize) -> Vec<f64> {
    let scale = (2.0 / side as f64).sqrt();
    let entry = |k: usize| {
        let (i, j) = (k / side, k % side);
        // The angle within one turn, so that high frequencies lose no digits.
        let steps = i * (2 * j + 1) % (4 * side);
        let cosine = (PI * steps as f64 / (2 * side) as f64).cos();
        scale * if i == 0 { FRAC_1_SQRT_2 } else { cosine }
    };
    (0..side * side).map(entry).collect()
}

/// The values of [`columns`] at these ranks for finite `entries`, and the order in which directions are taken.
pub fn measure(
    entries: &[f64],
    shape: (usize, usize),
    spectrum: Option<&Spectrum>,
    ranks: &[usize],
) -> (Vec<Value>, Lists) {
    let none = |why| (vec![Value::Missing(why); ranks.len() * FAMILIES.len()], Lists::default());
    if entries.iter().any(|x| !x.is_finite()) {
        return none(MissingReason::NonFinite);
    }
    let all: f64 = entries.iter().map(|x| x * x).sum();
    if all == 0.0 {
        return none(MissingReason::AllZero);
    }
    if !all.is_normal() {
        return none(MissingReason::Overflow);
    }
    let shares = Shares::of(entries, shape);
    let [by_magnitude, best] = [&shares.magnitudes, &shares.squares].map(|sizes| Shares::order(sizes));
    let sum = |order: &mut dyn Iterator<Item = usize>| order.map(|j| shares.squares[j]).sum::<f64>() / all;
    let side = shares.squares.len();
    let mut values = vec![];
    for rank in ranks {
        if *rank > side {
            values.extend([Value::Missing(MissingReason::TooFewDirections); FAMILIES.len()]);
            continue;
        }
        let held = sum(&mut by_magnitude.iter().take(*rank).copied());
        let singular = spectrum.map(|spectrum| {
            let squares = |count: usize| spectrum.values().iter().take(count).map(|s| s * s).sum::<f64>();
            squares(*rank) / squares(side)
        });
        values.extend([
            Value::real(held),
            Value::real(sum(&mut best.iter().take(*rank).copied())),
            Value::real(sum(&mut (0..*rank))),
            singular.map_or(Value::Missing(MissingReason::NotDecomposed), |s| Value::real(held / s)),
        ]);
    }
    let mut lists = Lists::default();
    lists.count("dct_order", by_magnitude.into_iter().take(ranks.iter().copied().max().unwrap_or(0)));
    (values, lists)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spectrum::Route;

    #[test]
    fn the_basis_is_orthonormal() {
        for side in [1, 2, 7, 64] {
            let basis = basis(side);
            for (k, product) in solver::row_products(&basis, &basis, side).iter().enumerate() {
                let expected = f64::from(u8::from(k / side == k % side));
                assert!((product - expected).abs() < 1e-13, "{side}: {product}");
            }
        }
    }

    #[test]
    fn rows_that_are_one_wave_take_one_direction() {
        let side = 8;
        let wave = &basis(side)[3 * side..4 * side];
        let tall: Vec<f64> =
            (0..12).flat_map(|i| wave.iter().map(move |x| (f64::from(i) - 4.5) * x)).collect();
        let wide: Vec<f64> = (0..side)
            .flat_map(|j| (0..12).map(move |i| f64::from(i) + 1.0).map(move |x| x * wave[j]))
            .collect();
        for (entries, shape) in [(tall, (12, side)), (wide, (side, 12))] {
            let spectrum = Spectrum::new(
                vec![1.0; 1].into_iter().chain([0.0; 7]).collect(),
                shape.0,
                shape.1,
                Route::Direct,
            );
            let spectrum = spectrum.expect("sound");
            let (values, lists) = measure(&entries, shape, Some(&spectrum), &[1, 9]);
            for value in &values[..4] {
                let expected = if value == &values[2] { 0.0 } else { 1.0 };
                assert!((value.number().expect("a number") - expected).abs() < 1e-12, "{values:?}");
            }
            assert_eq!(values[4], Value::Missing(MissingReason::TooFewDirections));
            assert!((lists.get("dct_order")[0] - 3.0).abs() < 1e-15);
        }
    }
}
