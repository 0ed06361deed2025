//! Tensors that PEFT keeps in an adapter beside its factors: modules saved whole, and biases.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::safetensors::Entry;
use crate::error::Error;

/// Gives the bytes of a tensor.
pub type TensorBytes = Box<dyn Fn() -> Result<Vec<u8>, Error>>;

/// A tensor that is written as it is.
pub struct CarriedTensor {
    /// What it is called where it came from.
    pub stored: String,
    /// The module that it belongs to, as the model calls it.
    pub module: String,
    /// Its name in that module, as `weight`.
    pub name: String,
    /// How PEFT keeps it.
    pub kept: Kept,
    /// Its type, as headers name it in lower case.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// How many bytes it has.
    pub length: u64,
    /// They.
    pub bytes: TensorBytes,
}

/// How PEFT keeps a tensor that is not a factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// With all of its module, as one of `modules_to_save`.
    InModule,
    /// In the place of the base's: `bias`.
    Bias,
    /// Added to the base's: `lora_bias`.
    FactorBias,
}

impl CarriedTensor {
    /// Its entry in a file with these modules.
    pub(super) fn entry(&self, modules: &BTreeSet<&str>) -> Entry {
        let Self { module, name, .. } = self;
        let name = match self.kept {
            Kept::FactorBias => format!("base_model.model.{module}.lora_B.{name}"),
            Kept::Bias if modules.contains(module.as_str()) => {
                format!("base_model.model.{module}.base_layer.{name}")
            }
            Kept::InModule | Kept::Bias => format!("base_model.model.{module}.{name}"),
        };
        Entry { name, dtype: self.dtype.to_uppercase(), shape: self.shape.clone(), bytes: self.length }
    }
}

/// What the configuration says of such tensors.
pub(super) fn settings(carried: &[CarriedTensor]) -> BTreeMap<&'static str, Value> {
    let has = |kept: Kept| carried.iter().any(|tensor| tensor.kept == kept);
    let saved = carried.iter().filter(|tensor| tensor.kept == Kept::InModule);
    let saved: BTreeSet<&str> = saved.map(|tensor| tensor.module.as_str()).collect();
    let mut settings = BTreeMap::from([
        ("bias", json!(if has(Kept::Bias) { "all" } else { "none" })),
        ("modules_to_save", if saved.is_empty() { Value::Null } else { json!(saved) }),
    ]);
    if has(Kept::FactorBias) {
        settings.insert("lora_bias", json!(true));
    }
    settings
}
