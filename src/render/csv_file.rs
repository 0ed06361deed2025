//! CSV: one line for each matrix and skipped tensor; a missing value is an empty cell, its code is in the last column.
//!
//! A spreadsheet computes a text that begins like a formula, and a name is whatever a file says. Such cells get an
//! apostrophe in front, which spreadsheets take for "this is text"; numbers are never touched.

use std::borrow::Cow;
use std::io::{self, Write};

use super::flat::{self, Cell};
use super::style::Formulas;
use crate::report::{Pattern, Report, SkipKind};

pub(super) fn write(report: &Report, formulas: Formulas, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(flat::columns(report).map(|(name, _)| text(name.into(), formulas).into_owned()))?;
    for line in flat::lines(report) {
        writer.write_record(
            line.into_iter()
                .map(|cell| match cell {
                    Cell::Empty => Cow::Borrowed(""),
                    Cell::Text(words) => text(words, formulas),
                    Cell::Count(n) => n.to_string().into(),
                    Cell::Real(x) => serde_json::to_string(&x).unwrap_or_default().into(),
                })
                .map(Cow::into_owned),
        )?;
    }
    writer.flush()
}

/// One line a pattern of tensors.
pub(super) fn write_patterns(
    patterns: &[Pattern],
    formulas: Formulas,
    out: &mut dyn Write,
) -> io::Result<()> {
    let text = |words: &str| text(words.into(), formulas).into_owned();
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record([
        "pattern",
        "role",
        "count",
        "shape",
        "dtype",
        "parameters",
        "bytes",
        "becomes",
        "matrices",
        "kind",
        "reason",
    ])?;
    for pattern in patterns {
        let shape: Vec<String> = pattern.shape.iter().map(u64::to_string).collect();
        let bytes = pattern.bytes.map_or_else(String::new, |bytes| bytes.to_string());
        writer.write_record([
            text(&pattern.pattern),
            text(&pattern.role),
            pattern.count.to_string(),
            shape.join("x"),
            text(&pattern.dtype),
            pattern.parameters.to_string(),
            bytes,
            pattern.becomes.name().to_owned(),
            pattern.matrices.to_string(),
            pattern.kind.map_or("", SkipKind::code).to_owned(),
            text(pattern.reason.as_deref().unwrap_or_default()),
        ])?;
    }
    writer.flush()
}

/// A cell of text. One that begins with an apostrophe gets another, so that taking one away always gives the text back.
/// A spreadsheet whose lists are separated by semicolons splits at those, inside of quotes, too: one before a formula is
/// escaped.
fn text(words: Cow<'_, str>, formulas: Formulas) -> Cow<'_, str> {
    if formulas == Formulas::Kept || !words.contains(STARTS) && !words.starts_with('\'') {
        return words;
    }
    let mut parts = words.split(';');
    let first = parts.next().unwrap_or_default();
    let mark = if is_formula(first) || first.starts_with('\'') { "'" } else { "" };
    let mut safe = format!("{mark}{first}");
    for part in parts {
        safe.push_str(if is_formula(part) { "\\u{3b}" } else { ";" });
        safe.push_str(part);
    }
    safe.into()
}

/// The first characters of a formula, with their wide and small East Asian forms.
const STARTS: [char; 12] = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '﹦', '﹢', '﹣', '﹫'];

/// Whether a cell begins like a formula, be it after blanks or quotes that a spreadsheet drops.
fn is_formula(cell: &str) -> bool {
    let dropped = |c: char| {
        c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '|' | '“' | '”' | '„' | '‘' | '’' | '«' | '»')
    };
    cell.trim_start_matches(dropped).starts_with(STARTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &str, expected: &str) {
        assert_eq!(text(words.into(), Formulas::Defused), expected);
        assert_eq!(text(words.into(), Formulas::Kept), words);
        assert!(!is_formula(expected) || expected.starts_with('\''), "{expected}");
    }

    #[test]
    fn no_name_is_a_formula() {
        check("=1+1", "'=1+1");
        check("@SUM(A1)", "'@SUM(A1)");
        check("-2", "'-2");
        check(" \"=cmd|' /C calc'!A0", "' \"=cmd|' /C calc'!A0");
        check("＝1", "'＝1");
        check("﹢1", "'﹢1");
        check("“=1”", "'“=1”");
        check("|=1", "'|=1");
        check("'=1", "''=1");
        check("'a", "''a");
        check("a;=1;b", "a\\u{3b}=1;b");
        check("layers.0.q-proj=x", "layers.0.q-proj=x");
        check("", "");
    }
}
