//! Values as people type them: sizes, shares, globs, choices.

use std::num::NonZeroUsize;

use clap::ValueEnum;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use crate::error::Error;
use crate::layer::Filter;

/// When to do something that a terminal likes and a file does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The matrices that `include` keeps (default: all), without those that `exclude` drops.
pub(super) fn filter(include: &[String], exclude: &[String]) -> Result<Filter, Error> {
    let set = if include.is_empty() { None } else { Some(globs(include)?) };
    Ok(Filter { include: set, exclude: globs(exclude)?, included: include.to_vec(), names: None })
}

/// Globs as one set.
pub(super) fn globs(patterns: &[String]) -> Result<GlobSet, Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).build();
        set.add(glob.map_err(|e| Error::Usage(format!("glob `{pattern}`: {}", e.kind())))?);
    }
    set.build().map_err(|e| Error::Usage(e.to_string()))
}

/// `1`, `2`, and so on.
pub(super) fn one_or_more(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "a whole number from 1 on".to_owned())
}

/// `0.8` or `80%`: a share of one, not zero.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.trim().strip_suffix('%').map_or((text.trim(), 1.0), |number| (number, 100.0));
    let share = number.trim().parse::<f64>().ok().map(|x| x / scale);
    share
        .filter(|x| *x > 0.0 && *x <= 1.0)
        .ok_or_else(|| "a share is above 0 and at most 1, as in 0.95 or 95%".to_owned())
}

/// `50%` or `50`.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    number
        .ok()
        .filter(|x| *x > 0.0 && *x <= 100.0)
        .ok_or_else(|| "a percentage is above 0 and at most 100".to_owned())
}

/// `8G`, `512MiB`, `1.5 GB`: decimal and binary prefixes both mean powers of 1024, as in most tools that take a size.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(format!("`{unit}` is not a unit of memory; try 8G or 512MiB")),
    };
    let number: f64 =
        number.parse().map_err(|_| "a size is a number and a unit, as in 8G or 512MiB".to_owned())?;
    let bytes = number * 1024f64.powi(power);
    if bytes >= 1.0 { Ok(bytes as u64) } else { Err("no work fits into less than a byte".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(size(text).ok(), expected, "{text}");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        check("8G", Some(8 << 30));
        check("512MiB", Some(512 << 20));
        check("1.5 kb", Some(1536));
        check("100", Some(100));
        check("0", None);
        check("8X", None);
        check("G", None);
    }
}
