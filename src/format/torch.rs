//! PyTorch checkpoints: zip archives of a pickle that names the tensors and one entry of raw bytes a storage; before
//! version 1.6, pickles and storages one after the other.
//!
//! A pickle is read as data (`pickle`), the bytes are read where they lie; nothing is executed and nothing unpacked.
//! `state_dict` interprets the pickle's objects.

mod legacy;

use std::collections::{BTreeMap, BTreeSet};

use super::candidate::{Candidate, CandidateKind};
use super::folder::{self, Family};
use super::opened::Opened;
use super::parts::{FilePart, Layout, Parts};
use super::pickle::Pickle;
use super::state_dict::{self, Model, StoredTensor};
use super::strides::Order;
use super::zip::{Archive, Extent};
use super::{Format, elements, opened};
use crate::error::{Error, brief, quoted};
use crate::layer::{Element, TensorInfo};
use crate::store::Location;

/// The table entry.
pub(crate) const FORMAT: Format =
    Format::read("torch", &[".bin", ".pt", ".pth", ".ckpt"], sniff, parts).in_variants(&[".bin"]);

const FAMILY: Family = Family {
    indices: &["pytorch_model.bin.index.json", "diffusion_pytorch_model.bin.index.json"],
    files: &["pytorch_model.bin", "diffusion_pytorch_model.bin", "adapter_model.bin"],
    // A training folder is full of `.pt` files that hold no model: one has to be named.
    endings: &[],
};

const BIG_ENDIAN: &str = "was saved on a big-endian machine; load it and save it on another";

/// Longest pickle that is read; a model of a thousand tensors has about 200,000 bytes.
const LONGEST_PICKLE: u64 = 64_000_000;

/// A zip archive, an index, or a folder that holds a file of a usual name.
fn sniff(candidate: &Candidate<'_>) -> bool {
    let name = candidate.location.name();
    match &candidate.content {
        CandidateKind::Folder(names) => folder::holds(candidate, names, &FAMILY),
        CandidateKind::File(head) => {
            (folder::is_index(&name) && name.contains(".bin.index."))
                || head.starts_with(b"PK\x03\x04")
                || legacy::begins(head)
        }
    }
}

fn parts(candidate: &Candidate<'_>) -> Result<Parts, Error> {
    folder::open_all(candidate, &FAMILY, &one)
}

fn one(location: &Location) -> Result<FilePart, Error> {
    let opened = opened::open(location)?;
    let (model, places) = if legacy::begins(&opened.head) {
        legacy::read(&opened)?
    } else {
        opened.refuse_unsupported()?;
        archived(&opened)?
    };
    let (mut tensors, mut layouts) = (Vec::with_capacity(model.tensors.len()), BTreeMap::new());
    for tensor in model.tensors {
        let extent = tensor.storage.as_ref().and_then(|key| places.get(key).copied());
        let place = place(&tensor, extent).map_err(|reason| location.tensor(&tensor.name, reason))?;
        let StoredTensor { name, shape, mut element, order, refused, .. } = tensor;
        let layout = match order {
            Order::Rows => refused.map(Layout::Refused),
            // Not a weight: its bytes are scanned in stored order.
            Order::Strided(_) if matches!(element, Element::Other(_)) => {
                element = Element::Other(format!("scattered {}", element.name()));
                None
            }
            Order::Strided(strides) => Some(Layout::Strided(strides)),
            Order::Overlapping => {
                element = Element::Other(format!("expanded {}", element.name()));
                Some(Layout::Refused(
                    "shows the same entries many times; save it after `.contiguous()`".to_owned(),
                ))
            }
        };
        layouts.extend(layout.map(|layout| (name.clone(), layout)));
        let (offset, bytes) = place.map_or((0, None), |Extent { offset, length }| (offset, Some(length)));
        tensors.push(TensorInfo { name: name.into(), shape, element, file: 0, offset, bytes });
    }
    for other in model.others.iter().filter(|other| !is_of_optimizer(other)) {
        let taken = tensors.iter().any(|tensor| tensor.name == *other);
        let name = if taken { format!("{other} (dictionary)") } else { other.clone() };
        layouts.insert(name.clone(), Layout::Refused(BESIDE.to_owned()));
        let element = Element::Other("dictionary".to_owned());
        tensors.push(TensorInfo {
            name: name.into(),
            shape: vec![],
            element,
            file: 0,
            offset: 0,
            bytes: None,
        });
    }
    let name = location.name();
    let notes = match &model.others[..] {
        [] => vec![],
        others => vec![format!(
            "`{}` also holds tensors in {}, which are not part of the model",
            brief(&name),
            quoted(others)
        )],
    };
    Ok(FilePart { layouts, notes, ..FilePart::new(opened.file, tensors)? })
}

/// Why a dictionary of tensors is not read.
const BESIDE: &str = "a dictionary of tensors beside the model, which may be another model; save the one you want with \
                      `torch.save`";

/// Whether a dictionary is the state of an optimizer, by its key: no weights are in there.
fn is_of_optimizer(key: &str) -> bool {
    key.to_ascii_lowercase().contains("optim")
}

/// The model in a file, and where the storages of its tensors lie, as far as they are there.
type Contents = (Model, BTreeMap<String, Extent>);

/// The contents of a zip archive.
fn archived(opened: &Opened) -> Result<Contents, Error> {
    let location = opened.file.location();
    let malformed = |reason: String| location.malformed(reason);
    let archive = Archive::open(opened.bytes.as_ref(), &opened.file, "torch.save")?;
    let folder = pickle_folder(&archive).map_err(malformed)?;
    if let Some(order) = archive.find(&format!("{folder}byteorder"))?
        && archive.read(order, 16)? == b"big"
    {
        return Err(malformed(BIG_ENDIAN.to_owned()));
    }
    let extent = archive.find(&format!("{folder}data.pkl"))?;
    let extent = extent.ok_or_else(|| malformed("the archive holds no `data.pkl`".to_owned()))?;
    let pickle = Pickle::read(&mut &archive.read(extent, LONGEST_PICKLE)?[..]).map_err(malformed)?;
    let model = state_dict::model(&pickle).map_err(malformed)?;
    let keys: BTreeSet<&String> = model.tensors.iter().filter_map(|tensor| tensor.storage.as_ref()).collect();
    let keys: Vec<&String> = keys.into_iter().collect();
    let find = |key: &&String| archive.find(&format!("{folder}data/{key}"));
    // Where each costs a round trip, several are asked for at once.
    let found = if location.is_remote() {
        folder::at_once(&keys, find)?.into_iter().collect::<Result<Vec<_>, _>>()?
    } else {
        keys.iter().map(find).collect::<Result<Vec<_>, _>>()?
    };
    let places = keys.into_iter().zip(found).filter_map(|(key, extent)| Some((key.clone(), extent?)));
    let places = places.collect();
    Ok((model, places))
}

/// The folder of the archive that holds `data.pkl`, with its `/`; otherwise an error that names the kind of archive.
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
            Err("is a zip archive of NumPy arrays and other things; save the arrays alone with `numpy.savez`"
                .to_owned())
        }
        (None, _) if has(".weights.h5") => {
            Err("is a Keras archive; save its weights with `safetensors.numpy.save_file`".to_owned())
        }
        (None, _) => {
            let model =
                archive.names().find(|name| [".pth", ".pt", ".ckpt"].iter().any(|end| name.ends_with(end)));
            // Stable-Baselines3 puts the files of a policy into one archive.
            let model = archive.names().find(|name| *name == "policy.pth").or(model);
            if let Some(model) = model.map(brief) {
                return Err(format!(
                    "is a zip archive that holds `{model}`; unpack that with `unzip FILE {model}` and name it"
                ));
            }
            let first = archive.names().next().map_or_else(String::new, brief);
            Err(format!("is a zip archive (of `{first}` …), but none that `torch.save` made"))
        }
    }
}

/// Where the bytes of `tensor` lie, from its first entry to its last, in the entry at `extent`, or why they are not all
/// there. For a tensor that is not a weight, the whole entry if its length is unknown; none if there is no entry.
fn place(tensor: &StoredTensor, extent: Option<Extent>) -> Result<Option<Extent>, String> {
    let size = match &tensor.element {
        Element::Float(dtype) => dtype.size() as u64,
        Element::Other(name) if extent.is_none() && name != "i64" => return Ok(None),
        other => match elements::width(other.name()) {
            Some(width) => width,
            None => return Ok(extent),
        },
    };
    let extent = extent.ok_or("its data are not in the archive; download the file again")?;
    let bytes = |entries: Option<u64>| entries.and_then(|n| n.checked_mul(size));
    let (start, length) = (bytes(Some(tensor.start)), bytes(tensor.span));
    match start.zip(length).and_then(|(start, length)| Some((start, start.checked_add(length)?))) {
        Some((start, end)) if end <= extent.length => {
            Ok(Some(Extent { offset: extent.offset + start, length: end - start }))
        }
        _ => {
            let (shape, dtype) = (&tensor.shape, tensor.element.name());
            Err(format!("{shape:?} entries of {dtype} do not fit its {} bytes", extent.length))
        }
    }
}
