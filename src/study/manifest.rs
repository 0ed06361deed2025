//! What is known of a study before anything is read.

use std::path::PathBuf;
use std::sync::Arc;

use super::compare::PairHeaders;
use crate::analysis::intruders::Options;
use crate::layer::Layer;
use crate::report::{Comparison, Flag, Report, Row, Update};
use crate::text::Text;

/// The report as far as names and headers tell it, and what else its records need to complete it.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Without rows; tensors beside them whose bytes have not been read.
    pub report: Report,
    /// What its rows are about, in natural name order: each becomes one when its record is read.
    pub rows: Vec<RowHeader>,
    /// Where the files of each side lie on this machine.
    pub roots: Vec<PathBuf>,
    /// How records complete it.
    pub complete: Complete,
}

impl Manifest {
    /// The name of the row that a task is about.
    pub(super) fn name(&self, task: usize) -> Option<&Text> {
        self.rows.get(task).map(|row| &row.name)
    }
}

/// What is known of a row from names and headers: far less than a row takes.
#[derive(Debug, Clone)]
pub struct RowHeader {
    /// Its name.
    pub(super) name: Text,
    /// Its matrix.
    pub(super) layer: Arc<Layer>,
    /// How an adapter stores it.
    pub(super) update: Option<Box<Update>>,
    /// Cautions.
    pub(super) flags: Vec<Flag>,
    /// How it stands to its base, as far as headers tell.
    pub(super) comparison: Option<Box<Comparison>>,
}

impl RowHeader {
    /// Of a matrix of one model.
    pub(super) fn new(layer: &Arc<Layer>, update: Option<Box<Update>>) -> Self {
        let flags = update.iter().flat_map(|update| &update.flags).copied().chain(layer.flag()).collect();
        Self { name: layer.name.clone(), layer: Arc::clone(layer), update, flags, comparison: None }
    }

    /// Its rows and columns.
    pub(super) fn shape(&self) -> [u64; 2] {
        [self.layer.rows as u64, self.layer.cols as u64]
    }

    /// The row, without numbers.
    pub(super) fn row(self) -> Row {
        let Self { name, layer, update, flags, comparison } = self;
        let stored: Vec<u64> = layer.stored_shape.iter().map(|n| *n as u64).collect();
        let shape = [layer.rows as u64, layer.cols as u64];
        Row {
            name,
            tensor: layer.tensor.clone(),
            block: layer.block,
            role: layer.role.clone(),
            shape,
            stored_shape: (stored != shape).then_some(stored),
            dtype: layer.stored_type().into(),
            dequant: layer.scheme().map(str::to_owned),
            update,
            flags,
            comparison,
            ..Row::default()
        }
    }
}

/// How records complete a report.
#[derive(Debug, Clone)]
pub enum Complete {
    /// A row a matrix.
    Matrices(MatrixHeaders),
    /// A row a matrix on all sides, and rows of other tensors that changed.
    Comparison(PairHeaders),
}

/// What a study of one model knows beside the rows of its report.
#[derive(Debug, Clone)]
pub struct MatrixHeaders {
    /// What the tasks after those of the rows are about: positions in the report's `skipped`.
    pub tensors: Vec<usize>,
    /// The numbers stored for each row: its entries, or those of its factors.
    pub parameters: Vec<u64>,
    /// What else the report says.
    pub beside: Beside,
}

/// What a report says beside the numbers of its rows.
#[derive(Debug, Clone, PartialEq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// What WeightWatcher's table says of a row.
    Labels,
    /// Sums over roles, blocks and the model.
    Intruders(Options),
    /// What made an adapter, and the losses that some methods train with.
    Adapter,
}
