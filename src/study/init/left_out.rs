//! The matrices that get no adapter, and why.

use super::InitRequest;
use crate::error::quoted;

/// Matrices that get no adapter.
#[derive(Default)]
pub(super) struct LeftOut {
    /// No linear layers in numbered blocks, or not among the targets.
    pub(super) others: Vec<String>,
    /// Linear layers that are stored as factors or in a stack: no module has such a weight.
    pub(super) in_parts: Vec<String>,
    /// Linear layers with fewer directions than the rank, and how many.
    pub(super) small: Vec<(String, usize)>,
}

impl LeftOut {
    /// Why there is no module at all; `original` is whether another model has to have them, too.
    pub(super) fn reason(&self, request: &InitRequest, original: bool) -> String {
        let (rank, method) = (request.setup.rank, request.setup.method.name());
        match self {
            Self { small, .. } if !small.is_empty() => {
                let most = small.iter().map(|(_, most)| *most).max().unwrap_or(0);
                format!(
                    "has no linear layer with room for rank {rank}; with {method} `--rank` can be {most} at most"
                )
            }
            Self { in_parts, .. } if !in_parts.is_empty() => {
                let named = quoted(in_parts);
                format!(
                    "stores its linear layers as factors or in stacks, which are no modules of their own: {named}"
                )
            }
            _ if original => {
                "has no linear layer in a numbered block of the shape that `--original` has".to_owned()
            }
            _ => "holds no linear layer in a numbered block; `--target GLOB` names others".to_owned(),
        }
    }

    /// What is said of them beside an adapter that was written.
    pub(super) fn notes(&self, rank: usize) -> Vec<String> {
        let small: Vec<String> = self.small.iter().map(|(name, _)| name.clone()).collect();
        let others = "not initialized (not a linear layer in a numbered block, or not in `--target`)";
        let lists = [
            (&small, format!("no room for rank {rank}, so left out")),
            (&self.in_parts, "stored as factors or in a stack, so left out".to_owned()),
            (&self.others, others.to_owned()),
        ];
        let told = lists.into_iter().filter(|(names, _)| !names.is_empty());
        told.map(|(names, what)| format!("{what}: {}", quoted(names))).collect()
    }
}
