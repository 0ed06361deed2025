//! Attention heads: each key and value head with its query heads.

use std::path::Path;

use super::{Axis, Member, Queries, Roles, Search, Span, UnitGroup, UnitKind};
use crate::analysis::heads::{self, HeadTensor};
use crate::error::brief;

/// Model types whose heads are not alike: a slope or a table of positions belongs to each.
const UNLIKE: [&str; 5] = ["bloom", "mpt", "t5", "mt5", "umt5"];

impl Search<'_> {
    /// Adds the heads of all attention modules that are known.
    pub(super) fn heads(&mut self, path: &Path) {
        let has_heads =
            self.matrices.keys().any(|name| ["attn", "attention"].iter().any(|word| name.contains(word)));
        if !has_heads {
            return;
        }
        let left = "attention heads are left as they are";
        if let Some(model) = self.config.models.iter().find(|model| UNLIKE.contains(&model.as_str())) {
            self.notes
                .push(format!("{left}: those of model type {} have positions of their own", brief(model)));
            return;
        }
        if self.config.switch(&["alibi"]) == Some(true) {
            self.notes.push(format!("{left}: each has a slope of its own (ALiBi)"));
            return;
        }
        let modules = match heads::modules(path, self.source, self.config) {
            Ok(found) => found.modules,
            Err(error) => {
                let no_config =
                    "there is no `config.json` beside the weights that says how many there are".to_owned();
                let why = if self.config.models.is_empty() { no_config } else { error.to_string() };
                self.notes.push(format!("{left}: {why}"));
                return;
            }
        };
        for module in &modules {
            let Some(units) = module.units() else {
                self.notes.push(format!(
                    "heads of `{}` are left as they are: they share latent keys",
                    brief(&module.name)
                ));
                continue;
            };
            let names: Vec<String> =
                units.keys.iter().chain(&units.queries).map(|tensor| tensor.tensor.clone()).collect();
            // What is added to the stream has its length, which is often that of all heads.
            let biases =
                names.iter().filter_map(|name| Some(format!("{}bias", name.strip_suffix("weight")?)));
            let names: Vec<String> = names.iter().cloned().chain(biases).collect();
            let counts = [
                module.heads,
                module.kv_heads,
                module.heads * module.head_dim,
                module.kv_heads * module.head_dim,
                module.heads * module.value_dim,
            ];
            if let Some(stranger) = self.stranger(&format!("{}.", module.name), &names, &counts) {
                self.notes.push(format!(
                    "heads of `{}` are left as they are: how `{}` holds them is not known",
                    brief(&module.name),
                    brief(&stranger)
                ));
                continue;
            }
            let mut place = |tensors: &[HeadTensor]| -> Option<Vec<Member>> {
                let member = |tensor: &HeadTensor| {
                    let HeadTensor { first, period, count, .. } = *tensor;
                    let axis = if tensor.is_turned { Axis::Columns } else { Axis::Rows };
                    self.member(&tensor.tensor, axis, Span { first, period, count })
                };
                tensors.iter().map(member).collect()
            };
            if let (Some(members), Some(queries)) = (place(&units.keys), place(&units.queries)) {
                self.groups.push(UnitGroup {
                    name: module.name.clone(),
                    kind: UnitKind::Heads,
                    count: module.kv_heads,
                    members,
                    roles: Roles::default(),
                    queries: Some(Queries { each: module.heads / module.kv_heads, members: queries }),
                });
            }
        }
    }
}
