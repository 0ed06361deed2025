//! From stored tensors to the matrices of a model: which are analyzed, their names, shapes and order.
//!
//! It uses only names and shapes and reads no weights.

mod distinct;
mod filter;
mod folding;
mod inner;
mod natural;
mod plain;
mod role;
mod scales;
mod storage;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use crate::error::printable;
use crate::matrix::Dtype;
use crate::report::{Flag, SkipKind, Skipped};
use crate::text::Text;

pub use distinct::distinct;
pub use filter::Filter;
pub use folding::{Fold, Folding, Folds};
pub use inner::{Purpose, purpose};
pub use natural::natural;
pub use role::{block_and_role, place_of, without_block};
pub use storage::{Encoding, Operands, Part};

/// A tensor's element type: one we can widen or decode, or the name of one we cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// A floating-point weight.
    Float(Dtype),
    /// A weight in blocks of small integers, decoded to f32: its stored name, and the bits of an entry, rounded up.
    Coded(&'static str, u32),
    /// Anything else, by its stored name in lower case.
    Other(String),
}

impl Element {
    /// The name used in reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Float(dtype) => dtype.name(),
            Self::Coded(name, _) => name,
            Self::Other(name) => name,
        }
    }
}

/// A named array in a file, as its header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Stored name.
    pub name: Text,
    /// Stored shape.
    pub shape: Vec<usize>,
    /// Stored element type.
    pub element: Element,
    /// Which of the source's files holds it.
    pub file: usize,
    /// Position of its first byte in that file.
    pub offset: u64,
    /// How many bytes of the file are its own, where that is known.
    pub bytes: Option<u64>,
}

impl TensorInfo {
    /// Its entry in the list of skipped tensors.
    pub fn skipped(&self, kind: SkipKind, reason: impl Into<Text>) -> Skipped {
        Skipped {
            tensor: self.name.clone(),
            shape: self.shape.iter().map(|n| *n as u64).collect(),
            dtype: self.element.name().into(),
            reason: reason.into(),
            kind,
            ..Skipped::default()
        }
    }
}

/// A matrix with its place in the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Name of the matrix, printable.
    pub name: Text,
    /// Stored name.
    pub tensor: Text,
    /// Stored shape.
    pub stored_shape: Vec<usize>,
    /// Rows (outputs).
    pub rows: usize,
    /// Columns (inputs).
    pub cols: usize,
    /// Storage type; for codes, the type that their values are read as.
    pub dtype: Dtype,
    /// How it is stored, where that is not as floats.
    pub encoding: Option<Box<Encoding>>,
    /// The part of its tensor that it is.
    pub part: Part,
    /// The type its entries are read as: doubles where they are computed.
    pub read_as: Dtype,
    /// Which of the source's files holds it.
    pub file: usize,
    /// Position of the first byte of this matrix in that file.
    pub offset: u64,
    /// The most directions it can have, where it is stored as a product of thin factors.
    pub rank: Option<usize>,
    /// The parts that its singular values are found from, where it is such a product.
    pub operands: Option<Box<Operands>>,
    /// Position of its tensor among those called `….weight`, in the order they are stored.
    pub order: usize,
    /// Depth in the model, if the name shows it.
    pub block: Option<u64>,
    /// The name with its block number removed.
    pub role: Text,
}

impl Layer {
    /// Number of entries; a damaged report may tell of more than there can be.
    pub fn len(&self) -> usize {
        self.rows.saturating_mul(self.cols)
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its rows in runs of at most `bytes` as they are read, a row at least.
    pub fn blocks(&self, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let row = self.cols.saturating_mul(self.read_as.size()).max(1);
        let (rows, step) = (self.rows, (bytes / row).max(1));
        (0..rows).step_by(step).map(move |first| first..rows.min(first.saturating_add(step)))
    }

    /// Stored numbers: its entries, or its factors' entries.
    pub fn parameters(&self) -> usize {
        match (self.operands.as_deref(), self.rank) {
            (Some(Operands::Kronecker([(a, b), (c, d)])), _) => a * b + c * d,
            (Some(Operands::Tucker { stored, .. }), _) => *stored as usize,
            (None, Some(rank)) => (self.rows + self.cols) * rank,
            (None, None) => self.len(),
        }
    }

    /// Bytes as stored.
    pub fn bytes(&self) -> u64 {
        let bits = self.encoding.as_ref().map_or(self.dtype.size() as u64 * 8, |code| u64::from(code.bits));
        (self.parameters() as u64).saturating_mul(bits) / 8
    }

    /// Name of the type that is stored.
    pub fn stored_type(&self) -> &str {
        self.encoding.as_ref().map_or(self.dtype.name(), |encoding| &encoding.stored)
    }

    /// The scheme that entries were computed by, where they are not stored as they are.
    pub fn scheme(&self) -> Option<&str> {
        self.encoding.as_ref().map(|encoding| encoding.scheme.as_str())
    }

    /// How it is stored, for people.
    pub fn storage(&self) -> &str {
        self.scheme().unwrap_or(self.dtype.name())
    }

    /// Flags about how it is stored.
    pub fn flag(&self) -> Option<Flag> {
        matches!(self.part, Part::Slice(_)).then_some(Flag::OrientationUnknown)
    }

    /// Spacing of 1.0 as stored; none where rounding is not relative.
    pub fn epsilon(&self) -> Option<f64> {
        self.encoding.as_ref().map_or(Some(self.dtype.epsilon()), |encoding| encoding.epsilon)
    }
}

/// The matrices to analyze, and the skipped tensors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Matrices in natural name order.
    pub layers: Vec<Arc<Layer>>,
    /// Tensors that are not matrices, in natural name order.
    pub skipped: Vec<Arc<Skipped>>,
    /// How many matrices and tensors the filter dropped.
    pub filtered: usize,
}

/// Chooses the matrices among `tensors`.
pub fn select(tensors: &[TensorInfo], filter: &Filter) -> Selection {
    select_folded(tensors, filter, &Folds::of(tensors, &Folding::default()))
}

/// The same, where it is known which tensors are kernels.
pub fn select_folded(tensors: &[TensorInfo], filter: &Filter, folds: &Folds) -> Selection {
    let (mut layers, mut skipped) = (vec![], Vec::<Arc<Skipped>>::new());
    let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    for (order, tensor) in in_storage_order(tensors) {
        let found = match scales::quantized(tensor, &names) {
            Some(skipped) => Err(skipped),
            None => matrices(tensor, order, folds).map_err(|reason| tensor.skipped(kind(tensor), reason)),
        };
        match found {
            Ok(found) => layers.extend(found.into_iter().map(Arc::new)),
            Err(mut line) => {
                if let Some(before) = skipped.last() {
                    line.share(before);
                }
                skipped.push(Arc::new(line));
            }
        }
    }
    // Names are made unique before filtering, so that they don't depend on the filter.
    distinct::tell_apart(&mut layers);
    let all = layers.len() + skipped.len();
    layers.retain(|layer| filter.keeps(&layer.name));
    skipped.retain(|skipped| filter.keeps(bare(&skipped.tensor)));
    layers.sort_by(|a, b| natural(&a.name, &b.name));
    skipped.sort_by(|a, b| natural(&a.tensor, &b.tensor));
    let filtered = all - layers.len() - skipped.len();
    Selection { layers, skipped, filtered }
}

/// Tensors as they lie in the files, each with the number of `….weight` tensors before it.
fn in_storage_order(tensors: &[TensorInfo]) -> impl Iterator<Item = (usize, &TensorInfo)> {
    let mut stored: Vec<&TensorInfo> = tensors.iter().collect();
    stored.sort_by_key(|tensor| (tensor.file, tensor.offset));
    stored.into_iter().scan(0, |weights, tensor| {
        let before = *weights;
        *weights += usize::from(tensor.name.ends_with(".weight"));
        Some((before, tensor))
    })
}

/// What skipping a tensor loses: a weight has two axes, and entries that are not masks or indices.
fn kind(tensor: &TensorInfo) -> SkipKind {
    let axes = tensor.shape.iter().filter(|n| **n != 1).count();
    let plain = tensor.bytes.is_some() && axes < 2
        || tensor.shape.contains(&0)
        || ["bool", "i64", "u64"].contains(&tensor.element.name());
    if plain { SkipKind::Plain } else { SkipKind::Refused }
}

/// The matrices that one tensor holds, or why it holds none.
fn matrices(tensor: &TensorInfo, order: usize, folds: &Folds) -> Result<Vec<Layer>, String> {
    let (dtype, encoding) = match &tensor.element {
        Element::Float(dtype) => (*dtype, None),
        Element::Coded(name, bits) => {
            let (stored, scheme) = ((*name).to_owned(), (*name).to_owned());
            (Dtype::F32, Some(Box::new(Encoding { stored, scheme, bits: *bits, epsilon: None })))
        }
        Element::Other(name) => return Err(format!("{name} is not a float type")),
    };
    if tensor.shape.contains(&0) {
        return Err("empty".to_owned());
    }
    let name = printable_name(&tensor.name);
    let (block, role) = place_of(&name);
    let layer = |name: Text, rows, cols, index: usize, part| Layer {
        name,
        tensor: tensor.name.clone(),
        stored_shape: tensor.shape.clone(),
        rows,
        cols,
        dtype,
        encoding: encoding.clone(),
        part,
        read_as: dtype,
        file: tensor.file,
        offset: tensor.offset + (index * rows * cols * dtype.size()) as u64,
        rank: None,
        operands: None,
        order,
        block,
        role: role.clone(),
    };
    match *tensor.shape {
        [] => Err("a single number".to_owned()),
        [_] => Err("1-D".to_owned()),
        [_, _, _, ..] if tensor.shape.iter().filter(|n| **n > 1).count() < 2 => Err("1-D".to_owned()),
        [rows, cols] => Ok(vec![layer(name.clone(), rows, cols, 0, Part::Whole)]),
        [slices, rows, cols] if folds.get(tensor) == Fold::Stack => {
            if slices > MOST_SLICES {
                return Err(format!("{slices} slices are not a stack of weights"));
            }
            Ok((0..slices)
                .map(|i| layer(format!("{name}[{i}]").into(), rows, cols, i, Part::Slice(i)))
                .collect())
        }
        [rows, ref kernel @ ..] => {
            Ok(vec![layer(name.clone(), rows, kernel.iter().product(), 0, Part::Whole)])
        }
    }
}

/// The most matrices of a stack: no model has as many experts, and a hostile file could ask for billions.
const MOST_SLICES: usize = 65_536;

/// The name of the matrix that tensor `name` holds.
pub fn bare(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// The same, printable, without a copy where it is so in the file.
pub fn printable_name(tensor: &Text) -> Text {
    let (name, shown) = (bare(tensor), printable(bare(tensor)));
    if shown == name { tensor.part(name) } else { shown.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], element: Element) -> TensorInfo {
        TensorInfo { name: name.into(), shape: shape.to_vec(), element, file: 0, offset: 100, bytes: Some(0) }
    }

    fn check(name: &str, shape: &[usize], expected: &[(&str, usize, usize, u64)]) {
        let selection = select(&[tensor(name, shape, Element::Float(Dtype::F32))], &Filter::default());
        let got: Vec<_> =
            selection.layers.iter().map(|l| (l.name.as_str(), l.rows, l.cols, l.offset)).collect();
        assert_eq!(got, expected, "{name} {shape:?}");
    }

    fn check_skipped(shape: &[usize], element: Element, expected: &str) {
        let selection = select(&[tensor("t", shape, element)], &Filter::default());
        assert_eq!(selection.skipped.iter().map(|s| s.reason.as_str()).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn matrices_are_taken_as_they_are() {
        check("a.weight", &[3, 2], &[("a", 3, 2, 100)]);
        check("a.weight_ih", &[1, 5], &[("a.weight_ih", 1, 5, 100)]);
    }

    #[test]
    fn convolution_kernels_are_folded() {
        check("c.weight", &[6, 4, 3, 3], &[("c", 6, 36, 100)]);
        check("conv.weight", &[6, 4, 30], &[("conv", 6, 120, 100)]);
        check("enc.weight", &[6, 4, 5], &[("enc", 6, 20, 100)]);
    }

    #[test]
    fn stacks_become_one_matrix_a_slice() {
        check("experts.up", &[2, 3, 4], &[("experts.up[0]", 3, 4, 100), ("experts.up[1]", 3, 4, 148)]);
    }

    #[test]
    fn what_is_no_matrix_is_skipped_with_a_reason() {
        check_skipped(&[3], Element::Float(Dtype::F32), "1-D");
        check_skipped(&[], Element::Float(Dtype::F32), "a single number");
        check_skipped(&[1, 1, 768], Element::Float(Dtype::F32), "1-D");
        check_skipped(
            &[65_537, 2, 18],
            Element::Float(Dtype::F32),
            "65537 slices are not a stack of weights",
        );
        check_skipped(&[0, 4], Element::Float(Dtype::F32), "empty");
        check_skipped(&[4, 4], Element::Other("i64".to_owned()), "i64 is not a float type");
    }

    fn check_quantized(weight: &str, element: Element, scales: &str) {
        let tensors = [tensor(weight, &[4, 4], element), tensor(scales, &[4, 2], Element::Float(Dtype::F32))];
        let selection = select(&tensors, &Filter::default());
        assert!(selection.layers.is_empty(), "{weight} and {scales}: {:?}", selection.layers);
        assert_eq!(selection.skipped.len(), 2);
    }

    #[test]
    fn a_quantized_weight_and_its_scales_are_no_matrices() {
        check_quantized("a.weight", Element::Float(Dtype::F8E4M3), "a.weight_scale_inv");
        check_quantized("a.weight", Element::Float(Dtype::F8E4M3), "a.weight_scale");
        check_quantized("a.weight", Element::Float(Dtype::F8E5M2), "a.scale_weight");
        check_quantized("a.qweight", Element::Other("i32".to_owned()), "a.scales");
        check_quantized("a.weight_packed", Element::Other("u8".to_owned()), "a.weight_scale");
        check("a.weight", &[4, 4], &[("a", 4, 4, 100)]);
    }

    #[test]
    fn a_name_tells_block_and_role() {
        assert_eq!(block_and_role("model.layers.3.mlp.up_proj"), (Some(3), "mlp.up_proj"));
        assert_eq!(block_and_role("h.0.attn.c_attn"), (Some(0), "attn.c_attn"));
        assert_eq!(block_and_role("lm_head"), (None, "lm_head"));
        assert_eq!(block_and_role("net.4"), (Some(4), "net.4"));
    }
}
