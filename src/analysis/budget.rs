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

/// Spends `budget` on directions where each unit gains the most: `gains` are the descending gains of each matrix's
/// directions, `costs` what one of its directions costs. A matrix whose next direction cannot be paid gets no more. Of equal
/// gains the earlier matrix comes first.
pub fn spend(gains: &[Vec<f64>], costs: &[u64], budget: u64) -> Vec<usize> {
    let entries = gains.iter().zip(costs).enumerate();
    let mut pool: Vec<(f64, usize)> = entries
        .flat_map(|(i, (gains, cost))| gains.iter().map(move |gain| (gain / (*cost).max(1) as f64, i)))
        .collect();
    pool.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let (mut ranks, mut is_full) = (vec![0; gains.len()], vec![false; gains.len()]);
    let mut left = budget;
    for (gain, i) in pool {
        match left.checked_sub(costs[i]) {
            Some(rest) if gain > 0.0 && !is_full[i] => {
                ranks[i] += 1;
                left = rest;
            }
            _ => is_full[i] = true,
        }
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

    #[test]
    fn a_budget_goes_where_each_unit_gains_most() {
        let gains = [vec![8.0, 1.0], vec![6.0, 5.0, 0.0]];
        // Of the first matrix a direction costs four, so that it gains 2 a unit.
        for (budget, expected) in
            [(0, [0, 0]), (2, [0, 2]), (6, [1, 2]), (9, [1, 2]), (10, [2, 2]), (99, [2, 2])]
        {
            assert_eq!(spend(&gains, &[4, 1], budget), expected, "{budget}");
        }
    }
}
