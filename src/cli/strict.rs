//! `--strict`: a run that left out a possible weight is incomplete.

use std::collections::BTreeMap;

use crate::error::{brief, printable};
use crate::report::{SkipKind, Skipped};

use super::options::Common;
use super::{Status, complain};

/// `status`, or that the run is incomplete where the user is strict and one of `skipped` was refused.
pub(super) fn judged<'a>(
    status: Status,
    common: &Common,
    skipped: impl IntoIterator<Item = &'a Skipped>,
) -> Status {
    let refused = skipped.into_iter().filter(|skipped| skipped.kind == SkipKind::Refused);
    // Two sides of a comparison may leave out the same tensor.
    let refused: BTreeMap<&str, &str> =
        refused.map(|skipped| (skipped.tensor.as_str(), skipped.reason.as_str())).collect();
    let Some((first, reason)) = refused.first_key_value().filter(|_| common.strict) else { return status };
    let more = if refused.len() > 1 { format!(" (and {} more)", refused.len() - 1) } else { String::new() };
    complain(&format!("{}: {}{more}", brief(first), printable(reason)));
    Status::Incomplete
}
