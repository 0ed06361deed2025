//! A report as findings see it: one model, or each tuned side of a comparison, with the matrices that take part.

use crate::report::{Report, Row, Standing, Value};

use super::Of;

/// A matrix of a report, seen from one side.
#[derive(Clone)]
pub(super) struct Matrix<'r> {
    pub(super) row: &'r Row,
    /// What its columns carry, where there are several sides.
    suffix: String,
}

/// A model, or a tuned side of a comparison.
pub(super) struct ModelSide<'r> {
    pub(super) report: &'r Report,
    name: Option<String>,
    suffix: String,
    weights: Vec<Matrix<'r>>,
    updates: Vec<Matrix<'r>>,
    pairs: Vec<Matrix<'r>>,
    heads: Vec<Matrix<'r>>,
    /// Rows of a comparison that are not matrices.
    others: Vec<Matrix<'r>>,
}

/// The sides of a report, in its order.
pub(super) fn sides(report: &Report) -> Vec<ModelSide<'_>> {
    let names: Vec<Option<String>> = if report.tuned.is_empty() {
        vec![None]
    } else {
        report.tuned.iter().map(|named| Some(named.name.clone())).collect()
    };
    names.into_iter().map(|name| ModelSide::new(report, name)).collect()
}

impl<'r> ModelSide<'r> {
    fn new(report: &'r Report, name: Option<String>) -> Self {
        let suffix = name.as_ref().map_or_else(String::new, |name| format!("@{name}"));
        let compares = report.totals.compared.is_some();
        let mut side = Self {
            report,
            name,
            suffix,
            weights: vec![],
            updates: vec![],
            pairs: vec![],
            heads: vec![],
            others: vec![],
        };
        for row in report.rows.iter().filter(|row| row.failed.is_none() && !row.values.is_empty()) {
            let matrix = Matrix { row, suffix: side.suffix.clone() };
            let is_vector = row.stored_shape.as_ref().is_some_and(|shape| shape.len() < 2);
            match () {
                () if row.attention.is_some() => side.heads.extend(matrix.is_head().then_some(matrix)),
                () if compares && is_vector => side.others.push(matrix),
                () if compares => {
                    // What a finding says of other weights, it says of the base.
                    if !matches!(matrix.standing(), Some(Standing::Unchanged | Standing::Removed)) {
                        side.weights.push(matrix.clone());
                    }
                    side.pairs.push(matrix);
                }
                // A comparison measures what an adapter makes of its base; other commands measure the update.
                // What a series says of its base is not of the rows themselves.
                () if row.update.is_none() && (report.base.is_none() || !report.steps.is_empty()) => {
                    side.weights.push(matrix);
                }
                () => side.updates.push(matrix),
            }
        }
        side
    }

    /// Its name, where there are several.
    pub(super) fn label(&self) -> Option<String> {
        self.name.clone()
    }

    /// The matrices that a finding is looked for in.
    pub(super) fn of(&self, of: Of) -> &[Matrix<'r>] {
        match of {
            Of::Weights => &self.weights,
            Of::Updates => &self.updates,
            Of::Pairs | Of::Sides => &self.pairs,
            Of::Heads => &self.heads,
            Of::Anything | Of::Series => &[],
        }
    }

    /// The weights that others are held against: those that did not change, too.
    pub(super) fn peers(&self) -> &[Matrix<'r>] {
        if self.pairs.is_empty() { &self.weights } else { &self.pairs }
    }

    /// Every row, matrices and other tensors.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Matrix<'r>> {
        // Unchanged weights are among the pairs alone.
        let weights = if self.pairs.is_empty() { &self.weights } else { &self.pairs };
        weights.iter().chain(&self.updates).chain(&self.heads).chain(&self.others)
    }

    /// Its name, or that of the model.
    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.report.model.path)
    }

    /// Whether the report has a column for this side.
    pub(super) fn has_column(&self, key: &str) -> bool {
        let key = key_of(key, &self.suffix);
        self.report.columns.iter().any(|column| column.key == key)
    }

    /// Whether the comparison has other tuned sides.
    pub(super) fn is_one_of_several(&self) -> bool {
        self.report.tuned.len() > 1
    }

    /// Whether its numbers, or the base's, come from a saved report.
    pub(super) fn is_saved(&self) -> bool {
        let named = self.report.tuned.iter().find(|named| Some(&named.name) == self.name.as_ref());
        let own = named.map_or(&self.report.model, |named| &named.source);
        let base = self.report.base.iter();
        base.chain([own]).any(|source| source.format == "svdkit report")
    }

    /// The matrix of that name.
    pub(super) fn matrix(&self, name: &str) -> Option<&Matrix<'r>> {
        self.rows().find(|matrix| matrix.name() == name)
    }
}

impl Matrix<'_> {
    pub(super) fn name(&self) -> &str {
        &self.row.name
    }

    /// The key of a column on this side.
    pub(super) fn key(&self, key: &str) -> String {
        key_of(key, &self.suffix)
    }

    pub(super) fn value(&self, key: &str) -> Option<Value> {
        self.row.values.get(&self.key(key))
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.value(key)?.number()
    }

    /// A number that a finding cannot do without, or why it is not there.
    pub(super) fn needed(&self, key: &str) -> Result<f64, &'static str> {
        match self.value(key) {
            Some(Value::Missing(why)) => Err(match why.code() {
                "not_decomposed" => "no singular values were computed",
                "nonfinite" => "not finite",
                "zero_matrix" => "zero",
                "not_applicable" => "the entries are not known",
                _ => "a value that it needs could not be measured",
            }),
            Some(value) => value.number().ok_or("a value that it needs could not be measured"),
            None => Err("the report does not have the columns that it needs"),
        }
    }

    /// Rows and columns that are not all zero.
    pub(super) fn sides(&self) -> [f64; 2] {
        let [rows, columns] = self.row.shape.map(|n| n as f64);
        let left = |side: f64, zeros: &str| (side - self.number(zeros).unwrap_or(0.0)).max(1.0);
        [left(rows, "zero_rows"), left(columns, "zero_columns")]
    }

    /// The short side and the long one, without lines of zeros.
    pub(super) fn short_and_long(&self) -> (f64, f64) {
        let [a, b] = self.sides();
        (a.min(b), a.max(b))
    }

    /// How it stands to its base on this side; none where nothing is compared.
    pub(super) fn standing(&self) -> Option<Standing> {
        let of_all = self.row.comparison.as_ref()?.status;
        if self.suffix.is_empty() {
            return Some(of_all);
        }
        let is = |key: &str| self.number(key) == Some(1.0);
        Some(match () {
            () if is("added") => Standing::Added,
            () if is("removed") => Standing::Removed,
            () if is("reshaped") => Standing::Reshaped,
            () if is("changed") => Standing::Measured,
            () => Standing::Unchanged,
        })
    }

    /// Whether it is a linear map, a convolution or an embedding, by its name. Scales of norms, tables of frequencies,
    /// biases by position and constants of state-space models are stored as matrices, too, and are none.
    pub(super) fn is_weight(&self) -> bool {
        const OTHERS: [&str; 13] = [
            "a_log",
            "mask",
            "freq",
            "fourier",
            "sinusoid",
            "position_bias",
            "attention_bias",
            "rel_pos",
            "logit_scale",
            "stft",
            "mel_",
            "basis",
            "running_",
        ];
        let name = self.row.name.to_ascii_lowercase();
        let last = name.rsplit('.').next().unwrap_or_default();
        let scale = last.contains("norm") || last.starts_with("ln_");
        last != "pe" && !scale && !OTHERS.iter().any(|word| name.contains(word))
    }

    /// Whether it is an embedding, by its name: one of its rows may be that of padding.
    pub(super) fn is_embedding(&self) -> bool {
        let name = self.row.name.to_ascii_lowercase();
        ["emb", "wte", "wpe"].iter().any(|word| name.contains(word))
    }

    /// The bits of its storage type, where it is stored as floats.
    pub(super) fn bits(&self) -> Option<u32> {
        match (&self.row.dequant, self.row.dtype.as_str()) {
            (None, "f64") => Some(64),
            (None, "f32") => Some(32),
            (None, "f16" | "bf16") => Some(16),
            (None, "f8_e4m3" | "f8_e5m2") => Some(8),
            _ => None,
        }
    }
}

/// The key of a column where that of a tuned side carries `suffix`.
fn key_of(key: &str, suffix: &str) -> String {
    if key.ends_with("_base") { key.to_owned() } else { format!("{key}{suffix}") }
}
