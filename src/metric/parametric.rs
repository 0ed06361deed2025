//! Columns whose formula takes a number that the user chose: made once a run, from the command line.

use super::rank::nuclear_rank_at;
use super::{Subject, energy_rank, factoring, thresholds};
use crate::report::{Accuracy, Column, Format, Quantity, Value};

/// A column, the function that fills it, and the number that it takes.
#[derive(Debug)]
pub struct Chosen {
    /// Key, label, format and texts of the column.
    pub column: Column,
    parameter: f64,
    formula: fn(&Subject<'_>, f64) -> Value,
}

impl Chosen {
    /// The value of a matrix.
    pub(super) fn value(&self, subject: &Subject<'_>) -> Value {
        (self.formula)(subject, self.parameter)
    }
}

/// The columns for a relative `threshold` and `shares` of the energy, each in (0, 1].
///
/// Columns live as long as the program: call this once.
pub fn chosen(threshold: f64, shares: &[f64]) -> &'static [Chosen] {
    let relative_rank = Chosen {
        column: Column {
            key: "relative_rank",
            label: "relative",
            format: Format::Count,
            quantity: Quantity::Matrix(Accuracy::Exact),
            doc: "how many σ exceed the threshold times σ₁; the threshold is 0.01 unless `--threshold` says otherwise, and stands in the report's settings",
            range: "[0, min(m, n)]",
            source: "definition",
        },
        parameter: threshold,
        formula: |subject, threshold| {
            subject.nonzero(|spectrum| {
                // σ₁ itself counts for any threshold below 1.
                Value::count(thresholds::above(spectrum, threshold * spectrum.largest()))
            })
        },
    };
    let mut columns = vec![relative_rank];
    for share in shares {
        let percent = percent(*share);
        let word = percent.replace('.', "_");
        columns.push(Chosen {
            column: Column {
                key: format!("rank_at_{word}").leak(),
                label: format!("k {percent}%").leak(),
                format: Format::Count,
                quantity: Quantity::Matrix(Accuracy::Exact),
                doc: "the fewest leading directions that hold that share of Σσ²",
                range: "[1, min(m, n)]",
                source: "Jolliffe 2002, 6.1",
            },
            parameter: *share,
            formula: |subject, share| subject.nonzero(|spectrum| Value::count(energy_rank(spectrum, share))),
        });
        columns.push(Chosen {
            column: Column {
                key: format!("nuclear_rank_at_{word}").leak(),
                label: format!("Σσ {percent}%").leak(),
                format: Format::Count,
                quantity: Quantity::Matrix(Accuracy::Exact),
                doc: "the fewest leading directions that hold that share of Σσ",
                range: "[1, min(m, n)]",
                source: "SVFit, Sun et al. 2024, by σ",
            },
            parameter: *share,
            formula: |subject, share| {
                subject.nonzero(|spectrum| Value::count(nuclear_rank_at(spectrum, share)))
            },
        });
        columns.push(Chosen {
            column: Column {
                key: format!("saved_at_{word}").leak(),
                label: format!("saved {percent}%").leak(),
                format: Format::Share,
                quantity: Quantity::Matrix(Accuracy::Exact),
                doc: "1 − k(m + n)/(m·n) with that rank for k",
                range: "[−1, 1)",
                source: "definition",
            },
            parameter: *share,
            formula: factoring::saved_at,
        });
    }
    columns.leak()
}

/// The column of [`chosen()`] that is called `key`, whatever the share.
pub fn of_share(key: &str) -> Option<&'static Column> {
    let percent =
        ["rank_at_", "nuclear_rank_at_", "saved_at_"].iter().find_map(|family| key.strip_prefix(family));
    let share = match percent {
        Some(percent) => percent.replace('_', ".").parse::<f64>().ok()? / 100.0,
        None => 1.0,
    };
    let columns = chosen(1.0, &[share]).iter().map(|metric| &metric.column);
    columns.into_iter().find(|column| column.key == key && share > 0.0 && share <= 1.0)
}

/// `97` of 0.97, `99.5` of 0.995.
fn percent(share: f64) -> String {
    // Ten digits are more than anybody types, and hide the rounding of the product.
    let text = format!("{:.8}", share * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_names_its_columns() {
        let keys: Vec<_> = chosen(0.01, &[0.8, 0.995]).iter().map(|metric| metric.column.key).collect();
        let [two, three] = ["80", "99_5"].map(|share| {
            ["rank_at", "nuclear_rank_at", "saved_at"].map(|family| format!("{family}_{share}"))
        });
        assert_eq!(keys, [&["relative_rank".to_owned()][..], &two, &three].concat());
        assert_eq!([0.07, 0.29, 1.0].map(percent), ["7", "29", "100"]);
    }
}
