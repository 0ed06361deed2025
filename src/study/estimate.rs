//! What a study costs, as headers tell.

use super::AskedColumn;
use crate::checkpoint::Pairs;
use crate::engine::Job;
use crate::layer::Layer;
use crate::text::Text;

/// What is kept of a matrix in a report and until then, but for its names and numbers, as measured: beside its sides, of
/// each, and of each that it is compared with.
const ROW_BYTES: u64 = 700;
const SIDE_BYTES: u64 = 600;
const PAIR_BYTES: u64 = 1160;
/// The same of a tensor that is not a matrix, and of each of its sides.
const OTHER_BYTES: u64 = 600;
const OTHER_SIDE_BYTES: u64 = 600;
/// So many copies of a name are held at a time.
const NAMES: usize = 3;

/// What a study costs, as headers tell.
pub struct Estimate {
    /// What each matrix costs.
    pub jobs: Vec<Job>,
    /// The memory that each justifies beyond the limit.
    pub justified: Vec<u64>,
    /// What the one costs that takes most memory, and which it is.
    pub largest: Option<(Job, Text, [usize; 2])>,
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
        (skipped, columns, sides): (usize, usize, usize),
    ) -> Self {
        let justified = vec![u64::MAX; jobs.len()];
        let largest = jobs.iter().zip(layers).max_by_key(|(job, _)| job.bytes);
        Self {
            largest: largest.map(|(job, layer)| (*job, layer.name.clone(), [layer.rows, layer.cols])),
            parameters: total(layers.iter().map(|layer| layer.parameters() as u64)),
            report: report_bytes(layers, columns, sides)
                + (OTHER_BYTES + OTHER_SIDE_BYTES * sides as u64) * skipped as u64,
            jobs,
            justified,
            bytes,
            skipped,
            parts: vec![],
        }
    }
}

/// What is kept of two checkpoints beside their difference, whose rows the report has.
pub(super) fn pair_bytes(pairs: &Pairs) -> u64 {
    let matrices = pairs.base().weights().len() + pairs.tuned().weights().len();
    SIDE_BYTES * matrices as u64 + OTHER_SIDE_BYTES * pairs.base().left_out().len() as u64
}

/// A sum of sizes; a damaged report may tell of more than there can be.
pub(super) fn total(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// The memory that a report on `layers` in so many columns takes, of as many sides.
fn report_bytes(layers: &[&Layer], columns: usize, sides: usize) -> u64 {
    let names: usize = layers.iter().map(|layer| NAMES * layer.tensor.len()).sum();
    let pairs = PAIR_BYTES * sides.saturating_sub(1) as u64;
    let row = ROW_BYTES + SIDE_BYTES * sides as u64 + pairs + 9 * columns as u64;
    row * layers.len() as u64 + (names * sides) as u64
}
