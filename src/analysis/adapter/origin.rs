//! What made an update, told from its factors and its base: evidence, never a name in a configuration.

use super::defect;
use crate::report::Origin;
use crate::weight::StoredFactors;

/// A cosine with W_r, or with the tail, above which an update was begun with it: after training, too. Those of other
/// adapters are near 0.
const ALONG: f64 = 0.9;

/// What is known beside the factors.
pub(super) struct Evidence<'a> {
    /// How the adapter stores it.
    pub(super) kind: &'a str,
    /// Spacing of 1.0 in its type.
    pub(super) epsilon: f64,
    pub(super) is_zero: bool,
    /// Cosines with the base's first and last directions.
    pub(super) leading: Option<f64>,
    pub(super) trailing: Option<f64>,
}

/// Everything that the evidence says, the most telling first.
pub(super) fn origins(evidence: &Evidence<'_>, factors: Option<&StoredFactors>) -> Vec<Origin> {
    let mut found = vec![];
    let zero = |entries: &[f64]| entries.iter().all(|x| *x == 0.0);
    let factor_is_zero = factors.is_some_and(|factors| zero(&factors.up) || zero(&factors.down));
    if factor_is_zero || evidence.is_zero {
        found.push(Origin::Untrained);
    }
    if factors.is_some_and(|factors| factors.diagonal.is_some()) {
        found.push(Origin::Kasa);
    }
    found.extend(match evidence.kind {
        "dora" => Some(Origin::Dora),
        "loha" => Some(Origin::Loha),
        "lokr" => Some(Origin::Lokr),
        "difference" | "replacement" => Some(Origin::Whole),
        _ => None,
    });
    let above = |cosine: Option<f64>| cosine.is_some_and(|cosine| cosine.abs() > ALONG);
    // Both at once only where r is nearly all there is.
    match (above(evidence.leading), above(evidence.trailing)) {
        (true, false) => found.push(Origin::Pissa),
        (false, true) => found.push(Origin::Soma),
        _ => {}
    }
    if let Some(factors) = factors.filter(|_| !factor_is_zero) {
        found.extend(of_form(factors, evidence.epsilon));
    }
    if found.is_empty() {
        found.push(Origin::Lora);
    }
    found
}

/// What the inner products of the factors show.
fn of_form(factors: &StoredFactors, epsilon: f64) -> Option<Origin> {
    let rank = factors.rank;
    let (a, b) = (factors.of_rows(), factors.of_columns());
    // Rounding of orthonormal vectors to their type, with room for products in f32.
    let near = 8.0 * epsilon.max(f64::from(f32::EPSILON)) * (rank as f64).sqrt();
    let orthonormal = |products: &[f64]| defect(products, rank) <= near;
    let orthogonal = |products: &[f64]| {
        let size = |i: usize| products[i * (rank + 1)].max(0.0).sqrt();
        let pairs = (0..rank).flat_map(|i| (0..i).map(move |j| (i, j)));
        let mut cosines = pairs.map(|(i, j)| (products[i * rank + j], size(i) * size(j)));
        cosines.all(|(product, sizes)| product.abs() <= near * sizes.max(f64::MIN_POSITIVE))
    };
    // Of one direction, orthogonality says nothing.
    if rank < 2 {
        return None;
    }
    let squares = |products: &[f64]| -> Vec<f64> { products.iter().step_by(rank + 1).copied().collect() };
    let (lengths_a, lengths_b) = (squares(&a), squares(&b));
    let descending = lengths_b.is_sorted_by(|x, y| *y <= x * (1.0 + near));
    let balanced =
        || lengths_a.iter().zip(&lengths_b).all(|(x, y)| (x - y).abs() <= near * x.max(*y)) && descending;
    match (orthonormal(&a), orthonormal(&b)) {
        (true, true) => Some(Origin::Sorsa),
        (true, false) if orthogonal(&b) && descending => Some(Origin::Canonical),
        (true, false) => Some(Origin::OrthonormalRows),
        (false, true) => Some(Origin::OrthonormalColumns),
        (false, false) if orthogonal(&a) && orthogonal(&b) && balanced() => Some(Origin::Balanced),
        (false, false) => None,
    }
}
