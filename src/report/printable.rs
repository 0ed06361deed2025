//! A report for people: every text in it that a hostile file may have chosen, made printable.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    Attention, Comparison, Composition, Encounter, Finding, Group, Head, HeadPlace, Hidden, Inventory,
    Labels, Named, Offender, Overlaps, Pattern, Report, Resolution, Row, Skipped, Source, SourceFile, Step,
};
use super::{Unchecked, Unlisted, Update, Updates, Verdict};
use crate::error::printable;
use crate::text::Text;

/// A text of a report, in whatever holds it.
trait Words {
    fn text(&self) -> &str;
    fn set(&mut self, text: String);
}

impl Words for String {
    fn text(&self) -> &str {
        self
    }

    fn set(&mut self, text: String) {
        *self = text;
    }
}

impl Words for Text {
    fn text(&self) -> &str {
        self
    }

    fn set(&mut self, text: String) {
        *self = text.into();
    }
}

/// Shows every text of a report to a function. Each field is named, so that a new one cannot be forgotten; words of the
/// program itself need no check. Written once for `&` and `&mut`.
macro_rules! visit {
    ($report:ident, $source:ident $(, $mut:tt)?) => {
        fn $source(source: &$($mut)? Source, take: &mut dyn FnMut(&$($mut)? dyn Words)) {
            let Source { path, format: _, commit, files } = source;
            take(path);
            commit.into_iter().for_each(|text| take(text));
            for SourceFile { name, bytes: _ } in files {
                take(name);
            }
        }

        fn $report(report: &$($mut)? Report, take: &mut dyn FnMut(&$($mut)? dyn Words)) {
            #[rustfmt::skip]
            let Report {
                schema: _, svdkit: _, command: _, model, base, tuned, settings, steps, columns: _, rows, skipped, totals: _,
                groups, notes, summary: _, findings, findings_unchecked, verdicts, unlisted,
            } = report;
            $source(model, take);
            if let Some(base) = base {
                $source(base, take);
            }
            for Named { name, source } in tuned {
                take(name);
                $source(source, take);
            }
            settings.into_iter().for_each(|(_, value)| take(value));
            for Step { step: _, path, failed, repeats: _, changed: _ } in steps {
                take(path);
                failed.into_iter().for_each(|text| take(text));
            }
            for row in rows {
                #[rustfmt::skip]
                let Row {
                    name, tensor, block: _, role, shape: _, stored_shape: _, dtype, dequant, update, blake3, tied_to, failed,
                    comparison, flags: _, labels, values: _, course: _, resolution, places: _, sketch: _, outline: _, drawn: _,
                    factors: _, lists: _, encounter, overlaps, intruders: _, attention,
                } = row;
                for Resolution { base: _, side, spectral_norm: _, accuracy_floor: _ } in resolution {
                    side.into_iter().for_each(|text| take(text));
                }
                if let Some(labels) = labels {
                    let Labels { longname, layer_type: _, has_esd: _, warning: _ } = &$($mut)? **labels;
                    take(longname);
                }
                if let Some(encounter) = encounter {
                    let Encounter { module, first, second, left_cosines: _, right_cosines: _ } = &$($mut)? **encounter;
                    [module, first, second].into_iter().for_each(|text| take(text));
                }
                if let Some(overlaps) = overlaps {
                    let Overlaps { labels, names, left: _, right: _ } = &$($mut)? **overlaps;
                    labels.into_iter().chain(names).for_each(|text| take(text));
                }
                if let Some(attention) = attention {
                    match &$($mut)? **attention {
                        Attention::Head(Head {
                            layer: _, head: _, kv_head: _, sigma_ov: _, sigma_qk: _, tensors, reach: _,
                        }) => tensors.into_iter().for_each(|text| take(text)),
                        Attention::Composition(Composition { earlier, later, baseline: _, components: _ }) => {
                            for HeadPlace { name, layer: _, head: _ } in [earlier, later] {
                                take(name);
                            }
                        }
                    }
                }
                [name, tensor, role, dtype].into_iter().for_each(|text| take(text));
                for text in [dequant, blake3, failed].into_iter().flatten() {
                    take(text);
                }
                tied_to.into_iter().for_each(|text| take(text));
                if let Some(update) = update {
                    let Update { kind: _, scale: _, rank: _, tensors, flags: _ } = &$($mut)? **update;
                    tensors.into_iter().for_each(|text| take(text));
                }
                if let Some(comparison) = comparison {
                    let Comparison { status: _, base_shape: _, base_dtype, base_blake3 } = &$($mut)? **comparison;
                    [base_dtype, base_blake3].into_iter().flatten().for_each(|text| take(text));
                }
            }
            for Skipped { tensor, shape: _, dtype, reason, kind: _, content, unseen, failed, scales } in skipped {
                [tensor, dtype, reason].into_iter().for_each(|text| take(text));
                [unseen, failed, scales].into_iter().flatten().for_each(|text| take(text));
                content.into_iter().for_each(|content| take(&$($mut)? content.blake3));
            }
            for Group { by: _, name, matrices: _, values: _ } in groups {
                take(name);
            }
            notes.into_iter().for_each(|text| take(text));

            for Finding { name: _, level: _, side, matrices, sentence, evidence: _ } in findings {
                take(sentence);
                side.into_iter().chain(matrices).for_each(|text| take(text));
            }
            for Unchecked { name: _, side, reason, everywhere: _ } in findings_unchecked {
                side.into_iter().chain([reason]).for_each(|text| take(text));
            }
            for verdict in verdicts {
                #[rustfmt::skip]
                let Verdict {
                    rule, key, severity: _, outcome: _, broken: _, missing: _, missing_reasons: _, inconclusive: _,
                    accepted: _, hidden: _, remarks, worst, offenders,
                } = verdict;
                take(rule);
                take(key);
                remarks.into_iter().for_each(|text| take(text));
                worst.into_iter().for_each(|text| take(text));
                for Offender { matrix, outcome: _, what, missing: _, note, step: _ } in offenders {
                    take(what);
                    [matrix, note].into_iter().flatten().for_each(|text| take(text));
                }
            }
            let Unlisted { unchanged, hidden: Hidden { by, matrices, others } } = unlisted;
            take(by);
            [unchanged, matrices, others].into_iter().flatten().for_each(|text| take(text));
        }
    };
}

visit!(texts, texts_of_source);
visit!(texts_mut, texts_of_source_mut, mut);

impl Report {
    /// The same with every text made printable, for all formats that people or their programs read as text.
    pub fn printable(&self) -> Cow<'_, Self> {
        let mut sound = true;
        texts(self, &mut |text| sound = sound && is_printable(text.text()));
        if sound {
            return Cow::Borrowed(self);
        }
        let mut shown = self.clone();
        texts_mut(&mut shown, &mut make_printable);
        Cow::Owned(shown)
    }
}

fn make_printable(text: &mut dyn Words) {
    if !is_printable(text.text()) {
        text.set(printable(text.text()));
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
        texts_of_source_mut(model, &mut make_printable);
        let mut take = |text: &mut String| make_printable(text);
        for Pattern { pattern, role, dtype, reason, .. } in patterns {
            [pattern, role, dtype].into_iter().chain(reason).for_each(&mut take);
        }
        if let Some(Updates { targets, .. }) = adapter {
            targets.iter_mut().for_each(&mut take);
        }
        config.values_mut().for_each(|value| claims(value, &mut take));
        shown
    }
}

/// The texts of settings; their keys are words that the program knows.
fn claims(value: &mut Value, take: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(items) => items.iter_mut().for_each(|item| claims(item, take)),
        Value::Object(fields) => fields.values_mut().for_each(|item| claims(item, take)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
