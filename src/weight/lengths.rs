//! Rows and columns brought to other lengths, as DoRA does: `m/‖V‖ · V`, Liu et al. 2024.

use std::ops::Range;
use std::sync::Arc;

use super::expr::{Along, Expr};
use super::scratch::{Key, Scratch};
use crate::error::Error;
use crate::spectrum::{magnitude, scaled};

/// Rows that are read together for the lengths of columns.
const BLOCK: usize = 256;

/// By what DoRA multiplies the rows or columns of base + update.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rescaling {
    /// A number for each row, or for each run of columns.
    pub(crate) factors: Vec<f64>,
    pub(crate) along: Along,
}

impl Expr {
    /// By what it rescales another, perhaps before something is taken away.
    pub(crate) fn rescaling(&self, room: &Scratch) -> Result<Option<Rescaling>, Error> {
        let (of, lengths, along) = match self {
            Self::Sum(first, ..) => return first.rescaling(room),
            Self::Rescaled { of, lengths, along } => (of, lengths.rows(0..1, room)?, *along),
            _ => return Ok(None),
        };
        let (height, width) = of.shape();
        let norms = match along {
            Along::Columns(group) => column_norms(of, group, room)?,
            Along::Rows => {
                let mut norms = Vec::with_capacity(height);
                for first in (0..height).step_by(BLOCK) {
                    let block = of.rows(first..height.min(first + BLOCK), room)?;
                    norms.extend(block.chunks_exact(width.max(1)).map(norm));
                }
                norms
            }
        };
        let factors = lengths.iter().zip(norms).map(|(length, norm)| factor(*length, norm)).collect();
        Ok(Some(Rescaling { factors, along }))
    }

    /// The rows `rows` of `of` with other lengths.
    pub(crate) fn rescaled(
        of: &Arc<Self>,
        (lengths, along): (&Self, Along),
        rows: Range<usize>,
        room: &Scratch,
    ) -> Result<Vec<f64>, Error> {
        let lengths = lengths.rows(0..1, room)?;
        let mut entries = of.rows(rows.clone(), room)?;
        let lines = entries.chunks_exact_mut(of.shape().1.max(1));
        match along {
            Along::Rows => {
                for (line, length) in lines.zip(&lengths[rows]) {
                    let factor = factor(*length, norm(line));
                    line.iter_mut().for_each(|x| *x *= factor);
                }
            }
            Along::Columns(group) => {
                let norms =
                    room.numbers(&Key::Norms(Arc::clone(of), group), || column_norms(of, group, room))?;
                let factors: Vec<f64> =
                    lengths.iter().zip(norms.iter()).map(|(m, norm)| factor(*m, *norm)).collect();
                for line in lines {
                    line.iter_mut().enumerate().for_each(|(j, x)| *x *= factors[j / group]);
                }
            }
        }
        Ok(entries)
    }
}

/// Lengths of runs of `group` columns each, also if the squares don't fit a double.
fn column_norms(of: &Expr, group: usize, room: &Scratch) -> Result<Vec<f64>, Error> {
    let (height, width) = of.shape();
    let each = |take: &mut dyn FnMut(usize, f64)| -> Result<(), Error> {
        for first in (0..height).step_by(BLOCK) {
            let block = of.rows(first..height.min(first + BLOCK), room)?;
            block.iter().enumerate().for_each(|(i, x)| take(i % width / group, *x));
        }
        Ok(())
    };
    let (mut sums, mut largest) = (vec![0.0; width / group], vec![0.0f64; width / group]);
    each(&mut |j, x| {
        sums[j] += x * x;
        largest[j] = largest[j].max(x.abs());
    })?;
    if sums.iter().zip(&largest).all(|(sum, largest)| sum.is_normal() || *largest == 0.0) {
        return Ok(sums.into_iter().map(f64::sqrt).collect());
    }
    let units: Vec<i32> = largest.iter().map(|x| magnitude(*x)).collect();
    sums.fill(0.0);
    each(&mut |j, x| sums[j] += scaled(x, -units[j]).powi(2))?;
    Ok(sums.iter().zip(&units).map(|(sum, unit)| scaled(sum.sqrt(), *unit)).collect())
}

/// Euclidean length, also if the squares don't fit a double.
fn norm(row: &[f64]) -> f64 {
    let squares: f64 = row.iter().map(|x| x * x).sum();
    if squares.is_normal() {
        return squares.sqrt();
    }
    let largest = row.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    let unit = magnitude(largest);
    scaled(row.iter().map(|x| scaled(*x, -unit).powi(2)).sum::<f64>().sqrt(), unit)
}

/// The factor that rescales a row from `norm` to `length`. A length that doesn't fit a double leaves no entry finite:
/// divided by it, the weights would be scaled to nothing.
fn factor(length: f64, norm: f64) -> f64 {
    if norm.is_infinite() { f64::INFINITY } else { length / norm }
}
