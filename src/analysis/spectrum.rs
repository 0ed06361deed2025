//! One matrix, read once: its hygiene, its singular values, and every metric of them.

use crate::checkpoint::MatrixSource;
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::{self, Precision};
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
    let matrix = source.read(layer, 0..layer.rows)?;
    let mut entries = Entries::new();
    entries.push(&matrix);
    let blake3 = blake3::hash(matrix.bytes()).to_hex().to_string();
    let spectrum =
        if entries.nonfinite_count() > 0 { None } else { Some(linalg::singular_values(&matrix, precision)?) };
    drop(matrix);
    let subject = Subject::new(layer, &entries, spectrum.as_ref().ok_or(Why::NonFinite));
    let values = subject.evaluate(metrics);
    Ok(Measured { values, flags: subject.flags(), blake3, spectrum })
}
