//! The arithmetic of updates: stored tensors in, thin factors or rows out, all in f64.
//!
//! Shapes were checked when the update was put together (`modules`, `lycoris`); here nothing can be left over.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::MatrixSource;
use crate::error::Error;
use crate::layer::{Element, Layer, Part, TensorInfo};
use crate::low_rank::LowRank;
use crate::matrix::Matrix;

/// A stored tensor as a matrix.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    layer: Layer,
}

impl Tensor {
    /// The first axis by all others; none for what is no floating-point tensor of at least one axis.
    pub(super) fn new(info: &TensorInfo) -> Option<Self> {
        let [rows, rest @ ..] = &info.shape[..] else { return None };
        Self::shaped(info, *rows, rest.iter().product())
    }

    /// All entries in one row.
    pub(super) fn flat(info: &TensorInfo) -> Option<Self> {
        Self::shaped(info, 1, info.shape.iter().product())
    }

    fn shaped(info: &TensorInfo, rows: usize, cols: usize) -> Option<Self> {
        let Element::Float(dtype) = info.element else { return None };
        let layer = Layer {
            name: info.name.clone(),
            tensor: info.name.clone(),
            stored_shape: info.shape.clone(),
            rows,
            cols,
            dtype,
            encoding: None,
            part: Part::default(),
            read_as: dtype,
            file: info.file,
            offset: info.offset,
            rank: None,
            order: 0,
            block: None,
            role: String::new(),
        };
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

    /// The given rows, widened.
    pub(super) fn read(&self, source: &dyn MatrixSource, rows: Range<usize>) -> Result<Vec<f64>, Error> {
        Ok(source.read(&self.layer, rows)?.to_f64())
    }

    /// All rows, widened.
    pub(super) fn all(&self, source: &dyn MatrixSource) -> Result<Vec<f64>, Error> {
        self.read(source, 0..self.rows())
    }
}

/// `up · diagonal · down`, what a LoRA module adds but for its scale.
#[derive(Debug)]
pub(super) struct Product {
    /// Outputs × rank; rank × outputs where `up_lies`.
    pub(super) up: Tensor,
    pub(super) up_lies: bool,
    /// Rank × inputs.
    pub(super) down: Tensor,
    /// Between the two.
    pub(super) between: Between,
    /// Which expert of a stack this is, if it is one.
    pub(super) slice: Option<Slice>,
    /// Whether the weight is stored input × output.
    pub(super) transposed: bool,
}

/// What stands between the factors.
#[derive(Debug)]
pub(super) enum Between {
    Nothing,
    /// One number a direction.
    Diagonal(Tensor),
    /// The kernel of a convolution, rank × (rank · positions): `down` is without positions then.
    Kernel(Tensor),
}

/// `down` holds the directions of one expert after the other, `up` has the experts' columns interleaved.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub(super) expert: usize,
    pub(super) of: usize,
    /// Shared by all experts, which all need the whole of `up`.
    pub(super) latest: Arc<Latest>,
}

/// The tensor that was read whole last: the experts of a stack are usually asked for one after the other.
#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<Option<(String, Arc<Matrix>)>>);

impl Latest {
    fn read(&self, source: &dyn MatrixSource, tensor: &Tensor) -> Result<Arc<Matrix>, Error> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((name, matrix)) = &*latest
            && name == tensor.name()
        {
            return Ok(Arc::clone(matrix));
        }
        let matrix = Arc::new(source.read(&tensor.layer, 0..tensor.rows())?);
        *latest = Some((tensor.name().to_owned(), Arc::clone(&matrix)));
        Ok(matrix)
    }
}

impl Product {
    /// Directions of one update.
    pub(super) fn rank(&self) -> usize {
        self.down.rows() / self.slice.as_ref().map_or(1, |slice| slice.of)
    }

    fn positions(&self) -> usize {
        match &self.between {
            Between::Kernel(kernel) => kernel.cols() / self.down.rows().max(1),
            _ => 1,
        }
    }

    /// Outputs × inputs.
    fn sides(&self) -> (usize, usize) {
        let outputs = if self.up_lies { self.up.cols() } else { self.up.rows() };
        (outputs, self.down.cols() * self.positions())
    }

    /// Rows × columns as the weight is stored.
    pub(super) fn shape(&self) -> (usize, usize) {
        let (outputs, inputs) = self.sides();
        if self.transposed { (inputs, outputs) } else { (outputs, inputs) }
    }

    /// The factors of the rows `rows` of the product.
    fn factors(&self, source: &dyn MatrixSource, rows: Range<usize>, scale: f64) -> Result<LowRank, Error> {
        let (height, width) = self.shape();
        let every = rows == (0..height);
        // Rows of the product are rows of `up`, where that lies as it is stored.
        let partly = !every && !self.transposed && !self.up_lies && self.slice.is_none();
        let mut up = if partly { self.up.read(source, rows.clone())? } else { self.columns_of_up(source)? };
        let rank = self.rank();
        let mut down = self.rows_of_down(source)?;
        up.iter_mut().for_each(|x| *x *= scale);
        if let Between::Diagonal(diagonal) = &self.between {
            let diagonal = diagonal.all(source)?;
            for row in up.chunks_exact_mut(rank.max(1)) {
                row.iter_mut().zip(&diagonal).for_each(|(x, d)| *x *= d);
            }
        }
        let (mut left, right) = if self.transposed {
            (transpose(&down, width_of(&down, rank)), transpose(&up, rank))
        } else {
            (up, std::mem::take(&mut down))
        };
        if !every && !partly {
            left = left[rows.start * rank..rows.end * rank].to_vec();
        }
        LowRank::new((rows.len(), width), rank, left, right)
    }

    /// Outputs × rank.
    fn columns_of_up(&self, source: &dyn MatrixSource) -> Result<Vec<f64>, Error> {
        let Some(Slice { expert, of, latest }) = &self.slice else {
            let up = self.up.all(source)?;
            return Ok(if self.up_lies { transpose(&up, self.up.cols()) } else { up });
        };
        let all = latest.read(source, &self.up)?;
        let mut columns = vec![0.0; all.len() / of];
        for (x, at) in columns.chunks_exact_mut(1).zip((*expert..).step_by(*of)) {
            all.widen(at..at + 1, x);
        }
        Ok(columns)
    }

    /// Rank × inputs.
    fn rows_of_down(&self, source: &dyn MatrixSource) -> Result<Vec<f64>, Error> {
        let rank = self.rank();
        let first = self.slice.as_ref().map_or(0, |slice| slice.expert * rank);
        let down = self.down.read(source, first..first + rank)?;
        let Between::Kernel(kernel) = &self.between else { return Ok(down) };
        let (kernel, inputs, positions) = (kernel.all(source)?, self.down.cols(), self.positions());
        let mut product = vec![0.0; rank * inputs * positions];
        for (p, row) in product.chunks_exact_mut((inputs * positions).max(1)).enumerate() {
            for (q, down) in down.chunks_exact(inputs.max(1)).enumerate() {
                let kernel = &kernel[(p * rank + q) * positions..][..positions];
                for (cells, x) in row.chunks_exact_mut(positions).zip(down) {
                    cells.iter_mut().zip(kernel).for_each(|(cell, k)| *cell += k * x);
                }
            }
        }
        Ok(product)
    }
}

/// One of the two matrices that LoHa or LoKr multiply.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "at most a few are made for each module")]
pub(super) enum Operand {
    Whole(Tensor),
    Product(Box<Product>),
}

impl Operand {
    pub(super) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Whole(tensor) => (tensor.rows(), tensor.cols()),
            Self::Product(product) => product.shape(),
        }
    }

    pub(super) fn rank(&self) -> usize {
        match self {
            Self::Whole(tensor) => tensor.rows().min(tensor.cols()),
            Self::Product(product) => product.rank(),
        }
    }

    fn factors(&self, source: &dyn MatrixSource) -> Result<LowRank, Error> {
        match self {
            Self::Product(product) => product.factors(source, 0..product.shape().0, 1.0),
            Self::Whole(tensor) => {
                let (rows, cols) = self.shape();
                let one = |n: usize| (0..n * n).map(|i| f64::from(i % (n + 1) == 0)).collect::<Vec<f64>>();
                let entries = tensor.all(source)?;
                let (left, right) = if rows < cols { (one(rows), entries) } else { (entries, one(cols)) };
                LowRank::new((rows, cols), rows.min(cols), left, right)
            }
        }
    }

    fn dense(&self, source: &dyn MatrixSource, rows: Range<usize>) -> Result<Vec<f64>, Error> {
        match self {
            Self::Whole(tensor) => tensor.read(source, rows),
            Self::Product(product) => {
                Ok(product.factors(source, rows.clone(), 1.0)?.dense(0..rows.len())?.to_f64())
            }
        }
    }
}

/// How an update is made of what is stored.
#[derive(Debug)]
pub(super) enum Recipe {
    /// LoRA.
    Product(Box<Product>),
    /// LoHa: entry by entry.
    Hadamard(Operand, Operand),
    /// LoKr: every entry of the first times all of the second.
    Kronecker(Operand, Operand),
    /// Stored as it is.
    Difference(Tensor),
    /// A whole weight, of which the base's has to be taken away.
    Replacement(Layer),
}

impl Recipe {
    /// Rows × columns of the update.
    pub(super) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Product(product) => product.shape(),
            Self::Hadamard(first, _) => first.shape(),
            Self::Kronecker(first, second) => {
                let ((a, b), (c, d)) = (first.shape(), second.shape());
                (a * c, b * d)
            }
            Self::Difference(tensor) => (tensor.rows(), tensor.cols()),
            Self::Replacement(layer) => (layer.rows, layer.cols),
        }
    }

    /// The most directions that the way it is stored leaves it, where those are fewer than a matrix of its shape has.
    pub(super) fn rank(&self) -> Option<usize> {
        let rank = match self {
            Self::Product(product) => product.rank(),
            Self::Hadamard(first, second) | Self::Kronecker(first, second) => {
                first.rank().checked_mul(second.rank())?
            }
            Self::Difference(_) | Self::Replacement(_) => return None,
        };
        let (rows, cols) = self.shape();
        (rank < rows.min(cols)).then_some(rank)
    }

    /// Thin factors of the update. Only for one that has a [`rank`](Self::rank).
    pub(super) fn factors(&self, source: &dyn MatrixSource, scale: f64) -> Result<LowRank, Error> {
        let (first, second) = match self {
            Self::Product(product) => return product.factors(source, 0..product.shape().0, scale),
            Self::Hadamard(first, second) | Self::Kronecker(first, second) => (first, second),
            Self::Difference(_) | Self::Replacement(_) => {
                return Err(Error::Usage("the update is not stored as a product".to_owned()));
            }
        };
        let (first, second) = (first.factors(source)?, second.factors(source)?);
        let rank = first.rank() * second.rank();
        let each = |a: &[f64], b: &[f64]| -> Vec<f64> {
            a.iter().flat_map(|x| b.iter().map(move |y| x * y)).collect()
        };
        let rows = |matrix: &LowRank| -> Vec<Vec<f64>> {
            matrix.left().chunks_exact(matrix.rank().max(1)).map(<[f64]>::to_vec).collect()
        };
        let cols = |matrix: &LowRank| -> Vec<Vec<f64>> {
            transpose(matrix.right(), matrix.cols())
                .chunks_exact(matrix.rank().max(1))
                .map(<[f64]>::to_vec)
                .collect()
        };
        // Directions of the product are pairs of directions; its rows are pairs of rows, or of the same row of both.
        let pairs = |a: Vec<Vec<f64>>, b: Vec<Vec<f64>>| -> Vec<f64> {
            match self {
                Self::Kronecker(..) => a.iter().flat_map(|x| b.iter().flat_map(|y| each(x, y))).collect(),
                _ => a.iter().zip(&b).flat_map(|(x, y)| each(x, y)).collect(),
            }
        };
        let mut left = pairs(rows(&first), rows(&second));
        left.iter_mut().for_each(|x| *x *= scale);
        let right = transpose(&pairs(cols(&first), cols(&second)), rank);
        LowRank::new(self.shape(), rank, left, right)
    }

    /// The given rows of the update; of a replacement, those of the new weight.
    pub(super) fn dense(
        &self,
        source: &dyn MatrixSource,
        rows: Range<usize>,
        scale: f64,
    ) -> Result<Vec<f64>, Error> {
        let scaled = |mut entries: Vec<f64>| {
            entries.iter_mut().for_each(|x| *x *= scale);
            entries
        };
        match self {
            Self::Product(product) => {
                Ok(product.factors(source, rows.clone(), scale)?.dense(0..rows.len())?.to_f64())
            }
            Self::Hadamard(first, second) => {
                let mut entries = first.dense(source, rows.clone())?;
                entries.iter_mut().zip(second.dense(source, rows)?).for_each(|(x, y)| *x *= y);
                Ok(scaled(entries))
            }
            Self::Kronecker(first, second) => {
                let (height, width) = second.shape();
                let all = second.dense(source, 0..height)?;
                let blocks = rows.start / height.max(1)..rows.end.div_ceil(height.max(1));
                let ours = first.dense(source, blocks.clone())?;
                let mut entries = Vec::with_capacity(rows.len() * self.shape().1);
                for row in rows {
                    let cols = first.shape().1;
                    let first = &ours[(row / height - blocks.start) * cols..][..cols];
                    let second = &all[row % height * width..][..width];
                    entries.extend(first.iter().flat_map(|x| second.iter().map(move |y| x * y)));
                }
                Ok(scaled(entries))
            }
            Self::Difference(tensor) => Ok(scaled(tensor.read(source, rows)?)),
            Self::Replacement(layer) => Ok(source.read(layer, rows)?.to_f64()),
        }
    }
}

/// The rows of row-major `entries` of `cols` columns, as columns.
fn transpose(entries: &[f64], cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols.max(1))).copied().collect()
}

/// How long the rows are.
fn width_of(entries: &[f64], rows: usize) -> usize {
    entries.len() / rows.max(1)
}
