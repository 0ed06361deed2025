//! Numbers of whole weights are not compared with numbers of updates. A report says of each row which it holds.

use crate::checkpoint::Saved;
use crate::error::Error;

use super::side::{ComparedSide, SideData};

/// Refuses to compare weights with updates.
pub(super) fn check(sides: &[&ComparedSide]) -> Result<(), Error> {
    let reports: Vec<(&ComparedSide, &Saved)> =
        sides.iter().filter_map(|side| Some((*side, side.saved()?))).collect();
    let updates = reports.iter().find(|(_, saved)| saved.rows.iter().any(|row| row.update));
    let Some((side, saved)) = updates else { return Ok(()) };
    let whole =
        |side: &&&ComparedSide| side.saved().is_none_or(|saved| saved.rows.iter().all(|row| !row.update));
    if let Some(weights) = sides.iter().find(whole) {
        return Err(refused(weights, &side.origin.path, saved));
    }
    for (other, theirs) in &reports {
        let differs = |row: &&crate::checkpoint::SavedRow| {
            other.row(&row.layer.name).is_some_and(|theirs| theirs.update != row.update)
        };
        let Some(row) = saved.rows.iter().find(differs) else { continue };
        let (ours, theirs) = if row.update { (*saved, *theirs) } else { (*theirs, *saved) };
        let (update, weight) =
            if row.update { (&side.origin, &other.origin) } else { (&other.origin, &side.origin) };
        return Err(Error::Usage(format!(
            "`{}` is an update in {} ({}) and a whole weight in {} ({}); leave it out with `--exclude` when the reports are \
             written, or write both of the same kind",
            crate::error::brief(&row.layer.name),
            update.path,
            ours.model,
            weight.path,
            theirs.model
        )));
    }
    Ok(())
}

fn refused(weights: &ComparedSide, path: &str, saved: &Saved) -> Error {
    let other = &weights.origin.path;
    let model = weights.saved().map_or(other, |saved| &saved.model);
    let (command, updates) = (&saved.command, &saved.model);
    let way_out = match &saved.base {
        Some(base) => format!(
            "to compare two updates, write the other report with a base, too: `svdkit {command} {model} --base {base} -o \
             FILE.json`"
        ),
        None if matches!(weights.data, SideData::Adapter(..)) => format!(
            "to compare two updates, write a report of the other, too: `svdkit {command} {other} -o FILE.json`"
        ),
        None => format!(
            "to see what the update makes of a checkpoint, give both themselves: `svdkit compare {model} {updates}`"
        ),
    };
    Error::Usage(format!(
        "{path} holds the numbers of updates and {other} those of whole weights, which do not compare; {way_out}"
    ))
}
