//! Diffusers pipelines: a folder of components, each of them a checkpoint in a folder of its own.
//!
//! `model_index.json` says which there are; matrices are called by their component first, `unet.….to_q`.

use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::candidate::{Candidate, CandidateKind, Choice};
use super::config::Quantization;
use super::parts::Parts;
use super::{FORMATS, Format, config, presence};
use crate::error::{Error, brief, quoted};
use crate::store::Location;

/// The table entry.
pub(crate) const FORMAT: Format = Format::read("diffusers", &[], sniff, parts);

const INDEX: &str = "model_index.json";

/// An index longer than this is not read; a real one has some hundred bytes.
const LONGEST: u64 = 1_000_000;

fn sniff(candidate: &Candidate<'_>) -> bool {
    matches!(candidate.content, CandidateKind::Folder(_)) && candidate.location.join(INDEX).is_named()
}

fn parts(pipeline: &Candidate<'_>) -> Result<Parts, Error> {
    let (location, choice) = (pipeline.location, pipeline.choice);
    let listed = components(&location.join(INDEX))?;
    if let Some(unknown) = choice.components.iter().find(|name| !listed.contains(name)) {
        let reason = format!("has no component `{}`; it has {}", brief(unknown), quoted(&listed));
        return Err(location.malformed(reason));
    }
    let (mut all, mut varied) = (Parts::default(), false);
    for name in listed.iter().filter(|name| choice.components.is_empty() || choice.components.contains(name))
    {
        let folder = location.join(name);
        let Some(found) = component(&Candidate::of(&folder, choice), name, location)? else { continue };
        varied |= found.varied;
        for mut part in found.parts.parts {
            let called = |tensor: &str| format!("{name}.{tensor}");
            part.tensors.iter_mut().for_each(|tensor| tensor.name = called(&tensor.name).into());
            part.layouts = part.layouts.into_iter().map(|(of, layout)| (called(&of), layout)).collect();
            // Its quantization settings apply to no other component.
            part.quantization = Some(found.quantization.clone());
            all.parts.push(part);
        }
        all.notes.extend(found.parts.notes);
    }
    match choice.variant {
        _ if all.parts.is_empty() => {
            Err(location.malformed(format!("`{INDEX}` names no component that holds weights")))
        }
        Some(variant) if !varied => {
            Err(location.malformed(format!("no component holds files of the variant `{}`", brief(variant))))
        }
        _ => Ok(all),
    }
}

/// The contents of a component.
struct ComponentFiles {
    parts: Parts,
    /// Whether they are of the variant that was asked for.
    varied: bool,
    /// How its own configuration says that it is quantized.
    quantization: Quantization,
}

/// Opens the component `name` of `pipeline`; none if it is of a kind that has no weights.
fn component(
    folder: &Candidate<'_>,
    name: &str,
    pipeline: &Location,
) -> Result<Option<ComponentFiles>, Error> {
    let choice = folder.choice;
    let usual = folder.chosen(Choice { variant: None, components: &[] });
    let open = |candidate: &Candidate<'_>| {
        let format = FORMATS.iter().find(|format| format.name != FORMAT.name && format.sniffs(candidate))?;
        Some(format.parts(candidate).and_then(|parts| Ok((parts, candidate.config()?.quantization.clone()))))
    };
    if let Some(opened) = open(folder) {
        let (parts, quantization) = opened?;
        return Ok(Some(ComponentFiles { parts, varied: choice.variant.is_some(), quantization }));
    }
    if let Some(opened) = open(&usual) {
        let (mut parts, quantization) = opened?;
        let variant = brief(choice.variant.unwrap_or_default());
        parts
            .notes
            .push(format!("`{name}` has no files of the variant `{variant}`; its usual ones were taken"));
        return Ok(Some(ComponentFiles { parts, varied: false, quantization }));
    }
    // Tokenizers, schedulers and the like have settings of other names.
    let lacking = !folder.location.is_folder() || folder.location.join(config::NAME).exists();
    if lacking || choice.components.iter().any(|wanted| wanted == name) {
        let others = "`--component NAME` looks at one that is there";
        let reason = format!("component `{name}` of `{INDEX}` holds no weights; download it, or {others}");
        return Err(pipeline.malformed(reason));
    }
    Ok(None)
}

/// The components that an index names, in its order.
fn components(index: &Location) -> Result<Vec<String>, Error> {
    presence::check(index)?;
    let entries: Map<String, Value> = serde_json::from_slice(&index.text("an index", LONGEST)?)
        .map_err(|e| index.malformed(format!("not a valid index: {}", brief(&e.to_string()))))?;
    // A library and a class; both null for an absent component.
    let is_component = |value: &Value| {
        let Value::Array(pair) = value else { return false };
        matches!(&pair[..], [Value::String(_), Value::String(_)])
    };
    let names = entries.into_iter().filter(|(_, value)| is_component(value)).map(|(name, _)| name);
    let names: Vec<String> = names.filter(|name| !name.starts_with('_')).collect();
    let stays = |name: &&String| {
        let mut parts = Path::new(name.as_str()).components();
        let inside = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
        inside && !name.contains(['\\', '/'])
    };
    match names.iter().find(|name| !stays(name)) {
        Some(outside) => {
            Err(index.malformed(format!("component `{}` lies outside the folder", brief(outside))))
        }
        None => Ok(names),
    }
}
