//! What was decomposed before: singular values by content.

use crate::matrix::Dtype;
use crate::spectrum::{Route, Spectrum};

/// Everything that singular values depend on: values by one route don't answer a request for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentKey<'a> {
    /// BLAKE3 of the entries as read, row-major, or of thin factors as doubles; in hexadecimal.
    pub blake3: &'a str,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// The type that the entries are read as.
    pub read_as: Dtype,
    /// The route that the need for the values names.
    pub route: Route,
}

/// Keeps singular values.
pub trait Memo: Send + Sync {
    /// The values of this content, if they are kept.
    fn recall(&self, content: &ContentKey<'_>) -> Option<Spectrum>;

    /// Keeps the values of this content.
    fn keep(&self, content: &ContentKey<'_>, values: &Spectrum);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoMemo;

impl Memo for NoMemo {
    fn recall(&self, _: &ContentKey<'_>) -> Option<Spectrum> {
        None
    }

    fn keep(&self, _: &ContentKey<'_>, _: &Spectrum) {}
}
