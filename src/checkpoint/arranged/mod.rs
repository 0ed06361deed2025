//! Fused tensors cut into the matrices that a model computes with: each expert's, and on request queries, keys, values.
//!
//! A layout is known by the `model_type` of the configuration and checked against its sizes, never guessed from shapes.
//! What no table knows stays as it is stored: a stack gives one matrix a slice, of unknown orientation.

mod attention;
mod layouts;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use self::layouts::{EXPERTS, Experts, FUSED, Fused, Outputs, WIDTH, Width};
use super::config::Config;
use super::{MatrixSource, QueriesKeysValues};
use crate::error::{Error, printable};
use crate::layer::{Axes, Cut, Filter, Layer, Part, Selection, TensorInfo, bare, natural, place};
use crate::matrix::Matrix;
use crate::pair;
use crate::report::{Skipped, SourceFile};

/// A checkpoint whose fused tensors are cut.
struct Arranged {
    inner: Arc<dyn MatrixSource>,
    selection: Selection,
}

/// `inner` with its fused tensors cut, as far as they are known; `path` is where it lies.
///
/// # Errors
/// When queries, keys and values are to be split and how they lie is not known, or is another than known.
pub(super) fn open(
    path: &Path,
    inner: Arc<dyn MatrixSource>,
    split: QueriesKeysValues,
) -> Result<Arc<dyn MatrixSource>, Error> {
    let config = Config::beside(path)?;
    let Selection { layers, mut skipped, .. } = inner.select(&Filter::default());
    let stacks: BTreeSet<&str> = layers.iter().filter_map(stack).collect();
    let (mut cut, mut changed) = (Vec::with_capacity(layers.len()), false);
    for layer in &layers {
        let parts = match split {
            QueriesKeysValues::Split => attention::parts(path, layer, &config)?,
            QueriesKeysValues::Together => None,
        };
        let biases = layer.name.strip_suffix("_bias").is_some_and(|stem| stacks.contains(stem));
        match parts.or_else(|| experts(layer, &config)) {
            _ if biases => skipped.push(Skipped {
                tensor: layer.tensor.clone(),
                shape: layer.stored_shape.iter().map(|n| *n as u64).collect(),
                dtype: layer.stored_type().to_owned(),
                reason: "biases of experts".to_owned(),
                ..Skipped::default()
            }),
            Some(parts) => cut.extend(parts),
            None => {
                cut.push(layer.clone());
                continue;
            }
        }
        changed = true;
    }
    if !changed {
        return Ok(inner);
    }
    cut.sort_by(|a, b| natural(&a.name, &b.name));
    // Where a part would be called as another tensor is, all are shown as they are stored.
    if cut.array_windows::<2>().any(|[a, b]| a.name == b.name) {
        return Ok(inner);
    }
    skipped.sort_by(|a, b| natural(&a.tensor, &b.tensor));
    Ok(Arc::new(Arranged {
        inner,
        selection: Selection { layers: cut, skipped, filtered: 0 },
    }))
}

/// The name of the stack that a layer is a slice of.
fn stack(layer: &Layer) -> Option<&str> {
    let Part::Slice(_) = layer.part else { return None };
    layer.name.rsplit_once('[').map(|(stack, _)| stack)
}

/// The matrices of experts that `layer` holds, if its layout is known.
fn experts(layer: &Layer, config: &Config) -> Option<Vec<Layer>> {
    let name = stack(layer).unwrap_or(&layer.name);
    let stored_as = |model: &String| layer.scheme().map(|scheme| format!("{model}/{scheme}"));
    let own = |fused: &&Fused, model: &String| fused.models.contains(&model.as_str());
    let packed = |fused: &&Fused| {
        config.models.iter().filter_map(stored_as).any(|model| fused.models.contains(&model.as_str()))
    };
    let named = || FUSED.iter().filter(|fused| owner(name, fused.ending).is_some());
    // What is quantized may lie otherwise: its own entry comes before that of the model.
    let mut known: Vec<&Fused> = named().filter(packed).collect();
    if known.is_empty() {
        known = named().filter(|fused| config.models.iter().any(|model| own(fused, model))).collect();
    }
    let width = config.number(&WIDTH);
    let mut fitting = known.into_iter().filter_map(|fused| {
        let whole = Whole::of(layer, fused, config)?;
        width.is_none_or(|width| width == whole.width(fused)).then_some((fused, whole))
    });
    let (Some((fused, whole)), None) = (fitting.next(), fitting.next()) else { return None };
    let owner = owner(name, fused.ending)?;
    let mut parts = vec![];
    for (expert, offset) in whole.experts {
        let slice = Layer { offset, ..layer.clone() };
        let named = |part: &str| pair::canonical(&format!("{owner}experts.{expert}.{part}"));
        let outputs = if fused.axes == Axes::OutIn { whole.rows } else { whole.cols };
        let part = |name: &str, first, run, period, count| {
            let cut = Cut { rows: whole.rows, cols: whole.cols, axes: fused.axes, first, run, period };
            piece(&slice, &named(name), cut, count)
        };
        let half = outputs / 2;
        match fused.outputs {
            Outputs::One(name) => parts.push(part(name, 0, outputs, outputs, outputs)),
            _ if !outputs.is_multiple_of(2) => return None,
            Outputs::Halves([one, other]) => {
                parts.extend([part(one, 0, half, half, half), part(other, half, half, half, half)]);
            }
            Outputs::Alternating([one, other]) => {
                parts.extend([part(one, 0, 1, 2, half), part(other, 1, 1, 2, half)]);
            }
        }
    }
    Some(parts)
}

/// What stands before `ending` in a name, if that is made of whole words of it.
fn owner<'n>(name: &'n str, ending: &str) -> Option<&'n str> {
    name.strip_suffix(ending).filter(|owner| owner.is_empty() || owner.ends_with('.'))
}

/// The matrices of one stored tensor that are cut: their common shape, and the number and position of each.
struct Whole {
    rows: usize,
    cols: usize,
    experts: Vec<(usize, u64)>,
}

impl Whole {
    fn of(layer: &Layer, fused: &Fused, config: &Config) -> Option<Self> {
        let (rows, cols) = (layer.rows, layer.cols);
        match (fused.experts, layer.part) {
            (Experts::Stacked, Part::Slice(expert)) => {
                Some(Self { rows, cols, experts: vec![(expert, layer.offset)] })
            }
            (Experts::Flat, Part::Whole) => {
                let count = config.number(&EXPERTS).filter(|count| rows.is_multiple_of(*count))?;
                let rows = rows / count;
                let size = (rows * cols * layer.dtype.size()) as u64;
                let experts =
                    (0..count).map(|expert| (expert, layer.offset + expert as u64 * size)).collect();
                Some(Self { rows, cols, experts })
            }
            _ => None,
        }
    }

    /// How wide the model is by this layout.
    fn width(&self, fused: &Fused) -> usize {
        match (fused.width, fused.axes) {
            (Width::Inputs, Axes::OutIn) | (Width::Outputs, Axes::InOut) => self.cols,
            (Width::Inputs, Axes::InOut) | (Width::Outputs, Axes::OutIn) => self.rows,
        }
    }
}

/// The part of `slice` that has `outputs` of its outputs.
fn piece(slice: &Layer, name: &str, cut: Cut, outputs: usize) -> Layer {
    let inputs = if cut.axes == Axes::OutIn { cut.cols } else { cut.rows };
    let name = printable(bare(name));
    let (block, role) = place(&name);
    // All outputs as they are stored are a matrix like any other.
    let plain = cut.axes == Axes::OutIn && outputs == cut.rows;
    let part = if plain { Part::Whole } else { Part::Cut(cut) };
    Layer { name, rows: outputs, cols: inputs, block, role, part, ..slice.clone() }
}

impl MatrixSource for Arranged {
    fn tensors(&self) -> &[TensorInfo] {
        self.inner.tensors()
    }

    fn files(&self) -> Vec<SourceFile> {
        self.inner.files()
    }

    fn notes(&self) -> &[String] {
        self.inner.notes()
    }

    fn select(&self, filter: &Filter) -> Selection {
        let Selection { layers, skipped, .. } = &self.selection;
        let all = layers.len() + skipped.len();
        let layers: Vec<Layer> = layers.iter().filter(|layer| filter.keeps(&layer.name)).cloned().collect();
        let skipped = skipped.iter().filter(|skipped| filter.keeps(bare(&skipped.tensor)));
        let skipped: Vec<Skipped> = skipped.cloned().collect();
        Selection { filtered: all - layers.len() - skipped.len(), layers, skipped }
    }

    fn fused(&self) -> Option<&Arc<dyn MatrixSource>> {
        Some(&self.inner)
    }

    fn read(&self, layer: &Layer, rows: Range<usize>) -> Result<Matrix, Error> {
        let Part::Cut(cut) = layer.part else { return self.inner.read(layer, rows) };
        let outside = || Error::Usage(format!("rows {}..{} of `{}`", rows.start, rows.end, layer.name));
        if rows.start > rows.end || rows.end > layer.rows {
            return Err(outside());
        }
        let whole = Layer { rows: cut.rows, cols: cut.cols, part: Part::Whole, ..layer.clone() };
        let bytes = match cut.axes {
            Axes::OutIn => self.rows(&whole, cut, rows.clone())?,
            Axes::InOut => self.columns(&whole, cut, rows.clone())?,
        };
        Matrix::new(rows.len(), layer.cols, layer.read_as, bytes)
    }
}

impl Arranged {
    /// Outputs that are stored as rows.
    fn rows(&self, whole: &Layer, cut: Cut, outputs: Range<usize>) -> Result<Vec<u8>, Error> {
        let line = whole.cols * whole.read_as.size();
        let mut bytes = Vec::with_capacity(outputs.len() * line);
        for block in super::blocks(outputs, whole.cols * cut.period.div_ceil(cut.run.max(1))) {
            let Some(last) = block.clone().last() else { continue };
            let first = cut.output(block.start);
            let read = self.inner.read(whole, first..cut.output(last) + 1)?;
            for output in block {
                let at = (cut.output(output) - first) * line;
                bytes.extend_from_slice(&read.bytes()[at..at + line]);
            }
        }
        Ok(bytes)
    }

    /// Outputs that are stored as columns, as rows.
    fn columns(&self, whole: &Layer, cut: Cut, outputs: Range<usize>) -> Result<Vec<u8>, Error> {
        let size = whole.read_as.size();
        let line = whole.rows * size;
        let mut bytes = vec![0; outputs.len() * line];
        let Some(last) = outputs.clone().last() else { return Ok(bytes) };
        let first = cut.output(outputs.start);
        let columns = first..cut.output(last) + 1;
        for block in super::blocks(0..whole.rows, columns.len()) {
            let read = self.inner.window(whole, block.clone(), columns.clone())?;
            for (row, stored) in block.zip(read.bytes().chunks_exact(columns.len() * size)) {
                for (i, output) in outputs.clone().enumerate() {
                    let (from, to) = ((cut.output(output) - first) * size, i * line + row * size);
                    bytes[to..to + size].copy_from_slice(&stored[from..from + size]);
                }
            }
        }
        Ok(bytes)
    }
}
