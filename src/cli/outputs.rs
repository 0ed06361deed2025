//! Every file that a run writes: where it goes is checked before the work starts, and it is complete or absent at the end.
//!
//! An option that names a file adds it here. One that is read is refused, however it is spelled, and so is the same file
//! twice. A file that fails at the end takes nothing with it: the others and stdout are written, and the run ends with 2.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use crate::error::{Error, printable};
use crate::render::{OUTPUT_FORMATS, OutputFormat};
use crate::store::Identity;
use crate::writing::TemporaryFile;

use super::options::Common;
use super::{Status, complain, is_interrupted, remark, stdout};

/// The outputs of a run.
pub(super) struct Outputs {
    files: Vec<Output>,
    /// The option and the folder of a copy.
    folder: Option<(&'static str, PathBuf)>,
    has_failed: bool,
    /// Whether files that were written are named on stderr.
    quiet: bool,
}

/// Which of the outputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot(usize);

struct Output {
    /// The option that named it.
    option: &'static str,
    /// As typed.
    path: PathBuf,
    /// That of a report.
    format: Option<OutputFormat>,
    /// Ready to be written, from [`Outputs::create`] on.
    target: Option<Target>,
}

/// A file to be written.
enum Target {
    /// Written beside its place, then renamed into it.
    Replaced(TemporaryFile, PathBuf),
    /// A device or a pipe: written as it is.
    Stream(File),
}

/// Writes something in a given format.
pub(super) type WriteFormat<'a> = &'a dyn Fn(OutputFormat, &mut dyn Write) -> io::Result<()>;

impl Outputs {
    /// The files of `-o`.
    ///
    /// # Errors
    /// When a format is not known, or a file cannot be where it is to be.
    pub(super) fn new(reports: &[PathBuf]) -> Result<Self, Error> {
        let mut outputs = Self { files: vec![], folder: None, has_failed: false, quiet: false };
        for path in reports {
            let (format, path) = match named(path) {
                Some((format, path)) => (format, path),
                None => (format_of(path)?, path.as_path()),
            };
            outputs.insert("-o", path, Some(format))?;
        }
        Ok(outputs)
    }

    /// The file that `option` names, if it does.
    ///
    /// # Errors
    /// When it cannot be where it is to be.
    pub(super) fn add(&mut self, option: &'static str, path: Option<&Path>) -> Result<Option<Slot>, Error> {
        path.map(|path| self.insert(option, path, None)).transpose()
    }

    /// The folder that `option` names, which is written elsewhere and has to be empty until then.
    pub(super) fn add_folder(&mut self, option: &'static str, path: &Path) {
        self.folder = Some((option, path.to_owned()));
    }

    fn insert(
        &mut self,
        option: &'static str,
        path: &Path,
        format: Option<OutputFormat>,
    ) -> Result<Slot, Error> {
        let refuse = |what: String| Err(Error::malformed(path, what));
        if path.is_dir() || path.file_name().is_none() {
            return refuse("is a folder; name a file in it".to_owned());
        }
        let folder = followed(path);
        let folder = folder.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let folder = printable(&folder.to_string_lossy());
            return refuse(format!("cannot create: there is not a folder `{folder}`; create it first"));
        }
        self.files.push(Output { option, path: path.to_owned(), format, target: None });
        Ok(Slot(self.files.len() - 1))
    }

    /// Refuses outputs that are read, or given twice. To be asked once all inputs are open.
    ///
    /// # Errors
    /// When there is such an output.
    pub(super) fn check(&self) -> Result<(), Error> {
        let mut taken: Vec<(&str, Identity)> =
            stdout::file().map(|file| ("stdout", file)).into_iter().collect();
        if taken.iter().any(|(_, file)| file.is_read()) {
            return Err(Error::Usage(
                "stdout goes to a file that this run reads; write to another one".to_owned(),
            ));
        }
        if let Some((option, path)) = &self.folder {
            taken.push((option, Identity::of(path)));
        }
        for Output { option, path, .. } in &self.files {
            let refuse = |what: String| Err(Error::malformed(path, what));
            let place = followed(path);
            let file = Identity::of(&place);
            if file.is_read() {
                return refuse(format!(
                    "is read by this run, so `{option}` cannot write it; name another file"
                ));
            }
            if let Some((other, _)) = taken.iter().find(|(_, other)| *other == file) {
                return refuse(format!("`{option}` and `{other}` both write it; name another file for one"));
            }
            if let Some((other, _)) = self.folder.as_ref().filter(|(_, folder)| lies_in(&place, folder)) {
                return refuse(format!(
                    "lies in the folder of `{other}`, which must be empty; name another place"
                ));
            }
            if !is_device(&place) {
                taken.push((option, file));
            }
        }
        Ok(())
    }

    /// Creates the files first, so that an unwritable output costs no work.
    ///
    /// # Errors
    /// As [`Self::check`], or when one cannot be created.
    pub(super) fn create(&mut self) -> Result<(), Error> {
        self.check()?;
        self.begin()
    }

    fn begin(&mut self) -> Result<(), Error> {
        for output in &mut self.files {
            output.target = Some(Target::create(&output.path)?);
        }
        Ok(())
    }

    /// Creates the files of a run that was checked before and writes them again. Nothing is checked now: an input that was
    /// deleted meanwhile may have left its number to an output.
    ///
    /// # Errors
    /// When one cannot be created.
    pub(super) fn again(&mut self, common: &Common) -> Result<(), Error> {
        self.quiet = common.quiet;
        self.begin()
    }

    /// Creates the files of a run that writes any; for `--dry-run` they are only checked.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub(super) fn ready(&mut self, common: &Common) -> Result<(), Error> {
        self.quiet = common.quiet;
        if common.dry_run || common.recording.has_no_report() { self.check() } else { self.create() }
    }

    /// Writes every report of `-o`; `holds` says what is in one of a format.
    pub(super) fn write_reports(&mut self, holds: &dyn Fn(OutputFormat) -> String, content: WriteFormat<'_>) {
        for i in 0..self.files.len() {
            if let Some(format) = self.files[i].format {
                self.write(Slot(i), &holds(format), |out| content(format, out));
            }
        }
    }

    /// Writes one file, puts it in place, and says what it holds.
    pub(super) fn write(
        &mut self,
        slot: Slot,
        holds: &str,
        content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) {
        let Output { path, target, .. } = &mut self.files[slot.0];
        let Some(target) = target.take() else { return };
        let is_file = matches!(target, Target::Replaced(..));
        match target.write(content) {
            Ok(()) if is_file && !self.quiet => remark(&format!("wrote {}: {holds}", path.display())),
            Ok(()) => {}
            Err(error) => {
                let error = Error::io(path, "cannot write", error);
                self.fail(&error);
            }
        }
    }

    /// Says that an output cannot be written; the run goes on and ends with 2.
    pub(super) fn fail(&mut self, error: &Error) {
        self.has_failed = true;
        complain(&error.to_string());
    }

    /// `status`, or that the run is incomplete where an output failed.
    pub(super) fn status(&self, status: Status) -> Status {
        if self.has_failed { Status::Incomplete } else { status }
    }

    /// The formats of the reports.
    pub(super) fn formats(&self) -> impl Iterator<Item = OutputFormat> {
        self.files.iter().filter_map(|output| output.format)
    }
}

impl Target {
    /// Creates the file at `path`.
    fn create(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::io(path, "cannot create", source);
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return open_stream(path).map(Self::Stream).map_err(failed);
        }
        let path = followed(path);
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = TemporaryFile::new_in(folder).map_err(failed)?;
        Ok(Self::Replaced(file, path))
    }

    /// Writes the file and puts it in place.
    fn write(self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Stream(file) => {
                let mut out = BufWriter::new(file);
                content(&mut out).and_then(|()| out.flush())
            }
            Self::Replaced(file, path) => file.write(&path, |out| {
                content(out)?;
                // A file that appears after an interrupt would be a surprise.
                if is_interrupted() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
            }),
        }
    }
}

/// The files of reports.
pub(super) fn reports(common: &Common) -> impl Iterator<Item = &Path> {
    common.output.iter().map(|path| named(path).map_or(path.as_path(), |(_, path)| path))
}

/// Whether one of the outputs has pictures.
pub(super) fn draws(common: &Common) -> bool {
    let format =
        |path: &PathBuf| named(path).map_or_else(|| format_of(path).ok(), |(format, _)| Some(format));
    let stdout = OutputFormat::from(common.format);
    common.output.iter().filter_map(format).chain([stdout]).any(|format| format == OutputFormat::Html)
}

/// Opens a device, or a pipe that somebody reads or is about to.
fn open_stream(path: &Path) -> io::Result<File> {
    /// Who starts a reader in the background may start it a little later than this program.
    const PATIENCE: Duration = Duration::from_secs(3);
    let (send, opened) = mpsc::channel();
    let typed = path.to_owned();
    // To open a pipe is to wait for its reader. A thread that waits in vain ends with the process.
    std::thread::Builder::new().spawn(move || send.send(File::options().write(true).open(typed)))?;
    let nobody = || io::Error::other("nobody reads this pipe; start its reader first");
    opened.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(nobody()))
}

/// Where a file is written to: through a link the file it points at is replaced, not the link.
fn followed(path: &Path) -> PathBuf {
    /// As many links as the system follows.
    const MOST: usize = 40;
    if let Ok(path) = fs::canonicalize(path) {
        return path;
    }
    let mut place = path.to_owned();
    for _ in 0..MOST {
        // An existing output without a path, such as a pipe behind stdout, is written under its given name.
        if place.exists() {
            return path.to_owned();
        }
        let Ok(link) = fs::read_link(&place) else { break };
        place = place.parent().unwrap_or(Path::new("")).join(link);
    }
    place
}

/// Whether `place` would lie in `folder`.
fn lies_in(place: &Path, folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let beside = place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    beside.canonicalize().is_ok_and(|beside| beside.starts_with(folder))
}

/// Whether it is a terminal, `/dev/null` or the like, which holds nothing that could be replaced.
#[cfg(unix)]
fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device())
}

/// Whether it is a terminal or the like.
#[cfg(not(unix))]
fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
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
