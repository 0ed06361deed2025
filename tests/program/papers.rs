//! docs/papers.md: every row's command gives the number that stands there, and every row without one says why.

use std::fs;
use std::path::Path;

use crate::harness::{json_in, list};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The cells of each row, the first of which is the number of the paper.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let cells = |line: &'_ str| -> bool { line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit() };
    let split = |line| -> Vec<&str> { str::trim_matches(line, '|').split(" | ").map(str::trim).collect() };
    page.lines().filter(|line| cells(line)).map(split).collect()
}

/// What stands between backticks, if a cell is that.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

/// Half of the last digit that is printed.
fn last_digit(number: &str) -> f64 {
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    0.5 * 10f64.powi(-i32::try_from(decimals).unwrap())
}

/// Runs a command of the page, its outputs in `folder`, and gives the first row's number in `column`.
fn run(command: &str, column: &str, folder: &Path) -> f64 {
    let words = command.strip_prefix("svdkit ").unwrap_or_else(|| panic!("not a command: {command}"));
    let target = format!("{}/", folder.display());
    let words: Vec<String> =
        words.split(' ').map(|word| word.trim_matches('\'').replace("target/", &target)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let report = json_in(Path::new(ROOT), &words);
    let value = list(&report, "rows")[0][column].as_f64();
    value.unwrap_or_else(|| panic!("{command}: no {column} in {}", report["rows"][0]))
}

#[test]
fn every_paper_has_a_number_that_its_command_gives_or_a_reason() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/papers.md")).unwrap();
    let rows = rows(&page);
    let numbers: Vec<usize> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(numbers, (1..=46).collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let mut with_command = 0;
    for row in &rows {
        assert_eq!(row.len(), 6, "{row:?}");
        let [_, _, command, column, golden, test] = row[..] else { unreachable!() };
        let Some(command) = code(command) else {
            assert_eq!((command, column, golden), ("–", "–", "–"), "{row:?}");
            assert!(test.len() > 20, "no reason: {row:?}");
            continue;
        };
        with_command += 1;
        let found = run(command, code(column).unwrap(), folder.path());
        let expected: f64 = golden.parse().unwrap();
        let miss = (found - expected).abs();
        assert!(miss <= 1.001 * last_digit(golden), "{command}: {column} is {found}, not {golden}");
        for file in test.split(", ") {
            assert!(Path::new(ROOT).join(code(file).unwrap()).is_file(), "{file} of {row:?}");
        }
    }
    // A page of reasons alone would pass.
    assert!(with_command >= 40, "{with_command}");
}
