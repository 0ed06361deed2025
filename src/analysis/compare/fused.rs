//! Whether a matrix is made of the rows or columns of others, proven line by line: queries, keys and values fused into one
//! tensor or cut out of one, gates beside ups, tensors under other names.

use std::collections::BTreeMap;

use super::content::BLOCK;
use super::reordered::{paired, words};
use crate::error::Error;
use crate::layer::Layer;
use crate::weight::Catalogue;

/// What a line is called equal by: BLAKE3 of its entries.
type Line = [u8; 32];

/// What is hashed of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashedAs {
    /// Its bytes, where all matrices that are compared are stored in one type.
    Stored,
    /// The double that it is, −0 as 0.
    Double,
}

/// The rows and the columns of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Lines {
    rows: Vec<Line>,
    columns: Vec<Line>,
}

/// How the lines of a matrix are those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrangement {
    /// The others by position, in the order in which the matrix begins them.
    pub parts: Vec<usize>,
    /// Whether its rows are their columns, or the other way round.
    pub transposed: bool,
    /// What the order is called, if they do not lie one after the other.
    pub order: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    Rows,
    Columns,
}

impl Lines {
    /// Reads a matrix once, in blocks of rows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(source: &Catalogue, layer: &Layer, hashed: HashedAs) -> Result<Self, Error> {
        let mut rows = Vec::with_capacity(layer.rows);
        let mut columns = vec![blake3::Hasher::new(); layer.cols];
        let mut column = vec![];
        for block in layer.blocks(BLOCK) {
            let matrix = source.read(layer, block)?;
            let (entries, size) = match hashed {
                HashedAs::Stored => (matrix.bytes().to_vec(), matrix.dtype().size()),
                HashedAs::Double => {
                    (matrix.to_f64().iter().flat_map(|x| (x + 0.0).to_le_bytes()).collect(), size_of::<f64>())
                }
            };
            let lines = entries.chunks_exact((layer.cols * size).max(1));
            rows.extend(lines.clone().map(|row| *blake3::hash(row).as_bytes()));
            for (j, hasher) in columns.iter_mut().enumerate() {
                column.clear();
                lines.clone().for_each(|row| column.extend_from_slice(&row[j * size..][..size]));
                hasher.update(&column);
            }
        }
        let columns = columns.iter().map(|column| *column.finalize().as_bytes()).collect();
        Ok(Self { rows, columns })
    }

    /// The bytes that [`Lines::of`] takes, at most.
    pub fn cost(layer: &Layer) -> u64 {
        let hashers = layer.cols * size_of::<blake3::Hasher>();
        let kept = (layer.rows + layer.cols) * size_of::<Line>();
        // A block as it is stored, widened, and as bytes.
        (hashers + kept + layer.len().saturating_mul(24).min(24 * BLOCK)) as u64
    }

    fn along(&self, axis: Axis) -> &[Line] {
        match axis {
            Axis::Rows => &self.rows,
            Axis::Columns => &self.columns,
        }
    }
}

/// How `whole` is made of `others`, if each of its lines is one of theirs, and it has all lines of those that it has any of.
pub fn arrangement(whole: &Lines, others: &[Lines]) -> Option<Arrangement> {
    use Axis::{Columns, Rows};
    [(Rows, Rows), (Columns, Columns), (Columns, Rows), (Rows, Columns)].into_iter().find_map(
        |(own, theirs)| {
            let others: Vec<&[Line]> = others.iter().map(|other| other.along(theirs)).collect();
            let (parts, order) = made_of(whole.along(own), &others)?;
            Some(Arrangement { parts, transposed: own != theirs, order })
        },
    )
}

/// Which of `others` the lines of `whole` are, and in what order.
fn made_of(whole: &[Line], others: &[&[Line]]) -> Option<(Vec<usize>, Option<String>)> {
    // Lines that several have, as those of zeros, tell nothing of which one it is.
    let mut owners: BTreeMap<&Line, Option<usize>> = BTreeMap::new();
    for (i, lines) in others.iter().enumerate() {
        for line in *lines {
            owners.entry(line).and_modify(|owner| *owner = owner.filter(|o| *o == i)).or_insert(Some(i));
        }
    }
    let mut parts = vec![];
    for line in whole {
        if let Some(part) = (*owners.get(line)?).filter(|part| !parts.contains(part)) {
            parts.push(part);
        }
    }
    let joined: Vec<Line> = parts.iter().flat_map(|part| others[*part]).copied().collect();
    if joined.len() != whole.len() {
        return None;
    }
    let order = paired(&joined, whole)?;
    let moved = order.iter().enumerate().any(|(i, from)| i != *from);
    Some((parts, moved.then(|| words(&order))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that are told apart by their numbers.
    fn lines(numbers: impl Iterator<Item = u8>) -> Vec<Line> {
        numbers.map(|n| [n; 32]).collect()
    }

    fn check(whole: &[u8], others: &[&[u8]], expected: Option<(&[usize], Option<&str>)>) {
        let others: Vec<Vec<Line>> = others.iter().map(|other| lines(other.iter().copied())).collect();
        let others: Vec<&[Line]> = others.iter().map(Vec::as_slice).collect();
        let found = made_of(&lines(whole.iter().copied()), &others);
        let found = found.as_ref().map(|(parts, order)| (parts.as_slice(), order.as_deref()));
        assert_eq!(found, expected, "{whole:?}");
    }

    #[test]
    fn parts_lie_one_after_the_other_or_by_turns() {
        check(&[1, 2, 3, 4], &[&[3, 4], &[1, 2]], Some((&[1, 0], None)));
        let by_head = Some("interleaved 2 by 2 (block 2)");
        check(&[1, 2, 5, 6, 3, 4, 7, 8], &[&[1, 2, 3, 4], &[5, 6, 7, 8], &[9]], Some((&[0, 1], by_head)));
    }

    #[test]
    fn a_line_that_differs_or_is_left_over_breaks_the_proof() {
        check(&[1, 2, 3, 9], &[&[1, 2], &[3, 4]], None);
        check(&[1, 2, 3], &[&[1, 2], &[3, 4]], None);
        check(&[1, 2, 2, 3], &[&[1, 2], &[3, 4]], None);
    }

    #[test]
    fn lines_that_several_have_tell_no_part() {
        check(&[0, 1, 0, 2], &[&[0, 1], &[0, 2], &[0, 3]], Some((&[0, 1], None)));
        check(&[0, 0], &[&[0, 0], &[0, 0]], None);
    }
}
