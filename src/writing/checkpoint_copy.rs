//! A copy of a safetensors checkpoint with some of its matrices changed.
//!
//! The copy appears whole or not at all: it is made in a hidden folder beside its place and renamed. Unchanged parts
//! is byte-identical, settings and tokenizer included; weights in other formats that lie beside are left out, for they
//! would still be the old ones. So are links that leave the model's folder: their targets were never part of the
//! model, and a copy may be shared. Links of weights are followed everywhere, because the user named them;
//! so are links of a download cache into the blobs of their own repository.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::files::{Bounds, Contents, check_place, copy, followed, lies_in, or_here};
use super::safetensors::{self, Entry, METADATA};
use super::temporary::TemporaryFolder;
use crate::error::{Error, brief};
use crate::format::LONGEST_HEADER;
use crate::layer::{Filter, Layer};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::store::{ReadAt, open_to_copy};
use crate::weight::{Catalogue, Holds, Side};

/// How much of a matrix is changed at once.
const BLOCK: usize = 1 << 20;

/// A checkpoint in the making.
pub struct CheckpointCopy {
    /// Removed with everything in it, unless it is put in place.
    folder: TemporaryFolder,
    out: PathBuf,
    /// The weight files of the original, and their copies.
    files: Vec<(PathBuf, PathBuf)>,
    left_out: Vec<String>,
}

/// Where an adapter keeps its settings, which a copy of it cannot do without.
const CONFIG: &str = "adapter_config.json";

impl CheckpointCopy {
    /// Whether a copy can be written: for the start of a long run.
    ///
    /// # Errors
    /// When `out` holds something already, or the original is in a format that is not written.
    pub fn check(from: &Path, source: &Catalogue, out: &Path) -> Result<(), Error> {
        check_place(out)?;
        if source.holds() != Holds::Weights
            && from.join(CONFIG).exists()
            && !Bounds::of(from).hold(&from.join(CONFIG))
        {
            let reason =
                "is a link out of the adapter's folder, which is not copied; put the file itself there";
            return Err(Error::malformed(&from.join(CONFIG), reason));
        }
        // Updates are written as factors of their own.
        if source.holds() == Holds::Weights {
            let layers = source.select(&Filter::default()).layers;
            layers.iter().try_for_each(|layer| Self::check_layer(from, source, layer))?;
        }
        Self::check_files(from, source, out)
    }

    /// Whether `layer` of the original can be written.
    ///
    /// # Errors
    /// When it is not stored as floats, row by row.
    pub fn check_layer(from: &Path, source: &Catalogue, layer: &Layer) -> Result<(), Error> {
        if source.is_factored(layer) {
            let reason = "is stored as factors, which are not written; save the model with whole weights";
            return Err(Error::tensor(from, &layer.tensor, reason));
        }
        let is_scattered = layer.encoding.is_some() || matches!(source.runs(layer), Some((Side::Columns, _)));
        if is_scattered {
            let reason =
                "is stored quantized or turned, which is not written; convert the model to bf16 matrices";
            return Err(Error::tensor(from, &layer.tensor, reason));
        }
        Ok(())
    }

    /// Whether a copy of the files can be made, whatever changes in it.
    ///
    /// # Errors
    /// When `out` holds something, the files are not safetensors, one cannot be read, or `out` cannot be made.
    pub fn check_files(from: &Path, source: &Catalogue, out: &Path) -> Result<(), Error> {
        check_place(out)?;
        if source.files().iter().any(|file| file.name.contains('/')) {
            return Err(Error::malformed(
                from,
                "is a pipeline; name the folder of the component that is to be copied",
            ));
        }
        if let Some(file) = source.files().into_iter().find(|file| !file.name.ends_with(".safetensors")) {
            let name = brief(&file.name);
            let reason = format!("`{name}` is not safetensors, and nothing else can be written; convert it");
            return Err(Error::malformed(from, reason));
        }
        // Files copied at the end of the run count as inputs from its start.
        let Contents { home, weights, settings, .. } = Contents::of(from, source)?;
        weights.iter().chain(&settings).try_for_each(|name| open_to_copy(&home.join(name)).map(drop))?;
        let out = &followed(out);
        if from.is_dir() && lies_in(out, home) {
            return Err(Error::malformed(out, "lies in the model's own folder; name a place outside of it"));
        }
        let there = out.ancestors().skip(1).map(or_here).find(|folder| folder.exists());
        let tried = TemporaryFolder::new_in(there.unwrap_or(Path::new(".")));
        tried.map(drop).map_err(|e| Error::io(out, "cannot create", e))
    }

    /// Copies the checkpoint at `from`, opened as `source`, for `out`.
    ///
    /// # Errors
    /// When `out` holds something already, or the copy cannot be made.
    pub fn new(from: &Path, source: &Catalogue, out: &Path) -> Result<Self, Error> {
        Self::check(from, source, out)?;
        Self::without(from, source, out, &[])
    }

    /// The same, where these matrices are written later, and not copied: for a place that was checked.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn without(from: &Path, source: &Catalogue, out: &Path, later: &[&Layer]) -> Result<Self, Error> {
        let out = &followed(out);
        let beside = or_here(out.parent().unwrap_or(Path::new("")));
        let failed = |e| Error::io(out, "cannot write", e);
        fs::create_dir_all(beside).map_err(failed)?;
        let folder = TemporaryFolder::new_in(beside).map_err(failed)?;
        let Contents { home, weights, settings, left_out } = Contents::of(from, source)?;
        let places = |name: &String| (home.join(name), folder.path().join(name));
        let files: Vec<_> = weights.iter().map(places).collect();
        for (i, (from, to)) in files.iter().enumerate() {
            let end = |layer: &Layer| layer.offset + (layer.len() * layer.dtype.size()) as u64;
            let here = later.iter().filter(|layer| layer.file == i);
            copy(from, (to, out), here.map(|layer| layer.offset..end(layer)).collect())?;
        }
        settings.iter().map(places).try_for_each(|(from, to)| copy(&from, (&to, out), vec![]))?;
        Ok(Self { folder, out: out.to_owned(), files, left_out })
    }

    /// The files beside the weights that were not copied, for they are links that leave the model's folder.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The matrix that `layer` of the original is, read from the copy.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stored(&self, layer: &Layer) -> Result<Matrix, Error> {
        let Some((from, file)) = self.files.get(layer.file) else {
            return Err(Error::Contract(format!("`{}` belongs to another checkpoint", brief(&layer.name))));
        };
        let mut bytes = vec![0; layer.bytes() as usize];
        let read = File::open(file).and_then(|file| ReadAt::read_at(&file, &mut bytes, layer.offset));
        read.map_err(|e| Error::io(from, "cannot read the copy of", e))?;
        Matrix::new(layer.rows, layer.cols, layer.dtype, bytes)
    }

    /// Adds `change` to the stored matrix that `layer` of `source` is, rounded to nearest in its own type.
    ///
    /// # Errors
    /// When the sum does not fit the type, or reading or writing fails.
    pub fn add(&self, source: &Catalogue, layer: &Layer, change: &LowRank) -> Result<(), Error> {
        let Some((from, to)) = self.files.get(layer.file) else {
            return Err(Error::Contract(format!("`{}` belongs to another checkpoint", brief(&layer.name))));
        };
        let failed = |e| Error::io(&self.out, "cannot write", e);
        let mut file = File::options().write(true).open(to).map_err(failed)?;
        let runs = source.runs(layer);
        for rows in layer.blocks(BLOCK) {
            let mut entries = source.read(layer, rows.clone())?.to_f64();
            let change = change.dense(rows.clone())?.to_f64();
            entries.iter_mut().zip(change).for_each(|(x, y)| *x += y);
            let rounded = Matrix::rounded(rows.len(), layer.cols, layer.dtype, &entries);
            let rounded = rounded.map_err(|reason| Error::tensor(from, &layer.tensor, reason.to_string()))?;
            let line = layer.cols * layer.dtype.size();
            for (row, bytes) in rows.zip(rounded.bytes().chunks_exact(line)) {
                let at = runs.map_or(row, |(_, runs)| runs.at(row));
                let at = layer.offset + (at * line) as u64;
                file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(bytes)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What writes `layer` of the original, row by row from the first on.
    ///
    /// # Errors
    /// When the copy cannot be opened.
    pub fn rows(&self, layer: &Layer) -> Result<RowWriter<'_>, Error> {
        let Some((_, to)) = self.files.get(layer.file) else {
            return Err(Error::Contract(format!("`{}` belongs to another checkpoint", brief(&layer.name))));
        };
        let opened = File::options().write(true).open(to).and_then(|mut file| {
            file.seek(SeekFrom::Start(layer.offset))?;
            Ok(file)
        });
        opened
            .map(|file| RowWriter { file, out: &self.out })
            .map_err(|e| Error::io(&self.out, "cannot write", e))
    }

    /// Replaces tensors by others of the same names and types, in these `shapes`; `content` gives one at a time.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn replace(&self, shapes: &BTreeMap<String, Vec<u64>>, content: Content<'_>) -> Result<(), Error> {
        self.files.iter().try_for_each(|(_, file)| {
            rewrite(file, shapes, content).map_err(|e| Error::io(&self.out, "cannot write", e))
        })
    }

    /// Changes the fields of a JSON file of settings.
    ///
    /// # Errors
    /// When it is not there or holds no fields.
    pub fn configure(&self, name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), Error> {
        let path = self.folder.path().join(name);
        let there = self.out.join(name);
        let text = fs::read(&path).map_err(|e| Error::io(&there, "cannot read", e))?;
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(&text) else {
            return Err(Error::malformed(Path::new(name), "is not a map of settings"));
        };
        change(&mut fields);
        let text = serde_json::to_string_pretty(&Value::Object(fields)).unwrap_or_default();
        fs::write(&path, text + "\n").map_err(|e| Error::io(&there, "cannot write", e))
    }

    /// Puts the copy in its place.
    ///
    /// # Errors
    /// When that has been taken meanwhile.
    pub fn finish(self) -> Result<(), Error> {
        self.folder.put(&self.out).map_err(|e| Error::io(&self.out, "cannot write", e))
    }
}

/// Rows of a matrix in the making.
pub struct RowWriter<'c> {
    file: File,
    out: &'c Path,
}

impl RowWriter<'_> {
    /// Writes the next rows.
    ///
    /// # Errors
    /// When the disk takes no more.
    pub fn write(&mut self, rows: &Matrix) -> Result<(), Error> {
        self.file.write_all(rows.bytes()).map_err(|e| Error::io(self.out, "cannot write", e))
    }
}

/// The tensor that takes the place of the one with this name.
type Content<'a> = &'a dyn Fn(&str) -> Result<Matrix, Error>;

/// Rewrites a safetensors file with some of its tensors replaced, tensor by tensor. They stay in order.
fn rewrite(path: &Path, shapes: &BTreeMap<String, Vec<u64>>, content: Content<'_>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length).min(LONGEST_HEADER);
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text)?;
    let mut fields: Map<String, Value> = serde_json::from_slice(&text)?;
    if !fields.keys().any(|name| shapes.contains_key(name)) {
        return Ok(());
    }
    let metadata = fields.remove(METADATA);
    let span = |field: &Value| {
        let at = |i: usize| field["data_offsets"][i].as_u64().unwrap_or(0);
        at(0)..at(1)
    };
    let mut order: Vec<(&String, &Value)> = fields.iter().collect();
    order.sort_by_key(|(_, field)| (span(field).start, span(field).end));
    let entry = |(name, field): &(&String, &Value)| {
        let axes = || field["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64);
        let dtype = field["dtype"].as_str().unwrap_or_default().to_owned();
        let own = span(field).end.saturating_sub(span(field).start);
        let (shape, bytes) = match shapes.get(*name) {
            Some(shape) => {
                let bytes = own / axes().product::<u64>().max(1) * shape.iter().product::<u64>();
                (shape.clone(), bytes)
            }
            None => (axes().collect(), own),
        };
        Entry { name: (*name).clone(), dtype, shape, bytes }
    };
    let entries: Vec<Entry> = order.iter().map(entry).collect();
    // The copy is nobody's until it is whole, and so is what takes its place in it.
    let rewritten = path.with_extension("rewritten");
    let mut out = BufWriter::new(File::create(&rewritten)?);
    safetensors::write(&mut out, metadata, &entries, |entry, out| {
        if shapes.contains_key(&entry.name) {
            let matrix = content(&entry.name).map_err(io::Error::other)?;
            return out.write_all(matrix.bytes());
        }
        let start = fields.get(&entry.name).map_or(0, |field| span(field).start);
        file.seek(SeekFrom::Start(8 + length + start))?;
        io::copy(&mut (&file).take(entry.bytes), out).map(drop)
    })?;
    out.flush()?;
    fs::rename(rewritten, path)
}
