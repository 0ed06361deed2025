//! `svdkit config`: the settings that apply, and where each comes from.

use clap::{Args, ValueEnum};
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use crate::error::{Error, printable};
use crate::gate::{Acceptance, Accepts, MissingPolicy};
use crate::notation;
use crate::render::json_line;
use crate::report::Severity;

use super::cache;
use super::options::{limits, set_color, word};
use super::settings::{FileRule, NAME, Shared};
use super::values::When;
use super::{Status, print};

/// Shows which settings apply and where each comes from: the command line, `svdkit.toml` or a default.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    shared: Shared,
    /// What stdout gets
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = FormatName::Table, help_heading = "Output")]
    format: FormatName,
}

/// The formats by the names users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// A table for the terminal
    Table,
    /// One array of objects
    Json,
}

/// One setting: its name, its value in words, and where it came from.
struct Line {
    setting: &'static str,
    value: String,
    from: String,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let shared = arguments.shared.completed()?;
    set_color(shared.color);
    let lines = lines(&arguments.shared, &shared);
    let text = match arguments.format {
        FormatName::Table => table(&lines),
        FormatName::Json => {
            let object = |line: &Line| {
                let Line { setting, value, from } = line;
                json_line(&json!({ "setting": setting, "value": value, "from": from }))
            };
            format!("[\n{}\n]\n", lines.iter().map(object).collect::<Vec<_>>().join(",\n"))
        }
    };
    print(text.as_bytes()).map(|()| Status::Fine)
}

/// Every setting; `typed` holds the command line, `set` the same completed from the file.
fn lines(typed: &Shared, set: &Shared) -> Vec<Line> {
    let file = set.file.as_ref();
    let path = file.map_or_else(|| NAME.to_owned(), |file| printable(&file.path.to_string_lossy()));
    let from = |flag: &str, is_typed: bool, is_filed: bool| match (is_typed, is_filed) {
        (true, _) => flag.to_owned(),
        (false, true) => path.clone(),
        (false, false) => "default".to_owned(),
    };
    let globs =
        |globs: &[String]| if globs.is_empty() { "–".to_owned() } else { printable(&globs.join(" ")) };
    let limits = limits(set);
    let line = |setting, value, from| Line { setting, value, from };
    let typed_missing = typed.typed_missing();
    let allow_missing = typed_missing.clone().or_else(|| file?.allow_missing.clone()).unwrap_or_default();
    let mut lines = vec![
        line(
            "include",
            globs(&set.include),
            from("--include", !typed.include.is_empty(), !set.include.is_empty()),
        ),
        line(
            "exclude",
            globs(&set.exclude),
            from("--exclude", !typed.exclude.is_empty(), !set.exclude.is_empty()),
        ),
        line(
            "color",
            word(&set.color.unwrap_or(When::Auto)),
            from("--color", typed.color.is_some(), set.color.is_some()),
        ),
        line("jobs", limits.threads.to_string(), from("--jobs", typed.jobs.is_some(), set.jobs.is_some())),
        line(
            "memory",
            notation::bytes(limits.memory),
            from("--memory", typed.memory.is_some(), set.memory.is_some()),
        ),
        line(
            "cache",
            cache::folder(set)
                .map_or_else(|| "off".to_owned(), |folder| printable(&folder.to_string_lossy())),
            match typed.cache {
                Some(_) => "--cache".to_owned(),
                None if !set.no_cache && cache::is_ci() => "CI".to_owned(),
                None => from("--no-cache", typed.no_cache, set.no_cache),
            },
        ),
        line(
            "gate.allow-missing",
            missing(&allow_missing),
            from(
                "--allow-missing",
                typed_missing.is_some(),
                file.is_some_and(|file| file.allow_missing.is_some()),
            ),
        ),
    ];
    for rule in file.iter().flat_map(|file| &file.rules).filter(|rule| !set.fail_if.contains(&rule.text)) {
        lines.push(line("gate.rule", meant(rule), format!("{path}, line {}", rule.line)));
    }
    lines.extend(set.fail_if.iter().map(|rule| line("gate.rule", printable(rule), "--fail-if".to_owned())));
    for (at, acceptance) in file.iter().flat_map(|file| &file.accepted) {
        lines.push(line("gate.accept", accepted(acceptance), format!("{path}, line {at}")));
    }
    lines
}

/// A rule and how the file means it.
fn meant(rule: &FileRule) -> String {
    let mut how = vec![];
    if rule.severity == Severity::Warn {
        how.push("warn".to_owned());
    }
    for (word, globs) in [("include", &rule.include), ("exclude", &rule.exclude)] {
        how.extend(globs.iter().map(|glob| format!("{word} {glob}")));
    }
    how.extend(rule.missing.iter().map(|policy| format!("allow-missing {}", missing(policy))));
    let how = if how.is_empty() { String::new() } else { format!(" ({})", how.join(", ")) };
    printable(&format!("{}{how}", rule.text))
}

/// Which values may be missing, as the file writes it.
fn missing(policy: &MissingPolicy) -> String {
    let codes: Vec<&str> = policy.reasons.iter().map(|why| why.code()).collect();
    match (policy.lacking, codes.as_slice()) {
        (lacking, []) => lacking.to_string(),
        (true, codes) => format!("true, {}", codes.join(", ")),
        (false, codes) => codes.join(", "),
    }
}

fn accepted(acceptance: &Acceptance) -> String {
    let (Accepts::Rule(what) | Accepts::Column(what)) = &acceptance.accepts;
    let matrix = acceptance.matrix.as_ref().map_or_else(String::new, |glob| format!(" of {}", glob.glob()));
    let until = acceptance.until.map_or_else(String::new, |day| format!(" until {day}"));
    let missing = match missing(&acceptance.missing).as_str() {
        "false" => String::new(),
        codes => format!(" allow-missing {codes}"),
    };
    printable(&format!("{what}{matrix}{missing}{until}: {}", acceptance.reason))
}

fn table(lines: &[Line]) -> String {
    let width = |of: fn(&Line) -> &str| lines.iter().map(|line| of(line).width()).max().unwrap_or(0);
    let (setting, value) = (width(|line| line.setting), width(|line| &line.value));
    let pad = |text: &str, width: usize| " ".repeat(width - text.width());
    let line = |line: &Line| {
        format!(
            " {}{}  {}{}  {}\n",
            line.setting,
            pad(line.setting, setting),
            line.value,
            pad(&line.value, value),
            line.from
        )
    };
    lines.iter().map(line).collect()
}
