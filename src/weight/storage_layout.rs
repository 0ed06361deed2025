//! How bytes become rows where a tensor does not lie in its file as rows of floats: lines with gaps, columns, axes in
//! another order.
//!
//! Fetches a bounded piece of the file at a time through a function; knows nothing of files and formats.

use std::cmp::Reverse;
use std::ops::Range;

use crate::error::Error;

/// Fills a slice from a position of the file.
pub(crate) type Fetch<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<(), Error>;

/// At most this many bytes are fetched at once beside the matrix.
const PIECE: usize = 4 << 20;

/// More than one in so many entries of a piece have to be wanted; else each run of them is fetched alone.
const SPARSE: u64 = 4;

/// Entries of a tensor, each with a place of its own in the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gathered {
    /// Bytes of an entry.
    pub(crate) size: usize,
    /// Position of the first entry, in bytes.
    pub(crate) offset: u64,
    /// Entries along each axis.
    pub(crate) shape: Vec<usize>,
    /// From one entry to the next along each axis, in entries.
    pub(crate) strides: Vec<u64>,
}

/// An axis that is walked along: how often, how far each step leads in the file, and how far in the result.
#[derive(Clone, Copy)]
struct Axis {
    count: usize,
    stride: u64,
    step: usize,
}

impl Gathered {
    /// Those of its entries that are `range` of all, counted row by row; none if they are no box of it.
    pub(crate) fn part(mut self, mut range: Range<usize>) -> Option<Self> {
        loop {
            let inner: usize = self.shape.get(1..)?.iter().product();
            if inner == 0 || range.is_empty() {
                return None;
            }
            let first = range.start / inner;
            self.offset += first as u64 * self.strides[0] * self.size as u64;
            if range.start.is_multiple_of(inner) && range.end.is_multiple_of(inner) {
                self.shape[0] = range.len() / inner;
                return Some(self);
            }
            if first != (range.end - 1) / inner {
                return None;
            }
            range = range.start - first * inner..range.end - first * inner;
            self.shape.remove(0);
            self.strides.remove(0);
        }
    }

    /// The entries row by row, fetched in the order of the file.
    pub(crate) fn read(&self, fetch: Fetch<'_>) -> Result<Vec<u8>, Error> {
        let size = self.size;
        let (mut axes, mut step) = (vec![], 1);
        for (count, stride) in self.shape.iter().zip(&self.strides).rev() {
            axes.push(Axis { count: *count, stride: *stride, step });
            step *= count;
        }
        let mut out = vec![0; step * size];
        axes.retain(|axis| axis.count != 1);
        axes.sort_by_key(|axis| Reverse(axis.stride));
        // Entries side by side in the file.
        let side_by_side = axes.pop_if(|axis| axis.stride == 1);
        let line = side_by_side.unwrap_or(Axis { count: 1, stride: 1, step: 1 });
        let reach = |axis: &Axis| (axis.count as u64).saturating_sub(1) * axis.stride;
        let end = axes.iter().map(reach).sum::<u64>() + line.count as u64;
        let piece = if step as u64 * SPARSE > end { PIECE / size } else { 1 };
        let (mut bytes, mut held) = (vec![], 0..0);
        let mut at = vec![0; axes.len()];
        for _ in 0..step / line.count.max(1) {
            let place =
                |of: &dyn Fn(&Axis) -> u64| at.iter().zip(&axes).map(|(i, axis)| i * of(axis)).sum::<u64>();
            let (from, to) = (place(&|axis| axis.stride), place(&|axis| axis.step as u64) as usize);
            for first in (0..line.count).step_by(PIECE / size) {
                let count = (line.count - first).min(PIECE / size);
                let start = from + first as u64;
                if start < held.start || start + count as u64 > held.end {
                    held = start..(start + count.max(piece) as u64).min(end);
                    bytes.resize((held.end - held.start) as usize * size, 0);
                    fetch(self.offset + start * size as u64, &mut bytes)?;
                }
                let entries = &bytes[(start - held.start) as usize * size..][..count * size];
                if line.step == 1 {
                    out[(to + first) * size..][..count * size].copy_from_slice(entries);
                } else {
                    for (i, entry) in entries.chunks_exact(size).enumerate() {
                        let to = (to + (first + i) * line.step) * size;
                        out[to..to + size].copy_from_slice(entry);
                    }
                }
            }
            // The next line, as an odometer counts.
            for (i, axis) in at.iter_mut().zip(&axes).rev() {
                *i += 1;
                if *i < axis.count as u64 {
                    break;
                }
                *i = 0;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries at each place, by the definition.
    fn naive(of: &Gathered, file: &[u8]) -> Vec<u8> {
        let count: usize = of.shape.iter().product();
        let entry = |mut i: usize| {
            let mut place = 0;
            for (axis, stride) in of.shape.iter().zip(&of.strides).rev() {
                place += (i % axis) as u64 * stride;
                i /= axis;
            }
            let from = of.offset as usize + place as usize * of.size;
            file[from..from + of.size].to_vec()
        };
        (0..count).flat_map(entry).collect()
    }

    #[test]
    fn entries_are_where_their_strides_say() {
        let file: Vec<u8> = (0..20_000u32).map(|i| ((i * 7919) >> 3) as u8).collect();
        let fetch = |offset: u64, out: &mut [u8]| {
            out.copy_from_slice(&file[offset as usize..][..out.len()]);
            Ok(())
        };
        let cases: [(&[usize], &[u64]); 9] = [
            (&[3, 5], &[1, 3]),
            (&[3, 5], &[9, 1]),
            (&[3, 5], &[20, 2]),
            (&[3, 5], &[500, 1]),
            (&[4, 3, 2, 2], &[12, 1, 6, 3]),
            (&[4, 3, 2, 2], &[1, 16, 4, 8]),
            (&[2, 1, 3], &[3, 77, 1]),
            (&[7], &[2]),
            (&[1, 1], &[5, 5]),
        ];
        for (shape, strides) in cases {
            for size in [1, 2, 4, 8] {
                let of = Gathered { size, offset: 16, shape: shape.to_vec(), strides: strides.to_vec() };
                let all = naive(&of, &file);
                assert_eq!(of.read(&fetch).expect("in the file"), all, "{of:?}");
                // Rows, and rows of a slice of a stack.
                let row: usize = shape[1..].iter().product();
                for range in [0..row, row..all.len() / size, 0..shape.last().copied().unwrap_or(1)] {
                    let Some(part) = of.clone().part(range.clone()) else { continue };
                    let expected = &all[range.start * size..range.end * size];
                    assert_eq!(part.read(&fetch).expect("in the file"), expected, "{of:?} {range:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_box_of_a_tensor_is_not_taken_for_one() {
        let of = Gathered { size: 1, offset: 0, shape: vec![3, 4], strides: vec![1, 3] };
        assert!(of.clone().part(2..6).is_none() && of.clone().part(0..0).is_none());
        assert_eq!(of.part(5..7).map(|part| (part.offset, part.shape)), Some((1 + 3, vec![2])));
    }
}
