//! Stored tensors at known positions in known files: what every reader ends up with, and every expression begins with.
//!
//! Bytes come from a store. Knows nothing of any format.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::storage_layout::Gathered;
use crate::error::{Error, brief};
use crate::format::{Layout, Parts, Quantization, SCATTERED};
use crate::layer::{self, Filter, Folding, Folds, Layer, Selection, TensorInfo, natural};
use crate::matrix::Matrix;
use crate::report::SourceFile;
use crate::store::{Location, Room, Stamp, StoredFile, unreadable, zeros};

/// Columns of a matrix are read run by run where they are fewer than one in so many.
const SPARSE: usize = 4;

/// A checkpoint whose tensors are runs of bytes in files.
#[derive(Debug)]
pub struct Tensors {
    root: Location,
    files: Vec<StoredFile>,
    list: Vec<TensorInfo>,
    layouts: BTreeMap<String, Layout>,
    notes: Vec<String>,
    /// One for each file.
    quantizations: Vec<Option<Quantization>>,
    /// What tensors of three axes were taken for.
    folds: Folds,
    _rooms: Vec<Room>,
}

impl Tensors {
    /// No tensor at all.
    pub(crate) fn none() -> Self {
        Self {
            root: Location::disk(""),
            files: vec![],
            list: vec![],
            layouts: BTreeMap::new(),
            notes: vec![],
            quantizations: vec![],
            folds: Folds::default(),
            _rooms: vec![],
        }
    }

    /// Joins files, each with the tensors that its header lists, into one checkpoint at `root`.
    ///
    /// # Errors
    /// When two files hold a tensor of the same name.
    pub(crate) fn new(root: &Location, Parts { parts, mut notes }: Parts) -> Result<Self, Error> {
        let (mut files, mut quantizations) = (Vec::with_capacity(parts.len()), vec![]);
        let (mut tensors, mut layouts, mut rooms) = (vec![], BTreeMap::new(), vec![]);
        for (index, part) in parts.into_iter().enumerate() {
            files.push(part.file);
            quantizations.push(part.quantization);
            tensors.extend(part.tensors.into_iter().map(|tensor| TensorInfo { file: index, ..tensor }));
            layouts.extend(part.layouts);
            rooms.push(part.room);
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
        let folds = Folds::of(&tensors, &Folding::default());
        let root = root.clone();
        Ok(Self { root, files, list: tensors, layouts, notes, quantizations, folds, _rooms: rooms })
    }

    /// The same, where `folding` is known of tensors of three axes, with a note on those that only a shape told.
    #[must_use]
    pub(crate) fn folded(self, folding: &Folding) -> Self {
        let folds = Folds::of(&self.list, folding);
        let notes = self.notes.into_iter().chain(folds.notes()).collect();
        Self { notes, folds, ..self }
    }

    /// The same with one more note.
    #[must_use]
    pub(crate) fn noted(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }

    /// What tensors of three axes were taken for.
    pub(crate) fn folds(&self) -> &Folds {
        &self.folds
    }

    /// All tensors, in natural name order.
    pub fn list(&self) -> &[TensorInfo] {
        &self.list
    }

    /// Where among all tensors the one called `name` is.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.list.binary_search_by(|tensor| natural(&tensor.name, name)).ok()
    }

    /// The files that hold them, in reading order.
    pub fn files(&self) -> Vec<SourceFile> {
        self.files.iter().map(|file| SourceFile { name: self.name(file), bytes: file.length() }).collect()
    }

    /// The same as they were opened.
    pub(super) fn stored_files(&self) -> &[StoredFile] {
        &self.files
    }

    /// The file at `index`, told from every other one, and from itself after a change.
    pub(super) fn stamp(&self, index: usize) -> Option<Stamp> {
        self.files.get(index)?.stamp()
    }

    /// Notes on the choice of files.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The matrices among `tensors`, some of these or what stands for them, and what was left out.
    pub(crate) fn select(&self, tensors: &[TensorInfo]) -> Selection {
        let mut selection = layer::select_folded(tensors, &Filter::default(), &self.folds);
        for skipped in &mut selection.skipped {
            if let Some(Layout::Refused(reason)) = self.layouts.get(skipped.tensor.as_str()) {
                Arc::make_mut(skipped).reason = reason.as_str().into();
            }
        }
        selection
    }

    /// How the tensor called `name` lies in its file, unless it lies there as rows of floats.
    pub(crate) fn layout(&self, name: &str) -> Option<&Layout> {
        self.layouts.get(name)
    }

    /// The quantization settings of the part that holds a tensor.
    pub(crate) fn quantization(&self, tensor: &TensorInfo) -> Option<&Quantization> {
        self.quantizations.get(tensor.file)?.as_ref()
    }

    /// How a file is called in reports: by its place in the folder.
    pub(super) fn name(&self, file: &StoredFile) -> String {
        let below = file.location().path().strip_prefix(self.root.path()).ok();
        let below = below.filter(|below| !below.as_os_str().is_empty());
        below.map_or_else(|| file.location().name(), |below| below.to_string_lossy().replace('\\', "/"))
    }

    /// Bytes of a tensor, from position `start` of its data.
    ///
    /// # Errors
    /// As for reading a matrix.
    pub fn bytes(&self, tensor: &TensorInfo, start: u64, length: u64) -> Result<Vec<u8>, Error> {
        let Some(file) = self.files.get(tensor.file) else {
            return Err(Error::Contract(format!("`{}` belongs to another checkpoint", brief(&tensor.name))));
        };
        let read = file.read(tensor.offset.saturating_add(start), length);
        read.map_err(|reason| self.malformed(tensor, reason))
    }

    /// Fills `out` from a position of the file that holds `layer`.
    pub(crate) fn fill(&self, layer: &Layer, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let Some(file) = self.files.get(layer.file) else {
            return Err(Error::Contract(format!("`{}` belongs to another checkpoint", brief(&layer.name))));
        };
        file.read_at(out, offset).map_err(|reason| Error::tensor(file.describe(), &layer.tensor, reason))
    }

    /// An error about a tensor, with its location.
    pub(crate) fn malformed(&self, tensor: &TensorInfo, reason: String) -> Error {
        let path = self.files.get(tensor.file).map_or(Path::new(""), StoredFile::describe);
        Error::tensor(path, &tensor.name, reason)
    }

    /// The rows `rows` of `layer`, as stored.
    ///
    /// # Errors
    /// When the file has changed, ended or cannot be read.
    pub(crate) fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        let fail = |reason: String| match self.files.get(layer.file) {
            Some(file) => Error::tensor(file.describe(), &layer.tensor, reason),
            None => Error::Contract(reason),
        };
        let how = match self.layouts.get(layer.tensor.as_str()) {
            None => How::InRows,
            Some(Layout::Refused(reason)) => return Err(fail(reason.clone())),
            Some(Layout::Blocks { .. }) => {
                return Err(fail("is stored in blocks, which are decoded".to_owned()));
            }
            Some(Layout::Strided(strides)) => {
                let Some(tensor) = self.list.iter().find(|tensor| tensor.name == layer.tensor) else {
                    return Err(Error::Contract(format!("`{}` is not stored", brief(&layer.tensor))));
                };
                let size = layer.dtype.size();
                let (shape, strides) = (tensor.shape.clone(), strides.clone());
                // Layers count as if the tensor lay there row by row.
                let first = (layer.offset - tensor.offset) as usize / size;
                let whole = Gathered { size, offset: tensor.offset, shape, strides };
                let matrix = whole.part(first..first + layer.len());
                How::Gathered(matrix.ok_or_else(|| fail(SCATTERED.to_owned()))?)
            }
        };
        self.read_as(layer, rows, how)
    }

    /// The columns `columns` of the rows `rows`, run by run, where that is cheaper than reading rows whole: where no
    /// request is expensive and much lies between the runs.
    pub(crate) fn columns(
        &self,
        layer: &Layer,
        rows: Range<usize>,
        columns: &Range<usize>,
    ) -> Option<Result<Matrix, Error>> {
        let near = self.files.get(layer.file).is_some_and(|file| !file.location().is_remote());
        let narrow = columns.len() < layer.cols / SPARSE;
        if !(narrow && (near || rows.len() == 1)) || self.layouts.contains_key(layer.tensor.as_str()) {
            return None;
        }
        let before = (columns.start * layer.dtype.size()) as u64;
        let run = Layer { cols: columns.len(), offset: layer.offset + before, ..layer.clone() };
        let apart = Gathered {
            size: layer.dtype.size(),
            offset: run.offset,
            shape: vec![layer.rows, columns.len()],
            strides: vec![layer.cols as u64, 1],
        };
        Some(self.read_as(&run, rows, How::Gathered(apart)))
    }

    /// The rows `rows` of `layer`, which lies in its file as `how` says.
    fn read_as(&self, layer: &Layer, rows: Range<usize>, how: How) -> Result<Matrix, Error> {
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
        let bytes = match how {
            How::Gathered(_) if rows.is_empty() => vec![],
            How::Gathered(matrix) => {
                let wanted = rows.start * layer.cols..rows.end * layer.cols;
                let part = matrix.part(wanted).ok_or_else(|| fail(SCATTERED.to_owned()))?;
                part.read(&fetch)?
            }
            How::InRows => {
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

/// How a matrix lies in its file.
enum How {
    /// Row by row.
    InRows,
    /// Entry by entry.
    Gathered(Gathered),
}

/// Position and length of `rows` of `layer` in its file, if there are such positions.
fn span(layer: &Layer, rows: &Range<usize>) -> Option<(u64, u64)> {
    let row = (layer.cols as u64).checked_mul(layer.dtype.size() as u64)?;
    let start = (rows.start as u64).checked_mul(row)?.checked_add(layer.offset)?;
    Some((start, (rows.len() as u64).checked_mul(row)?))
}
