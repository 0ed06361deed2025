//! Errors, with messages for a user who reads checkpoints.
//!
//! An `Error` means bad usage or unreadable input. A problem with the weights themselves is a finding in the report.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why something could not be read, understood or computed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {action}: {}", printable(&path.to_string_lossy()), printable(&source.to_string()))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The failed operation, as in "cannot open".
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A malformed file or folder.
    #[error("{}: {}", printable(&path.to_string_lossy()), printable(reason))]
    Malformed {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong and what to try.
        reason: String,
    },
    /// One malformed tensor of a file.
    #[error("{}: tensor `{}`: {}", printable(&path.to_string_lossy()), printable(tensor), printable(reason))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's stored name, made printable.
        tensor: String,
        /// What is wrong.
        reason: String,
    },
    /// Entries that are NaN or infinite where a decomposition was asked for.
    #[error("a {rows} × {cols} matrix holds entries that are NaN or infinite")]
    NotFinite {
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A number that follows from finite ones and is too large for a double; says which.
    #[error(
        "overflow: {0} does not fit a double (1.8e308 at most); scale the weights down, or the adapter's alpha"
    )]
    Overflow(String),
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
    /// A request that makes no sense: a bad rule, glob or option.
    #[error("{}", printable(.0))]
    Usage(String),
    /// A column that the report does not have.
    #[error("{}{}", at.as_ref().map_or_else(String::new, |at| format!("{at}: ")), printable(problem))]
    Column {
        /// Which file names it, and in which line, where it was not typed.
        at: Option<FileLine>,
        /// The column's key.
        key: String,
        /// The fault, and what to try.
        problem: String,
    },
    /// A rule that cannot be judged on the report.
    #[error("rule `{}`: {}", printable(rule), printable(problem))]
    Rule {
        /// The rule as it was written.
        rule: String,
        /// Why.
        problem: String,
    },
    /// An error of the hub or its cache.
    #[error("{}", printable(.0))]
    Remote(String),
    /// Memory or threads that the machine does not give.
    #[error("{}", printable(.0))]
    Resources(String),
    /// Arguments that do not belong together: a fault of the code that calls.
    #[error("{}", printable(.0))]
    Contract(String),
    /// The user stopped the run.
    #[error("interrupted")]
    Interrupted,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileLine {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for FileLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: line {}", printable(&self.path.to_string_lossy()), self.line)
    }
}

/// What sort of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorKind {
    /// The operating system refused.
    Io,
    /// A malformed file, or a malformed tensor in it.
    Malformed,
    /// Numbers that cannot be computed, or not as exactly as promised.
    Numeric,
    /// What was asked for makes no sense.
    Usage,
    /// The hub, its cache or the network.
    Remote,
    /// Memory or threads.
    Resources,
    /// A fault of the program.
    Internal,
    /// The user stopped the run.
    Interrupted,
}

impl ErrorKind {
    /// The code for programs; it does not change.
    pub fn code(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Malformed => "malformed",
            Self::Numeric => "numeric",
            Self::Usage => "usage",
            Self::Remote => "remote",
            Self::Resources => "resources",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Error {
    /// What sort of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Io,
            Self::Malformed { .. } | Self::Tensor { .. } => ErrorKind::Malformed,
            Self::NotFinite { .. } | Self::Overflow(_) | Self::NotConverged { .. } => ErrorKind::Numeric,
            Self::Usage(_) | Self::Column { .. } | Self::Rule { .. } => ErrorKind::Usage,
            Self::Remote(_) => ErrorKind::Remote,
            Self::Resources(_) => ErrorKind::Resources,
            Self::Contradicted { .. } | Self::Contract(_) => ErrorKind::Internal,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }

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

/// Whether a terminal, a browser or an editor acts on `c` or shows nothing of it: control characters (C0, DEL, C1), what
/// turns the direction of writing, line separators, and what Unicode says may be ignored when it is drawn.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `text` that a hostile file may have chosen, for a line that people read: hidden characters are escaped, so that it
/// can't control a terminal; text that a build server would take for a command is escaped, too.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if is_hidden(c) || begins_command(&text[..at], &text[at..]) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether `here`, after `before`, GitHub would read a command (`::error::`, first in a line or after blanks; `##[group]`
/// anywhere), Azure (`##vso[…]`) or TeamCity (`##teamcity[…]`).
pub fn begins_command(before: &str, here: &str) -> bool {
    match here.as_bytes() {
        [b':', b':', ..] => before.chars().next_back().is_none_or(char::is_whitespace),
        [b'#', ..] => {
            before.ends_with('#') && ["#[", "#vso[", "#teamcity["].iter().any(|word| here.starts_with(word))
        }
        _ => false,
    }
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

/// Up to five names in backticks, for messages.
pub fn quoted(names: &[impl AsRef<str>]) -> String {
    let mut text: Vec<_> = names.iter().take(5).map(|n| format!("`{}`", brief(n.as_ref()))).collect();
    if names.len() > text.len() {
        text.push(format!("{} more", names.len() - text.len()));
    }
    text.join(", ")
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
        for error in [
            Error::malformed(Path::new("a"), "unknown field `\u{9b}2J`"),
            Error::Usage("`\u{9b}2J\r`".to_owned()),
            Error::Column {
                at: Some(FileLine { path: "\u{7}".into(), line: 1 }),
                key: String::new(),
                problem: "\u{9b}".to_owned(),
            },
            Error::Rule { rule: "\u{9b}".to_owned(), problem: "\u{9b}".to_owned() },
            Error::Tensor { path: "a".into(), tensor: "\u{85}".to_owned(), reason: "\u{2028}".to_owned() },
            Error::io(Path::new("a"), "cannot read", std::io::Error::other("\u{7f}")),
        ] {
            assert!(!error.to_string().contains(is_hidden), "{error:?}");
        }
    }

    #[test]
    fn an_error_says_of_which_kind_it_is() {
        let words = String::new;
        let check = |error: &Error, code| assert_eq!(error.kind().code(), code, "{error:?}");
        check(&Error::io(Path::new("a"), "cannot read", std::io::Error::other("")), "io");
        check(&Error::malformed(Path::new("a"), ""), "malformed");
        check(&Error::tensor(Path::new("a"), "w", ""), "malformed");
        check(&Error::NotFinite { rows: 1, cols: 1 }, "numeric");
        check(&Error::Overflow(words()), "numeric");
        check(&Error::NotConverged { rows: 1, cols: 1 }, "numeric");
        check(&Error::Usage(words()), "usage");
        check(&Error::Column { at: None, key: words(), problem: words() }, "usage");
        check(&Error::Rule { rule: words(), problem: words() }, "usage");
        check(&Error::Remote(words()), "remote");
        check(&Error::Resources(words()), "resources");
        check(&Error::Contradicted { rows: 1, cols: 1 }, "internal");
        check(&Error::Contract(words()), "internal");
        check(&Error::Interrupted, "interrupted");
    }

    #[test]
    fn what_is_printable_stays_as_it_is() {
        let hidden = (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| is_hidden(*c)).collect::<String>();
        for text in [
            "layers.0.σ",
            "a::b",
            "naïve 模型 🙂",
            "C:\\models",
            "a#b",
            "::x",
            " ::x",
            "##[a]",
            hidden.as_str(),
        ] {
            let once = printable(text);
            assert!(!once.contains(is_hidden));
            assert_eq!(printable(&once), once, "{text:?}");
        }
        assert_eq!(printable("a::b ##[ C:\\x"), "a::b #\\u{23}[ C:\\x");
    }

    #[test]
    fn no_name_is_a_command_of_a_build_server() {
        assert_eq!(printable("::error::x"), "\\u{3a}:error::x");
        assert_eq!(printable("a, ::add-mask::x"), "a, \\u{3a}:add-mask::x");
        assert_eq!(printable("a##vso[task.complete]"), "a#\\u{23}vso[task.complete]");
        assert_eq!(printable("###teamcity[x]"), "##\\u{23}teamcity[x]");
    }

    #[test]
    fn a_name_without_end_does_not_fill_the_screen() {
        assert_eq!(brief("layers.0.σ"), "layers.0.σ");
        assert_eq!(brief(&"σ".repeat(1000)), "σ".repeat(200) + "…");
    }
}
