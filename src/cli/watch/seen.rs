//! What lies in the folder of a run, and which checkpoints nobody writes any more.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{self, Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::checkpoint::{decides_numbers, is_step, is_unfinished, step_of, steps_in};
use crate::cli::series::open::StepPlace;
use crate::error::{Error, printable};
use crate::store::Location;

/// Folders in a checkpoint are looked into so deep.
const DEEPEST: usize = 4;

/// The checkpoints of a run, as they were found.
pub(super) struct Seen {
    run: PathBuf,
    /// So long nothing of a checkpoint may have changed.
    interval: Duration,
    /// By their paths below the run.
    places: BTreeMap<PathBuf, SeenPlace>,
    /// Why the folder could not be listed at the last look.
    pub(super) away: Option<String>,
}

/// One of them.
pub(super) struct SeenPlace {
    pub(super) step: u64,
    /// What its files were at the last look.
    pub(super) mark: Mark,
    /// Since when they have been that.
    since: Instant,
    /// Why it was not measured so far.
    pub(super) why: Option<String>,
    /// How often a part of it could not be read.
    pub(super) failures: u32,
}

/// What the files of a checkpoint are: their names, lengths and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// A digest of that.
    all: String,
    /// The same of the files that decide numbers.
    pub(super) weights: String,
    /// A file whose name says that it is not complete.
    unfinished: Option<String>,
}

impl Seen {
    pub(super) fn new(run: &Path, interval: Duration) -> Self {
        Self { run: run.to_owned(), interval, places: BTreeMap::new(), away: None }
    }

    /// Refuses a folder of outputs in a checkpoint, whether that is there yet or not.
    ///
    /// # Errors
    /// When it is there.
    pub(super) fn check_outside(&self, folder: Option<&Path>) -> Result<(), Error> {
        let absolute = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let Some(folder) = folder else { return Ok(()) };
        let (place, run) = (absolute(folder), absolute(&self.run));
        let below = place.strip_prefix(run).unwrap_or(Path::new(""));
        if below.iter().any(|name| is_step(&name.to_string_lossy())) {
            return Err(Error::malformed(
                folder,
                "lies in a folder that is read; name a place outside of it",
            ));
        }
        Ok(())
    }

    /// Looks again; tells whether the folder could be listed. A disk that is away for a while changes nothing.
    ///
    /// # Errors
    /// When the folder holds several runs, or two checkpoints of one step.
    pub(super) fn look(&mut self) -> Result<bool, Error> {
        let there = match steps_in(&Location::disk(&self.run)) {
            Ok(there) => there,
            Err(error @ Error::Io { .. }) => {
                self.away = Some(error.to_string());
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let mut places = BTreeMap::new();
        for location in there {
            let below = location.path().strip_prefix(&self.run).unwrap_or(location.path()).to_owned();
            let before = self.places.remove(&below);
            // One that goes away now is not there.
            let Ok(mark) = Mark::of(location.path()) else { continue };
            let place = match before {
                Some(before) if before.mark == mark => before,
                _ => {
                    let Ok(Some(step)) = step_of(&location) else { continue };
                    SeenPlace { step, mark, since: Instant::now(), why: None, failures: 0 }
                }
            };
            places.insert(below, place);
        }
        self.places = places;
        let mut steps: BTreeMap<u64, &Path> = BTreeMap::new();
        for (path, place) in &self.places {
            if let Some(other) = steps.insert(place.step, path) {
                let reason = format!(
                    "is step {}, and so is {}; move one of them out of the run",
                    place.step,
                    printable(&self.run.join(other).to_string_lossy())
                );
                return Err(Error::malformed(&self.run.join(path), reason));
            }
        }
        Ok(true)
    }

    /// The paths below the run of all checkpoints, by their steps.
    pub(super) fn steps(&self) -> Vec<(u64, PathBuf)> {
        let mut steps: Vec<_> = self.places.iter().map(|(path, place)| (place.step, path.clone())).collect();
        steps.sort();
        steps
    }

    pub(super) fn get(&mut self, below: &Path) -> Option<&mut SeenPlace> {
        self.places.get_mut(below)
    }

    /// Whether nothing of a checkpoint has changed for an interval.
    pub(super) fn is_still(&self, below: &Path) -> bool {
        self.places.get(below).is_some_and(|place| place.since.elapsed() >= self.interval)
    }

    /// Whether a checkpoint is complete as far as its files can tell without being opened.
    pub(super) fn is_settled(&self, below: &Path) -> bool {
        self.is_still(below) && self.places.get(below).is_some_and(|place| place.mark.unfinished.is_none())
    }

    /// The first checkpoint that nobody has written for long and that could not be measured, and why.
    pub(super) fn first_in_vain(&self) -> Option<(u64, String)> {
        const LONG: u32 = 10;
        let is_old = |place: &&SeenPlace| place.since.elapsed() >= self.interval * LONG;
        let first = self.places.values().filter(is_old).filter(|place| place.why.is_some());
        first.min_by_key(|place| place.step).and_then(|place| Some((place.step, place.why.clone()?)))
    }

    /// Whether the files of a checkpoint that decide numbers are what they were at the last look; if not, it is waited for
    /// again.
    pub(super) fn is_same(&mut self, below: &Path) -> bool {
        let now = Mark::of(&self.run.join(below));
        let Some(place) = self.places.get_mut(below) else { return false };
        let is_same = now.is_ok_and(|now| now.weights == place.mark.weights);
        if !is_same {
            place.since = Instant::now();
        }
        is_same
    }

    /// A checkpoint is waited for once more.
    pub(super) fn wait_again(&mut self, below: &Path) {
        if let Some(place) = self.places.get_mut(below) {
            place.since = Instant::now();
        }
    }

    /// A checkpoint to be measured.
    pub(super) fn place(&self, step: u64, below: &Path) -> StepPlace {
        StepPlace::here(step, Location::disk(self.run.join(below)), self.run.join(below))
    }
}

impl Mark {
    /// That of the file or folder at `path`, without anything being opened.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let (mut all, mut weights) = (blake3::Hasher::new(), blake3::Hasher::new());
        let mut unfinished = None;
        let mut waiting = vec![(path.to_owned(), PathBuf::new(), 0)];
        while let Some((path, below, depth)) = waiting.pop() {
            let metadata = fs::metadata(&path)?;
            if !metadata.is_dir() {
                let written = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let line = format!("{} {} {written:?}\0", below.display(), metadata.len());
                all.update(line.as_bytes());
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if depth == 0 || decides_numbers(&name) {
                    weights.update(line.as_bytes());
                }
                continue;
            }
            let mut names = fs::read_dir(&path)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort();
            for name in names.into_iter().filter(|_| depth < DEEPEST) {
                let text = name.to_string_lossy();
                if is_unfinished(&text) {
                    unfinished.get_or_insert_with(|| text.clone().into_owned());
                }
                waiting.push((path.join(&name), below.join(&name), depth + 1));
            }
        }
        let [all, weights] = [all, weights].map(|hash| hash.finalize().to_hex()[..32].to_owned());
        Ok(Self { all, weights, unfinished })
    }
}
