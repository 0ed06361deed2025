//! A report of an earlier run, read back: names, hashes and numbers of matrices whose weights are not at hand.
//!
//! Only what `docs/report.md` promises is read, and all of it must be there; nothing is guessed of a file that is damaged
//! or not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::error::{Error, brief, printable};
use crate::layer::{Encoding, Layer, Part, natural};
use crate::matrix::Dtype;
use crate::report::{MissingReason, SCHEMA, SkipKind, Skipped, SkippedContent, Value};
use crate::store::Location;

/// The longest report that is read: one of half a million matrices.
const LONGEST: u64 = 1_000_000_000;

/// A report of `svdkit`.
#[derive(Debug)]
pub struct Saved {
    /// Version of the program that wrote it.
    pub svdkit: String,
    /// The subcommand.
    pub command: String,
    /// What was measured, as it was typed.
    pub model: String,
    /// What the numbers are an update to, if they are of one.
    pub base: Option<String>,
    /// What decided the numbers.
    pub settings: BTreeMap<String, String>,
    /// Keys of the columns, in order.
    pub columns: Vec<String>,
    /// Its matrices, in natural name order.
    pub rows: Vec<SavedRow>,
    /// Its tensors that are no matrices.
    pub skipped: Vec<Skipped>,
    /// How many matrices and tensors it left out by filters.
    pub filtered: u64,
}

/// One matrix of a saved report.
#[derive(Debug)]
pub struct SavedRow {
    /// Its place in the model; there are no weights to be read.
    pub layer: Layer,
    /// BLAKE3 of its bytes.
    pub blake3: Option<String>,
    /// The matrix that it is a copy of.
    pub tied_to: Option<String>,
    /// Why it could not be measured, if it could not.
    pub failed: Option<String>,
    /// Whether its numbers are those of an update, not of a whole weight.
    pub update: bool,
    /// Its numbers by key, in the order of the columns; none where it failed.
    pub values: Vec<(String, Value)>,
}

#[derive(Deserialize)]
struct File {
    svdkit: String,
    command: String,
    model: Origin,
    base: Option<Origin>,
    settings: BTreeMap<String, String>,
    columns: Vec<String>,
    rows: Vec<Row>,
    skipped: Vec<NoMatrix>,
    totals: Totals,
}

#[derive(Deserialize)]
struct Origin {
    path: String,
}

#[derive(Deserialize)]
struct Totals {
    filtered: u64,
}

#[derive(Deserialize)]
struct NoMatrix {
    tensor: String,
    shape: Vec<u64>,
    dtype: String,
    reason: String,
    #[serde(default)]
    kind: SkipKind,
    blake3: Option<String>,
    nonfinite_count: Option<u64>,
    unseen: Option<String>,
    failed: Option<String>,
    scales: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    tensor: String,
    block: Option<u64>,
    role: String,
    shape: [usize; 2],
    stored_shape: Option<Vec<usize>>,
    dtype: String,
    dequant: Option<String>,
    blake3: Option<String>,
    tied_to: Option<String>,
    failed: Option<String>,
    update: Option<Json>,
    #[serde(default)]
    missing: BTreeMap<String, String>,
    #[serde(default)]
    missing_codes: BTreeMap<String, String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Json>,
}

/// Whether the file at `path` may be a saved report: it begins like a JSON document and is no index of shards.
pub fn is_saved(path: &Path) -> bool {
    let location = Location::disk(path);
    let index = location.name().ends_with(".index.json");
    // What cannot be opened is for `open` to complain about.
    let start = if location.is_file() { location.head(64).unwrap_or_default() } else { vec![] };
    let json = start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    // The eight bytes that begin a safetensors file may happen to spell anything; its ninth is a brace.
    json && !index && start.get(8) != Some(&b'{')
}

impl Saved {
    /// Reads the report at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, is no report of ours, or is of another schema.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let bytes = Location::disk(path).text("a report", LONGEST)?;
        let wrong = |reason: String| Error::malformed(path, reason);
        let json: Json = serde_json::from_slice(&bytes).map_err(|e| {
            let what = if e.is_eof() { "the report is cut short" } else { "is not valid JSON" };
            wrong(format!("{what}: {e}"))
        })?;
        match (json.get("schema").and_then(Json::as_u64), json.get("svdkit").is_some()) {
            (Some(schema), true) if schema == u64::from(SCHEMA) => {}
            (Some(schema), true) => {
                return Err(wrong(format!(
                    "is a report of schema {schema}, this program reads {SCHEMA}; write it again"
                )));
            }
            _ => {
                return Err(wrong(
                    "is JSON, but no report of svdkit; `svdkit spectrum MODEL -o FILE.json` writes one"
                        .to_owned(),
                ));
            }
        }
        if json.get("command").and_then(Json::as_str) == Some("inspect") {
            return Err(wrong(
                "lists tensors and measures none; write a report with `svdkit spectrum`".to_owned(),
            ));
        }
        let file: File = serde_json::from_value(json)
            .map_err(|e| wrong(format!("is a damaged report: {e}; write it again")))?;
        file.check().map_err(|what| wrong(format!("is a damaged report: {what}; write it again")))
    }

    /// The matrices, as if they were to be read.
    pub fn layers(&self) -> Vec<Layer> {
        self.rows.iter().map(|row| row.layer.clone()).collect()
    }
}

impl File {
    fn check(self) -> Result<Saved, String> {
        let columns = self.columns;
        // They become keys of another report and words of its rules.
        if let Some(odd) = columns.iter().chain(self.settings.keys()).find(|key| !is_key(key)) {
            return Err(format!("`{}` is no name of a column or a setting", brief(odd)));
        }
        let mut names = BTreeSet::new();
        // Reports of pairs have a base, too, and rows that an adapter changed; their numbers are of both sides.
        let single = matches!(self.command.as_str(), "spectrum" | "rank" | "farms");
        let updates = self.base.is_some() && single;
        let checked = |row: Row| {
            let update = updates || (row.update.is_some() && single);
            Ok(SavedRow { update, ..row.check(&columns)? })
        };
        let mut rows = self.rows.into_iter().map(checked).collect::<Result<Vec<_>, String>>()?;
        if let Some(row) = rows.iter().find(|row| !names.insert(row.layer.name.clone())) {
            return Err(format!("two rows are called `{}`", brief(&row.layer.name)));
        }
        rows.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
        let skipped = self.skipped.into_iter();
        Ok(Saved {
            svdkit: self.svdkit,
            command: self.command,
            model: self.model.path,
            base: self.base.map(|base| base.path),
            settings: self.settings,
            columns,
            rows,
            skipped: skipped.map(NoMatrix::skipped).collect(),
            filtered: self.totals.filtered,
        })
    }
}

/// Whether `key` is a word as svdkit writes them: `alpha_change@first.run#2`.
fn is_key(key: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || "_.-@#%".contains(c);
    key.starts_with(|c: char| c.is_alphabetic() || c == '_') && key.chars().all(inner)
}

impl NoMatrix {
    fn skipped(self) -> Skipped {
        let nonfinite_count = self.nonfinite_count;
        Skipped {
            tensor: self.tensor,
            shape: self.shape,
            dtype: self.dtype,
            reason: self.reason,
            kind: self.kind,
            content: self.blake3.map(|blake3| SkippedContent { blake3, nonfinite_count }),
            unseen: self.unseen,
            failed: self.failed,
            scales: self.scales,
        }
    }
}

impl Row {
    fn check(self, columns: &[String]) -> Result<SavedRow, String> {
        let wrong = |what: String| format!("row `{}`: {what}", brief(&self.name));
        let stored = self.dtype.clone();
        let encoding = self.dequant.clone().map(|scheme| Encoding { stored, scheme, bits: 0, epsilon: None });
        let dtype = match &encoding {
            Some(_) => Dtype::F32,
            None => Dtype::parse(&self.dtype)
                .ok_or_else(|| wrong(format!("`{}` is no type of weights", brief(&self.dtype))))?,
        };
        let value = |key: &String| match self.rest.get(key) {
            Some(Json::Number(n)) => n
                .as_u64()
                .map(Value::Count)
                .or_else(|| n.as_f64().map(Value::real))
                .ok_or_else(|| wrong(format!("`{key}` is {n}"))),
            Some(Json::Null) => {
                let code = self.missing_codes.get(key).and_then(|code| MissingReason::of_code(code));
                let why = self.missing.get(key).and_then(|words| reason(words)).or(code);
                why.map(Value::Missing)
                    .ok_or_else(|| wrong(format!("`{key}` is missing without a known reason")))
            }
            _ => Err(wrong(format!("lacks the number `{}`", brief(key)))),
        };
        let values = match &self.failed {
            Some(_) => {
                columns.iter().map(|key| (key.clone(), Value::Missing(MissingReason::Failed))).collect()
            }
            None => {
                columns.iter().map(|key| Ok((key.clone(), value(key)?))).collect::<Result<_, String>>()?
            }
        };
        let [rows, cols] = self.shape;
        let part = slice(&self.name, self.stored_shape.as_deref(), self.shape);
        Ok(SavedRow {
            values,
            failed: self.failed,
            blake3: self.blake3,
            tied_to: self.tied_to,
            update: self.update.is_some(),
            layer: Layer {
                // As `layer` makes the names of weights, so that both are called the same.
                name: printable(&self.name),
                tensor: self.tensor,
                part,
                stored_shape: self.stored_shape.unwrap_or_else(|| vec![rows, cols]),
                rows,
                cols,
                dtype,
                encoding,
                read_as: dtype,
                file: 0,
                offset: 0,
                rank: None,
                order: 0,
                block: self.block,
                role: printable(&self.role),
            },
        })
    }
}

/// The reason that is written as `words`.
fn reason(words: &str) -> Option<MissingReason> {
    match words {
        // As reports were written before.
        "the result does not fit a double" => Some(MissingReason::Overflow),
        _ => MissingReason::ALL.iter().copied().find(|reason| reason.to_string() == words),
    }
}

/// Which slice of its stack a row is: its shape and the end of its name tell.
fn slice(name: &str, stored: Option<&[usize]>, shape: [usize; 2]) -> Part {
    let number = || name.rsplit_once('[')?.1.split(']').next()?.parse().ok();
    match stored {
        Some([_, rows, cols]) if [*rows, *cols] == shape => number().map_or(Part::Whole, Part::Slice),
        _ => Part::Whole,
    }
}
