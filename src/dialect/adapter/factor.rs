//! Stored tensors of an adapter as matrices, and the product of a LoRA module as an expression.
//!
//! Shapes are checked where an update is put together (`modules`, `lycoris`).

use std::sync::Arc;

use crate::error::Error;
use crate::layer::{Element, Layer, TensorInfo};
use crate::weight::{Expr, Runs, Side, Tensors};

/// A stored tensor as a matrix.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    layer: Arc<Layer>,
}

impl Tensor {
    /// The first axis by all others; none unless it is a float tensor of at least one axis.
    pub(super) fn new(info: &TensorInfo) -> Option<Self> {
        let [rows, rest @ ..] = &info.shape[..] else { return None };
        Self::shaped(info, *rows, rest.iter().product())
    }

    /// All entries in one row.
    pub(super) fn flat(info: &TensorInfo) -> Option<Self> {
        Self::shaped(info, 1, info.shape.iter().product())
    }

    /// The same entries in other rows, which must be as many; none unless it is a float tensor.
    pub(super) fn shaped(info: &TensorInfo, rows: usize, cols: usize) -> Option<Self> {
        let Element::Float(dtype) = info.element else { return None };
        let layer = Arc::new(info.as_matrix((rows, cols), dtype));
        Some(Self { layer })
    }

    /// Its stored name.
    pub(super) fn name(&self) -> &str {
        &self.layer.name
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.layer.stored_shape
    }

    pub(super) fn rows(&self) -> usize {
        self.layer.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.layer.cols
    }

    /// All rows, widened.
    pub(super) fn all(&self, source: &Tensors) -> Result<Vec<f64>, Error> {
        Ok(source.read(&self.layer, 0..self.rows())?.to_f64())
    }

    /// The matrix, read from `source`.
    pub(super) fn expr(&self, source: &Arc<Tensors>) -> Arc<Expr> {
        Expr::of(source, Arc::clone(&self.layer))
    }
}

/// `up · diagonal · down`, the update of a LoRA module without its scale.
#[derive(Debug)]
pub(super) struct Product {
    /// Outputs × rank; rank × outputs where `up_lies`.
    pub(super) up: Tensor,
    pub(super) up_lies: bool,
    /// Rank × inputs.
    pub(super) down: Tensor,
    /// Between the two.
    pub(super) between: Between,
    /// Whether the weight is stored input × output.
    pub(super) transposed: bool,
}

/// The matrix between the factors.
#[derive(Debug)]
pub(super) enum Between {
    Nothing,
    /// One number a direction.
    Diagonal(Tensor),
    /// The kernel of a convolution, rank × (rank · positions): `down` is without positions then.
    Kernel(Tensor),
}

impl Product {
    /// Directions of the update.
    pub(super) fn rank(&self) -> usize {
        self.down.rows()
    }

    /// The update times `scale`, which goes into the factor of the outputs.
    pub(super) fn expr(&self, source: &Arc<Tensors>, scale: f64) -> Arc<Expr> {
        let up = self.up.expr(source);
        let up = Arc::new(Expr::Scaled(if self.up_lies { up.transposed() } else { up }, scale));
        let down = self.down.expr(source);
        let (up, down) = match &self.between {
            Between::Nothing => (up, down),
            Between::Diagonal(by) => (Arc::new(Expr::Diagonal { of: up, by: by.expr(source) }), down),
            Between::Kernel(kernel) => (up, Arc::new(Expr::Tucker { kernel: kernel.expr(source), down })),
        };
        let product = Arc::new(Expr::Product(up, down));
        if self.transposed { product.transposed() } else { product }
    }

    /// The updates of the experts of a stack: `down` holds the directions of one after the other, `up` has their columns
    /// interleaved.
    pub(super) fn experts(
        &self,
        source: &Arc<Tensors>,
        count: usize,
        scale: f64,
    ) -> impl Iterator<Item = Arc<Expr>> {
        let (up, down, rank) = (self.up.expr(source), self.down.expr(source), self.rank() / count.max(1));
        (0..count).map(move |expert| {
            let columns = Runs { first: expert, run: 1, period: count, count: rank };
            let up = Expr::Part { of: Arc::clone(&up), side: Side::Columns, runs: columns };
            let rows = Runs::one(expert * rank..(expert + 1) * rank);
            let down = Expr::Part { of: Arc::clone(&down), side: Side::Rows, runs: rows };
            Arc::new(Expr::Product(Arc::new(Expr::Scaled(Arc::new(up), scale)), Arc::new(down)))
        })
    }
}
