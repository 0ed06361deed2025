//! What was found before: what entries say by the place they were read from, singular values by content.
//!
//! A kept answer is the one that would be found now, to the bit: its key names all that it depends on.

use blake3::Hash;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entries::Entries;
use crate::linalg::Largest;
use crate::matrix::Dtype;
use crate::spectrum::{Route, Spectrum};
use crate::weight::{ContentId, Place};

/// Keeps bytes by a digest of all that they depend on, but for the program and the machine.
pub trait Memo: Send + Sync {
    /// Whether it keeps anything: if not, nobody has to ask where a matrix lies.
    fn is_kept(&self) -> bool {
        true
    }

    /// What is kept under `key`.
    fn recall(&self, key: &Hash) -> Option<Vec<u8>>;

    /// Keeps `what` under `key`.
    fn keep(&self, key: &Hash, what: &[u8]);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoMemo;

impl Memo for NoMemo {
    fn is_kept(&self) -> bool {
        false
    }

    fn recall(&self, _: &Hash) -> Option<Vec<u8>> {
        None
    }

    fn keep(&self, _: &Hash, _: &[u8]) {}
}

/// How far the squares of values and of entries may differ: far above rounding, far below what a changed value makes.
const AGREES: f64 = 1e-9;

/// Everything that singular values depend on: values by one route don't answer a request for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContentKey {
    /// What is the same of equal matrices.
    pub identity: ContentId,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// The type that the entries are read as.
    pub read_as: Dtype,
    /// The route that the need for the values names.
    pub route: Route,
}

/// A largest value that was sought by itself; none where that did not converge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Alone(pub(super) Option<Largest>);

impl ContentKey {
    fn digest(&self, of: &str) -> Hash {
        let Self { identity, rows, cols, read_as, route } = self;
        let what = format!("{of} {} {rows} {cols} {read_as} {route:?}", identity.hex());
        blake3::hash(what.as_bytes())
    }

    /// The kept largest value of this content, if it can be that of a matrix with these `entries`.
    pub(super) fn recall_largest(&self, memo: &dyn Memo, entries: &Entries) -> Option<Alone> {
        let energy = entries.lines()?.energy;
        let fits = |(value, error): &(f64, f64)| {
            let (square, short) = (value.powi(2), self.rows.min(self.cols) as f64);
            // σ₁² ≤ Σσ² ≤ min(m, n)·σ₁².
            let agrees = square <= energy * (1.0 + AGREES) && energy <= short * square * (1.0 + AGREES);
            *value >= 0.0 && *error >= 0.0 && error.is_finite() && agrees
        };
        let kept: Option<(f64, f64)> = recall(memo, &self.digest("largest"))?;
        kept.as_ref().is_none_or(fits).then(|| Alone(kept.map(|(value, error)| Largest { value, error })))
    }

    /// Keeps the largest value of this content.
    pub(super) fn keep_largest(&self, memo: &dyn Memo, Alone(found): Alone) {
        let what = found.map(|Largest { value, error }| (value, error));
        keep(memo, &self.digest("largest"), &what);
    }

    /// The kept values of this content, if they can be those of a matrix with these `entries`.
    pub(super) fn recall(&self, memo: &dyn Memo, entries: &Entries) -> Option<Spectrum> {
        let fits = |spectrum: &Spectrum| {
            (spectrum.rows(), spectrum.cols()) == (self.rows, self.cols) && agrees(entries, spectrum)
        };
        recall(memo, &self.digest("values")).filter(fits)
    }

    /// Keeps the values of this content.
    pub(super) fn keep(&self, memo: &dyn Memo, values: &Spectrum) {
        keep(memo, &self.digest("values"), values);
    }
}

/// Whether values can be those of a matrix with these entries, by its Frobenius norm.
pub(super) fn agrees(entries: &Entries, spectrum: &Spectrum) -> bool {
    /// Far above rounding, far below what a changed value makes.
    const AGREES: f64 = 1e-9;
    let squares = spectrum.norm().powi(2);
    entries.lines().is_none_or(|lines| {
        // Squares of very small or large numbers tell nothing.
        let told = lines.energy.is_normal() && squares.is_normal() && spectrum.fits();
        !told || (lines.energy - squares).abs() <= AGREES * squares
    })
}

/// What was seen when what lies at `place` was read.
pub fn seen(memo: &dyn Memo, place: &Place) -> Option<(ContentId, Entries)> {
    let (hash, varies, entries): ([u8; 32], bool, Entries) = recall(memo, &of_place(place))?;
    Some((ContentId { blake3: hash.into(), varies }, entries))
}

/// Keeps what was seen at `place`, if that is still the place, and will be another after a change.
pub fn note(
    memo: &dyn Memo,
    place: Option<&Place>,
    now: impl FnOnce() -> Option<Place>,
    (identity, entries): (&ContentId, &Entries),
) {
    if let Some(place) = place.filter(|place| place.is_settled && now().as_ref() == Some(*place)) {
        keep(memo, &of_place(place), &(identity.blake3.as_bytes(), identity.varies, entries));
    }
}

fn of_place(place: &Place) -> Hash {
    blake3::hash(format!("place {}", place.digest).as_bytes())
}

/// Bytes that don't read back as they were written are as good as none.
fn recall<T: DeserializeOwned>(memo: &dyn Memo, key: &Hash) -> Option<T> {
    postcard::from_bytes(&memo.recall(key)?).ok()
}

fn keep<T: Serialize>(memo: &dyn Memo, key: &Hash, what: &T) {
    if let Ok(bytes) = postcard::to_stdvec(what) {
        memo.keep(key, &bytes);
    }
}
