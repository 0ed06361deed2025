//! One matrix, read once: its hygiene, its singular values, and every metric of them.

use crate::checkpoint::MatrixSource;
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::{self, Cost, Precision, STREAM_BYTES, Stream};
use crate::metric::{Entries, Metric, Rounded, Subject};
use crate::report::{Measurements, Why};
use crate::spectrum::Spectrum;

use super::Measured;

/// What [`measure`] costs.
pub fn cost(layer: &Layer, precision: Precision) -> Cost {
    match layer.rank {
        Some(rank) => linalg::low_rank_cost(layer.rows, layer.cols, rank),
        None => linalg::streamed_cost(layer.rows, layer.cols, layer.read_as, precision.of(layer.dtype)),
    }
}

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
    measure_with(source, layer, precision, Rounded::Itself, &|subject| subject.evaluate(metrics))
}

/// Reads `layer` from `source` and measures what `evaluate` asks of it; `rounded` says what its rounding is part of.
///
/// # Errors
/// When the layer cannot be read or its decomposition does not converge.
pub fn measure_with(
    source: &dyn MatrixSource,
    layer: &Layer,
    precision: Precision,
    rounded: Rounded,
    evaluate: &dyn Fn(&Subject<'_>) -> Measurements,
) -> Result<Measured, Error> {
    let Found { entries, spectrum, blake3 } =
        if layer.rank.is_some() { product(source, layer)? } else { stored(source, layer, precision)? };
    let subject = Subject::new(layer, &entries, spectrum.as_ref().ok_or(Why::NonFinite)).rounded(rounded);
    let values = evaluate(&subject);
    Ok(Measured { values, flags: subject.flags(), blake3, spectrum })
}

/// What one reading of a matrix tells.
struct Found {
    entries: Entries,
    /// None where an entry is not finite.
    spectrum: Option<Spectrum>,
    blake3: String,
}

/// A weight whose entries are read.
fn stored(source: &dyn MatrixSource, layer: &Layer, precision: Precision) -> Result<Found, Error> {
    // The layer's type, not that of the entries read: a difference of two bf16 weights comes as doubles.
    let precision = precision.of(layer.dtype);
    let mut entries = Entries::new();
    let mut hash = blake3::Hasher::new();
    let mut stream = Stream::new(layer.rows, layer.cols, precision);
    // A weight that can be decomposed as it comes is never in memory whole.
    let block = if stream.is_some() { STREAM_BYTES } else { usize::MAX };
    let mut whole = None;
    for rows in layer.blocks(block) {
        let rows = source.read(layer, rows)?;
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
        (Some(stream), _) => Some(match stream.finish() {
            Ok(found) if found.largest() > 0.0 || entries.max_abs() == 0.0 => found,
            // Squares of doubles left their range: the exact route scales first, and takes the weight whole.
            Ok(_) | Err(Error::Overflow(_)) => {
                linalg::singular_values(&source.read(layer, 0..layer.rows)?, Precision::Exact)?
            }
            Err(error) => return Err(error),
        }),
        (None, Some(matrix)) => Some(linalg::singular_values(matrix, precision)?),
        (None, None) => None,
    };
    Ok(Found { entries, spectrum, blake3: hash.finalize().to_hex().to_string() })
}

/// An update that is stored as thin factors: never multiplied out.
fn product(source: &dyn MatrixSource, layer: &Layer) -> Result<Found, Error> {
    let factors = source.factors(layer)?;
    let entries = Entries::of_factors(&factors);
    let finite = entries.nonfinite_count() == 0;
    let spectrum = if finite { Some(linalg::low_rank_values(&factors)?) } else { None };
    Ok(Found { entries, spectrum, blake3: factors.blake3().to_hex().to_string() })
}
