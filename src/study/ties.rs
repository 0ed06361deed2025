//! Which rows are copies of others: one rule for every study.

use std::collections::BTreeMap;

/// For each key the first earlier row that has the same; what has no key is nobody's copy.
///
/// A key is the stored type, the shape and the hashes of all sides. What is one number throughout has none.
pub(super) fn copies<K: Ord>(keys: impl Iterator<Item = Option<K>>) -> Vec<Option<usize>> {
    let mut first = BTreeMap::new();
    let original = |(i, key): (usize, Option<K>)| {
        let original = *first.entry(key?).or_insert(i);
        (original != i).then_some(original)
    };
    keys.enumerate().map(original).collect()
}

#[cfg(test)]
mod tests {
    use super::copies;

    #[test]
    fn a_copy_is_that_of_the_first() {
        let keys = [Some("a"), Some("b"), None, Some("a"), None, Some("a")];
        assert_eq!(copies(keys.into_iter()), [None, None, None, Some(0), None, Some(0)]);
    }
}
