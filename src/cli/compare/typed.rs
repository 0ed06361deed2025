//! What may be typed of a comparison: names of sides, numbers and shares.

use std::path::{Path, PathBuf};

use crate::analysis::compare::Preserve;

/// `NAME=PATH`, or a path whose last part is its name; characters that rules use are replaced.
pub(super) fn name_and_path(typed: &Path) -> (String, PathBuf) {
    let text = typed.to_string_lossy();
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if !typed.exists() && !name.is_empty() => (name.to_owned(), PathBuf::from(path)),
        _ => {
            let name = typed.file_stem().filter(|_| typed.is_file()).or_else(|| typed.file_name());
            (
                name.map_or_else(|| "tuned".to_owned(), |name| name.to_string_lossy().into_owned()),
                typed.into(),
            )
        }
    };
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    (name.chars().map(plain).collect(), path)
}

/// A whole number from 1 on.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|k| *k > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

/// `16` or `energy:0.9`.
pub(super) fn preserve(text: &str) -> Result<Preserve, String> {
    let wrong =
        || "give a number of directions, as in 16, or a share of the energy, as in energy:0.9".to_owned();
    match text.strip_prefix("energy:") {
        Some(share) => match share.parse::<f64>() {
            Ok(share) if share > 0.0 && share <= 1.0 => Ok(Preserve::Energy(share)),
            _ => Err(wrong()),
        },
        None => match text.parse::<usize>() {
            Ok(rank) if rank > 0 => Ok(Preserve::Rank(rank)),
            _ => Err(wrong()),
        },
    }
}
