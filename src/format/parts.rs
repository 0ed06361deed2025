//! What the header of a file says: its tensors, and how each lies in it.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;

use super::config::Quantization;
use crate::error::Error;
use crate::layer::TensorInfo;
use crate::store::{Room, StoredFile};

/// A file and the tensors in its header.
#[derive(Debug)]
pub(crate) struct FilePart {
    pub(crate) file: StoredFile,
    pub(crate) tensors: Vec<TensorInfo>,
    /// How tensors that are not rows of floats are read, by name.
    pub(crate) layouts: BTreeMap<String, Layout>,
    /// Notes on the rest of its contents.
    pub(crate) notes: Vec<String>,
    /// How its weights are quantized, if it says so itself and not for the whole checkpoint.
    pub(crate) quantization: Option<Quantization>,
    /// The settings of an adapter, if its header holds them.
    pub(crate) settings: Option<String>,
    /// What its tensors take.
    pub(crate) room: Room,
}

impl FilePart {
    /// The tensors of `file`, of which nothing else is known yet.
    ///
    /// # Errors
    /// When they do not fit into memory.
    pub(crate) fn new(file: StoredFile, tensors: Vec<TensorInfo>) -> Result<Self, Error> {
        let names = tensors.iter().map(|tensor| tensor.name.len()).sum();
        let room = Room::take(tensors.len(), names).map_err(|reason| file.location().malformed(reason))?;
        let (layouts, notes) = (BTreeMap::new(), vec![]);
        Ok(Self { file, tensors, layouts, notes, quantization: None, settings: None, room })
    }
}

/// All files of a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// In reading order.
    pub(crate) parts: Vec<FilePart>,
    /// Notes on the choice of files.
    pub(crate) notes: Vec<String>,
}

/// How a tensor lies that is not rows of floats.
#[derive(Debug, Clone)]
pub(crate) enum Layout {
    /// Not at all, and why.
    Refused(String),
    /// Each entry in a place of its own, this far from the next along each axis, in entries.
    Strided(Vec<u64>),
    /// Blocks of small integers with scales.
    Blocks {
        /// Their decoder.
        decoder: GgmlDType,
        /// Position of the tensor's first byte; layers count theirs from here, in bytes of f32.
        start: u64,
    },
}
