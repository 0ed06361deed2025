//! What the header of a file says: its tensors, and how each lies in it.

use std::collections::BTreeMap;

use candle_core::quantized::GgmlDType;

use super::config::Quantization;
use crate::layer::TensorInfo;
use crate::store::StoredFile;

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
