//! Path in, matrices out. The file formats and the crates that parse them live here.

mod adapter;
mod altered;
mod arranged;
mod catalogue;
mod config;
mod config_summary;
mod diagnose;
mod elements;
mod folder;
mod format;
mod gguf;
mod header;
mod index;
mod numpy;
mod pairs;
mod pickle;
mod pipeline;
mod quantized;
mod reading;
mod safetensors;
mod saved;
mod spectra;
mod state_dict;
mod stored;
mod strides;
mod temporary;
mod tied;
mod torch;
mod unsupported;
mod weight;
mod zip;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::layer::{self, Filter, Layer, Selection, TensorInfo};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;
use crate::report::{SourceFile, Update};
use crate::store::Location;
use format::{Candidate, Content};
use stored::{Parts, Stored};

pub use altered::Copy;
pub use catalogue::Catalogue;
pub use config_summary::config_summary;
pub use elements::Elements;
pub use format::{FORMATS, Format, names_weights};
pub use pairs::{Pairs, copies, of_base};
pub use saved::{Saved, SavedRow, is_saved};
pub use spectra::write_spectra;
pub use temporary::{TemporaryFile, TemporaryFolder, remove_all};
pub use tied::tied;

/// A checkpoint whose headers have been read and validated; weights are read on request.
pub trait MatrixSource: Send + Sync {
    /// All stored tensors, in natural name order. Costs nothing: headers were read when the source was opened.
    fn tensors(&self) -> &[TensorInfo];

    /// The weight files, in reading order.
    fn files(&self) -> Vec<SourceFile>;

    /// What a reader should know of how the files were chosen.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// Whether its matrices are weights or updates to the weights of another checkpoint.
    fn holds(&self) -> Holds {
        Holds::Weights
    }

    /// The matrices to analyse, and what was left out.
    fn select(&self, filter: &Filter) -> Selection {
        layer::select(self.tensors(), filter)
    }

    /// The same checkpoint with its fused tensors left as they are stored, where this one cuts them.
    fn fused(&self) -> Option<&Arc<dyn MatrixSource>> {
        None
    }

    /// The same as a catalogue, if it is one.
    fn catalogue(&self) -> Option<&Catalogue> {
        None
    }

    /// Whether a matrix of another checkpoint has to be decomposed before anything of `layer` is read.
    fn decomposes(&self, _layer: &Layer) -> bool {
        false
    }

    /// The checkpoint that stores its tensors, where its matrices are computed of several.
    fn stored(&self) -> Option<&dyn MatrixSource> {
        None
    }

    /// How an adapter stores the update that a layer is; none of a weight.
    fn update(&self, _layer: &Layer) -> Option<Update> {
        None
    }

    /// The thin factors of a layer that has a `rank`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn factors(&self, layer: &Layer) -> Result<LowRank, Error> {
        Err(Error::Contract(format!("`{}` is not stored as a product", layer.name)))
    }

    /// The bytes of a stored tensor from `start` on, whatever they stand for.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn bytes(&self, tensor: &TensorInfo, _start: u64, _length: u64) -> Result<Vec<u8>, Error> {
        Err(Error::Contract(format!("`{}` is not stored", tensor.name)))
    }

    /// Reads the rows `rows` of `layer`: as stored where it is stored so, else as doubles.
    ///
    /// # Errors
    /// When the file has changed, ended or cannot be read.
    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error>;

    /// Reads the columns `columns` of the rows `rows` of `layer`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn window(&self, layer: &Layer, rows: Range<usize>, columns: Range<usize>) -> Result<Matrix, Error> {
        narrowed(layer, rows, columns, |rows| self.read(layer, rows))
    }
}

/// The columns `columns` of what `read` gives of `layer`, a few rows at a time.
fn narrowed(
    layer: &Layer,
    rows: Range<usize>,
    columns: Range<usize>,
    read: impl Fn(Range<usize>) -> Result<Matrix, Error>,
) -> Result<Matrix, Error> {
    let size = layer.read_as.size();
    let (count, width) = (rows.len(), columns.len());
    let mut bytes = Vec::with_capacity(count * width * size);
    for block in blocks(rows, layer.cols) {
        for row in read(block)?.bytes().chunks_exact(layer.cols * size) {
            bytes.extend_from_slice(&row[columns.start * size..columns.end * size]);
        }
    }
    Matrix::new(count, width, layer.read_as, bytes)
}

/// `rows` in runs of about a million entries, so that what is computed from them never has a second dense copy.
fn blocks(rows: Range<usize>, cols: usize) -> impl Iterator<Item = Range<usize>> {
    let step = ((1 << 20) / cols.max(1)).max(1);
    rows.clone().step_by(step).map(move |first| first..rows.end.min(first + step))
}

/// Room for doubles that are computed; thin factors in a small file may make a matrix that no memory holds.
fn space(rows: usize, cols: usize) -> Result<Vec<u8>, Error> {
    let (mut bytes, needed) = (vec![], rows.checked_mul(cols).and_then(|n| n.checked_mul(8)));
    if needed.is_none_or(|needed| bytes.try_reserve_exact(needed).is_err()) {
        return Err(Error::Resources(format!("{rows} × {cols} doubles do not fit into memory")));
    }
    Ok(bytes)
}

/// The checkpoint that an adapter changes, with its fused tensors as they are stored: adapters know no others.
fn as_stored(base: Arc<dyn MatrixSource>) -> Arc<dyn MatrixSource> {
    base.fused().cloned().unwrap_or(base)
}

/// What becomes of queries, keys and values that one tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueriesKeysValues {
    /// One matrix, as stored.
    #[default]
    Together,
    /// A matrix each.
    Split,
}

/// What the matrices of a source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Weights of a model.
    Weights,
    /// What an adapter adds to the weights of a model.
    Updates,
}

/// Which of the files that a folder offers are meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Those of this variant, as in `model.fp16.safetensors`.
    pub variant: Option<&'a str>,
    /// These components of a pipeline; all if none is named.
    pub components: &'a [String],
}

/// What all singular triplets of a matrix but the first so many add up to.
pub type Beyond = fn(&Matrix, usize) -> Result<LowRank, Error>;

/// What else is known of a checkpoint when it is opened; most of it matters to adapters only.
#[derive(Clone, Default)]
pub struct Opening<'a> {
    /// Which of its files are meant.
    pub choice: Choice<'a>,
    /// The configuration of an adapter, where it does not lie beside the weights.
    pub adapter_config: Option<&'a Path>,
    /// An adapter as it was before training, to be taken away from what it is now.
    pub adapter_init: Option<&'a Path>,
    /// The checkpoint that an adapter changes.
    pub base: Option<Arc<dyn MatrixSource>>,
    /// Decomposes a matrix of the base, for adapters that cut its last directions off (KaSA).
    pub beyond: Option<Beyond>,
    /// What becomes of queries, keys and values that one tensor holds.
    pub attention: QueriesKeysValues,
}

impl Opening<'_> {
    /// The same for a base, which is no adapter.
    #[must_use]
    pub fn of_base(&self) -> Self {
        Self { choice: self.choice, attention: self.attention, beyond: self.beyond, ..Self::default() }
    }
}

/// Whether `path` looks like a checkpoint of some format, sound or not.
pub fn is_recognized(path: &Path) -> bool {
    is_recognized_at(&Location::disk(path))
}

fn is_recognized_at(location: &Location) -> bool {
    Candidate::of(location, Choice::default()).format().is_some()
}

/// Opens the checkpoint at `path`: a file, the index of a sharded one, or a folder. Gives the format's name, too.
///
/// # Errors
/// When nothing is there, or nothing that can be read; the message says what it is and what to try.
pub fn open(path: &Path) -> Result<(&'static str, Arc<dyn MatrixSource>), Error> {
    open_with(path, &Opening::default())
}

/// As [`open`], with what else is known.
///
/// # Errors
/// As [`open`]; also when an adapter lacks a part, or cannot be understood with what is known.
pub fn open_with(path: &Path, opening: &Opening<'_>) -> Result<(&'static str, Arc<dyn MatrixSource>), Error> {
    open_at(&Location::disk(path), opening)
}

/// As [`open_with`], in any store.
///
/// # Errors
/// As [`open_with`].
pub fn open_at(
    location: &Location,
    opening: &Opening<'_>,
) -> Result<(&'static str, Arc<dyn MatrixSource>), Error> {
    open_as(location, opening, Stage::Trained)
}

/// Whether an adapter is what training made of it or what it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Beginning,
    Trained,
}

fn open_as(
    location: &Location,
    opening: &Opening<'_>,
    stage: Stage,
) -> Result<(&'static str, Arc<dyn MatrixSource>), Error> {
    let candidate = Candidate::found(location, opening.choice)?;
    unsupported::refuse_slices(&candidate)?;
    let format = candidate.format().ok_or_else(|| diagnose::unknown(&candidate))?;
    if opening.base.is_none() {
        applies(&candidate, format)?;
    }
    assembled(&candidate, (format.name, format.parts(&candidate)?), opening, stage)
}

/// What the files of a checkpoint hold: weights, dequantized and cut where they need it, or an adapter.
fn assembled(
    candidate: &Candidate<'_>,
    (format, mut parts): (&'static str, Parts),
    opening: &Opening<'_>,
    stage: Stage,
) -> Result<(&'static str, Arc<dyn MatrixSource>), Error> {
    let location = candidate.location;
    let headers: Vec<String> = parts.parts.iter_mut().filter_map(|part| part.settings.take()).collect();
    let stored = Stored::new(location, parts)?;
    let config = candidate.config()?;
    let source = quantized::open(stored, &config.quantization);
    let opening = Opening { base: opening.base.clone().map(as_stored), ..opening.clone() };
    let (is_adapter, source) = adapter::open(location, source, &headers, &opening, stage)?;
    if is_adapter {
        return Ok((adapter::FORMAT, source));
    }
    Ok((format, arranged::open(&location.describe(), source, opening.attention, config)?))
}

/// Refuses a choice that a candidate does not offer. A fine-tune need not offer it: an adapter of a pipeline's component
/// is a single file.
fn applies(candidate: &Candidate<'_>, format: &Format) -> Result<(), Error> {
    let reason = match candidate.choice {
        Choice { components: [_, ..], .. } if format.name != pipeline::FORMAT.name => {
            "is no pipeline of components, so `--component` does not apply"
        }
        Choice { variant: Some(_), .. } if matches!(candidate.content, Content::File(_)) => {
            "is no folder, so `--variant` does not apply; name the file you want"
        }
        _ => return Ok(()),
    };
    Err(candidate.location.malformed(reason))
}
