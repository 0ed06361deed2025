//! Cosines of gradients of one sample, as long vectors: of the partners of one block, and of neighbors in depth.

use super::Table;
use crate::error::Error;
use crate::layer::block_and_role;
use crate::report::{MissingReason, Value};
use crate::solver::BLOCK_BYTES;

/// The roles whose gradients are held against each other, by the last part of their names: the sizes of keys and values differ
/// from those of queries and outputs where heads share keys.
const PARTNERS: [(&str, &str); 6] =
    [("q_proj", "o_proj"), ("k_proj", "v_proj"), ("wq", "wo"), ("wk", "wv"), ("q", "o"), ("k", "v")];

/// The name of the matrix that `name` is held against in its block, if its role has one.
pub fn partner(name: &str) -> Option<String> {
    let (rest, last) = name.rsplit_once('.').map_or(("", name), |(rest, last)| (rest, last));
    let other = PARTNERS.iter().find_map(|(a, b)| match () {
        () if *a == last => Some(*b),
        () if *b == last => Some(*a),
        () => None,
    })?;
    Some(if rest.is_empty() { other.to_owned() } else { format!("{rest}.{other}") })
}

/// The name of the same role in the next block.
pub fn next(name: &str) -> Option<String> {
    let block = block_and_role(name).0?;
    let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
    let number = parts.iter_mut().find(|part| part.parse::<u64>().is_ok())?;
    *number = block.checked_add(1)?.to_string();
    Some(parts.join("."))
}

/// ⟨g, h⟩/(‖g‖·‖h‖). The authors add 1e−9 to the denominator, which makes cosines of small gradients smaller.
///
/// # Errors
/// When one cannot be read.
pub fn cosine(one: &Table, other: &Table) -> Result<Value, Error> {
    let [a, b] = [&one.layer, &other.layer];
    if (a.rows, a.cols) != (b.rows, b.cols) {
        return Ok(Value::Missing(MissingReason::NoPartner));
    }
    let (mut products, mut squares) = (0.0, [0.0, 0.0]);
    for rows in a.blocks(BLOCK_BYTES) {
        let read = |table: &Table| Ok::<_, Error>(table.source.read(&table.layer, rows.clone())?.to_f64());
        let (x, y) = (read(one)?, read(other)?);
        for (x, y) in x.iter().zip(&y) {
            products += x * y;
            squares[0] += x * x;
            squares[1] += y * y;
        }
    }
    let lengths = squares[0].sqrt() * squares[1].sqrt();
    Ok(match () {
        () if squares.contains(&0.0) => Value::Missing(MissingReason::AllZero),
        () if squares.iter().any(|square| square.is_nan()) => Value::Missing(MissingReason::NonFinite),
        () if !lengths.is_finite() || !lengths.is_normal() => Value::Missing(MissingReason::Overflow),
        () => Value::real((products / lengths).clamp(-1.0, 1.0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_are_of_one_block_and_neighbors_of_one_role() {
        let name = "model.layers.9.self_attn.q_proj";
        assert_eq!(partner(name).as_deref(), Some("model.layers.9.self_attn.o_proj"));
        assert_eq!(next(name).as_deref(), Some("model.layers.10.self_attn.q_proj"));
        assert_eq!(partner("layers.0.attention.wv").as_deref(), Some("layers.0.attention.wk"));
        assert_eq!(partner("mlp.up_proj"), None);
        assert_eq!(next("lm_head"), None);
    }
}
