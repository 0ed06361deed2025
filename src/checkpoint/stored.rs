//! Weights at known positions in known files: what every reader ends up with.
//!
//! Bytes are fetched by positioned reads, never through a memory map, so that a file that shrinks or a network
//! disk that fails is an error with a name and not a signal. Knows nothing of any format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::config::Quantization;
use super::reading::{self, Reading};
use super::{MatrixSource, input, strides};
use crate::error::{Error, brief};
use crate::layer::{self, Filter, Layer, Selection, TensorInfo, natural};
use crate::matrix::Matrix;
use crate::report::SourceFile;

/// Columns of a matrix are read run by run where they are fewer than one in so many.
const SPARSE: usize = 4;

/// A weight file as it was when its header was read.
#[derive(Debug)]
pub(super) struct WeightFile {
    path: PathBuf,
    bytes: u64,
    place: Place,
}

/// Where the bytes of a weight file are.
#[derive(Debug)]
enum Place {
    /// On this disk, last written to then.
    Disk(Option<SystemTime>),
    /// On a server.
    #[cfg(feature = "hub")]
    Hub(super::hub::RemoteFile),
}

/// A weight file ready to be read from.
enum Handle {
    Disk(File),
    #[cfg(feature = "hub")]
    Hub(super::hub::RemoteFile),
}

impl Handle {
    /// Fills `out` from position `offset`.
    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Disk(file) => read_exact_at(file, out, offset),
            #[cfg(feature = "hub")]
            Self::Hub(file) => file.read_exact_at(out, offset),
        }
    }
}

impl WeightFile {
    /// Opens `path` for reading its header and notes what it looks like now.
    pub(super) fn open(path: &Path) -> Result<(File, Self), Error> {
        let file = input::open(path)?;
        let metadata = file.metadata().map_err(|e| Error::io(path, "cannot read", e))?;
        let (bytes, place) = (metadata.len(), Place::Disk(metadata.modified().ok()));
        Ok((file, Self { path: path.to_owned(), bytes, place }))
    }

    /// A file of `bytes` on a server, called `path` in messages.
    #[cfg(feature = "hub")]
    pub(super) fn remote(path: PathBuf, bytes: u64, file: super::hub::RemoteFile) -> Self {
        Self { path, bytes, place: Place::Hub(file) }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its name without the folder.
    fn name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// Opens the file again. No handle is kept between reads: a checkpoint may have more shards than a process
    /// may have open files, and an open costs microseconds where a matrix costs milliseconds.
    fn reopen(&self) -> Result<Handle, String> {
        #[cfg(feature = "hub")]
        if let Place::Hub(file) = &self.place {
            return Ok(Handle::Hub(file.clone()));
        }
        let file = input::try_open(&self.path).map_err(|e| format!("cannot open the file again: {e}"))?;
        let metadata = file.metadata().map_err(|e| format!("cannot read the file again: {e}"))?;
        if metadata.len() != self.bytes {
            return Err(format!(
                "the file changed while it was read: it had {} bytes and now has {}",
                self.bytes,
                metadata.len()
            ));
        }
        if !matches!(&self.place, Place::Disk(modified) if *modified == metadata.modified().ok()) {
            return Err("the file changed while it was read: it was written to".to_owned());
        }
        Ok(Handle::Disk(file))
    }

    /// Reads `length` bytes from position `offset`; says why that is not possible.
    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        if offset.checked_add(length).is_none_or(|end| end > self.bytes) {
            return Err(format!("{length} bytes at {offset} are not in the file"));
        }
        let handle = self.reopen()?;
        let mut bytes = zeros(length)?;
        handle.read_exact_at(&mut bytes, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => "the file was cut short while it was read".to_owned(),
            _ => format!("cannot read {length} bytes at {offset}: {e}"),
        })?;
        Ok(bytes)
    }
}

/// So many bytes; what a server claims to have may be more than any memory holds.
fn zeros(length: u64) -> Result<Vec<u8>, String> {
    let fits = usize::try_from(length).is_ok_and(|n| Vec::<u8>::new().try_reserve_exact(n).is_ok());
    if fits { Ok(vec![0; length as usize]) } else { Err(format!("{length} bytes do not fit into memory")) }
}

/// A file and what its header lists.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: WeightFile,
    pub(super) tensors: Vec<TensorInfo>,
    /// How tensors are read that are no rows of floats, by name.
    pub(super) readings: BTreeMap<String, Reading>,
    /// What a reader should know of what else it holds.
    pub(super) notes: Vec<String>,
    /// How its weights are quantized, if it says so itself and not for the whole checkpoint.
    pub(super) quantization: Option<Quantization>,
    /// The settings of an adapter, if its header holds them.
    pub(super) settings: Option<String>,
}

/// All files of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// In reading order.
    pub(super) parts: Vec<Part>,
    /// What a reader should know of how they were chosen.
    pub(super) notes: Vec<String>,
}

/// A checkpoint whose tensors are runs of bytes in files.
#[derive(Debug)]
pub(super) struct Stored {
    root: PathBuf,
    files: Vec<WeightFile>,
    tensors: Vec<TensorInfo>,
    readings: BTreeMap<String, Reading>,
    notes: Vec<String>,
    /// One for each file.
    quantizations: Vec<Option<Quantization>>,
}

impl Stored {
    /// Joins files, each with the tensors that its header lists, into one checkpoint at `path`.
    ///
    /// # Errors
    /// When two files hold a tensor of the same name.
    pub(super) fn new(path: &Path, Parts { parts, mut notes }: Parts) -> Result<Self, Error> {
        let (mut files, mut quantizations) = (Vec::with_capacity(parts.len()), vec![]);
        let (mut tensors, mut readings) = (vec![], BTreeMap::new());
        for (index, part) in parts.into_iter().enumerate() {
            files.push(part.file);
            quantizations.push(part.quantization);
            tensors.extend(part.tensors.into_iter().map(|tensor| TensorInfo { file: index, ..tensor }));
            readings.extend(part.readings);
            notes.extend(part.notes.into_iter().filter(|note| !notes.contains(note)).collect::<Vec<_>>());
        }
        tensors.sort_by(|a, b| natural(&a.name, &b.name).then(a.file.cmp(&b.file)));
        if let Some([a, b]) = tensors.array_windows::<2>().find(|[a, b]| a.name == b.name) {
            let (first, second) = (files[a.file].name(), files[b.file].name());
            let name = brief(&a.name);
            let reason =
                format!("tensor `{name}` is in both `{first}` and `{second}`; keep one of the files");
            return Err(Error::malformed(path, reason));
        }
        Ok(Self { root: path.to_owned(), files, tensors, readings, notes, quantizations })
    }

    /// What the part of the checkpoint that holds a tensor says of how it is quantized.
    pub(super) fn quantization(&self, tensor: &TensorInfo) -> Option<&Quantization> {
        self.quantizations.get(tensor.file)?.as_ref()
    }

    /// How a file is called in reports: by its place in the folder.
    fn name(&self, file: &WeightFile) -> String {
        let below = file.path.strip_prefix(&self.root).ok().filter(|below| !below.as_os_str().is_empty());
        below.map_or_else(|| file.name(), |below| below.to_string_lossy().replace('\\', "/"))
    }

    /// Bytes of a tensor, from position `start` of its data.
    ///
    /// # Errors
    /// As for reading a matrix.
    pub(super) fn bytes(&self, tensor: &TensorInfo, start: u64, length: u64) -> Result<Vec<u8>, Error> {
        let Some(file) = self.files.get(tensor.file) else {
            return Err(Error::Usage(format!("`{}` belongs to another checkpoint", brief(&tensor.name))));
        };
        let read = file.read(tensor.offset.saturating_add(start), length);
        read.map_err(|reason| self.malformed(tensor, reason))
    }

    /// What is wrong with a tensor, with its place.
    pub(super) fn malformed(&self, tensor: &TensorInfo, reason: String) -> Error {
        let path = self.files.get(tensor.file).map_or(Path::new(""), |file| &file.path);
        Error::tensor(path, &tensor.name, reason)
    }

    /// The rows `rows` of `layer`, which lie in their file as `reading` has it, or one after the other.
    fn read_as(&self, layer: &Layer, rows: Range<usize>, reading: Option<&Reading>) -> Result<Matrix, Error> {
        let Some(file) = self.files.get(layer.file) else {
            return Err(Error::Usage(format!("`{}` belongs to another checkpoint", brief(&layer.name))));
        };
        let fail = |reason: String| Error::tensor(&file.path, &layer.tensor, reason);
        let outside =
            || fail(format!("rows {}..{} of {} are not in the file", rows.start, rows.end, layer.rows));
        let inside =
            |offset: u64, length: u64| offset.checked_add(length).is_some_and(|end| end <= file.bytes);
        let handle = file.reopen().map_err(fail)?;
        let fetch = |offset: u64, out: &mut [u8]| {
            if !inside(offset, out.len() as u64) {
                return Err(outside());
            }
            handle.read_exact_at(out, offset).map_err(|e| match e.kind() {
                io::ErrorKind::UnexpectedEof => fail("the file was cut short while it was read".to_owned()),
                _ => fail(format!("cannot read {} bytes at {offset}: {e}", out.len())),
            })
        };
        if rows.start > rows.end || rows.end > layer.rows {
            return Err(outside());
        }
        let bytes = match reading {
            Some(Reading::Refused(reason)) => return Err(fail(reason.clone())),
            Some(Reading::ChannelsLast)
                if layer.cols == layer.stored_shape[1..].iter().product::<usize>() =>
            {
                reading::channels_last(layer, &rows, &fetch)?
            }
            // A slice of a stack whose matrices were turned.
            Some(Reading::ChannelsLast) => return Err(fail(strides::SCATTERED.to_owned())),
            Some(Reading::Strided { row, col }) => reading::strided(layer, &rows, (*row, *col), &fetch)?,
            Some(Reading::Blocks { decoder, offset }) => {
                reading::decoded(layer, &rows, (*decoder, *offset), &fetch)?
            }
            None => {
                // Before anything is allocated: a damaged header may claim any number of rows.
                let (offset, length) = span(layer, &rows)
                    .filter(|(offset, length)| inside(*offset, *length))
                    .ok_or_else(outside)?;
                let mut bytes = zeros(length).map_err(fail)?;
                fetch(offset, &mut bytes)?;
                bytes
            }
        };
        Matrix::new(rows.len(), layer.cols, layer.dtype, bytes)
    }
}

impl MatrixSource for Stored {
    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn files(&self) -> Vec<SourceFile> {
        self.files.iter().map(|file| SourceFile { name: self.name(file), bytes: file.bytes }).collect()
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn select(&self, filter: &Filter) -> Selection {
        let mut selection = layer::select(&self.tensors, filter);
        for skipped in &mut selection.skipped {
            if let Some(Reading::Refused(reason)) = self.readings.get(&skipped.tensor) {
                skipped.reason.clone_from(reason);
            }
        }
        selection
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        self.read_as(layer, rows, self.readings.get(&layer.tensor))
    }

    fn bytes(&self, tensor: &TensorInfo, start: u64, length: u64) -> Result<Vec<u8>, Error> {
        self.bytes(tensor, start, length)
    }

    fn window(&self, layer: &Layer, rows: Range<usize>, columns: Range<usize>) -> Result<Matrix, Error> {
        let on_disk = self.files.get(layer.file).is_some_and(|file| matches!(file.place, Place::Disk(_)));
        // Where a request is dear, or little lies between the runs, everything is read and the rest dropped.
        let narrow = columns.len() < layer.cols / SPARSE;
        if !(on_disk && narrow) || self.readings.contains_key(&layer.tensor) {
            return super::narrowed(layer, rows, columns, |rows| self.read(layer, rows));
        }
        let before = (columns.start * layer.dtype.size()) as u64;
        let run = Layer { cols: columns.len(), offset: layer.offset + before, ..layer.clone() };
        let apart = Reading::Strided { row: layer.cols as u64, col: 1 };
        self.read_as(&run, rows, Some(&apart))
    }
}

/// Position and length of `rows` of `layer` in its file, if there are such positions.
fn span(layer: &Layer, rows: &Range<usize>) -> Option<(u64, u64)> {
    let row = (layer.cols as u64).checked_mul(layer.dtype.size() as u64)?;
    let start = (rows.start as u64).checked_mul(row)?.checked_add(layer.offset)?;
    Some((start, (rows.len() as u64).checked_mul(row)?))
}

/// Fills `out` from position `offset` of `file`.
#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// Fills `out` from position `offset` of `file`.
#[cfg(windows)]
pub(super) fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
