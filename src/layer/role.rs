//! What a name says of a matrix's place in its model: the block, the role, the peers.

use crate::text::Text;

/// Block number and role: `model.layers.3.mlp.up_proj` is block 3, role `mlp.up_proj`; without a number the whole name is the role.
pub fn block_and_role(name: &str) -> (Option<u64>, &str) {
    let mut rest = Some(name);
    while let Some(text) = rest {
        let part;
        (part, rest) = text.split_once('.').map_or((text, None), |(part, rest)| (part, Some(rest)));
        if let Ok(block) = part.parse::<u64>() {
            return (Some(block), rest.unwrap_or(name));
        }
    }
    (None, name)
}

/// The same of a text that is held: the role is a part of it.
pub fn place_of(name: &Text) -> (Option<u64>, Text) {
    let (block, role) = block_and_role(name);
    (block, name.part(role))
}

/// A name with its block number replaced, and nothing else: other numbers tell apart what does different things.
pub fn without_block(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(block) = parts.iter_mut().find(|part| part.parse::<u64>().is_ok()) {
        *block = "*";
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_a_name_without_its_block_and_nothing_else() {
        assert_eq!(without_block("model.layers.3.experts.7.up"), "model.layers.*.experts.7.up");
        assert_eq!(without_block("encoder_layers.0.W11"), "encoder_layers.*.W11");
        assert_eq!(without_block("lm_head"), "lm_head");
    }
}
