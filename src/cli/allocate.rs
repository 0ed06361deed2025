//! `--allocate`: one number a layer for scripts that prune or train, to stdout in the table's place or to a file.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::analysis::allocation::{Excess, Map};
use crate::analysis::farms::FARMS;
use crate::error::Error;
use crate::report::Column;
use crate::study::{AllocationRequest, Gets, Per, has_range};

use super::options::{ModulesName, word};

/// Decisions by layer, from its exponent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Allocation by layer")]
pub(super) struct Allocate {
    /// Write KIND as JSON to FILE, or to stdout instead of the table: sparsity or lr
    ///
    /// `sparsity`: how much of each matrix to prune, more where the exponent is large (AlphaPruning), `--target` on
    /// average over all entries. `lr`: a learning rate for each matrix, faster where the exponent is large (TempBalance).
    /// Embeddings, positions, norms, output heads and all else outside the numbered blocks of a model get no number.
    #[arg(long = "allocate", value_name = "KIND[=FILE]", value_parser = destination)]
    to: Option<Destination>,
    /// The share of all entries to prune [default: 0.7]
    #[arg(long, value_name = "SHARE", requires = "to", value_parser = target)]
    target: Option<f64>,
    /// Sparsities before scaling lie from 1 − EPSILON to 1 + EPSILON [default: 0.3]
    #[arg(long, value_name = "EPSILON", requires = "to", value_parser = epsilon)]
    epsilon: Option<f64>,
    /// What one exponent applies to [default: block for sparsity, layer for lr]
    #[arg(long, value_name = "WHAT", requires = "to", value_enum)]
    per: Option<PerName>,
    /// Treat sparsities above 1 as in another tool's code
    #[arg(long, value_name = "WHOSE", requires = "to", value_enum)]
    compat: Option<Compat>,
    /// Which matrices get a number
    #[arg(long, value_name = "WHICH", requires = "to", value_enum, default_value_t = ModulesName::Inner)]
    modules: ModulesName,
    /// The base learning rate [default: 1]
    #[arg(long, value_name = "RATE", requires = "to", value_parser = rate)]
    lr: Option<f64>,
    /// How an exponent becomes a learning rate [default: linear]
    #[arg(long, value_name = "HOW", requires = "to", value_enum)]
    map: Option<MapName>,
    /// For linear and step: the lowest and highest multiple of the learning rate [default: 0.5,1.5]; for sigmoid: the
    /// scales below and above the mean [default: 0.25,0.25]
    #[arg(long, value_name = "LOW,HIGH", requires = "to", value_parser = range)]
    range: Option<Range>,
}

#[derive(Debug, Clone)]
struct Destination(AllocationKind, Option<PathBuf>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AllocationKind {
    Sparsity,
    Rate,
}

#[derive(Debug, Clone, Copy)]
struct Range(f64, f64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PerName {
    /// Each matrix by its own exponent
    Layer,
    /// All matrices of a block by the mean of theirs
    Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Compat {
    /// Cut to 0.998 as in FARMS' code, so that less than the target is pruned
    Farms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MapName {
    /// A straight line from the lowest rate at the smallest exponent to the highest at the largest
    Linear,
    /// In proportion to √α
    Sqrt,
    /// In proportion to log₂ α
    Log2,
    /// In equal steps by rank
    Step,
    /// Powers of ten of a steep sigmoid around the mean
    Sigmoid,
}

impl From<PerName> for Per {
    fn from(name: PerName) -> Self {
        match name {
            PerName::Layer => Self::Layer,
            PerName::Block => Self::Block,
        }
    }
}

impl From<MapName> for Map {
    fn from(name: MapName) -> Self {
        match name {
            MapName::Linear => Self::Linear,
            MapName::Sqrt => Self::Sqrt,
            MapName::Log2 => Self::Log2,
            MapName::Step => Self::Step,
            MapName::Sigmoid => Self::Sigmoid,
        }
    }
}

impl fmt::Display for AllocationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sparsity => "sparsity",
            Self::Rate => "lr",
        })
    }
}

impl Allocate {
    /// Whether every option belongs to the kind asked for.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(Destination(kind, _)) = &self.to else { return Ok(()) };
        if let (Some(_), Some(map)) = (self.range, self.map.filter(|map| !has_range((*map).into()))) {
            return Err(Error::Usage(format!("`--range` does not belong to `--map {}`", word(&map))));
        }
        let strangers = match kind {
            AllocationKind::Sparsity => [
                ("--lr", self.lr.is_some()),
                ("--map", self.map.is_some()),
                ("--range", self.range.is_some()),
            ],
            AllocationKind::Rate => [
                ("--target", self.target.is_some()),
                ("--epsilon", self.epsilon.is_some()),
                ("--compat", self.compat.is_some()),
            ],
        };
        match strangers.iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                Err(Error::Usage(format!("`{option}` does not belong to `--allocate {kind}`")))
            }
            None => Ok(()),
        }
    }

    /// The column that it is made of, with what asks for it.
    pub(super) fn columns(&self) -> Vec<(&'static Column, &'static str)> {
        let of = FARMS.iter().map(|metric| &metric.column).find(|column| column.key == "farms_alpha");
        of.filter(|_| self.to.is_some()).map(|column| (column, "`--allocate`")).into_iter().collect()
    }

    /// The file that gets it, if one was named.
    pub(super) fn file(&self) -> Option<&Path> {
        self.to.as_ref().and_then(|Destination(_, file)| file.as_deref())
    }

    /// What is asked; nothing where no kind is.
    pub(super) fn request(&self) -> Option<AllocationRequest> {
        let Destination(kind, _) = self.to.as_ref()?;
        let usual = if *kind == AllocationKind::Sparsity { PerName::Block } else { PerName::Layer };
        let gets = match kind {
            AllocationKind::Sparsity => Gets::Sparsity {
                target: self.target.unwrap_or(0.7),
                epsilon: self.epsilon.unwrap_or(0.3),
                excess: if self.compat.is_some() { Excess::Clip } else { Excess::Redistribute },
            },
            AllocationKind::Rate => {
                let map = self.map.unwrap_or(MapName::Linear);
                let usual = if map == MapName::Sigmoid { Range(0.25, 0.25) } else { Range(0.5, 1.5) };
                let Range(low, high) = self.range.unwrap_or(usual);
                Gets::Rate { rate: self.lr.unwrap_or(1.0), map: map.into(), range: (low, high) }
            }
        };
        Some(AllocationRequest { gets, per: self.per.unwrap_or(usual).into(), modules: self.modules.into() })
    }
}

fn destination(text: &str) -> Result<Destination, String> {
    let (kind, file) = text.split_once('=').map_or((text, None), |(kind, file)| (kind, Some(file)));
    let kind = match kind {
        "sparsity" => AllocationKind::Sparsity,
        "lr" => AllocationKind::Rate,
        _ => return Err("a kind is sparsity or lr, as in `--allocate sparsity=prune.json`".to_owned()),
    };
    match file {
        Some("") => Err(format!("name a file after `=`, or type `{kind}` alone for stdout")),
        file => Ok(Destination(kind, file.map(PathBuf::from))),
    }
}

fn number(text: &str, fits: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    text.trim().parse().ok().filter(|x| fits(*x)).ok_or_else(|| what.to_owned())
}

fn target(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0 && x < 1.0, "a target lies between 0 and 1, as in 0.7")
}

fn epsilon(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..1.0).contains(&x), "epsilon is from 0 to below 1, as in 0.3")
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0 && x.is_finite(), "a learning rate is above 0, as in 3e-4")
}

fn range(text: &str) -> Result<Range, String> {
    let wrong = || "a range is two numbers of which neither is below 0, as in 0.5,1.5".to_owned();
    let (low, high) = text.split_once(',').ok_or_else(wrong)?;
    let fits = |x: f64| x >= 0.0 && x.is_finite();
    let number = |text| number(text, fits, "").map_err(|_| wrong());
    Ok(Range(number(low)?, number(high)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_may_name_its_file() {
        let read = |text| destination(text).map(|Destination(kind, file)| (kind, file));
        assert_eq!(read("sparsity"), Ok((AllocationKind::Sparsity, None)));
        assert_eq!(read("lr=a=b.json"), Ok((AllocationKind::Rate, Some(PathBuf::from("a=b.json")))));
        assert!(read("sparsity=").is_err() && read("rank").is_err());
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        assert!(target("1").is_err() && target("0").is_err() && target("nan").is_err());
        assert!(epsilon("1").is_err() && epsilon("-0.1").is_err() && epsilon("0").is_ok());
        assert!(rate("0").is_err() && rate("inf").is_err());
        assert!(range("1").is_err() && range("-1,2").is_err() && range("0.6, 1.4").is_ok());
    }
}
