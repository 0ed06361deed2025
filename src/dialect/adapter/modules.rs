//! From the tensors of one module to its update: which factors belong together, whether they fit, how they are scaled.
//!
//! Missing or unfitting parts are errors that name the tensor; nothing is guessed from a shape alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::config::AdapterConfig;
use super::factor::{Between, Product, Tensor};
use super::module::{Draft, Module, Scale, Setting, flat, tensor};
use super::names::{Method, TensorRole};
use super::{experts, lycoris, unread};
use crate::error::{Error, brief, quoted};
use crate::layer::TensorInfo;
use crate::pair;
use crate::weight::{Along, Expr};

/// Adapted modules by name, and the tensors that belong to none.
pub(super) type Sorted<'t> = (BTreeMap<String, Module<'t>>, Vec<&'t TensorInfo>);

/// Sorts tensors by module.
pub(super) fn sorted<'t>(path: &Path, tensors: &'t [TensorInfo]) -> Result<Sorted<'t>, Error> {
    let mut modules: BTreeMap<String, Module<'t>> = BTreeMap::new();
    let (mut rest, mut adapters) = (vec![], BTreeSet::new());
    for tensor in tensors {
        let Some(spelling) = unread::spelling(&tensor.name) else {
            rest.push(tensor);
            continue;
        };
        adapters.extend(spelling.adapter);
        let (name, unscaled) = (spelling.module, spelling.unscaled);
        let empty =
            Module { name: name.clone(), parts: BTreeMap::new(), biases: vec![], unknown: vec![], unscaled };
        let module = modules.entry(name).or_insert(empty);
        match spelling.part {
            TensorRole::Unknown => {
                module.unknown.push(tensor);
                continue;
            }
            TensorRole::Bias if module.parts.contains_key(&TensorRole::Bias) => {
                module.biases.push(tensor);
                continue;
            }
            // One of them is enough to refuse the method.
            TensorRole::Foreign if module.parts.contains_key(&TensorRole::Foreign) => continue,
            _ => {}
        }
        if let Some(other) = module.parts.insert(spelling.part, tensor) {
            let reason = format!("says what `{}` says; keep one of the two", brief(&other.name));
            return Err(Error::tensor(path, &tensor.name, reason));
        }
    }
    if adapters.len() > 1 {
        let names: Vec<&str> = adapters.into_iter().collect();
        let names = quoted(&names);
        return Err(Error::malformed(
            path,
            format!("holds several adapters ({names}); save one of them alone"),
        ));
    }
    // A number named `alpha` belongs to an adapter only beside factors.
    modules.retain(|_, module| {
        let lonely = module.unknown.is_empty()
            && module.parts.keys().all(|part| matches!(part, TensorRole::Alpha | TensorRole::Magnitude));
        if lonely {
            rest.extend(module.parts.values().copied());
        }
        !lonely
    });
    Ok((modules, rest))
}

impl Module<'_> {
    /// The updates of this module: one, one an expert, or none where only its bias was trained.
    pub(super) fn drafts(&self, setting: &Setting<'_>) -> Result<Vec<Draft>, Error> {
        if let Some((_, foreign)) = self.tensors().find(|(part, _)| *part == TensorRole::Foreign) {
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
        if let Method::Embedding | Method::Lora | Method::Turned = method {
            if let Some(drafts) = experts::of_mlx(self, setting)? {
                return Ok(drafts);
            }
            let product = self.product(setting, method)?;
            if let Some(drafts) = experts::drafts(self, &product, setting)? {
                return Ok(drafts);
            }
            let scale = self.scale(setting, Some(product.rank()))?;
            let cut = self.config(setting).is_some_and(AdapterConfig::cuts_base);
            let kasa = cut || matches!(product.between, Between::Diagonal(_));
            let kind = if kasa { "kasa" } else { "lora" };
            let form = Form {
                expr: product.expr(setting.source, scale.scale),
                transposed: product.transposed && method != Method::Turned,
                positions: product.down.shape()[2..].iter().product(),
                linear: product.down.shape().len() == 2 && !product.down.name().contains("embedding"),
            };
            return Ok(vec![self.draft(setting, kind, form, scale)?]);
        }
        let Some(difference) = self.get(TensorRole::Difference) else { return Ok(vec![]) };
        let Some(matrix) = Tensor::new(difference).filter(|_| difference.shape.len() > 1) else {
            return Ok(vec![]);
        };
        let expr = Arc::new(Expr::Scaled(matrix.expr(setting.source), 1.0));
        let scale = Scale { scale: 1.0, flags: vec![] };
        Ok(vec![self.draft(setting, "difference", Form::plain(expr), scale)?])
    }

    /// Whether its weight is stored input × output. The setting is of the whole file: where GPT-2's layers are among the
    /// modules, it is meant for them alone, and PEFT corrects it for the others.
    fn is_turned(&self, setting: &Setting<'_>) -> bool {
        self.config(setting).is_some_and(AdapterConfig::is_transposed)
            && (!setting.has_conv1d || is_conv1d(&self.name))
    }

    /// Whether it is called as embeddings are.
    fn is_embedding(&self) -> bool {
        let name = self.name.rsplit('.').next().unwrap_or_default();
        name.contains("embed") || name == "wte"
    }

    /// The factors of a LoRA module.
    fn product(&self, setting: &Setting<'_>, method: Method) -> Result<Product, Error> {
        let (down, up) = match method {
            Method::Embedding => (TensorRole::EmbeddingDown, TensorRole::EmbeddingUp),
            Method::Turned => (TensorRole::Outputs, TensorRole::Inputs),
            _ => (TensorRole::Down, TensorRole::Up),
        };
        let (down, up) = (self.factor(setting, down, up)?, self.factor(setting, up, down)?);
        let unfit = |tensor: &Tensor, with: &Tensor| {
            let reason = format!("{:?} does not fit {:?} of `{}`", tensor.shape(), with.shape(), with.name());
            Error::tensor(setting.path, tensor.name(), reason)
        };
        let between = match (self.get(TensorRole::Middle), self.get(TensorRole::Diagonal)) {
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
        let transposed = match method {
            Method::Embedding => true,
            // A row of an embedding is an input.
            Method::Turned => !self.is_embedding(),
            _ => linear && self.is_turned(setting),
        };
        Ok(Product { up, up_lies: false, down, between, transposed })
    }

    /// The update of the whole module.
    fn draft(
        &self,
        setting: &Setting<'_>,
        kind: &'static str,
        form: Form,
        Scale { scale, flags }: Scale,
    ) -> Result<Draft, Error> {
        let magnitude = if kind == "difference" && self.get(TensorRole::Magnitude).is_none() {
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

    /// The lengths of DoRA, where there are any.
    fn magnitude(&self, setting: &Setting<'_>, form: &Form) -> Result<Option<(Arc<Expr>, Along)>, Error> {
        let Some(info) = self.get(TensorRole::Magnitude) else {
            if self.config(setting).is_some_and(AdapterConfig::is_dora) {
                let (_, first) = self.tensors().next().unzip();
                let name = first.map_or(self.name.as_str(), |tensor| tensor.name.as_str());
                let reason = "has no `lora_magnitude_vector` beside it, though `use_dora` is true";
                return Err(Error::tensor(setting.path, name, reason));
            }
            return Ok(None);
        };
        let lengths = flat(setting, info)?;
        let (rows, cols) = form.expr.shape();
        // `dora_scale` of kohya and LyCORIS shows by its shape whether it rescales rows or columns; PEFT's is one number for each output.
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

/// Whether a module is called as the `Conv1D` layers of GPT-2 are, whose weights are stored input × output.
pub(super) fn is_conv1d(name: &str) -> bool {
    ["c_attn", "c_proj", "c_fc", "q_attn"].contains(&name.rsplit('.').next().unwrap_or_default())
}

/// An update as its factors have it.
struct Form {
    expr: Arc<Expr>,
    /// Whether it was turned, as the weight is stored input × output.
    transposed: bool,
    /// Positions of a convolution's kernel for one input.
    positions: usize,
    /// Whether it is of a linear layer.
    linear: bool,
}

impl Form {
    fn plain(expr: Arc<Expr>) -> Self {
        Self { expr, transposed: false, positions: 1, linear: false }
    }
}
