//! Matrices by shape and type alone, without a place in a model.

use super::{Layer, Part, TensorInfo};
use crate::matrix::Dtype;
use crate::text::Text;

impl Layer {
    /// A matrix of this shape, stored as rows of `dtype` from the start of the first file.
    pub fn plain(name: impl Into<Text>, (rows, cols): (usize, usize), dtype: Dtype) -> Self {
        let name = name.into();
        Self {
            name: name.clone(),
            tensor: name,
            stored_shape: vec![rows, cols],
            rows,
            cols,
            dtype,
            encoding: None,
            part: Part::Whole,
            read_as: dtype,
            file: 0,
            offset: 0,
            rank: None,
            operands: None,
            order: 0,
            block: None,
            role: Text::default(),
        }
    }
}

impl TensorInfo {
    /// The tensor as one matrix of this shape and type, whatever its axes.
    pub fn as_matrix(&self, shape: (usize, usize), dtype: Dtype) -> Layer {
        Layer {
            stored_shape: self.shape.clone(),
            file: self.file,
            offset: self.offset,
            ..Layer::plain(self.name.clone(), shape, dtype)
        }
    }
}
