//! Sound files, damaged at random: whatever the damage, svdkit opens them or says in one line why not.
//!
//! `SVDKIT_MUTATIONS=10000 cargo test --test mutations` runs more cases than the default; `SVDKIT_SEED` other ones.
//! A failing case prints its seed and leaves the damaged file in the system's temporary folder.
//! tests/program/mutated_texts.rs does the same through the program; the long campaign over everything is tests/mutations.py.

mod damage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use svdkit::checkpoint;
use svdkit::layer::Filter;

use damage::{Random, damage, setting};

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
