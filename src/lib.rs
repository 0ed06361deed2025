//! svdkit reads a model checkpoint matrix by matrix and says what its singular values say.
//!
//! The modules and the direction of their imports are drawn in `docs/architecture.md`.

pub mod analysis;
pub mod checkpoint;
pub mod cli;
pub mod engine;
pub mod error;
pub mod gate;
pub mod layer;
pub mod linalg;
pub mod low_rank;
pub mod matrix;
pub mod metric;
pub mod notation;
pub mod pair;
pub mod render;
pub mod report;
pub mod spectrum;
pub mod store;
