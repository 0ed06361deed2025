//! Texts that a stranger chose never drive a terminal, a spreadsheet, a page or a build server: hostile names, paths,
//! settings and saved reports through every command and format.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value as Json, json};
use svdkit::error::is_hidden;

use super::harness::program;

/// What names are made of here.
const HOSTILE: &[&str] = &[
    "\u{1b}[31mred\u{1b}[0m",
    "\u{9b}2Jc1",
    "line\r\nbreak",
    "\u{202e}turned\u{2066}",
    "zero\u{200b}width\u{feff}",
    "del\u{7f}\u{85}\u{2028}",
    "tag\u{e0041}",
    "::error::x",
    "layers.0.::error::y",
    "layers.0.::error::z",
    "\n::add-mask::x",
    "##vso[task.complete]x",
    "a##[error]x",
    "=1+1",
    "@SUM(A1)",
    " \"=cmd|' /C calc'!A0",
    "\t-2",
    "a;=1",
    "[x](http://x.example)",
    "![x](//x.example/y.png)",
    "https://x.example/www.x.example",
    "<img src=x onerror=y>",
    "</script><script>",
    "a|b`c``d",
    "@org/team #1 *b* _i_",
    "]]>",
    "'",
    "\u{fffe}",
];

const FORMATS: &[&str] = &["table", "json", "jsonl", "csv", "markdown", "html", "junit", "github", "gitlab"];

/// A model with a matrix and a vector of each name.
fn model(folder: &Path, seed: f32) -> PathBuf {
    let path = folder.join("model.safetensors");
    let (mut header, mut bytes) = (serde_json::Map::new(), vec![]);
    for (i, name) in HOSTILE.iter().enumerate() {
        for (name, shape) in [(format!("{name}.weight"), vec![4, 3]), (format!("{name}.bias"), vec![3])] {
            let start = bytes.len();
            let count: usize = shape.iter().product();
            for k in 0..count {
                bytes.extend_from_slice(&((i * 7 + k * k + 1) as f32 * seed).sin().to_le_bytes());
            }
            header.insert(
                name,
                json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()] }),
            );
        }
    }
    let text = Json::Object(header).to_string();
    fs::write(&path, [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &bytes].concat()).unwrap();
    let config = json!({ "model_type": HOSTILE[0], "architectures": HOSTILE, "torch_dtype": HOSTILE[1] });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    path
}

fn svdkit(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.current_dir(folder).env("HF_HOME", folder).args(arguments).output().unwrap()
}

/// The line of `text` that a build server would take for a command.
fn command(text: &str) -> Option<&str> {
    let words = ["##[", "##vso[", "##teamcity["];
    text.lines()
        .find(|line| line.trim_start().starts_with("::") || words.iter().any(|word| line.contains(word)))
}

/// What holds of every output, and what else of one in `format`.
fn check(what: &str, format: &str, text: &str) {
    let hidden = text.chars().find(|c| is_hidden(*c) && *c != '\n');
    assert_eq!(hidden, None, "{what} as {format}:\n{text}");
    if format != "github" {
        assert_eq!(command(text), None, "{what} as {format}");
    }
    match format {
        "json" | "gitlab" => drop(serde_json::from_str::<Json>(text).unwrap()),
        "jsonl" => text.lines().for_each(|line| drop(serde_json::from_str::<Json>(line).unwrap())),
        "github" => assert!(text.lines().all(|line| line.starts_with("::")), "{text}"),
        "csv" => check_cells(what, text),
        "markdown" => check_markdown(what, text),
        "html" => {
            assert!(!text.contains("<img") && text.matches("<script").count() == 1, "{what}:\n{text}");
        }
        _ => {}
    }
}

fn check_cells(what: &str, text: &str) {
    for line in csv(text) {
        for cell in line {
            let start = cell.trim_start_matches([' ', '"', '\'']);
            let formula = start.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
            assert!(!formula || cell.starts_with('\''), "{what}: {cell:?}");
            assert!(!cell.contains(";="), "{what}: {cell:?}");
        }
    }
}

/// Lines of cells; every cell that holds a quote or a comma is quoted.
fn csv(text: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let (mut cells, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(String::new()),
                _ => cells.last_mut().unwrap().push(c),
            }
        }
        cells
    };
    // A doubled quote inside of quotes closes and opens them, and is lost here.
    text.lines().map(cells).collect()
}

/// Outside of code nothing links, mentions or is an element.
fn check_markdown(what: &str, text: &str) {
    for line in text.lines() {
        let outside = without_code(line);
        for mark in ["](", "http", "www.", "<img", "<script", "@org", "#1", "*b*"] {
            assert!(!outside.contains(mark), "{what}: {mark} in {line}");
        }
    }
    let tables = text.lines().filter(|line| line.starts_with("| "));
    let bars = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut last = 0;
    for line in tables {
        if text.contains(&format!("{line}\n|--")) {
            last = bars(line);
        }
        assert_eq!(bars(line), last, "{what}: {line}");
    }
}

/// A line without its code spans, by their fences.
fn without_code(line: &str) -> String {
    let (mut outside, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('`') {
        outside.push_str(&rest[..at]);
        let fence = rest[at..].chars().take_while(|c| *c == '`').count();
        let after = &rest[at + fence..];
        let ends = after.match_indices('`').map(|(i, _)| i).find(|i| {
            let run = after[*i..].chars().take_while(|c| *c == '`').count();
            run == fence && !after[..*i].ends_with('`')
        });
        let end = ends.unwrap_or_else(|| panic!("code without an end: {line}"));
        rest = &after[end + fence..];
    }
    outside + rest
}

#[test]
fn no_name_is_more_than_text_in_any_format() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let (a, b) = (model(folder.path(), 1.0), model(&other, 1.1));
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let rules = ["--fail-if", "*: spectral_norm < 100", "--fail-if", "max(alpha) < 1"];
    let change = ["--fail-if", "spectral_norm_change < 1000%"];
    let commands: [&[&str]; 7] = [
        &["spectrum", a, rules[0], rules[1], rules[2], rules[3], "--allow-missing"],
        &["spectrum", a, "--no-svd"],
        &["compare", a, b, change[0], change[1], "--allow-missing"],
        &["compare", a, "--tuned", "\u{1b}x=other", "--tuned", "b=other"],
        &["intruders", a, b, "--detail"],
        &["rank", a],
        &["farms", a],
    ];
    for words in commands {
        for format in FORMATS {
            let output = svdkit(folder.path(), &[words, &["--format", format, "-v"]].concat());
            let (out, err) =
                (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            assert!(!out.is_empty() || *format == "github", "{words:?} {format}: {err}");
            check(&words.join(" "), format, &out);
            check(&words.join(" "), "messages", &err);
        }
    }
    for format in ["table", "json", "jsonl", "csv", "markdown"] {
        let output = svdkit(folder.path(), &["inspect", a, "--format", format]);
        check("inspect", format, &String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn advice_and_plans_and_pictures_are_safe_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let a = model(folder.path(), 1.0);
    let a = a.to_str().unwrap();
    let commands: [(&[&str], &str); 6] = [
        (&["rank", a, "--emit", "peft-rank-pattern", "--budget", "2"], "json"),
        (&["rank", a, "--emit", "spectrum-yaml"], "text"),
        (&["rank", a, "--emit", "kohya", "--resize", "sv_fro=0.9"], "text"),
        (&["spectrum", a, "--dry-run"], "text"),
        (&["spectrum", a, "--plot", "scree", "--include", "*red*"], "text"),
        (&["spectrum", a, "--plot", "esd", "--include", "*31m*", "--color", "always"], "color"),
    ];
    for (words, format) in commands {
        let output = svdkit(folder.path(), words);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let sequence =
            |part: &str| part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
        if format == "color" {
            assert!(text.split("\u{1b}[").skip(1).all(sequence) && text.contains("\\u{1b}[31mred"), "{text}");
        } else {
            check(&words.join(" "), format, &text);
        }
    }
}

#[test]
fn json_gives_the_true_names_back_and_a_saved_report_pairs_with_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let a = model(folder.path(), 1.0);
    let a = a.to_str().unwrap();
    assert!(svdkit(folder.path(), &["spectrum", a, "-q", "-o", "r.json"]).status.success());
    let report: Json = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    let tensors: Vec<&str> =
        report["rows"].as_array().unwrap().iter().map(|row| row["tensor"].as_str().unwrap()).collect();
    for name in HOSTILE {
        assert!(tensors.contains(&format!("{name}.weight").as_str()), "{name:?} of {tensors:?}");
    }
    for (base, tuned) in [("r.json", a), ("r.json", "r.json"), (a, "r.json")] {
        let output = svdkit(folder.path(), &["compare", base, tuned, "--all", "--format", "json"]);
        let report: Json = serde_json::from_slice(&output.stdout).unwrap();
        let compared = &report["totals"]["compared"];
        assert_eq!(compared["unchanged"], HOSTILE.len(), "{base} {tuned}: {compared}");
        assert_eq!((&compared["added"], &compared["removed"]), (&json!(0), &json!(0)));
    }
}

#[test]
fn a_hostile_report_is_no_more_than_text() {
    let folder = tempfile::tempdir().unwrap();
    let a = model(folder.path(), 1.0);
    let a = a.to_str().unwrap();
    assert!(svdkit(folder.path(), &["spectrum", a, "-q", "-o", "r.json"]).status.success());
    let sound: Json = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    let mut report = sound.clone();
    for (i, row) in report["rows"].as_array_mut().unwrap().iter_mut().enumerate() {
        for key in ["name", "tensor", "role", "dequant", "blake3"] {
            row[key] = json!(HOSTILE[i]);
        }
        if i % 3 == 0 {
            row["failed"] = json!(HOSTILE[i]);
        }
    }
    for (i, other) in report["skipped"].as_array_mut().unwrap().iter_mut().enumerate() {
        for key in ["tensor", "dtype", "reason", "failed"] {
            other[key] = json!(HOSTILE[i]);
        }
    }
    report["model"]["path"] = json!(HOSTILE.concat());
    fs::write(folder.path().join("bad.json"), report.to_string()).unwrap();
    for (base, tuned) in [("bad.json", a), (a, "bad.json"), ("bad.json", "bad.json"), ("bad.json", "r.json")]
    {
        for format in FORMATS {
            let rule = ["--fail-if", "spectral_norm_change > 1000", "--fail-if", "removed > 0"];
            let output =
                svdkit(folder.path(), &[&["compare", base, tuned, "--format", format], &rule[..]].concat());
            check(&format!("{base} {tuned}"), format, &String::from_utf8(output.stdout).unwrap());
            check(&format!("{base} {tuned}"), "messages", &String::from_utf8(output.stderr).unwrap());
        }
    }
    // A key of a column or a setting becomes a key again: only a word may.
    for (place, key) in [("columns", "</style><script>"), ("columns", "=1"), ("settings", "a\u{1b}")] {
        let mut report = sound.clone();
        match place {
            "columns" => report["columns"].as_array_mut().unwrap().push(json!(key)),
            _ => report["settings"][key] = json!("x"),
        }
        fs::write(folder.path().join("bad.json"), report.to_string()).unwrap();
        let output = svdkit(folder.path(), &["compare", "bad.json", "bad.json"]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("is not a name of a column or a setting"), "{message}");
        check(key, "messages", &message);
    }
}

#[test]
fn numbers_of_a_csv_stay_and_raw_cells_are_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let (a, b) = (model(folder.path(), 1.0), model(&other, 1.1));
    let words = ["compare", a.to_str().unwrap(), b.to_str().unwrap(), "--format", "csv"];
    let read = |more: &[&str]| {
        String::from_utf8(svdkit(folder.path(), &[&words[..], more].concat()).stdout).unwrap()
    };
    let (safe, raw) = (read(&[]), read(&["--csv-raw"]));
    assert!(safe.contains("\n'=1+1,'=1+1.weight,") && raw.contains("\n=1+1,=1+1.weight,"), "{safe}\n{raw}");
    assert!(safe.contains("'@SUM(A1)") && raw.contains("\n@SUM(A1)"), "{raw}");
    check("raw", "text", &raw);
    let numbers = |text: &str| -> Vec<Vec<String>> {
        let lines = csv(text).into_iter().filter(|line| line[7] == "measured");
        // The last cell has the codes of what is missing.
        lines.map(|line| line[10..line.len() - 1].to_vec()).collect()
    };
    assert_eq!(numbers(&safe), numbers(&raw));
    assert!(
        numbers(&safe).iter().flatten().any(|cell| cell.starts_with('-')),
        "no number below 0 was looked at"
    );
    assert!(numbers(&safe).iter().flatten().all(|cell| cell.is_empty() || cell.parse::<f64>().is_ok()));
}

#[test]
fn what_is_typed_or_lies_in_settings_is_shown_printable() {
    let folder = tempfile::tempdir().unwrap();
    let a = model(folder.path(), 1.0);
    let a = a.to_str().unwrap();
    let odd = "\u{1b}[31m\n::error::\u{9b}\u{202e}x";
    let settings = format!(
        "include = [{0}]\n[[gate.rule]]\nfail-if = \"alpha < 0\"\n[[gate.accept]]\ncolumn = \"alpha\"\nreason = {0}\n",
        json!(odd).to_string().replace('\u{9b}', "\\u009b")
    );
    fs::write(folder.path().join("odd.toml"), settings).unwrap();
    let commands: [&[&str]; 14] = [
        &["spectrum", odd],
        &["spectrum", a, odd],
        &["spectrum", a, "--format", odd],
        &["spectrum", a, "--include", odd],
        &["spectrum", a, "--include", "\u{1b}{"],
        &["spectrum", a, "--columns", odd],
        &["spectrum", a, "--sort", odd],
        &["spectrum", a, "--fail-if", odd],
        &["spectrum", a, "-o", odd],
        &["spectrum", a, "--config", odd],
        &["explain", odd],
        &[odd],
        &["config", "--config", "odd.toml"],
        &["config", "--config", "odd.toml", "--format", "json"],
    ];
    for words in commands {
        let output = svdkit(folder.path(), words);
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(
            !out.is_empty() || err.lines().filter(|line| line.starts_with("error: ")).count() == 1,
            "{words:?}: {err}"
        );
        check(&format!("{words:?}"), "messages", &(out + &err));
    }
    // A folder with such a name, and a file that is broken in it.
    let odd = folder.path().join("\u{1b}[31m\u{202e}x");
    fs::create_dir(&odd).unwrap();
    let inside = model(&odd, 1.0);
    for format in FORMATS {
        let output = svdkit(folder.path(), &["spectrum", odd.to_str().unwrap(), "--format", format]);
        check("an odd folder", format, &String::from_utf8(output.stdout).unwrap());
    }
    fs::write(inside, "x").unwrap();
    let output = svdkit(folder.path(), &["spectrum", odd.to_str().unwrap()]);
    check("a broken file", "messages", &String::from_utf8(output.stderr).unwrap());
}
