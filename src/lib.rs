//! Spectral diagnostics for model weights, one matrix at a time.
//!
//! The program is [`cli`]; its parts can be used by themselves. A checkpoint is opened, its matrices are selected, and
//! each is read and decomposed:
//!
//! ```
//! use std::path::Path;
//!
//! use svdkit::checkpoint;
//! use svdkit::layer::Filter;
//! use svdkit::solver::{self, Precision};
//!
//! # fn main() -> Result<(), svdkit::error::Error> {
//! let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/charlm/base");
//! let (format, model) = checkpoint::open(&path)?;
//! assert_eq!(format, "safetensors");
//!
//! let selection = model.select(&Filter::default());
//! assert_eq!((selection.layers.len(), selection.skipped.len()), (30, 9));
//! for layer in &selection.layers {
//!     let matrix = model.read(layer, 0..layer.rows)?;
//!     let spectrum = solver::singular_values(&matrix, Precision::Fast)?;
//!     // σ₁ ≥ σ₂ ≥ … ≥ 0, one for each of the shorter side; values below the floor are rounding.
//!     assert_eq!(spectrum.values().len(), layer.rows.min(layer.cols));
//!     assert!(spectrum.largest() > spectrum.floor());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The modules and the direction of their imports are drawn in `docs/architecture.md`.

pub mod analysis;
pub mod checkpoint;
pub mod cli;
pub mod dialect;
pub mod engine;
pub mod error;
pub mod findings;
pub mod format;
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
pub mod solver;
pub mod spectrum;
pub mod store;
pub mod study;
pub mod text;
pub mod weight;
pub mod writing;
