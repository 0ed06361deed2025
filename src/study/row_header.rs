//! What is known of a row before its record is read.

use std::sync::Arc;

use crate::layer::Layer;
use crate::report::{Comparison, Flag, Row, Update};
use crate::text::Text;

/// What is known of a row from names and headers: far less than a row takes.
#[derive(Debug, Clone)]
pub struct RowHeader {
    /// Its name.
    pub(super) name: Text,
    /// Its matrix.
    pub(super) layer: Arc<Layer>,
    /// How an adapter stores it.
    pub(super) update: Option<Box<Update>>,
    /// Cautions.
    pub(super) flags: Vec<Flag>,
    /// How it stands to its base, as far as headers tell.
    pub(super) comparison: Option<Box<Comparison>>,
}

impl RowHeader {
    /// Of a matrix of one model.
    pub(super) fn new(layer: &Arc<Layer>, update: Option<Box<Update>>) -> Self {
        let flags = update.iter().flat_map(|update| &update.flags).copied().chain(layer.flag()).collect();
        Self { name: layer.name.clone(), layer: Arc::clone(layer), update, flags, comparison: None }
    }

    /// Its rows and columns.
    pub(super) fn shape(&self) -> [u64; 2] {
        [self.layer.rows as u64, self.layer.cols as u64]
    }

    /// The row, without numbers.
    pub(super) fn row(self) -> Row {
        let Self { name, layer, update, flags, comparison } = self;
        let stored: Vec<u64> = layer.stored_shape.iter().map(|n| *n as u64).collect();
        let shape = [layer.rows as u64, layer.cols as u64];
        Row {
            name,
            tensor: layer.tensor.clone(),
            block: layer.block,
            role: layer.role.clone(),
            shape,
            stored_shape: (stored != shape).then_some(stored),
            dtype: layer.stored_type().into(),
            dequant: layer.scheme().map(str::to_owned),
            update,
            flags,
            comparison,
            ..Row::default()
        }
    }
}
