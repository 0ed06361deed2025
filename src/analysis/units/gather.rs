//! The lines of units, gathered from matrices as they lie.

use std::ops::Range;

use super::{Axis, Member, Span};
use crate::matrix::Matrix;

/// Which line takes the place of each: a permutation of the lines of one side.
pub type Lines = Vec<u32>;

/// Lines of `length` in their own places, but for those of `spans`, whose units are permuted: unit `order[i]` takes the
/// place of unit `i`.
pub fn lines<'o>(length: usize, spans: impl IntoIterator<Item = (Span, &'o [u32])>) -> Lines {
    let mut lines: Lines = (0..length as u32).collect();
    for (Span { first, period, count }, order) in spans {
        for (i, from) in order.iter().enumerate() {
            for k in 0..count {
                lines[first + i * period + k] = (first + *from as usize * period + k) as u32;
            }
        }
    }
    lines
}

/// What is gathered of a matrix.
pub struct Panel<'m> {
    /// The matrix.
    pub matrix: &'m Matrix,
    /// Where units lie in it.
    pub member: Member,
    /// How many units.
    pub units: usize,
    /// Which lines of the other side take the places of which.
    pub others: Option<&'m [u32]>,
}

/// For each unit, in rows, its entries in the lines `range` of the other side: of its first line, then of its second.
pub fn panel(Panel { matrix, member, units, others }: &Panel<'_>, range: Range<usize>) -> Vec<f64> {
    let (cols, Span { first, period, count }) = (matrix.cols(), member.span);
    let (length, place) = (range.len(), |at: usize| others.map_or(at, |others| others[at] as usize));
    let width = count * length;
    let mut out = vec![0.0; units * width];
    let mut line = vec![0.0; cols];
    match member.side {
        Axis::Rows => {
            for (at, out) in out.chunks_exact_mut(length.max(1)).enumerate() {
                let row = first + at / count * period + at % count;
                if others.is_none() {
                    matrix.widen(row * cols + range.start..row * cols + range.end, out);
                } else {
                    matrix.widen(row * cols..(row + 1) * cols, &mut line);
                    out.iter_mut().zip(range.clone()).for_each(|(x, at)| *x = line[place(at)]);
                }
            }
        }
        Axis::Columns => {
            for (at, row) in range.enumerate() {
                let row = place(row);
                matrix.widen(row * cols..(row + 1) * cols, &mut line);
                for unit in 0..*units {
                    for k in 0..count {
                        out[unit * width + k * length + at] = line[first + unit * period + k];
                    }
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_gathered_from_either_side() {
        let matrix = Matrix::from_f64(4, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).expect("fits");
        let member = |side, span| Member { tensor: 0, side, span };
        let check = |member, units, others: Option<&[u32]>, range, expected: &[f64]| {
            assert_eq!(panel(&Panel { matrix: &matrix, member, units, others }, range), expected);
        };
        let pairs = Span { first: 0, period: 2, count: 2 };
        check(member(Axis::Rows, pairs), 2, None, 1..2, &[2.0, 4.0, 6.0, 8.0]);
        check(member(Axis::Rows, pairs), 2, Some(&[1, 0]), 0..1, &[2.0, 4.0, 6.0, 8.0]);
        check(member(Axis::Columns, Span::LINES), 2, None, 1..3, &[3.0, 5.0, 4.0, 6.0]);
        check(member(Axis::Columns, Span::LINES), 2, Some(&[3, 0, 1, 2]), 0..2, &[7.0, 1.0, 8.0, 2.0]);
    }

    #[test]
    fn lines_move_with_their_units() {
        let spans = [(Span { first: 2, period: 2, count: 2 }, &[1, 0][..])];
        assert_eq!(lines(7, spans), [0, 1, 4, 5, 2, 3, 6]);
    }
}
