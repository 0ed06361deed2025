//! What the last two steps of a series found: a matrix that did not change is not decomposed again.
//!
//! It holds the values of two checkpoints at most, whatever the number of steps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blake3::Hash;

use crate::solver::Memo;

/// Keeps what a step found until the end of the next one, and asks another memo for the rest.
pub struct RecentMemo {
    kept: Mutex<Generations>,
    below: Option<Arc<dyn Memo>>,
}

/// By a digest of what was found.
#[derive(Default)]
struct Generations {
    now: BTreeMap<[u8; 32], Arc<[u8]>>,
    before: BTreeMap<[u8; 32], Arc<[u8]>>,
}

impl RecentMemo {
    /// An empty one above `below`, which outlives the run.
    pub fn new(below: Option<Arc<dyn Memo>>) -> Self {
        Self { kept: Mutex::default(), below }
    }

    /// The next step begins: what the last one neither found nor asked for is forgotten.
    pub fn next_step(&self) {
        let mut kept = self.lock();
        kept.before = std::mem::take(&mut kept.now);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memo for RecentMemo {
    fn recall(&self, key: &Hash) -> Option<Vec<u8>> {
        let mut kept = self.lock();
        if let Some(known) = kept.now.get(key.as_bytes()) {
            return Some(known.to_vec());
        }
        if let Some(known) = kept.before.get(key.as_bytes()).cloned() {
            kept.now.insert(*key.as_bytes(), Arc::clone(&known));
            return Some(known.to_vec());
        }
        drop(kept);
        let known = self.below.as_ref()?.recall(key)?;
        self.lock().now.insert(*key.as_bytes(), known.as_slice().into());
        Some(known)
    }

    fn keep(&self, key: &Hash, what: &[u8]) {
        self.lock().now.insert(*key.as_bytes(), what.into());
        if let Some(below) = &self.below {
            below.keep(key, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_asks_for_is_there_at_the_next_and_what_two_did_not_ask_for_is_gone() {
        let [used, unused] = [blake3::hash(b"used"), blake3::hash(b"unused")];
        let memo = RecentMemo::new(None);
        memo.keep(&used, b"values");
        memo.keep(&unused, b"other");
        for _ in 0..5 {
            memo.next_step();
            assert_eq!(memo.recall(&used).as_deref(), Some(&b"values"[..]));
        }
        assert_eq!(memo.recall(&unused), None);
    }

    #[test]
    fn what_the_memo_below_knows_is_asked_once_and_told_what_is_new() {
        let below = Arc::new(RecentMemo::new(None));
        let (old, new) = (blake3::hash(b"old"), blake3::hash(b"new"));
        below.keep(&old, b"1");
        let memo = RecentMemo::new(Some(Arc::clone(&below) as Arc<dyn Memo>));
        assert_eq!(memo.recall(&old).as_deref(), Some(&b"1"[..]));
        memo.keep(&new, b"2");
        assert_eq!(below.recall(&new).as_deref(), Some(&b"2"[..]));
    }
}
