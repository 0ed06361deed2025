//! What is no matrix is read all the same: a norm that holds NaN, or another one than before, is not to go unseen.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::analysis::hygiene;
use crate::checkpoint::Catalogue;
use crate::engine::{Job, Limits};
use crate::error::Error;
use crate::layer::TensorInfo;
use crate::report::{Skipped, SkippedContent};

use super::jobs::{Work, run_jobs};
use super::options::Common;

/// Hashes what is no matrix, and counts what of it is not finite.
pub(super) fn look(
    source: &Arc<Catalogue>,
    skipped: &mut [Skipped],
    (common, limits): (&Common, Limits),
) -> Result<(), Error> {
    let by_name: BTreeMap<&str, &TensorInfo> =
        source.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let stored: Vec<Option<TensorInfo>> = skipped
        .iter()
        .map(|skipped| by_name.get(skipped.tensor.as_str()).map(|tensor| (*tensor).clone()))
        .collect();
    let job = |tensor: &Option<TensorInfo>| {
        let bytes = tensor.as_ref().map_or(0, hygiene::bytes);
        Job { flops: bytes as f64, bytes: bytes.min(hygiene::BLOCK as u64) }
    };
    let jobs: Vec<Job> = stored.iter().map(job).collect();
    // What only the base holds is not this source's.
    let is_stored: Vec<bool> = stored.iter().map(Option::is_some).collect();
    let work: Work<Option<SkippedContent>> = {
        let source = Arc::clone(source);
        Arc::new(move |i| match &stored[i] {
            Some(tensor) => hygiene::content(source.as_ref(), tensor),
            None => Ok(None),
        })
    };
    let found = run_jobs(&jobs, &work, (common, limits))?;
    for ((skipped, found), is_stored) in skipped.iter_mut().zip(found).zip(is_stored) {
        if is_stored {
            skipped.see(found);
        }
    }
    Ok(())
}
