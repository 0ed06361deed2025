//! A row that an earlier run has measured: known by the places of its matrices and all that its numbers depend on.

use blake3::Hash;

use super::Question;
use super::tasks::MatrixTask;
use crate::solver::Memo;
use crate::study::FoundPair;

/// Where what is known of a row is kept.
pub(super) struct Known<'m> {
    memo: &'m dyn Memo,
    /// None where some of the row cannot be told from others.
    key: Option<Hash>,
}

impl<'m> Known<'m> {
    /// That of `task`, whose bytes told `found`.
    pub(super) fn new(question: &Question, task: &MatrixTask, found: &FoundPair, memo: &'m dyn Memo) -> Self {
        Self { memo, key: if memo.is_kept() { key(question, task, found) } else { None } }
    }

    /// What was found.
    pub(super) fn recall(&self) -> Option<FoundPair> {
        serde_json::from_slice(&self.memo.recall(self.key.as_ref()?)?).ok()
    }

    /// Keeps what was found, if the row is still what it was: `now` is what is known of it.
    pub(super) fn keep(&self, now: &Self, found: &FoundPair) {
        if let Some(key) = self.key.filter(|key| now.key == Some(*key))
            && let Ok(text) = serde_json::to_vec(found)
        {
            self.memo.keep(&key, &text);
        }
    }
}

/// A digest of all that the numbers of a row depend on.
fn key(question: &Question, task: &MatrixTask, found: &FoundPair) -> Option<Hash> {
    let Question { sides, depth, words, columns, .. } = question;
    let mut hash = blake3::Hasher::new();
    let keys: Vec<&str> = columns.iter().map(|column| column.key).collect();
    hash.update(format!("pair {depth:?} {words:?} {keys:?}").as_bytes());
    let layers = std::iter::once(task.base.as_ref()).chain(task.tuned.iter().map(Option::as_ref));
    for (side, layer) in sides.all().zip(layers) {
        // A report's numbers are at hand, but nothing tells whose they are.
        let source = side.weights()?;
        if let Some(layer) = layer {
            let place = source.place(layer).filter(|place| place.is_settled)?;
            hash.update(format!(" {layer:?} {}", place.digest).as_bytes());
        }
        hash.update(b";");
    }
    hash.update(&serde_json::to_vec(found).ok()?);
    Some(hash.finalize())
}
