//! Weights at known positions in known files: what every reader ends up with.
//!
//! Bytes come from a store. Knows nothing of any format.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::config::Quantization;
use super::reading::{self, Reading};
use super::{MatrixSource, strides};
use crate::error::{Error, brief};
use crate::layer::{self, Filter, Layer, Selection, TensorInfo, natural};
use crate::matrix::Matrix;
use crate::report::SourceFile;
use crate::store::{Location, StoredFile, unreadable, zeros};

/// Columns of a matrix are read run by run where they are fewer than one in so many.
const SPARSE: usize = 4;

/// A file and what its header lists.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: StoredFile,
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
    root: Location,
    files: Vec<StoredFile>,
    tensors: Vec<TensorInfo>,
    readings: BTreeMap<String, Reading>,
    notes: Vec<String>,
    /// One for each file.
    quantizations: Vec<Option<Quantization>>,
}

impl Stored {
    /// Joins files, each with the tensors that its header lists, into one checkpoint at `root`.
    ///
    /// # Errors
    /// When two files hold a tensor of the same name.
    pub(super) fn new(root: &Location, Parts { parts, mut notes }: Parts) -> Result<Self, Error> {
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
            let (first, second) = (files[a.file].location().name(), files[b.file].location().name());
            let name = brief(&a.name);
            let reason =
                format!("tensor `{name}` is in both `{first}` and `{second}`; keep one of the files");
            return Err(root.malformed(reason));
        }
        Ok(Self { root: root.clone(), files, tensors, readings, notes, quantizations })
    }

    /// What the part of the checkpoint that holds a tensor says of how it is quantized.
    pub(super) fn quantization(&self, tensor: &TensorInfo) -> Option<&Quantization> {
        self.quantizations.get(tensor.file)?.as_ref()
    }

    /// How a file is called in reports: by its place in the folder.
    fn name(&self, file: &StoredFile) -> String {
        let below = file.location().path().strip_prefix(self.root.path()).ok();
        let below = below.filter(|below| !below.as_os_str().is_empty());
        below.map_or_else(|| file.location().name(), |below| below.to_string_lossy().replace('\\', "/"))
    }

    /// Bytes of a tensor, from position `start` of its data.
    ///
    /// # Errors
    /// As for reading a matrix.
    pub(super) fn bytes(&self, tensor: &TensorInfo, start: u64, length: u64) -> Result<Vec<u8>, Error> {
        let Some(file) = self.files.get(tensor.file) else {
            return Err(Error::Contract(format!("`{}` belongs to another checkpoint", brief(&tensor.name))));
        };
        let read = file.read(tensor.offset.saturating_add(start), length);
        read.map_err(|reason| self.malformed(tensor, reason))
    }

    /// What is wrong with a tensor, with its place.
    pub(super) fn malformed(&self, tensor: &TensorInfo, reason: String) -> Error {
        let path = self.files.get(tensor.file).map_or(Path::new(""), StoredFile::describe);
        Error::tensor(path, &tensor.name, reason)
    }

    /// The rows `rows` of `layer`, which lie in their file as `reading` has it, or one after the other.
    fn read_as(&self, layer: &Layer, rows: Range<usize>, reading: Option<&Reading>) -> Result<Matrix, Error> {
        let Some(file) = self.files.get(layer.file) else {
            return Err(Error::Contract(format!("`{}` belongs to another checkpoint", brief(&layer.name))));
        };
        let fail = |reason: String| Error::tensor(file.describe(), &layer.tensor, reason);
        let outside =
            || fail(format!("rows {}..{} of {} are not in the file", rows.start, rows.end, layer.rows));
        let inside =
            |offset: u64, length: u64| offset.checked_add(length).is_some_and(|end| end <= file.length());
        let handle = file.reopen().map_err(fail)?;
        let fetch = |offset: u64, out: &mut [u8]| {
            if !inside(offset, out.len() as u64) {
                return Err(outside());
            }
            let length = out.len() as u64;
            handle.read_at(out, offset).map_err(|e| fail(unreadable(&e, length, offset)))
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
        self.files.iter().map(|file| SourceFile { name: self.name(file), bytes: file.length() }).collect()
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
        let near = self.files.get(layer.file).is_some_and(|file| !file.location().is_remote());
        // Where a request is expensive, or little lies between the runs, everything is read and the rest dropped.
        let narrow = columns.len() < layer.cols / SPARSE;
        if !(near && narrow) || self.readings.contains_key(&layer.tensor) {
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
