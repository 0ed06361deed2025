//! Lists of numbers about one row that no column has room for: a spectrum, an error at each of several ranks, which columns
//! were chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Empty;

/// Lists by their names (docs/report.md).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lists(BTreeMap<String, List>);

/// Numbers of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum List {
    Counts(Vec<u64>),
    Reals(Vec<f64>),
}

impl Lists {
    /// Adds whole numbers; an empty list is left out.
    pub fn count(&mut self, name: &str, numbers: impl IntoIterator<Item = usize>) {
        let counts: Vec<u64> = numbers.into_iter().map(|n| n as u64).collect();
        if !counts.is_empty() {
            self.0.insert(name.to_owned(), List::Counts(counts));
        }
    }

    /// Adds real numbers; a list that is empty or does not fit a double is left out.
    pub fn real(&mut self, name: &str, numbers: impl IntoIterator<Item = f64>) {
        let reals: Vec<f64> = numbers.into_iter().collect();
        if !reals.is_empty() && reals.iter().all(|x| x.is_finite()) {
            self.0.insert(name.to_owned(), List::Reals(reals));
        }
    }

    /// Adds all of `more`.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// The list of that name as real numbers; empty where there is none.
    pub fn get(&self, name: &str) -> Vec<f64> {
        match self.0.get(name) {
            Some(List::Counts(counts)) => counts.iter().map(|n| *n as f64).collect(),
            Some(List::Reals(reals)) => reals.clone(),
            None => vec![],
        }
    }
}

impl Empty for Lists {
    const EMPTY: &'static Self = &Self(BTreeMap::new());
}
