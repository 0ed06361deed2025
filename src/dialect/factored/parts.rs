//! The parts of one weight by name: those that are matrices, and those that are vectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::brief;
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Dtype;
use crate::weight::{Catalogue, Expr, Tensors, Weight};

/// What a checkpoint stores.
pub(super) struct Inventory<'c> {
    pub(super) stored: &'c Arc<Tensors>,
    pub(super) weights: BTreeMap<&'c str, &'c Weight>,
    pub(super) tensors: BTreeMap<&'c str, &'c TensorInfo>,
    /// The scale of SORSA's factors, where the configuration has one: α/r, by r.
    pub(super) alpha: Option<f64>,
}

/// A weight put together.
pub(super) struct Whole {
    pub(super) expr: Arc<Expr>,
    /// The matrix that it goes on from: its place, tensor and encoding.
    pub(super) like: Layer,
    /// Its shape as the model has it.
    pub(super) stored_shape: Vec<usize>,
    /// The coarsest type among its parts.
    pub(super) dtype: Dtype,
    /// The other tensors that it is made of.
    pub(super) parts: Vec<String>,
}

/// Why a weight cannot be put together.
pub(super) type Refusal = String;

impl<'c> Inventory<'c> {
    pub(super) fn new(catalogue: &'c Catalogue, alpha: Option<f64>) -> Self {
        let weights = catalogue.weights().iter().map(|weight| (weight.layer.name.as_str(), weight));
        let tensors = catalogue.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor));
        Self { stored: catalogue.stored(), weights: weights.collect(), tensors: tensors.collect(), alpha }
    }

    /// The matrix called so.
    pub(super) fn matrix(&self, name: &str) -> Result<&'c Weight, Refusal> {
        self.weights.get(name).copied().ok_or_else(|| missing(name))
    }

    /// The vector called so, as a matrix of one row.
    pub(super) fn vector(&self, name: &str) -> Result<(Arc<Expr>, Dtype), Refusal> {
        let tensor = self.tensors.get(name).ok_or_else(|| missing(name))?;
        let Element::Float(dtype) = tensor.element else {
            return Err(format!("`{}` is not a float tensor", brief(name)));
        };
        let row = tensor.as_matrix((1, tensor.shape.iter().product()), dtype);
        Ok((Expr::of(self.stored, Arc::new(row)), dtype))
    }
}

fn missing(name: &str) -> Refusal {
    format!("`{}` is missing: download the checkpoint again", brief(name))
}

/// `up · down`, both as matrices; kernels of convolutions are folded.
pub(super) fn product(up: &Weight, down: &Weight) -> Result<Arc<Expr>, Refusal> {
    if up.layer.cols != down.layer.rows {
        let shape =
            |weight: &Weight| format!("`{}` {:?}", brief(&weight.layer.tensor), weight.layer.stored_shape);
        return Err(format!("its factors do not fit: {} and {}", shape(up), shape(down)));
    }
    Ok(Arc::new(Expr::Product(Arc::clone(&up.expr), Arc::clone(&down.expr))))
}

/// `main` + `update`, which have to be of one shape.
pub(super) fn sum(main: &Weight, update: Arc<Expr>) -> Result<Arc<Expr>, Refusal> {
    let (rows, cols) = update.shape();
    if (main.layer.rows, main.layer.cols) != (rows, cols) {
        let (name, shape) = (brief(&main.layer.tensor), &main.layer.stored_shape);
        return Err(format!("the product of its factors is {rows} × {cols}, but `{name}` is {shape:?}"));
    }
    Ok(update.plus(Arc::clone(&main.expr)))
}
