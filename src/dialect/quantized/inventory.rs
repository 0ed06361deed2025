//! All tensors of a checkpoint by name, to find the parts of a quantized weight.

use std::collections::BTreeMap;

use crate::format::Quantization;
use crate::layer::{Element, TensorInfo};
use crate::weight::{Book, Grid, Number, Scales, Scheme, Tensors, View};

/// Why a weight without its scales is not measured: its codes alone are another matrix.
pub(super) const NO_SCALES: &str =
    "quantized, but its scales are missing: without them its codes mean nothing; download the file again";
/// Why a weight whose parts do not belong together is not measured.
pub(super) const NO_FIT: &str = "quantized, but its scales do not fit its shape; convert it again";

/// The result of the search around a tensor of codes.
#[derive(Debug)]
pub(super) enum Decoding {
    /// A weight that can be read.
    Weight(Box<Scheme>),
    /// A weight that can't be decoded, why, and the tensors beside it.
    Refused(String, Vec<String>),
}

/// The tensors of a checkpoint.
pub(super) struct Inventory<'a> {
    pub stored: &'a Tensors,
    pub tensors: BTreeMap<&'a str, &'a TensorInfo>,
    /// How the whole is quantized.
    pub config: &'a Quantization,
}

impl<'a> Inventory<'a> {
    /// The configured quantization of `tensor`.
    pub(super) fn quantization(&self, tensor: &TensorInfo) -> &'a Quantization {
        self.stored.quantization(tensor).unwrap_or(self.config)
    }

    /// The tensor called so.
    pub(super) fn get(&self, name: &str) -> Option<&'a TensorInfo> {
        self.tensors.get(name).copied()
    }

    /// The first of the tensors called `stem` and one of `endings`.
    pub(super) fn first(&self, stem: &str, endings: &[&str]) -> Option<&'a TensorInfo> {
        endings.iter().find_map(|ending| self.get(&format!("{stem}{ending}")))
    }

    /// The names made of `stem` and `endings` that exist.
    pub(super) fn parts(&self, stem: &str, endings: &[&str]) -> Vec<String> {
        let named = endings.iter().filter_map(|ending| self.get(&format!("{stem}{ending}")));
        named.map(|tensor| tensor.name.to_string()).collect()
    }
}

/// Whether a tensor is of the type that is stored under this name.
pub(super) fn is(tensor: &TensorInfo, name: &str) -> bool {
    matches!(&tensor.element, Element::Other(other) if other == name)
}

/// The weight `name` of `shape`, made of `codes` and scales alone.
pub(super) fn scaled(
    name: String,
    shape: Vec<usize>,
    (codes, book): (&TensorInfo, Book),
    scales: &TensorInfo,
    configured: Option<(usize, usize)>,
) -> Result<Scheme, String> {
    let no_fit = || NO_FIT.to_owned();
    let view = View::of(&shape).ok_or_else(no_fit)?;
    let number = Number::of(&scales.element).ok_or_else(no_fit)?;
    let grid = Grid::of(&scales.shape, view, configured).ok_or_else(no_fit)?;
    if shape.contains(&0) {
        return Err("empty".to_owned());
    }
    Ok(Scheme {
        name,
        shape,
        view,
        label: grid.name(view),
        codes: codes.clone(),
        book,
        scales: Some(Scales { tensor: scales.clone(), number, grid }),
        overall: None,
        zeros: None,
        groups: None,
        parts: vec![scales.name.to_string()],
    })
}
