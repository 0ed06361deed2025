//! docs/tutorials: what each page has its reader type prints what stands there.
//!
//! Commands of a page are typed into one folder, which has `fixtures`, in order. `[..]` stands for any text in a line, a line
//! `...` for any lines. With TRYCMD=overwrite, what differs is written into the page.
//! Pages that call `python3` are run where SVDKIT_PYTHON names a Python.

#![cfg(unix)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What is typed, and where in the page's lines stands what it prints.
struct Step {
    typed: String,
    printed: std::ops::Range<usize>,
}

/// The commands of a page's `console` blocks: behind `$ `, and behind `> ` where they go on.
fn steps(lines: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = vec![];
    let mut inside = false;
    for (i, line) in lines.iter().enumerate() {
        if line.starts_with("```") {
            inside = *line == "```console";
        } else if let (true, Some(typed)) = (inside, line.strip_prefix("$ ")) {
            steps.push(Step { typed: typed.to_owned(), printed: i + 1..i + 1 });
        } else if inside {
            let step = steps.last_mut().unwrap_or_else(|| panic!("output before a command: {line}"));
            match line.strip_prefix("> ").or_else(|| line.strip_prefix('>')) {
                Some(more) if step.printed.is_empty() => {
                    step.typed = format!("{}\n{more}", step.typed);
                    step.printed = i + 1..i + 1;
                }
                _ => step.printed.end = i + 1,
            }
        }
    }
    steps
}

/// Whether `line` is `pattern`, in which `[..]` stands for any text.
fn line_is(pattern: &str, line: &str) -> bool {
    let Some((before, after)) = pattern.split_once("[..]") else { return pattern == line };
    let Some(rest) = line.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_is(after, &rest[at..]))
}

/// Whether `lines` are `patterns`, in which `...` stands for any lines.
fn lines_are(patterns: &[&str], lines: &[&str]) -> bool {
    match (patterns, lines) {
        ([], []) => true,
        (["...", rest @ ..], _) => (0..=lines.len()).any(|skip| lines_are(rest, &lines[skip..])),
        ([pattern, patterns @ ..], [line, lines @ ..]) => {
            line_is(pattern, line) && lines_are(patterns, lines)
        }
        _ => false,
    }
}

/// What `typed` prints in `folder`, as in a terminal.
fn run(typed: &str, folder: &Path, python: Option<&Path>) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_svdkit")).parent().unwrap();
    let mut path = format!("{}:/usr/bin:/bin", program.display());
    if let Some(python) = python {
        path = format!("{}:{path}", python.display());
    }
    let mut shell = Command::new("bash");
    shell.args(["--noprofile", "--norc", "-c", &format!("exec 2>&1\n{typed}")]).current_dir(folder);
    shell.env_clear().envs([("CI", "true"), ("HOME", "."), ("LC_ALL", "C.UTF-8")]).env("PATH", path);
    String::from_utf8(shell.output().unwrap().stdout).unwrap()
}

/// A folder on the path in which SVDKIT_PYTHON is called `python3`.
fn python(folder: &Path) -> Option<PathBuf> {
    let python = env::var_os("SVDKIT_PYTHON")?;
    fs::create_dir(folder.join("bin")).unwrap();
    std::os::unix::fs::symlink(python, folder.join("bin/python3")).unwrap();
    Some(folder.join("bin"))
}

#[test]
fn what_tutorials_type_prints_what_they_show() {
    let pages = fs::read_dir(Path::new(ROOT).join("docs/tutorials")).unwrap();
    let mut pages: Vec<_> = pages.map(|page| page.unwrap().path()).collect();
    pages.sort();
    let mut wrong = vec![];
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let steps = steps(&lines);
        assert!(!steps.is_empty(), "{} has nothing to type", page.display());
        let outer = tempfile::tempdir().unwrap();
        let python = python(outer.path());
        if python.is_none() && steps.iter().any(|step| step.typed.contains("python3 ")) {
            continue;
        }
        let folder = outer.path().join("reader");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(Path::new(ROOT).join("fixtures"), folder.join("fixtures")).unwrap();
        let printed: Vec<String> =
            steps.iter().map(|step| run(&step.typed, &folder, python.as_deref())).collect();
        for (step, printed) in steps.iter().zip(&printed).rev() {
            let printed: Vec<&str> = printed.lines().collect();
            if !lines_are(&lines[step.printed.clone()], &printed) {
                wrong.push(format!("{}: $ {}\n{}", page.display(), step.typed, printed.join("\n")));
                lines.splice(step.printed.clone(), printed);
            }
        }
        if env::var("TRYCMD").is_ok_and(|how| how == "overwrite") {
            fs::write(&page, lines.join("\n") + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_readme_leads_to_every_tutorial() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    for page in fs::read_dir(Path::new(ROOT).join("docs/tutorials")).unwrap() {
        let link = format!("(docs/tutorials/{})", page.unwrap().file_name().display());
        assert!(readme.contains(&link), "README.md has no {link}");
    }
}
