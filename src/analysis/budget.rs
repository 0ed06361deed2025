//! Ranks for a budget: where a given number of directions holds the most, over all matrices of a model.

/// Gives `total` ranks to the matrices whose next direction holds the largest share of its own matrix, never more than
/// `most` to one.
///
/// `shares` are the descending energy shares of each matrix. Equal shares go to the earlier matrix. Fewer than `total`
/// are given only when there are no more shares.
pub fn allocate(shares: &[Vec<f64>], total: usize, most: usize) -> Vec<usize> {
    let entries = shares.iter().enumerate();
    let mut pool: Vec<(f64, usize)> =
        entries.flat_map(|(i, shares)| shares.iter().take(most).map(move |share| (*share, i))).collect();
    pool.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut ranks = vec![0; shares.len()];
    for (_, i) in pool.into_iter().take(total) {
        ranks[i] += 1;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shares: &[&[f64]], total: usize, most: usize, expected: &[usize]) {
        let shares: Vec<Vec<f64>> = shares.iter().map(|shares| shares.to_vec()).collect();
        assert_eq!(allocate(&shares, total, most), expected, "{total} of {shares:?}");
    }

    #[test]
    fn the_published_example() {
        // EVA's redistribution for r = 2, ρ = 2.
        let [a, b, c] = [[0.5, 0.2, 0.1, 0.05], [0.9, 0.05, 0.02, 0.01], [0.3, 0.25, 0.2, 0.15]];
        check(&[&a, &b, &c], 6, 4, &[2, 1, 3]);
        check(&[&a, &b, &c], 6, 2, &[2, 2, 2]);
        check(&[&a, &b, &c], 0, 4, &[0, 0, 0]);
        check(&[&a, &b, &c], 99, 99, &[4, 4, 4]);
    }

    #[test]
    fn equal_shares_go_to_the_earlier_matrix() {
        check(&[&[0.5, 0.5], &[0.5, 0.5]], 3, 9, &[2, 1]);
    }

    #[test]
    fn a_prefix_of_each_matrix_is_taken() {
        // No share left out is larger than a share that is given.
        let shares = vec![vec![0.6, 0.3, 0.1], vec![1.0], vec![], vec![0.4, 0.35, 0.25]];
        for total in 0..=7 {
            let ranks = allocate(&shares, total, 3);
            assert_eq!(ranks.iter().sum::<usize>(), total);
            let given = shares.iter().zip(&ranks).flat_map(|(s, r)| &s[..*r]).copied();
            let left = shares.iter().zip(&ranks).flat_map(|(s, r)| &s[*r..]).copied();
            assert!(given.fold(1.0, f64::min) >= left.fold(0.0, f64::max));
        }
    }
}
