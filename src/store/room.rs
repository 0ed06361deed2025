//! How much memory the tensors of open checkpoints may take: who calls the library may know that little is granted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::notation;

static GRANTED: AtomicU64 = AtomicU64::new(u64::MAX);
/// What all open checkpoints take.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// What reading a header takes for each of its bytes: its text, and the names in it.
const FOR_EACH_BYTE: u64 = 2;
/// What a tensor takes as long as its checkpoint is open, beside its name, and what more while that is opened.
const FOR_EACH_TENSOR: u64 = 600;
const WHILE_OPENED: u64 = 160;

/// Says that the tensors of open checkpoints may take at most so many bytes of memory, from now on and in all threads.
pub fn grant_headers(bytes: u64) {
    GRANTED.store(bytes, Ordering::Relaxed);
}

/// Refuses a header of this length that does not fit.
pub(crate) fn check_header(length: u64) -> Result<(), String> {
    let left = GRANTED.load(Ordering::Relaxed).saturating_sub(TAKEN.load(Ordering::Relaxed));
    check(length.saturating_mul(FOR_EACH_BYTE), left)
}

/// The room of a checkpoint's tensors, until it is closed.
#[derive(Debug, Default)]
pub(crate) struct Room(u64);

impl Room {
    /// For so many tensors, whose names have so many bytes together.
    ///
    /// # Errors
    /// When they do not fit beside those of other open checkpoints.
    pub(crate) fn take(tensors: usize, names: usize) -> Result<Self, String> {
        let (tensors, names) = (tensors as u64, names as u64);
        let room = Self(FOR_EACH_TENSOR * tensors + names);
        let before = TAKEN.fetch_add(room.0, Ordering::Relaxed);
        let left = GRANTED.load(Ordering::Relaxed).saturating_sub(before);
        check(room.0 + WHILE_OPENED * tensors, left).map(|()| room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}

fn check(needed: u64, left: u64) -> Result<(), String> {
    if needed <= left {
        return Ok(());
    }
    let [needed, left] = [needed, left].map(notation::bytes);
    Err(format!(
        "holds more tensors than fit into memory: they take about {needed}, and {left} are left for them; raise `--memory`, \
         or the limit of this run's control group"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_both_sizes() {
        assert_eq!(check(12 << 20, 12 << 20), Ok(()));
        let refused = check(132 << 20, 48 << 20).expect_err("too large");
        assert!(refused.contains("about 132 MiB") && refused.contains("48.0 MiB are left"), "{refused}");
    }
}
