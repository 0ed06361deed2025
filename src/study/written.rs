//! What is checked before an adapter or a checkpoint is written from a report.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{Catalogue, Pairs, factor_names};
use crate::error::{Error, brief, quoted};
use crate::layer::{Filter, Layer};
use crate::notation;
use crate::pair::Unpaired;
use crate::report::{MissingReason, Report, Row, SkipKind, Value};

/// Refuses to write what could not be measured whole: one line for all of it.
///
/// # Errors
/// When a row failed, or could not be measured for entries that are not finite.
pub fn check_complete(report: &Report, out: &Path) -> Result<(), Error> {
    let spoiled = |row: &Row| {
        let nonfinite = |key: &str| row.values.get(key) == Some(Value::Missing(MissingReason::NonFinite));
        let first = report.columns.iter().find(|column| nonfinite(column.key));
        first.map(|_| "it has entries that are NaN or infinite".to_owned())
    };
    let why = |row: &Row| row.failed.clone().or_else(|| spoiled(row));
    let mut failed = report.rows.iter().filter_map(|row| Some((&row.name, why(row)?)));
    let Some((name, why)) = failed.next() else { return Ok(()) };
    let more = match failed.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Err(Error::malformed(out, format!("nothing was written: `{}`: {why}{more}", brief(name))))
}

/// Refuses an adapter some of whose updates that `filter` keeps are not there without its base: `what` could not be.
///
/// # Errors
/// When there is one.
pub fn check_all_there(of: &Path, source: &Catalogue, filter: &Filter, what: &str) -> Result<(), Error> {
    let skipped = source.select(filter).skipped;
    let refused: Vec<String> = skipped
        .into_iter()
        .filter(|line| line.kind == SkipKind::Refused)
        .map(|line| line.tensor.to_string())
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(Error::malformed(
        of,
        format!("cannot be {what} without its base: {}; give `--base`", quoted(&refused)),
    ))
}

/// Refuses an adapter with updates that `filter` keeps and that fit no matrix of its base.
///
/// # Errors
/// When there are some.
pub fn check_all_fit(of: &Path, pairs: &Pairs, filter: &Filter) -> Result<(), Error> {
    let kept = pairs.tuned().select(filter).layers;
    let unfit: Vec<&str> = pairs
        .unpaired()
        .iter()
        .filter_map(|unpaired| match unpaired {
            Unpaired::Removed(_) => None,
            Unpaired::Added(layer) | Unpaired::Ambiguous(layer) => Some(layer),
            Unpaired::Reshaped(pair) => Some(&pair.tuned),
        })
        .filter(|layer| kept.iter().any(|kept| kept.name == layer.name))
        .map(|layer| layer.name.as_str())
        .collect();
    if unfit.is_empty() {
        return Ok(());
    }
    let (count, names) =
        (notation::counted(unfit.len() as u64, "update fits", "updates fit"), quoted(&unfit));
    Err(Error::malformed(of, format!("{count} no matrix of the base: {names}; is it the right base?")))
}

/// Refuses updates among `layers` that share a tensor of factors, as the experts of a fused stack do: `what` could not be.
///
/// # Errors
/// When some do.
pub fn check_no_stack(of: &Path, source: &Catalogue, layers: &[Arc<Layer>], what: &str) -> Result<(), Error> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in layers.iter().filter_map(|layer| source.update(layer)?.tensors.into_iter().next()) {
        *counts.entry(name).or_default() += 1;
    }
    let Some((tensor, count)) = counts.into_iter().find(|(_, count)| *count > 1) else { return Ok(()) };
    let reason = format!(
        "holds the factors of {count} experts in one, which cannot be {what}; leave them out with `--exclude '*experts*'`"
    );
    Err(Error::tensor(of, &tensor, reason))
}

/// Refuses updates among `layers` that are not the product of two stored factors.
///
/// # Errors
/// When there is one.
pub(super) fn check_products(of: &Path, source: &Catalogue, layers: &[Arc<Layer>]) -> Result<(), Error> {
    let is_product = |layer: &&Arc<Layer>| {
        let update = source.update(layer);
        update.is_some_and(|update| update.kind != "kasa" && factor_names(&update.tensors).is_some())
    };
    let others: Vec<&str> =
        layers.iter().filter(|layer| !is_product(layer)).map(|layer| layer.name.as_str()).collect();
    if others.is_empty() {
        return Ok(());
    }
    let (count, names) =
        (notation::counted(others.len() as u64, "update is", "updates are"), quoted(&others));
    let reason =
        format!("{count} not the product of two stored factors: {names}; leave them out with `--exclude`");
    Err(Error::malformed(of, reason))
}
