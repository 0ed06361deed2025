//! Dialects: what makes one catalogue of another. Quantized weights are decoded, factors put together, fused tensors
//! cut, adapters become updates, and two checkpoints their difference.

pub(crate) mod adapter;
pub(crate) mod factored;
pub(crate) mod fused;
mod pairing;
pub(crate) mod quantized;

pub(crate) use adapter::factor_names::{FactorNames, factor_names};
pub(crate) use adapter::vectors::{VectorUpdate, vector_update};
pub use fused::QueriesKeysValues;
pub use pairing::{Pairs, copies, of_base};
