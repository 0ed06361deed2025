//! The cache of values: reports are the same bytes whatever it holds, whoever else uses it, and whatever was done to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::harness::{BASE, check_exit, floats, program, save, stored, svdkit};

const FULL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/full");
const LORA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm/lora-r4");
const CODES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/formats/gguf/kinds.gguf");
const FP8: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/quantized/fp8");

/// Commands of every kind that measures, on the bundled models.
fn commands() -> Vec<Vec<&'static str>> {
    let few = ["--include", "*.0.*", "--include", "*norm*"];
    let commands: [&[&str]; 16] = [
        &["spectrum", BASE],
        &["spectrum", BASE, "--no-svd"],
        &["spectrum", BASE, "--precision", "exact"],
        &["rank", BASE, "--energy", "0.8"],
        &["spectrum", LORA, "--base", BASE],
        &["rank", FULL, "--base", BASE],
        &["compare", BASE, FULL],
        &["compare", BASE, LORA, "--no-vectors"],
        &["farms", BASE, "--window", "64", "--windows-per-dim", "3"],
        &["intruders", BASE, LORA],
        &["spectrum", BASE, "--columns", "stable_rank,zero_rows"],
        &["compare", BASE, FULL, "--columns", "delta_effective_rank,delta_frobenius_ratio"],
        &["farms", BASE, "--columns", "whole_alpha"],
        &["intruders", BASE, FULL, "--columns", "all", "--detail"],
        &["intruders", BASE, FULL, "--sweep", "epsilon=0.3:0.9:0.3"],
        &["adapter", "inspect", LORA, "--base", BASE],
    ];
    let commands = commands.iter().map(|command| [command, &few[..]].concat());
    commands.chain([vec!["spectrum", CODES], vec!["spectrum", FP8]]).collect()
}

/// What a command prints as JSON, with these options.
#[track_caller]
fn report(command: &[&str], options: &[&str]) -> String {
    let output = svdkit(&[command, options, &["-q", "--format", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A folder for a cache, and its path.
fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache").to_str().unwrap().to_owned();
    (folder, path)
}

/// The files of a cache.
fn entries(cache: &str) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    };
    let folders = list(&Path::new(cache).join("spectra-1"));
    let mut files: Vec<PathBuf> = folders.iter().flat_map(|folder| list(folder)).collect();
    files.sort();
    files
}

#[test]
fn reports_are_the_same_with_the_cache_off_cold_warm_and_half_full() {
    let (_folder, cache) = folder();
    for command in commands() {
        let expected = report(&command, &["--no-cache"]);
        for state in ["cold", "warm", "half full"] {
            assert_eq!(report(&command, &["--cache", &cache]), expected, "{command:?}, {state}");
            if state == "warm" {
                entries(&cache).iter().step_by(2).for_each(|file| fs::remove_file(file).unwrap());
            }
        }
    }
    assert!(entries(&cache).len() > 20);
}

#[test]
fn what_is_done_to_a_cache_changes_no_number() {
    let command = ["spectrum", BASE, "--include", "*.0.self_attn.*", "--include", "*norm*"];
    let expected = report(&command, &["--no-cache"]);
    let attacks: [(&str, Attack); 8] = [
        ("cut short", |file, _| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("empty", |file, _| fs::write(file, "").unwrap()),
        ("one bit", |file, _| {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2 + 40;
            bytes[middle.min(100)] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("swapped", |file, other| {
            let (one, two) = (fs::read(file).unwrap(), fs::read(other).unwrap());
            fs::write(file, two).unwrap();
            fs::write(other, one).unwrap();
        }),
        ("another version", |file, _| {
            let mut bytes = fs::read(file).unwrap();
            bytes[6] += 1;
            fs::write(file, bytes).unwrap();
        }),
        ("a folder", |file, _| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
        ("noise", |file, _| fs::write(file, [7; 5000]).unwrap()),
        #[cfg(unix)]
        ("a link to nowhere", |file, _| {
            fs::remove_file(file).unwrap();
            std::os::unix::fs::symlink("/nowhere/at/all", file).unwrap();
        }),
        #[cfg(not(unix))]
        ("gone", |file, _| fs::remove_file(file).unwrap()),
    ];
    for (name, attack) in attacks {
        let (_folder, cache) = folder();
        report(&command, &["--cache", &cache]);
        let files = entries(&cache);
        assert!(files.len() > 8, "{files:?}");
        let (one, other) = files.split_at(files.len() / 2);
        one.iter().zip(other).for_each(|(file, other)| attack(file, other));
        for again in 0..2 {
            let output = svdkit(&[&command[..], &["--cache", &cache, "--format", "json"]].concat());
            assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{name}, {again}");
            assert!(output.status.success(), "{name}");
        }
    }
}

/// What is done to one entry, beside another.
type Attack = fn(&Path, &Path);

/// Writes a model of one matrix, with entries by `seed`.
fn write(path: &Path, seed: usize) {
    save(path, &[stored("w.weight", "F32", &[40, 30], floats(1200, seed))]);
}

#[test]
fn a_file_that_changes_is_read_again_whatever_its_times_say() {
    let (folder, cache) = folder();
    let path = folder.path().join("m.safetensors");
    let name = path.to_str().unwrap();
    let check = |when: &str| {
        let found = report(&["spectrum", name], &["--cache", &cache]);
        assert_eq!(found, report(&["spectrum", name], &["--no-cache"]), "{when}");
    };
    // Within one tick of the file system's clock, over and over.
    for seed in 0..6 {
        write(&path, seed);
        check("just written");
    }
    thread::sleep(Duration::from_millis(2100));
    check("settled");
    check("known");
    // Of the same size and time, by its own name and by another file's.
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let dated = |path: &Path, time: SystemTime| {
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    write(&path, 50);
    dated(&path, time);
    check("written over");
    let other = folder.path().join("other.safetensors");
    write(&other, 60);
    dated(&other, time);
    fs::rename(&other, &path).unwrap();
    check("replaced");
    dated(&path, time - Duration::from_secs(1000));
    thread::sleep(Duration::from_millis(2100));
    check("older");
    check("known again");
}

fn start(command: &[&str], cache: &str) -> Child {
    let mut program = program();
    program.args(command).args(["--cache", cache, "--format", "json"]);
    program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn processes_side_by_side_and_killed_ones_leave_a_sound_cache() {
    let (_folder, cache) = folder();
    let command = ["spectrum", BASE, "--include", "*.0.*"];
    let begun = Instant::now();
    let expected = report(&command, &["--no-cache"]);
    let whole = begun.elapsed();
    let all: Vec<Child> = (0..4).map(|_| start(&command, &cache)).collect();
    for child in all {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
    assert_eq!(svdkit(&["cache", "clear", "--cache", &cache]).status.code(), Some(0));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let refused = svdkit(&["cache", "--cache", file]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is not a folder"));
    for part in 1..12 {
        let mut child = start(&command, &cache);
        thread::sleep(whole * part / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        if part % 4 == 0 {
            assert_eq!(report(&command, &["--cache", &cache]), expected, "killed after {part} tenths");
        }
    }
    assert_eq!(report(&command, &["--cache", &cache]), expected);
}

#[test]
fn a_cache_that_cannot_be_written_is_told_in_one_line_and_fails_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "a file").unwrap();
    let blocked = file.to_str().unwrap();
    let command = ["spectrum", BASE, "--include", "*.0.self_attn.*", "--format", "json"];
    let output = svdkit(&[&command[..], &["--cache", blocked]].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.lines().count() == 1, "{said}");
    assert!(said.contains("nothing is kept for later runs"), "{said}");
    let quiet = svdkit(&[&command[..], &["--cache", blocked, "-q"]].concat());
    assert!(quiet.status.success() && quiet.stderr.is_empty());
    assert_eq!(output.stdout, quiet.stdout);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a file");
}

#[test]
fn the_user_s_cache_is_used_unless_it_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let cache = home.join("svdkit").to_str().unwrap().to_owned();
    let run = |words: &[&str], ci: &str| {
        let mut program = program();
        program.args(words).env("CI", ci).env("XDG_CACHE_HOME", &home).env("HOME", &home);
        let output = program.current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let command = ["spectrum", BASE, "--include", "*.0.self_attn.*", "-q"];
    run(&command, "true");
    run(&[&command[..], &["--no-cache"]].concat(), "");
    fs::write(folder.path().join("svdkit.toml"), "cache = false\n").unwrap();
    run(&command, "");
    assert!(run(&["config"], "").contains("cache               off"));
    fs::remove_file(folder.path().join("svdkit.toml")).unwrap();
    assert!(!home.exists());
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::PermissionsExt;
        run(&command, "");
        assert_eq!(entries(&cache).len(), 8);
        let told = run(&["cache"], "");
        assert!(told.contains(&cache) && told.contains("of at most 1.0 GiB"), "{told}");
        assert!(run(&["cache"], "1").contains("not used: CI is set"));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&Path::new(&cache).join("spectra-1")), 0o700);
        fs::write(Path::new(&cache).join("mine"), "not a cache's").unwrap();
        assert!(run(&["cache", "clear"], "").starts_with("removed "));
        assert!(entries(&cache).is_empty() && Path::new(&cache).join("mine").exists());
        assert!(run(&["cache", "clear"], "").starts_with("removed 0 entries"));
    }
    check_exit(&["spectrum", BASE, "--cache", &cache, "--no-cache"], 2, "cannot be used with");
}

/// An entry holds digests and numbers: nothing tells what they are of.
#[test]
fn a_cache_names_nothing() {
    let (_folder, cache) = folder();
    report(&["compare", BASE, LORA, "--no-vectors", "--include", "*.0.*"], &["--cache", &cache]);
    for file in entries(&cache) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for word in ["charlm", "layers", "self_attn", "proj", "norm", "/"] {
            assert!(!text.contains(&format!("{word}.")) && !text.contains("charlm"), "{word} is in {file:?}");
        }
    }
}
