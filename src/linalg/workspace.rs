//! Buffers that outlive a matrix: a page touched for the first time costs more than the arithmetic on it.
//!
//! A worker that waits inside a parallel loop may start another matrix on the same thread, so buffers are not
//! tied to threads: each matrix checks one [`Workspace`] out of a common pool and hands it back when dropped.
//! The pool keeps a bounded number of bytes. It knows nothing about what the buffers hold.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Bytes the pool keeps for the next matrices; a larger workspace goes back to the system.
pub(super) const KEPT_BYTES: usize = 512 << 20;

/// Doubles in a cache line: buffers start on one.
const LINE: usize = 8;

/// A reusable slice of doubles that starts on a cache line.
#[derive(Default)]
pub(super) struct Buffer(Vec<f64>);

impl Buffer {
    /// `count` doubles of unspecified value.
    pub(super) fn take(&mut self, count: usize) -> &mut [f64] {
        if self.0.len() < count + LINE {
            // Freed first, and asked for as zeros: the system hands out untouched pages.
            self.0 = Vec::new();
            self.0 = vec![0.0; count + LINE];
        }
        let start = self.0.as_ptr().align_offset(LINE * size_of::<f64>()).min(LINE);
        &mut self.0[start..start + count]
    }

    /// The first `count` doubles of those taken last.
    pub(super) fn taken(&self, count: usize) -> &[f64] {
        let start = self.0.as_ptr().align_offset(LINE * size_of::<f64>()).min(LINE);
        &self.0[start..start + count]
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<f64>()
    }
}

/// The buffers of one matrix on its way to a spectrum.
#[derive(Default)]
pub(super) struct Workspace {
    /// The Gram matrix, reduced in place.
    pub(super) gram: Buffer,
    /// One packed slab of the long side.
    pub(super) slab: Buffer,
    /// The buffers of the reduction to band form.
    pub(super) reduction: Buffer,
    /// The band that the bulges are chased through.
    pub(super) band: Buffer,
}

impl Workspace {
    fn bytes(&self) -> usize {
        self.gram.bytes() + self.slab.bytes() + self.reduction.bytes() + self.band.bytes()
    }
}

static POOL: Mutex<Vec<Workspace>> = Mutex::new(Vec::new());

/// A workspace on loan from the pool.
pub(super) struct Lease(Workspace);

impl Lease {
    /// The workspace that was used last, or a new one.
    pub(super) fn new() -> Self {
        Self(POOL.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let workspace = std::mem::take(&mut self.0);
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.iter().map(Workspace::bytes).sum::<usize>() + workspace.bytes() <= KEPT_BYTES {
            pool.push(workspace);
        }
    }
}

impl Deref for Lease {
    type Target = Workspace;
    fn deref(&self) -> &Workspace {
        &self.0
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Workspace {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_on_a_cache_line_and_holds_what_was_asked_for() {
        let mut buffer = Buffer::default();
        for count in [1, 7, 8, 1000, 10] {
            let slice = buffer.take(count);
            assert_eq!((slice.len(), slice.as_ptr().addr() % 64), (count, 0));
        }
    }
}
