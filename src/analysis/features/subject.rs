//! One table in doubles, and what columns share of it, each found once.

use std::cell::OnceCell;

use super::cloud::{Cloud, Order};
use super::dimension::{self, OfNeighbors};
use super::treatment::{column_norms, length};
use super::{ColumnTreatment, Treatment};
use crate::matrix::Matrix;
use crate::report::MissingReason;
use crate::solver::{self, Precision};

/// What columns take beside singular values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Lengths of rows and columns.
    Norms,
    /// The table with unit rows.
    Normalized,
    /// Its singular values.
    NormalizedValues,
    /// Distances to neighbors.
    Neighbors,
    /// Shortest trees of samples.
    Trees,
    /// One shortest tree.
    Tree,
}

/// Sums of lengths.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norms {
    pub columns: f64,
    pub rows: f64,
}

/// Of `Z`: columns centered, then rows of length one.
pub(super) struct Normalized {
    entries: Vec<f64>,
    /// The sum of its longest columns over the number of rows.
    pub longest_columns: f64,
}

/// Of the singular values of `Z`.
#[derive(Debug, Clone, Copy)]
pub(super) struct NormalizedValues {
    /// Their sum over the number of rows.
    pub nuclear: f64,
    /// The entropy of their squares over that of `d` equal ones.
    pub entropy: f64,
}

/// A table with what was found of it.
pub struct TableSubject<'a> {
    /// Finite or not, row by row.
    entries: &'a [f64],
    cols: usize,
    order: Order,
    normalized: OnceCell<Result<Normalized, MissingReason>>,
    values: OnceCell<Result<NormalizedValues, MissingReason>>,
    cloud: OnceCell<Cloud>,
    neighbors: OnceCell<Result<OfNeighbors, MissingReason>>,
}

impl std::fmt::Debug for TableSubject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} × {}", self.rows(), self.cols)
    }
}

impl<'a> TableSubject<'a> {
    /// The table of these finite `entries`, whose rows are sampled in this `order`.
    pub(super) fn new(entries: &'a [f64], cols: usize, order: Order) -> Self {
        Self {
            entries,
            cols,
            order,
            normalized: OnceCell::new(),
            values: OnceCell::new(),
            cloud: OnceCell::new(),
            neighbors: OnceCell::new(),
        }
    }

    fn rows(&self) -> usize {
        self.entries.len() / self.cols.max(1)
    }

    pub(super) fn norms(&self) -> Norms {
        Norms {
            columns: column_norms(self.entries, self.cols).iter().sum(),
            rows: self.entries.chunks_exact(self.cols).map(length).sum(),
        }
    }

    pub(super) fn normalized(&self) -> Result<&Normalized, MissingReason> {
        let found = self.normalized.get_or_init(|| {
            let mut entries = self.entries.to_vec();
            Treatment { columns: ColumnTreatment::Centered, unit_rows: true }.apply(&mut entries, self.cols);
            let rows = self.rows();
            // A row that is the mean itself has no direction.
            if entries.chunks_exact(self.cols).any(|row| length(row) == 0.0) {
                return Err(MissingReason::NoEstimate);
            }
            let mut lengths = column_norms(&entries, self.cols);
            lengths.sort_unstable_by(|a, b| b.total_cmp(a));
            let longest: f64 = lengths.iter().take(rows).sum();
            Ok(Normalized { entries, longest_columns: longest / rows as f64 })
        });
        found.as_ref().map_err(|why| *why)
    }

    pub(super) fn normalized_values(&self) -> Result<NormalizedValues, MissingReason> {
        *self.values.get_or_init(|| {
            let normalized = self.normalized()?;
            let rows = self.rows();
            if self.cols < 2 {
                return Err(MissingReason::NotApplicable);
            }
            let table = Matrix::from_f64(rows, self.cols, &normalized.entries);
            let spectrum = table.and_then(|table| solver::singular_values(&table, Precision::Exact));
            let spectrum = spectrum.map_err(|_| MissingReason::NotConverged)?;
            let squares: Vec<f64> = spectrum.values().iter().map(|s| s * s).collect();
            let all: f64 = squares.iter().sum();
            let shares = squares.iter().map(|square| square / all).filter(|share| *share > 0.0);
            let entropy = -shares.map(|share| share * share.ln()).sum::<f64>();
            Ok(NormalizedValues {
                nuclear: spectrum.values().iter().sum::<f64>() / rows as f64,
                entropy: entropy.max(0.0) / (self.cols as f64).ln(),
            })
        })
    }

    fn cloud(&self) -> &Cloud {
        self.cloud.get_or_init(|| Cloud::new(self.entries, self.cols, self.order))
    }

    pub(super) fn neighbors(&self) -> Result<OfNeighbors, MissingReason> {
        *self.neighbors.get_or_init(|| dimension::of_neighbors(self.cloud()))
    }

    pub(super) fn tree_dimension(&self) -> Result<f64, MissingReason> {
        dimension::of_trees(self.cloud())
    }

    pub(super) fn tree_length(&self) -> Result<f64, MissingReason> {
        dimension::tree_length(self.cloud())
    }
}
