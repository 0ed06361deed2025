//! Signals end every phase with 130 and leave nothing half-written; what is not a file is refused, not waited for.

#![cfg(unix)]

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::program;

const CHARLM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm");
/// What is waited for comes much sooner, or never.
const DEADLINE: Duration = Duration::from_mins(1);
/// The promise is one second; a busy machine gets some more.
const SOON: Duration = Duration::from_secs(5);

fn until<T>(what: &str, deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn svdkit(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Sends `signal` once `begun` holds; the process says that, and ends with 130 soon after.
fn interrupt(mut child: Child, signal: &str, begun: impl Fn() -> bool) {
    until("the phase", DEADLINE, || begun().then_some(()));
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    let begun = Instant::now();
    let status = until("the end", DEADLINE, || child.try_wait().unwrap());
    assert!(begun.elapsed() < SOON, "{signal}: {:?}", begun.elapsed());
    assert_eq!(status.code(), Some(130), "{signal}");
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(said, "interrupted\n", "{signal}");
}

/// What lies in `folder`, sorted.
fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

fn unfinished(folder: &Path) -> Option<PathBuf> {
    names(folder).into_iter().find(|name| name.starts_with(".svdkit-")).map(|name| folder.join(name))
}

/// Tensors of f32 zeros, as large as you like: they take no space.
fn sparse(path: &Path, tensors: &[(&str, [u64; 2])]) {
    let mut end = 0;
    let entries = tensors.iter().map(|(name, [rows, cols])| {
        let begin = end;
        end += 4 * rows * cols;
        format!(r#""{name}":{{"dtype":"F32","shape":[{rows},{cols}],"data_offsets":[{begin},{end}]}}"#)
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let length = (header.len() as u64).to_le_bytes();
    fs::write(path, [&length[..], header.as_bytes()].concat()).unwrap();
    File::options().write(true).open(path).unwrap().set_len(8 + header.len() as u64 + end).unwrap();
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn copy(model: &str, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(Path::new(CHARLM).join(model)).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
    }
}

#[test]
fn two_large_matrices_that_are_compared_do_not_hold_up_an_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    sparse(&at.join("m.safetensors"), &[("a.weight", [1 << 16, 1 << 13]), ("b.weight", [1 << 16, 1 << 13])]);
    for signal in ["-INT", "-TERM", "-HUP"] {
        let mut command = svdkit(at, &["spectrum", "m.safetensors", "-q", "-o", "out.json"]);
        // Outputs are created just before the comparison begins, which takes seconds.
        interrupt(command.spawn().unwrap(), signal, || unfinished(at).is_some());
        assert_eq!(names(at), ["m.safetensors"]);
    }
}

#[test]
fn a_second_signal_is_not_needed_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    sparse(&at.join("m.safetensors"), &[("a.weight", [1 << 16, 1 << 13]), ("b.weight", [1 << 16, 1 << 13])]);
    let child = svdkit(at, &["spectrum", "m.safetensors", "-q", "-o", "out.json"]).spawn().unwrap();
    let id = child.id().to_string();
    let first = || {
        let kill = || Command::new("kill").args(["-TERM", &id]).status().unwrap().success();
        unfinished(at).is_some() && kill()
    };
    interrupt(child, "-INT", first);
    assert_eq!(names(at), ["m.safetensors"]);
}

#[test]
fn a_decomposition_does_not_hold_up_an_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    sparse(&at.join("m.safetensors"), &[("w.weight", [6000, 6000])]);
    // Not zero, or the work would be done at once.
    let file = File::options().write(true).open(at.join("m.safetensors")).unwrap();
    let end = file.metadata().unwrap().len();
    let mut state = 1u32;
    let mut entry = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(state >> 8) as f32).to_le_bytes()
    };
    let entries: Vec<u8> = (0..6000 * 6000).flat_map(|_| entry()).collect();
    std::os::unix::fs::FileExt::write_all_at(&file, &entries, end - entries.len() as u64).unwrap();
    let mut command = svdkit(at, &["spectrum", "m.safetensors", "-q", "-j", "1", "-o", "out.json"]);
    interrupt(command.spawn().unwrap(), "-INT", || unfinished(at).is_some());
    assert_eq!(names(at), ["m.safetensors"]);
}

#[test]
fn the_copy_of_mitigate_is_removed_as_far_as_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    copy("full", &at.join("tuned"));
    // Much to copy, so that the signal comes in the midst of it.
    File::create(at.join("tuned/extra.dat")).unwrap().set_len(6 << 30).unwrap();
    let base = format!("{CHARLM}/base");
    let mitigate = ["--mitigate", "0.5", "--out", "out", "-q", "-o", "out.json"];
    let child = svdkit(at, &[&["intruders", &base, "tuned"], &mitigate[..]].concat()).spawn().unwrap();
    let copying = || {
        let entries = names(at);
        let hidden = entries.iter().filter(|name| name.starts_with(".svdkit-"));
        hidden.into_iter().any(|name| at.join(name).join("extra.dat").exists())
    };
    interrupt(child, "-INT", copying);
    assert_eq!(names(at), ["tuned"]);
}

#[test]
fn waiting_for_a_reader_does_not_hold_up_an_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fifo(&at.join("pipe"));
    let base = format!("{CHARLM}/base");
    // Files are created in their order.
    let child = svdkit(at, &["spectrum", &base, "-o", "first.json", "-o", "json=pipe"]).spawn().unwrap();
    interrupt(child, "-INT", || unfinished(at).is_some());
    assert_eq!(names(at), ["pipe"]);
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_up_an_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let (reader, writer) = std::io::pipe().unwrap();
    let base = format!("{CHARLM}/base");
    let mut command = svdkit(at, &["spectrum", &base, "-q", "--format", "html", "-o", "out.json"]);
    // More than a pipe holds; files are complete before stdout is written.
    let child = command.stdout(writer).spawn().unwrap();
    interrupt(child, "-TERM", || at.join("out.json").exists());
    drop(reader);
    assert_eq!(names(at), ["out.json"]);
}

/// What is put in the place of a file.
const KINDS: [(&str, &str); 4] =
    [("pipe", "is a pipe"), ("socket", "is a socket"), ("folder", "is a folder"), ("device", "is a device")];

fn put(kind: &str, path: &Path) {
    let _ = fs::remove_file(path);
    match kind {
        "pipe" => fifo(path),
        "socket" => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        "folder" => fs::create_dir(path).unwrap(),
        _ => symlink("/dev/zero", path).unwrap(),
    }
}

/// The command is refused soon, in one line that says that `name` is not a file.
fn check_refused(folder: &Path, command: &str, name: &str, expected: &str) {
    let mut command_line = svdkit(folder, &command.split(' ').collect::<Vec<_>>());
    let mut child = command_line.stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let status = until(command, DEADLINE, || {
        let status = child.try_wait().unwrap();
        if status.is_none() && begun.elapsed() > DEADLINE / 2 {
            child.kill().unwrap();
        }
        status
    });
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(2), "{command}, {name} {expected}: {said}");
    assert!(said.contains(name) && said.contains(expected), "{command}: {said}");
    assert_eq!(said.lines().count(), 1, "{command}: {said}");
}

#[test]
fn what_is_not_a_file_is_refused_by_name_wherever_a_file_is_read() {
    let outer = tempfile::tempdir().unwrap();
    for (kind, expected) in KINDS {
        let at = outer.path().join(kind);
        fs::create_dir(&at).unwrap();
        copy("base", &at.join("base"));
        let refused = |place: &str, name: &str, commands: &[&str]| {
            put(kind, &at.join(place));
            commands.iter().for_each(|command| check_refused(&at, command, name, expected));
            let path = at.join(place);
            if kind == "folder" { fs::remove_dir(path).unwrap() } else { fs::remove_file(path).unwrap() }
        };
        refused("base/config.json", "config.json", &["spectrum base", "inspect base", "compare base base"]);
        refused("base/model.safetensors.index.json", "index.json", &["spectrum base"]);
        refused("base/model_index.json", "model_index.json", &["spectrum base"]);
        refused("svdkit.toml", "svdkit.toml", &["spectrum base", "config"]);
        refused("settings", "settings", &["spectrum base --config settings", "config --config settings"]);
        fs::remove_file(at.join("base/model.safetensors")).unwrap();
        refused("base/model.safetensors", "model.safetensors", &["spectrum base", "compare base base"]);
        refused("base/pytorch_model.bin", "pytorch_model.bin", &["spectrum base"]);
        let map = r#"{"weight_map": {"a": "one.safetensors"}}"#;
        fs::write(at.join("base/model.safetensors.index.json"), map).unwrap();
        refused("base/one.safetensors", "one.safetensors", &["spectrum base"]);
        copy("lora-r4", &at.join("lora"));
        let named = ["spectrum lora --adapter-config other", "spectrum lora --adapter-init other"];
        if kind == "folder" {
            refused("other", "other", &named[..1]);
        } else {
            refused("other", "other", &named);
            refused("model", "model", &["spectrum model", "compare model lora"]);
        }
        refused("lora/adapter_config.json", "adapter_config.json", &["spectrum lora", "inspect lora"]);
    }
}

#[test]
fn what_a_copy_would_wait_for_is_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    copy("full", &folder.path().join("tuned"));
    fifo(&folder.path().join("tuned/tokenizer.json"));
    let command = format!("intruders {CHARLM}/base tuned --mitigate 0.5 --out out");
    check_refused(folder.path(), &command, "tokenizer.json", "is a pipe");
}
