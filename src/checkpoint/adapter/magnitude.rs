//! DoRA: every row (or column) of base + update gets a length of its own, so the update depends on the base.
//!
//! `W' = m/‖V‖ · V` with `V = W + s·B·A`; Liu et al. 2024.

use std::ops::Range;
use std::sync::OnceLock;

use super::super::MatrixSource;
use super::recipe::{Recipe, Tensor};
use crate::error::Error;
use crate::layer::Layer;
use crate::spectrum::{magnitude, scaled};

/// The lengths, and what they are lengths of.
#[derive(Debug)]
pub(super) struct Magnitude {
    pub(super) lengths: Tensor,
    pub(super) along: Along,
    /// Lengths of the columns of `V`, once somebody needed them.
    columns: OnceLock<Vec<f64>>,
}

/// What has a length of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Along {
    /// Each row.
    Rows,
    /// Each run of that many columns: the positions of one input of a convolution.
    Columns(usize),
}

/// How many rows are looked at together for the lengths of columns.
const BLOCK: usize = 256;

impl Magnitude {
    pub(super) fn new(lengths: Tensor, along: Along) -> Self {
        Self { lengths, along, columns: OnceLock::new() }
    }

    /// Turns rows of the plain update into rows of the whole one.
    pub(super) fn apply(
        &self,
        (source, recipe, scale): (&dyn MatrixSource, &Recipe, f64),
        (base, layer): (&dyn MatrixSource, &Layer),
        rows: Range<usize>,
    ) -> Result<Vec<f64>, Error> {
        let lengths = self.lengths.all(source)?;
        let weights = base.read(layer, rows.clone())?.to_f64();
        let mut update = recipe.dense(source, rows.clone(), scale)?;
        let width = layer.cols.max(1);
        let new = |weight: f64, change: f64, factor: f64| (weight + change) * factor - weight;
        match self.along {
            Along::Rows => {
                let rows =
                    update.chunks_exact_mut(width).zip(weights.chunks_exact(width)).zip(&lengths[rows]);
                for ((update, weights), length) in rows {
                    let factor = factor(*length, norm(update.iter().zip(weights).map(|(x, w)| x + w)));
                    update.iter_mut().zip(weights).for_each(|(x, w)| *x = new(*w, *x, factor));
                }
            }
            Along::Columns(group) => {
                let norms = self.columns((source, recipe, scale), (base, layer), group)?;
                let factors: Vec<f64> =
                    lengths.iter().zip(norms).map(|(m, norm)| factor(*m, *norm)).collect();
                for (update, weights) in update.chunks_exact_mut(width).zip(weights.chunks_exact(width)) {
                    let entries = update.iter_mut().zip(weights).enumerate();
                    entries.for_each(|(j, (x, w))| *x = new(*w, *x, factors[j / group]));
                }
            }
        }
        Ok(update)
    }

    fn columns(
        &self,
        (source, recipe, scale): (&dyn MatrixSource, &Recipe, f64),
        (base, layer): (&dyn MatrixSource, &Layer),
        group: usize,
    ) -> Result<&[f64], Error> {
        if let Some(norms) = self.columns.get() {
            return Ok(norms);
        }
        let each = |take: &mut dyn FnMut(usize, f64)| -> Result<(), Error> {
            for first in (0..layer.rows).step_by(BLOCK) {
                let rows = first..layer.rows.min(first + BLOCK);
                let weights = base.read(layer, rows.clone())?.to_f64();
                let update = recipe.dense(source, rows, scale)?;
                for (i, (x, w)) in update.iter().zip(&weights).enumerate() {
                    take(i % layer.cols / group, x + w);
                }
            }
            Ok(())
        };
        let (mut sums, mut largest) = (vec![0.0; layer.cols / group], vec![0.0f64; layer.cols / group]);
        each(&mut |j, x| {
            sums[j] += x * x;
            largest[j] = largest[j].max(x.abs());
        })?;
        let mut norms: Vec<f64> = sums.iter().map(|sum| sum.sqrt()).collect();
        if sums.iter().zip(&largest).any(|(sum, largest)| !sum.is_normal() && *largest > 0.0) {
            let units: Vec<i32> = largest.iter().map(|x| magnitude(*x)).collect();
            sums.fill(0.0);
            each(&mut |j, x| sums[j] += scaled(x, -units[j]).powi(2))?;
            norms = sums.iter().zip(&units).map(|(sum, unit)| scaled(sum.sqrt(), *unit)).collect();
        }
        Ok(self.columns.get_or_init(|| norms))
    }
}

/// Euclidean length, also of what has squares that no double holds.
fn norm(row: impl Iterator<Item = f64> + Clone) -> f64 {
    let squares: f64 = row.clone().map(|x| x * x).sum();
    if squares.is_normal() {
        return squares.sqrt();
    }
    let largest = row.clone().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let unit = magnitude(largest);
    scaled(row.map(|x| scaled(x, -unit).powi(2)).sum::<f64>().sqrt(), unit)
}

/// What makes a row of length `norm` one of `length`. One that no double holds leaves no entry finite: divided by it, the
/// weights would be scaled to nothing.
fn factor(length: f64, norm: f64) -> f64 {
    if norm.is_infinite() { f64::INFINITY } else { length / norm }
}
