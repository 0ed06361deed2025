//! What a part of a ledger says of itself before its records.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Identity;

/// The layout of a ledger; another one gets another number.
const LAYOUT: u32 = 1;

/// Which of how many parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartNumber {
    /// From 1 on.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl PartNumber {
    /// The whole.
    pub const ALL: Self = Self { number: 1, of: 1 };
    /// More parts than this are a slip.
    const MOST: usize = 1_000_000;

    /// The name of its file.
    pub fn file_name(self) -> String {
        format!("part-{}-of-{}.jsonl", self.number, self.of)
    }

    /// The part whose file is called `name`, if one is.
    pub fn of_file(name: &str) -> Option<Self> {
        let (number, of) = name.strip_prefix("part-")?.strip_suffix(".jsonl")?.split_once("-of-")?;
        let part: Self = format!("{number}/{of}").parse().ok()?;
        (part.file_name() == name).then_some(part)
    }
}

impl fmt::Display for PartNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for PartNumber {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = text.split_once('/').and_then(|(number, of)| {
            let (number, of): (usize, usize) = (number.parse().ok()?, of.parse().ok()?);
            ((1..=of).contains(&number) && of <= Self::MOST).then_some(Self { number, of })
        });
        found.ok_or_else(|| "a part is K/N, from 1/N to N/N, as in 3/16".to_owned())
    }
}

/// What a part of a ledger says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartHeader {
    /// The layout of the file.
    pub ledger: u32,
    /// The program that wrote it.
    pub svdkit: String,
    /// What sums are rounded by: the instruction set, and the caches that long sums are cut for.
    pub processor: String,
    /// Which part it is.
    pub part: PartNumber,
    /// How many tasks all parts have.
    pub tasks: usize,
    /// What decides the numbers.
    pub identity: Identity,
    /// The command, without the program and without the options of the ledger.
    pub command: Vec<String>,
    /// Where it was typed.
    pub folder: String,
}

impl PartHeader {
    /// This program, told from others by its sources.
    pub fn program() -> String {
        format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("SVDKIT_SOURCES"))
    }

    /// The present layout.
    pub const fn layout() -> u32 {
        LAYOUT
    }

    /// Why records that go with `self` do not go with `other`, if they don't: `self` is here.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("the version of svdkit", &self.svdkit, &other.svdkit),
            ("the processor", &self.processor, &other.processor),
        ];
        let differs = |(name, here, there): (&str, &String, &String)| {
            (here != there).then(|| format!("{name} is `{there}` in the ledger and `{here}` now"))
        };
        let parts = || {
            (self.part != other.part)
                .then(|| format!("it is part {} in the ledger and {} now", other.part, self.part))
        };
        let tasks = || (self.tasks != other.tasks).then(|| "the number of tasks differs".to_owned());
        pairs
            .into_iter()
            .find_map(differs)
            .or_else(|| self.identity.difference(&other.identity))
            .or_else(parts)
            .or_else(tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_it_is_written_and_counts_from_one() {
        for text in ["1/1", "3/16", "16/16"] {
            let part: PartNumber = text.parse().expect("a part");
            assert_eq!(part.to_string(), text);
            assert_eq!(PartNumber::of_file(&part.file_name()), Some(part));
        }
        for wrong in ["0/4", "5/4", "4", "a/b", "1/", "-1/4", "1/0", "1/9999999"] {
            assert!(wrong.parse::<PartNumber>().is_err(), "{wrong}");
        }
        for wrong in ["part-03-of-16.jsonl", "part-3-of-16.json", "part-3.jsonl", "report.jsonl"] {
            assert_eq!(PartNumber::of_file(wrong), None, "{wrong}");
        }
    }
}
