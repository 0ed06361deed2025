//! Products of dense matrices whose bits do not depend on the number of threads: the result is cut into runs of columns of
//! a fixed width, and each run is one product on one thread.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Columns of a run.
const RUN: usize = 192;

/// `out = factor·a·b`, or what was there and that.
pub(super) fn multiply(
    out: MatMut<'_, f64>,
    accum: Accum,
    a: MatRef<'_, f64>,
    b: MatRef<'_, f64>,
    factor: f64,
) {
    if out.nrows() == 0 || out.ncols() == 0 {
        return;
    }
    let run = |(i, out): (usize, MatMut<'_, f64>)| {
        let b = b.subcols(i * RUN, out.ncols());
        matmul(out, accum, a, b, factor, Par::Seq);
    };
    if out.ncols() <= RUN {
        run((0, out));
    } else {
        out.par_col_chunks_mut(RUN).enumerate().for_each(run);
    }
}
