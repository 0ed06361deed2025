//! The cost of storing a matrix as two thin factors, m × k and k × n, instead of its m·n entries.

use super::{Metric, Subject, energy_rank};
use crate::report::{Accuracy, Column, Format, Quantity, Value};
use crate::solver::Needs;
use crate::spectrum::Spectrum;

pub(super) const BREAK_EVEN_RANK: Metric = Metric {
    column: Column {
        key: "break_even_rank",
        label: "break-even",
        format: Format::Count,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "⌊m·n/(m + n)⌋: the largest k whose factors, m × k and k × n, hold no more numbers than the matrix",
        range: "[0, min(m, n))",
        source: "definition",
    },
    needs: Needs::Entries,
    value: |subject| {
        let (m, n) = (subject.layer.rows as u128, subject.layer.cols as u128);
        Value::count((m * n / (m + n)) as usize)
    },
};

pub(super) const SAVED_AT_90: Metric = Metric {
    column: Column {
        key: "saved_at_90",
        label: "saved 90%",
        format: Format::Share,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "1 − k(m + n)/(m·n) with k = rank_at_90: the share of the numbers that factors of that rank save, negative where they cost",
        range: "[−1, 1)",
        source: "definition",
    },
    needs: Needs::Values,
    value: |subject| saved_at(subject, 0.90),
};

pub(super) const SAVED_AT_95: Metric = Metric {
    column: Column {
        key: "saved_at_95",
        label: "saved 95%",
        format: Format::Share,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "1 − k(m + n)/(m·n) with k = rank_at_95: the share of the numbers that factors of that rank save, negative where they cost",
        range: "[−1, 1)",
        source: "definition",
    },
    needs: Needs::Values,
    value: |subject| saved_at(subject, 0.95),
};

pub(super) const SAVED_AT_99: Metric = Metric {
    column: Column {
        key: "saved_at_99",
        label: "saved 99%",
        format: Format::Share,
        quantity: Quantity::Matrix(Accuracy::Exact),
        doc: "1 − k(m + n)/(m·n) with k = rank_at_99: the share of the numbers that factors of that rank save, negative where they cost",
        range: "[−1, 1)",
        source: "definition",
    },
    needs: Needs::Values,
    value: |subject| saved_at(subject, 0.99),
};

/// The savings of factors that hold `share` of the energy.
pub(super) fn saved_at(subject: &Subject<'_>, share: f64) -> Value {
    subject.nonzero(|spectrum| Value::real(saved(spectrum, energy_rank(spectrum, share))))
}

fn saved(spectrum: &Spectrum, rank: usize) -> f64 {
    let (m, n) = (spectrum.rows() as f64, spectrum.cols() as f64);
    1.0 - rank as f64 * (m + n) / (m * n)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, missing};
    use super::*;
    use crate::report::MissingReason;
    use crate::spectrum::Route;

    #[test]
    fn factors_pay_up_to_the_break_even_rank() {
        for (rows, cols) in [(6, 5), (1, 1), (1, 9), (352, 128), (4096, 4096)] {
            let values = vec![1.0; rows.min(cols)];
            let spectrum = Spectrum::new(values, rows, cols, Route::Direct).expect("sound");
            let even = rows * cols / (rows + cols);
            assert!(saved(&spectrum, even) >= 0.0 && saved(&spectrum, even + 1) < 0.0, "{rows} × {cols}");
        }
    }

    #[test]
    fn the_saving_is_that_of_the_energy_rank() {
        // The first two of four equal directions hold half of the energy: rank 4 doubles the numbers.
        check(&SAVED_AT_95, &[1.0; 4], -1.0);
        check(&SAVED_AT_90, &[9.0, 0.1, 0.1, 0.1], 0.5);
        check(&BREAK_EVEN_RANK, &[1.0; 4], 2.0);
        missing(&SAVED_AT_99, &[0.0; 4], MissingReason::AllZero);
    }
}
