//! What a weight is and how it is read: expressions over stored tensors, one evaluator, and catalogues of named weights.
//!
//! Knows no file format: tensors come with their places, bytes from a store.

mod blocks;
mod catalogue;
mod codebook;
mod contents;
mod cut;
mod decoded;
mod expr;
mod fingerprint;
mod finite;
mod given;
mod grid;
mod lengths;
mod place;
mod read;
mod rows;
mod scheme;
mod scratch;
mod storage_layout;
mod stored_factors;
mod tensors;
mod thin;
mod tied;
mod tiles;
mod tucker;

pub use catalogue::{Catalogue, Holds};
pub(crate) use catalogue::{LeftOut, Weight};
pub(crate) use codebook::{Book, Number};
pub use contents::FileContents;
pub(crate) use decoded::Decoded;
pub use expr::Beyond;
pub(crate) use expr::{Along, Decompose, Expr, Runs, Side};
pub use fingerprint::{ContentId, Fingerprint};
pub use given::{Given, Rows};
pub(crate) use grid::{Grid, View};
pub(crate) use lengths::Rescaling;
pub use place::{Derivations, Place};
pub(crate) use scheme::{Overall, Scales, Scheme, Use, ZeroCodes, Zeros};
pub use stored_factors::StoredFactors;
pub use tensors::Tensors;
pub use tied::tied;
pub(crate) use tiles::{Codes, FACTOR_TILE, PackedFactor, TILE_COLUMNS, TILE_ROWS, Tiles};
pub use tucker::Tucker;

#[cfg(test)]
mod tests;
