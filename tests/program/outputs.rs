//! What a run writes: never over what it reads, never twice, checked before the work starts, each by itself at the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::harness::program;

const CHARLM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charlm");

fn svdkit(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(arguments).current_dir(folder).env("HF_HUB_CACHE", folder.join("hub"));
    command.output().unwrap()
}

/// Every file below `folder` with what is in it.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// A folder with a model, an adapter, settings and reports.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for model in ["base", "lora-r4"] {
        fs::create_dir(folder.path().join(model)).unwrap();
        for entry in fs::read_dir(Path::new(CHARLM).join(model)).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, folder.path().join(model).join(from.file_name().unwrap())).unwrap();
        }
    }
    let model = fs::read(folder.path().join("base/model.safetensors")).unwrap();
    let end = 8 + u64::from_le_bytes(model[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&model[8..end]).unwrap();
    let names = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__");
    let map: BTreeMap<&String, &str> = names.map(|name| (name, "model.safetensors")).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    fs::write(folder.path().join("base/model.safetensors.index.json"), index).unwrap();
    fs::write(folder.path().join("svdkit.toml"), "jobs = 1\n").unwrap();
    fs::copy(folder.path().join("lora-r4/adapter_config.json"), folder.path().join("adapter.json")).unwrap();
    for report in ["a.json", "b.json"] {
        assert!(svdkit(folder.path(), &["spectrum", "base", "-q", "-o", report]).status.success());
    }
    folder
}

/// The command is refused in one line with `expected` in it, and no file has changed.
fn check_refused(folder: &Path, command: &str, expected: &str) {
    let before = contents(folder);
    let output = svdkit(folder, &command.split(' ').collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{command}: {said}");
    assert!(said.contains(expected) && said.lines().count() == 1, "{command}: {said}");
    assert!(output.stdout.is_empty(), "{command}");
    assert!(contents(folder) == before, "{command} changed a file");
}

#[test]
fn no_output_is_an_input() {
    let folder = workplace();
    let at = folder.path();
    let read = "is read by this run";
    for input in ["model.safetensors", "model.safetensors.index.json", "config.json"] {
        check_refused(at, &format!("spectrum base -o json=base/{input}"), read);
        check_refused(at, &format!("spectrum base --singular-values ./base/../base/{input}"), read);
        check_refused(at, &format!("rank base --emit kohya=base/{input} --resize sv_fro=0.9"), read);
        check_refused(at, &format!("farms base --allocate lr=base/{input}"), read);
        check_refused(at, &format!("inspect base -o json=base/{input}"), read);
        check_refused(at, &format!("spectrum base --dry-run -o json=base/{input}"), read);
    }
    check_refused(at, "spectrum base -o json=svdkit.toml", read);
    check_refused(at, "spectrum base --no-svd -o json=base/model.safetensors", read);
    check_refused(at, "spectrum lora-r4 --base base -o json=base/model.safetensors", read);
    check_refused(at, "spectrum lora-r4 -o lora-r4/adapter_config.json", read);
    check_refused(at, "spectrum lora-r4 -o json=lora-r4/adapter_model.safetensors", read);
    check_refused(at, "spectrum lora-r4 --adapter-config adapter.json -o adapter.json", read);
    check_refused(at, "inspect lora-r4 --base base -o json=base/config.json", read);
    check_refused(at, "intruders base lora-r4 -o json=base/model.safetensors", read);
    check_refused(at, "compare a.json base -o a.json", read);
    check_refused(at, "compare base b.json -o ./b.json", read);
    check_refused(at, "compare a.json b.json -o b.json", read);
    check_refused(at, "compare a.json base --tuned x=b.json -o b.json", read);
    fs::write(at.join("base/tokenizer.json"), "{}").unwrap();
    let copied = "intruders base base --mitigate 0.5 --out out -o base/tokenizer.json";
    check_refused(at, copied, read);
}

#[cfg(unix)]
#[test]
fn links_do_not_hide_what_is_read() {
    use std::os::unix::fs::symlink;
    let folder = workplace();
    let at = |name: &str| folder.path().join(name);
    let read = "is read by this run";
    symlink("a.json", at("soft.json")).unwrap();
    symlink("soft.json", at("softer.json")).unwrap();
    fs::hard_link(at("a.json"), at("hard.json")).unwrap();
    symlink("base", at("model")).unwrap();
    for spelling in ["soft.json", "softer.json", "hard.json", "base/../a.json"] {
        check_refused(folder.path(), &format!("compare a.json base -o {spelling}"), read);
        check_refused(folder.path(), &format!("compare {spelling} base -o a.json"), read);
    }
    check_refused(folder.path(), "spectrum model --singular-values base/model.safetensors", read);
    // A download cache: names are links to where the bytes are.
    let repository = at("hub/models--org--name");
    let snapshot = repository.join("snapshots/0123456789012345678901234567890123456789");
    for made in [&repository.join("refs"), &repository.join("blobs"), &snapshot] {
        fs::create_dir_all(made).unwrap();
    }
    fs::write(repository.join("refs/main"), "0123456789012345678901234567890123456789").unwrap();
    for (name, blob) in [("model.safetensors", "aa"), ("config.json", "bb")] {
        fs::copy(at("base").join(name), repository.join("blobs").join(blob)).unwrap();
        symlink(format!("../../blobs/{blob}"), snapshot.join(name)).unwrap();
        let command = format!("spectrum org/name -o json=hub/models--org--name/blobs/{blob}");
        check_refused(folder.path(), &command, read);
    }
}

#[test]
fn no_output_is_given_twice() {
    let folder = workplace();
    let at = folder.path();
    let both = "both write it";
    check_refused(at, "spectrum base -o x.json -o ./x.json", both);
    check_refused(at, "spectrum base -o x.json -o csv=base/../x.json", both);
    check_refused(at, "spectrum base -o json=x --singular-values x", both);
    check_refused(at, "rank base --budget 4 --emit peft-rank-pattern=x.json -o x.json", both);
    check_refused(at, "rank base --emit spectrum-yaml=x --emit kohya=x --resize sv_fro=0.9", both);
    check_refused(at, "farms base --allocate lr=x.json -o x.json", both);
    check_refused(at, "intruders base lora-r4 --mitigate 0 --out x.json -o x.json", both);
    fs::create_dir(at.join("empty")).unwrap();
    let inside = "lies in the folder of `--out`";
    check_refused(at, "intruders base lora-r4 --mitigate 0 --out empty -o empty/x.json", inside);
    #[cfg(unix)]
    {
        fs::write(at.join("old.json"), "").unwrap();
        fs::hard_link(at.join("old.json"), at.join("older.json")).unwrap();
        check_refused(at, "spectrum base -o old.json -o older.json", both);
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at.join(name)).unwrap();
        link("new.json", "not-yet.json");
        let output = svdkit(at, &["spectrum", "base", "-o", "new.json", "-o", "not-yet.json"]);
        assert!(String::from_utf8_lossy(&output.stderr).contains(both));
    }
}

#[cfg(unix)]
#[test]
fn stdout_is_an_output_like_others() {
    let folder = workplace();
    let run = |arguments: &[&str], name: &str| {
        let file = fs::File::options().append(true).create(true).open(folder.path().join(name)).unwrap();
        let mut command = program();
        let output = command.args(arguments).current_dir(folder.path()).stdout(file).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let before = fs::read(folder.path().join("a.json")).unwrap();
    assert!(run(&["compare", "a.json", "base"], "a.json").contains("a file that this run reads"));
    assert_eq!(fs::read(folder.path().join("a.json")).unwrap(), before);
    assert!(run(&["spectrum", "base", "-o", "x.json"], "x.json").contains("`-o` and `stdout` both write it"));
}

#[test]
fn places_where_nothing_can_be_written_cost_no_work() {
    let folder = workplace();
    let at = folder.path();
    // A weight that cannot be read would be told of first if the work had begun.
    for option in ["-o json=", "--singular-values "] {
        check_refused(at, &format!("spectrum base {option}gone/x"), "there is not a folder `gone`");
        check_refused(at, &format!("spectrum gone-model {option}gone/x"), "there is not a folder `gone`");
        check_refused(at, &format!("spectrum base {option}base"), "is a folder; name a file in it");
    }
    check_refused(at, "rank base --emit kohya=gone/x --resize sv_fro=0.9", "there is not a folder `gone`");
    check_refused(at, "farms base --allocate lr=gone/x", "there is not a folder `gone`");
    check_refused(at, "intruders base lora-r4 --mitigate 0 --out base", "is not an empty folder");
    check_refused(at, "intruders base lora-r4 --mitigate 0 --out a.json", "is not an empty folder");
    check_refused(at, "intruders base lora-r4 --mitigate 0 --out a.json/x", "cannot create");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_fails_takes_no_other_with_it() {
    let folder = workplace();
    let full = "/dev/full: cannot write: No space left";
    let check = |arguments: &[&str], stdout: &str, failed: usize| {
        let all = [arguments, &["-q", "--include", "*.0.self_attn.*", "-o", "good.csv"]].concat();
        let output = svdkit(folder.path(), &all);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.matches(full).count(), failed, "{arguments:?}: {said}");
        assert!(String::from_utf8_lossy(&output.stdout).contains(stdout), "{arguments:?}");
        let good = fs::read_to_string(folder.path().join("good.csv")).unwrap();
        assert!(good.starts_with("name,"), "{arguments:?}");
        fs::remove_file(folder.path().join("good.csv")).unwrap();
    };
    let twice = ["spectrum", "base", "-o", "json=/dev/full", "--singular-values", "/dev/full"];
    check(&twice, "stable", 2);
    check(&[&twice[..], &["--fail-if", "alpha > 0"]].concat(), "stable", 2);
    check(&["rank", "base", "--emit", "spectrum-yaml=/dev/full"], "effective", 1);
    check(
        &["rank", "base", "--emit", "spectrum-yaml=/dev/full", "--emit", "kohya", "--resize", "sv_fro=0.9"],
        "sv_fro",
        1,
    );
    check(
        &["farms", "base", "--window", "60", "--windows-per-dim", "2", "--allocate", "lr=/dev/full"],
        "FARMS",
        1,
    );
    check(&["compare", "a.json", "b.json", "--all", "-o", "json=/dev/full"], "q_proj", 1);
    let output = svdkit(folder.path(), &["inspect", "base", "-o", "json=/dev/full"]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(2), false));
    // stdout fails, the files come.
    let mut command = program();
    let stdout = fs::File::options().write(true).open("/dev/full").unwrap();
    command.args(["spectrum", "base", "-q", "-o", "good.csv"]).current_dir(folder.path()).stdout(stdout);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.contains("stdout: cannot write: No space")), (Some(2), true));
    assert!(folder.path().join("good.csv").exists());
}

#[test]
fn a_copy_that_cannot_be_written_does_not_take_the_report_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let dialect = |name: &str| format!("{}/fixtures/dialects/{name}", env!("CARGO_MANIFEST_DIR"));
    // That a matrix which is saved whole has intruders is known when it is written.
    let (base, tuned) = (dialect("base"), dialect("parts"));
    let copy = ["--epsilon", "1", "--mitigate", "0", "--out", "out", "-o", "report.csv"];
    let output = svdkit(folder.path(), &[&["intruders", &base, &tuned, "-q"], &copy[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("is saved whole") && said.lines().count() == 1, "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("intruders"), "{said}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["report.csv"]);
}
