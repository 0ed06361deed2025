//! What is known of a study before anything is read.

use std::path::PathBuf;

use super::RowHeader;
use super::compare::PairHeaders;
use crate::analysis::init::Method;
use crate::analysis::intruders::Options;
use crate::report::Report;
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
    pub fn name(&self, task: usize) -> Option<&Text> {
        self.rows.get(task).map(|row| &row.name)
    }
}

/// How records complete a report.
#[derive(Debug, Clone)]
pub enum Complete {
    /// A row a matrix.
    Matrices(MatrixHeaders),
    /// A row a matrix on all sides, and rows of other tensors that changed.
    Comparison(PairHeaders),
    /// Several rows a task.
    Rows(TaskRows),
}

/// Which rows each task is about.
#[derive(Debug, Clone)]
pub struct TaskRows {
    /// Positions in the report, by task.
    pub tasks: Vec<Vec<usize>>,
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
    /// Which invariants of a method modules break: of this one, or of the one that evidence tells.
    Verified(Option<Method>),
    /// Matrices that were left out, for files of data know none like them.
    LeftOut(Vec<String>),
    /// What an adapter of several ranks would give back of a compressed model.
    Compensated(CompensationOptions),
}

/// What a report on a compressed model is completed by.
#[derive(Debug, Clone, PartialEq)]
pub struct CompensationOptions {
    /// The ranks, which ascend.
    pub(super) ranks: Vec<usize>,
    /// Whether the inputs of layers are known.
    pub(super) has_inputs: bool,
    /// Matrices that stand in no numbered block.
    pub(super) left_out: Vec<String>,
}
