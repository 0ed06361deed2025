//! A model in one line.

use std::collections::BTreeMap;

use super::view::{self, Matrix};
use super::{Of, is_weightwatcher};
use crate::report::{Report, Summary, Value};

/// A fit on fewer values says little.
const FITTED: f64 = 50.0;

/// What WeightWatcher's `get_summary` takes the means of.
const MEANS: [&str; 8] = [
    "log_norm",
    "alpha",
    "alpha_weighted",
    "log_alpha_norm",
    "log_spectral_norm",
    "stable_rank",
    "mp_softrank",
    "entropy",
];

/// The summary of a report on one model's weights; none of comparisons and updates.
pub fn summary(report: &Report) -> Option<Summary> {
    if report.base.is_some() || report.totals.compared.is_some() {
        return None;
    }
    if is_weightwatcher(report) {
        let mean = |key: &'static str| {
            let values = report.rows.iter().filter_map(|row| row.values.get(key).and_then(Value::number));
            let values: Vec<f64> = values.collect();
            (!values.is_empty()).then(|| (key.to_owned(), values.iter().sum::<f64>() / values.len() as f64))
        };
        return Some(Summary::Weightwatcher(MEANS.into_iter().filter_map(mean).collect()));
    }
    // Of some of them it would say that there is nothing of the others.
    let has = |key: &&str| report.columns.iter().any(|column| column.key == *key);
    if !["alpha", "tail_count", "stable_rank"].iter().all(has) {
        return None;
    }
    let sides = view::sides(report);
    let weights = sides.first()?.of(Of::Weights);
    if !weights.iter().any(|matrix| matrix.value("stable_rank").is_some()) {
        return None;
    }
    let sound = |matrix: &Matrix<'_>| matrix.number("tail_count").is_some_and(|count| count >= FITTED);
    let alphas: Vec<f64> =
        weights.iter().filter(|matrix| sound(matrix)).filter_map(|matrix| matrix.number("alpha")).collect();
    let within = alphas.iter().filter(|alpha| (2.0..=6.0).contains(*alpha)).count() as f64;
    let mut ranks: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for matrix in weights.iter().filter(|matrix| matrix.is_weight()) {
        let rank = matrix.number("stable_rank");
        rank.into_iter().for_each(|rank| ranks.entry(kind(&matrix.row.role)).or_default().push(rank));
    }
    Some(Summary::Own {
        parameters: report.totals.parameters,
        alpha_fits: alphas.len() as u64,
        alpha_within_2_to_6: (!alphas.is_empty()).then(|| within / alphas.len() as f64),
        median_alpha: median(alphas),
        median_stable_rank: ranks
            .into_iter()
            .filter_map(|(role, ranks)| Some((role, median(ranks)?)))
            .collect(),
    })
}

/// A role with its numbers left open: the experts of a layer are of one kind.
fn kind(role: &str) -> String {
    let open = |part| if str::parse::<u64>(part).is_ok() { "*" } else { part };
    role.split('.').map(open).collect::<Vec<_>>().join(".")
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    (n > 0).then(|| f64::midpoint(values[(n - 1) / 2], values[n / 2]))
}
