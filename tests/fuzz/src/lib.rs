//! What the fuzz targets share: a folder to put hostile bytes in, and what must hold of every answer.

#![expect(clippy::missing_panics_doc, reason = "a panic is what a fuzzer looks for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use svdkit::checkpoint;
use svdkit::layer::Filter;

/// The most that one allocation may ask for, in bytes.
const MOST: usize = 128 << 20;

/// Ends the process at an allocation that no input here justifies. libFuzzer's `-malloc_limit_mb` needs a sanitizer's hooks.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

fn limit(bytes: usize) {
    if bytes > MOST {
        std::process::abort();
    }
}

// SAFETY: all is left to the allocator of the system.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        limit(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        limit(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        limit(size);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

/// A folder of this process.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a temporary folder").keep())
}

/// Puts `bytes` into the file `name` of the folder.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("written");
    path
}

/// Opens `path` and reads every matrix; what goes wrong must be said in one line that names the place.
pub fn read(path: &Path) {
    let source = match checkpoint::open(path) {
        Ok((_, source)) => source,
        Err(error) => return check(path, &error.to_string()),
    };
    for layer in source.select(&Filter::default()).layers {
        if let Err(error) = source.read(&layer, 0..layer.rows) {
            check(path, &error.to_string());
        }
    }
}

/// What must hold of a message about `path`.
pub fn check(path: &Path, message: &str) {
    assert!(message.starts_with(&path.display().to_string()), "does not name its file: {message}");
    assert!(!message.chars().any(char::is_control), "would move the terminal: {message:?}");
    assert!(message.len() < 2000, "is no line: {message}");
}

/// A zip archive of one pickle and 24 bytes, as `torch.save` lays it out.
pub fn archive(pickle: &[u8]) -> Vec<u8> {
    let (mut file, mut directory) = (vec![], vec![]);
    for (name, content) in [("x/data.pkl", pickle), ("x/data/0", &[0; 24][..])] {
        let sizes = [content.len() as u32; 2].map(u32::to_le_bytes).concat();
        let name_length = (name.len() as u16).to_le_bytes();
        let offset = (file.len() as u32).to_le_bytes();
        // Versions, flags, method (stored), time and checksum may be zero.
        file.extend([b"PK\x03\x04", &[0; 14][..], &sizes, &name_length, &[0; 2], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02", &[0; 16][..], &sizes, &name_length, &[0; 12], &offset].concat());
        directory.extend(name.as_bytes());
    }
    let (start, length) = (file.len() as u32, directory.len() as u32);
    file.extend(directory);
    file.extend([b"PK\x05\x06", &[0; 8][..], &length.to_le_bytes(), &start.to_le_bytes(), &[0; 2]].concat());
    file
}
