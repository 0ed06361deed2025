//! `svdkit inspect`: the contents of a checkpoint, from headers alone.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::analysis::inventory::{self, inventory};
use crate::checkpoint;
use crate::error::Error;
use crate::render::inventory::{FORMATS, write};
use crate::render::{OutputFormat, Paint, TableStyle};
use crate::report::{Inventory, SCHEMA};

use super::Status;
use super::model::Model;
use super::options::{FormatName, ReadingOptions, formulas, set_color, table_style};
use super::outputs::Outputs;
use super::stdout;
use super::values::{When, filter};

/// Lists the tensors of a checkpoint by pattern, with sizes, what becomes of each and why, its files, and the settings
/// beside it. Reads headers only.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A checkpoint or an adapter: a file, a folder, or a model in the Hugging Face cache (ORG/NAME or ORG/NAME@REV)
    model: PathBuf,
    /// The base of an adapter
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    base: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    /// Only matrices whose name matches, as in '*.mlp.*'; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
    include: Vec<String>,
    /// Leave out matrices whose name matches, as in 'lm_head'; may be repeated
    #[arg(long, value_name = "GLOB", help_heading = "Input")]
    exclude: Vec<String>,
    /// What stdout gets: table, json, jsonl, csv or markdown
    #[arg(long, value_name = "FORMAT", value_parser = format, default_value = "table", help_heading = "Output")]
    format: FormatName,
    /// Also write it to FILE, in the format of its extension; may be repeated
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    output: Vec<PathBuf>,
    /// Don't put ' before CSV text that a spreadsheet would take for a formula
    #[arg(long, help_heading = "Output")]
    csv_raw: bool,
    /// When to use color
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto, help_heading = "Output")]
    color: When,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    set_color(Some(arguments.color));
    let filter = filter(&arguments.include, &arguments.exclude)?;
    let mut outputs = Outputs::new(&arguments.output)?;
    if outputs.formats().any(|format| !FORMATS.contains(&format)) {
        return Err(Error::Usage("`inspect` writes txt, json, jsonl, csv and md".to_owned()));
    }
    let opening = arguments.reading.opening()?;
    let base = arguments.base.as_deref().map(|base| Model::open(base, &opening.of_base())).transpose()?;
    let opening = checkpoint::Opening { base: base.map(|base| base.source), ..opening };
    let model = Model::open(&arguments.model, &opening)?;
    let inventory::Inventory { patterns, totals, adapter } = inventory(model.source.as_ref(), &filter);
    let config = crate::format::config_summary(&model.location);
    outputs.create()?;
    let inventory = Inventory {
        schema: SCHEMA,
        svdkit: env!("CARGO_PKG_VERSION"),
        command: "inspect",
        config,
        model: model.origin,
        adapter,
        patterns,
        totals,
    };
    let style = TableStyle { formulas: formulas(arguments.csv_raw), ..table_style() };
    let plain = TableStyle { paint: Paint::Plain, ..style.clone() };
    let holds = |_| format!("{} patterns of tensors", inventory.patterns.len());
    outputs.write_reports(&holds, &|format, out| write(&inventory, format, &plain, out));
    stdout::write(|out| write(&inventory, arguments.format.into(), &style, out))?;
    Ok(outputs.status(Status::Fine))
}

/// One of the formats that an inventory can be written in.
fn format(text: &str) -> Result<FormatName, String> {
    let format = FormatName::from_str(text, false).ok();
    let known = format.filter(|format| FORMATS.contains(&OutputFormat::from(*format)));
    known.ok_or_else(|| "known are table, json, jsonl, csv and markdown".to_owned())
}
