//! What is said of an adapter that was written.

use super::{InitRequest, Initializing};
use crate::analysis::init::{Method, Setup};
use crate::notation;
use crate::report::{Report, Row, Value};
use crate::writing::AdapterModule;

impl Initializing {
    /// Adds to `report` what was written, and what rounding costs.
    pub(super) fn note(&self, report: &mut Report, modules: &[AdapterModule]) {
        let InitRequest { setup, out, base_out, .. } = &self.request;
        let Setup { method, scale, .. } = *setup;
        let sum = modules.iter().map(|module| module.rank).sum::<usize>();
        let of = |count: usize| format!("{count} {}", if count == 1 { "module" } else { "modules" });
        let (count, out, method_name) = (of(modules.len()), out.display(), method.name());
        let mut notes = vec![format!("{out}: {method_name}, {count} of rank {sum} in all, scale {scale}")];
        if let Some(base) = base_out {
            let what = if method == Method::Kasa { "cut in" } else { "less s·BA in" };
            let base = base.display();
            notes.push(format!("{base}: the base, {what} {count}, the rest byte-identical"));
        }
        let error = |row: &Row| row.values.get("preservation_error").and_then(Value::number);
        let errors = report.rows.iter().filter_map(|row| Some((error(row)?, row.name.as_str())));
        if let Some((worst, name)) = errors.max_by(|a, b| a.0.total_cmp(&b.0)) {
            notes.push(match method {
                Method::Eora => format!(
                    "of the original weights {} or less is still missing, most in {name}",
                    notation::real(worst)
                ),
                _ => format!(
                    "rounding moves the weights by {} or less of their norm, most in {name}",
                    notation::real(worst)
                ),
            });
        }
        let empty = report.rows.len() - modules.len();
        if empty > 0 {
            notes.push(format!("{} left out: the inputs of others vary more in all directions", of(empty)));
        }
        if method == Method::Sorsa && (scale - 1.0).abs() > 0.0 {
            let reason = "the residual base is W − s·W_r, which is not W without its leading part; leave `--alpha` out";
            notes.push(format!("! SORSA's S is not divided by the scale {scale}: {reason}"));
        }
        notes.extend(self.left_out.notes(setup.rank));
        report.notes.extend(notes);
    }
}
