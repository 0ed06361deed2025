//! What docs/ci.md, the GitHub action and the pre-commit hook tell a build server to run, run here as it stands.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// A folder as a repository has it: `model/`, and a baseline of it.
fn repository() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    let base = Path::new(ROOT).join("fixtures/charlm/base/model.safetensors");
    fs::copy(base, model.join("model.safetensors")).unwrap();
    assert!(bash(&folder, "svdkit spectrum model -q -o baseline.json", &[]).status.success());
    folder
}

/// The same with a NaN in the last tensor of the model.
fn spoiled() -> TempDir {
    let folder = repository();
    let path = folder.path().join("model/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 2..].copy_from_slice(&[0xc0, 0x7f]);
    fs::write(path, bytes).unwrap();
    folder
}

/// Runs `script` in `folder` with the program on the path, as a build server does.
fn bash(folder: &TempDir, script: &str, environment: &[(&str, &str)]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_svdkit")).parent().unwrap();
    let mut command = Command::new("bash");
    command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]);
    command.current_dir(folder.path()).env_clear().env("CI", "true").envs(environment.iter().copied());
    command.env("PATH", format!("{}:/usr/bin:/bin", program.display())).output().unwrap()
}

fn check(output: &Output, code: i32, script: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{script}\n{said}");
}

/// The contents of the fenced blocks of a page that are marked `kind`.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let fence = format!("```{kind}\n");
    page.split(&fence).skip(1).map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

/// The lines below `key`, as far as they are indented deeper, without their indentation.
fn below(text: &str, key: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().collect();
    let starts =
        (0..lines.len()).filter(|i| lines[*i].trim_start().trim_start_matches("- ").starts_with(key));
    starts
        .map(|start| {
            let deeper = |line: &&&str| line.trim().is_empty() || indent(line) > indent(lines[start]);
            let content: Vec<&str> = lines[start + 1..].iter().take_while(deeper).copied().collect();
            let least = content.iter().filter(|line| !line.trim().is_empty()).map(|line| indent(line)).min();
            let cut = |line: &&str| line.get(least.unwrap_or(0)..).unwrap_or_default().to_owned();
            content.iter().map(cut).collect::<Vec<_>>().join("\n")
        })
        .collect()
}

#[test]
fn every_shell_line_of_the_page_passes_on_an_untouched_model_and_its_gates_fail_on_a_spoiled_one() {
    let page = read("docs/ci.md");
    let scripts = blocks(&page, "sh");
    let gitlab = blocks(&page, "yaml").iter().flat_map(|block| below(block, "script:")).collect::<Vec<_>>();
    let gitlab =
        gitlab.iter().flat_map(|list| list.lines()).map(|line| line.trim_start_matches("- ").to_owned());
    let scripts: Vec<String> = scripts.into_iter().chain(gitlab).collect();
    assert_eq!(scripts.len(), 5, "{scripts:?}");
    for script in &scripts {
        check(&bash(&repository(), script, &[]), 0, script);
        check(&bash(&spoiled(), script, &[]), 1, script);
    }
}

#[test]
fn the_settings_of_the_page_are_understood_and_catch_what_they_say() {
    let settings = &blocks(&read("docs/ci.md"), "toml")[0];
    for (folder, code) in [(repository(), 0), (spoiled(), 1)] {
        fs::write(folder.path().join("svdkit.toml"), settings).unwrap();
        check(&bash(&folder, "svdkit compare baseline.json model", &[]), code, settings);
    }
}

#[test]
fn the_action_annotates_summarizes_and_ends_as_the_gate_does() {
    let steps = below(&read(".github/actions/compare/action.yml"), "run: |");
    let [step] = &steps[..] else { panic!("{steps:?}") };
    for (folder, code) in [(repository(), 0), (spoiled(), 1)] {
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (summary, temporary) = (at("summary.md"), at("."));
        fs::write(&summary, "before\n").unwrap();
        let environment = [
            ("BASELINE", "baseline.json"),
            ("MODEL", "model"),
            ("ARGUMENTS", "--fail-if\nnonfinite_count > 0\n\n--no-vectors\n"),
            ("RUNNER_TEMP", &temporary),
            ("GITHUB_STEP_SUMMARY", &summary),
            ("PACKAGE", "not asked for where svdkit is on the path"),
        ];
        let output = bash(&folder, step, &environment);
        check(&output, code, step);
        let (annotations, summary) =
            (String::from_utf8(output.stdout).unwrap(), fs::read_to_string(&summary).unwrap());
        assert_eq!(
            annotations.contains("::error title=svdkit%3A nonfinite_count > 0::"),
            code == 1,
            "{annotations}"
        );
        let verdict = if code == 0 { "**passed**: 1 rule" } else { "**FAILED**: 1 of 1 rules" };
        assert!(summary.starts_with(&format!("before\n{verdict}")), "{summary}");
    }
}

/// Puts a program `uvx` into `folder` that runs the svdkit of this build, whatever version it is asked for.
fn put_uvx(folder: &TempDir) {
    let path = folder.path().join("uvx");
    fs::write(&path, "#!/bin/sh\nshift\nexec svdkit \"$@\"\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_hooks_look_at_every_file_they_are_given() {
    let entries: Vec<String> = [".pre-commit-hooks.yaml", "docs/ci.md"]
        .iter()
        .flat_map(|page| below(&read(page), "entry: >-"))
        .collect();
    assert_eq!(entries.len(), 2, "{entries:?}");
    let (sound, broken) = (repository(), spoiled());
    let file = |folder: &TempDir| folder.path().join("model/model.safetensors").to_str().unwrap().to_owned();
    for entry in &entries {
        let script = |files: [String; 2]| format!("PATH=.:$PATH; {} {}", entry.trim(), files.join(" "));
        let fine = script([file(&sound), file(&sound)]);
        let failing = script([file(&broken), file(&sound)]);
        put_uvx(&sound);
        put_uvx(&broken);
        check(&bash(&sound, &fine, &[]), 0, &fine);
        // The sound file comes last, and does not hide the other.
        check(&bash(&broken, &failing, &[]), 1, &failing);
    }
}

#[test]
fn every_recipe_installs_the_version_of_this_package() {
    let pin = format!("svdkit=={}", env!("CARGO_PKG_VERSION"));
    for page in [".github/actions/compare/action.yml", ".pre-commit-hooks.yaml", "docs/ci.md"] {
        let page_text = read(page);
        let pins: Vec<&str> = page_text.match_indices("svdkit==").map(|(at, _)| &page_text[at..]).collect();
        assert!(!pins.is_empty() && pins.iter().all(|text| text.starts_with(&pin)), "{page}: {pin}");
    }
}

/// The text in quotes after `key = `.
fn quoted(text: &str, key: &str) -> String {
    let start = text.find(&format!("\n{key} = \"")).unwrap_or_else(|| panic!("no {key}")) + key.len() + 5;
    text[start..].split('"').next().unwrap().to_owned()
}

#[test]
fn binstall_asks_for_the_archives_that_a_release_has() {
    let manifest = read("Cargo.toml");
    let metadata = &manifest[manifest.find("[package.metadata.binstall]").unwrap()..];
    let windows =
        &metadata[metadata.find("[package.metadata.binstall.overrides.x86_64-pc-windows-msvc]").unwrap()..];
    let build = read(".github/release/build.sh");
    let named = build.lines().find_map(|line| line.strip_prefix("name=")).unwrap();
    for (table, target, ending, exe) in
        [(metadata, "aarch64-apple-darwin", "tar.gz", ""), (windows, "x86_64-pc-windows-msvc", "zip", ".exe")]
    {
        let filled = |template: String| {
            let values = [
                ("repo", "https://example.org/svdkit"),
                ("name", "svdkit"),
                ("bin", "svdkit"),
                ("version", "1.2.3"),
                ("target", target),
                ("binary-ext", exe),
            ];
            values.iter().fold(template, |text, (key, value)| text.replace(&format!("{{ {key} }}"), value))
        };
        let name = named.split(' ').next().unwrap().replace("$version", "1.2.3").replace("$target", target);
        let archive = format!("https://example.org/svdkit/releases/download/v1.2.3/{name}.{ending}");
        assert_eq!(filled(quoted(table, "pkg-url")), archive);
        assert_eq!(filled(quoted(metadata, "bin-dir")), format!("{name}/svdkit{exe}"));
    }
}
