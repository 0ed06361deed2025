//! The rows of a table as points: distinct ones in a seeded order, and the distances between them.

use std::collections::HashSet;

use super::super::random::Stream;
use super::{ColumnTreatment, Treatment};
use crate::solver;

/// In which order points are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// At random, by this seed.
    Seeded(u64),
    /// As they are stored; every sample is then of the first ones.
    Stored,
}

/// Distinct points.
pub(super) struct Cloud {
    /// One after the other, their mean taken off: distances stay, and their squares lose less to rounding.
    points: Vec<f64>,
    dimension: usize,
    order: Order,
}

/// A point and its squared distance.
type Near = (f64, usize);

/// So many rows of products are made at a time.
const BLOCK: usize = 128;
/// Distances from products are exact to rounding of the points' lengths; so many more neighbors than wanted are measured again
/// from the points themselves.
const SPARE: usize = 6;

impl Cloud {
    /// The rows of a finite table, each taken once, however often it is there.
    pub(super) fn new(entries: &[f64], cols: usize, order: Order) -> Self {
        let mut seen = HashSet::new();
        let mut rows: Vec<&[f64]> = vec![];
        for row in entries.chunks_exact(cols) {
            // Zeros of either sign are one number.
            let bits = row.iter().flat_map(|x| (x + 0.0).to_le_bytes()).collect::<Vec<u8>>();
            if seen.insert(*blake3::hash(&bits).as_bytes()) {
                rows.push(row);
            }
        }
        if let Order::Seeded(seed) = order {
            Stream::new(seed, "order").choose(&mut rows, usize::MAX);
        }
        let mut points = rows.concat();
        Treatment { columns: ColumnTreatment::Centered, unit_rows: false }.apply(&mut points, cols);
        Self { points, dimension: cols, order }
    }

    /// How many points there are.
    pub(super) fn len(&self) -> usize {
        self.points.len() / self.dimension
    }

    fn point(&self, i: usize) -> &[f64] {
        &self.points[i * self.dimension..(i + 1) * self.dimension]
    }

    fn square(&self, i: usize, j: usize) -> f64 {
        self.point(i).iter().zip(self.point(j)).map(|(x, y)| (x - y) * (x - y)).sum()
    }

    /// For each of the first `count` points the distances to its `most` nearest among them, ascending.
    pub(super) fn neighbors(&self, count: usize, most: usize) -> Vec<Vec<f64>> {
        let points = &self.points[..count * self.dimension];
        let squares: Vec<f64> =
            points.chunks_exact(self.dimension).map(|p| p.iter().map(|x| x * x).sum()).collect();
        let mut found = vec![];
        for (block, some) in points.chunks(BLOCK * self.dimension).enumerate() {
            let products = solver::row_products(some, points, self.dimension);
            for (k, row) in products.chunks_exact(count).enumerate() {
                let i = block * BLOCK + k;
                let near = |j: usize| (squares[i] + squares[j] - 2.0 * row[j], j);
                let mut all: Vec<Near> = (0..count).filter(|j| *j != i).map(near).collect();
                let wanted = (most + SPARE).min(all.len());
                if wanted < all.len() {
                    all.select_nth_unstable_by(wanted, |a, b| a.0.total_cmp(&b.0));
                    all.truncate(wanted);
                }
                let mut exact: Vec<f64> = all.iter().map(|(_, j)| self.square(i, *j).sqrt()).collect();
                exact.sort_unstable_by(f64::total_cmp);
                exact.truncate(most);
                found.push(exact);
            }
        }
        found
    }

    /// The positions of a sample of `count` points, the `number`-th of its kind.
    pub(super) fn sample(&self, count: usize, number: u64) -> Vec<usize> {
        let mut all: Vec<usize> = (0..self.len()).collect();
        if let Order::Seeded(seed) = self.order {
            Stream::new(seed, &format!("sample {number}")).choose(&mut all, count);
        }
        all.truncate(count);
        all
    }

    /// The length of the shortest tree that connects the points at `positions` (Prim 1957).
    pub(super) fn tree_length(&self, positions: &[usize]) -> f64 {
        let count = positions.len();
        let points: Vec<f64> = positions.iter().flat_map(|i| self.point(*i)).copied().collect();
        let products = solver::row_products(&points, &points, self.dimension);
        let distance = |i: usize, j: usize| {
            let square = products[i * count + i] + products[j * count + j] - 2.0 * products[i * count + j];
            // Where products have cancelled, the points themselves tell.
            let of_products = products[i * count + i].max(products[j * count + j]);
            if square > 1e-6 * of_products { square } else { self.square(positions[i], positions[j]) }.sqrt()
        };
        let mut nearest = vec![f64::INFINITY; count];
        let mut waiting: Vec<usize> = (1..count).collect();
        let (mut last, mut sum) = (0, 0.0);
        while !waiting.is_empty() {
            for j in &waiting {
                nearest[*j] = nearest[*j].min(distance(last, *j));
            }
            let at = (0..waiting.len()).min_by(|a, b| nearest[waiting[*a]].total_cmp(&nearest[waiting[*b]]));
            last = waiting.swap_remove(at.unwrap_or(0));
            sum += nearest[last];
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line, one of them twice.
    fn line() -> Cloud {
        Cloud::new(&[0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 6.0, 8.0, 30.0, 40.0], 2, Order::Stored)
    }

    #[test]
    fn neighbors_are_the_nearest_distinct_points() {
        let found = line().neighbors(4, 2);
        let expected = [[5.0, 10.0], [5.0, 5.0], [5.0, 10.0], [40.0, 45.0]];
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_tree_along_a_line_is_as_long_as_the_line() {
        assert!((line().tree_length(&[0, 1, 2, 3]) - 50.0).abs() < 1e-12);
        assert!((line().tree_length(&[3, 0]) - 50.0).abs() < 1e-12);
    }

    #[test]
    fn a_sample_is_of_distinct_points_and_of_its_seed() {
        let cloud = |seed| {
            let entries: Vec<f64> = (0..100).map(f64::from).collect();
            Cloud::new(&entries, 1, Order::Seeded(seed))
        };
        let mut first = cloud(1).sample(60, 3);
        assert_eq!(first, cloud(1).sample(60, 3));
        assert_ne!(first, cloud(1).sample(60, 4));
        assert_ne!(cloud(1).points, cloud(2).points);
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 60);
    }
}
