//! PyTorch checkpoints: zip archives of a pickle that names the tensors and one entry of raw bytes a storage.
//!
//! The pickle is read as data (`pickle`), the bytes are read where they lie (`zip`, `stored`); nothing is executed
//! and nothing unpacked. What the pickle's objects mean is `state_dict`'s business.

use std::collections::BTreeMap;
use std::path::Path;

use super::folder::{self, Family};
use super::state_dict::{self, StoredTensor};
use super::stored::{Stored, WeightFile};
use super::zip::{Archive, Extent};
use super::{Format, MatrixSource, pickle, probe};
use crate::error::{Error, brief};
use crate::layer::{Element, TensorInfo};

/// The table entry.
pub(super) const FORMAT: Format = Format { name: "torch", sniff, open };

const FAMILY: Family = Family {
    indices: &["pytorch_model.bin.index.json", "diffusion_pytorch_model.bin.index.json"],
    files: &["pytorch_model.bin", "diffusion_pytorch_model.bin", "adapter_model.bin"],
    // A training folder is full of `.pt` files that hold no model: one has to be named.
    endings: &[],
};

/// A pickle longer than this is not read; that of a model of a thousand tensors has about 200,000 bytes.
const LONGEST_PICKLE: u64 = 64_000_000;

/// A zip archive, an index, or a folder that holds a file of a usual name.
fn sniff(path: &Path) -> bool {
    if path.is_dir() {
        return folder::holds(path, &FAMILY);
    }
    let index = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".bin.index.json"));
    index || probe::head(path).is_ok_and(|head| head.starts_with(b"PK\x03\x04"))
}

fn open(path: &Path) -> Result<Box<dyn MatrixSource>, Error> {
    let mut unreadable = BTreeMap::new();
    let mut one = |path: &Path| {
        let part = one(path)?;
        unreadable.extend(part.unreadable);
        Ok((part.file, part.tensors))
    };
    let parts = folder::open_all(path, &FAMILY, &mut one)?;
    Ok(Box::new(Stored::new(path, parts)?.refusing(unreadable)))
}

/// One file, its tensors, and why some of them cannot be read.
struct Part {
    file: WeightFile,
    tensors: Vec<TensorInfo>,
    unreadable: BTreeMap<String, String>,
}

fn one(path: &Path) -> Result<Part, Error> {
    probe::check(path)?;
    probe::refuse_foreign(path)?;
    let malformed = |reason: String| Error::malformed(path, reason);
    let (handle, file) = WeightFile::open(path)?;
    let archive = Archive::open(&handle, &file)?;
    let folder = pickle_folder(&archive).map_err(malformed)?;
    if let Some(order) = archive.find(&format!("{folder}byteorder"))?
        && archive.read(order, 16)? == b"big"
    {
        return Err(malformed(
            "was saved on a big-endian machine; load it and save it on another".to_owned(),
        ));
    }
    let extent = archive.find(&format!("{folder}data.pkl"))?;
    let extent = extent.ok_or_else(|| malformed("the archive holds no `data.pkl`".to_owned()))?;
    let object = pickle::parse(&archive.read(extent, LONGEST_PICKLE)?).map_err(malformed)?;
    let stored = state_dict::tensors(object).map_err(malformed)?;
    let (mut tensors, mut unreadable) = (Vec::with_capacity(stored.len()), BTreeMap::new());
    for tensor in stored {
        let extent = match &tensor.storage {
            Some(storage) => archive.find(&format!("{folder}data/{storage}"))?,
            None => None,
        };
        let place = place(&tensor, extent).map_err(|reason| Error::tensor(path, &tensor.name, reason))?;
        let StoredTensor { name, shape, mut element, .. } = tensor;
        let offset = match place {
            Place::At(offset) => offset,
            Place::Scattered => {
                let reason = "is not contiguous; save it after `.contiguous()`";
                unreadable.insert(name.clone(), reason.to_owned());
                0
            }
            Place::Expanded => {
                element = Element::Other(format!("expanded {}", element.name()));
                0
            }
        };
        tensors.push(TensorInfo { name, shape, element, file: 0, offset });
    }
    Ok(Part { file, tensors, unreadable })
}

/// The folder of the archive that holds `data.pkl`, with its `/`; says what else the archive is otherwise.
fn pickle_folder(archive: &Archive<'_>) -> Result<String, String> {
    let has = |ending: &str| archive.names().any(|name| name.ends_with(ending));
    if has("constants.pkl") {
        return Err("is a TorchScript program; save the weights alone: \
                    `torch.save(torch.jit.load(FILE).state_dict(), NEW)`"
            .to_owned());
    }
    let mut folders = archive.names().filter_map(|name| {
        let folder = name.strip_suffix("data.pkl")?;
        (folder.is_empty() || folder.ends_with('/')).then_some(folder)
    });
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder.to_owned()),
        (Some(_), Some(_)) => Err("the archive holds several `data.pkl`".to_owned()),
        (None, _) if has(".npy") => {
            Err("is a NumPy archive; save it with `safetensors.numpy.save_file`".to_owned())
        }
        (None, _) if has(".weights.h5") => {
            Err("is a Keras archive; save its weights with `safetensors.numpy.save_file`".to_owned())
        }
        (None, _) => {
            let first = archive.names().next().map_or_else(String::new, brief);
            Err(format!("is a zip archive (of `{first}` …), but none that `torch.save` made"))
        }
    }
}

/// Where in the file the bytes of a tensor lie.
enum Place {
    At(u64),
    /// With gaps or in another order.
    Scattered,
    /// In fewer bytes than it has entries: one is shown many times.
    Expanded,
}

/// Finds the bytes of `tensor` in the entry at `extent`, or says why they are not all there.
fn place(tensor: &StoredTensor, extent: Option<Extent>) -> Result<Place, String> {
    let Element::Float(dtype) = tensor.element else {
        return Ok(Place::At(extent.map_or(0, |extent| extent.offset)));
    };
    let extent = extent.ok_or("its data are not in the archive; download the file again")?;
    let size = dtype.size() as u64;
    let length = tensor.shape.iter().try_fold(size, |n, axis| n.checked_mul(*axis as u64));
    let start = tensor.start.checked_mul(size);
    match start.zip(length).and_then(|(start, length)| Some((start, start.checked_add(length)?))) {
        Some((start, end)) if end <= extent.length => {
            Ok(if tensor.contiguous { Place::At(extent.offset + start) } else { Place::Scattered })
        }
        _ if !tensor.contiguous => Ok(Place::Expanded),
        _ => Err(format!("{:?} entries of {dtype} do not fit its {} bytes", tensor.shape, extent.length)),
    }
}
