//! The tensors of one module: which part each is, their settings, the scale of their update.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::config::AdapterConfig;
use super::config_by_component::ConfigByComponent;
use super::factor::Tensor;
use super::names::{self, Multiplicand, TensorRole};
use crate::error::Error;
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Dtype;
use crate::report::Flag;
use crate::weight::{Along, Expr, Tensors};

/// The inputs for assembling modules.
pub(super) struct Setting<'a> {
    /// The opened checkpoint.
    pub(super) path: &'a Path,
    /// The stored tensors.
    pub(super) source: &'a Arc<Tensors>,
    /// Its configuration.
    pub(super) configs: &'a ConfigByComponent,
    /// The matrices of the base; none without one.
    pub(super) base: &'a [Arc<Layer>],
    /// Whether some of its modules are called as GPT-2's are, whose weights are stored input × output.
    pub(super) has_conv1d: bool,
}

/// The tensors of one module.
#[derive(Debug)]
pub(super) struct Module<'t> {
    /// With the prefixes of its format.
    pub(super) name: String,
    pub(super) parts: BTreeMap<TensorRole, &'t TensorInfo>,
    /// Its updates of vectors but the first: a norm has two.
    pub(super) biases: Vec<&'t TensorInfo>,
    /// Its tensors that no known method has.
    pub(super) unknown: Vec<&'t TensorInfo>,
    /// Whether its format knows no scale.
    pub(super) unscaled: bool,
}

/// An update before it has a place in the report.
#[derive(Debug)]
pub(super) struct Draft {
    /// Name of the matrix.
    pub(super) name: String,
    /// Its kind in the report.
    pub(super) kind: &'static str,
    /// The update; for a full weight, the weight; for DoRA, the update before rescaling.
    pub(super) expr: Arc<Expr>,
    /// The scale of the factors.
    pub(super) scale: Option<f64>,
    /// The lengths that rows or columns of base + update get: DoRA, Liu et al. 2024.
    pub(super) magnitude: Option<(Arc<Expr>, Along)>,
    /// Whether it belongs to a linear layer, whose orientation only the configuration tells.
    pub(super) linear: bool,
    /// The coarsest type among its factors.
    pub(super) dtype: Dtype,
    pub(super) flags: Vec<Flag>,
    /// The tensors it is made of.
    pub(super) tensors: Vec<String>,
}

impl<'t> Module<'t> {
    /// The tensor that is `part` of it.
    pub(super) fn get(&self, part: TensorRole) -> Option<&'t TensorInfo> {
        self.parts.get(&part).copied()
    }

    /// Its tensors.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (TensorRole, &'t TensorInfo)> {
        self.parts.iter().map(|(part, tensor)| (*part, *tensor))
    }

    /// A factor of two or more axes, none of them empty.
    pub(super) fn factor(
        &self,
        setting: &Setting<'_>,
        part: TensorRole,
        partner: TensorRole,
    ) -> Result<Tensor, Error> {
        let Some(info) = self.get(part) else {
            let there = self.get(partner).map_or(self.name.as_str(), |tensor| tensor.name.as_str());
            let reason = format!("has no {} beside it", label(part));
            return Err(Error::tensor(setting.path, there, reason));
        };
        let tensor = tensor(setting, info)?;
        if info.shape.len() < 2 || info.shape.contains(&0) {
            let reason = format!(
                "{:?} is no shape of a factor; the adapter was saved before its parts were gathered",
                info.shape
            );
            return Err(Error::tensor(setting.path, &info.name, reason));
        }
        Ok(tensor)
    }

    /// The configuration that it goes by, where there is one.
    pub(super) fn config<'s>(&self, setting: &Setting<'s>) -> Option<&'s AdapterConfig> {
        setting.configs.of(&self.model_name())
    }

    /// Its name in the adapted model, as the patterns of a configuration see it.
    pub(super) fn model_name(&self) -> String {
        self.name.strip_prefix("base_model.model.").unwrap_or(&self.name).to_owned()
    }

    /// The scale of its update, whose factors have `rank` directions; none where nothing was factored.
    pub(super) fn scale(&self, setting: &Setting<'_>, rank: Option<usize>) -> Result<Scale, Error> {
        let plain = |flags| Ok(Scale { scale: 1.0, flags });
        if let Some(info) = self.get(TensorRole::Alpha) {
            let value = number(setting, info)?.filter(|alpha| alpha.is_finite());
            let Some(value) = value else {
                let reason = "is not one finite number, so the scale of the update is not known";
                return Err(Error::tensor(setting.path, &info.name, reason));
            };
            return rank.map_or_else(
                || plain(vec![]),
                |rank| Ok(Scale { scale: value / rank as f64, flags: vec![] }),
            );
        }
        if let Some(config) = self.config(setting) {
            let name = self.model_name();
            let Some(rank) = rank else { return plain(vec![]) };
            let differs = config.rank(&name).is_some_and(|configured| configured != rank);
            let flags = if differs { vec![Flag::RankNotAsConfigured] } else { vec![] };
            return Ok(Scale { scale: config.scale(&name, rank), flags });
        }
        if rank.is_none() {
            return plain(vec![]);
        }
        if self.unscaled || names::is_self_scaled(&self.name) {
            return plain(vec![Flag::ScaleAssumed]);
        }
        let (_, first) = self.tensors().next().unzip();
        let first = first.map_or(self.name.as_str(), |tensor| tensor.name.as_str());
        let reason = "how it is scaled is not known: no `alpha` lies beside it and no `adapter_config.json` beside \
                      the file; name that with `--adapter-config FILE`";
        Err(Error::tensor(setting.path, first, reason))
    }

    /// The coarsest type among its tensors.
    pub(super) fn dtype(&self) -> Dtype {
        let types = self.tensors().filter(|(part, _)| *part != TensorRole::Alpha);
        let types = types.filter_map(|(_, tensor)| match tensor.element {
            Element::Float(dtype) => Some(dtype),
            Element::Coded(..) | Element::Other(_) => None,
        });
        types.max_by(|a, b| a.epsilon().total_cmp(&b.epsilon())).unwrap_or(Dtype::F32)
    }

    /// The tensors that make up its update.
    pub(super) fn names(&self) -> Vec<String> {
        let parts = self
            .tensors()
            .filter(|(part, _)| !matches!(part, TensorRole::Bias | TensorRole::Tokens | TensorRole::Unknown));
        parts.map(|(_, tensor)| tensor.name.to_string()).collect()
    }
}

/// The scale of an update, and flags about it.
pub(super) struct Scale {
    pub(super) scale: f64,
    pub(super) flags: Vec<Flag>,
}

/// `info` as a matrix; only floating-point tensors are factors.
pub(super) fn tensor(setting: &Setting<'_>, info: &TensorInfo) -> Result<Tensor, Error> {
    Tensor::new(info).ok_or_else(|| not_a_factor(setting, info))
}

/// `info` as a list of numbers.
pub(super) fn flat(setting: &Setting<'_>, info: &TensorInfo) -> Result<Tensor, Error> {
    Tensor::flat(info).ok_or_else(|| not_a_factor(setting, info))
}

/// The one number that `info` holds: a float, or a whole number as Diffusers writes kohya's `alpha`.
fn number(setting: &Setting<'_>, info: &TensorInfo) -> Result<Option<f64>, Error> {
    let is_one = info.shape.iter().all(|n| *n == 1);
    if matches!(&info.element, Element::Other(name) if name == "i64") {
        let bytes = if is_one { setting.source.bytes(info, 0, 8)? } else { vec![] };
        return Ok(bytes.first_chunk().map(|bytes| i64::from_le_bytes(*bytes) as f64));
    }
    let number = flat(setting, info)?;
    if is_one { Ok(number.all(setting.source.as_ref())?.first().copied()) } else { Ok(None) }
}

fn not_a_factor(setting: &Setting<'_>, info: &TensorInfo) -> Error {
    let reason = format!("{:?} of {} is no part of an update", info.shape, info.element.name());
    Error::tensor(setting.path, &info.name, reason)
}

/// The name of a part in messages.
fn label(part: TensorRole) -> &'static str {
    match part {
        TensorRole::Down => "`lora_A` or `lora_down`",
        TensorRole::Up => "`lora_B` or `lora_up`",
        TensorRole::Inputs => "`lora_a`",
        TensorRole::Outputs => "`lora_b`",
        TensorRole::EmbeddingDown => "`lora_embedding_A`",
        TensorRole::EmbeddingUp => "`lora_embedding_B`",
        TensorRole::Hada(Multiplicand::First, _) => "`hada_w1_a` and `hada_w1_b`",
        TensorRole::Hada(Multiplicand::Second, _) => "`hada_w2_a` and `hada_w2_b`",
        TensorRole::Lokr(Multiplicand::First, _) => "`lokr_w1`, or `lokr_w1_a` and `lokr_w1_b`,",
        TensorRole::Lokr(Multiplicand::Second, _) => "`lokr_w2`, or `lokr_w2_a` and `lokr_w2_b`,",
        _ => "its other part",
    }
}
