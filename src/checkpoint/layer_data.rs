//! What a model's modules get as inputs: files with the inputs themselves, or their second moments, read module by module.
//!
//! Files are taken as other tools write them: PEFT's covariances (a dictionary of PyTorch), safetensors and NumPy files, and
//! llama.cpp's importance matrices (GGUF), which hold the second moments of each channel alone.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Catalogue, Factors, Opening, open_at};
use crate::error::{Error, brief, quoted};
use crate::layer::{Element, Layer, TensorInfo, bare};
use crate::matrix::Matrix;
use crate::pair;
use crate::store::Location;

/// What a file holds of each module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKind {
    /// Second moments of its inputs: `--cov`.
    Covariances,
    /// Its inputs: `--acts`.
    Inputs,
    /// A Fisher weight of each entry of its weight: `--fisher`.
    Fisher,
    /// Second moments of the gradients of its outputs: `--grad-cov`.
    Gradients,
}

/// What is known of the inputs of one module, which has `n` of them. Nothing in it is NaN or infinite, nor all of it 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Moments {
    /// A multiple of `Σx²` of each channel by itself; none is negative.
    Diagonal(Vec<f64>),
    /// A multiple of `XᵀX`, symmetric, `n × n`.
    Covariance(Matrix),
    /// `X`, tokens × `n`.
    Inputs(Matrix),
}

/// A file of such data, and which module each of its tensors is of.
pub struct LayerData {
    path: PathBuf,
    kind: DataKind,
    source: Arc<Catalogue>,
    entries: Vec<Entry>,
    /// Positions in `entries` by the names of the model's modules.
    by_module: BTreeMap<String, usize>,
}

/// What a file holds of one module.
struct Entry {
    /// The module, as the file names it.
    module: String,
    layer: Layer,
    /// Which rows of it: of several experts one.
    rows: Range<usize>,
    /// The number of tokens that sums were taken over, and which entry of that tensor it is.
    count: Option<(Layer, usize)>,
}

/// What the names of tensors may end in, by their kind.
const ENDINGS: [&[&str]; 4] =
    [&[".cov", ".covariance"], &[".acts", ".inputs"], &[".fisher"], &[".cov", ".covariance", ".grad_cov"]];
/// llama.cpp's sums of squares, and the tokens that they were taken over.
const SUMS: &str = ".in_sum2";
const COUNTS: [&str; 2] = [".counts", ".count"];
/// Two entries that should be equal may differ by this share of the largest: what sums in half precision lose.
const ASYMMETRY: f64 = 1e-3;

impl LayerData {
    /// What tells it from another file, the same on every machine.
    ///
    /// # Errors
    /// When it has changed or cannot be read.
    pub fn digest(&self) -> Result<String, Error> {
        let contents = self.source.stored().contents()?;
        let digests: Vec<u8> = contents.iter().flat_map(|file| *file.digest.as_bytes()).collect();
        Ok(blake3::hash(&digests).to_hex()[..16].to_owned())
    }

    /// The file at `path` for these `modules` of a model, each with the numbers of its outputs and inputs.
    ///
    /// # Errors
    /// When it cannot be read, holds something else, or lacks a module; where it has another number of channels.
    pub fn open(path: &Path, kind: DataKind, modules: &[(String, (usize, usize))]) -> Result<Self, Error> {
        let opening = Opening { factors: Factors::Weights, ..Opening::default() };
        let (_, source) = open_at(&Location::disk(path), &opening)?;
        let entries = entries(path, kind, source.tensors())?;
        let ours: Vec<String> = modules.iter().map(|(name, _)| name.clone()).collect();
        let theirs: Vec<String> = entries.iter().map(|entry| entry.module.clone()).collect();
        let found = pair::modules(&ours, &theirs).into_iter().enumerate();
        let by_module: BTreeMap<String, usize> =
            found.filter_map(|(at, module)| Some((ours[module?].clone(), at))).collect();
        let missing: Vec<String> = ours.into_iter().filter(|name| !by_module.contains_key(name)).collect();
        if !missing.is_empty() {
            let of = entries.first().map_or("nothing", |entry| &entry.module);
            let reason = format!(
                "has nothing for {} of {} modules: {}; its first is `{}`; `--target` or `--exclude` leaves modules out",
                missing.len(),
                modules.len(),
                quoted(&missing),
                brief(of),
            );
            return Err(Error::malformed(path, reason));
        }
        for (name, (outputs, inputs)) in modules {
            let Entry { layer, .. } = &entries[by_module[name]];
            if kind == DataKind::Fisher && (layer.rows, layer.cols) != (*outputs, *inputs) {
                let reason = format!(
                    "is {} × {}, but `{}` is {outputs} × {inputs}",
                    layer.rows,
                    layer.cols,
                    brief(name)
                );
                return Err(Error::tensor(path, &layer.tensor, reason));
            }
            let (channels, what) = match kind {
                DataKind::Gradients => (*outputs, "outputs"),
                _ => (*inputs, "inputs"),
            };
            if layer.cols != channels {
                let reason =
                    format!("has {} channels, but `{}` has {channels} {what}", layer.cols, brief(name));
                return Err(Error::tensor(path, &layer.tensor, reason));
            }
        }
        Ok(Self { path: path.to_owned(), kind, source, entries, by_module })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of a module that it was opened for.
    ///
    /// # Errors
    /// When that cannot be read, or cannot be what it should be.
    pub fn moments(&self, module: &str) -> Result<Moments, Error> {
        let (Entry { layer, rows, count, .. }, read, entries) = self.read(module)?;
        let refuse = |reason: &str| Err(Error::tensor(&self.path, &layer.tensor, reason));
        if self.kind == DataKind::Inputs {
            return Ok(Moments::Inputs(read));
        }
        if rows.len() == 1 && layer.cols > 1 {
            let count = count.as_ref().map_or(Ok(1.0), |(counts, at)| self.count(counts, *at))?;
            if entries.iter().any(|x| *x < 0.0) {
                return refuse("holds negative entries, which sums of squares cannot have");
            }
            return Ok(Moments::Diagonal(entries.iter().map(|x| x / count).collect()));
        }
        symmetric(&entries, layer.cols).map_or_else(refuse, |covariance| {
            Matrix::from_f64(layer.cols, layer.cols, &covariance).map(Moments::Covariance)
        })
    }

    /// The Fisher weights of a module's weight, none of them negative.
    ///
    /// # Errors
    /// As those of [`Self::moments`].
    pub fn fisher(&self, module: &str) -> Result<Matrix, Error> {
        let (Entry { layer, .. }, read, entries) = self.read(module)?;
        if entries.iter().any(|x| *x < 0.0) {
            let reason = "holds negative entries, which squares of gradients cannot be".to_owned();
            return Err(Error::tensor(&self.path, &layer.tensor, reason));
        }
        Ok(read)
    }

    /// What it holds of a module, in doubles, too; finite, and not all 0.
    fn read(&self, module: &str) -> Result<(&Entry, Matrix, Vec<f64>), Error> {
        let Some(entry) = self.by_module.get(module).map(|at| &self.entries[*at]) else {
            return Err(Error::Contract(format!("`{}`: not among the modules", brief(module))));
        };
        let Entry { layer, rows, .. } = entry;
        let refuse = |reason: &str| Err(Error::tensor(&self.path, &layer.tensor, reason));
        let read = self.source.alone(layer.clone()).read(layer, rows.clone())?;
        let entries = read.to_f64();
        if entries.iter().any(|x| !x.is_finite()) {
            return refuse("holds NaN or infinite entries");
        }
        if entries.iter().all(|x| *x == 0.0) {
            return refuse("is all zeros: nothing was seen");
        }
        Ok((entry, read, entries))
    }

    /// How many tokens sums were taken over.
    fn count(&self, counts: &Layer, at: usize) -> Result<f64, Error> {
        let all = self.source.alone(counts.clone()).read(counts, 0..1)?.to_f64();
        match all.get(at) {
            Some(count) if *count > 0.0 && count.is_finite() => Ok(*count),
            found => {
                let count = found.map_or_else(|| "missing".to_owned(), f64::to_string);
                let reason = format!("the number of tokens is {count}, and has to be positive");
                Err(Error::tensor(&self.path, &counts.tensor, reason))
            }
        }
    }
}

/// Everything that the tensors of a file hold of modules.
fn entries(path: &Path, kind: DataKind, tensors: &[TensorInfo]) -> Result<Vec<Entry>, Error> {
    let by_name: BTreeMap<&str, &TensorInfo> =
        tensors.iter().map(|info| (info.name.as_str(), info)).collect();
    let mut entries = vec![];
    let endings = ENDINGS[kind as usize];
    // Both are second moments.
    let kind = if kind == DataKind::Gradients { DataKind::Covariances } else { kind };
    for info in tensors {
        let name = info.name.as_str();
        let refuse = |reason: String| Error::tensor(path, name, reason);
        if kind == DataKind::Covariances && COUNTS.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let matrix = |info: &TensorInfo, shape| match info.element {
            Element::Float(dtype) => Ok(info.as_matrix(shape, dtype)),
            _ => Err(Error::tensor(path, &info.name, "is not a float tensor".to_owned())),
        };
        let stem = |name: &str| {
            let stem = endings.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
            bare(stem).to_owned()
        };
        match (kind, &info.shape[..]) {
            (DataKind::Inputs, [.., tokens, channels]) => {
                let tokens = info.shape[..info.shape.len() - 2].iter().fold(*tokens, |all, n| all * n);
                let layer = matrix(info, (tokens, *channels))?;
                entries.push(Entry { module: stem(name), layer, rows: 0..tokens, count: None });
            }
            (DataKind::Fisher, [rows, cols]) => {
                let layer = matrix(info, (*rows, *cols))?;
                entries.push(Entry { module: stem(name), layer, rows: 0..*rows, count: None });
            }
            (DataKind::Covariances, [.., channels]) if name.ends_with(SUMS) && info.shape.len() < 3 => {
                let module = name.strip_suffix(SUMS).map(bare).unwrap_or_default();
                let experts = info.shape[..info.shape.len() - 1].iter().product();
                let layer = matrix(info, (experts, *channels))?;
                let counts =
                    by_name.get(format!("{}{}", &name[..name.len() - SUMS.len()], COUNTS[0]).as_str());
                let counts = counts.ok_or_else(|| refuse(format!("has no `{}` beside it", COUNTS[0])))?;
                let counts = matrix(counts, (1, counts.shape.iter().product()))?;
                for i in 0..experts {
                    let module = if experts == 1 { module.to_owned() } else { format!("{module}[{i}]") };
                    let count = Some((counts.clone(), i));
                    entries.push(Entry { module, layer: layer.clone(), rows: i..i + 1, count });
                }
            }
            (DataKind::Covariances, [channels]) => {
                let layer = matrix(info, (1, *channels))?;
                entries.push(Entry { module: stem(name), layer, rows: 0..1, count: None });
            }
            (DataKind::Covariances, [rows, cols]) if rows == cols => {
                let layer = matrix(info, (*rows, *cols))?;
                entries.push(Entry { module: stem(name), layer, rows: 0..*rows, count: None });
            }
            (kind, shape) => {
                let wanted = match kind {
                    DataKind::Covariances | DataKind::Gradients => "a covariance is n × n, or n numbers",
                    DataKind::Inputs => "inputs are tokens × n",
                    DataKind::Fisher => "Fisher weights have the shape of the weight",
                };
                return Err(refuse(format!("has the shape {shape:?}; {wanted}")));
            }
        }
    }
    Ok(entries)
}

/// The mean of a square of numbers and its transpose.
fn symmetric(entries: &[f64], side: usize) -> Result<Vec<f64>, &'static str> {
    let largest = entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let mut mean = entries.to_vec();
    for i in 0..side {
        if entries[i * side + i] < 0.0 {
            return Err("holds a negative entry on its diagonal, which a covariance cannot have");
        }
        for j in 0..i {
            let (one, other) = (entries[i * side + j], entries[j * side + i]);
            if (one - other).abs() > ASYMMETRY * largest {
                return Err("is not symmetric, so it is not a covariance");
            }
            let middle = f64::midpoint(one, other);
            (mean[i * side + j], mean[j * side + i]) = (middle, middle);
        }
    }
    Ok(mean)
}
