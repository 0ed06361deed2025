//! The gate of a run: typed rules, rules of the settings file, and acceptances.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::analysis::columns;
use crate::analysis::compare::STATUS_COLUMNS;
use crate::error::Error;
use crate::findings::{self, Definition, FINDINGS, Of};
use crate::gate::{self, Accepts, Clause, Day, Gate, MissingPolicy, Rule};
use crate::layer::Filter;
use crate::metric::METRICS;
use crate::report::{Aspect, Column, ColumnKey, Hidden, Report, Severity};
use crate::solver::Needs;
use crate::study::{Asked, OwnColumns, Search};

use super::options::Common;
use super::settings::{AllowedFinding, FileRule, SettingsFile};
use super::values::filter;
use super::{explain, remark};

/// The rules for a report of `command` with `columns`; a column in `--columns` or `--sort` that is not one
/// of `columns` is an error, too.
pub(super) fn gate(common: &Common, command: &str, columns: &[&'static Column]) -> Result<Gate, Error> {
    check_columns(common, columns)?;
    let findings = &names(common, columns);
    let shared = &common.shared;
    let typed = &shared.fail_if;
    let mut clauses = vec![];
    let mut accepted = vec![];
    if let Some(file) = &shared.file {
        // If a rule is typed, too, the command line wins.
        for filed in file.rules.iter().filter(|filed| !typed.contains(&filed.text)) {
            match Rule::parse(&filed.text, columns, findings) {
                Ok(rule) => clauses.push(clause(rule, filed, file)?),
                Err(_) if is_elsewhere(command, &filed.text, columns) => {
                    if !common.quiet {
                        let path = file.path.display();
                        let text = &filed.text;
                        remark(&format!(
                            "{path}: rule `{text}` is not judged: `{command}` measures nothing of that name"
                        ));
                    }
                }
                Err(error) => return Err(file.placed(filed.line, error)),
            }
        }
        check_accepted(file, typed)?;
        accepted = file.accepted.iter().map(|(_, acceptance)| acceptance.clone()).collect();
    }
    let filed = shared.file.as_ref().map(general).unwrap_or_default();
    for text in typed {
        let (rule, filter) = (Rule::parse(text, columns, findings)?, Filter::default());
        clauses.push(Clause { rule, severity: Severity::Error, filter, missing: filed.clone() });
    }
    if let Some(missing) = shared.typed_missing() {
        clauses.iter_mut().for_each(|clause| clause.missing.clone_from(&missing));
    }
    Ok(Gate { clauses, accepted, today: today() })
}

/// What the options ask for of a report that may have `columns`; `outputs` are columns that something else than the report
/// is made of, each with what asks for it.
pub(super) fn asked(
    common: &Common,
    gate: &Gate,
    columns: &[&'static Column],
    outputs: &[(&'static Column, &str)],
) -> Asked {
    let named = |word: &str| gate::column(word, columns).ok();
    let own =
        matches!(common.columns.as_slice(), [] | [_]) && common.columns.iter().all(|word| word == "all");
    let mut asked = Asked {
        own: if own { OwnColumns::Wanted } else { OwnColumns::LeftOut },
        columns: vec![],
        evidence: vec![],
        findings: if common.no_findings { Search::Off } else { Search::On },
    };
    let mut ask = |column: &'static Column, by: String| asked.columns.push((column, by));
    if !own {
        let chosen = common.columns.iter().filter_map(|word| named(word));
        chosen.for_each(|column| ask(column, "`--columns`".to_owned()));
    }
    if let Some(column) = common.sort.as_deref().and_then(|key| named(key.strip_prefix('-').unwrap_or(key))) {
        ask(column, "`--sort`".to_owned());
    }
    outputs.iter().for_each(|(column, by)| ask(column, (*by).to_owned()));
    for Clause { rule, .. } in &gate.clauses {
        let by = format!("rule `{}`", rule.text());
        match rule.column() {
            Some(column) => asked.columns.push((column, by)),
            None => asked.evidence.extend(evidence(rule.key()).map(|key| (key, by.clone()))),
        }
    }
    asked
}

/// The columns that findings of that name or level are computed from.
fn evidence(word: &'static str) -> impl Iterator<Item = &'static str> {
    let is = move |finding: &&Definition| {
        finding.name == word || finding.levels.iter().any(|level| level.name() == word)
    };
    FINDINGS.iter().filter(is).flat_map(Definition::needed)
}

/// The file's acceptances that accept nothing in a judged report, in words.
pub(super) fn unused(gate: &Gate, report: &Report, common: &Common) -> Vec<String> {
    let Some(file) = &common.shared.file else { return vec![] };
    let unused = file.accepted.iter().enumerate().filter(|(i, _)| gate.is_unused(*i, report));
    let told = unused.map(|(_, (line, acceptance))| {
        let (Accepts::Rule(of) | Accepts::Column(of)) = &acceptance.accepts;
        let matrix = acceptance.matrix.as_ref();
        let matrix = matrix.map_or_else(String::new, |glob| format!(" for `{}`", glob.glob().glob()));
        format!(
            "{}: line {line}: nothing breaks `{of}`{matrix} any more; the acceptance can go",
            file.path.display()
        )
    });
    told.collect()
}

/// What is wrong with typed rules whatever the columns are: for a command whose columns depend on what it opens.
pub(super) fn check_syntax(common: &Common) -> Result<(), Error> {
    let findings: Vec<&'static str> = FINDINGS.iter().map(|finding| finding.name).collect();
    let problem = |text: &String| match Rule::parse(text, &[], &findings) {
        Ok(_) | Err(Error::Column { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    common.shared.fail_if.iter().try_for_each(problem)
}

/// The findings that a report with `columns` may have.
fn names(common: &Common, columns: &[&'static Column]) -> Vec<&'static str> {
    let has = |key: &&str| columns.iter().any(|column| column.key.split('@').next() == Some(*key));
    // Another tool's columns do not say what findings need.
    if !["nonfinite_count", "changed", "intruder_count", "rank_at_90", "farms_alpha", "broken"]
        .iter()
        .any(has)
    {
        return vec![];
    }
    let is_there = |finding: &&Definition| {
        !common.no_findings
            && (finding.of != Of::Pairs || has(&"changed"))
            && (finding.of != Of::Updates || !has(&"changed"))
            && (finding.of != Of::Series
                || columns.iter().any(|column| column.means().aspect == Aspect::Slope))
            && (finding.of != Of::Sides || columns.iter().any(|column| column.key.contains('@')))
            && finding.evidence.iter().all(has)
    };
    FINDINGS.iter().filter(is_there).map(|finding| finding.name).collect()
}

/// The matrices and other tensors, by name, that the settings file leaves out.
pub(super) fn hidden<'n>(
    common: &Common,
    matrices: impl Iterator<Item = &'n str>,
    others: impl Iterator<Item = &'n str>,
) -> Result<Hidden, Error> {
    let Some((filed, typed, by)) = common.shared.filed_filter()? else { return Ok(Hidden::default()) };
    let left_out = |name: &&str| typed.keeps(name) && !filed.keeps(name);
    Ok(Hidden {
        by,
        matrices: matrices.filter(left_out).map(str::to_owned).collect(),
        others: others.filter(left_out).map(str::to_owned).collect(),
    })
}

/// The findings that the file allows today.
pub(super) fn allowed_findings(file: &SettingsFile) -> Vec<&AllowedFinding> {
    let today = today();
    file.allowed.iter().filter(|allowed| allowed.until.is_none_or(|until| today <= until)).collect()
}

/// An error about a column that needs a decomposition, where none is made, says so.
pub(super) fn without_svd(error: Error) -> Error {
    match error {
        Error::Column { at, key, .. } if columns::meaning(&key).is_some_and(needs_svd) => {
            let problem = format!("`{key}` needs a decomposition; leave `--no-svd` out");
            Error::Column { at, key, problem }
        }
        other => other,
    }
}

fn needs_svd(key: ColumnKey<'_>) -> bool {
    let of_entries = METRICS.iter().filter(|metric| metric.needs == Needs::Entries);
    !of_entries.map(|metric| &metric.column).chain(&STATUS_COLUMNS).any(|column| column == key.metric)
}

/// An error about a rule names its file, if it was not typed.
pub(super) fn placed(error: Error, common: &Common) -> Error {
    let Error::Rule { rule, .. } = &error else { return error };
    let file = common.shared.file.as_ref().filter(|_| !common.shared.fail_if.contains(rule));
    let filed = file.and_then(|file| Some((file, file.rules.iter().find(|filed| filed.text == *rule)?)));
    match filed {
        Some((file, filed)) => {
            file.wrong(filed.line, &format!("{error}; `--no-config` leaves this file out"))
        }
        None => error,
    }
}

/// The file's setting for missing values, for rules without their own.
fn general(file: &SettingsFile) -> MissingPolicy {
    file.allow_missing.clone().unwrap_or_default()
}

fn clause(rule: Rule, filed: &FileRule, file: &SettingsFile) -> Result<Clause, Error> {
    let missing = filed.missing.clone().unwrap_or_else(|| general(file));
    let filter = filter(&filed.include, &filed.exclude)?;
    Ok(Clause { rule, severity: filed.severity, filter, missing })
}

/// Whether a rule is about a column that `command` never has, but another command does. One that `command` may have,
/// and has not this time, is not passed over: the gate would be open.
fn is_elsewhere(command: &str, text: &str, columns_here: &[&'static Column]) -> bool {
    if let Some(word) = gate::finding_of(text) {
        let known = columns::metrics_of(command);
        let is_never = |finding: &Definition| {
            let lacks = |key: &&str| ColumnKey::parse(key, known.iter().copied()).is_none();
            let here = match finding.of {
                Of::Pairs | Of::Sides => command == "compare",
                Of::Updates => command != "compare",
                Of::Heads => command == "heads",
                Of::Series => command == "series",
                Of::Weights | Of::Anything => true,
            };
            !here || finding.evidence.iter().any(lacks)
        };
        return findings::definition(word).is_some_and(is_never);
    }
    let Some(key) = gate::key_of(text).filter(|key| columns::meaning(key).is_some()) else { return false };
    let here = ColumnKey::parse(&key, columns::metrics_of(command));
    match command {
        "compare" => here.is_none(),
        "spectrum" => here.is_none_or(|key| key.aspect != Aspect::Value),
        _ => columns_here.iter().all(|known| known.key != key.as_ref()),
    }
}

/// An acceptance without a matching rule or column would accept nothing.
fn check_accepted(file: &SettingsFile, typed: &[String]) -> Result<(), Error> {
    let rules: Vec<&str> =
        file.rules.iter().map(|rule| &rule.text).chain(typed).map(String::as_str).collect();
    for (line, acceptance) in &file.accepted {
        let what = match &acceptance.accepts {
            Accepts::Rule(rule) if !rules.contains(&rule.as_str()) => {
                let near = gate::likeliest(rule, rules.iter().copied());
                let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                format!("`{rule}` is not a rule here{hint}")
            }
            Accepts::Column(column) if columns::meaning(column).is_none() => {
                gate::nearest(column, &explain::keys()).map_or_else(|e| e.to_string(), str::to_owned)
            }
            _ => continue,
        };
        return Err(file.wrong(*line, &what));
    }
    Ok(())
}

fn check_columns(common: &Common, columns: &[&'static Column]) -> Result<(), Error> {
    let sort =
        common.sort.as_deref().map(|key| key.strip_prefix('-').unwrap_or(key)).filter(|key| *key != "name");
    let chosen =
        common.columns.iter().map(String::as_str).filter(|key| *key != "all" || common.columns.len() > 1);
    chosen.chain(sort).try_for_each(|key| gate::column(key, columns).map(drop))
}

/// The day, by universal time: an acceptance ends everywhere at once.
fn today() -> Day {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Day::after_epoch(since.as_secs() / 86_400)
}
