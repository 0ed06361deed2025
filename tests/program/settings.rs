//! `svdkit.toml`: where it is found, what beats it, and what is told of a bad one.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::svdkit_in;

use super::harness::program;

const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/base");

/// Value and origin of a setting, as `svdkit config` with `arguments` says it in `folder`.
fn set(folder: &Path, arguments: &[&str], setting: &str) -> (String, String) {
    let output = svdkit_in(folder, &[&["config", "--format", "json"], arguments].concat());
    let lines: Vec<Value> = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    let line = lines.iter().find(|line| line["setting"] == setting).unwrap();
    let text = |key: &str| line[key].as_str().unwrap().to_owned();
    (text("value"), text("from"))
}

#[test]
fn what_is_typed_beats_the_file_and_the_file_beats_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "exclude = ['lm_head']\njobs = 3\n[[gate.rule]]\nfail-if = 'alpha > 9'\nseverity = 'warn'\ninclude = ['model*']\n";
    fs::write(folder.path().join("svdkit.toml"), settings).unwrap();
    let check = |arguments: &[&str], setting: &str, value: &str, from: &str| {
        let expected = (value.to_owned(), from.to_owned());
        assert_eq!(set(folder.path(), arguments, setting), expected, "{arguments:?} {setting}");
    };
    check(&[], "jobs", "3", "svdkit.toml");
    check(&["-j", "2"], "jobs", "2", "--jobs");
    check(&["--exclude", "x"], "exclude", "x", "--exclude");
    check(&["--no-config"], "exclude", "–", "default");
    check(&[], "color", "auto", "default");
    check(&[], "gate.rule", "alpha > 9 (warn, include model*)", "svdkit.toml, line 4");
    check(&["--fail-if", "alpha > 9"], "gate.rule", "alpha > 9", "--fail-if");
    check(&["--allow-missing"], "gate.allow-missing", "true", "--allow-missing");
    let names = |arguments: &[&str]| {
        let output = svdkit_in(folder.path(), &[&["spectrum", BASE, "--format", "csv"], arguments].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(names(&["--no-config"]).contains("\nlm_head,") && !names(&[]).contains("\nlm_head,"));
    assert!(names(&["--exclude", "x"]).contains("\nlm_head,"));
}

#[test]
fn the_nearest_file_upward_is_taken_or_the_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    fs::create_dir_all(&inner).unwrap();
    fs::write(folder.path().join("svdkit.toml"), "jobs = 5").unwrap();
    fs::write(folder.path().join("other.toml"), "jobs = 7").unwrap();
    assert_eq!(set(&inner, &[], "jobs").0, "5");
    assert!(set(&inner, &[], "jobs").1.ends_with("svdkit.toml"));
    assert_eq!(set(&inner, &["--config", "../../other.toml"], "jobs").0, "7");
    fs::write(folder.path().join("a/svdkit.toml"), "jobs = 6").unwrap();
    assert_eq!(set(&inner, &[], "jobs").0, "6");
}

#[test]
fn settings_from_above_are_named_and_end_where_the_work_of_others_begins() {
    let folder = tempfile::tempdir().unwrap();
    let (outer, inner) = (folder.path().join("a"), folder.path().join("a/b"));
    fs::create_dir_all(&inner).unwrap();
    let settings = |folder: &Path, jobs: &str| fs::write(folder.join("svdkit.toml"), jobs).unwrap();
    settings(folder.path(), "jobs = 5");
    let told = |folder: &Path, more: &[&str]| {
        let output =
            svdkit_in(folder, &[&["spectrum", BASE, "--include", "lm_head", "--no-svd"], more].concat());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = told(&inner, &[]);
    assert!(said.starts_with("settings and rules are those of ") && said.lines().count() == 1, "{said}");
    assert!(said.contains("svdkit.toml; `--no-config` leaves them out"), "{said}");
    assert_eq!(told(&inner, &["-q"]), "");
    assert_eq!(told(&inner, &["--no-config"]), "");
    assert_eq!(told(folder.path(), &[]), "");
    let from = |home: &Path| {
        let mut command = program();
        command.args(["config", "--format", "json"]).current_dir(&inner).env("HOME", home);
        let lines: Vec<Value> = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        lines.iter().find(|line| line["setting"] == "jobs").unwrap()["from"].as_str().unwrap().to_owned()
    };
    assert!(from(Path::new("/nowhere")).ends_with("svdkit.toml"));
    assert_eq!(from(&outer), "default");
    settings(&outer, "jobs = 6");
    assert!(from(&outer).ends_with("a/svdkit.toml"));
    fs::remove_file(outer.join("svdkit.toml")).unwrap();
    fs::write(outer.join(".git"), "gitdir: elsewhere").unwrap();
    assert_eq!(from(Path::new("/nowhere")), "default");
    settings(&outer, "jobs = 6");
    assert!(from(Path::new("/nowhere")).ends_with("a/svdkit.toml"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::chown;
        fs::remove_file(outer.join(".git")).unwrap();
        // Only root may give away what it owns.
        if chown(outer.join("svdkit.toml"), Some(12_345), None).is_ok() {
            assert_eq!(from(Path::new("/nowhere")), "default");
            settings(&outer, "jobs = 6");
            chown(&outer, Some(12_345), None).unwrap();
            assert_eq!(from(Path::new("/nowhere")), "default");
        }
    }
}

#[test]
fn what_no_person_would_write_is_not_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let check = |settings: &str, part: &str| {
        fs::write(folder.path().join("svdkit.toml"), settings).unwrap();
        let output = svdkit_in(folder.path(), &["config"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.len() < 1000 && said.contains(part), "{said}");
    };
    check(&"# a comment\n".repeat(100_000), "a settings file of more than 1048576 bytes is not read");
    check(&format!("jobs = '{}'", "x".repeat(100_000)), "line 1, `jobs = 'xxx");
    check(&format!("include = ['[{}']", "x".repeat(100_000)), "glob `[xxx");
}

#[test]
fn a_bad_file_is_told_by_line_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let check = |settings: &str, part: &str| {
        fs::write(folder.path().join("svdkit.toml"), settings).unwrap();
        let output = svdkit_in(folder.path(), &["spectrum", BASE, "--include", "lm_head"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{settings}: {said}");
        assert!(said.starts_with("error: svdkit.toml: line ") && said.contains(part), "{settings}: {said}");
    };
    check(
        "\ninclde = ['a']",
        "line 2, `inclde = ['a']`: no setting is called `inclde`; did you mean `include`?",
    );
    check("[gate]\nrules = []", "did you mean `rule`?");
    check("jobs = 'x'", "expected a whole number from 1 on");
    check("jobs = 0", "expected a whole number from 1 on");
    check("memory = '8X'", "`x` is not a unit of memory");
    check("color = 'autom'", "no choice is called `autom`; did you mean `auto`?");
    check("include = ['a[']", "glob `a[`");
    check("gate = 3", "expected a table, `[gate]`");
    check("a = [", "unclosed array");
    check(&format!("a = {}", "[".repeat(5000)), "recurs");
    check("[[gate.rule]]\nfail-if = 'alpa > 2'", "line 2: no column is called `alpa`; did you mean `alpha`?");
    check(
        "[[gate.rule]]\nfail-if = 'zzz: alpha > 1'",
        "line 2: rule `zzz: alpha > 1`: no matrix of the report matches",
    );
    check("[[gate.rule]]\nfail-if = 'alpha'", "no comparison");
    check("[[gate.rule]]\nseverity = 'warn'", "missing field `fail-if`");
    check("[[gate.accept]]\ncolumn = 'alpha'", "missing field `reason`");
    check("[[gate.accept]]\ncolumn = 'alpha'\nreason = ' '", "`reason` is empty");
    check("[[gate.accept]]\nreason = 'x'", "by either `rule` or `column`");
    check("[[gate.accept]]\ncolumn = 'alpa'\nreason = 'x'", "did you mean `alpha`?");
    check("[[gate.accept]]\nrule = 'alpha > 3'\nreason = 'x'", "`alpha > 3` is not a rule here");
    check("[[gate.accept]]\ncolumn = 'alpha'\nreason = 'x'\nuntil = '2027-01-31'", "expected a day");
    check("[[gate.accept]]\ncolumn = 'alpha'\nreason = 'x'\nuntil = 2027-01-31T00:00:00", "is no day");
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("binary.toml"), [b'a', 0xff]).unwrap();
    for (path, part) in [("none.toml", "cannot open"), ("binary.toml", "UTF-8"), (".", "folder")] {
        let output = svdkit_in(folder.path(), &["config", "--config", path]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(part), "{path}: {said}");
    }
}
