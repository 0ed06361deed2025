//! Inner products of the rows of two matrices.

use faer::{Accum, MatMut, MatRef};

use super::product::multiply;

/// Adds to `out`, a × b in rows, the inner products of `a` rows with `b` others, all of `width` numbers and row-major.
pub fn add_inner_products(out: &mut [f64], a: &[f64], b: &[f64], width: usize) {
    if width == 0 || out.is_empty() {
        return;
    }
    let (rows, others) = (a.len() / width, b.len() / width);
    let a = MatRef::from_row_major_slice(a, rows, width);
    let b = MatRef::from_row_major_slice(b, others, width);
    // Row-major, it is the transpose in columns.
    let out = MatMut::from_column_major_slice_mut(out, others, rows);
    multiply(out, Accum::Add, b, a.transpose(), 1.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_by_hand() {
        let mut out = vec![1.0, 0.0, 0.0, 0.0, 0.0, 10.0];
        add_inner_products(&mut out, &[1.0, 2.0, 3.0, 4.0], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2);
        assert_eq!(out, [2.0, 2.0, 3.0, 3.0, 4.0, 17.0]);
    }
}
