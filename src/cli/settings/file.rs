//! `svdkit.toml`, parsed strictly: an unknown key, a wrong type or a bad glob is an error with its line.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobMatcher};
use serde::Deserialize;
use toml::Spanned;
use toml::value::Datetime;

use crate::cli::values::{When, globs, size};
use crate::error::{Error, FileLine, brief, printable};
use crate::findings::{self, FINDINGS};
use crate::gate::{self, Acceptance, Accepts, Day, MissingPolicy};
use crate::report::Severity;
use crate::store::Location;

/// More than a person writes; a file named so by mistake may be a model, or endless.
const LONGEST: u64 = 1 << 20;

/// The contents of a settings file.
#[derive(Debug, Clone)]
pub(in crate::cli) struct SettingsFile {
    /// Where it lies.
    pub path: PathBuf,
    /// As `--include`.
    pub include: Vec<String>,
    /// As `--exclude`.
    pub exclude: Vec<String>,
    /// As `--color`.
    pub color: Option<When>,
    /// As `--jobs`.
    pub jobs: Option<NonZeroUsize>,
    /// As `--memory`.
    pub memory: Option<u64>,
    /// Not so: as `--no-cache`.
    pub cache: Option<bool>,
    /// As `--allow-missing`, for every rule that does not say it itself.
    pub allow_missing: Option<MissingPolicy>,
    /// The rules, in order.
    pub rules: Vec<FileRule>,
    /// The acceptances, each with its line.
    pub accepted: Vec<(usize, Acceptance)>,
    /// Findings that are not told.
    pub ignored: Vec<String>,
    /// Findings that are not told of some matrices, for a reason and a time.
    pub allowed: Vec<AllowedFinding>,
}

/// A finding that may be.
#[derive(Debug, Clone)]
pub(in crate::cli) struct AllowedFinding {
    /// Its name.
    pub finding: String,
    /// Of which rows; of all where there is none.
    pub matrix: Option<GlobMatcher>,
    /// Why.
    pub reason: String,
    /// The last day on which it may be.
    pub until: Option<Day>,
}

/// A rule of the file; its text is parsed when the columns are known.
#[derive(Debug, Clone)]
pub(in crate::cli) struct FileRule {
    /// Its line.
    pub line: usize,
    /// The rule, as `--fail-if` takes it.
    pub text: String,
    /// What breaking it means.
    pub severity: Severity,
    /// Globs of the rows it is about; none for all.
    pub include: Vec<String>,
    /// Globs of rows it is not about.
    pub exclude: Vec<String>,
    /// How to treat missing values; none if the file's general setting applies.
    pub missing: Option<MissingPolicy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    #[serde(default)]
    include: Globs,
    #[serde(default)]
    exclude: Globs,
    color: Option<When>,
    jobs: Option<NonZeroUsize>,
    memory: Option<Size>,
    cache: Option<bool>,
    #[serde(default)]
    gate: GateTable,
    #[serde(default)]
    findings: FindingsTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FindingsTable {
    #[serde(default)]
    ignore: Vec<Spanned<String>>,
    #[serde(default)]
    allow: Vec<Spanned<AllowTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowTable {
    finding: String,
    matrix: Option<OneGlob>,
    reason: String,
    until: Option<Until>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct GateTable {
    allow_missing: Option<Missing>,
    #[serde(default)]
    rule: Vec<RuleTable>,
    #[serde(default)]
    accept: Vec<Spanned<AcceptTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RuleTable {
    fail_if: Spanned<String>,
    severity: Option<SeverityName>,
    #[serde(default)]
    include: Globs,
    #[serde(default)]
    exclude: Globs,
    allow_missing: Option<Missing>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum SeverityName {
    Error,
    Warn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct AcceptTable {
    rule: Option<String>,
    column: Option<String>,
    matrix: Option<OneGlob>,
    allow_missing: Option<Missing>,
    reason: String,
    until: Option<Until>,
}

/// Globs that compile.
#[derive(Default, Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Globs(Vec<String>);

impl TryFrom<Vec<String>> for Globs {
    type Error = String;

    fn try_from(patterns: Vec<String>) -> Result<Self, String> {
        globs(&patterns).map_err(|e| e.to_string())?;
        Ok(Self(patterns))
    }
}

/// One glob that compiles.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct OneGlob(Glob);

impl TryFrom<String> for OneGlob {
    type Error = String;

    fn try_from(pattern: String) -> Result<Self, String> {
        Glob::new(&pattern).map(Self).map_err(|e| format!("glob `{}`: {}", brief(&pattern), e.kind()))
    }
}

/// Which values may be missing: those that the base lacks, too, or those with a listed reason.
#[derive(Deserialize)]
#[serde(try_from = "toml::Value")]
struct Missing(MissingPolicy);

impl TryFrom<toml::Value> for Missing {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        let wrong = || "expected `true`, `false` or a list of reasons, as in [\"zero_matrix\"]".to_owned();
        match value {
            toml::Value::Boolean(lacking) => Ok(Self(MissingPolicy { lacking, reasons: vec![] })),
            toml::Value::Array(codes) => {
                let codes = codes.iter().map(|code| gate::reason(code.as_str().ok_or_else(wrong)?));
                Ok(Self(MissingPolicy { lacking: false, reasons: codes.collect::<Result<_, _>>()? }))
            }
            _ => Err(wrong()),
        }
    }
}

/// A size, as `--memory` takes it.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Size(u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        size(&text).map(Self)
    }
}

/// A day, without a time.
#[derive(Deserialize)]
#[serde(try_from = "Datetime")]
struct Until(Day);

impl TryFrom<Datetime> for Until {
    type Error = String;

    fn try_from(at: Datetime) -> Result<Self, String> {
        match at {
            Datetime { date: Some(date), time: None, offset: None } => {
                Ok(Self(Day { year: date.year, month: date.month, day: date.day }))
            }
            _ => Err(format!("`{at}` is no day; write it as 2027-01-31")),
        }
    }
}

impl SettingsFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it can't be read, is not TOML, or has an invalid value; the message names the line.
    pub(in crate::cli) fn read(path: &Path) -> Result<Self, Error> {
        let text = Location::disk(path).text("a settings file", LONGEST)?;
        let text = String::from_utf8(text).map_err(|_| Error::malformed(path, "is not text in UTF-8"))?;
        let top: Top = toml::from_str(&text).map_err(|e| {
            let line = e.span().map_or(1, |span| line_of(&text, span.start));
            let source = text.lines().nth(line - 1).unwrap_or_default().trim();
            Error::malformed(path, format!("line {line}, `{}`: {}", brief(source), told(e.message())))
        })?;
        let rule = |table: RuleTable| FileRule {
            line: line_of(&text, table.fail_if.span().start),
            text: table.fail_if.into_inner(),
            severity: match table.severity {
                None | Some(SeverityName::Error) => Severity::Error,
                Some(SeverityName::Warn) => Severity::Warn,
            },
            include: table.include.0,
            exclude: table.exclude.0,
            missing: table.allow_missing.map(|missing| missing.0),
        };
        let accepted = |table: Spanned<AcceptTable>| {
            let line = line_of(&text, table.span().start);
            let acceptance = acceptance(table.into_inner());
            let acceptance = acceptance
                .map_err(|what| Error::malformed(path, format!("line {line}, `[[gate.accept]]`: {what}")))?;
            Ok((line, acceptance))
        };
        let wrong = |at: usize, what: &str| {
            Error::malformed(path, format!("line {}: {}", line_of(&text, at), printable(what)))
        };
        let ignored = |name: Spanned<String>| {
            known(name.get_ref()).map_err(|what| wrong(name.span().start, &what))?;
            Ok(name.into_inner())
        };
        let allowed = |table: Spanned<AllowTable>| {
            let at = table.span().start;
            let AllowTable { finding, matrix, reason, until } = table.into_inner();
            known(&finding).map_err(|what| wrong(at, &what))?;
            if reason.trim().is_empty() {
                return Err(wrong(at, "`reason` is empty; say why this may be"));
            }
            let matrix = matrix.map(|glob| glob.0.compile_matcher());
            Ok(AllowedFinding { finding, matrix, reason, until: until.map(|until| until.0) })
        };
        Ok(Self {
            ignored: top.findings.ignore.into_iter().map(ignored).collect::<Result<_, Error>>()?,
            allowed: top.findings.allow.into_iter().map(allowed).collect::<Result<_, Error>>()?,
            path: path.to_owned(),
            include: top.include.0,
            exclude: top.exclude.0,
            color: top.color,
            jobs: top.jobs,
            memory: top.memory.map(|size| size.0),
            cache: top.cache,
            allow_missing: top.gate.allow_missing.map(|missing| missing.0),
            rules: top.gate.rule.into_iter().map(rule).collect(),
            accepted: top.gate.accept.into_iter().map(accepted).collect::<Result<_, Error>>()?,
        })
    }

    /// An error about the line `line`.
    pub(in crate::cli) fn wrong(&self, line: usize, what: &str) -> Error {
        Error::malformed(&self.path, format!("line {line}: {}", printable(what)))
    }

    /// `error` about line `line`.
    pub(in crate::cli) fn placed(&self, line: usize, error: Error) -> Error {
        match error {
            Error::Column { key, problem, .. } => {
                Error::Column { at: Some(FileLine { path: self.path.clone(), line }), key, problem }
            }
            other => self.wrong(line, &other.to_string()),
        }
    }
}

fn acceptance(table: AcceptTable) -> Result<Acceptance, &'static str> {
    let accepts = match (table.rule, table.column) {
        (Some(rule), None) => Accepts::Rule(rule),
        (None, Some(column)) => Accepts::Column(column),
        _ => return Err("name what it accepts by either `rule` or `column`"),
    };
    if table.reason.trim().is_empty() {
        return Err("`reason` is empty; say why this may be");
    }
    Ok(Acceptance {
        accepts,
        matrix: table.matrix.map(|glob| glob.0.compile_matcher()),
        missing: table.allow_missing.map_or_else(MissingPolicy::default, |missing| missing.0),
        reason: table.reason,
        until: table.until.map(|until| until.0),
    })
}

/// Whether there is a finding of that name.
fn known(name: &str) -> Result<(), String> {
    if findings::definition(name).is_some() {
        return Ok(());
    }
    let near = gate::likeliest(name, FINDINGS.iter().map(|finding| finding.name));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("no finding is called `{}`{hint}", brief(name)))
}

/// The line number, from 1, of byte `at` of `text`.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// A parser's message in our words, with the nearest key where one is unknown.
fn told(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let kinds = [("unknown field", "no setting is called"), ("unknown variant", "no choice is called")];
    let kind = kinds.iter().find(|(start, _)| message.starts_with(start));
    if let (Some((_, words)), [name, known @ ..]) = (kind, quoted.as_slice()) {
        let near = gate::likeliest(name, known.iter().copied());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are `{}`", known.join("`, `")),
        };
        return format!("{words} `{}`; {hint}", brief(name));
    }
    let words = message.lines().collect::<Vec<_>>().join(", ");
    let plain = [
        ("a nonzero usize", "a whole number from 1 on"),
        ("a TOML datetime", "a day, as in 2027-01-31"),
        ("struct GateTable", "a table, `[gate]`"),
        ("struct RuleTable", "a table, `[[gate.rule]]`"),
        ("struct AcceptTable", "a table, `[[gate.accept]]`"),
        ("struct FindingsTable", "a table, `[findings]`"),
        ("struct AllowTable", "a table, `[[findings.allow]]`"),
    ];
    brief(&plain.iter().fold(words, |words, (theirs, ours)| words.replace(theirs, ours)))
}
