//! The model as a grid: blocks in one direction, module types in the other, matrices in the cells.
//!
//! A module type is a name with its numbers taken out, so that all experts of a block fall into one cell.

use std::collections::{BTreeMap, BTreeSet};

use crate::layer::natural;
use crate::report::{Attention, Head, Row};

/// Every row with its place in the grid.
#[derive(Debug)]
pub(super) struct Kinds {
    /// Names of the module types, in natural order.
    pub names: Vec<String>,
    /// The module type of each row.
    pub of: Vec<usize>,
    /// The numbers of the blocks, ascending.
    pub blocks: Vec<u64>,
    /// Rows by (block, module type), both as positions in the lists above.
    pub cells: BTreeMap<(usize, usize), Vec<usize>>,
}

impl Kinds {
    pub(super) fn new(rows: &[&Row]) -> Self {
        // Each once, by its name and whether it is in blocks: rows are many, types few.
        let mut known: BTreeMap<(String, bool), usize> = BTreeMap::new();
        let mut of = vec![];
        for row in rows {
            let next = known.len();
            of.push(*known.entry((kind(row), row.block.is_some())).or_insert(next));
        }
        let common = common(known.keys().filter(|(_, is_in_block)| *is_in_block).map(|(full, _)| full));
        let short =
            |(full, is_in_block): &(String, bool)| full[if *is_in_block { common } else { 0 }..].to_owned();
        let mut names: Vec<String> = known.keys().map(short).collect::<BTreeSet<_>>().into_iter().collect();
        names.sort_by(|a, b| natural(a, b));
        let mut places = vec![0; known.len()];
        for (key, i) in &known {
            places[*i] = names.binary_search_by(|name| natural(name, &short(key))).unwrap_or(0);
        }
        of.iter_mut().for_each(|kind| *kind = places[*kind]);
        let blocks: Vec<u64> =
            rows.iter().filter_map(|row| row.block).collect::<BTreeSet<_>>().into_iter().collect();
        let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (i, row) in rows.iter().enumerate() {
            let block = row.block.and_then(|block| blocks.binary_search(&block).ok());
            if let Some(block) = block {
                cells.entry((block, of[i])).or_default().push(i);
            }
        }
        Self { names, of, blocks, cells }
    }

    /// The module types that have a block.
    pub(super) fn in_blocks(&self) -> Vec<usize> {
        self.cells.keys().map(|(_, kind)| *kind).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The rows of each module type.
    pub(super) fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![vec![]; self.names.len()];
        for (row, kind) in self.of.iter().enumerate() {
            members[*kind].push(row);
        }
        members
    }
}

/// The least, the middle and the greatest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub least: f64,
    pub median: f64,
    pub greatest: f64,
}

impl Spread {
    /// Of `numbers`, in any order; `None` where there are none.
    pub(super) fn of(mut numbers: Vec<f64>) -> Option<Self> {
        numbers.sort_by(f64::total_cmp);
        let (least, greatest) = (*numbers.first()?, *numbers.last()?);
        let n = numbers.len();
        Some(Self { least, median: f64::midpoint(numbers[(n - 1) / 2], numbers[n / 2]), greatest })
    }
}

/// The name without its numbers: `model.layers.*.mlp.experts.*.up_proj`.
fn kind(row: &Row) -> String {
    // A head has the same number in every block, so it is a type of its own.
    if let Some(Attention::Head(Head { head, .. })) = row.attention.as_deref() {
        let module = row.name.rsplit_once(".head.").map_or(row.name.as_str(), |(module, _)| module);
        return format!("{}.head.{head}", without_numbers(module));
    }
    without_numbers(&row.name)
}

fn without_numbers(name: &str) -> String {
    let name = name.split('[').next().unwrap_or(name);
    let number = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_digit());
    name.split('.').map(|part| if number(part) { "*" } else { part }).collect::<Vec<_>>().join(".")
}

/// Length of the start, up to the block's number, that all names in blocks share and none needs.
fn common<'n>(mut names: impl Iterator<Item = &'n String>) -> usize {
    let start = |name: &'n String| name.find("*.").map(|at| &name[..at + 2]);
    let Some(Some(first)) = names.next().map(start) else { return 0 };
    if names.all(|name| start(name) == Some(first)) { first.len() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::html::tests::report;

    fn check(names: &[&str], expected: &[&str]) {
        let report = report(names);
        assert_eq!(Kinds::new(&report.rows.iter().collect::<Vec<_>>()).names, expected, "{names:?}");
    }

    #[test]
    fn a_module_type_is_a_name_without_numbers() {
        check(&["model.layers.0.q", "model.layers.1.q", "lm_head"], &["lm_head", "q"]);
        check(
            &["l.0.experts.0.up", "l.0.experts.1.up", "l.0.experts.down[1]"],
            &["experts.*.up", "experts.down"],
        );
        check(&["enc.0.q", "dec.0.q"], &["dec.*.q", "enc.*.q"]);
        check(&["net.0", "net.1"], &["net.*"]);
    }

    #[test]
    fn blocks_are_in_the_order_of_their_numbers() {
        let report = report(&["l.10.q", "l.2.q", "l.2.k"]);
        let kinds = Kinds::new(&report.rows.iter().collect::<Vec<_>>());
        assert_eq!((kinds.blocks.clone(), kinds.cells[&(0, 0)].clone()), (vec![2, 10], vec![2]));
    }
}
