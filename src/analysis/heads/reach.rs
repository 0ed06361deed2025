//! What control tokens can do to a head's output: a bound on how many are needed (Bhargava et al. 2023, condition for
//! exclusion).
//!
//! With the inputs `x` of a head and `Dᵢ = Σⱼ exp(logitᵢⱼ)`, a control token moves the output at `i`, orthogonally to a target,
//! by at most `γᵢ = e^α·σ₁(V)·M/Dᵢ`, `α = scale·σ₁(Q)·σ₁(K)·M²` and `M` the longest input. If the part of the output that is
//! orthogonal to the target is longer than `k·γᵢ`, no `k` tokens reach it.

use super::measure::Part;
use super::modules::{Module, Projections};
use super::read::{Folding, Weights};
use crate::error::{Error, brief};
use crate::layer::{Element, TensorInfo};
use crate::report::Reach;
use crate::solver::{Tall, each};
use crate::weight::Catalogue;

/// A table of numbers.
#[derive(Debug, Clone, PartialEq)]
struct Table {
    name: String,
    cols: usize,
    entries: Vec<f64>,
}

/// What heads get, and what they should give.
#[derive(Debug, Clone, PartialEq)]
pub struct Inputs {
    path: String,
    tables: Vec<Table>,
    target: Vec<f64>,
}

impl Inputs {
    /// A digest of all of it, without paths.
    pub fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        let mut add = |name: &str, cols: usize, entries: &[f64]| {
            hash.update(format!("{name} {cols} {};", entries.len()).as_bytes());
            for entry in entries {
                hash.update(&entry.to_bits().to_le_bytes());
            }
        };
        self.tables.iter().for_each(|table| add(&table.name, table.cols, &table.entries));
        add("target", self.target.len(), &self.target);
        hash.finalize().to_hex().to_string()
    }

    /// The tables of `inputs`, tokens × width: one for every module, or for each the one of its name; and the one vector of
    /// `target`, as long as a value. Both come with the paths that messages name.
    ///
    /// # Errors
    /// When something cannot be read, is not finite, or is not of that form.
    pub fn read(
        (path, inputs): (&str, &Catalogue),
        (of_target, target): (&str, &Catalogue),
    ) -> Result<Self, Error> {
        let tables = inputs.tensors().iter().filter(|tensor| tensor.shape.len() == 2);
        let tables: Vec<Table> = tables.map(|tensor| table(inputs, tensor)).collect::<Result<_, _>>()?;
        if tables.is_empty() {
            return Err(Error::malformed(path.as_ref(), "holds no table of tokens × width"));
        }
        let [target] = target
            .tensors()
            .iter()
            .map(|tensor| table(target, tensor))
            .collect::<Result<Vec<_>, _>>()?
            .try_into()
            .map_err(|_| {
                Error::malformed(of_target.as_ref(), "has to hold one tensor: the direction of a value")
            })?;
        let length = target.entries.iter().map(|x| x * x).sum::<f64>().sqrt();
        if length <= 0.0 {
            return Err(Error::malformed(of_target.as_ref(), "is zero, so it has no direction"));
        }
        let target = target.entries.iter().map(|x| x / length).collect();
        Ok(Self { path: path.to_owned(), tables, target })
    }

    /// Whether there are inputs for `module`, and the target fits.
    ///
    /// # Errors
    /// When they do not.
    pub fn check(&self, module: &Module) -> Result<(), Error> {
        self.of(module).map(drop)
    }

    /// The inputs of a module, row by row.
    fn of(&self, module: &Module) -> Result<&Table, Error> {
        let refuse = |reason: String| Err(Error::malformed(self.path.as_ref(), reason));
        let named = self.tables.iter().find(|table| table.name == module.name);
        let ((_, Some(table)) | ([table], None)) = (&self.tables[..], named) else {
            return refuse(format!("has several tables and none is called `{}`", brief(&module.name)));
        };
        if table.cols != module.width {
            return refuse(format!(
                "`{}` is {} wide, and inputs of `{}` are {}",
                brief(&table.name),
                table.cols,
                brief(&module.name),
                module.width
            ));
        }
        if self.target.len() != module.value_dim {
            return refuse(format!(
                "the target has {} numbers, and a value of `{}` has {}",
                self.target.len(),
                brief(&module.name),
                module.value_dim
            ));
        }
        Ok(table)
    }
}

fn table(source: &Catalogue, tensor: &TensorInfo) -> Result<Table, Error> {
    let fail = |reason: &str| Err(source.stored().malformed(tensor, reason.to_owned()));
    let Element::Float(dtype) = tensor.element else { return fail("is not a float tensor") };
    let cols = tensor.shape.last().copied().unwrap_or(1);
    let rows = tensor.shape.iter().product::<usize>() / cols.max(1);
    let layer = tensor.as_matrix((rows, cols), dtype);
    let entries = source.alone(layer.clone()).read(&layer, 0..rows)?.to_f64();
    if entries.iter().any(|x| !x.is_finite()) {
        return fail("holds NaN or infinite entries");
    }
    Ok(Table { name: tensor.name.to_string(), cols, entries })
}

/// The reach of each head; none of heads whose inputs are not one stream, or that are not finite. Weights are taken as they are
/// stored: inputs are what the module gets.
///
/// # Errors
/// When something cannot be read, or the inputs do not fit.
pub fn reach(source: &Catalogue, module: &Module, inputs: &Inputs) -> Result<Vec<Option<Reach>>, Error> {
    let table = inputs.of(module)?;
    let is_plain = matches!(module.inputs, Projections::Plain(_)) && module.qk_norm.is_none();
    if module.is_cross() || !is_plain {
        return Ok(vec![None; module.heads]);
    }
    let weights = Weights::read(source, module, Folding::Raw)?;
    let heads: Vec<usize> = (0..module.heads).collect();
    let found = each(&heads, |head| {
        let kv = module.kv_head(*head);
        let parts = [weights.query(*head), weights.key(kv), weights.value(kv)];
        let [query, key, value] = parts.map(|lines| Part::new(module.width, lines));
        match (query?, key?, value?) {
            (Some(query), Some(key), Some(value)) => {
                of_head(module, table, &inputs.target, [&query, &key, &value]).map(Some)
            }
            _ => Ok(None),
        }
    });
    found.into_iter().collect()
}

fn of_head(module: &Module, table: &Table, target: &[f64], parts: [&Part; 3]) -> Result<Reach, Error> {
    let rows: Vec<&[f64]> = table.entries.chunks_exact(table.cols).collect();
    let longest = rows.iter().map(|row| row.iter().map(|x| x * x).sum::<f64>()).fold(0.0, f64::max);
    // With a bias an input has one more entry, 1.
    let norms = parts.map(|part| -> Result<(f64, f64), Error> {
        Ok(match &part.lines.bias {
            Some(bias) => (part.tall.largest_with(bias)?, (longest + 1.0).sqrt()),
            None => (Tall::largest(&part.tall)?, longest.sqrt()),
        })
    });
    let [query, key, value] = norms;
    let (query, key, value) = (query?, key?, value?);
    let alpha = module.scale * query.0 * query.1 * key.0 * key.1;
    let images = parts.map(|part| -> Vec<Vec<f64>> {
        let image = |row: &&[f64]| {
            let line = |(i, line): (usize, &[f64])| {
                let bias = part.lines.bias.as_ref().map_or(0.0, |bias| bias[i]);
                line.iter().zip(*row).map(|(w, x)| w * x).sum::<f64>() + bias
            };
            part.lines.entries.chunks_exact(table.cols).enumerate().map(line).collect()
        };
        rows.iter().map(image).collect()
    });
    let [queries, keys, values] = images;
    let mut reach = Reach::default();
    let mut logs = vec![];
    for query in &queries {
        let logits: Vec<f64> = keys.iter().map(|key| module.scale * dot(query, key)).collect();
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
        let log = most + sum.ln();
        let mut output = vec![0.0; target.len()];
        for (logit, value) in logits.iter().zip(&values) {
            let weight = (logit - log).exp();
            output.iter_mut().zip(value).for_each(|(y, v)| *y += weight * v);
        }
        let along = dot(&output, target);
        let off: f64 = output.iter().zip(target).map(|(y, t)| (y - along * t).powi(2)).sum();
        logs.push(log);
        reach.perpendicular.push(off.sqrt());
    }
    let (size, longest) = value;
    let tokens = |(log, off): (&f64, &f64)| {
        if *off > 0.0 { off / (size * longest) * (log - alpha).exp() } else { 0.0 }
    };
    reach.tokens = logs.iter().zip(&reach.perpendicular).map(tokens).collect();
    reach.sums = fitting(logs.iter().map(|log| log.exp()));
    reach.reach = fitting(logs.iter().map(|log| (alpha - log).exp() * size * longest));
    reach.tokens = fitting(reach.tokens.into_iter());
    Ok(reach)
}

/// Numbers that all fit a double, or none.
fn fitting(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let numbers: Vec<f64> = numbers.collect();
    if numbers.iter().all(|x| x.is_finite()) { numbers } else { vec![] }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}
