//! Assignments against all that there are, and against exchanges.

use super::*;

/// A linear congruence.
fn uniform(count: usize, seed: u32) -> Vec<f64> {
    let mut state = seed;
    let entry = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24) - 0.5
    };
    (0..count).map(entry).collect()
}

fn total(gains: &[f64], columns: &[u32]) -> f64 {
    let n = columns.len();
    columns.iter().enumerate().map(|(i, j)| gains[i * n + *j as usize]).sum()
}

/// The best total by trying all.
fn tried(gains: &[f64], n: usize, row: usize, taken: u32) -> f64 {
    if row == n {
        return 0.0;
    }
    let free = (0..n).filter(|j| taken & (1 << j) == 0);
    let with = |j: usize| gains[row * n + j] + tried(gains, n, row + 1, taken | (1 << j));
    free.map(with).fold(f64::NEG_INFINITY, f64::max)
}

/// Whether it is a permutation in which no exchange of columns gains anything.
#[track_caller]
fn check_is_best(gains: &[f64], n: usize) {
    let columns = assignment(gains, n);
    let mut seen = columns.clone();
    seen.sort_unstable();
    assert!(seen.iter().enumerate().all(|(i, j)| i as u32 == *j), "a permutation");
    // No cycle of exchanges gains anything: Bellman and Ford on the rows, where i → k if i takes k's column.
    let own: Vec<f64> = columns.iter().enumerate().map(|(i, j)| gains[i * n + *j as usize]).collect();
    let mut price = vec![0.0f64; n];
    for _ in 0..n {
        let before = price.clone();
        for i in 0..n {
            for k in 0..n {
                let gain = gains[i * n + columns[k] as usize] - own[i];
                price[k] = price[k].max(before[i] + gain);
            }
        }
        let moved = price.iter().zip(&before).fold(0.0f64, |most, (a, b)| most.max(a - b));
        if moved < 1e-9 {
            return;
        }
    }
    panic!("an exchange gains");
}

#[test]
fn small_ones_are_as_good_as_the_best_of_all() {
    for (n, seed) in [(1, 1), (2, 2), (3, 3), (5, 4), (6, 5), (7, 6), (7, 7)] {
        let gains = uniform(n * n, seed);
        let (found, best) = (total(&gains, &assignment(&gains, n)), tried(&gains, n, 0, 0));
        assert!((found - best).abs() < 1e-12, "{n}: {found} {best}");
    }
    assert_eq!(assignment(&[], 0), [0u32; 0]);
}

#[test]
fn no_exchange_gains_anything() {
    for seed in 1..6 {
        check_is_best(&uniform(60 * 60, seed), 60);
    }
    // Rows of very different sizes, columns that all want, and costs that resemble each other.
    let rows: Vec<f64> = uniform(60, 9).iter().map(|x| (8.0 * x).exp()).collect();
    let scaled = |gains: Vec<f64>| -> Vec<f64> {
        gains.iter().enumerate().map(|(at, x)| x * rows[at / 60] * rows[at % 60]).collect()
    };
    check_is_best(&scaled(uniform(60 * 60, 10)), 60);
    let product: Vec<f64> = (0..60 * 60).map(|at| rows[at / 60] * rows[59 - at % 60]).collect();
    check_is_best(&product, 60);
    check_is_best(&vec![0.25; 40 * 40], 40);
}

#[test]
fn a_permutation_is_found_through_noise() {
    let n = 500;
    let order: Vec<usize> = (0..n).map(|i| (i * 77 + 5) % n).collect();
    let mut gains = uniform(n * n, 3);
    order.iter().enumerate().for_each(|(i, j)| gains[i * n + j] += 1.5);
    let found = assignment(&gains, n);
    assert!(found.iter().zip(&order).all(|(a, b)| *a as usize == *b));
}
