//! Whether a weight holds its base's entries in another order, proven entry by entry, and what that order is called.
//!
//! Sums of hashes over a row do not see the order of its entries. Refined with what the columns sum to, and these with
//! the rows, they tell rows and columns apart as far as anything can (Weisfeiler & Leman 1968). Equal ones are matched,
//! and then every entry is compared: only that is called proven.

use std::collections::BTreeMap;

use crate::matrix::Matrix;
use crate::report::{Order, Reordering};

/// Rounds of refinement: each tells lines apart by what crosses them.
const ROUNDS: usize = 3;

/// The entries of a matrix as bits, −0 as 0: equal where the numbers are, whatever they are stored as.
struct Grid {
    rows: usize,
    cols: usize,
    bits: Vec<u64>,
}

/// The order in which `tuned` holds the entries of `base`; none where that is not proven, or is the same.
pub(super) fn reordering(base: &Matrix, tuned: &Matrix) -> Option<Reordering> {
    let (base, tuned) = (Grid::new(base), Grid::new(tuned));
    let found = matched(&base, &tuned).map(|order| (false, order));
    let (transposed, (rows, columns)) =
        found.or_else(|| matched(&base.transposed(), &tuned).map(|order| (true, order)))?;
    let reordering = Reordering { transposed, rows: order(&rows), columns: order(&columns) };
    (transposed || reordering.rows.is_some() || reordering.columns.is_some()).then_some(reordering)
}

impl Grid {
    fn new(matrix: &Matrix) -> Self {
        let bits = matrix.to_f64().iter().map(|x| (x + 0.0).to_bits()).collect();
        Self { rows: matrix.rows(), cols: matrix.cols(), bits }
    }

    fn transposed(&self) -> Self {
        let column = |j: usize| self.bits.iter().skip(j).step_by(self.cols.max(1)).copied();
        Self { rows: self.cols, cols: self.rows, bits: (0..self.cols).flat_map(column).collect() }
    }

    /// What rows and columns sum to, told apart by each other.
    fn colors(&self) -> (Vec<u128>, Vec<u128>) {
        let (mut rows, mut columns) = (vec![0u128; self.rows], vec![0u128; self.cols]);
        for _ in 0..ROUNDS {
            let (mut next_rows, mut next_columns) = (vec![0u128; self.rows], vec![0u128; self.cols]);
            for (i, row) in self.bits.chunks(self.cols.max(1)).enumerate() {
                for (j, bits) in row.iter().enumerate() {
                    next_rows[i] = next_rows[i].wrapping_add(hash(*bits, columns[j]));
                    next_columns[j] = next_columns[j].wrapping_add(hash(*bits, rows[i]));
                }
            }
            (rows, columns) = (next_rows, next_columns);
        }
        (rows, columns)
    }
}

/// Rows and columns of `base` in the order of `tuned`, if that gives its every entry.
fn matched(base: &Grid, tuned: &Grid) -> Option<(Vec<usize>, Vec<usize>)> {
    if (base.rows, base.cols) != (tuned.rows, tuned.cols) {
        return None;
    }
    let ((rows, columns), (tuned_rows, tuned_columns)) = (base.colors(), tuned.colors());
    let (p, q) = (paired(&rows, &tuned_rows)?, paired(&columns, &tuned_columns)?);
    let proven = p.iter().enumerate().all(|(i, from)| {
        let (row, original) = (&tuned.bits[i * tuned.cols..][..tuned.cols], from * base.cols);
        row.iter().zip(&q).all(|(bits, from)| *bits == base.bits[original + from])
    });
    proven.then_some((p, q))
}

/// For each line of `tuned` the line of `base` of its color, in order of position among equals.
pub(super) fn paired<C: Ord>(base: &[C], tuned: &[C]) -> Option<Vec<usize>> {
    let mut places: BTreeMap<&C, Vec<usize>> = BTreeMap::new();
    for (i, color) in base.iter().enumerate().rev() {
        places.entry(color).or_default().push(i);
    }
    tuned.iter().map(|color| places.get_mut(color)?.pop()).collect()
}

fn hash(bits: u64, color: u128) -> u128 {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let (low, high) = (color as u64, (color >> 64) as u64);
    let first = mix(bits.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ mix(low.wrapping_add(1)));
    let second = mix(first ^ high.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(bits));
    (u128::from(first) << 64) | u128::from(second)
}

/// An order with its name; none of the one that changes nothing.
fn order(p: &[usize]) -> Option<Order> {
    if p.iter().enumerate().all(|(i, from)| i == *from) {
        return None;
    }
    let bytes: Vec<u8> = p.iter().flat_map(|from| (*from as u64).to_le_bytes()).collect();
    Some(Order { words: words(p), digest: blake3::hash(&bytes).to_hex()[..16].to_owned() })
}

/// What an order is called: new line `i` is old line `p[i]`.
pub(super) fn words(p: &[usize]) -> String {
    let starts = (0..p.len()).filter(|i| *i == 0 || p[*i] != p[i - 1] + 1);
    let block = starts.fold(p.len(), |block, i| gcd(block, gcd(i, p[i])));
    let blocks: Vec<usize> = p.iter().step_by(block).map(|from| from / block).collect();
    let count = blocks.len();
    let is_reversed = |p: &[usize]| p.iter().rev().enumerate().all(|(i, from)| i == *from);
    if count == 2 {
        return format!("halves swapped (block {block})");
    }
    if is_reversed(&blocks) {
        return format!("reversed (block {block})");
    }
    if let Some(ways) = interleaved(&blocks) {
        return format!("interleaved {ways} by {ways} (block {block})");
    }
    if block > 1 {
        return format!("{count} blocks of {block} permuted");
    }
    let same_inside = |height: &usize| {
        count.is_multiple_of(*height)
            && p.iter().enumerate().all(|(i, from)| *from == i / height * height + p[i % height])
    };
    match (2..count).find(same_inside) {
        Some(height) => format!("same inside every {height}: {}", words(&p[..height])),
        None => "permuted".to_owned(),
    }
}

/// How many parts take turns, if parts do.
fn interleaved(p: &[usize]) -> Option<usize> {
    let takes_turns = |ways: &usize| {
        p.len().is_multiple_of(*ways)
            && p.iter().enumerate().all(|(i, from)| *from == i % ways * (p.len() / ways) + i / ways)
    };
    (2..p.len()).find(takes_turns)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Matrix {
        let entries: Vec<f64> = (0..rows * cols).map(|at| entry(at / cols, at % cols)).collect();
        Matrix::from_f64(rows, cols, &entries).expect("fits")
    }

    /// No two entries are the same.
    fn plain(i: usize, j: usize) -> f64 {
        (i * 1000 + j) as f64 + 0.25
    }

    fn check(p: &[usize], expected: &str) {
        assert_eq!(words(p), expected);
        let (base, tuned) = (matrix(p.len(), 9, plain), matrix(p.len(), 9, |i, j| plain(p[i], j)));
        let found = reordering(&base, &tuned).expect("proven");
        assert_eq!(found.rows.map(|order| order.words).as_deref(), Some(expected));
        assert_eq!((found.columns, found.transposed), (None, false));
    }

    #[test]
    fn orders_have_names() {
        let order = |of: &dyn Fn(usize) -> usize| (0..48).map(of).collect::<Vec<usize>>();
        check(&order(&|i| (i + 24) % 48), "halves swapped (block 24)");
        check(&order(&|i| i % 2 * 24 + i / 2), "interleaved 2 by 2 (block 1)");
        check(&order(&|i| 47 - i), "reversed (block 1)");
        check(&order(&|i| i / 4 % 3 * 16 + i / 12 * 4 + i % 4), "interleaved 3 by 3 (block 4)");
        let rotary = order(&|i| i / 8 * 8 + i % 2 * 4 + i % 8 / 2);
        check(&rotary, "same inside every 8: interleaved 2 by 2 (block 1)");
        check(&order(&|i| [3, 0, 5, 1, 4, 2][i / 8] * 8 + i % 8), "6 blocks of 8 permuted");
        check(&order(&|i| i * 7 % 48), "permuted");
    }

    #[test]
    fn one_entry_that_differs_breaks_the_proof() {
        let base = matrix(12, 10, plain);
        let tuned = matrix(12, 10, |i, j| if (i, j) == (3, 4) { 0.5 } else { plain(11 - i, j) });
        assert_eq!(reordering(&base, &tuned), None);
    }

    #[test]
    fn rows_and_columns_at_once_and_transposed_are_proven_with_zero_and_equal_rows() {
        let entry = |i: usize, j: usize| match i {
            0..4 => 0.0,
            4..8 => plain(4, j),
            _ => plain(i, j),
        };
        let (base, p) = (matrix(20, 14, entry), |i: usize| i * 7 % 20);
        let tuned = matrix(14, 20, |i, j| entry(p(j), (i + 7) % 14));
        let found = reordering(&base, &tuned).expect("proven");
        assert!(found.transposed && found.rows.is_some() && found.columns.is_some(), "{found:?}");
        assert_eq!(reordering(&base, &base), None);
    }
}
