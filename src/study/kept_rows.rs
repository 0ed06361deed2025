//! Rows that are kept as a whole for later runs: what was found of a matrix, by where it lies and all that decides it.

use blake3::Hash;

use super::matrices::Method;
use super::{FoundMatrix, Matrices};
use crate::checkpoint::Catalogue;
use crate::error::Error;
use crate::layer::Layer;
use crate::solver::{self, Memo};

impl Matrices {
    /// What is found of one matrix, unless the whole row is kept.
    pub(super) fn row(&self, layer: &Layer, memo: &dyn Memo) -> Result<FoundMatrix, Error> {
        let key = self.key(layer, memo);
        if let Some(known) = key.and_then(|key| serde_json::from_slice(&memo.recall(&key)?).ok()) {
            return Ok(known);
        }
        let found = (self.method.measure)(self.opened.source.as_ref(), layer, memo)?;
        if let Some(key) = key.filter(|key| self.key(layer, memo) == Some(*key))
            && let Ok(text) = serde_json::to_vec(&found)
        {
            memo.keep(&key, &text);
        }
        Ok(found)
    }

    /// Where the row of a matrix is kept; none where rows are not, or the matrix cannot be told from others.
    fn key(&self, layer: &Layer, memo: &dyn Memo) -> Option<Hash> {
        let Method { command, columns, settings, kept_by, base, .. } = &self.method;
        let kept_by = kept_by.as_ref().filter(|_| memo.is_kept())?;
        let source = self.opened.source.as_ref();
        let keys: Vec<&str> = columns.iter().map(|column| column.key).collect();
        let mut hash = blake3::Hasher::new();
        hash.update(format!("row {command} {settings:?} {kept_by} {keys:?}").as_bytes());
        let mut lies = |source: &Catalogue, layer: &Layer| {
            let place = source.place(layer).filter(|place| place.is_settled)?;
            hash.update(format!(" {layer:?} {:?} {};", source.update(layer), place.digest).as_bytes());
            Some(())
        };
        lies(source, layer)?;
        if let Some(pairs) = base {
            let pair = pairs.get(&layer.name).ok()?;
            lies(pairs.base(), &pair.base)?;
            lies(pairs.tuned(), &pair.tuned)?;
        }
        Some(hash.finalize())
    }

    /// Whether an earlier run left what costs nothing to find again.
    pub(super) fn is_known(&self, layer: &Layer, memo: &dyn Memo) -> bool {
        match self.method.kept_by {
            _ if !memo.is_kept() => false,
            Some(_) => self.key(layer, memo).is_some_and(|key| memo.recall(&key).is_some()),
            None => {
                let place = self.opened.source.place(layer);
                place.is_some_and(|place| solver::seen(memo, &place).is_some())
            }
        }
    }
}
