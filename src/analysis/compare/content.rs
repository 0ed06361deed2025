//! What a matrix holds before anything is computed of it: enough to say that two are the same.

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Matrix;
use crate::metric::{Metric, Subject};
use crate::report::{Measurements, MissingReason};
use crate::solver::Entries;
use crate::solver::unit::Rescaled;
use crate::weight::Catalogue;

/// How much of a matrix is in memory at once.
pub const BLOCK: usize = 8 << 20;

/// The bytes of a matrix in short, and what its entries say by themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// BLAKE3 of the entries as read, in hexadecimal.
    pub blake3: String,
    entries: Entries,
    varies: bool,
}

impl Content {
    /// Reads a matrix once, in blocks of rows; of a product, its factors.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(source: &Catalogue, layer: &Layer) -> Result<Self, Error> {
        if layer.rank.is_some() {
            let factors = source.factors(layer)?;
            let blake3 = factors.blake3().to_hex().to_string();
            let varies = [factors.left(), factors.right()].iter().all(|side| side.iter().any(|x| *x != 0.0));
            return Ok(Self { blake3, entries: Entries::of_factors(&factors), varies });
        }
        let (mut hash, mut entries) = (blake3::Hasher::new(), Entries::new());
        let (mut first, mut varies) = (None, false);
        for rows in layer.blocks(BLOCK) {
            let rows = source.read(layer, rows)?;
            let size = rows.dtype().size();
            let first = first.get_or_insert_with(|| rows.bytes().get(..size).unwrap_or_default().to_vec());
            varies = varies || rows.bytes().chunks_exact(size).any(|entry| entry != &first[..]);
            hash.update(rows.bytes());
            entries.push(&rows);
        }
        Ok(Self { blake3: hash.finalize().to_hex().to_string(), entries, varies })
    }

    /// Whether it is not one number throughout; of a product, whether neither factor is zero.
    pub fn varies(&self) -> bool {
        self.varies
    }

    /// How many entries are NaN or infinite.
    pub fn nonfinite_count(&self) -> u64 {
        self.entries.nonfinite_count() as u64
    }

    /// The metrics that need no decomposition; the others are missing for that reason.
    pub fn measurements(&self, layer: &Layer, metrics: &'static [Metric]) -> Measurements {
        Subject::new(layer, &self.entries, Err(MissingReason::NotDecomposed)).evaluate(metrics)
    }
}

/// Whether both sides hold the same numbers, read as whatever they are.
///
/// # Errors
/// When a side cannot be read.
pub fn equal(
    (base, base_layer): (&Catalogue, &Layer),
    (tuned, layer): (&Catalogue, &Layer),
) -> Result<bool, Error> {
    for rows in layer.blocks(BLOCK) {
        if tuned.read(layer, rows.clone())?.to_f64() != base.read(base_layer, rows)?.to_f64() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `tuned − base` in f64.
///
/// # Errors
/// When a side cannot be read.
pub(super) fn difference(base: Rescaled<'_>, tuned: Rescaled<'_>) -> Result<Matrix, Error> {
    let layer = tuned.layer;
    let mut entries = Vec::with_capacity(layer.len());
    for rows in layer.blocks(BLOCK) {
        let (tuned, base) = (tuned.read(rows.clone())?, base.read(rows)?);
        entries.extend(tuned.to_f64().iter().zip(base.to_f64()).map(|(tuned, base)| tuned - base));
    }
    Matrix::from_f64(layer.rows, layer.cols, &entries)
}
