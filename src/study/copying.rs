//! A copy of a checkpoint while tasks write into it: it is given up or put in its place by the thread that began it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::writing::CheckpointCopy;

/// The copy, until it is given up or in its place.
#[derive(Default)]
pub(super) struct Copying(Mutex<Option<Arc<CheckpointCopy>>>);

impl Copying {
    /// Takes a copy that was begun.
    pub(super) fn begin(&self, copy: CheckpointCopy) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(copy));
    }

    /// Removes what was written so far: threads that have ended their work may still hold this.
    pub(super) fn abandon(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The copy.
    ///
    /// # Errors
    /// When none was begun.
    pub(super) fn get(&self) -> Result<Arc<CheckpointCopy>, Error> {
        let copy = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        copy.ok_or_else(|| Error::Contract("the copy was not begun".to_owned()))
    }

    /// Puts the copy in its place. Gives the names of files that were not copied, for they are links out of the model's folder.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn finish(&self) -> Result<Vec<String>, Error> {
        let copy = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().and_then(Arc::into_inner);
        let copy = copy.ok_or_else(|| Error::Contract("the copy is still being written".to_owned()))?;
        let left_out = copy.left_out().to_vec();
        copy.finish()?;
        Ok(left_out)
    }
}
