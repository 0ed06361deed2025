//! The options of the Python package, `src/python/svdkit/_options.py`, from the same definitions as the help.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroUsize;

use clap::{Arg, ArgAction, Command};

use super::{Status, print};
use crate::error::Error;

/// The commands that give a report on models.
const COMMANDS: [&str; 10] = [
    "spectrum",
    "compare",
    "series",
    "intruders",
    "rank",
    "farms",
    "heads",
    "features",
    "lineage",
    "scaling",
];
/// Options that make no sense where the result is an object.
const LEFT_OUT: [&str; 6] = ["format", "dry-run", "color", "partition", "help", "version"];
/// Options that take a model.
const MODELS: [&str; 2] = ["base", "adapter-init"];

const HEAD: &str = "\
\"\"\"The options of the commands, by the types that they take. Written by `svdkit python-options`; a test compares.\"\"\"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypedDict, Union

if TYPE_CHECKING:
    from svdkit._tensors import Model

Text = Union[str, \"PathLike[str]\"]
";

/// Writes the module to stdout.
pub(super) fn run(mut command: Command) -> Result<Status, Error> {
    command.build();
    let find = |name| command.get_subcommands().find(|command| command.get_name() == name);
    let commands: Vec<_> =
        COMMANDS.into_iter().filter_map(find).map(|c| (c.get_name(), options(c))).collect();
    let shared: BTreeMap<_, _> = commands.first().map_or_else(BTreeMap::new, |(_, first)| {
        let everywhere = |(name, text): &(&String, &String)| {
            commands.iter().all(|(_, options)| options.get(*name) == Some(text))
        };
        first.iter().filter(everywhere).map(|(name, text)| (name.clone(), text.clone())).collect()
    });
    let mut module = HEAD.to_owned();
    class(&mut module, "CommonOptions", "TypedDict, total=False", "Those of every command.", shared.values());
    for (name, options) in &commands {
        let own = options.iter().filter(|(name, _)| !shared.contains_key(*name)).map(|(_, text)| text);
        let title = format!("{}{}Options", name[..1].to_uppercase(), &name[1..]);
        class(&mut module, &title, "CommonOptions, total=False", &format!("Those of `svdkit {name}`."), own);
    }
    print(module.as_bytes())?;
    Ok(Status::Fine)
}

fn class<'o>(
    module: &mut String,
    name: &str,
    base: &str,
    about: &str,
    options: impl Iterator<Item = &'o String>,
) {
    let _ = write!(module, "\n\nclass {name}({base}):\n    \"\"\"{about}\"\"\"\n");
    options.for_each(|option| module.push_str(option));
}

/// Each option of `command`, as a field with its help.
fn options(command: &Command) -> BTreeMap<String, String> {
    let typed = command.get_arguments().filter(|arg| !arg.is_positional() && !arg.is_hide_set());
    let field = |arg: &Arg| {
        let short = || arg.get_short().map(|short| short.to_string());
        let name = arg.get_long().map(str::to_owned).or_else(short)?;
        if LEFT_OUT.contains(&name.as_str()) {
            return None;
        }
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let help = help.replace('\\', "\\\\").replace('"', "'");
        let (key, kind) = (name.replace('-', "_"), kind(arg, &name));
        Some((key.clone(), format!("\n    {key}: {kind}\n    \"\"\"{help}.\"\"\"\n")))
    };
    typed.filter_map(field).collect()
}

/// The Python type of an option's value.
fn kind(arg: &Arg, name: &str) -> String {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return "bool".to_owned();
    }
    let id = arg.get_value_parser().type_id();
    let is = |other: TypeId| id == other;
    let choices: Vec<_> = arg.get_possible_values().iter().map(|v| format!("\"{}\"", v.get_name())).collect();
    let counts = [TypeId::of::<usize>(), TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>()];
    let one = match () {
        () if name == "tuned" => return "Model | Sequence[Model] | Mapping[str, Model]".to_owned(),
        () if MODELS.contains(&name) => "Model".to_owned(),
        () if !choices.is_empty() => format!("Literal[{}]", choices.join(", ")),
        () if is(TypeId::of::<f64>()) => "float | str".to_owned(),
        () if name == "memory" => "int | str".to_owned(),
        () if is(TypeId::of::<NonZeroUsize>()) || counts.into_iter().any(is) => "int".to_owned(),
        () => "Text".to_owned(),
    };
    let optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    let one = if optional { format!("bool | {one}") } else { one };
    if matches!(arg.get_action(), ArgAction::Append) { format!("{one} | Sequence[{one}]") } else { one }
}
