//! A step of a run as it is written down: its report, so that it need not be measured again when its checkpoint is gone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::analysis::columns::{self, Words};
use crate::analysis::series;
use crate::report::{Column, Drawings, Hidden, Numbers, Report, Row, RowValues};

/// A step that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its number.
    pub step: u64,
    /// Its path below the folder of the run.
    pub place: String,
    /// What its files were when they were measured.
    pub mark: String,
    /// What the settings file hides of it.
    pub hidden: Hidden,
    /// The keys of the metrics.
    metrics: Vec<String>,
    /// Its report, without columns and rows.
    report: Report,
    rows: Vec<RowRecord>,
}

/// A row with what a report in JSON leaves out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RowRecord {
    row: Row,
    numbers: Numbers,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    outline: Vec<(usize, f64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drawn: Option<Drawings>,
}

impl StepRecord {
    /// The record of a step whose report is `report`.
    pub fn new(step: u64, (place, mark): (String, String), (report, hidden): (&Report, &Hidden)) -> Self {
        let metrics = series::metrics(&report.columns);
        let row = |row: &Row| RowRecord {
            numbers: metrics.iter().map(|column| row.values.get(column.key)).collect(),
            outline: row.outline.clone(),
            drawn: (!row.drawn.is_empty()).then(|| (*row.drawn).clone()),
            row: Row { values: RowValues::default(), ..row.clone() },
        };
        Self {
            step,
            place,
            mark,
            hidden: hidden.clone(),
            metrics: metrics.iter().map(|column| column.key.to_owned()).collect(),
            rows: report.rows.iter().map(row).collect(),
            report: Report { columns: vec![], rows: vec![], ..report.clone() },
        }
    }

    /// The report again, of a checkpoint that is now called `path`; nothing where a metric is not known.
    pub fn into_report(self, path: &str) -> Option<Report> {
        let known = columns::metrics("series", Words::Svdkit);
        let column = |key: &String| known.iter().copied().find(|column| column.key == *key);
        let metrics: Option<Vec<&'static Column>> = self.metrics.iter().map(column).collect();
        let metrics: Arc<[&'static Column]> = metrics?.into();
        let row = |record: RowRecord| Row {
            values: RowValues::new(&metrics, record.numbers),
            outline: record.outline,
            drawn: record.drawn.unwrap_or_default().into(),
            ..record.row
        };
        let mut report = self.report;
        report.columns = metrics.to_vec();
        report.rows = self.rows.into_iter().map(row).collect();
        let before = std::mem::replace(&mut report.model.path, path.to_owned());
        for tuned in report.tuned.iter_mut().filter(|tuned| tuned.source.path == before) {
            path.clone_into(&mut tuned.source.path);
        }
        Some(report)
    }
}
