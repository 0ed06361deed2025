//! What a weight is, as a value: an expression over stored matrices. How it is read stands beside it.
//!
//! Expressions are compared, never their readers: `(b + d) − b` is `d` because both `b` are the same expression.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::decoded::Decoded;
use super::given::Given;
use super::tensors::Tensors;
use crate::error::Error;
use crate::format::Layout;
use crate::layer::Layer;
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};

/// The sum of all singular triplets of a matrix after the first few.
pub type Beyond = fn(&Matrix, usize) -> Result<LowRank, Error>;

/// A matrix as an expression. Everything computed is f64.
#[derive(Debug, PartialEq)]
pub(crate) enum Expr {
    /// As a checkpoint has it.
    Stored(Leaf),
    /// Codes with scales, as f32.
    Decoded(Decoded),
    /// In memory.
    Given(Given),
    /// Some rows or columns of another.
    Part { of: Arc<Expr>, side: Side, runs: Runs },
    /// The other way round.
    Transposed(Arc<Expr>),
    /// Times a number.
    Scaled(Arc<Expr>, f64),
    /// Each column times its own number, from the single row of `by`.
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
    /// Rows or columns rescaled to given lengths, from the single row of `lengths`.
    Rescaled { of: Arc<Expr>, lengths: Arc<Expr>, along: Along },
    /// All singular triplets but the first `keep`.
    Beyond { of: Arc<Expr>, keep: usize, by: Decompose },
}

/// Entries of a stored tensor.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) tensors: Arc<Tensors>,
    pub(crate) layer: Arc<Layer>,
}

/// A side of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Rows,
    Columns,
}

/// Which rows or columns: `count` of them in runs of `run` that begin `period` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) first: usize,
    pub(crate) run: usize,
    pub(crate) period: usize,
    pub(crate) count: usize,
}

/// How a term enters a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    Plus,
    Minus,
}

/// Whether rows or columns have lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Along {
    /// Each row.
    Rows,
    /// Each run of that many columns: the positions of one input of a convolution.
    Columns(usize),
}

/// How singular triplets are computed; there is one way a run.
#[derive(Clone, Copy)]
pub(crate) struct Decompose(pub(crate) Beyond);

impl PartialEq for Decompose {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tensors, &other.tensors) && self.layer.is_same_place(&other.layer)
    }
}

impl fmt::Debug for Decompose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompose")
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.layer.name)
    }
}

impl Runs {
    /// One run.
    pub(crate) fn one(range: Range<usize>) -> Self {
        Self { first: range.start, run: range.len(), period: range.len(), count: range.len() }
    }

    /// Where the one at `i` lies in the whole.
    pub(crate) fn at(&self, i: usize) -> usize {
        self.first + i / self.run.max(1) * self.period + i % self.run.max(1)
    }
}

impl Expr {
    /// The entries of `tensors` that `layer` is, decoded if they lie in blocks.
    pub(crate) fn of(tensors: &Arc<Tensors>, layer: Arc<Layer>) -> Arc<Self> {
        let tensors = Arc::clone(tensors);
        Arc::new(match tensors.layout(&layer.tensor) {
            Some(Layout::Blocks { decoder, start }) => {
                let (decoder, start) = (*decoder, *start);
                Self::Decoded(Decoded::Blocks { tensors, layer, decoder, start })
            }
            _ => Self::Stored(Leaf { tensors, layer }),
        })
    }

    /// What was added to `base` to make it, if it is such a sum.
    pub(crate) fn added_to(&self, base: &Self) -> Option<&Arc<Self>> {
        match self {
            Self::Sum(first, Sign::Plus, second) if **second == *base => Some(first),
            _ => None,
        }
    }

    /// `self + other`.
    pub(crate) fn plus(self: Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        match &*self {
            Self::Sum(first, Sign::Minus, second) if *second == other => Arc::clone(first),
            _ => Arc::new(Self::Sum(self, Sign::Plus, other)),
        }
    }

    /// `self − other`.
    pub(crate) fn minus(self: Arc<Self>, other: Arc<Self>) -> Arc<Self> {
        self.added_to(&other).cloned().unwrap_or_else(|| Arc::new(Self::Sum(self, Sign::Minus, other)))
    }

    /// The other way round.
    pub(crate) fn transposed(self: Arc<Self>) -> Arc<Self> {
        match &*self {
            Self::Transposed(of) => Arc::clone(of),
            _ => Arc::new(Self::Transposed(self)),
        }
    }

    /// Rows and columns. The constructor has checked that its parts fit.
    pub(crate) fn shape(&self) -> (usize, usize) {
        match self {
            Self::Stored(Leaf { layer, .. }) => (layer.rows, layer.cols),
            Self::Decoded(decoded) => decoded.shape(),
            Self::Given(given) => given.shape(),
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
    pub(crate) fn entry(&self) -> Dtype {
        match (self, self.cut()) {
            (Self::Stored(Leaf { layer, .. }), _) => layer.read_as,
            (Self::Decoded(_), _) => Dtype::F32,
            (Self::Given(given), _) => given.entry(),
            (_, Some(cut)) => cut.of.entry(),
            _ => Dtype::F64,
        }
    }

    /// The most directions it has, where it can be had as thin factors and those are fewer than its shape allows.
    pub(crate) fn thin_rank(&self) -> Option<usize> {
        let (rows, cols) = self.shape();
        self.directions().filter(|rank| *rank < rows.min(cols))
    }

    /// The directions of its factors, if it has some.
    pub(crate) fn directions(&self) -> Option<usize> {
        let operand = |of: &Self| of.directions().unwrap_or(of.shape().0.min(of.shape().1));
        match self {
            Self::Product(left, _) => Some(left.shape().1),
            Self::Given(given) => given.directions(),
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
    pub(crate) fn runs(&self) -> Option<(Side, Runs)> {
        self.cut().map(|cut| (if cut.of.cut().is_some() { Side::Columns } else { cut.side }, *cut.runs))
    }

    /// The matrices whose singular vectors are needed before anything of it is known.
    pub(crate) fn decomposed(&self) -> Option<&Self> {
        match self {
            Self::Beyond { of, .. } => Some(of),
            Self::Sum(first, _, second) => first.decomposed().or_else(|| second.decomposed()),
            _ => None,
        }
    }

    /// The two matrices that it is the Kronecker product of, and what that is multiplied by.
    pub(crate) fn kronecker(&self) -> Option<(Arc<Self>, Arc<Self>, f64)> {
        match self {
            Self::Kronecker(first, second) => Some((Arc::clone(first), Arc::clone(second), 1.0)),
            Self::Transposed(of) => {
                of.kronecker().map(|(first, second, scale)| (first.transposed(), second.transposed(), scale))
            }
            Self::Scaled(of, by) => of.kronecker().map(|(first, second, scale)| (first, second, scale * by)),
            _ => None,
        }
    }

    /// How many numbers of files it is computed from.
    pub(crate) fn stored_entries(&self) -> u64 {
        let both =
            |first: &Self, second: &Self| first.stored_entries().saturating_add(second.stored_entries());
        match self {
            Self::Stored(_) | Self::Decoded(_) | Self::Part { .. } => {
                let (rows, cols) = self.shape();
                (rows as u64).saturating_mul(cols as u64)
            }
            // It takes memory already.
            Self::Given(_) => u64::MAX,
            Self::Transposed(of) | Self::Scaled(of, _) | Self::Beyond { of, .. } => of.stored_entries(),
            Self::Diagonal { of, by } | Self::Rescaled { of, lengths: by, .. } => both(of, by),
            Self::Tucker { kernel, down } => both(kernel, down),
            Self::Product(first, second)
            | Self::Hadamard(first, second)
            | Self::Kronecker(first, second)
            | Self::Sum(first, _, second) => both(first, second),
        }
    }
}
