//! Products of the rows of two tables: what distances between points are made of.

use faer::{Accum, Mat, MatRef};

use super::product::multiply;

/// `⟨aᵢ, bⱼ⟩` for the rows `aᵢ`, `bⱼ` of two tables with `cols` columns each, row by row: as many in a row as `b` has rows.
pub fn row_products(a: &[f64], b: &[f64], cols: usize) -> Vec<f64> {
    let (rows, others) = (a.len() / cols.max(1), b.len() / cols.max(1));
    let [a, b] = [(a, rows), (b, others)].map(|(x, rows)| MatRef::from_row_major_slice(x, rows, cols));
    // A column of the result is a row of products.
    let mut out = Mat::zeros(others, rows);
    multiply(out.as_mut(), Accum::Replace, b, a.transpose(), 1.0);
    out.col_iter().flat_map(|column| column.iter().copied().collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_rows() {
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        assert_eq!(row_products(&a, &b, 2), [17.0, 23.0, 29.0, 39.0, 53.0, 67.0]);
    }
}
