//! What is done to a table before it is measured.

/// What is done to a table's columns, then to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Treatment {
    /// Columns.
    pub columns: ColumnTreatment,
    /// Whether each row is divided by its length afterwards; a row of zeros stays one.
    pub unit_rows: bool,
}

/// What is done to a table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnTreatment {
    /// Nothing.
    None,
    /// Their means are taken off.
    Centered,
    /// The same, and they are divided by their standard deviations (over n − 1); a constant column becomes zeros.
    Standardized,
}

impl Treatment {
    /// Nothing is done.
    pub const NONE: Self = Self { columns: ColumnTreatment::None, unit_rows: false };

    /// The setting of a report.
    pub fn word(self) -> &'static str {
        match (self.columns, self.unit_rows) {
            (ColumnTreatment::None, false) => "none",
            (ColumnTreatment::Centered, false) => "center",
            (ColumnTreatment::Standardized, false) => "standardize",
            (ColumnTreatment::None, true) => "unit-rows",
            (ColumnTreatment::Centered, true) => "center, unit-rows",
            (ColumnTreatment::Standardized, true) => "standardize, unit-rows",
        }
    }

    /// Does it to a table of `cols` columns.
    pub fn apply(self, entries: &mut [f64], cols: usize) {
        match self.columns {
            ColumnTreatment::None => {}
            ColumnTreatment::Centered => center(entries, cols),
            ColumnTreatment::Standardized => {
                center(entries, cols);
                let degrees = (entries.len() / cols.max(1)).saturating_sub(1) as f64;
                let deviations: Vec<f64> =
                    column_norms(entries, cols).iter().map(|norm| norm / degrees.sqrt()).collect();
                for row in entries.chunks_exact_mut(cols) {
                    row.iter_mut().zip(&deviations).filter(|(_, s)| **s > 0.0).for_each(|(x, s)| *x /= s);
                }
            }
        }
        if self.unit_rows {
            normalize_rows(entries, cols);
        }
    }
}

/// Takes the mean off each column.
fn center(entries: &mut [f64], cols: usize) {
    let rows = entries.len() / cols.max(1);
    let mut means = vec![0.0; cols];
    entries.chunks_exact(cols).for_each(|row| means.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
    means.iter_mut().for_each(|sum| *sum /= rows as f64);
    entries
        .chunks_exact_mut(cols)
        .for_each(|row| row.iter_mut().zip(&means).for_each(|(x, mean)| *x -= mean));
}

/// Divides each row by its length.
fn normalize_rows(entries: &mut [f64], cols: usize) {
    for row in entries.chunks_exact_mut(cols) {
        let length = length(row);
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x /= length);
        }
    }
}

/// The lengths of the columns.
pub(super) fn column_norms(entries: &[f64], cols: usize) -> Vec<f64> {
    let mut squares = vec![0.0; cols];
    entries.chunks_exact(cols).for_each(|row| squares.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * x));
    squares.into_iter().map(f64::sqrt).collect()
}

/// The length of a row.
pub(super) fn length(row: &[f64]) -> f64 {
    row.iter().map(|x| x * x).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(columns: ColumnTreatment, unit_rows: bool, expected: [f64; 6]) {
        let mut entries = [1.0, 7.0, 2.0, 7.0, 3.0, 7.0];
        Treatment { columns, unit_rows }.apply(&mut entries, 2);
        let close = entries.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-15);
        assert!(close, "{columns:?}: {entries:?}");
    }

    #[test]
    fn columns_lose_their_means_and_a_constant_one_becomes_zeros() {
        check(ColumnTreatment::Centered, false, [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        check(ColumnTreatment::Standardized, false, [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        check(ColumnTreatment::Centered, true, [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }
}
