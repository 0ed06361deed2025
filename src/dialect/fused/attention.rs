//! Queries, keys and values that one tensor holds, as matrices of their own.

use std::path::Path;

use super::layouts::{ATTENTION, Attention, Axes, HEADS, KEY_VALUE_HEADS, Order, WIDTH};
use super::{Outputs, owner};
use crate::error::Error;
use crate::format::Config;
use crate::layer::{Layer, Part};
use crate::weight::{Runs, Weight};

/// Names of the parts.
const PARTS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// The parts of `layer`, if it holds queries, keys and values.
///
/// # Errors
/// If it seems fused and the model's layout is unknown, or its configuration does not fit.
pub(super) fn parts(
    path: &Path,
    outputs: &Outputs<'_>,
    config: &Config,
) -> Result<Option<Vec<Weight>>, Error> {
    let layer = outputs.layer;
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    if layer.part != Part::Whole || !ATTENTION.iter().any(|known| last(known.ending) == last(&layer.name)) {
        return Ok(None);
    }
    let of_model = |known: &&Attention| config.models.iter().any(|model| model == known.model);
    let known = ATTENTION.iter().filter(of_model).find(|known| owner(&layer.name, known.ending).is_some());
    let fail = |reason: String| Err(Error::tensor(path, &layer.tensor, reason));
    let Some(known) = known else {
        let models: Vec<&str> = ATTENTION.iter().map(|known| known.model).collect();
        let model = config.models.first().map_or("unknown", String::as_str);
        return fail(format!(
            "how its queries, keys and values lie is known for model types {}, and this one is {}; leave out `--split-qkv`",
            models.join(", "),
            crate::error::brief(model)
        ));
    };
    match split(outputs, known, config) {
        Some(parts) => Ok(Some(parts)),
        None => fail(format!(
            "{} × {} does not fit the heads that `config.json` tells of; leave out `--split-qkv`",
            layer.rows, layer.cols
        )),
    }
}

fn split(of: &Outputs<'_>, known: &Attention, config: &Config) -> Option<Vec<Weight>> {
    let layer: &Layer = of.layer;
    let (inputs, outputs) = match known.axes {
        Axes::OutIn => (layer.cols, layer.rows),
        Axes::InOut => (layer.rows, layer.cols),
    };
    let width = config.number(&WIDTH).filter(|width| *width == inputs)?;
    let heads = config.number(&HEADS)?;
    let of_keys = config.number(&KEY_VALUE_HEADS).unwrap_or(heads);
    let head = config.number(&["head_dim"]).or_else(|| width.is_multiple_of(heads).then(|| width / heads))?;
    let all = of_keys.checked_mul(2)?.checked_add(heads)?.checked_mul(head)?;
    if all != outputs || (known.order == Order::ByHead && of_keys != heads) {
        return None;
    }
    let (queries, keys) = (heads * head, of_keys * head);
    let stem = &layer.name[..layer.name.rfind('.').map_or(0, |dot| dot + 1)];
    let spans = match known.order {
        Order::ByKind => [(0, queries), (queries, keys), (queries + keys, keys)]
            .map(|(first, count)| (first, count, count, count)),
        Order::ByHead => [0, head, 2 * head].map(|first| (first, head, 3 * head, queries)),
    };
    let parts = PARTS.iter().zip(spans).map(|(name, (first, run, period, count))| {
        of.weight(&format!("{stem}{name}"), known.axes, Runs { first, run, period, count })
    });
    Some(parts.collect())
}
