//! Chooses the procedure for a need, and so its cost, from headers alone.

use super::entries::has_lines;
use crate::layer::{Layer, Operands};
use crate::linalg::{self, Cost, Operator, Terms, Windows};
use crate::matrix::Dtype;
use crate::spectrum::Route;

/// Up to this short side and this many entries the exact way costs a few milliseconds, and nothing is lost. Beyond, it
/// takes five times as long as the fast one, which thousands of experts of 512 rows would notice.
const SMALL_SIDE: usize = 256;
const SMALL_ENTRIES: usize = 1 << 24;

/// Up to this short side a window takes the exact way. Lower than for a whole matrix: there are hundreds of them.
const SMALL_WINDOW: usize = 128;

/// How much of a weight that comes in blocks of rows is read at once.
pub const BLOCK_BYTES: usize = 8 << 20;

/// How exact the small singular values have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// The fast route: relative error about `ε·(σ₁/σ)²`.
    #[default]
    Fast,
    /// Every value to rounding of `σ₁`.
    Exact,
}

impl Precision {
    /// The precision for a weight stored as `dtype`: squares of doubles may overflow, and doubles deserve full
    /// accuracy.
    #[must_use]
    pub fn of(self, dtype: Dtype) -> Self {
        if dtype == Dtype::F64 { Self::Exact } else { self }
    }
}

/// What numbers of one matrix are computed from; each is had with those after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Its entries: it is read.
    Entries,
    /// Its largest singular value alone, beside them.
    Largest,
    /// All of its singular values.
    Values,
}

impl Needs {
    /// Its name in settings and plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Largest => "largest value",
            Self::Values => "values",
        }
    }
}

/// The facts from headers that decide how a matrix is decomposed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Form {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// How it comes.
    pub operand: Operand,
    /// The type its entries are read as.
    pub read_as: Dtype,
    /// What its stored type takes.
    pub precision: Precision,
    /// The parts that its values are found from, if it is such a product and read for its values alone.
    pub operands: Option<Operands>,
}

/// How a matrix comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operand {
    /// Read for this alone, so that rows need not be kept.
    Rows,
    /// In memory.
    Whole,
    /// As thin factors of so many directions.
    Factors(usize),
    /// As several matrices in memory, to be added or subtracted.
    Terms,
}

/// The need beyond the metrics of the entries, which every read gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Need<'a> {
    /// Its largest singular value.
    Largest,
    /// Its singular values.
    Values,
    /// Those of each of these parts of it.
    Windows(&'a Windows),
    /// Its singular values, its `k` largest triplets, and the cosines of `k` directions with all of its singular vectors.
    Cosines(usize),
    /// Its `k` largest triplets.
    Leading(usize),
    /// All of its triplets.
    Vectors,
}

/// How a need is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Procedure {
    /// By the values of two matrices: those of their Kronecker product are the products of both.
    Kronecker,
    /// By two thin QR factorizations and the decomposition of a small square.
    Factors,
    /// By a Gram matrix that is summed while rows are read.
    Stream,
    /// By a Gram matrix of the matrix in memory.
    Gram,
    /// By the entries themselves, all of them in memory.
    Direct,
    /// By products with a few vectors at a time.
    Products,
}

impl Procedure {
    /// The route that singular values then say they have come.
    pub fn route(self) -> Route {
        match self {
            Self::Stream | Self::Gram => Route::Gram,
            Self::Kronecker | Self::Factors | Self::Direct | Self::Products => Route::Direct,
        }
    }
}

impl Form {
    /// A matrix in memory, read as `read_as`.
    pub fn whole((rows, cols): (usize, usize), read_as: Dtype, precision: Precision) -> Self {
        Self { rows, cols, operand: Operand::Whole, read_as, precision, operands: None }
    }

    /// A matrix of a checkpoint that is read for one need alone.
    pub fn of(layer: &Layer, precision: Precision) -> Self {
        Self {
            rows: layer.rows,
            cols: layer.cols,
            operand: layer.rank.map_or(Operand::Rows, Operand::Factors),
            read_as: layer.read_as,
            // The layer's type, not the type that was read: a difference of two bf16 weights comes as doubles.
            precision: precision.of(layer.dtype),
            operands: layer.operands.as_deref().copied(),
        }
    }

    /// The same, kept in memory for several needs.
    #[must_use]
    pub fn kept(self) -> Self {
        let operand = if self.operand == Operand::Rows { Operand::Whole } else { self.operand };
        Self { operand, operands: None, ..self }
    }

    /// The matrix in memory.
    pub(super) fn in_memory(operator: &Operator<'_>, precision: Precision) -> Self {
        let (operand, read_as) = match operator.terms() {
            Terms::Stored(matrix) => (Operand::Whole, matrix.dtype()),
            Terms::Product(product) => (Operand::Factors(product.rank()), Dtype::F64),
            Terms::Several => (Operand::Terms, Dtype::F64),
        };
        let (rows, cols) = (operator.rows(), operator.cols());
        Self { rows, cols, operand, read_as, precision, operands: None }
    }
}

/// By which procedure a need is met.
pub fn procedure(form: &Form, need: Need<'_>) -> Procedure {
    let squared = |small: bool| {
        if small || form.precision == Precision::Exact { Procedure::Direct } else { Procedure::Gram }
    };
    match (need, form.operand) {
        (Need::Largest, operand) => match procedure(form, Need::Values) {
            // Its size is told by sums over the rows.
            Procedure::Gram | Procedure::Stream
                if operand == Operand::Terms || has_lines(form.rows, form.cols) =>
            {
                Procedure::Products
            }
            same => same,
        },
        (Need::Values, _) if form.operands.is_some() => match form.operands {
            Some(Operands::Tucker { .. }) => Procedure::Factors,
            _ => Procedure::Kronecker,
        },
        (Need::Leading(k), _) if linalg::by_products(form.rows, form.cols, k) => Procedure::Products,
        (Need::Values | Need::Windows(_) | Need::Vectors, Operand::Factors(_)) => Procedure::Factors,
        (Need::Leading(_) | Need::Vectors, _) => Procedure::Direct,
        (Need::Windows(windows), _) => squared(windows.rows.length.min(windows.cols.length) <= SMALL_WINDOW),
        (Need::Values | Need::Cosines(_), operand) => {
            let (rows, cols) = (form.rows, form.cols);
            let small = rows.min(cols) <= SMALL_SIDE && rows.saturating_mul(cols) <= SMALL_ENTRIES;
            match (squared(small), operand) {
                (Procedure::Gram, Operand::Rows) if need == Need::Values && rows >= cols => Procedure::Stream,
                (procedure, _) => procedure,
            }
        }
    }
}

/// What meeting a need costs by the procedure that it is met by, the matrix itself included, where it is not a sum.
pub fn cost(form: &Form, need: Need<'_>) -> Cost {
    let Form { rows, cols, operand, read_as, .. } = *form;
    let procedure = procedure(form, need);
    let rank = if let Operand::Factors(rank) = operand { rank } else { rows.min(cols) };
    match (need, procedure) {
        (Need::Largest, Procedure::Products) => {
            let Cost { flops, bytes } = linalg::largest_cost(rows, cols, read_as);
            // Where it does not converge, all values are found.
            Cost { flops, bytes: bytes.max(cost(form, Need::Values).bytes) }
        }
        (Need::Largest, _) => cost(form, Need::Values),
        (Need::Values, Procedure::Kronecker) => {
            let cost = |(rows, cols): (usize, usize)| linalg::cost(rows, cols, Dtype::F64, Route::Direct);
            let Some(Operands::Kronecker(both)) = form.operands else { unreachable!("by this procedure") };
            let both = both.map(cost);
            let values = rows.min(cols) as u64;
            let flops = both.iter().map(|cost| cost.flops).sum::<f64>() + 100.0 * values as f64;
            Cost { flops, bytes: both.iter().map(|cost| cost.bytes).sum::<u64>() + 32 * values }
        }
        (Need::Leading(k), Procedure::Products) => linalg::products_cost(rows, cols, k),
        (Need::Values, Procedure::Factors) if form.operands.is_some() => {
            let Some(Operands::Tucker { rank, columns, stored }) = form.operands else {
                unreachable!("the other one")
            };
            let Cost { flops, bytes } = linalg::low_rank_cost(rows, columns, rank);
            Cost { flops, bytes: bytes + 8 * stored }
        }
        (Need::Values | Need::Vectors, Procedure::Factors) => linalg::low_rank_cost(rows, cols, rank),
        (Need::Vectors | Need::Leading(_), _) => linalg::factors_cost(rows, cols),
        (Need::Windows(windows), Procedure::Factors) => {
            let (count, (rows, cols)) = (windows.count(), (windows.rows.length, windows.cols.length));
            let one = linalg::low_rank_cost(rows, cols, rank);
            let spectra = 8 * (count * rows.min(cols)) as u64;
            Cost { flops: count as f64 * one.flops, bytes: spectra + one.bytes }
        }
        (Need::Windows(windows), _) => windows.cost(read_as, procedure.route()),
        (Need::Cosines(k), _) => {
            let products = linalg::products_cost(rows, cols, k);
            let Cost { flops, bytes } = linalg::reference_cost(rows, cols, read_as, procedure.route());
            Cost { flops: flops + 2.0 * products.flops, bytes }
        }
        (Need::Values, _) => {
            let Cost { flops, bytes } = linalg::cost(rows, cols, read_as, procedure.route());
            let read = rows as u64 * cols as u64 * read_as.size() as u64;
            let never_held =
                if procedure == Procedure::Stream { read.saturating_sub(BLOCK_BYTES as u64) } else { 0 };
            Cost { flops, bytes: bytes.saturating_sub(never_held) }
        }
    }
}

/// The work of the `k` leading triplets beside that of the values: most come from the reduction that these are found by.
pub fn leading_flops(form: &Form, k: usize) -> f64 {
    // As measured, of what finding them anew takes.
    let share = match (procedure(form, Need::Leading(k)), procedure(form, Need::Values)) {
        (Procedure::Products, Procedure::Gram | Procedure::Stream) => 0.4,
        (Procedure::Products, _) => 0.85,
        _ => 1.0,
    };
    share * cost(form, Need::Leading(k)).flops
}

#[cfg(test)]
mod tests {
    use super::super::{Held, reference, singular_values};
    use super::Procedure::{Direct, Factors, Gram, Products, Stream};
    use super::*;
    use crate::linalg::{Vectors, WindowGrid};
    use crate::low_rank::LowRank;
    use crate::matrix::Matrix;

    fn square(length: usize) -> Windows {
        let places = WindowGrid { length, starts: vec![0] };
        Windows { rows: places.clone(), cols: places }
    }

    /// `expected`: of values, of windows of 128 and of 129, of cosines, of leading triplets and of all.
    #[track_caller]
    fn check((rows, cols): (usize, usize), precision: Precision, operand: Operand, expected: [Procedure; 6]) {
        let form = Form { operand, ..Form::whole((rows, cols), Dtype::Bf16, precision) };
        let (small, large) = (square(128), square(129));
        let needs = [
            Need::Values,
            Need::Windows(&small),
            Need::Windows(&large),
            Need::Cosines(10),
            Need::Leading(10),
            Need::Vectors,
        ];
        assert_eq!(needs.map(|need| procedure(&form, need)), expected, "{form:?}");
    }

    #[test]
    fn shape_need_precision_and_how_a_matrix_comes_decide() {
        use Operand::{Rows, Terms, Whole};
        use Precision::{Exact, Fast};
        for operand in [Rows, Whole, Terms] {
            // Ten triplets take blocks of 16 vectors, eight of them at least.
            check((127, 999), Fast, operand, [Direct, Direct, Gram, Direct, Direct, Direct]);
            for (rows, cols) in [(256, 256), (256, 1 << 16), (1 << 16, 256)] {
                check((rows, cols), Fast, operand, [Direct, Direct, Gram, Direct, Products, Direct]);
            }
            for (rows, cols) in [(256, 256), (4096, 4096), (4096, 128), (128, 1 << 20)] {
                check((rows, cols), Exact, operand, [Direct, Direct, Direct, Direct, Products, Direct]);
            }
            for (rows, cols) in [(257, 300), (256, (1 << 16) + 1), (4096, 14336)] {
                check((rows, cols), Fast, operand, [Gram, Direct, Gram, Gram, Products, Direct]);
            }
        }
        for (rows, cols) in [(257, 257), ((1 << 16) + 1, 256), (14336, 4096)] {
            check((rows, cols), Fast, Rows, [Stream, Direct, Gram, Gram, Products, Direct]);
            check((rows, cols), Fast, Whole, [Gram, Direct, Gram, Gram, Products, Direct]);
            check((rows, cols), Fast, Terms, [Gram, Direct, Gram, Gram, Products, Direct]);
        }
        for operand in [1, 16, 256].map(Operand::Factors) {
            check((9, 9), Fast, operand, [Factors, Factors, Factors, Direct, Direct, Factors]);
            check((999, 999), Fast, operand, [Factors, Factors, Factors, Gram, Products, Factors]);
            check((999, 999), Exact, operand, [Factors, Factors, Factors, Direct, Products, Factors]);
        }
    }

    #[test]
    fn doubles_are_always_decomposed_exactly() {
        let layer = |dtype| Layer::plain("w", (999, 999), dtype);
        let of = |layer: &Layer| procedure(&Form::of(layer, Precision::Fast), Need::Values);
        assert_eq!([Dtype::F64, Dtype::Bf16].map(|dtype| of(&layer(dtype))), [Direct, Stream]);
        // Computed in doubles from less exact inputs.
        assert_eq!(of(&Layer { read_as: Dtype::F64, ..layer(Dtype::Bf16) }), Stream);
        assert_eq!(of(&Layer { rank: Some(8), ..layer(Dtype::F64) }), Factors);
    }

    /// Entries that look random, as f32.
    fn matrix((rows, cols): (usize, usize)) -> Matrix {
        let entry = |i: usize| (((i * 7919 + 13) % 10_007) as f32 / 5_000.0 - 1.0).to_le_bytes();
        Matrix::new(rows, cols, Dtype::F32, (0..rows * cols).flat_map(entry).collect()).expect("sizes agree")
    }

    #[test]
    fn what_is_planned_for_is_the_route_that_a_run_takes() {
        for shape @ (rows, cols) in [(40, 30), (300, 280), (280, 300)] {
            for precision in [Precision::Fast, Precision::Exact] {
                let (one, other) = (matrix(shape), matrix((rows, cols)));
                let form = Form::whole(shape, Dtype::F32, precision);
                let found = singular_values(&one, precision).expect("converges").route();
                assert_eq!(
                    cost(&form, Need::Values),
                    linalg::cost(rows, cols, Dtype::F32, found),
                    "{form:?}"
                );

                let sum = Operator::from(&one).plus(&Operator::from(&other)).expect("one shape");
                let terms = Form { operand: Operand::Terms, read_as: Dtype::F64, ..form };
                let found = singular_values(sum, precision).expect("converges").route();
                assert_eq!(
                    cost(&terms, Need::Values),
                    linalg::cost(rows, cols, Dtype::F64, found),
                    "{terms:?}"
                );

                let found = reference(&one, Vectors::Left, precision).expect("converges").into_spectrum();
                let planned = cost(&form, Need::Cosines(0)).bytes;
                let expected = linalg::reference_cost(rows, cols, Dtype::F32, found.route());
                assert_eq!(planned, expected.bytes, "{form:?}");

                let held = Held::Dense(one);
                for length in [30, 140].into_iter().filter(|length| *length <= rows.min(cols)) {
                    let windows = square(length);
                    let found = held.windows(&windows, precision).expect("converges")[0].route();
                    let planned = cost(&form, Need::Windows(&windows));
                    assert_eq!(planned, windows.cost(Dtype::F32, found), "{form:?}, {length}");
                }
            }
        }
    }

    #[test]
    fn thin_factors_cost_what_their_rank_says() {
        let (shape, rank) = ((300, 280), 4);
        let product = LowRank::new(shape, rank, vec![0.5; 300 * rank], vec![0.25; rank * 280]);
        let held = Held::Thin(product.expect("sizes agree"));
        let form =
            Form { operand: Operand::Factors(rank), ..Form::whole(shape, Dtype::F32, Precision::Fast) };
        let found = singular_values(&held, Precision::Fast).expect("converges");
        assert_eq!(found.route(), procedure(&form, Need::Values).route());
        assert_eq!(found.resolved().len(), 1);
        assert_eq!(cost(&form, Need::Values), linalg::low_rank_cost(300, 280, rank));
        assert_eq!(cost(&form, Need::Vectors), linalg::low_rank_cost(300, 280, rank));
        assert!(
            cost(&form, Need::Values).flops
                < cost(&Form { operand: Operand::Whole, ..form }, Need::Values).flops
        );
    }
}
