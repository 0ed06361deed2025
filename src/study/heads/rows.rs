//! The rows of a study of heads before anything is read: one a head, or one a pair of heads.

use std::collections::BTreeSet;

use crate::analysis::heads::{Module, Modules};
use crate::checkpoint::Catalogue;
use crate::layer::{Filter, Layer, block_and_role, natural};
use crate::report::{Attention, Composition, Head, HeadPlace, Row, SkipKind, Skipped};
use crate::study::each::left_out;

/// Rows by the heads that they are about, made as they are asked for: filters may leave few of millions of pairs.
type Rows<'m> = Box<dyn Iterator<Item = ((usize, usize), Row)> + 'm>;

/// A task before filters: its modules, and its rows.
pub(super) type Planned<'m> = (usize, Option<usize>, Rows<'m>);

/// A row a head.
pub(super) fn singles(Modules { modules, .. }: &Modules) -> Vec<Planned<'_>> {
    let row = |module: &Module, head: usize| {
        let tensors = module.layers().into_iter().map(|layer| layer.tensor.to_string()).collect();
        let place = Head {
            layer: module.layer,
            head: head as u64,
            kv_head: module.kv_head(head) as u64,
            sigma_ov: vec![],
            sigma_qk: vec![],
            tensors,
            reach: None,
        };
        header(module, module.head(head), Attention::Head(place))
    };
    let each = |(i, module)| -> Planned<'_> {
        let module: &Module = module;
        (i, None, Box::new((0..module.heads).map(move |head| ((head, 0), row(module, head)))))
    };
    modules.iter().enumerate().map(each).collect()
}

/// A row a pair of heads in one stream, the first in an earlier block.
pub(super) fn pairs(Modules { modules, .. }: &Modules) -> Vec<Planned<'_>> {
    let place = |module: &Module, head: usize| HeadPlace {
        name: module.head(head),
        layer: module.layer,
        head: head as u64,
    };
    let mut planned = vec![];
    for (i, earlier) in modules.iter().enumerate() {
        for (j, later) in modules.iter().enumerate() {
            if earlier.stack != later.stack || earlier.width != later.width || earlier.layer >= later.layer {
                continue;
            }
            let row = move |(writer, reader): (usize, usize)| {
                let (first, second) = (place(earlier, writer), place(later, reader));
                let name = format!("{} → {}", first.name, second.name);
                let baseline = 1.0 / (earlier.width as f64).sqrt();
                let pair = Composition { earlier: first, later: second, baseline, components: None };
                Row { block: None, ..header(earlier, name, Attention::Composition(pair)) }
            };
            let both = (0..earlier.heads).flat_map(|w| (0..later.heads).map(move |r| (w, r)));
            let rows: Rows<'_> = Box::new(both.map(move |pair| (pair, row(pair))));
            planned.push((i, Some(j), rows));
        }
    }
    planned.sort_by_key(|(i, j, _)| (modules[*i].layer, *i, *j));
    planned
}

fn header(module: &Module, name: String, attention: Attention) -> Row {
    let layers = module.layers();
    let first: &Layer = layers[0];
    let (block, role) = block_and_role(&name);
    Row {
        tensor: first.tensor.clone(),
        block,
        role: role.into(),
        shape: [module.width as u64, module.head_dim as u64],
        dtype: first.stored_type().to_owned().into(),
        dequant: first.scheme().map(str::to_owned),
        attention: Some(Box::new(attention)),
        name: name.into(),
        ..Row::default()
    }
}

/// Whatever is no part of attention.
pub(super) fn skipped(source: &Catalogue, modules: &[Module]) -> Vec<Skipped> {
    let used: BTreeSet<&str> = modules
        .iter()
        .flat_map(|module| {
            module.layers().into_iter().map(|layer| layer.tensor.as_str()).chain(module.vectors())
        })
        .collect();
    let all = source.select(&Filter::default());
    let matrices = all.layers.iter().filter(|layer| !used.contains(layer.tensor.as_str()));
    let matrices = matrices.map(|layer| left_out(layer, SkipKind::Plain, "not a part of an attention head"));
    let others =
        all.skipped.iter().filter(|line| !used.contains(line.tensor.as_str())).map(|line| (**line).clone());
    let mut skipped: Vec<Skipped> = matrices.chain(others).collect();
    skipped.sort_by(|a, b| natural(&a.tensor, &b.tensor));
    skipped.dedup_by(|a, b| a.tensor == b.tensor);
    skipped
}
