//! A report of an earlier run, read back: names, hashes and numbers of matrices whose weights are not at hand.
//!
//! Nothing is guessed of a file that is damaged or not ours.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};

use crate::error::{Error, brief, printable};
use crate::layer::{Encoding, Layer, Part, natural};
use crate::matrix::Dtype;
use crate::report::{Column, Meaning, Places, Report, Resolution, Row, RowValues, SCHEMA, Skipped};

use crate::store::Location;
use crate::text::Text;

/// The longest report that is read: one of half a million matrices.
const LONGEST: u64 = 1_000_000_000;

/// A report of `svdkit`.
#[derive(Debug)]
pub struct Saved {
    /// The subcommand.
    pub command: String,
    /// The measured model, as typed.
    pub model: String,
    /// The base, if the numbers are of an update.
    pub base: Option<String>,
    /// The settings that decided the numbers.
    pub settings: BTreeMap<String, String>,
    /// The columns, in order.
    pub columns: Vec<&'static Column>,
    /// Its matrices, in natural name order.
    pub rows: Vec<SavedRow>,
    /// Its tensors that are not matrices.
    pub skipped: Vec<Skipped>,
    /// How many matrices and tensors it left out by filters.
    pub filtered: u64,
}

/// One matrix of a saved report.
#[derive(Debug)]
pub struct SavedRow {
    /// Its position in the model; there are no weights to read.
    pub layer: Layer,
    /// BLAKE3 of its bytes.
    pub blake3: Option<String>,
    /// The matrix that it is a copy of.
    pub tied_to: Option<Text>,
    /// Why it could not be measured, if it could not.
    pub failed: Option<String>,
    /// Whether its numbers are of an update, not of a whole weight.
    pub update: bool,
    /// How small a number its spectrum resolves, where the report says so.
    pub resolution: Option<Resolution>,
    /// Its numbers; none where it failed.
    pub values: RowValues,
    /// Entries, rows and columns that findings name.
    pub places: Places,
}

/// Whether the file at `path` may be a saved report: it begins like a JSON document and is not an index of shards.
pub fn is_saved(path: &Path) -> bool {
    let location = Location::disk(path);
    let index = location.name().ends_with(".index.json");
    // `open` reports a file that can't be opened.
    let start = if location.is_file() { location.head(64).unwrap_or_default() } else { vec![] };
    let json = start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    // The eight bytes that begin a safetensors file may happen to spell anything; its ninth is a brace.
    json && !index && start.get(8) != Some(&b'{')
}

impl Saved {
    /// Reads the report at `path`, whose columns mean what `meaning` says.
    ///
    /// # Errors
    /// If it can't be read, is damaged, is not svdkit's report, or has another schema.
    pub fn open(path: &Path, meaning: Meaning<'_>) -> Result<Self, Error> {
        let bytes = Location::disk(path).text("a report", LONGEST)?;
        let wrong = |reason: String| Error::malformed(path, reason);
        let json: Json = serde_json::from_slice(&bytes).map_err(|e| {
            let what = if e.is_eof() { "the report is cut short" } else { "is not valid JSON" };
            wrong(format!("{what}: {e}"))
        })?;
        let json = match json {
            Json::Object(json) if json.contains_key("svdkit") => json,
            _ => Map::new(),
        };
        match json.get("schema").and_then(Json::as_u64) {
            Some(schema) if (1..=u64::from(SCHEMA)).contains(&schema) => {}
            Some(schema) => {
                return Err(wrong(format!(
                    "is a report of schema {schema}, this program reads 1 to {SCHEMA}; write it again"
                )));
            }
            None => {
                return Err(wrong(
                    "is JSON, but not a report of svdkit; `svdkit spectrum MODEL -o FILE.json` writes one"
                        .to_owned(),
                ));
            }
        }
        if json.get("command").and_then(Json::as_str) == Some("inspect") {
            return Err(wrong(
                "lists tensors and measures none; write a report with `svdkit spectrum`".to_owned(),
            ));
        }
        let damaged = |what| wrong(format!("is a damaged report: {what}; write it again"));
        Self::of(Report::read(json, meaning).map_err(damaged)?).map_err(damaged)
    }

    /// The matrices, as if they were to be read.
    pub fn layers(&self) -> Vec<Layer> {
        self.rows.iter().map(|row| row.layer.clone()).collect()
    }
}

impl Saved {
    fn of(report: Report) -> Result<Self, String> {
        // Reports of pairs have a base, too, and rows that an adapter changed; their numbers are of both sides.
        let single = matches!(&*report.command, "spectrum" | "rank" | "farms" | "features");
        let of_update = |row: &Row| single && (report.base.is_some() || row.update.is_some());
        let updates: Vec<bool> = report.rows.iter().map(of_update).collect();
        let rows = report.rows.into_iter().zip(updates).map(|(row, update)| saved(row, update));
        let mut rows = rows.collect::<Result<Vec<_>, String>>()?;
        rows.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
        Ok(Self {
            command: report.command.to_string(),
            model: report.model.path,
            base: report.base.map(|base| base.path),
            settings: report.settings.into_iter().map(|(key, value)| (key.to_string(), value)).collect(),
            columns: report.columns,
            rows,
            skipped: report.skipped,
            filtered: report.totals.filtered,
        })
    }
}

fn saved(row: Row, update: bool) -> Result<SavedRow, String> {
    let wrong = |what: String| format!("row `{}`: {what}", brief(&row.name));
    let encoding = row
        .dequant
        .map(|scheme| Box::new(Encoding { stored: row.dtype.to_string(), scheme, bits: 0, epsilon: None }));
    let dtype = match &encoding {
        Some(_) => Dtype::F32,
        None => Dtype::parse(&row.dtype)
            .ok_or_else(|| wrong(format!("`{}` is not a type of weights", brief(&row.dtype))))?,
    };
    let size = |n: u64| usize::try_from(n).map_err(|_| wrong(format!("{n} is not a size")));
    let [rows, cols] = [size(row.shape[0])?, size(row.shape[1])?];
    let stored_shape =
        row.stored_shape.map(|shape| shape.into_iter().map(size).collect::<Result<Vec<_>, _>>());
    let stored_shape = stored_shape.transpose()?;
    let part = slice(&row.name, stored_shape.as_deref(), [rows, cols]);
    Ok(SavedRow {
        // One of a single model: other reports are not sides.
        resolution: row.resolution.into_iter().next(),
        values: row.values,
        // How it stood to another base is not how it stands to this one.
        places: Places { reordering: None, parts: None, ..row.places.into_inner() },
        failed: row.failed,
        blake3: row.blake3,
        tied_to: row.tied_to,
        update,
        layer: Layer {
            // As `layer` makes the names of weights, so that both are called the same.
            name: printable(&row.name).into(),
            tensor: row.tensor,
            part,
            stored_shape: stored_shape.unwrap_or_else(|| vec![rows, cols]),
            rows,
            cols,
            dtype,
            encoding,
            read_as: dtype,
            file: 0,
            offset: 0,
            rank: None,
            operands: None,
            order: 0,
            block: row.block,
            role: printable(&row.role).into(),
        },
    })
}

/// The slice of its stack that a row is, from its shape and the end of its name.
fn slice(name: &str, stored: Option<&[usize]>, shape: [usize; 2]) -> Part {
    let number = || name.rsplit_once('[')?.1.split(']').next()?.parse().ok();
    match stored {
        Some([_, rows, cols]) if [*rows, *cols] == shape => number().map_or(Part::Whole, Part::Slice),
        _ => Part::Whole,
    }
}
