//! Finds the checkpoints of a run, puts them in order, and opens them one by one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{Catalogue, Opening, is_recognized_at, is_step, step_of, steps_in};
use crate::cli::compare::open_side;
use crate::cli::locate::{self, Located};
use crate::cli::model::Model;
use crate::cli::options::{Common, ReadingOptions};
use crate::cli::remark;
use crate::error::Error;
use crate::store::Location;
use crate::study::{ComparedSide, Opened, Sides};
use crate::writing;

/// A checkpoint of the run.
pub(in crate::cli) struct StepPlace {
    /// Its number.
    pub(in crate::cli) step: u64,
    located: Located,
    /// As it was typed, or would be.
    path: PathBuf,
}

/// The checkpoints that `runs` name, in order.
///
/// # Errors
/// When there is none, one is not there, or they have no order.
pub(super) fn places(runs: &[PathBuf], as_given: bool) -> Result<Vec<StepPlace>, Error> {
    let mut found: Vec<(Located, PathBuf)> = vec![];
    for typed in runs {
        if let Some(revisions) = locate::revisions(typed)? {
            for path in revisions {
                found.push((locate::locate(&path)?, path));
            }
            continue;
        }
        let located = locate::locate(typed)?;
        let inside = inside(&located.location, typed, runs.len())?;
        if inside.is_empty() {
            // A file that is there and not complete is passed over; one that is not there is a slip.
            if !located.location.is_named() {
                crate::format::check(&located.location)?;
            }
            found.push((located, typed.clone()));
            continue;
        }
        found.extend(inside.into_iter().map(|location| {
            let below = location.path().strip_prefix(located.location.path()).unwrap_or(location.path());
            let path = typed.join(below);
            (located.inside(location), path)
        }));
    }
    let mut places = vec![];
    for (at, (located, path)) in found.into_iter().enumerate() {
        let step =
            if as_given { Some(at as u64 + 1) } else { step_of(&located.location)?.or(of_revision(&path)) };
        let Some(step) = step else {
            let reason = "tells no step, neither by its name nor in `trainer_state.json`; `--as-given` takes the order given";
            return Err(Error::malformed(&path, reason));
        };
        places.push(StepPlace { step, located, path });
    }
    places.sort_by_key(|place| place.step);
    if let Some(pair) = places.windows(2).find(|pair| pair[0].step == pair[1].step) {
        let reason = format!(
            "is step {}, and so is {}; leave one out, or give all of them in order with `--as-given`",
            pair[1].step,
            crate::error::printable(&pair[0].path.to_string_lossy())
        );
        return Err(Error::malformed(&pair[1].path, reason));
    }
    Ok(places)
}

/// The step that the revision of a model of the hub tells.
fn of_revision(path: &Path) -> Option<u64> {
    let text = path.to_str()?;
    let (_, revision) = text.rsplit_once('@')?;
    crate::checkpoint::step_of_name(revision)
}

/// The checkpoints in a folder that is a run: not one of several that were named, and not one of a step by its name.
fn inside(location: &Location, typed: &Path, named: usize) -> Result<Vec<Location>, Error> {
    let name = typed.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    if !location.is_folder() || is_step(&name) || (named > 1 && is_recognized_at(location)) {
        return Ok(vec![]);
    }
    let steps = steps_in(location)?;
    if steps.is_empty() && !is_recognized_at(location) {
        let reason = "holds no checkpoints that are named by their steps, as in `checkpoint-500`; name them one by one";
        return Err(location.malformed(reason));
    }
    Ok(steps)
}

impl StepPlace {
    /// The one at `location` on this machine, called `path`.
    pub(in crate::cli) fn here(step: u64, location: Location, path: PathBuf) -> Self {
        Self { step, located: Located::here(location), path }
    }

    /// The path as text.
    pub(in crate::cli) fn typed(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether an output at `path` would not write into it.
    ///
    /// # Errors
    /// When it would.
    pub(in crate::cli) fn check_outside(&self, path: &Path) -> Result<(), Error> {
        let Some(own) = self.located.location.local() else { return Ok(()) };
        writing::check_outside(path, &[own])?;
        let real = |path: &Path| fs::canonicalize(path).ok();
        if real(path).is_some_and(|path| real(own) == Some(path)) {
            return Err(Error::malformed(path, "is read by this run; name another file"));
        }
        Ok(())
    }

    /// Its weights, or an adapter's updates.
    pub(super) fn open(&self, reading: &ReadingOptions) -> Result<Opened, Error> {
        let model = Model::open_at(&self.located, &self.path, &reading.opening()?)?;
        let roots = model.roots();
        Ok(Opened { source: model.source, pairs: None, origin: model.origin, base: None, roots })
    }
}

/// Whether the run goes on without a step that fails so: its files are not complete, or not of a kind that is read. What is
/// wrong with the request, or with the machine, is wrong at every step.
pub(in crate::cli) fn is_passed_over(error: &Error) -> bool {
    matches!(error, Error::Io { .. } | Error::Malformed { .. } | Error::Tensor { .. })
}

/// Steps that are left out: each reason is told once, and by the error alone where nothing could be measured.
#[derive(Default)]
pub(super) struct Passed {
    reasons: BTreeSet<String>,
    told: Vec<String>,
    more: u64,
}

impl Passed {
    /// Takes note of a step that is left out.
    pub(super) fn add(&mut self, place: &StepPlace, error: &Error) {
        let text = error.to_string();
        if self.reasons.insert(text.replace(&place.typed(), "")) {
            self.told.push(format!("step {} is left out: {text}", place.step));
        } else {
            self.more += 1;
        }
    }

    /// Says what was not said so far.
    pub(super) fn tell(&mut self, common: &Common) {
        let told = self.told.drain(..).filter(|_| !common.quiet);
        told.for_each(|line| remark(&line));
    }

    /// Says how many more there are.
    pub(super) fn end(&mut self, common: &Common) {
        self.tell(common);
        if self.more > 0 && !common.quiet {
            let steps = if self.more == 1 { "step is" } else { "steps are" };
            remark(&format!("{} more {steps} left out for the same reasons", self.more));
        }
    }
}

/// What all steps are compared with.
pub(super) struct Base {
    path: PathBuf,
    weights: Arc<Catalogue>,
}

impl Base {
    /// The checkpoint at `path`.
    pub(super) fn open(path: &Path, reading: &ReadingOptions) -> Result<Self, Error> {
        let weights = crate::cli::model::open_base(path, &reading.opening()?)?.source;
        Ok(Self { path: path.to_owned(), weights })
    }

    /// It and the step at `place`: a checkpoint, or an adapter that is added to it.
    pub(super) fn with(&self, place: &StepPlace, reading: &ReadingOptions) -> Result<Sides, Error> {
        let opening = reading.opening()?;
        let base = open_side(&self.path, opening.of_base())?;
        let changed = Opening { base: Some(Arc::clone(&self.weights)), ..opening };
        let tuned: ComparedSide = open_side(&place.path, changed)?;
        Ok(Sides::new(base, vec![("tuned".to_owned(), tuned)]))
    }
}
