//! docs/skill.md: every command of the page runs as it stands and ends as it says, and the report has what the page reads.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{json_in, list};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A folder with what the page calls MODEL, BASE and so on.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("RUN")).unwrap();
    for (name, fixture) in [
        ("MODEL", "charlm/base"),
        ("BASE", "charlm/base"),
        ("TUNED", "charlm/full"),
        ("ADAPTER", "charlm/lora-r4"),
        ("ADAPTER-2", "charlm/lora-r1"),
        ("RUN/checkpoint-100", "charlm/base"),
        ("RUN/checkpoint-200", "charlm/full"),
        ("TABLE.npy", "formats/numpy/columns.npy"),
    ] {
        let fixture = Path::new(ROOT).join("fixtures").join(fixture);
        assert!(fixture.exists(), "{}", fixture.display());
        symlink(fixture, folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn every_command_of_the_page_runs_and_ends_as_it_says() {
    let page = fs::read_to_string(Path::new(ROOT).join("docs/skill.md")).unwrap();
    assert!(page.lines().count() < 150);
    let blocks = page.split("```sh\n").skip(1).map(|part| part.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() > 25, "{commands:?}");
    let folder = folder();
    let program = Path::new(env!("CARGO_BIN_EXE_svdkit")).parent().unwrap();
    for command in commands {
        let code = command.split("# exits with ").nth(1).map_or(0, |code| code.parse().unwrap());
        let output = Command::new("bash")
            .args(["--noprofile", "--norc", "-c", command])
            .current_dir(folder.path())
            .env_clear()
            .env("CI", "true")
            .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{command}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // What the page says of the report's keys.
    let report: Value =
        serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    for key in ["rows", "findings", "skipped", "columns"] {
        assert!(!list(&report, key).is_empty(), "{key}");
    }
    for key in ["level", "sentence", "matrices"] {
        assert!(!report["findings"][0][key].is_null(), "{key}");
    }
    assert!(report["summary"]["median_alpha"].is_number());
    let zeros = json_in(Path::new(ROOT), &["spectrum", "fixtures/formats/tied.safetensors"]);
    let reasons = list(&zeros, "rows").iter().filter_map(|row| row["missing"].as_object());
    let codes: Vec<&Value> =
        reasons.flat_map(|reasons| reasons.values().map(|reason| &reason["code"])).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| code.is_string()), "{codes:?}");
}
