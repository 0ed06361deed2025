//! A folder with an adapter of thin factors, as PEFT, kohya's sd-scripts or Diffusers read it.
//!
//! It appears whole or not at all. Factors come from a spool, a product at a time.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::carried::{self, CarriedTensor, Kept};
use super::files::{check_place, followed, or_here};
use super::safetensors::{self, Entry};
use super::spool::Spool;
use super::temporary::TemporaryFolder;
use crate::error::{Error, brief};
use crate::low_rank::LowRank;
use crate::matrix::{Dtype, Matrix};

/// Which program is to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterDialect {
    /// `adapter_model.safetensors` with `adapter_config.json`.
    Peft,
    /// One file whose names begin with this word.
    Kohya(String),
    /// One file whose names begin with this component.
    Diffusers(String),
}

/// What kind of layer an adapter is put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleKind {
    /// Outputs × inputs.
    Linear,
    /// Inputs × outputs: a `Conv1D` of GPT-2.
    Turned,
    /// Rows × features.
    Embedding,
    /// Outputs × (inputs · positions), with the axes of one kernel, inputs first.
    Kernel(Vec<u64>),
}

/// An update that is written.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterModule {
    /// The module's name in the model.
    pub name: String,
    /// What kind of layer it is.
    pub kind: ModuleKind,
    /// What its product is kept under.
    pub key: String,
    /// Its directions.
    pub rank: usize,
    /// Rows and columns of the weight.
    pub shape: (usize, usize),
    /// What its scale is times the rank.
    pub alpha: f64,
    /// The diagonal between the factors (KaSA), where there is one.
    pub diagonal: Vec<f64>,
}

/// One tensor of the file.
enum Tensor<'m> {
    Up(&'m AdapterModule),
    Down(&'m AdapterModule),
    Alpha(&'m AdapterModule),
    Diagonal(&'m AdapterModule),
    Carried(&'m CarriedTensor),
}

/// Whether a folder can be made at `out`.
///
/// # Errors
/// When it holds something already or cannot be written to.
pub fn check_adapter_folder(out: &Path) -> Result<(), Error> {
    check_place(out)?;
    let there = followed(out);
    let there = there.ancestors().skip(1).map(or_here).find(|folder| folder.exists());
    let tried = TemporaryFolder::new_in(there.unwrap_or(Path::new(".")));
    tried.map(drop).map_err(|e| Error::io(out, "cannot create", e))
}

/// Whether a file with `modules` has a place for `tensor`: a bias beside factors needs their module, and PEFT knows none in a
/// file that has factors of an embedding.
pub fn has_place(tensor: &CarriedTensor, modules: &[AdapterModule]) -> bool {
    let embeds = || modules.iter().any(|module| module.kind == ModuleKind::Embedding);
    tensor.kept != Kept::FactorBias || modules.iter().any(|module| module.name == tensor.module) && !embeds()
}

/// Writes `modules`, whose products are in `products`, with entries of `dtype`. `base` is where the model lies.
///
/// # Errors
/// When there is no module, two would have one name, or something cannot be written.
pub fn write_adapter(
    out: &Path,
    products: (&[AdapterModule], &Spool),
    dialect: &AdapterDialect,
    types: (Dtype, Option<&str>),
) -> Result<(), Error> {
    write_adapter_with(out, products, &[], dialect, types)
}

/// The same with tensors beside the factors, which only PEFT has a place for.
///
/// # Errors
/// As for [`write_adapter`].
pub fn write_adapter_with(
    out: &Path,
    (modules, products): (&[AdapterModule], &Spool),
    carried: &[CarriedTensor],
    dialect: &AdapterDialect,
    (dtype, base): (Dtype, Option<&str>),
) -> Result<(), Error> {
    check_place(out)?;
    let out = &followed(out);
    let failed = |e| Error::io(out, "cannot write", e);
    let beside = or_here(out.parent().unwrap_or(Path::new("")));
    fs::create_dir_all(beside).map_err(failed)?;
    let folder = TemporaryFolder::new_in(beside).map_err(failed)?;
    let file = folder.path().join(match dialect {
        AdapterDialect::Peft => "adapter_model.safetensors",
        AdapterDialect::Kohya(_) => "lora.safetensors",
        AdapterDialect::Diffusers(_) => "pytorch_lora_weights.safetensors",
    });
    let mut tensors: Vec<(Entry, Tensor<'_>)> =
        modules.iter().flat_map(|module| module.tensors(dialect, dtype)).collect();
    let names: BTreeSet<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    tensors.extend(carried.iter().map(|tensor| (tensor.entry(&names), Tensor::Carried(tensor))));
    tensors.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    let (entries, contents): (Vec<Entry>, Vec<Tensor<'_>>) = tensors.into_iter().unzip();
    let mut contents = contents.into_iter();
    let mut writer = BufWriter::new(File::create(&file).map_err(failed)?);
    let written = safetensors::write(&mut writer, Some(json!({"format": "pt"})), &entries, |_, out| {
        let bytes = contents.next().map(|tensor| tensor.bytes(products, dtype)).transpose();
        out.write_all(&bytes.map_err(std::io::Error::other)?.unwrap_or_default())
    });
    written.and_then(|()| writer.flush()).map_err(failed)?;
    if *dialect == AdapterDialect::Peft {
        let text = serde_json::to_string_pretty(&config(modules, carried, base)).unwrap_or_default();
        fs::write(folder.path().join("adapter_config.json"), text + "\n").map_err(failed)?;
    }
    folder.put(out).map_err(failed)
}

/// Removes an adapter that was written to `out`.
pub fn remove_adapter(out: &Path) {
    // What is left then is told by the error that it is removed for.
    drop(fs::remove_dir_all(followed(out)));
}

impl AdapterModule {
    /// Whether the weight is stored inputs × outputs.
    fn is_turned(&self) -> bool {
        matches!(self.kind, ModuleKind::Turned | ModuleKind::Embedding)
    }

    /// Its tensors in this dialect.
    fn tensors(&self, dialect: &AdapterDialect, dtype: Dtype) -> Vec<(Entry, Tensor<'_>)> {
        let (outputs, inputs) = if self.is_turned() { (self.shape.1, self.shape.0) } else { self.shape };
        let rank = self.rank as u64;
        let (down, up) = match &self.kind {
            ModuleKind::Kernel(axes) => {
                let ones = axes.iter().skip(1).map(|_| 1);
                ([&[rank], &axes[..]].concat(), [outputs as u64, rank].into_iter().chain(ones).collect())
            }
            _ => (vec![rank, inputs as u64], vec![outputs as u64, rank]),
        };
        let [of_down, of_up] = self.names(dialect);
        let entry = |name: String, dtype: Dtype, shape: Vec<u64>| {
            let bytes = shape.iter().product::<u64>() * dtype.size() as u64;
            Entry { name, dtype: stored(dtype).to_owned(), shape, bytes }
        };
        let mut tensors = vec![
            (entry(of_down, dtype, down), Tensor::Down(self)),
            (entry(of_up, dtype, up), Tensor::Up(self)),
        ];
        if !self.diagonal.is_empty() {
            let name = format!("base_model.model.{}.lora_diag", self.name);
            tensors.push((entry(name, dtype, vec![rank]), Tensor::Diagonal(self)));
        }
        if let AdapterDialect::Kohya(prefix) = dialect {
            let name = format!("{prefix}_{}.alpha", self.name.replace('.', "_"));
            tensors.push((entry(name, Dtype::F32, vec![]), Tensor::Alpha(self)));
        }
        tensors
    }

    /// The names of the factors next to the inputs and next to the outputs.
    fn names(&self, dialect: &AdapterDialect) -> [String; 2] {
        let name = &self.name;
        match (dialect, &self.kind) {
            (AdapterDialect::Peft, ModuleKind::Embedding) => {
                ["A", "B"].map(|side| format!("base_model.model.{name}.lora_embedding_{side}"))
            }
            (AdapterDialect::Peft, _) => {
                ["A", "B"].map(|side| format!("base_model.model.{name}.lora_{side}.weight"))
            }
            (AdapterDialect::Kohya(prefix), _) => {
                let name = name.replace('.', "_");
                ["down", "up"].map(|side| format!("{prefix}_{name}.lora_{side}.weight"))
            }
            (AdapterDialect::Diffusers(prefix), _) => {
                ["A", "B"].map(|side| format!("{prefix}.{name}.lora_{side}.weight"))
            }
        }
    }
}

impl Tensor<'_> {
    fn bytes(&self, products: &Spool, dtype: Dtype) -> Result<Vec<u8>, Error> {
        let module = match self {
            Self::Up(module) | Self::Down(module) => module,
            Self::Alpha(module) => return Ok((module.alpha as f32).to_le_bytes().to_vec()),
            Self::Diagonal(module) => {
                let diagonal = &module.diagonal;
                return Ok(Matrix::rounded(1, diagonal.len(), dtype, diagonal)?.bytes().to_vec());
            }
            Self::Carried(tensor) => return (tensor.bytes)(),
        };
        let missing = || Error::Contract(format!("`{}`: no factors", brief(&module.key)));
        let product = products.get(&module.key)?.ok_or_else(missing)?;
        let rank = product.rank();
        let turned = |entries: &[f64], cols: usize| -> Vec<f64> {
            (0..cols).flat_map(|j| entries.iter().skip(j).step_by(cols.max(1)).copied()).collect()
        };
        let side = |product: &LowRank| match (self, module.is_turned()) {
            (Self::Up(_), false) => product.left().to_vec(),
            (Self::Up(_), true) => turned(product.right(), product.cols()),
            (_, false) => product.right().to_vec(),
            (_, true) => turned(product.left(), rank),
        };
        let entries = side(&product);
        Ok(Matrix::rounded(1, entries.len(), dtype, &entries)?.bytes().to_vec())
    }
}

/// The name of a type in headers.
fn stored(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F64 => "F64",
        Dtype::F32 => "F32",
        Dtype::F16 => "F16",
        Dtype::Bf16 => "BF16",
        Dtype::F8E4M3 => "F8_E4M3",
        Dtype::F8E5M2 => "F8_E5M2",
    }
}

/// `adapter_config.json`: the rank that most modules have with its alpha, and patterns for the others.
fn config(modules: &[AdapterModule], carried: &[CarriedTensor], base: Option<&str>) -> Value {
    let mut ranks: Vec<usize> = modules.iter().map(|module| module.rank).collect();
    ranks.sort_unstable();
    let count = |rank: usize| ranks.iter().filter(|other| **other == rank).count();
    let common = ranks.iter().copied().max_by_key(|rank| (count(*rank), *rank)).unwrap_or(1);
    let alpha =
        modules.iter().find(|module| module.rank == common).map_or(common as f64, |module| module.alpha);
    let pattern = |is_other: &dyn Fn(&AdapterModule) -> bool, value: &dyn Fn(&AdapterModule) -> Value| {
        let others = modules.iter().filter(|module| is_other(module));
        others.map(|module| (escaped(&module.name), value(module))).collect::<Map<String, Value>>()
    };
    let ranks = pattern(&|module| module.rank != common, &|module| json!(module.rank));
    let alphas = pattern(&|module| module.alpha.total_cmp(&alpha).is_ne(), &|module| number(module.alpha));
    let targets: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let turned = modules.iter().any(|module| module.kind == ModuleKind::Turned);
    let mut config = json!({
        "peft_type": "LORA",
        "task_type": null,
        "base_model_name_or_path": base,
        "inference_mode": true,
        "r": common,
        "lora_alpha": number(alpha),
        "lora_dropout": 0.0,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "target_modules": targets,
        "modules_to_save": null,
        "bias": "none",
        "fan_in_fan_out": turned,
        "use_rslora": false,
        "use_dora": false,
        "init_lora_weights": true,
    });
    for (key, value) in carried::settings(carried) {
        config[key] = value;
    }
    if modules.iter().any(|module| !module.diagonal.is_empty()) {
        // PEFT's defaults.
        config["kasa_config"] = json!({"beta": 1e-4, "gamma": 1e-3});
    }
    config
}

/// A number as people write it: without a point where it is whole.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) }
}

/// A name as the pattern that fits it alone.
fn escaped(name: &str) -> String {
    let special = |c: char| !c.is_alphanumeric() && c != '_' && c != '-';
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
