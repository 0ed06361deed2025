//! What can go wrong, in the words of a reader of checkpoints.
//!
//! An `Error` means "could not look"; a problem with the weights themselves is a finding in the report, not an error.

use std::path::{Path, PathBuf};

/// Why something could not be read, understood or computed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {action}: {source}", printable(&path.to_string_lossy()))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as in "cannot open".
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or folder that does not hold what its form promises.
    #[error("{}: {reason}", printable(&path.to_string_lossy()))]
    Malformed {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to try.
        reason: String,
    },
    /// One tensor of a file that does not hold what the header promises.
    #[error("{}: tensor `{tensor}`: {reason}", printable(&path.to_string_lossy()))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's stored name, made printable.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// A decomposition that did not reach its accuracy.
    #[error("the singular values of a {rows} × {cols} matrix did not converge")]
    NotConverged {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A decomposition that fails the test against its own matrix.
    #[error(
        "the singular values found for a {rows} × {cols} matrix contradict its entries: a fault of svdkit, please report it"
    )]
    Contradicted {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A request that makes no sense: a bad rule, column, glob or option.
    #[error("{0}")]
    Usage(String),
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// An [`Error::Io`] for `path`.
    pub fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), action, source }
    }

    /// An [`Error::Malformed`] for `path`.
    pub fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }

    /// An [`Error::Tensor`] for `tensor` in `path`; control characters of the name are escaped.
    pub fn tensor(path: &Path, tensor: &str, reason: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), tensor: brief(tensor), reason: reason.into() }
    }
}

/// `name` with control and invisible format characters escaped, so that a hostile file cannot drive a terminal.
pub fn printable(name: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    name.chars()
        .flat_map(|c| if hidden(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

/// `name` made printable and, for a message, cut to at most 200 characters.
pub fn brief(name: &str) -> String {
    const MOST: usize = 200;
    let mut start: String = name.chars().take(MOST).collect();
    if start.len() < name.len() {
        start.push('…');
    }
    printable(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_in_names_are_never_printed_raw() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}c"), "a\\u{1b}[31mb\\u{202e}c");
        assert_eq!(printable("layers.0.σ"), "layers.0.σ");
        let error = Error::malformed(Path::new("a\u{7}"), "is odd");
        assert_eq!(error.to_string(), "a\\u{7}: is odd");
    }

    #[test]
    fn a_name_without_end_does_not_fill_the_screen() {
        assert_eq!(brief("layers.0.σ"), "layers.0.σ");
        assert_eq!(brief(&"σ".repeat(1000)), "σ".repeat(200) + "…");
    }
}
