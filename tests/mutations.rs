//! Sound files, damaged at random: whatever the damage, svdkit opens them or says in one line why not.
//!
//! `SVDKIT_MUTATIONS=10000 cargo test --test mutations` runs more cases than the default; `SVDKIT_SEED` other ones.
//! A failing case prints its seed and leaves the damaged file in the system's temporary folder.
//! The second test does the same to what only the program reads: saved reports, settings, rules. The long campaign over
//! everything is tests/mutations.py.

use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::env;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use svdkit::checkpoint;
use svdkit::error::is_hidden;
use svdkit::layer::Filter;

/// Cases of an ordinary test run.
const CASES: u64 = 1_000;

/// The most that reading a damaged file of a few kilobytes may allocate at once, in bytes.
const LARGEST: usize = 100 << 20;

/// The longest that one case may take.
const SLOWEST: Duration = Duration::from_secs(5);

/// Remembers the largest single allocation of the process.
struct Watched;

static LARGEST_SEEN: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST_SEEN.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST_SEEN.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST_SEEN.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// What is damaged: a folder of files (or one file), and which of its files.
struct Subject {
    root: &'static str,
    victim: &'static str,
}

const SUBJECTS: &[Subject] = &[
    Subject { root: "formats/dtypes.safetensors", victim: "" },
    Subject { root: "formats/shapes.safetensors", victim: "" },
    Subject { root: "formats/tied.safetensors", victim: "" },
    Subject { root: "formats/torch/model.pt", victim: "" },
    Subject { root: "formats/torch/kinds.pth", victim: "" },
    Subject { root: "formats/torch/nested.ckpt", victim: "" },
    Subject { root: "formats/torch/training.pt", victim: "" },
    Subject { root: "formats/gguf/kinds.gguf", victim: "" },
    Subject { root: "formats/gguf/split", victim: "tiny-00002-of-00003.gguf" },
    Subject { root: "formats/numpy/arrays.npz", victim: "" },
    Subject { root: "formats/numpy/columns.npy", victim: "" },
    Subject { root: "formats/pipeline", victim: "model_index.json" },
    Subject { root: "writers/diffusers", victim: "pytorch_lora_weights.safetensors" },
    Subject { root: "writers/recurrent.ckpt", victim: "" },
    Subject { root: "formats/sharded", victim: "model.safetensors.index.json" },
    Subject { root: "formats/sharded", victim: "model-00002-of-00003.safetensors" },
    Subject { root: "formats/torch/sharded", victim: "pytorch_model.bin.index.json" },
    Subject { root: "formats/torch/sharded", victim: "pytorch_model-00001-of-00002.bin" },
    Subject { root: "charlm/lora-r1/adapter_model.safetensors", victim: "" },
    Subject { root: "charlm/dora-r4/adapter_model.safetensors", victim: "" },
];

/// xorshift64*: small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.next() >> 16) as usize % end }
    }

    fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }
}

/// Where damage tells most: the first kilobytes hold a header or a pickle, the last ones a zip directory.
fn position(bytes: &[u8], random: &mut Random) -> usize {
    match random.below(4) {
        0 => random.below(bytes.len()),
        1 => bytes.len().saturating_sub(1 + random.below(1200)),
        _ => random.below(bytes.len().min(2000)),
    }
}

const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2",
    "1e3",
    "0.5",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e400",
    "null",
    "true",
    "\"1\"",
    "[]",
    "{}",
    "[1,2]",
];

const TOKENS: &[&str] = &[
    "\"F32\"",
    "\"F64\"",
    "\"BF16\"",
    "\"F4\"",
    "\"F8_E4M3\"",
    "\"I64\"",
    "\"\"",
    "\"__metadata__\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"shape\"",
    "\"dtype\"",
    "\"data_offsets\"",
    "\"weight_map\"",
    "\"..\"",
    "\"/\"",
    "\"model-00001-of-00003.safetensors\"",
    ",",
    ":",
    "[",
    "]",
    "{",
    "}",
    " ",
];

const BYTES: &[u8] = b"\0\x01\x7f\x80\xff0\"}.(qhRb\x85";

const WORDS: &[u64] = &[
    0,
    1,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    100_000_000,
    100_000_001,
    1 << 40,
    u64::MAX >> 1,
    u64::MAX,
];

/// Damages `bytes` once.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return;
    }
    let at = position(bytes, random);
    let end = bytes.len();
    match random.below(12) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = BYTES[random.below(BYTES.len())],
        3 => bytes[at] = random.next() as u8,
        4 => bytes.truncate(at),
        5 => {
            let word = WORDS[random.below(WORDS.len())].to_le_bytes();
            let width = [2, 4, 8][random.below(3)].min(end - at);
            bytes[at..at + width].copy_from_slice(&word[..width]);
        }
        // The header's length, or whatever the first eight bytes are.
        6 => {
            let word = match random.below(2) {
                0 => WORDS[random.below(WORDS.len())],
                _ => (end as u64).wrapping_add(random.next() % 32).wrapping_sub(16),
            };
            let width = end.min(8);
            bytes[..width].copy_from_slice(&word.to_le_bytes()[..width]);
        }
        // In an archive every position counts from the start, so pieces are copied over others and none is moved.
        7 | 8 if bytes.starts_with(b"PK") => {
            let length = random.below(end - at).min(64);
            let from = position(bytes, random).min(end - length);
            bytes.copy_within(from..from + length, at);
        }
        _ if bytes.starts_with(b"PK") => {
            const OPERATIONS: &[u8] = b".(NKMJGXcqrhjt)]}QRbase\x80\x81\x85\x86\x87\x88\x89\x8a";
            bytes[at] = OPERATIONS[random.below(OPERATIONS.len())];
        }
        7 => {
            let length = random.below(end - at).min(300);
            let from = position(bytes, random).min(end - length);
            let piece = bytes[from..from + length].to_vec();
            bytes.splice(at..at, piece);
        }
        8 => {
            let length = random.below(end - at).min(64);
            bytes.drain(at..at + length);
        }
        _ => edit_text(bytes, at, random),
    }
}

/// Replaces the number or the text in quotes that follows `at`, and keeps a header's length true, so that the damage
/// reaches what lies behind the parser.
fn edit_text(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let wanted = random.below(2) == 0;
    let starts = |b: &u8| if wanted { b.is_ascii_digit() } else { *b == b'"' };
    let Some(start) = bytes[at..].iter().position(starts).map(|n| at + n) else { return };
    let rest = &bytes[start + 1..];
    let length = if wanted {
        rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())
    } else {
        rest.iter().position(|b| *b == b'"').map_or(rest.len(), |n| n + 1)
    };
    let text = random.pick(if wanted { NUMBERS } else { TOKENS });
    bytes.splice(start..=start + length, text.bytes());
    if let Some(head) = bytes.first_chunk::<8>()
        && let Some(header) = u64::from_le_bytes(*head).checked_add(text.len() as u64)
        && let Some(header) = header.checked_sub(1 + length as u64)
        && header < bytes.len() as u64
        && start >= 8
    {
        bytes[..8].copy_from_slice(&header.to_le_bytes());
    }
}

/// Opens `path`, selects, and reads every layer: the first error, if any, in words.
fn read_all(path: &Path) -> Result<(), String> {
    let (_, source) = checkpoint::open(path).map_err(|e| e.to_string())?;
    let selection = source.select(&Filter::default());
    let first = selection.layers.iter().find_map(|layer| source.read(layer, 0..layer.rows).err());
    let tied = checkpoint::tied(source.as_ref(), &selection.layers);
    assert_eq!(tied.len(), selection.layers.len());
    first.map_or(Ok(()), |e| Err(e.to_string()))
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).expect("a folder");
        for entry in fs::read_dir(from).expect("listable") {
            let entry = entry.expect("listable");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).expect("copied");
    }
}

/// Runs one case in `folder`; says what is wrong with the outcome.
fn run(case: u64, folder: &Path) -> Result<(), String> {
    let mut random = Random(case.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let subject = &SUBJECTS[random.below(SUBJECTS.len())];
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(subject.root);
    let root: PathBuf = folder.join(original.file_name().expect("it has a name"));
    copy(&original, &root);
    let victim = if subject.victim.is_empty() { root.clone() } else { root.join(subject.victim) };
    let mut bytes = fs::read(&victim).expect("readable");
    for _ in 0..=random.below(4) {
        damage(&mut bytes, &mut random);
    }
    fs::write(&victim, &bytes).expect("written");

    LARGEST_SEEN.store(0, Ordering::Relaxed);
    let begun = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| read_all(&root)));
    let (took, largest) = (begun.elapsed(), LARGEST_SEEN.load(Ordering::Relaxed));
    let message = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(message)) => Some(message),
        Err(panic) => return Err(format!("panics: {}", words(panic.as_ref()))),
    };
    if took > SLOWEST {
        return Err(format!("takes {took:?}"));
    }
    if largest > LARGEST {
        return Err(format!("allocates {largest} bytes at once"));
    }
    match message {
        Some(m) if !m.starts_with(&root.display().to_string()) => Err(format!("does not name its file: {m}")),
        Some(m) if m.chars().any(char::is_control) => Err(format!("would move the terminal: {m:?}")),
        Some(m) if m.len() > 1000 => Err(format!("says {} bytes: {m:.200}", m.len())),
        _ => Ok(()),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn damaged_files_are_opened_or_refused_in_one_line() {
    let first = setting("SVDKIT_SEED", 1);
    for case in first..first + setting("SVDKIT_MUTATIONS", CASES) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if let Err(what) = run(case, folder.path()) {
            let kept = folder.keep();
            panic!(
                "case {case} {what}\n  its files are in {}; SVDKIT_SEED={case} SVDKIT_MUTATIONS=1 repeats it",
                kept.display()
            );
        }
    }
}

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
    let mut child = Command::new(env!("CARGO_BIN_EXE_svdkit"))
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
            None if begun.elapsed() > 6 * SLOWEST => {
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
