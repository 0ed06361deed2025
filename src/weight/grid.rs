//! Which scale belongs to which entry: one for the whole matrix, a row, a block or a group of columns.

use std::ops::Range;

/// A tensor seen as matrices one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// How many.
    pub slices: usize,
    /// Rows of each.
    pub rows: usize,
    /// Entries of a row.
    pub cols: usize,
}

impl View {
    /// The view of a tensor of `shape`, which has two axes at least; kernels of convolutions are folded.
    pub(crate) fn of(shape: &[usize]) -> Option<Self> {
        match *shape {
            [rows, cols] => Some(Self { slices: 1, rows, cols }),
            [slices, rows, cols] => Some(Self { slices, rows, cols }),
            [rows, ref kernel @ ..] if kernel.len() > 2 => {
                Some(Self { slices: 1, rows, cols: kernel.iter().product() })
            }
            _ => None,
        }
    }
}

/// Numbers beside a tensor, one for each block of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Rows of a matrix under one number, and columns.
    pub block: (usize, usize),
    /// Rows of numbers for each matrix.
    pub rows: usize,
    /// Numbers in a row.
    pub cols: usize,
    /// Rows of numbers from one matrix to the next; none where all share them.
    stride: usize,
    /// Rows of one matrix.
    height: usize,
}

/// The blocks of DeepSeek's checkpoints, which others took over.
const USUAL: (usize, usize) = (128, 128);

impl Grid {
    /// How numbers of `shape` cover `view`. Blocks of the size that the configuration names are tried first; those at
    /// the edges may be smaller.
    pub(crate) fn of(shape: &[usize], view: View, configured: Option<(usize, usize)>) -> Option<Self> {
        let count: usize = shape.iter().product();
        let View { slices, rows: height, cols } = view;
        if count == 1 {
            return Some(Self { block: (height, cols), rows: 1, cols: 1, stride: 0, height });
        }
        let own = if slices > 1 { shape.strip_prefix(&[slices])? } else { shape };
        let (down, across) = match *own {
            [] => (1, 1),
            [down] => (down, 1),
            [down, ref rest @ ..] => {
                let longer: Vec<usize> = rest.iter().copied().filter(|n| *n != 1).collect();
                match longer[..] {
                    [] => (down, 1),
                    [across] => (down, across),
                    _ => return None,
                }
            }
        };
        let covers = |block: &(usize, usize)| {
            block.0 > 0 && block.1 > 0 && (height.div_ceil(block.0), cols.div_ceil(block.1)) == (down, across)
        };
        let group = (1, if across > 0 && cols.is_multiple_of(across) { cols / across } else { 0 });
        let known = [(1, cols), (height, 1), (height, cols), group, USUAL];
        let block = configured.into_iter().chain(known).find(covers)?;
        Some(Self { block, rows: down, cols: across, stride: down, height })
    }

    /// The row of numbers that belongs to row `row` of the tensor.
    pub(crate) fn row(&self, row: usize) -> usize {
        row / self.height * self.stride + row % self.height / self.block.0
    }

    /// The rows of numbers that belong to rows `rows` of the tensor.
    pub(crate) fn span(&self, rows: &Range<usize>) -> Range<usize> {
        if self.stride == 0 || rows.is_empty() {
            return 0..self.rows;
        }
        self.row(rows.start)..self.row(rows.end - 1) + 1
    }

    /// The blocks in words: `tensor`, `channel`, `128×128`, `g32`.
    pub(crate) fn name(&self, view: View) -> String {
        match self.block {
            (rows, cols) if (rows, cols) == (view.rows, view.cols) => "tensor".to_owned(),
            (1, cols) if cols == view.cols => "channel".to_owned(),
            (rows, 1) if rows == view.rows => "channel".to_owned(),
            (1, cols) => format!("g{cols}"),
            (rows, cols) => format!("{rows}×{cols}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &[usize], of: &[usize], configured: Option<(usize, usize)>, expected: Option<&str>) {
        let view = View::of(of).expect("two axes at least");
        let grid = Grid::of(shape, view, configured);
        assert_eq!(grid.map(|grid| grid.name(view)).as_deref(), expected, "{shape:?} for {of:?}");
    }

    #[test]
    fn scales_cover_a_matrix_in_the_ways_that_are_known() {
        check(&[], &[6, 8], None, Some("tensor"));
        check(&[1], &[6, 8], None, Some("tensor"));
        check(&[6, 1], &[6, 8], None, Some("channel"));
        check(&[6], &[6, 8], None, Some("channel"));
        check(&[6, 2], &[6, 8], None, Some("g4"));
        check(&[2, 3], &[130, 300], None, Some("128×128"));
        check(&[3, 2], &[6, 8], Some((2, 5)), Some("2×5"));
        check(&[3, 2], &[6, 8], None, None);
        check(&[2, 1, 1], &[2, 6, 8], None, Some("tensor"));
        check(&[2, 1, 8], &[2, 6, 8], None, Some("channel"));
        check(&[6, 1, 1, 1], &[6, 4, 3, 3], None, Some("channel"));
        check(&[3, 1, 1], &[2, 6, 8], None, None);
    }

    #[test]
    fn rows_find_the_scales_of_their_block_and_slice() {
        let grid = Grid::of(&[2, 3, 2], View { slices: 2, rows: 5, cols: 4 }, Some((2, 2))).expect("fits");
        assert_eq!((0..10).map(|row| grid.row(row)).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]);
        assert_eq!(grid.span(&(3..7)), 1..4);
    }
}
