//! Checkpoints that do not lie on a disk: the same tensors and numbers, the same refusals, and nothing read twice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use svdkit::checkpoint::{self, Catalogue, Opening};
use svdkit::layer::Filter;
use svdkit::store::{Entry, Listed, Location, Memory, ReadAt, Store, Version};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

/// The files below `path`, by their paths in it; that of a file is its name.
fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    if path.is_file() {
        return vec![(path.file_name().unwrap().into(), std::fs::read(path).unwrap())];
    }
    let below = |entry: io::Result<std::fs::DirEntry>| {
        let (path, name) = entry.map(|entry| (entry.path(), PathBuf::from(entry.file_name()))).unwrap();
        let inside = if path.is_dir() { Some(name) } else { None };
        let named =
            move |(file, bytes)| (inside.as_ref().map_or(PathBuf::new(), Clone::clone).join(file), bytes);
        files(&path).into_iter().map(named).collect::<Vec<_>>()
    };
    std::fs::read_dir(path).unwrap().flat_map(below).collect()
}

/// The fixture at `path` as bytes of this process.
fn memory(path: &str) -> Location {
    let path = fixture(path);
    let name = if path.is_file() { PathBuf::from(path.file_name().unwrap()) } else { PathBuf::new() };
    Location::new(Arc::new(Memory::new("memory", files(&path))), name)
}

fn open(location: &Location) -> (&'static str, Arc<Catalogue>) {
    checkpoint::open_at(location, &Opening::default()).unwrap()
}

/// What is in a source: tensors, files, notes, and every matrix that can be read.
fn content(source: &Catalogue) -> Vec<String> {
    let selection = source.select(&Filter::default());
    let matrices = selection.layers.iter().map(|layer| match source.read(layer, 0..layer.rows) {
        Ok(matrix) => format!("{} {:?}", layer.name, matrix.bytes()),
        // The rest of the message names the place.
        Err(error) => format!("{} {}", layer.name, error.to_string().rsplit(": ").next().unwrap()),
    });
    let skipped = selection.skipped.iter().map(|skipped| format!("{} {}", skipped.tensor, skipped.reason));
    let files = source.files().into_iter().map(|file| format!("{} {}", file.name, file.bytes));
    matrices.chain(skipped).chain(files).chain(source.notes().to_vec()).collect()
}

#[test]
fn a_checkpoint_in_memory_is_the_checkpoint_on_disk() {
    let models = [
        "charlm/base",
        "charlm/base/model.safetensors",
        "charlm/lora-r4",
        "experts/fused",
        "formats/gguf/kinds.gguf",
        "formats/gguf/split",
        "formats/numpy/arrays.npz",
        "formats/numpy/columns.npy",
        "formats/pipeline",
        "formats/sharded",
        "formats/torch/kinds.pth",
        "formats/torch/sharded",
        "formats/torch/training.pt",
        "quantized/fp8",
        "quantized/mxfp4",
    ];
    for model in models {
        let (format, source) = open(&memory(model));
        let (expected, on_disk) = checkpoint::open(&fixture(model)).unwrap();
        assert_eq!(format, expected, "{model}");
        assert_eq!(content(source.as_ref()), content(on_disk.as_ref()), "{model}");
    }
}

#[test]
fn what_is_wrong_in_memory_is_said_as_on_disk() {
    for entry in std::fs::read_dir(fixture("bad")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let said = |opened: Result<_, svdkit::error::Error>| opened.map(drop).map_err(|e| e.to_string());
        let on_disk = said(checkpoint::open(&path));
        let location = memory(&format!("bad/{name}"));
        let root = if path.is_dir() { path.as_path() } else { path.parent().unwrap() };
        let expected = on_disk.map_err(|e| e.replace(root.to_str().unwrap(), "memory"));
        assert_eq!(said(checkpoint::open_at(&location, &Opening::default())), expected, "{name}");
    }
}

/// A store that counts how often each file is opened or read whole.
#[derive(Debug)]
struct Counting {
    inner: Memory,
    asked: Mutex<BTreeMap<PathBuf, usize>>,
}

impl Counting {
    fn count(&self, path: &Path) {
        *self.asked.lock().unwrap().entry(path.to_owned()).or_default() += 1;
    }
}

impl Store for Counting {
    fn entry(&self, path: &Path) -> io::Result<Entry> {
        self.inner.entry(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        self.inner.list(folder)
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn ReadAt>, Version)> {
        self.count(path);
        self.inner.open(path)
    }

    fn reopen(&self, path: &Path, version: &Version) -> Result<Box<dyn ReadAt>, String> {
        self.inner.reopen(path, version)
    }

    fn describe(&self, path: &Path) -> PathBuf {
        self.inner.describe(path)
    }
}

#[test]
fn settings_indices_and_headers_are_read_once_an_open() {
    for model in ["charlm/base", "charlm/lora-r4", "experts/fused", "formats/sharded", "quantized/fp8"] {
        let inner = Memory::new("memory", files(&fixture(model)));
        let store = Arc::new(Counting { inner, asked: Mutex::default() });
        let dynamic: Arc<dyn Store> = Arc::<Counting>::clone(&store);
        open(&Location::new(dynamic, ""));
        let asked = store.asked.lock().unwrap().clone();
        assert!(asked.values().all(|times| *times == 1), "{model}: {asked:?}");
        let configured = fixture(model).join("config.json").is_file();
        assert_eq!(asked.contains_key(Path::new("config.json")), configured, "{model}");
    }
}

#[test]
fn bytes_that_are_not_there_are_an_error() {
    let store: Arc<dyn Store> = Arc::new(Memory::new("memory", [("a", vec![1, 2, 3])]));
    let (_, file) = Location::new(Arc::clone(&store), "a").open().unwrap();
    let mut out = [0; 2];
    assert_eq!((file.length(), file.read_at(&mut out, 1), out), (3, Ok(()), [2, 3]));
    assert_eq!(file.read(2, 2), Err("2 bytes at 2 are not in the file".to_owned()));
    assert!(file.read(u64::MAX, 2).is_err());
    let text = Location::new(store, "a").text("a list", 2).unwrap_err().to_string();
    assert_eq!(text, "memory/a: a list of more than 2 bytes is not read");
}

#[test]
fn every_weight_of_a_known_format_is_known_by_its_name() {
    for name in ["a.safetensors", "b.bin", "c.pt", "d.pth", "e.ckpt", "f.gguf", "g.npz", "h.npy"] {
        assert!(checkpoint::names_weights(name), "{name}");
    }
    for name in ["a.h5", "b.onnx", "c.msgpack", "d.engine", "e.plan"] {
        assert!(checkpoint::names_weights(name), "{name}");
    }
    for name in ["config.json", "model.safetensors.index.json", "tokenizer.model", "README.md", "gguf"] {
        assert!(!checkpoint::names_weights(name), "{name}");
    }
}
