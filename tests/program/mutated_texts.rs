//! Saved reports, settings, rules and globs, damaged at random: the program works with them or says in one line why not.
//!
//! `SVDKIT_MUTATIONS` and `SVDKIT_SEED` as in tests/mutations.rs; a tenth as many cases, for each starts the program. The
//! long campaign over everything is tests/mutations.py.

#[path = "../damage/mod.rs"]
mod damage;

use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use svdkit::error::is_hidden;

use damage::{Random, damage, setting};

use super::harness::program;

/// Cases of an ordinary test run.
const CASES: u64 = 1_000;
/// The longest that one case may take.
const SLOWEST: Duration = Duration::from_mins(1);

/// What only the program reads, and how it is asked; `FILE` stands for the damaged file.
const PROGRAM: &[(&str, &[&str])] = &[
    ("report.json", &["compare", "FILE", "fixtures/dialects/base", "--fail-if", "alpha > 3"]),
    ("report.json", &["compare", "FILE", "FILE", "--format", "csv"]),
    ("report.json", &["compare", "fixtures/dialects/base", "FILE", "--format", "junit"]),
    ("report.json", &["compare", "FILE", "FILE", "--format", "json"]),
    ("svdkit.toml", &["config", "--config", "FILE"]),
    ("svdkit.toml", &["compare", "fixtures/dialects/base", "fixtures/dialects/base", "--config", "FILE"]),
    ("rule", &["compare", "fixtures/dialects/base", "fixtures/dialects/base", "--fail-if", "TEXT"]),
    ("glob", &["inspect", "fixtures/dialects/base", "--include", "TEXT", "--format", "markdown"]),
    ("adapter_config.json", &["inspect", "fixtures/dialects/dora", "--adapter-config", "FILE"]),
];

/// The sound files of [`PROGRAM`] by name.
fn sound(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let report = folder.join("sound.json");
    let written =
        svdkit(&["spectrum", "fixtures/dialects/base", "-q", "-o", &report.to_string_lossy()], folder);
    assert!(written.0.success(), "{}", written.2);
    let page = fs::read_to_string(root.join("docs/ci.md")).expect("readable");
    let settings =
        page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    vec![
        ("report.json", fs::read(report).expect("readable")),
        ("svdkit.toml", settings.as_bytes().to_vec()),
        ("rule", b"mean(*.0.*: effective_rank_change) < -10%".to_vec()),
        ("glob", b"model.layers.{0,1}.*[a-z]_proj".to_vec()),
        (
            "adapter_config.json",
            fs::read(root.join("fixtures/dialects/dora/adapter_config.json")).expect("readable"),
        ),
    ]
}

/// Runs the program, whose output goes through files so that a full pipe cannot stop it.
fn svdkit(words: &[&str], folder: &Path) -> (ExitStatus, String, String) {
    let [out, err] = ["stdout", "stderr"].map(|name| folder.join(name));
    let mut child = program()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(words)
        .stdout(fs::File::create(&out).expect("created"))
        .stderr(fs::File::create(&err).expect("created"))
        .spawn()
        .expect("it starts");
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if begun.elapsed() > SLOWEST => {
                child.kill().expect("a child");
                panic!("{words:?} does not end");
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let [out, err] =
        [out, err].map(|path| String::from_utf8(fs::read(path).expect("readable")).expect("text"));
    (status, out, err)
}

#[test]
fn damaged_reports_settings_and_rules_end_the_program_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sound = sound(folder.path());
    let first = setting("SVDKIT_SEED", 1);
    for case in first..first + setting("SVDKIT_MUTATIONS", CASES) / 10 {
        let mut random = Random(case.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (name, words) = PROGRAM[random.below(PROGRAM.len())];
        let mut bytes = sound.iter().find(|(known, _)| *known == name).expect("is listed").1.clone();
        for _ in 0..=random.below(3) {
            damage(&mut bytes, &mut random);
        }
        let file = folder.path().join(name);
        fs::write(&file, &bytes).expect("written");
        let text = String::from_utf8_lossy(&bytes).replace('\0', "");
        let path = file.to_string_lossy().into_owned();
        let word = |word: &&'static str| match *word {
            "FILE" => path.clone(),
            "TEXT" => text.clone(),
            other => other.to_owned(),
        };
        let words: Vec<String> = words.iter().map(word).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (status, out, err) = svdkit(&words, folder.path());
        let code = status.code();
        assert!(matches!(code, Some(0..=2)), "case {case} ends with {status}: {words:?}\n{err}");
        let errors = err.lines().filter(|line| line.starts_with("error: ")).count();
        assert!(code != Some(2) || errors >= 1, "case {case} says nothing: {words:?}");
        assert!(code != Some(2) || !out.is_empty() || errors == 1, "case {case} says {errors} errors: {err}");
        assert!(!err.contains("panicked"), "case {case} panics: {words:?}\n{err}");
        let hidden = |text: &str| text.chars().find(|c| is_hidden(*c) && *c != '\n');
        assert_eq!((hidden(&out), hidden(&err)), (None, None), "case {case}: {words:?}\n{out}{err}");
    }
}
