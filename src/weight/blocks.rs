//! How much of a matrix is computed at once, and room for it.

use std::ops::Range;

use crate::error::Error;

/// `rows` in runs of about a million entries, so that computed rows never need a second dense copy.
pub(super) fn blocks(rows: Range<usize>, cols: usize) -> impl Iterator<Item = Range<usize>> {
    let step = ((1 << 20) / cols.max(1)).max(1);
    rows.clone().step_by(step).map(move |first| first..rows.end.min(first + step))
}

/// Room for doubles that are computed; thin factors in a small file may make a matrix that no memory holds.
pub(super) fn space(rows: usize, cols: usize) -> Result<Vec<u8>, Error> {
    let (mut bytes, needed) = (vec![], rows.checked_mul(cols).and_then(|n| n.checked_mul(8)));
    if needed.is_none_or(|needed| bytes.try_reserve_exact(needed).is_err()) {
        return Err(Error::Resources(format!("{rows} × {cols} doubles do not fit into memory")));
    }
    Ok(bytes)
}
