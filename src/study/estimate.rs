//! What a study costs, as headers tell.

use super::AskedColumn;
use crate::engine::Job;
use crate::layer::Layer;

/// What is kept of a matrix in a report and until then, but for its names and numbers.
const ROW_BYTES: u64 = 2700;

/// What a study costs, as headers tell.
pub struct Estimate {
    /// What each matrix costs.
    pub jobs: Vec<Job>,
    /// The memory that each justifies beyond the limit.
    pub justified: Vec<u64>,
    /// What the one costs that takes most memory, and which it is.
    pub largest: Option<(Job, String, [usize; 2])>,
    /// Numbers stored.
    pub parameters: u64,
    /// Bytes to read.
    pub bytes: u64,
    /// The memory that the report takes, beside the matrices in flight.
    pub report: u64,
    /// Tensors that are not matrices.
    pub skipped: usize,
    /// The parts of the work, where it has some.
    pub parts: Vec<EstimatedPart>,
}

/// A part of the work, and what it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct EstimatedPart {
    /// What is found.
    pub what: String,
    /// How much work it is.
    pub flops: f64,
    /// The columns that it is for.
    pub columns: Vec<AskedColumn>,
}

impl Estimate {
    /// Of a row each for `layers`.
    pub(super) fn new(
        layers: &[&Layer],
        jobs: Vec<Job>,
        bytes: u64,
        (skipped, columns): (usize, usize),
    ) -> Self {
        let justified = vec![u64::MAX; jobs.len()];
        let largest = jobs.iter().zip(layers).max_by_key(|(job, _)| job.bytes);
        Self {
            largest: largest.map(|(job, layer)| (*job, layer.name.clone(), [layer.rows, layer.cols])),
            parameters: layers.iter().map(|layer| layer.parameters() as u64).sum(),
            report: layers
                .iter()
                .map(|layer| ROW_BYTES + (5 * layer.tensor.len() + 9 * columns) as u64)
                .sum(),
            jobs,
            justified,
            bytes,
            skipped,
            parts: vec![],
        }
    }
}
