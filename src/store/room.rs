//! How much memory headers may take: who calls the library may know that the system grants little.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::notation;

static GRANTED: AtomicU64 = AtomicU64::new(u64::MAX);

/// What opening a checkpoint takes for each byte of its header: names, shapes and places of all tensors.
const FOR_EACH_BYTE: u64 = 12;

/// Says that headers may take at most so many bytes of memory, from now on and in all threads.
pub fn grant_headers(bytes: u64) {
    GRANTED.store(bytes, Ordering::Relaxed);
}

/// Refuses a header of this length that does not fit.
pub(crate) fn check_header(length: u64) -> Result<(), String> {
    check(length, GRANTED.load(Ordering::Relaxed))
}

fn check(length: u64, granted: u64) -> Result<(), String> {
    let needed = length.saturating_mul(FOR_EACH_BYTE);
    if needed <= granted {
        return Ok(());
    }
    let [length, needed, granted] = [length, needed, granted].map(notation::bytes);
    Err(format!(
        "its header of {length} lists more tensors than fit into memory: they take about {needed}, and the control group \
         of this run leaves {granted}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_does_not_fit_is_refused_before_it_is_read() {
        assert_eq!(check(1 << 20, 12 << 20), Ok(()));
        let refused = check(11 << 20, 48 << 20).expect_err("too large");
        assert!(
            refused.contains("11.0 MiB") && refused.contains("132 MiB") && refused.contains("48.0 MiB"),
            "{refused}"
        );
    }
}
