//! The memory order of a tensor's entries, from its shape and strides.

/// How the entries of a tensor lie in its storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Row by row without gaps.
    Rows,
    /// Each in a place of its own, this far from the next along each axis.
    Strided(Vec<u64>),
    /// Some in the same place as others: one is shown many times.
    Overlapping,
}

/// Why a part of a tensor is not read whose entries are spread over its storage.
pub(crate) const SCATTERED: &str = "is not contiguous; save it after `.contiguous()`";

/// Whether this machine can count the entries of this shape. Zeros are set aside, so that `[0, huge, huge]` can't
/// bypass the question.
pub(crate) fn is_countable(shape: &[usize]) -> bool {
    shape.iter().filter(|n| **n != 0).try_fold(1usize, |product, n| product.checked_mul(*n)).is_some()
}

/// How entries of this shape and these strides lie.
pub(crate) fn order(shape: &[usize], strides: &[u64]) -> Order {
    if is_contiguous(shape, strides) {
        Order::Rows
    } else if is_apart(shape, strides) {
        Order::Strided(strides.to_vec())
    } else {
        // A matrix of more entries than the file has.
        Order::Overlapping
    }
}

/// Whether each entry has a place of its own: along each axis a step leaves behind all that the shorter ones reach.
fn is_apart(shape: &[usize], strides: &[u64]) -> bool {
    let mut axes: Vec<(u64, usize)> =
        strides.iter().copied().zip(shape.iter().copied()).filter(|(_, axis)| *axis > 1).collect();
    axes.sort_unstable();
    let mut reach = Some(1u64);
    axes.into_iter().all(|(stride, axis)| {
        let apart = reach.is_some_and(|reach| stride >= reach);
        let longest = stride.checked_mul(axis as u64 - 1);
        reach = reach.zip(longest).and_then(|(reach, longest)| reach.checked_add(longest));
        apart
    })
}

/// Entries of the storage from the first of a tensor to behind its last.
pub(crate) fn span(shape: &[usize], strides: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    let mut steps = shape.iter().zip(strides).map(|(axis, stride)| (*axis as u64 - 1).checked_mul(*stride));
    steps.try_fold(1u64, |sum, step| sum.checked_add(step?))
}

/// Whether entries lie row by row without gaps; the stride of an axis of one entry does not matter.
fn is_contiguous(shape: &[usize], strides: &[u64]) -> bool {
    let mut step = 1;
    shape.iter().zip(strides).rev().all(|(axis, stride)| {
        let fits = *axis == 1 || *stride == step;
        step *= (*axis).max(1) as u64;
        fits
    }) || shape.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &[usize], strides: &[u64], expected: &Order, entries: u64) {
        assert_eq!(&order(shape, strides), expected, "{shape:?} {strides:?}");
        assert_eq!(span(shape, strides), Some(entries), "{shape:?} {strides:?}");
    }

    #[test]
    fn strides_tell_rows_from_views() {
        let strided = |strides: &[u64]| Order::Strided(strides.to_vec());
        check(&[2, 3], &[3, 1], &Order::Rows, 6);
        check(&[2, 3], &[1, 2], &strided(&[1, 2]), 6);
        check(&[2, 3], &[6, 1], &strided(&[6, 1]), 9);
        check(&[2, 3], &[6, 2], &strided(&[6, 2]), 11);
        check(&[2, 3], &[2, 1], &Order::Overlapping, 5);
        check(&[2, 3], &[1, 1], &Order::Overlapping, 4);
        check(&[2, 3], &[0, 1], &Order::Overlapping, 3);
        check(&[2, 3, 4], &[1, 2, 6], &strided(&[1, 2, 6]), 24);
        check(&[2, 3, 4], &[12, 1, 3], &strided(&[12, 1, 3]), 24);
        check(&[2, 3, 4, 5], &[60, 1, 15, 3], &strided(&[60, 1, 15, 3]), 120);
        check(&[2, 3, 4, 5], &[60, 1, 15, 2], &Order::Overlapping, 116);
        check(&[1, 3], &[99, 1], &Order::Rows, 3);
        check(&[3, 1], &[1, 77], &Order::Rows, 3);
        check(&[0, 3], &[0, 0], &Order::Rows, 0);
        check(&[], &[], &Order::Rows, 1);
        assert_eq!(span(&[2, 2], &[u64::MAX, 1]), None);
    }
}
