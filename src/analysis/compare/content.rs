//! The content of a matrix before any computation: enough to tell that two are equal.

use crate::error::Error;
use crate::layer::Layer;
use crate::metric::{Metrics, Subject};
use crate::report::{Measurements, MissingReason, Places, Value};
use crate::solver::{AroundKernel, Entries, Memo, Pair, note, seen};
use crate::weight::{Catalogue, ContentId, Fingerprint};

/// How much of a matrix is in memory at once.
pub const BLOCK: usize = 8 << 20;

/// The hash of a matrix, and the metrics of its entries.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// What it is called equal by.
    pub identity: ContentId,
    entries: Entries,
}

impl Content {
    /// Reads a matrix once, in blocks of rows, unless `memo` knows it; of a product, its factors.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(source: &Catalogue, layer: &Layer, memo: &dyn Memo) -> Result<Self, Error> {
        // A row that is too long to be read at once has no sums here, but where it is decomposed.
        let is_whole = layer.cols.saturating_mul(layer.read_as.size()) <= BLOCK;
        let place = if is_whole && memo.is_kept() { source.place(layer) } else { None };
        if let Some((identity, entries)) = place.as_ref().and_then(|place| seen(memo, place)) {
            return Ok(Self { identity, entries });
        }
        let content = Self::of_now(source, layer)?;
        note(memo, place.as_ref(), || source.place(layer), (&content.identity, &content.entries));
        Ok(content)
    }

    fn of_now(source: &Catalogue, layer: &Layer) -> Result<Self, Error> {
        if let Some(pair) = Pair::of(source, layer)? {
            return Ok(Self { identity: pair.identity(), entries: pair.entries()? });
        }
        if let Some(product) = AroundKernel::of(source, layer)? {
            return Ok(Self { identity: product.identity(), entries: product.entries() });
        }
        if layer.rank.is_some() {
            let factors = source.factors(layer)?;
            return Ok(Self {
                identity: ContentId::of_factors(&factors),
                entries: Entries::of_factors(&factors),
            });
        }
        Self::read(source, layer, Entries::of_shape((layer.rows, layer.cols)))
    }

    /// The same of numbers that do not form a matrix: their rows and columns mean nothing.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of_numbers(source: &Catalogue, layer: &Layer) -> Result<Self, Error> {
        Self::read(source, layer, Entries::of_numbers())
    }

    /// What its entries say.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    fn read(source: &Catalogue, layer: &Layer, mut entries: Entries) -> Result<Self, Error> {
        let (mut fingerprint, entry) = (Fingerprint::default(), layer.read_as.size());
        if layer.cols.saturating_mul(entry) <= BLOCK {
            for rows in layer.blocks(BLOCK) {
                let rows = source.read(layer, rows)?;
                fingerprint.push(&rows);
                entries.push(&rows);
            }
            return Ok(Self { identity: fingerprint.finish(), entries });
        }
        let length = BLOCK / 8 / entry;
        for row in 0..layer.rows {
            let mut zero = true;
            for first in (0..layer.cols).step_by(length) {
                let columns = first..layer.cols.min(first + length);
                let part = source.window(layer, row..row + 1, columns)?;
                fingerprint.push(&part);
                zero = entries.push_part(&part, first, zero);
            }
            entries.end_row(zero);
        }
        Ok(Self { identity: fingerprint.finish(), entries })
    }

    /// The metrics that need no decomposition; the others are missing for that reason.
    pub fn measurements(&self, layer: &Layer, metrics: Metrics) -> Measurements {
        self.subject(layer).evaluate_each(metrics)
    }

    /// Entries, rows and columns that findings name.
    pub fn places(&self, layer: &Layer) -> Places {
        self.subject(layer).places()
    }

    /// The matrix as its metrics see it.
    pub(in super::super) fn subject<'a>(&'a self, layer: &'a Layer) -> Subject<'a> {
        Subject::new(layer, &self.entries, Err(MissingReason::NotDecomposed))
    }
}

/// Whether both sides hold the same numbers, read as whatever they are.
///
/// # Errors
/// When a side cannot be read.
pub fn equal(
    (base, base_layer): (&Catalogue, &Layer),
    (tuned, layer): (&Catalogue, &Layer),
) -> Result<bool, Error> {
    for rows in layer.blocks(BLOCK) {
        if tuned.read(layer, rows.clone())?.to_f64() != base.read(base_layer, rows)?.to_f64() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The share of the entries whose bits differ as they are read, or whose numbers do where the sides are read as different
/// types; of weights that no side stores, as those that an adapter makes, there is none.
///
/// # Errors
/// When a side cannot be read.
pub fn changed_share(
    (base, base_layer): (&Catalogue, &Layer),
    (tuned, layer): (&Catalogue, &Layer),
    memo: &dyn Memo,
) -> Result<Value, Error> {
    let is_stored = layer.rank.is_none() && base_layer.rank.is_none();
    if !is_stored || layer.is_empty() || tuned.added(layer, (base, base_layer)).is_some() {
        return Ok(Value::Missing(MissingReason::NotApplicable));
    }
    let share = |changed: u64| Value::Real(changed as f64 / layer.len() as f64);
    let key = || {
        if !memo.is_kept() {
            return None;
        }
        let places = [base.place(base_layer)?, tuned.place(layer)?];
        let is_known = places.iter().all(|place| place.is_settled);
        let text = format!("changed {} {}", places[0].digest, places[1].digest);
        is_known.then(|| blake3::hash(text.as_bytes()))
    };
    let before = key();
    let known = before.as_ref().and_then(|key| memo.recall(key)?.try_into().ok());
    if let Some(known) = known {
        return Ok(share(u64::from_le_bytes(known)));
    }
    let mut changed = 0;
    for rows in layer.blocks(BLOCK) {
        let (before, now) = (base.read(base_layer, rows.clone())?, tuned.read(layer, rows)?);
        changed += if before.dtype() == now.dtype() {
            let (before, now) = (before.bytes(), now.bytes());
            match layer.read_as.size() {
                1 => differing::<1>(before, now),
                2 => differing::<2>(before, now),
                4 => differing::<4>(before, now),
                _ => differing::<8>(before, now),
            }
        } else {
            let differ = |(a, b): &(f64, f64)| a.to_bits() != b.to_bits();
            before.to_f64().into_iter().zip(now.to_f64()).filter(differ).count()
        };
    }
    if let Some(key) = before.filter(|before| key().as_ref() == Some(before)) {
        memo.keep(&key, &(changed as u64).to_le_bytes());
    }
    Ok(share(changed as u64))
}

/// How many entries of `N` bytes differ.
fn differing<const N: usize>(a: &[u8], b: &[u8]) -> usize {
    a.as_chunks::<N>().0.iter().zip(b.as_chunks::<N>().0).filter(|(a, b)| a != b).count()
}
