//! Why a task found nothing, in a form that names no folder of a machine.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, printable};

/// Why a task found nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort of thing went wrong.
    pub kind: ErrorKind,
    /// The file that it is about.
    pub file: Option<FailedFile>,
    /// The stored tensor that it is about.
    pub tensor: Option<String>,
    /// What is wrong, in words.
    pub detail: String,
}

/// A file of one of the sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFile {
    /// Which of the manifest's roots it lies under; none of a file elsewhere.
    pub root: Option<usize>,
    /// Its path from there; empty for the root itself.
    pub path: String,
}

impl Failure {
    /// `error` without the folders above `roots`.
    pub fn new(error: &Error, roots: &[PathBuf]) -> Self {
        let (file, tensor, detail) = match error {
            Error::Io { path, action, source } => {
                (Some(path), None, format!("{action}: {}", printable(&source.to_string())))
            }
            Error::Malformed { path, reason } => (Some(path), None, printable(reason)),
            Error::Tensor { path, tensor, reason } => (Some(path), Some(tensor.clone()), printable(reason)),
            error => (None, None, error.to_string()),
        };
        let file = file.map(|path| FailedFile::new(path, roots));
        Self { kind: error.kind(), file, tensor, detail }
    }

    /// That of a task which panicked.
    pub fn panicked() -> Self {
        let detail = "svdkit failed on this matrix; that is a bug worth reporting".to_owned();
        Self { kind: ErrorKind::Internal, file: None, tensor: None, detail }
    }

    /// The failure in words, as the error had it.
    pub fn text(&self, roots: &[PathBuf]) -> String {
        let Some(file) = &self.file else { return self.detail.clone() };
        let path = printable(&file.below(roots).to_string_lossy());
        match &self.tensor {
            Some(tensor) => format!("{path}: tensor `{}`: {}", printable(tensor), self.detail),
            None => format!("{path}: {}", self.detail),
        }
    }
}

impl FailedFile {
    fn new(path: &Path, roots: &[PathBuf]) -> Self {
        let below = |(i, root): (usize, &PathBuf)| Some((i, path.strip_prefix(root).ok()?));
        match roots.iter().enumerate().find_map(below) {
            Some((root, path)) => Self { root: Some(root), path: path.to_string_lossy().into_owned() },
            None => Self { root: None, path: path.to_string_lossy().into_owned() },
        }
    }

    fn below(&self, roots: &[PathBuf]) -> PathBuf {
        match self.root.and_then(|root| roots.get(root)) {
            Some(root) if self.path.is_empty() => root.clone(),
            Some(root) => root.join(&self.path),
            None => PathBuf::from(&self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_the_error_said_and_names_no_folder_above_its_roots() {
        let roots = [PathBuf::from("/home/me/base"), PathBuf::from("/home/me/one.safetensors")];
        let (file, whole) = (Path::new("/home/me/base/a/b.bin"), Path::new("/home/me/one.safetensors"));
        let errors = [
            Error::io(file, "cannot open", std::io::Error::other("gone\u{7}")),
            Error::malformed(whole, "is cut short"),
            Error::tensor(file, "w\u{1b}", "lies outside"),
            Error::NotFinite { rows: 2, cols: 3 },
            Error::Overflow("a sum".to_owned()),
            Error::NotConverged { rows: 2, cols: 3 },
            Error::Contradicted { rows: 2, cols: 3 },
            Error::Usage("`x` is odd".to_owned()),
        ];
        for error in errors {
            let failure = Failure::new(&error, &roots);
            let written = serde_json::to_string(&failure).expect("plain data");
            assert!(!written.contains("home"), "{written}");
            let read: Failure = serde_json::from_str(&written).expect("as written");
            assert_eq!(read.text(&roots), error.to_string());
        }
        let elsewhere = Error::malformed(Path::new("other/x"), "is odd");
        assert_eq!(Failure::new(&elsewhere, &roots).text(&roots), elsewhere.to_string());
    }
}
