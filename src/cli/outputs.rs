//! The files a run writes: created before the work starts, complete or absent at its end.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::Error;
use crate::render::{self, Look, OUTPUT_FORMATS, OutputFormat};
use crate::report::Report;

/// The files of `-o`, ready to be written.
pub(super) struct Outputs(Vec<(OutputFormat, Target)>);

/// A file to be written.
pub(super) enum Target {
    /// Written beside its place, then renamed into it.
    Replaced(NamedTempFile, PathBuf),
    /// A device or a pipe: written as it is.
    Stream(File, PathBuf),
}

/// Writes something in a given format.
pub(super) type Content<'a> = &'a dyn Fn(OutputFormat, &mut dyn Write) -> io::Result<()>;

impl Outputs {
    /// Creates the files, so that a wrong path costs no work.
    pub(super) fn create(paths: &[PathBuf]) -> Result<Self, Error> {
        let each = |path: &PathBuf| {
            let (format, path) = match named(path) {
                Some((format, path)) => (format, path),
                None => (format_of(path)?, path.as_path()),
            };
            Ok((format, Target::create(path)?))
        };
        paths.iter().map(each).collect::<Result<_, _>>().map(Self)
    }

    /// Writes `report` into every file and puts them in place.
    pub(super) fn write(self, report: &Report, look: &Look<'_>) -> Result<(), Error> {
        self.write_with(&|format, out| render::write(report, format, look, out))
    }

    /// Writes `content` into every file, in its format, and puts them in place.
    pub(super) fn write_with(self, content: Content<'_>) -> Result<(), Error> {
        self.0.into_iter().try_for_each(|(format, target)| target.write(|out| content(format, out)))
    }

    /// The formats of the files.
    pub(super) fn formats(&self) -> impl Iterator<Item = OutputFormat> {
        self.0.iter().map(|(format, _)| *format)
    }
}

impl Target {
    /// Creates the file at `path`.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        // Through a link the file it points at is replaced, not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let failed = |source| Error::io(&path, "cannot create", source);
        match fs::metadata(&path) {
            Ok(data) if data.is_dir() => {
                return Err(Error::malformed(&path, "is a folder; name a file in it"));
            }
            Ok(data) if !data.is_file() => {
                return Ok(Self::Stream(File::options().write(true).open(&path).map_err(failed)?, path));
            }
            _ => {}
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".svdkit-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        Ok(Self::Replaced(builder.tempfile_in(folder).map_err(failed)?, path))
    }

    /// Writes the file and puts it in place.
    pub(super) fn write(self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
        let (file, path) = match self {
            Self::Stream(file, path) => (file, path),
            Self::Replaced(mut file, path) => {
                let mut out = BufWriter::new(file.as_file_mut());
                let written = content(&mut out).and_then(|()| out.flush());
                written.map_err(|source| Error::io(&path, "cannot write", source))?;
                drop(out);
                return match file.persist(&path) {
                    Ok(_) => Ok(()),
                    Err(e) => Err(Error::io(&path, "cannot write", e.error)),
                };
            }
        };
        let mut out = BufWriter::new(file);
        let written = content(&mut out).and_then(|()| out.flush());
        written.map_err(|source| Error::io(&path, "cannot write", source))
    }
}

/// The parts of `FORMAT=FILE`.
fn named(path: &Path) -> Option<(OutputFormat, &Path)> {
    let (name, file) = path.to_str()?.split_once('=')?;
    let (format, _, _) = OUTPUT_FORMATS.iter().find(|(_, known, _)| *known == name)?;
    Some((*format, Path::new(file)))
}

fn format_of(path: &Path) -> Result<OutputFormat, Error> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    let format = OUTPUT_FORMATS.iter().find(|(_, _, extensions)| extensions.contains(&extension.as_str()));
    format.map(|(format, _, _)| *format).ok_or_else(|| {
        if extension == "parquet" {
            return Error::malformed(
                path,
                "this build does not write Parquet; build with `--features parquet`, or write .csv",
            );
        }
        let known: Vec<_> = OUTPUT_FORMATS
            .iter()
            .flat_map(|(_, _, extensions)| *extensions)
            .map(|e| format!(".{e}"))
            .collect();
        Error::malformed(
            path,
            format!("no format has this extension; known are {}, or write FORMAT=FILE", known.join(", ")),
        )
    })
}
