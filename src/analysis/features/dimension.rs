//! The dimension of a cloud of points, by three estimates: what surface it lies on, however many coordinates it has.

use super::cloud::Cloud;
use crate::report::MissingReason;

/// Neighbors are looked for among at most so many points.
pub(super) const MOST_NEIGHBORS: usize = 10_000;
/// Trees are of fewer points than this: `max_points` of the authors.
pub(super) const MOST_TREE: usize = 512;
/// The neighbors of the likelihood estimate.
pub(super) const K: usize = 10;
/// TwoNN leaves out this share of the largest ratios.
const LEFT_OUT: f64 = 0.1;
/// Sizes of the authors' samples: from here on, in these steps.
const FIRST: usize = 50;
const STEP: usize = 40;
/// How often they repeat everything, and how many samples of one size they take: fewer of more than half of the points.
const RERUNS: u64 = 3;
const SAMPLES: u64 = 7;
const SAMPLES_OF_MOST: u64 = 3;

/// What distances to neighbors say.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfNeighbors {
    /// The slope of −ln(1 − F) over ln μ through 0, without the largest tenth of the ratios.
    pub two_nn: f64,
    /// (N − 1)/Σ ln μ.
    pub two_nn_ml: f64,
    /// By the ten nearest neighbors.
    pub likelihood: f64,
}

/// By the ratios μ of the distances to the second and the first neighbor, whose distribution is F(μ) = 1 − μ^−d (TwoNN, Facco
/// et al. 2017), and by ten neighbors (Levina & Bickel 2004; inverses are averaged, MacKay & Ghahramani 2005).
///
/// # Errors
/// When there are too few points.
pub(super) fn of_neighbors(cloud: &Cloud) -> Result<OfNeighbors, MissingReason> {
    let count = cloud.len().min(MOST_NEIGHBORS);
    if count < K + 2 {
        return Err(MissingReason::TooFewRows);
    }
    let neighbors = cloud.neighbors(count, K);
    // Distinct points whose distance rounds to zero have no ratio.
    let near: Vec<&Vec<f64>> = neighbors.iter().filter(|distances| distances[0] > 0.0).collect();
    if near.len() < K + 2 {
        return Err(MissingReason::TooFewRows);
    }
    let mut logs: Vec<f64> = near.iter().map(|distances| (distances[1] / distances[0]).ln()).collect();
    logs.sort_unstable_by(f64::total_cmp);
    let (n, kept) = (logs.len() as f64, (logs.len() as f64 * (1.0 - LEFT_OUT)) as usize);
    let (mut products, mut squares) = (0.0, 0.0);
    for (i, x) in logs[..kept].iter().enumerate() {
        products -= x * (1.0 - i as f64 / n).ln();
        squares += x * x;
    }
    let inverse = |distances: &&Vec<f64>| {
        let last = distances[K - 1];
        distances[..K - 1].iter().map(|distance| (last / distance).ln()).sum::<f64>() / (K - 1) as f64
    };
    let found = OfNeighbors {
        two_nn: products / squares,
        two_nn_ml: (n - 1.0) / logs.iter().sum::<f64>(),
        likelihood: n / near.iter().map(inverse).sum::<f64>(),
    };
    let all = [found.two_nn, found.two_nn_ml, found.likelihood];
    if all.iter().all(|x| x.is_finite()) { Ok(found) } else { Err(MissingReason::NoEstimate) }
}

/// By persistent homology: the length of the shortest tree through n points grows as n^(1 − 1/d) (Tulchinskii et al. 2023, with
/// the samples of their code).
///
/// # Errors
/// When there are too few points for three sizes, or the lengths grow as fast as the number of points.
pub(super) fn of_trees(cloud: &Cloud) -> Result<f64, MissingReason> {
    let sizes: Vec<usize> = (FIRST..cloud.len().min(MOST_TREE)).step_by(STEP).collect();
    if sizes.len() < 3 {
        return Err(MissingReason::TooFewRows);
    }
    let slopes = (0..RERUNS).map(|rerun| {
        let length = |size: &usize| {
            let samples = if cloud.len() <= 2 * size { SAMPLES_OF_MOST } else { SAMPLES };
            let number = |i: u64| (rerun * SAMPLES + i) * (MOST_TREE as u64) + *size as u64;
            let lengths = (0..samples).map(|i| cloud.tree_length(&cloud.sample(*size, number(i))));
            middle(lengths.collect()).ln()
        };
        let lengths: Vec<f64> = sizes.iter().map(length).collect();
        slope(&sizes.iter().map(|size| (*size as f64).ln()).collect::<Vec<_>>(), &lengths)
    });
    let mean = slopes.sum::<f64>() / RERUNS as f64;
    let dimension = 1.0 / (1.0 - mean);
    if dimension.is_finite() && dimension > 0.0 { Ok(dimension) } else { Err(MissingReason::NoEstimate) }
}

/// The length of the shortest tree through the first points.
///
/// # Errors
/// When there is one point.
pub(super) fn tree_length(cloud: &Cloud) -> Result<f64, MissingReason> {
    let count = cloud.len().min(MOST_TREE);
    if count < 2 {
        return Err(MissingReason::TooFewRows);
    }
    Ok(cloud.tree_length(&(0..count).collect::<Vec<_>>()))
}

/// The middle one of an odd number.
fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The slope of the line of least squares.
fn slope(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let [mean_x, mean_y] = [x, y].map(|all| all.iter().sum::<f64>() / n);
    let product = |a: f64, b: f64| (a - mean_x) * b;
    let above: f64 = x.iter().zip(y).map(|(x, y)| product(*x, y - mean_y)).sum();
    above / x.iter().map(|x| product(*x, x - mean_x)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::cloud::Order;
    use super::*;

    /// A cube of this dimension, turned into eight coordinates.
    fn cube(dimension: usize, count: usize) -> Cloud {
        let mut state = 1u64;
        let mut entry = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let turn: Vec<f64> = (0..dimension * 8).map(|_| entry()).collect();
        let mut entries = vec![];
        for _ in 0..count {
            let inner: Vec<f64> = (0..dimension).map(|_| entry()).collect();
            entries.extend(
                (0..8).map(|j| inner.iter().enumerate().map(|(i, x)| x * turn[i * 8 + j]).sum::<f64>()),
            );
        }
        Cloud::new(&entries, 8, Order::Seeded(0))
    }

    #[test]
    fn a_cube_has_about_its_dimension() {
        for dimension in [1, 2, 4] {
            let cloud = cube(dimension, 1500);
            let OfNeighbors { two_nn, two_nn_ml, likelihood } = of_neighbors(&cloud).expect("enough points");
            let trees = of_trees(&cloud).expect("enough points");
            for found in [two_nn, two_nn_ml, likelihood, trees] {
                let relative = found / dimension as f64;
                assert!((0.8..1.2).contains(&relative), "{found} for {dimension}");
            }
        }
    }

    #[test]
    fn few_points_have_no_dimension() {
        assert_eq!(of_neighbors(&cube(2, 11)).err(), Some(MissingReason::TooFewRows));
        assert_eq!(of_trees(&cube(2, 130)), Err(MissingReason::TooFewRows));
        assert_eq!(tree_length(&cube(2, 1)), Err(MissingReason::TooFewRows));
    }
}
