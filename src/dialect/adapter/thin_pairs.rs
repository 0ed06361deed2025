//! Adapters of kinds that are not known: files of little else than thin factors, which as weights would mean nothing.

use std::collections::BTreeMap;

use crate::dialect::factored;
use crate::error::brief;
use crate::layer::{Element, TensorInfo};

/// Words that tell the two factors of one update apart.
const SIDES: [(&str, &str); 5] = [("a", "b"), ("down", "up"), ("left", "right"), ("u", "v"), ("in", "out")];

/// A factor has so many times fewer directions than either side of its product.
const THIN: usize = 8;

/// What `tensors` look like, if nearly all matrices among them are thin factors.
pub(super) fn found(tensors: &[TensorInfo]) -> Option<String> {
    let matrices: Vec<&TensorInfo> = tensors
        .iter()
        .filter(|tensor| matches!(tensor.element, Element::Float(_)) && tensor.shape.len() == 2)
        .filter(|tensor| !factored::is_part(&tensor.name))
        .collect();
    let by_name: BTreeMap<String, &TensorInfo> =
        matrices.iter().map(|tensor| (unnumbered(&tensor.name), *tensor)).collect();
    let partner = |tensor: &&&TensorInfo| {
        let other = others(&unnumbered(&tensor.name)).iter().find_map(|name| by_name.get(name).copied());
        other.filter(|other| fit(&tensor.shape, &other.shape))
    };
    let pairs: Vec<(&TensorInfo, &TensorInfo)> =
        matrices.iter().filter_map(|tensor| Some((*tensor, partner(&tensor)?))).collect();
    let (first, second) = pairs.first()?;
    let shown = |tensor: &TensorInfo| format!("`{}` ({:?})", brief(&tensor.name), tensor.shape);
    (10 * pairs.len() >= 9 * matrices.len()).then(|| {
        format!(
            "looks like an adapter of a kind that svdkit does not know: {} and {} are thin factors of one update; \
             `--as-weights` reads its tensors as they are stored",
            shown(first),
            shown(second)
        )
    })
}

/// `name` without a number that follows a side: `adapter_down.0.weight` is beside `adapter_up.weight`.
fn unnumbered(name: &str) -> String {
    let is_side = |part: &str| {
        let last = part.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        SIDES.iter().any(|(one, other)| last.eq_ignore_ascii_case(one) || last.eq_ignore_ascii_case(other))
    };
    let mut kept: Vec<&str> = vec![];
    for part in name.split('.') {
        let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
        if !(is_number && kept.last().is_some_and(|before| is_side(before))) {
            kept.push(part);
        }
    }
    kept.join(".")
}

/// The names that the other factor may have: one word is replaced by its counterpart.
fn others(name: &str) -> Vec<String> {
    let (mut others, mut start) = (vec![], 0);
    let seams = name.match_indices(|c: char| !c.is_ascii_alphanumeric());
    for (end, next) in seams.map(|(at, seam)| (at, at + seam.len())).chain([(name.len(), name.len())]) {
        let word = &name[start..end];
        for (one, other) in SIDES.iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
            if word.eq_ignore_ascii_case(one) {
                let is_upper = word.bytes().all(|byte| byte.is_ascii_uppercase());
                let found = if is_upper { other.to_ascii_uppercase() } else { (*other).to_owned() };
                others.push(format!("{}{found}{}", &name[..start], &name[end..]));
            }
        }
        start = next;
    }
    others
}

/// Whether matrices of these shapes are factors of one that is much larger.
fn fit(one: &[usize], other: &[usize]) -> bool {
    let ([a, b], [c, d]) = (one, other) else { return false };
    let thin =
        |rank: usize, rows: usize, cols: usize| rank > 0 && rank.saturating_mul(THIN) <= rows.min(cols);
    (b == c && thin(*b, *a, *d)) || (a == d && thin(*a, *b, *c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Dtype;

    fn check(tensors: &[(&str, [usize; 2])], expected: bool) {
        let tensor = |(name, shape): &(&str, [usize; 2])| TensorInfo {
            name: (*name).into(),
            shape: shape.to_vec(),
            element: Element::Float(Dtype::F32),
            file: 0,
            offset: 0,
            bytes: None,
        };
        let tensors: Vec<TensorInfo> = tensors.iter().map(tensor).collect();
        assert_eq!(found(&tensors).is_some(), expected, "{tensors:?}");
    }

    #[test]
    fn files_of_thin_factors_are_told_from_models() {
        check(&[("q.my_A", [4, 64]), ("q.my_B", [32, 4])], true);
        check(
            &[("q.delta.up", [64, 2]), ("q.delta.down", [2, 64]), ("k.left", [64, 2]), ("k.right", [2, 32])],
            true,
        );
        // A bottleneck among whole weights, as in DeepSeek's attention, and an ordinary block.
        check(&[("q_a_proj", [8, 64]), ("q_b_proj", [64, 8]), ("mlp", [64, 64])], false);
        check(&[("mlp.up.weight", [256, 64]), ("mlp.down.weight", [64, 256])], false);
        check(&[("a", [64, 64]), ("b", [64, 64])], false);
        check(&[("l.0.adapter_down.0.weight", [4, 64]), ("l.0.adapter_up.weight", [64, 4])], true);
        check(&[("qkv.linear_in.weight", [4, 64]), ("qkv.linear_out.weight", [192, 4])], true);
        check(&[("σ.aσ", [64, 2]), ("σ.bσ", [2, 64])], true);
        check(&[], false);
    }
}
