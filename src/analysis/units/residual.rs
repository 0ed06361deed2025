//! The coordinates of the residual stream: every tensor that reads it or writes into it.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Axis, Member, Roles, Search, Span, UnitGroup, UnitKind, UnitTensor};
use crate::error::{Error, brief};

/// Matrices beside MLPs and attention whose columns are the stream: embeddings, heads, routers.
const READERS: [&str; 14] = [
    "embed_tokens",
    "lm_head",
    "wte",
    "wpe",
    "embed_in",
    "embed_out",
    "word_embeddings",
    "position_embeddings",
    "embed_positions",
    "tok_embeddings",
    "output",
    "router",
    "gate",
    "shared_expert_gate",
];

/// Whether the last word of a tensor's name is one of these.
fn ends(name: &str, words: &[&str]) -> bool {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    words.contains(&stem.rsplit('.').next().unwrap_or_default())
}

/// What the first embedding is called.
const EMBEDDINGS: [&str; 5] = ["embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings"];

impl Search<'_> {
    /// The embedding of tokens.
    pub(super) fn embedding(&self) -> Option<(&String, &UnitTensor)> {
        self.known.iter().find(|(name, tensor)| !tensor.is_vector && ends(name, &EMBEDDINGS))
    }

    /// Adds the stream, once the neurons and heads of all blocks are there.
    ///
    /// # Errors
    /// When a tensor as wide as the stream is not known, or there is no embedding.
    pub(super) fn residual(&mut self, path: &Path) -> Result<(), Error> {
        let refuse = |reason: String| Err(Error::malformed(path, reason));
        let Some((_, embedding)) = self.embedding() else {
            return refuse("`--permute all` needs an embedding, which tells how wide the residual stream is; leave `all` out".to_owned());
        };
        let width = embedding.layer.cols;
        // Neurons and heads tell on which other side their matrices have the stream.
        let mut sides: BTreeMap<String, Axis> = BTreeMap::new();
        let mut writers: Vec<String> = vec![];
        for group in &self.groups {
            let members =
                group.members.iter().chain(group.queries.iter().flat_map(|queries| &queries.members));
            for member in members {
                let tensor = &self.tensors[member.tensor];
                if !tensor.is_vector {
                    sides.insert(tensor.layer.tensor.to_string(), member.side.other());
                    let stem = tensor.layer.tensor.strip_suffix(".weight").unwrap_or(&tensor.layer.tensor);
                    writers.push(format!("{stem}.bias"));
                }
            }
        }
        let mut found: Vec<(String, Axis)> = vec![];
        for info in self.source.tensors() {
            let name = info.name.to_string();
            if !info.shape.contains(&width) {
                continue;
            }
            let tensor = self.known.get(&name);
            let shape = tensor.map(|tensor| (tensor.layer.rows, tensor.layer.cols));
            let is_norm =
                |name: &str| ["norm", "ln_", ".ln", "ln1", "ln2"].iter().any(|word| name.contains(word));
            let side = match (tensor, sides.get(&name)) {
                (Some(_), Some(side)) => Some(*side),
                (Some(tensor), None) if tensor.is_vector && self.places.contains_key(&name) => continue,
                (Some(tensor), None) if tensor.is_vector => {
                    (is_norm(&name) || writers.contains(&name)).then_some(Axis::Rows)
                }
                (Some(_), None) => ends(&name, &READERS).then_some(Axis::Columns),
                (None, _) => None,
            };
            match side.filter(|side| shape.is_some_and(|shape| side.length(shape) == width)) {
                Some(side) => found.push((name, side)),
                None => {
                    return refuse(format!(
                        "`--permute all` does not know the role of `{}`, which has a side of {width}, as the residual stream; leave `all` out",
                        brief(&name)
                    ));
                }
            }
        }
        let members: Vec<Member> =
            found.iter().filter_map(|(name, side)| self.member(name, *side, Span::LINES)).collect();
        self.groups.push(UnitGroup {
            name: "residual".to_owned(),
            kind: UnitKind::Residual,
            count: width,
            members,
            roles: Roles::default(),
            queries: None,
        });
        Ok(())
    }
}
