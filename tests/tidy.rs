//! The architecture's invariants that can be read off the source: who may import, name or do what.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "tidy/circles.rs"]
mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// Modules and their ranks, as drawn in docs/architecture.md: imports go down only.
const RANKS: [(&str, u32); 26] = [
    ("error", 0),
    ("notation", 0),
    ("text", 0),
    ("matrix", 1),
    ("spectrum", 1),
    ("report", 1),
    ("layer", 2),
    ("low_rank", 2),
    ("store", 2),
    ("format", 3),
    ("pair", 3),
    ("linalg", 4),
    ("weight", 4),
    ("dialect", 5),
    ("solver", 5),
    ("writing", 5),
    ("checkpoint", 6),
    ("metric", 6),
    ("analysis", 7),
    ("engine", 8),
    ("findings", 8),
    ("gate", 8),
    ("render", 8),
    ("study", 9),
    ("cli", 10),
    ("main", 11),
];

/// Packages that have a home, and where it is.
const HOMES: [(&str, &[&str]); 16] = [
    ("safetensors", &["format/header.rs", "format/mod.rs", "writing/"]),
    ("candle_core", &["format/", "weight/decoded.rs"]),
    ("faer", &["linalg/"]),
    ("clap", &["cli/"]),
    ("indicatif", &["cli/"]),
    ("rayon", &["engine.rs", "linalg/", "format/folder.rs"]),
    ("comfy_table", &["render/grid.rs"]),
    ("csv", &["render/csv_file.rs"]),
    ("parquet", &["render/parquet_file.rs"]),
    ("maud", &["render/"]),
    ("ureq", &["store/hub/"]),
    ("quick_junit", &["render/junit.rs"]),
    ("toml", &["cli/settings/"]),
    ("postcard", &["solver/memo.rs", "study/ledger.rs"]),
    ("etcetera", &["cli/cache.rs"]),
    ("rustix", &["cli/priority.rs"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) || extension.is_empty() {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Every source file: its path below `src`, and its code without comments and without its unit tests.
fn sources() -> Vec<(String, String)> {
    let source = root().join("src");
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&source).unwrap().to_str().unwrap().replace('\\', "/");
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        (name, lines.collect::<Vec<_>>().join("\n"))
    };
    files(&source, "rs").iter().map(read).collect()
}

fn module(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

fn rank(module: &str) -> u32 {
    RANKS.iter().find(|(name, _)| *name == module).unwrap_or_else(|| panic!("{module} has no rank")).1
}

/// Whether `code` names `word` as a path or a package, not as part of a longer word.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + word.len()..];
        let outer = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '.';
        !before.is_some_and(outer)
            && (after.starts_with("::") || after.starts_with(" as ") || after.starts_with(';'))
    })
}

#[test]
fn imports_go_down_the_ranks() {
    for (file, code) in sources() {
        if file == "lib.rs" || file == "main.rs" {
            continue;
        }
        for (at, _) in code.match_indices("crate::") {
            let target = code[at + "crate::".len()..]
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            let (from, to) = (module(&file), target);
            if from == to || !RANKS.iter().any(|(name, _)| *name == to) {
                continue;
            }
            assert!(rank(to) < rank(from), "{file} imports {to}, which is not below it");
        }
    }
}

#[test]
fn no_two_files_import_each_other_by_any_way() {
    let circles = circles::circles(&sources());
    assert!(circles.is_empty(), "files in a circle: {circles:#?}");
}

#[test]
fn packages_stay_at_home() {
    for (file, code) in sources() {
        for (package, homes) in HOMES {
            let at_home = homes.iter().any(|home| file.starts_with(home));
            assert!(at_home || !names(&code, package), "{file} names {package}, whose home is {homes:?}");
        }
    }
}

#[test]
fn only_the_solver_chooses_decompositions() {
    for (file, code) in sources().iter().filter(|(file, _)| file != "lib.rs") {
        let may = ["linalg", "solver"].contains(&module(file));
        assert!(may || !names(code, "crate::linalg"), "{file} names linalg; ask solver");
    }
}

#[test]
fn only_stores_writers_and_the_command_line_touch_the_world() {
    let world = [
        "std::fs",
        "std::env",
        "std::time",
        "std::net",
        "std::process",
        "available_parallelism",
        "File::open",
    ];
    for (file, code) in sources() {
        let outer = ["store", "writing", "engine", "cli", "main"].contains(&module(&file));
        for word in world {
            assert!(outer || !code.contains(word), "{file} uses {word}");
        }
        let loud = ["println!", "eprintln!", "print!", "dbg!"].iter().any(|word| code.contains(word));
        assert!(!loud, "{file} prints; only cli writes, and to a handle");
    }
}

/// Whoever needs to know what files of weights are called asks `format::names_weights`.
#[test]
fn endings_of_weight_files_stand_with_their_formats() {
    let endings = ["safetensors", "npz", "npy", "bin", "pt", "pth", "ckpt", "gguf", "h5", "onnx", "msgpack"];
    let homes =
        ["safetensors", "numpy", "torch", "gguf/mod", "unsupported"].map(|name| format!("format/{name}.rs"));
    for (file, code) in sources().iter().filter(|(file, _)| !homes.contains(file)) {
        let named: Vec<_> =
            endings.iter().filter(|ending| code.contains(&format!("\".{ending}\""))).collect();
        // What is written is safetensors, which is no table.
        assert!(named.iter().all(|ending| **ending == "safetensors"), "{file} names {named:?}");
    }
}

#[test]
fn what_is_read_is_opened_in_one_place() {
    // A copy in the making is read back, too, but it is nobody's input.
    // The limits of the machine are nobody's input either.
    // What a cache or a ledger keeps is nobody's input.
    let doors = [
        "store/input.rs",
        "writing/checkpoint_copy.rs",
        "writing/shelf.rs",
        "writing/journal.rs",
        "cli/cgroup.rs",
    ];
    for (file, code) in sources().iter().filter(|(file, _)| !doors.contains(&file.as_str())) {
        for word in ["File::open(", "fs::read(", "fs::read_to_string(", "fs::copy("] {
            let is_own = |at: usize| !code[..at].ends_with(char::is_alphanumeric);
            let used = code.match_indices(word).any(|(at, _)| is_own(at));
            assert!(!used, "{file} uses {word}; `store::input` remembers what is read");
        }
    }
}

#[test]
fn what_is_serialized_is_the_report() {
    for (file, code) in sources() {
        let derives = code.lines().any(|line| {
            line.contains("derive(") && line.contains("Serialize") && !line.contains("Deserialize")
        });
        assert!(!derives || module(&file) == "report", "{file} derives Serialize: schema lives in report");
    }
}

#[test]
fn files_say_what_they_are_for_and_stay_short() {
    for path in files(&root().join("src"), "rs").iter().chain(&files(&root().join("tests"), "rs")) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("//!"), "{} has no //! at its top", path.display());
        let lines = text.lines().count();
        // A uniform table may be longer.
        let table = text.contains("pub static METRICS") || text.contains("pub static WEIGHTWATCHER");
        assert!(lines <= 400 || table, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_fixture_is_listed() {
    let listing = fs::read_to_string(root().join("fixtures/README.md")).unwrap();
    for path in files(&root().join("fixtures"), "") {
        let name = path.strip_prefix(root().join("fixtures")).unwrap().to_str().unwrap().replace('\\', "/");
        let listed = name.split('/').scan(String::new(), |prefix, part| {
            prefix.push_str(part);
            let here = listing.contains(&format!("`{prefix}`")) || listing.contains(&format!("`{prefix}/`"));
            prefix.push('/');
            Some(here)
        });
        assert!(
            listed.into_iter().any(|here| here) || name == "README.md",
            "fixtures/{name} is not in fixtures/README.md"
        );
    }
}

#[test]
fn the_drawn_ranks_are_the_real_ones() {
    let drawing = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    for (name, rank) in RANKS.iter().filter(|(name, _)| *name != "main") {
        let row = drawing
            .lines()
            .find(|line| line.starts_with(&format!("| {rank} |")))
            .unwrap_or_else(|| panic!("no rank {rank}"));
        assert!(
            row.contains(&format!("`{name}`")),
            "docs/architecture.md does not put {name} at rank {rank}"
        );
    }
}
