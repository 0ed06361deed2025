//! Positions of windows along one side of a matrix, and the nesting of their shared sums.

use std::ops::Range;

/// Where windows lie along one side of a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowGrid {
    /// Length of each.
    pub length: usize,
    /// Where each starts, ascending.
    pub starts: Vec<usize>,
}

impl WindowGrid {
    /// How much of the side lies in at least one window.
    pub fn covered(&self) -> usize {
        self.starts.windows(2).map(|pair| self.length.min(pair[1] - pair[0])).sum::<usize>() + self.length
    }

    /// The range that all of `windows` share.
    pub(super) fn common(&self, windows: &Range<usize>) -> Range<usize> {
        let (first, last) = (self.starts[windows.start], self.starts[windows.end - 1]);
        last..(first + self.length).max(last)
    }

    /// The windows moved together until nothing lies between them, and how long the side then is.
    pub(super) fn packed(&self) -> (Vec<usize>, usize) {
        let gaps = self.starts.windows(2).map(|pair| self.length.min(pair[1] - pair[0]));
        let starts = std::iter::once(0).chain(gaps.scan(0, |at, gap| {
            *at += gap;
            Some(*at)
        }));
        (starts.collect(), self.covered())
    }

    /// The ranges of the side that lie in windows, one after the other.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = vec![];
        for start in &self.starts {
            match ranges.last_mut() {
                Some(last) if *start <= last.end => last.end = start + self.length,
                _ => ranges.push(*start..start + self.length),
            }
        }
        ranges
    }
}

/// How many rows a sum over `windows` adds to one that holds `done`, and how many sums that takes.
pub(super) fn halving(places: &WindowGrid, windows: &Range<usize>, done: &Range<usize>) -> (usize, usize) {
    let common = places.common(windows);
    let added = common.len() - done.len();
    if windows.len() == 1 {
        return (added, 1);
    }
    let middle = windows.start.midpoint(windows.end);
    let common = if common.is_empty() { 0..0 } else { common };
    let (left, kept) = halving(places, &(windows.start..middle), &common);
    let (right, last) = halving(places, &(middle..windows.end), &common);
    // A copy is made only where there is something to copy.
    (added + left + right, last.max(kept + usize::from(!common.is_empty())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_overlap_are_summed_a_few_times_instead_of_once_a_window() {
        // The published setting on 4096 × 4096: 30,000 rows one window after the other.
        let starts: Vec<usize> = (0..15).map(|i| i * 149).collect();
        let published = WindowGrid { length: 2000, starts };
        let (summed, levels) = halving(&published, &(0..15), &(0..0));
        assert_eq!((summed, levels), (8619, 4));
        let apart = WindowGrid { length: 10, starts: vec![0, 20, 40] };
        assert_eq!(halving(&apart, &(0..3), &(0..0)), (30, 1));
        assert_eq!((apart.covered(), apart.packed()), (30, (vec![0, 10, 20], 30)));
        assert_eq!(WindowGrid { length: 10, starts: vec![0, 4, 20] }.packed(), (vec![0, 4, 14], 24));
    }
}
