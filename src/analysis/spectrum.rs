//! One matrix, read once: its hygiene, its singular values, and every metric of them.

use crate::checkpoint::MatrixSource;
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::{self, Precision, Stream};
use crate::metric::{Entries, Metric, Subject};
use crate::report::Why;

use super::Measured;

/// Reads `layer` from `source` and fills every column of `metrics`.
///
/// A weight that is not finite has no spectrum: its hygiene is measured and everything else is missing.
///
/// # Errors
/// When the layer cannot be read or its decomposition does not converge.
pub fn measure(
    source: &dyn MatrixSource,
    layer: &Layer,
    precision: Precision,
    metrics: &'static [Metric],
) -> Result<Measured, Error> {
    if layer.rank.is_some() {
        return measure_update(source, layer, metrics);
    }
    // The layer's type, not that of the entries read: a difference of two bf16 weights comes as doubles.
    let precision = precision.of(layer.dtype);
    let mut entries = Entries::new();
    let mut hash = blake3::Hasher::new();
    let mut stream = Stream::new(layer.rows, layer.cols, precision);
    // A weight that can be decomposed as it comes is never in memory whole.
    let step = if stream.is_some() { rows_in(layer, BLOCK) } else { layer.rows };
    let mut whole = None;
    for first in (0..layer.rows).step_by(step.max(1)) {
        let rows = source.read(layer, first..layer.rows.min(first + step))?;
        entries.push(&rows);
        hash.update(rows.bytes());
        match &mut stream {
            Some(stream) if entries.nonfinite_count() == 0 => stream.push(&rows),
            Some(_) => {}
            None => whole = Some(rows),
        }
    }
    let spectrum = match (stream, &whole) {
        _ if entries.nonfinite_count() > 0 => None,
        (Some(stream), _) => Some(stream.finish()?),
        (None, Some(matrix)) => Some(linalg::singular_values(matrix, precision)?),
        (None, None) => None,
    };
    drop(whole);
    let blake3 = hash.finalize().to_hex().to_string();
    let subject = Subject::new(layer, &entries, spectrum.as_ref().ok_or(Why::NonFinite));
    let values = subject.evaluate(metrics);
    Ok(Measured { values, flags: subject.flags(), blake3, spectrum })
}

/// The same of an update that is stored as thin factors: never multiplied out.
fn measure_update(
    source: &dyn MatrixSource,
    layer: &Layer,
    metrics: &'static [Metric],
) -> Result<Measured, Error> {
    let factors = source.factors(layer)?;
    let entries = Entries::of_factors(&factors);
    let finite = entries.nonfinite_count() == 0;
    let spectrum = if finite { Some(linalg::low_rank(&factors)?.spectrum()?) } else { None };
    let mut hash = blake3::Hasher::new();
    for x in factors.left().iter().chain(factors.right()) {
        hash.update(&x.to_le_bytes());
    }
    let blake3 = hash.finalize().to_hex().to_string();
    let subject = Subject::new(layer, &entries, spectrum.as_ref().ok_or(Why::NonFinite));
    let values = subject.evaluate(metrics);
    Ok(Measured { values, flags: subject.flags(), blake3, spectrum })
}

/// How much of a streamed weight is read at once.
const BLOCK: u64 = 8 << 20;

/// How many rows of `layer` fit into `bytes`; at least one.
fn rows_in(layer: &Layer, bytes: u64) -> usize {
    (bytes * layer.rows as u64 / layer.bytes().max(1)).max(1) as usize
}
