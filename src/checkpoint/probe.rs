//! What lies at a path that is no checkpoint we read, said so that a person knows what to try next.
//!
//! Looks at names and first bytes only; opens nothing as a model.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{FORMATS, folder};
use crate::error::{Error, brief};

/// Refuses a path that cannot be a checkpoint whatever its bytes say: absent, empty, no file or folder.
pub(super) fn check(path: &Path) -> Result<(), Error> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(absent(path)),
        Err(e) => return Err(Error::io(path, "cannot open", e)),
    };
    if metadata.is_dir() {
        return folder::listing(path).map(drop);
    }
    if !metadata.is_file() {
        return Err(Error::malformed(path, format!("is {}, not a file or folder", special(&metadata))));
    }
    if metadata.len() == 0 {
        return Err(Error::malformed(path, "the file is empty; download or save it again"));
    }
    File::open(path).map(drop).map_err(|e| Error::io(path, "cannot open", e))
}

/// An error for a path that does not exist, with the names nearby that look like it.
fn absent(path: &Path) -> Error {
    if let Ok(target) = fs::read_link(path) {
        let target = brief(&target.to_string_lossy());
        return Error::malformed(
            path,
            format!("is a link to `{target}`, which does not exist; download it again"),
        );
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    if !parent.is_dir() {
        let parent = brief(&parent.to_string_lossy());
        return Error::malformed(path, format!("does not exist, nor does the folder `{parent}`"));
    }
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    let mut near: Vec<_> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .map(|name| (strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.cmp(y)));
    let near: Vec<_> = near
        .iter()
        .take(3)
        .map(|(_, name)| format!("`{}`", brief(&parent.join(name).to_string_lossy())))
        .collect();
    Error::malformed(
        path,
        match near[..] {
            [] => "does not exist".to_owned(),
            _ => format!("does not exist; did you mean {}?", near.join(" or ")),
        },
    )
}

/// What a path is that is neither file nor folder.
#[cfg(unix)]
fn special(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match metadata.file_type() {
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// What a path is that is neither file nor folder.
#[cfg(not(unix))]
fn special(_: &Metadata) -> &'static str {
    "a device"
}

/// Refuses a file whose first bytes belong to a format that is not read, whatever its name promises.
pub(super) fn refuse_foreign(path: &Path) -> Result<(), Error> {
    match foreign(&head(path)?) {
        Some(what) => Err(Error::malformed(path, what)),
        None => Ok(()),
    }
}

/// An error for a file or folder that no format claims.
pub(super) fn unknown(path: &Path) -> Error {
    if path.is_dir() {
        return empty_folder(path);
    }
    if let Err(e) = refuse_foreign(path) {
        return e;
    }
    let formats: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
    let formats = formats.join(", ");
    Error::malformed(
        path,
        format!("is no checkpoint that svdkit reads ({formats}), by its name and first bytes"),
    )
}

/// The first bytes of a file.
pub(super) fn head(path: &Path) -> Result<Vec<u8>, Error> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .map_err(|e| Error::io(path, "cannot read", e))?;
    Ok(head)
}

const PICKLE: &str = "is a bare pickle, which runs code when it is loaded; save its weights with \
                      `safetensors.torch.save_file`, or with `torch.save`";

/// First bytes, and what they say about a file.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "is a git-lfs pointer, not the weights; run `git lfs pull`"),
    (b"GGUF", "is a GGUF file; point svdkit at the safetensors checkpoint it was made from"),
    (b"ggjt", "is a GGML file; point svdkit at the safetensors checkpoint it was made from"),
    (b"\x93NUMPY", "is a NumPy array; save it with `safetensors.numpy.save_file`"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file (Keras); save its weights with `safetensors.numpy.save_file`"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it with `gunzip`"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it with `unzstd`"),
    (b"\xfd7zXZ\0", "is compressed with xz; unpack it with `unxz`"),
    (b"BZh", "is compressed with bzip2; unpack it with `bunzip2`"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it"),
    (b"PAR1", "is a Parquet table, not a checkpoint"),
    (
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
        "is a PyTorch file from before version 1.6; load it and save it again with `torch.save`",
    ),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"\x7fELF", "is a program or library, not a checkpoint"),
    (b"%PDF", "is a PDF document, not a checkpoint"),
];

/// What a file is, by its first bytes, if that is known and not read.
fn foreign(head: &[u8]) -> Option<&'static str> {
    if let Some((_, what)) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(what);
    }
    let text: String = head.iter().take(64).map(|b| char::from(b.to_ascii_lowercase())).collect();
    let text = text.trim_start();
    if text.starts_with("<!doctype html") || text.starts_with("<html") {
        return Some("is a web page, not the weights; the download needs a login or another address");
    }
    if text.starts_with('{') || text.starts_with('[') {
        return Some("is JSON text, not weights; name the folder or the weight file beside it");
    }
    // An ONNX file is a protobuf: field 1 (the version, a small number), then field 2 (the producer's name) or 7.
    if let [0x08, 1..=32, 0x12 | 0x3a, ..] = head {
        return Some("is an ONNX model; point svdkit at the checkpoint it was exported from");
    }
    None
}

/// Names that look like weights of some kind.
const WEIGHTS: &[&str] =
    &[".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".npz", ".onnx", ".distcp"];

/// An error for a folder without a model: what was looked for, and what is there instead.
fn empty_folder(folder: &Path) -> Error {
    let names = folder::listing(folder).unwrap_or_default();
    let weights: Vec<_> =
        names.iter().filter(|name| WEIGHTS.iter().any(|ending| name.ends_with(ending))).collect();
    // Two levels: a download cache keeps its models in `snapshots/COMMIT`.
    let below =
        subfolders(folder).into_iter().flat_map(|below| [vec![below.clone()], subfolders(&below)].concat());
    let inside: Vec<_> = below
        .filter(|folder| FORMATS.iter().any(|format| (format.sniff)(folder)))
        .map(|folder| folder.to_string_lossy().into_owned())
        .collect();
    let advice = if weights.iter().any(|name| name.ends_with(".distcp")) {
        "; it is a distributed checkpoint: convert it with \
         `python -m torch.distributed.checkpoint.format_utils dcp_to_torch`"
            .to_owned()
    } else if !weights.is_empty() {
        format!("; there is {}: name the file to open it", folder::quoted(&weights))
    } else if !inside.is_empty() {
        format!("; a model is in {}", folder::quoted(&inside))
    } else {
        String::new()
    };
    let reason =
        format!("holds no model: looked for `*.safetensors`, their index, and `pytorch_model.bin`{advice}");
    Error::malformed(folder, reason)
}

/// The folders in `folder`, by name.
fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}
