//! What only pictures need of a row; not part of the schema.

use serde::{Deserialize, Serialize};

use super::{Direction, Empty};

/// What pictures of one matrix are drawn from, beside its own outline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drawings {
    /// The spectra to draw over each other, the base's first.
    pub spectra: Vec<Drawn>,
    /// Every direction that was checked for being an intruder.
    pub directions: Vec<Direction>,
}

/// A spectrum with its name: `base`, `tuned`, or that of a side.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// Whose.
    pub of: String,
    /// Singular values with their positions.
    pub outline: Vec<(usize, f64)>,
}

impl Empty for Drawings {
    const EMPTY: &'static Self = &Self { spectra: vec![], directions: vec![] };
}

impl Drawn {
    /// The spectrum of that name.
    pub fn new(of: &str, outline: Vec<(usize, f64)>) -> Self {
        Self { of: of.to_owned(), outline }
    }
}
