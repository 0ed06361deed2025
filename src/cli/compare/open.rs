//! Opens the sides of a comparison: checkpoints, adapters of one, saved reports.

use std::fs;
use std::path::Path;

use crate::analysis::columns;
use crate::checkpoint::{Holds, Opening, Saved, is_recognized, is_saved};
use crate::cli::locate;
use crate::cli::model::{self, Model, roots};
use crate::error::Error;
use crate::report::{Source, SourceFile};
use crate::store::Location;
use crate::study::{ComparedSide, Sides};

use super::Arguments;

/// The sides as typed.
pub(super) fn open(arguments: &Arguments) -> Result<Sides, Error> {
    let tuned = model::named(arguments.tuned.iter().chain(&arguments.more));
    if tuned.is_empty() {
        let what = "nothing to compare with; name a second model, as in `svdkit compare A B`";
        return Err(Error::Usage(what.to_owned()));
    }
    let opening = arguments.reading.opening()?;
    let plain = |path| Model::open(path, &opening.of_base());
    let named = arguments.adapted.as_deref().map(plain).transpose()?.map(|model| model.source);
    let base = open_side(&arguments.base, Opening { base: named.clone(), ..opening.of_base() })?;
    let changed = named.or(base.weights().cloned());
    let tuned = tuned.into_iter().map(|(name, path)| {
        Ok((name, open_side(&path, Opening { base: changed.clone(), ..opening.clone() })?))
    });
    Ok(Sides::new(base, tuned.collect::<Result<_, Error>>()?))
}

/// Opens `path`, whichever it is; an adapter is added to the base of `opening`.
pub(in crate::cli) fn open_side(path: &Path, opening: Opening<'_>) -> Result<ComparedSide, Error> {
    let place = locate::locate(path)?;
    if let Some(here) = place.location.local().filter(|here| is_saved(here)) {
        return open_report(path, here, place.commit.clone());
    }
    let model =
        Model::open_at(&place, path, &opening).map_err(|error| or_report(place.location.path(), error))?;
    let roots = model.roots();
    if model.source.holds() == Holds::Weights {
        return Ok(ComparedSide::of_checkpoint(model.origin, model.source, roots));
    }
    let Some(base) = opening.base else {
        let reason = "is an adapter; are the two sides swapped? Name the checkpoint that it changes first, or with `--base`";
        return Err(Error::malformed(path, reason));
    };
    ComparedSide::of_adapter(model.origin, &base, model.source, roots)
}

fn open_report(typed: &Path, path: &Path, commit: Option<String>) -> Result<ComparedSide, Error> {
    let saved = Saved::open(path, &columns::of_report)?;
    if let Some(instead) = instead(&saved) {
        let reason = format!("is a report of `{}`, whose rows are not compared; {instead}", saved.command);
        return Err(Error::malformed(typed, reason));
    }
    let bytes = fs::metadata(path).map(|data| data.len()).unwrap_or_default();
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let files = vec![SourceFile { name, bytes }];
    let origin = Source { path: typed.display().to_string(), format: "svdkit report".into(), commit, files };
    Ok(ComparedSide::of_report(origin, saved, roots(&Location::disk(path), typed)))
}

/// What to do in the place of comparing a report whose rows are of two models already, or of many steps; none where each has
/// numbers of its own.
fn instead(saved: &Saved) -> Option<String> {
    match saved.command.as_str() {
        "compare" if saved.settings.contains_key("across") => None,
        "compare" => Some(
            "they are of two models already: compare these, or a report of `svdkit spectrum` on each"
                .to_owned(),
        ),
        "series" => Some(format!(
            "they are of many steps: give the folder of two steps of {}, or a report of `svdkit spectrum` on each",
            saved.model
        )),
        "adapter inspect" => None,
        command if command.starts_with("adapter ") => {
            Some("give the adapters themselves, or a report of `svdkit adapter inspect` on each".to_owned())
        }
        _ => None,
    }
}

/// `error` about `path`, extended for a command that also takes reports.
fn or_report(path: &Path, error: Error) -> Error {
    match error {
        Error::Malformed { path: of, reason } if path.is_file() && !is_recognized(path) => {
            let reason =
                format!("{reason}; nor is it a report, which `svdkit spectrum MODEL -o FILE.json` saves");
            Error::Malformed { path: of, reason }
        }
        other => other,
    }
}
