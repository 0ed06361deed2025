//! What a weight is, as a value: an expression over stored matrices. One evaluator reads all of them.
//!
//! Expressions are compared, never their readers: `(b + d) − b` is `d` because both `b` are the same expression.

mod cut;
mod finite;
mod lengths;
mod rows;
mod scratch;
mod thin;

use std::ops::Range;
use std::sync::Arc;

use super::quantized::Decoded;
use super::{Beyond, MatrixSource};
use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::{Dtype, Matrix};

pub(super) use scratch::Scratch;

/// A matrix, by what it is computed from. Everything computed is f64.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "each stands behind an `Arc` of its own; most are leaves")]
pub(super) enum Expr {
    /// As a checkpoint has it.
    Stored(Leaf),
    /// Codes with scales, as f32.
    Decoded(Decoded),
    /// Some rows or columns of another.
    Part { of: Arc<Expr>, side: Side, runs: Runs },
    /// The other way round.
    Transposed(Arc<Expr>),
    /// Times a number.
    Scaled(Arc<Expr>, f64),
    /// Each column times a number of its own: those of the one row of `by`.
    Diagonal { of: Arc<Expr>, by: Arc<Expr> },
    /// Thin factors.
    Product(Arc<Expr>, Arc<Expr>),
    /// A convolution's kernel between two factors: rank × (rank · positions) on rank × inputs.
    Tucker { kernel: Arc<Expr>, down: Arc<Expr> },
    /// Entry by entry.
    Hadamard(Arc<Expr>, Arc<Expr>),
    /// Every entry of the first times all of the second.
    Kronecker(Arc<Expr>, Arc<Expr>),
    /// The first and the second, or less the second.
    Sum(Arc<Expr>, Sign, Arc<Expr>),
    /// Rows or columns brought to given lengths: those of the one row of `lengths`.
    Rescaled { of: Arc<Expr>, lengths: Arc<Expr>, along: Along },
    /// All singular triplets but the first `keep`.
    Beyond { of: Arc<Expr>, keep: usize, by: Decompose },
}

/// A matrix of a checkpoint.
#[derive(Clone)]
pub(super) struct Leaf {
    pub(super) source: Arc<dyn MatrixSource>,
    pub(super) layer: Layer,
}

/// A side of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Rows,
    Columns,
}

/// Which rows or columns: `count` of them in runs of `run` that begin `period` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Runs {
    pub(super) first: usize,
    pub(super) run: usize,
    pub(super) period: usize,
    pub(super) count: usize,
}

/// How a term enters a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

/// What has a length of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Along {
    /// Each row.
    Rows,
    /// Each run of that many columns: the positions of one input of a convolution.
    Columns(usize),
}

/// How singular triplets are computed; there is one way a run.
#[derive(Clone, Copy)]
pub(super) struct Decompose(pub(super) Beyond);

impl PartialEq for Decompose {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source) && self.layer == other.layer
    }
}

impl std::fmt::Debug for Decompose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompose")
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.layer.name)
    }
}

impl Runs {
    /// One run.
    pub(super) fn one(range: Range<usize>) -> Self {
        Self { first: range.start, run: range.len(), period: range.len(), count: range.len() }
    }

    /// Where the one at `i` lies in the whole.
    pub(super) fn at(&self, i: usize) -> usize {
        self.first + i / self.run.max(1) * self.period + i % self.run.max(1)
    }
}

impl Expr {
    /// The matrix that `layer` of `source` is.
    pub(super) fn of(source: &Arc<dyn MatrixSource>, layer: &Layer) -> Arc<Self> {
        let stored = || Arc::new(Self::Stored(Leaf { source: Arc::clone(source), layer: layer.clone() }));
        source.catalogue().and_then(|catalogue| catalogue.expression(layer)).unwrap_or_else(stored)
    }

    /// `self + other`.
    pub(super) fn plus(self: Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        match &*self {
            Self::Sum(first, Sign::Minus, second) if *second == other => Arc::clone(first),
            _ => Arc::new(Self::Sum(self, Sign::Plus, other)),
        }
    }

    /// `self − other`.
    pub(super) fn minus(self: Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        match &*self {
            Self::Sum(first, Sign::Plus, second) if *second == other => Arc::clone(first),
            _ => Arc::new(Self::Sum(self, Sign::Minus, other)),
        }
    }

    /// The other way round.
    pub(super) fn transposed(self: Arc<Self>) -> Arc<Self> {
        match &*self {
            Self::Transposed(of) => Arc::clone(of),
            _ => Arc::new(Self::Transposed(self)),
        }
    }

    /// Rows and columns. Whoever made it has checked that its parts fit.
    pub(super) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Stored(Leaf { layer, .. }) => (layer.rows, layer.cols),
            Self::Decoded(decoded) => decoded.shape(),
            Self::Part { of, side: Side::Rows, runs } => (runs.count, of.shape().1),
            Self::Part { of, side: Side::Columns, runs } => (of.shape().0, runs.count),
            Self::Transposed(of) => (of.shape().1, of.shape().0),
            Self::Scaled(of, _)
            | Self::Diagonal { of, .. }
            | Self::Hadamard(of, _)
            | Self::Sum(of, ..)
            | Self::Rescaled { of, .. }
            | Self::Beyond { of, .. } => of.shape(),
            Self::Product(left, right) => (left.shape().0, right.shape().1),
            Self::Tucker { kernel, down } => {
                let (rank, inputs) = down.shape();
                (rank, inputs * (kernel.shape().1 / rank.max(1)))
            }
            Self::Kronecker(first, second) => {
                let ((a, b), (c, d)) = (first.shape(), second.shape());
                (a * c, b * d)
            }
        }
    }

    /// The type that its entries are read as.
    pub(super) fn entry(&self) -> Dtype {
        match (self, self.cut()) {
            (Self::Stored(Leaf { layer, .. }), _) => layer.read_as,
            (Self::Decoded(_), _) => Dtype::F32,
            (_, Some(cut)) => cut.of.entry(),
            _ => Dtype::F64,
        }
    }

    /// The most directions it has, where it can be had as thin factors and those are fewer than its shape allows.
    pub(super) fn thin_rank(&self) -> Option<usize> {
        let (rows, cols) = self.shape();
        self.directions().filter(|rank| *rank < rows.min(cols))
    }

    /// The directions of its factors, if it has some.
    pub(super) fn directions(&self) -> Option<usize> {
        let operand = |of: &Self| of.directions().unwrap_or(of.shape().0.min(of.shape().1));
        match self {
            Self::Product(left, _) => Some(left.shape().1),
            Self::Transposed(of) | Self::Scaled(of, _) => of.directions(),
            Self::Hadamard(first, second) | Self::Kronecker(first, second) => {
                operand(first).checked_mul(operand(second))
            }
            Self::Sum(first, _, second) => first.thin_rank()?.checked_add(second.thin_rank()?),
            Self::Beyond { of, keep, .. } => Some(of.shape().0.min(of.shape().1).saturating_sub(*keep)),
            Self::Stored(_)
            | Self::Decoded(_)
            | Self::Part { .. }
            | Self::Diagonal { .. }
            | Self::Tucker { .. }
            | Self::Rescaled { .. } => None,
        }
    }

    /// Which rows of a stored matrix it is, or which columns as rows, if it is only some of it; as good as columns are
    /// parts of parts.
    pub(super) fn runs(&self) -> Option<(Side, Runs)> {
        self.cut().map(|cut| (if cut.of.cut().is_some() { Side::Columns } else { cut.side }, *cut.runs))
    }

    /// The matrices whose singular vectors are needed before anything of it is known.
    pub(super) fn decomposed(&self) -> Option<&Self> {
        match self {
            Self::Beyond { of, .. } => Some(of),
            Self::Sum(first, _, second) => first.decomposed().or_else(|| second.decomposed()),
            _ => None,
        }
    }

    /// The rows `rows`, in the type of [`entry`](Self::entry).
    pub(super) fn read(&self, rows: Range<usize>, room: &Scratch) -> Result<Matrix, Error> {
        match self {
            Self::Stored(Leaf { source, layer }) => return source.read(layer, rows),
            Self::Decoded(decoded) => return decoded.read(rows),
            _ => {}
        }
        if let Some(cut) = self.cut() {
            return cut.read(rows, room);
        }
        let (height, width) = self.shape();
        if rows.start > rows.end || rows.end > height {
            return Err(Error::Contract(format!("rows {}..{} of {height}", rows.start, rows.end)));
        }
        let mut bytes = super::space(rows.len(), width)?;
        for block in super::blocks(rows.clone(), width) {
            let entries = self.rows(block.clone(), room)?;
            if self.overflows(&block, &entries, room)? {
                return Err(Error::Overflow("an entry".to_owned()));
            }
            bytes.extend(entries.iter().flat_map(|x| x.to_le_bytes()));
        }
        Matrix::new(rows.len(), width, Dtype::F64, bytes)
    }
}

#[cfg(test)]
mod tests;
