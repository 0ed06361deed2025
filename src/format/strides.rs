//! The memory order of a tensor's entries, from its shape and strides.

/// How the entries of a tensor lie in its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Row by row without gaps.
    Rows,
    /// A matrix whose rows, or whose columns, lie apart from each other.
    Strided {
        /// From a row to the next.
        row: u64,
        /// From a column to the next.
        col: u64,
    },
    /// A convolution with its channels innermost, as `torch.channels_last` keeps them.
    ChannelsLast,
    /// In another order.
    Scattered,
    /// In fewer places than it has entries: one is shown many times.
    Expanded,
}

/// Why a tensor that is scattered is not read.
pub(crate) const SCATTERED: &str = "is not contiguous; save it after `.contiguous()`";

/// Whether this machine can count the entries of this shape. Zeros are set aside, so that `[0, huge, huge]` can't
/// bypass the question.
pub(crate) fn is_countable(shape: &[usize]) -> bool {
    shape.iter().filter(|n| **n != 0).try_fold(1usize, |product, n| product.checked_mul(*n)).is_some()
}

/// How entries of this shape and these strides lie.
pub(crate) fn order(shape: &[usize], strides: &[u64]) -> Order {
    if is_contiguous(shape, strides) {
        return Order::Rows;
    }
    match (shape, strides) {
        _ if shape.iter().zip(strides).any(|(axis, stride)| *axis > 1 && *stride == 0) => Order::Expanded,
        // Lines that overlap would make a matrix of more entries than the file has.
        ([_, cols], [row, 1]) if *row >= *cols as u64 => Order::Strided { row: *row, col: 1 },
        ([rows, _], [1, col]) if *col >= *rows as u64 => Order::Strided { row: 1, col: *col },
        ([out, channels, kernel @ ..], [row, channel, positions @ ..]) => {
            let shape = [&[*out], kernel, &[*channels]].concat();
            let strides = [&[*row], positions, &[*channel]].concat();
            if is_contiguous(&shape, &strides) { Order::ChannelsLast } else { Order::Scattered }
        }
        _ => Order::Scattered,
    }
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

    fn check(shape: &[usize], strides: &[u64], expected: Order, entries: u64) {
        assert_eq!(order(shape, strides), expected, "{shape:?} {strides:?}");
        assert_eq!(span(shape, strides), Some(entries), "{shape:?} {strides:?}");
    }

    #[test]
    fn strides_tell_rows_from_views() {
        check(&[2, 3], &[3, 1], Order::Rows, 6);
        check(&[2, 3], &[1, 2], Order::Strided { row: 1, col: 2 }, 6);
        check(&[2, 3], &[6, 1], Order::Strided { row: 6, col: 1 }, 9);
        check(&[2, 3], &[2, 1], Order::Scattered, 5);
        check(&[2, 3], &[1, 1], Order::Scattered, 4);
        check(&[2, 3], &[0, 1], Order::Expanded, 3);
        check(&[2, 3, 4], &[1, 2, 6], Order::Scattered, 24);
        check(&[2, 3, 4], &[12, 1, 3], Order::ChannelsLast, 24);
        check(&[2, 3, 4, 5], &[60, 1, 15, 3], Order::ChannelsLast, 120);
        check(&[2, 3, 4, 5], &[60, 1, 3, 12], Order::Scattered, 120);
        check(&[1, 3], &[99, 1], Order::Rows, 3);
        check(&[3, 1], &[1, 77], Order::Rows, 3);
        check(&[0, 3], &[0, 0], Order::Rows, 0);
        check(&[], &[], Order::Rows, 1);
        assert_eq!(span(&[2, 2], &[u64::MAX, 1]), None);
    }
}
