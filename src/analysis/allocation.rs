//! From one exponent a layer to a decision a layer: how much to prune, how fast to learn.
//!
//! A large exponent is a light tail, the mark of a layer that learned little: it is pruned more (AlphaPruning, Lu et al.
//! 2024) and trained faster (TempBalance, Zhou et al. 2023). Equal exponents give equal shares, never a division by
//! zero. Nothing here knows how an exponent was found.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::report::{Accuracy, Column, Format, MissingReason, Quantity, Report, RowValues, Value};

/// The rank that `rank --emit` gives a matrix.
pub static ASSIGNED_RANK: Column = Column {
    key: "assigned_rank",
    label: "assigned",
    format: Format::Count,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "the rank that `rank --emit peft-rank-pattern` or `kohya` writes for the matrix",
    range: "[0, min(m, n)]",
    source: "setting",
};

/// The share that `farms --allocate sparsity` gives a matrix.
pub static ASSIGNED_SPARSITY: Column = Column {
    key: "assigned_sparsity",
    label: "prune",
    format: Format::Share,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "the share of the entries to prune that `farms --allocate sparsity` writes for the matrix",
    range: "[0, 1]",
    source: "setting",
};

/// The rate that `farms --allocate lr` gives a matrix.
pub static ASSIGNED_RATE: Column = Column {
    key: "assigned_rate",
    label: "rate",
    format: Format::Real,
    quantity: Quantity::Matrix(Accuracy::Exact),
    doc: "the learning rate that `farms --allocate lr` writes for the matrix",
    range: "(0, ∞)",
    source: "setting",
};

/// Adds `column` to a report, with these values by the names of matrices.
pub fn assign(report: &mut Report, column: &'static Column, values: &BTreeMap<&str, Value>) {
    let none = Value::Missing(MissingReason::NotApplicable);
    report.columns.push(column);
    let columns: Arc<[_]> = report.columns.as_slice().into();
    for row in report.rows.iter_mut().filter(|row| !row.values.is_empty()) {
        let own = values.get(row.name.as_str()).copied().unwrap_or(none);
        let numbers = columns
            .iter()
            .map(|other| if other.key == column.key { Some(own) } else { row.values.get(other.key) });
        row.values = RowValues::new(&columns, numbers.collect());
    }
}

/// How to treat layers whose share would exceed 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// They are pruned whole and the rest goes to the others: the total is kept.
    Redistribute,
    /// As in FARMS' code: 0.998 (0.99999 where the target is 0.7), and the total is missed.
    Clip,
}

/// Sparsities of layers with these exponents and sizes, whose mean over all entries is `target`, between 0 and 1.
///
/// `s ∝ 1 − ε + 2ε·(α − min α)/(max α − min α)`, `epsilon` in [0, 1).
pub fn sparsities(alphas: &[f64], sizes: &[f64], (target, epsilon): (f64, f64), excess: Excess) -> Vec<f64> {
    let place = |alpha: &f64| 1.0 - epsilon + 2.0 * epsilon * place(alphas, *alpha);
    let shares: Vec<f64> = alphas.iter().map(place).collect();
    let mut whole = vec![false; shares.len()];
    loop {
        let pruned: f64 = sizes.iter().sum::<f64>() * target;
        let kept = |i: &usize| !whole[*i];
        let spent: f64 = (0..shares.len()).filter(|i| whole[*i]).map(|i| sizes[i]).sum();
        let weights: f64 = (0..shares.len()).filter(kept).map(|i| sizes[i] * shares[i]).sum();
        let scale = (pruned - spent) / weights;
        let sparsity = |i: usize| if whole[i] { 1.0 } else { shares[i] * scale };
        let sparsities: Vec<f64> = (0..shares.len()).map(sparsity).collect();
        let above: Vec<usize> = (0..shares.len()).filter(|i| sparsities[*i] > 1.0).collect();
        if above.is_empty() {
            return sparsities;
        }
        if excess == Excess::Clip {
            let most = if (target - 0.7).abs() < 1e-12 { 0.99999 } else { 0.998 };
            return sparsities.iter().map(|s| if *s > 1.0 { most } else { *s }).collect();
        }
        above.into_iter().for_each(|i| whole[i] = true);
    }
}

/// How an exponent becomes a learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Map {
    /// From the lowest multiple of the base rate at the smallest exponent to the highest at the largest, in a straight line.
    Linear,
    /// √α over the mean of √α.
    Sqrt,
    /// log₂ α over the mean of log₂ α.
    Log2,
    /// By rank: `low + (high − low)·j/n` for the j-th smallest of n, counted from 0.
    Step,
    /// `10^(c·(1/(1 + e^(−10·(α − mean))) − ½))`, c the high scale above the mean and the low one below it.
    Sigmoid,
}

/// Steepness of the sigmoid.
const STEEPNESS: f64 = 10.0;

/// Multiples of the base learning rate for layers with these exponents, all above 1.
pub fn rates(alphas: &[f64], map: Map, (low, high): (f64, f64)) -> Vec<f64> {
    let n = alphas.len() as f64;
    let over_mean = |value: fn(f64) -> f64| {
        let sum: f64 = alphas.iter().map(|alpha| value(*alpha)).sum();
        alphas.iter().map(|alpha| value(*alpha) / sum * n).collect()
    };
    let equal = alphas.iter().all(|alpha| alpha.total_cmp(&alphas[0]).is_eq());
    match map {
        _ if equal => vec![1.0; alphas.len()],
        Map::Linear => alphas.iter().map(|alpha| low + (high - low) * place(alphas, *alpha)).collect(),
        Map::Sqrt => over_mean(f64::sqrt),
        Map::Log2 => over_mean(f64::log2),
        Map::Step => {
            let mut order: Vec<usize> = (0..alphas.len()).collect();
            order.sort_by(|a, b| alphas[*a].total_cmp(&alphas[*b]));
            let mut rates = vec![0.0; alphas.len()];
            for (rank, i) in order.into_iter().enumerate() {
                rates[i] = low + (high - low) * rank as f64 / n;
            }
            rates
        }
        Map::Sigmoid => {
            let mean = alphas.iter().sum::<f64>() / n;
            let rate = |alpha: &f64| {
                let x = alpha - mean;
                let scale = if x > 0.0 { high } else { low };
                10f64.powf(scale * (1.0 / (1.0 + (-STEEPNESS * x).exp()) - 0.5))
            };
            alphas.iter().map(rate).collect()
        }
    }
}

/// Every exponent replaced by the mean over the layers of the same group.
pub fn means<G: Ord>(alphas: &[f64], groups: &[G]) -> Vec<f64> {
    let mut sums: BTreeMap<&G, (f64, f64)> = BTreeMap::new();
    for (group, alpha) in groups.iter().zip(alphas) {
        let (sum, count) = sums.entry(group).or_default();
        *sum += alpha;
        *count += 1.0;
    }
    let mean = |group: &G| sums.get(group).map_or(0.0, |(sum, count)| sum / count);
    groups.iter().map(mean).collect()
}

/// Where `alpha` lies between the smallest and the largest, from 0 to 1; the middle where all are equal.
fn place(alphas: &[f64], alpha: f64) -> f64 {
    let low = alphas.iter().copied().fold(f64::INFINITY, f64::min);
    let high = alphas.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low < high { (alpha - low) / (high - low) } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12);
        assert!(close, "{found:?} is not {expected:?}");
    }

    fn total(sparsities: &[f64], sizes: &[f64]) -> f64 {
        sparsities.iter().zip(sizes).map(|(s, n)| s * n).sum::<f64>() / sizes.iter().sum::<f64>()
    }

    #[test]
    fn alphaprunings_example_is_reproduced() {
        let expected = [0.515_789_473_684_210_5, 0.663_157_894_736_842_1, 0.957_894_736_842_105_2];
        let sizes = [100.0, 200.0, 100.0];
        for excess in [Excess::Redistribute, Excess::Clip] {
            check(&sparsities(&[2.0, 3.0, 5.0], &sizes, (0.7, 0.3), excess), &expected);
        }
    }

    #[test]
    fn what_exceeds_one_goes_to_the_others() {
        let (alphas, sizes) = ([2.0, 3.0, 5.0, 5.1], [100.0, 200.0, 100.0, 50.0]);
        let kept = sparsities(&alphas, &sizes, (0.8, 0.5), Excess::Redistribute);
        assert!((total(&kept, &sizes) - 0.8).abs() < 1e-15, "{kept:?}");
        check(&kept[2..], &[1.0, 1.0]);
        let clipped = sparsities(&alphas, &sizes, (0.8, 0.5), Excess::Clip);
        check(&clipped[2..], &[0.998, 0.998]);
        assert!(total(&clipped, &sizes) < 0.75, "{clipped:?}");
        check(&sparsities(&alphas, &sizes, (0.7, 0.6), Excess::Clip)[3..], &[0.99999]);
    }

    #[test]
    fn equal_exponents_share_alike() {
        check(&sparsities(&[3.0; 3], &[1.0, 2.0, 3.0], (0.7, 0.3), Excess::Redistribute), &[0.7; 3]);
        for map in [Map::Linear, Map::Sqrt, Map::Log2, Map::Step, Map::Sigmoid] {
            check(&rates(&[3.0; 3], map, (0.5, 1.5)), &[1.0; 3]);
            check(&rates(&[3.0], map, (0.5, 1.5)), &[1.0]);
            check(&rates(&[], map, (0.5, 1.5)), &[]);
        }
    }

    #[test]
    fn rates_follow_their_formulas() {
        let alphas = [2.0, 8.0, 4.0];
        check(&rates(&alphas, Map::Linear, (0.5, 1.5)), &[0.5, 1.5, 0.5 + 1.0 / 3.0]);
        check(&rates(&alphas, Map::Log2, (0.5, 1.5)), &[0.5, 1.5, 1.0]);
        check(&rates(&alphas, Map::Step, (0.5, 1.5)), &[0.5, 0.5 + 2.0 / 3.0, 0.5 + 1.0 / 3.0]);
        let roots = 3.0 / (2f64.sqrt() + 8f64.sqrt() + 2.0);
        check(
            &rates(&alphas, Map::Sqrt, (0.5, 1.5)),
            &[roots * 2f64.sqrt(), roots * 8f64.sqrt(), roots * 2.0],
        );
        let sigmoid = rates(&[1.9, 2.1], Map::Sigmoid, (0.25, 0.5));
        let half = 1.0 / (1.0 + (-1f64).exp()) - 0.5;
        check(&sigmoid, &[10f64.powf(-0.25 * half), 10f64.powf(0.5 * half)]);
    }

    #[test]
    fn a_group_shares_its_mean() {
        check(&means(&[1.0, 2.0, 6.0], &["a", "b", "a"]), &[3.5, 2.0, 3.5]);
    }
}
