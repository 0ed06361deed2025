//! A report for people: every text in it that a hostile file may have chosen, made printable.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    Comparison, Encounter, Finding, Group, Hidden, Inventory, Labels, Named, Offender, Pattern, Report,
    Resolution, Row, Skipped, Source, SourceFile,
};
use super::{Unchecked, Unlisted, Update, Updates, Verdict};
use crate::error::printable;

/// Shows every text of a report to a function. Each field is named, so that a new one cannot be forgotten; words of the
/// program itself need no check. Written once for `&` and `&mut`.
macro_rules! visit {
    ($report:ident, $source:ident $(, $mut:tt)?) => {
        fn $source(source: &$($mut)? Source, look: &mut dyn FnMut(&$($mut)? String)) {
            let Source { path, format: _, commit, files } = source;
            look(path);
            commit.into_iter().for_each(&mut *look);
            for SourceFile { name, bytes: _ } in files {
                look(name);
            }
        }

        fn $report(report: &$($mut)? Report, look: &mut dyn FnMut(&$($mut)? String)) {
            #[rustfmt::skip]
            let Report {
                schema: _, svdkit: _, command: _, model, base, tuned, settings, columns: _, rows, skipped, totals: _,
                groups, notes, summary: _, findings, findings_unchecked, verdicts, unlisted,
            } = report;
            $source(model, look);
            if let Some(base) = base {
                $source(base, look);
            }
            for Named { name, source } in tuned {
                look(name);
                $source(source, look);
            }
            settings.into_iter().for_each(|(_, value)| look(value));
            for row in rows {
                #[rustfmt::skip]
                let Row {
                    name, tensor, block: _, role, shape: _, stored_shape: _, dtype, dequant, update, blake3, tied_to, failed,
                    comparison, flags: _, labels, values: _, resolution, places: _, sketch: _, outline: _, drawn: _,
                    factors: _, encounter, intruders: _,
                } = row;
                for Resolution { base: _, side, spectral_norm: _, accuracy_floor: _ } in resolution {
                    side.into_iter().for_each(&mut *look);
                }
                if let Some(Labels { longname, layer_type: _, has_esd: _, warning: _ }) = labels {
                    look(longname);
                }
                if let Some(Encounter { module, first, second, left_cosines: _, right_cosines: _ }) = encounter {
                    [module, first, second].into_iter().for_each(&mut *look);
                }
                [name, tensor, role, dtype].into_iter().for_each(&mut *look);
                for text in [dequant, blake3, tied_to, failed].into_iter().flatten() {
                    look(text);
                }
                if let Some(Update { kind: _, scale: _, rank: _, tensors, flags: _ }) = update {
                    tensors.into_iter().for_each(&mut *look);
                }
                if let Some(Comparison { status: _, base_shape: _, base_dtype, base_blake3 }) = comparison {
                    [base_dtype, base_blake3].into_iter().flatten().for_each(&mut *look);
                }
            }
            for Skipped { tensor, shape: _, dtype, reason, kind: _, content, unseen, failed, scales } in skipped {
                [tensor, dtype, reason].into_iter().for_each(&mut *look);
                [unseen, failed, scales].into_iter().flatten().for_each(&mut *look);
                content.into_iter().for_each(|content| look(&$($mut)? content.blake3));
            }
            for Group { by: _, name, matrices: _, values: _ } in groups {
                look(name);
            }
            notes.into_iter().for_each(&mut *look);

            for Finding { name: _, level: _, side, matrices, sentence, evidence: _ } in findings {
                look(sentence);
                side.into_iter().chain(matrices).for_each(&mut *look);
            }
            for Unchecked { name: _, side, reason } in findings_unchecked {
                look(reason);
                side.into_iter().for_each(&mut *look);
            }
            for verdict in verdicts {
                #[rustfmt::skip]
                let Verdict {
                    rule, severity: _, outcome: _, broken: _, missing: _, missing_reasons: _, inconclusive: _, accepted: _,
                    hidden: _, remarks, worst, offenders,
                } = verdict;
                look(rule);
                remarks.into_iter().for_each(&mut *look);
                worst.into_iter().for_each(&mut *look);
                for Offender { matrix, outcome: _, what, missing: _, note } in offenders {
                    look(what);
                    [matrix, note].into_iter().flatten().for_each(&mut *look);
                }
            }
            let Unlisted { unchanged, hidden: Hidden { by, matrices, others } } = unlisted;
            look(by);
            [unchanged, matrices, others].into_iter().flatten().for_each(&mut *look);
        }
    };
}

visit!(texts, texts_of_source);
visit!(texts_mut, texts_of_source_mut, mut);

impl Report {
    /// The same with every text made printable, for all formats that people or their programs read as text.
    pub fn printable(&self) -> Cow<'_, Self> {
        let mut sound = true;
        texts(self, &mut |text| sound = sound && is_printable(text));
        if sound {
            return Cow::Borrowed(self);
        }
        let mut shown = self.clone();
        texts_mut(&mut shown, &mut |text| *text = printable(text));
        Cow::Owned(shown)
    }
}

/// Whether [`printable`] would leave `text` as it is; most names are plain ASCII and tell so at a glance.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-[]/ ".contains(&b)) || printable(text) == text
}

impl Inventory {
    /// The same with every text made printable.
    #[must_use]
    pub fn printable(&self) -> Self {
        let mut shown = self.clone();
        let Self { schema: _, svdkit: _, command: _, model, config, adapter, patterns, totals: _ } =
            &mut shown;
        let mut look = |text: &mut String| *text = printable(text);
        texts_of_source_mut(model, &mut look);
        for Pattern { pattern, role, dtype, reason, .. } in patterns {
            [pattern, role, dtype].into_iter().chain(reason).for_each(&mut look);
        }
        if let Some(Updates { targets, .. }) = adapter {
            targets.iter_mut().for_each(&mut look);
        }
        config.values_mut().for_each(|value| claims(value, &mut look));
        shown
    }
}

/// The texts of settings; their keys are words that the program knows.
fn claims(value: &mut Value, look: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => look(text),
        Value::Array(items) => items.iter_mut().for_each(|item| claims(item, look)),
        Value::Object(fields) => fields.values_mut().for_each(|item| claims(item, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
