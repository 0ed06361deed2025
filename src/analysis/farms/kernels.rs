//! FARMS' way with convolutions: every kernel position is a matrix out × in, cut into square blocks.
//!
//! Each position is turned so that it has at least as many rows as columns. Block `g` takes the next rows, as many as
//! there are columns (fewer where the aspect ratio is not 1); rows below the last full block are left out.
//! The blocks `g` of all positions are pooled and give one exponent; the layer's is the mean over `g`.

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::Matrix;
use crate::solver::{self, Cost, Form, Need, Precision};
use crate::spectrum::Spectrum;

use super::{Convolution, Settings};

/// The peers scale every entry by √½, and so every eigenvalue by this.
pub(super) const SCALE: f64 = 0.5;

/// The blocks of a convolution's kernel.
pub(super) struct Blocks {
    outputs: usize,
    inputs: usize,
    positions: usize,
    rows: usize,
    cols: usize,
    groups: usize,
}

/// The blocks of `layer`, where it is a convolution and the settings ask for them.
pub(super) fn blocks(layer: &Layer, settings: &Settings) -> Option<Blocks> {
    let [outputs, inputs, ref kernel @ ..] = *layer.stored_shape else { return None };
    let positions: usize = kernel.iter().product();
    let folded = !kernel.is_empty() && (layer.rows, layer.cols) == (outputs, inputs * positions);
    if settings.convolution == Convolution::Fold || !folded || layer.rank.is_some() {
        return None;
    }
    let (long, short) = (outputs.max(inputs), outputs.min(inputs));
    let (rows, cols) = if settings.aspect > 1.0 {
        ((short as f64 / settings.aspect) as usize, short)
    } else {
        (short, (short as f64 * settings.aspect) as usize)
    };
    Some(Blocks { outputs, inputs, positions, rows: rows.max(1), cols: cols.max(1), groups: long / short })
}

impl Blocks {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.groups * self.positions
    }

    /// Rows and columns of each.
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Entries in a block.
    pub(super) fn covered(&self) -> usize {
        self.count() * self.rows * self.cols
    }

    /// What their spectra cost, themselves included, of a matrix in memory.
    pub(super) fn cost(&self, whole: &Form) -> Cost {
        let one =
            solver::cost(&Form { rows: self.rows, cols: self.cols, operands: None, ..*whole }, Need::Values);
        let spectra = 8 * (self.count() * self.rows.min(self.cols)) as u64;
        Cost { flops: self.count() as f64 * one.flops, bytes: spectra + one.bytes }
    }

    /// For each group the spectra of its blocks, position by position.
    pub(super) fn spectra(&self, folded: &Matrix, precision: Precision) -> Result<Vec<Vec<Spectrum>>, Error> {
        let group = |g: usize| {
            let block = |p: usize| solver::singular_values(&self.block(folded, g, p)?, precision);
            (0..self.positions).map(block).collect()
        };
        (0..self.groups).map(group).collect()
    }

    /// Block `group` of the kernel position `position`, as stored.
    fn block(&self, folded: &Matrix, group: usize, position: usize) -> Result<Matrix, Error> {
        let size = folded.dtype().size();
        let mut bytes = Vec::with_capacity(self.rows * self.cols * size);
        for r in group * self.rows..(group + 1) * self.rows {
            for c in 0..self.cols {
                let (output, input) = if self.outputs >= self.inputs { (r, c) } else { (c, r) };
                let at = output * folded.cols() + input * self.positions + position;
                bytes.extend_from_slice(&folded.bytes()[at * size..(at + 1) * size]);
            }
        }
        Matrix::new(self.rows, self.cols, folded.dtype(), bytes)
    }
}
