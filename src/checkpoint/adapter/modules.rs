//! From the tensors of one module to its update: which factors belong together, whether they fit, how they are scaled.
//!
//! What is missing or does not fit is an error that names the tensor; nothing is guessed from a shape alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::super::MatrixSource;
use super::super::weight::{Along, Expr};
use super::config::Config;
use super::configs::Configs;
use super::factor::{Between, Form, Product, Tensor};
use super::names::{self, Method, Part, Side};
use super::{experts, lycoris};
use crate::error::{Error, brief};
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Dtype;
use crate::pair;

/// What is known when modules are put together.
pub(super) struct Setting<'a> {
    /// What was opened.
    pub(super) path: &'a Path,
    /// The stored tensors.
    pub(super) source: &'a Arc<dyn MatrixSource>,
    /// What it says of its updates.
    pub(super) configs: &'a Configs,
    /// The matrices of the base; none without one.
    pub(super) base: &'a [Layer],
}

/// The tensors of one module.
#[derive(Debug)]
pub(super) struct Module<'t> {
    /// With the prefixes of its format.
    pub(super) name: String,
    parts: BTreeMap<Part, &'t TensorInfo>,
}

/// An update before it has a place in the report.
#[derive(Debug)]
pub(super) struct Draft {
    /// Name of the matrix.
    pub(super) name: String,
    /// What it is in the words of the report.
    pub(super) kind: &'static str,
    /// The update; of a whole weight, that; of one that is rescaled, what is added before that.
    pub(super) expr: Arc<Expr>,
    /// What factors were multiplied by.
    pub(super) scale: Option<f64>,
    /// The lengths that rows or columns of base + update get: DoRA, Liu et al. 2024.
    pub(super) magnitude: Option<(Arc<Expr>, Along)>,
    /// Whether it is of a linear layer, of which only the configuration says how it is stored.
    pub(super) linear: bool,
    /// The coarsest type among its factors.
    pub(super) dtype: Dtype,
    pub(super) flags: Vec<&'static str>,
    /// The tensors it is made of.
    pub(super) tensors: Vec<String>,
}

/// Adapted modules by name, and the tensors that belong to none.
pub(super) type Sorted<'t> = (BTreeMap<String, Module<'t>>, Vec<&'t TensorInfo>);

/// Sorts tensors by module.
pub(super) fn sorted<'t>(path: &Path, tensors: &'t [TensorInfo]) -> Result<Sorted<'t>, Error> {
    let mut modules: BTreeMap<String, Module<'t>> = BTreeMap::new();
    let (mut rest, mut adapters) = (vec![], BTreeSet::new());
    for tensor in tensors {
        let Some(spelling) = names::parse(&tensor.name) else {
            rest.push(tensor);
            continue;
        };
        adapters.extend(spelling.adapter);
        let name = spelling.module;
        let module = modules.entry(name.clone()).or_insert(Module { name, parts: BTreeMap::new() });
        if let Some(other) = module.parts.insert(spelling.part, tensor) {
            let reason = format!("says what `{}` says; keep one of the two", brief(&other.name));
            return Err(Error::tensor(path, &tensor.name, reason));
        }
    }
    if adapters.len() > 1 {
        let names: Vec<&str> = adapters.into_iter().collect();
        let names = super::super::folder::quoted(&names);
        return Err(Error::malformed(
            path,
            format!("holds several adapters ({names}); save one of them alone"),
        ));
    }
    // A number called `alpha` is of an adapter only beside factors.
    modules.retain(|_, module| {
        let lonely = module.parts.keys().all(|part| matches!(part, Part::Alpha | Part::Magnitude));
        if lonely {
            rest.extend(module.parts.values().copied());
        }
        !lonely
    });
    Ok((modules, rest))
}

impl<'t> Module<'t> {
    /// The tensor that is `part` of it.
    pub(super) fn get(&self, part: Part) -> Option<&'t TensorInfo> {
        self.parts.get(&part).copied()
    }

    /// Its tensors.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (Part, &'t TensorInfo)> {
        self.parts.iter().map(|(part, tensor)| (*part, *tensor))
    }

    /// The updates of this module: one, one an expert, or none where only its bias was trained.
    pub(super) fn drafts(&self, setting: &Setting<'_>) -> Result<Vec<Draft>, Error> {
        if let Some((_, foreign)) = self.tensors().find(|(part, _)| *part == Part::Foreign) {
            let reason = "belongs to a method whose updates svdkit does not read (LoRA, DoRA, LoHa, LoKr)";
            return Err(Error::tensor(setting.path, &foreign.name, reason));
        }
        let mut methods = self.tensors().filter_map(|(part, tensor)| Some((part.method()?, tensor)));
        let Some((method, first)) = methods.next() else { return Ok(vec![]) };
        if let Some((_, other)) = methods.find(|(other, _)| *other != method) {
            let reason = format!("adds to the same matrix as `{}`, but in another way", brief(&first.name));
            return Err(Error::tensor(setting.path, &other.name, reason));
        }
        let kronecker = method == Method::Lokr;
        if kronecker || method == Method::Hada {
            let (kind, expr, rank) = if kronecker {
                lycoris::kronecker(self, setting)?
            } else {
                lycoris::hadamard(self, setting)?
            };
            let configured = || self.config(setting).and_then(|config| config.rank(&self.model_name()));
            let scaled_by = if kronecker { configured().or(rank) } else { rank };
            let scale = self.scale(setting, scaled_by)?;
            let expr = Arc::new(Expr::Scaled(expr, scale.scale));
            return Ok(vec![self.draft(setting, kind, Form::plain(expr), scale)?]);
        }
        let embedding = method == Method::Embedding;
        if embedding || method == Method::Lora {
            let product = self.product(setting, embedding)?;
            if let Some(drafts) = experts::drafts(self, &product, setting)? {
                return Ok(drafts);
            }
            let scale = self.scale(setting, Some(product.rank()))?;
            let cut = self.config(setting).is_some_and(Config::cuts_base);
            let kasa = cut || matches!(product.between, Between::Diagonal(_));
            let kind = if kasa { "kasa" } else { "lora" };
            let form = Form {
                expr: product.expr(setting.source, scale.scale),
                transposed: product.transposed,
                positions: product.down.shape()[2..].iter().product(),
                linear: product.down.shape().len() == 2 && !product.down.name().contains("embedding"),
            };
            return Ok(vec![self.draft(setting, kind, form, scale)?]);
        }
        let Some(difference) = self.get(Part::Difference) else { return Ok(vec![]) };
        let Some(matrix) = Tensor::new(difference).filter(|_| difference.shape.len() > 1) else {
            return Ok(vec![]);
        };
        let expr = Arc::new(Expr::Scaled(matrix.expr(setting.source), 1.0));
        let scale = Scale { scale: 1.0, flags: vec![] };
        Ok(vec![self.draft(setting, "difference", Form::plain(expr), scale)?])
    }

    /// The factors of a LoRA module.
    fn product(&self, setting: &Setting<'_>, embedding: bool) -> Result<Product, Error> {
        let (down, up) =
            if embedding { (Part::EmbeddingDown, Part::EmbeddingUp) } else { (Part::Down, Part::Up) };
        let (down, up) = (self.factor(setting, down, up)?, self.factor(setting, up, down)?);
        let unfit = |tensor: &Tensor, with: &Tensor| {
            let reason = format!("{:?} does not fit {:?} of `{}`", tensor.shape(), with.shape(), with.name());
            Error::tensor(setting.path, tensor.name(), reason)
        };
        let between = match (self.get(Part::Middle), self.get(Part::Diagonal)) {
            (Some(kernel), _) => {
                let kernel = tensor(setting, kernel)?;
                let square = matches!(kernel.shape(), [p, q, ..] if p == q && *p == down.rows());
                if !square || down.shape()[2..].iter().any(|n| *n != 1) {
                    return Err(unfit(&kernel, &down));
                }
                Between::Kernel(kernel)
            }
            (None, Some(diagonal)) => {
                let info = diagonal;
                let diagonal = flat(setting, info)?;
                if diagonal.cols() != down.rows() {
                    return Err(unfit(&diagonal, &down));
                }
                Between::Diagonal(diagonal)
            }
            (None, None) => Between::Nothing,
        };
        if up.cols() != down.rows() || up.shape().get(1) != Some(&up.cols()) {
            return Err(unfit(&up, &down));
        }
        let linear = down.shape().len() == 2;
        let transposed = embedding || (linear && self.config(setting).is_some_and(Config::is_transposed));
        Ok(Product { up, up_lies: false, down, between, transposed })
    }

    /// A factor of two or more axes, none of them empty.
    pub(super) fn factor(&self, setting: &Setting<'_>, part: Part, partner: Part) -> Result<Tensor, Error> {
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
    pub(super) fn config<'s>(&self, setting: &Setting<'s>) -> Option<&'s Config> {
        setting.configs.of(&self.model_name())
    }

    /// Its name in the adapted model, as the patterns of a configuration see it.
    pub(super) fn model_name(&self) -> String {
        self.name.strip_prefix("base_model.model.").unwrap_or(&self.name).to_owned()
    }

    /// The scale of its update, whose factors have `rank` directions; none where nothing was factored.
    pub(super) fn scale(&self, setting: &Setting<'_>, rank: Option<usize>) -> Result<Scale, Error> {
        let plain = |flags| Ok(Scale { scale: 1.0, flags });
        if let Some(info) = self.get(Part::Alpha) {
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
            let flags = if differs { vec!["rank_not_as_configured"] } else { vec![] };
            return Ok(Scale { scale: config.scale(&name, rank), flags });
        }
        if rank.is_none() {
            return plain(vec![]);
        }
        if names::is_self_scaled(&self.name) {
            return plain(vec!["scale_assumed"]);
        }
        let (_, first) = self.tensors().next().unzip();
        let first = first.map_or(self.name.as_str(), |tensor| tensor.name.as_str());
        let reason = "how it is scaled is not known: no `alpha` lies beside it and no `adapter_config.json` beside \
                      the file; name that with `--adapter-config FILE`";
        Err(Error::tensor(setting.path, first, reason))
    }

    /// The update of the whole module.
    fn draft(
        &self,
        setting: &Setting<'_>,
        kind: &'static str,
        form: Form,
        Scale { scale, flags }: Scale,
    ) -> Result<Draft, Error> {
        let magnitude = if kind == "difference" && self.get(Part::Magnitude).is_none() {
            None
        } else {
            self.magnitude(setting, &form)?
        };
        let (rows, cols) = form.expr.shape();
        if rows.checked_mul(cols).is_none() {
            let reason = format!("an update of {rows} × {cols} is too large");
            return Err(Error::malformed(setting.path, reason));
        }
        let kind = if magnitude.is_some() { "dora" } else { kind };
        Ok(Draft {
            name: pair::canonical(&self.name),
            kind,
            expr: form.expr,
            scale: Some(scale),
            magnitude,
            linear: form.linear,
            dtype: self.dtype(),
            flags,
            tensors: self.names(),
        })
    }

    /// The coarsest type among its tensors.
    pub(super) fn dtype(&self) -> Dtype {
        let types = self.tensors().filter(|(part, _)| *part != Part::Alpha);
        let types = types.filter_map(|(_, tensor)| match tensor.element {
            Element::Float(dtype) => Some(dtype),
            Element::Coded(..) | Element::Other(_) => None,
        });
        types.max_by(|a, b| a.epsilon().total_cmp(&b.epsilon())).unwrap_or(Dtype::F32)
    }

    /// The tensors that make up its update.
    pub(super) fn names(&self) -> Vec<String> {
        let parts = self.tensors().filter(|(part, _)| !matches!(part, Part::Bias | Part::Tokens));
        parts.map(|(_, tensor)| tensor.name.clone()).collect()
    }

    /// The lengths of DoRA, where there are any.
    fn magnitude(&self, setting: &Setting<'_>, form: &Form) -> Result<Option<(Arc<Expr>, Along)>, Error> {
        let Some(info) = self.get(Part::Magnitude) else {
            if self.config(setting).is_some_and(Config::is_dora) {
                let (_, first) = self.tensors().next().unzip();
                let name = first.map_or(self.name.as_str(), |tensor| tensor.name.as_str());
                let reason = "has no `lora_magnitude_vector` beside it, though `use_dora` is true";
                return Err(Error::tensor(setting.path, name, reason));
            }
            return Ok(None);
        };
        let lengths = flat(setting, info)?;
        let (rows, cols) = form.expr.shape();
        // `dora_scale` of kohya and LyCORIS says by its shape what it is of; PEFT's is one number an output.
        let of_inputs =
            matches!(info.shape[..], [1, inputs, ..] if inputs > 1) && info.name.ends_with("dora_scale");
        let along = match () {
            () if of_inputs => Along::Columns(form.positions),
            () if form.transposed => Along::Columns(1),
            () => Along::Rows,
        };
        let expected = match along {
            Along::Rows => rows,
            Along::Columns(group) => cols / group,
        };
        if lengths.cols() != expected {
            let reason = format!("{:?} is not a length each of {expected}", info.shape);
            return Err(Error::tensor(setting.path, &info.name, reason));
        }
        Ok(Some((lengths.expr(setting.source), along)))
    }
}

/// What an update is multiplied by, and cautions about that.
pub(super) struct Scale {
    pub(super) scale: f64,
    pub(super) flags: Vec<&'static str>,
}

/// `info` as a matrix; only floating-point tensors are factors.
pub(super) fn tensor(setting: &Setting<'_>, info: &TensorInfo) -> Result<Tensor, Error> {
    Tensor::new(info).ok_or_else(|| not_a_factor(setting, info))
}

/// `info` as a list of numbers.
fn flat(setting: &Setting<'_>, info: &TensorInfo) -> Result<Tensor, Error> {
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

/// What a part is called in messages.
fn label(part: Part) -> &'static str {
    match part {
        Part::Down => "`lora_A` or `lora_down`",
        Part::Up => "`lora_B` or `lora_up`",
        Part::EmbeddingDown => "`lora_embedding_A`",
        Part::EmbeddingUp => "`lora_embedding_B`",
        Part::Hada(Side::First, _) => "`hada_w1_a` and `hada_w1_b`",
        Part::Hada(Side::Second, _) => "`hada_w2_a` and `hada_w2_b`",
        Part::Lokr(Side::First, _) => "`lokr_w1`, or `lokr_w1_a` and `lokr_w1_b`,",
        Part::Lokr(Side::Second, _) => "`lokr_w2`, or `lokr_w2_a` and `lokr_w2_b`,",
        _ => "its other part",
    }
}
