//! Diffusers pipelines: a folder of components, each of them a checkpoint in a folder of its own.
//!
//! `model_index.json` says which there are; matrices are called by their component first, `unet.….to_q`.

use std::io::Read;
use std::path::{Component, Path};

use serde_json::{Map, Value};

use super::config::Config;
use super::stored::Parts;
use super::{Choice, FORMATS, Format, folder, input, probe};
use crate::error::{Error, brief};

/// The table entry.
pub(super) const FORMAT: Format = Format { name: "diffusers", sniff, parts };

const INDEX: &str = "model_index.json";

/// An index longer than this is not read; a real one has some hundred bytes.
const LONGEST: u64 = 1_000_000;

fn sniff(path: &Path, _: &Choice<'_>) -> bool {
    input::exists(&path.join(INDEX))
}

fn parts(path: &Path, choice: &Choice<'_>) -> Result<Parts, Error> {
    let listed = components(&path.join(INDEX))?;
    if let Some(unknown) = choice.components.iter().find(|name| !listed.contains(name)) {
        let reason = format!("has no component `{}`; it has {}", brief(unknown), folder::quoted(&listed));
        return Err(Error::malformed(path, reason));
    }
    let (mut all, mut varied) = (Parts::default(), false);
    for name in listed.iter().filter(|name| choice.components.is_empty() || choice.components.contains(name))
    {
        let Some(found) = component(path, name, choice)? else { continue };
        let quantization = Config::beside(&path.join(name))?.quantization;
        varied |= found.varied;
        for mut part in found.parts.parts {
            let called = |tensor: &str| format!("{name}.{tensor}");
            part.tensors.iter_mut().for_each(|tensor| tensor.name = called(&tensor.name));
            part.readings = part.readings.into_iter().map(|(of, reading)| (called(&of), reading)).collect();
            // What it says of its scales holds for none of the others.
            part.quantization = Some(quantization.clone());
            all.parts.push(part);
        }
        all.notes.extend(found.parts.notes);
    }
    match choice.variant {
        _ if all.parts.is_empty() => {
            Err(Error::malformed(path, format!("`{INDEX}` names no component that holds weights")))
        }
        Some(variant) if !varied => {
            let reason = format!("no component holds files of the variant `{}`", brief(variant));
            Err(Error::malformed(path, reason))
        }
        _ => Ok(all),
    }
}

/// What a component holds.
struct Found {
    parts: Parts,
    /// Whether they are of the variant that was asked for.
    varied: bool,
}

/// Opens the component `name`; none if it is of a kind that has no weights.
fn component(pipeline: &Path, name: &str, choice: &Choice<'_>) -> Result<Option<Found>, Error> {
    let folder = pipeline.join(name);
    let usual = Choice { variant: None, components: &[] };
    let opener = |choice: &Choice<'_>| {
        FORMATS.iter().find(|format| format.name != FORMAT.name && (format.sniff)(&folder, choice))
    };
    if let Some(format) = opener(choice) {
        let parts = (format.parts)(&folder, choice)?;
        return Ok(Some(Found { parts, varied: choice.variant.is_some() }));
    }
    if let Some(format) = opener(&usual) {
        let mut parts = (format.parts)(&folder, &usual)?;
        let variant = brief(choice.variant.unwrap_or_default());
        parts
            .notes
            .push(format!("`{name}` has no files of the variant `{variant}`; its usual ones were taken"));
        return Ok(Some(Found { parts, varied: false }));
    }
    // Tokenizers, schedulers and the like have settings of other names.
    let lacking = !folder.is_dir() || folder.join("config.json").exists();
    if lacking || choice.components.iter().any(|wanted| wanted == name) {
        let others = "`--component NAME` looks at one that is there";
        let reason = format!("component `{name}` of `{INDEX}` holds no weights; download it, or {others}");
        return Err(Error::malformed(pipeline, reason));
    }
    Ok(None)
}

/// The components that an index names, in its order.
fn components(index: &Path) -> Result<Vec<String>, Error> {
    probe::check(index)?;
    let file = input::open(index)?;
    let mut text = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut text).map_err(|e| Error::io(index, "cannot read", e))?;
    if text.len() as u64 > LONGEST {
        return Err(Error::malformed(index, format!("an index of more than {LONGEST} bytes is not read")));
    }
    let entries: Map<String, Value> = serde_json::from_slice(&text)
        .map_err(|e| Error::malformed(index, format!("not a valid index: {}", brief(&e.to_string()))))?;
    // A library and a class; both null for what this pipeline does without.
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
            Err(Error::malformed(index, format!("component `{}` lies outside the folder", brief(outside))))
        }
        None => Ok(names),
    }
}
