//! From a weight and a need to numbers: the only place that chooses a route.
//!
//! `choice` says from headers alone by which procedure a need is met, and what that costs; everything else here asks it and
//! does what it says, so that a plan and a run cannot disagree. `reading` reads a weight once, `memory` and `held` decompose
//! what is in memory. It knows nothing about the meaning of the numbers.

mod around_kernel;
mod choice;
mod entries;
mod held;
mod kronecker;
mod memo;
mod memory;
mod moments;
mod reading;
pub mod unit;
mod updates;

pub use around_kernel::AroundKernel;
pub use choice::{
    BLOCK_BYTES, Form, Need, Needs, Operand, Precision, Procedure, cost, leading_flops, procedure,
};
pub use entries::{Entries, Entry, Lines};
pub use held::Held;
pub use kronecker::Pair;
pub use memo::{Memo, NoMemo, note, seen};
pub use memory::{all_vectors, largest, reference, singular_values, vectors_and_values};
pub use moments::{Oddities, Texture};
pub use reading::{Reading, Sought, Triplets, read, read_triplets};
pub use updates::{Stored, WithTriplets, read_with_updates, update_cost};

pub use crate::linalg::{
    Basis, BestCosine, Chosen, Complex, Core, Cost, Cut, Eigenpairs, Factors, Largest, Operator, Question,
    Reference, Tall, TallProduct, Vectors, Weighting, WindowGrid, Windows, add_inner_products, cholesky, cut,
    each, eigen, eigenpairs, eigenvalue_balance, first_columns, gram, leading, leading_to, less,
    mean_overlaps, norm_of_entries, remainders, row_products, weighted,
};
