//! The ledger of a watch: each step as it was measured, so that a watch which was stopped goes on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::options::Common;
use crate::cli::outputs;
use crate::cli::parts::processor;
use crate::error::Error;
use crate::study::{Identity, PartHeader, StepRecord};
use crate::writing::Journal;

/// Its file.
const NAME: &str = "steps.jsonl";
/// The layout of the file; another one gets another number.
const LAYOUT: u32 = 1;

/// What to do about a damaged file.
const REMEDY: &str = "remove the file; the steps whose checkpoints are still there are measured anew";

/// What the file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    watch: u32,
    svdkit: String,
    identity: Identity,
    /// Whether records hold what pages draw.
    pictures: bool,
}

/// Where steps are written down.
pub(super) struct KeptSteps(Journal);

impl KeptSteps {
    /// The folder that is used: the one that was named, or one beside the first output.
    pub(super) fn folder(named: Option<&Path>, common: &Common, events: Option<&Path>) -> Option<PathBuf> {
        let is_file = |path: &&Path| std::fs::metadata(path).map_or(true, |metadata| metadata.is_file());
        let beside = || {
            outputs::reports(common).find(is_file).or(events).map(|path| {
                let mut name = path.file_name().unwrap_or_default().to_owned();
                name.push(".ledger");
                path.with_file_name(name)
            })
        };
        named.map(Path::to_owned).or_else(beside)
    }

    /// Goes on with the ledger in `folder`, or begins it; `each` gets the steps that it holds. `facts` decide the numbers.
    ///
    /// # Errors
    /// When it is one of another run or of other options, is damaged, or cannot be written.
    pub(super) fn open(
        folder: &Path,
        (facts, pictures): (Vec<(String, String)>, bool),
        each: &mut dyn FnMut(StepRecord) -> Option<()>,
    ) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let facts = facts.into_iter().chain([("the processor".to_owned(), processor())]).collect();
        let header = Header {
            watch: LAYOUT,
            svdkit: PartHeader::program(),
            identity: Identity::of_facts(facts),
            pictures,
        };
        let advice = "name another folder with `--ledger`; without this file, steps whose checkpoints are gone are lost";
        let foreign = || {
            Error::malformed(&path, format!("is not a ledger of `svdkit watch` by this version; {advice}"))
        };
        let mut begins = true;
        let mut journal = if path.try_exists().unwrap_or(true) {
            Journal::resume(&path, REMEDY, &mut |entry| {
                if !begins {
                    let record: StepRecord = serde_json::from_str(entry).map_err(|_| foreign())?;
                    return each(record).ok_or_else(foreign);
                }
                begins = false;
                let there: Header = serde_json::from_str(entry).map_err(|_| foreign())?;
                if there.watch != header.watch || there.svdkit != header.svdkit {
                    return Err(foreign());
                }
                let pictures = (header.pictures && !there.pictures)
                    .then(|| "it lacks what an HTML page draws, which is asked for now".to_owned());
                match header.identity.difference(&there.identity).or(pictures) {
                    Some(difference) => {
                        Err(Error::malformed(&path, format!("is of another run: {difference}; {advice}")))
                    }
                    None => Ok(()),
                }
            })?
        } else {
            Journal::begin(&path)?
        };
        if begins {
            journal.append(&serde_json::to_string(&header).expect("words"))?;
        }
        Ok(Self(journal))
    }

    /// Writes a step down.
    pub(super) fn append(&mut self, record: &StepRecord) -> Result<(), Error> {
        self.0.append(&serde_json::to_string(record).expect("numbers, names and lists"))?;
        self.0.sync()
    }

    /// Refuses an output in the place of the ledger's own file.
    pub(super) fn check(folder: &Path, common: &Common) -> Result<(), Error> {
        let own = folder.join(NAME);
        let same = |path: &&Path| match (path.canonicalize(), own.canonicalize()) {
            (Ok(path), Ok(own)) => path == own,
            _ => **path == own,
        };
        outputs::reports(common).find(same).map_or(Ok(()), |path| {
            Err(Error::malformed(path, "is the ledger of this watch; name another file for `-o`"))
        })
    }
}
