//! What decompositions are expected to take, from shapes alone.

use super::{band, compress, krylov};
use crate::matrix::Dtype;
use crate::spectrum::Route;

/// From this short side on all triplets are found in two stages; below, those are not faster.
const TWO_STAGES: usize = 160;

/// The expected cost of a decomposition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Floating-point operations, weighed so that each takes equally long.
    pub flops: f64,
    /// Peak memory in bytes, the stored weight included.
    pub bytes: u64,
}

/// The cost of the singular values of a weight, from its shape and the type its entries are read as.
pub fn cost(rows: usize, cols: usize, read_as: Dtype, route: Route) -> Cost {
    let (short, long) = (rows.min(cols) as f64, rows.max(cols) as f64);
    let entries = long * short;
    let read = entries * read_as.size() as f64;
    // The weights are measured: work beside the products, which run at the machine's speed, is slower.
    let (flops, bytes) = match route {
        Route::Gram => {
            let eigenvalues = eigenvalue_cost(rows.min(cols));
            (long * short * short + eigenvalues.flops, read + eigenvalues.bytes as f64)
        }
        Route::Direct => {
            // A one-stage reduction runs at memory speed: about a quarter of the products' rate.
            let products = (2.0 * long * short * short + 2.0 * short.powi(3)).min(4.0 * long * short * short);
            (4.0 * products, read + 16.0 * entries)
        }
    };
    // Reading, hashing, widening; and the work after the singular values.
    Cost { flops: flops + 50.0 * entries + 20_000.0 * short, bytes: bytes as u64 }
}

/// What a block of vectors takes that are multiplied together, however few are needed: on a side of millions, more than
/// the weight.
fn block_bytes(rows: usize, cols: usize) -> u64 {
    const TOGETHER: u64 = 16;
    8 * TOGETHER * (rows as u64 + cols as u64)
}

/// The cost of the singular values if the vectors are needed, too: the reflections are kept.
pub fn reference_cost(rows: usize, cols: usize, read_as: Dtype, route: Route) -> Cost {
    let Cost { flops, bytes } = cost(rows, cols, read_as, route);
    let kept = match route {
        Route::Gram => 4 * (rows.min(cols) as u64).pow(2),
        Route::Direct => 0,
    };
    Cost { flops: 1.1 * flops, bytes: bytes + kept + block_bytes(rows, cols) }
}

/// The cost of the eigenvalues of a Gram matrix of this side, and its memory.
pub(super) fn eigenvalue_cost(side: usize) -> Cost {
    let (short, padded, wide) = (side as f64, band::padded(side) as f64, band::width(side) as f64);
    // The two small stages run at a fraction of the speed of the products.
    let small = 16.0 * padded * padded * wide + 130.0 * padded * padded;
    let bytes = 8.0 * padded * (padded + 6.0 * wide + 512.0);
    Cost { flops: 4.0 / 3.0 * short.powi(3) + small, bytes: bytes as u64 }
}

/// The cost of the values and leading triplets of a weight after an update of this rank, from the weight's reduction, and
/// the memory beside that; none where the update is too thick for this machine.
pub fn update_cost(rows: usize, cols: usize, rank: usize) -> Option<Cost> {
    let (short, long) = (rows.min(cols) as f64, rows.max(cols) as f64);
    let width = compress::affordable(rows.min(cols), rank)?;
    let thin = rank as f64;
    // Products with narrow blocks, then reflections of a few rows, at a fraction of the speed of others.
    let flops = 40.0 * short * long * thin + short * short * (60.0 * thin + 16.0 * width as f64 + 130.0);
    // All reflections of both stages.
    let kept = 8.0 * short * short * (0.5 + 8.0 / 14.0);
    Some(Cost { flops: flops + 50.0 * short * long, bytes: kept as u64 })
}

/// The cost of a few dozen products with narrow blocks, to find `k` leading triplets or to hold `k` vectors against a weight.
pub fn products_cost(rows: usize, cols: usize, k: usize) -> Cost {
    const STEPS: f64 = 40.0;
    let (short, sides) = (rows.min(cols) as f64, rows as f64 + cols as f64);
    let (width, most) = (krylov::WIDTH as f64, short.min((krylov::MOST * krylov::WIDTH) as f64));
    // The basis and what it makes of the weight; then blocks, and the triplets.
    let doubles = most * (short + 3.0 * most) + sides * (4.0 * width + 4.0 * k as f64);
    Cost {
        flops: krylov::SLOWER * STEPS * 4.0 * rows as f64 * cols as f64 * width,
        bytes: (8.0 * doubles) as u64,
    }
}

/// The cost of the largest singular value alone: some dozens of passes at the speed of memory, and the vectors between them.
pub fn largest_cost(rows: usize, cols: usize, read_as: Dtype) -> Cost {
    const PASSES: f64 = 60.0;
    let entries = rows as f64 * cols as f64;
    // A pass takes as long as some 30 operations of a product on each entry; reading and hashing come on top.
    let flops = (30.0 * PASSES + 50.0) * entries;
    // The weight, the vectors, and the sums of the tasks.
    let bytes = entries * read_as.size() as f64 + 8.0 * 240.0 * cols as f64;
    Cost { flops, bytes: bytes as u64 }
}

/// The cost of the singular values of a product of two thin factors.
pub fn low_rank_cost(rows: usize, cols: usize, rank: usize) -> Cost {
    let (sides, rank) = ((rows + cols) as f64, rank as f64);
    // Two factorizations, their orthogonal factors and a small decomposition, at a sixth of the products' rate.
    let flops = 6.0 * (6.0 * sides * rank * rank + 20.0 * rank.powi(3));
    // The factors, their stored bytes, their copies and bases.
    Cost { flops, bytes: (8.0 * (6.0 * sides * rank + 8.0 * rank * rank)) as u64 }
}

/// What all singular triplets of a weight cost, without the weight as stored.
pub fn factors_cost(rows: usize, cols: usize) -> Cost {
    let (short, long) = (rows.min(cols) as f64, rows.max(cols) as f64);
    let (flops, doubles) = if in_two_stages(rows, cols) {
        // The Gram matrix, the other side and its correction; the reduction, the division and the way back.
        let products = 4.0 * long * short * short + 9.0 * short.powi(3);
        // Both bases and a copy of the longer one's small part; the reflections and what is divided.
        (products, 2.0 * long * short + 5.0 * short * short)
    } else {
        // Two thirds of it, a divide and conquer and two sets of rotations, are products; the rest runs at memory speed.
        let products = 24.0 * long * short * short + 14.0 * short.powi(3);
        // The entries, a copy to be overwritten, both bases and the solver's own.
        (products, 2.0 * long * short + 2.0 * (long + short) * short + 6.0 * short * short)
    };
    Cost { flops, bytes: (8.0 * doubles) as u64 + block_bytes(rows, cols) }
}

/// Whether all triplets of a weight of this shape are found in two stages.
pub(super) fn in_two_stages(rows: usize, cols: usize) -> bool {
    rows.min(cols) >= TWO_STAGES
}
