//! The four matrices of a head as the model uses them: cut out of what is stored, with the norm's gain folded in.
//!
//! Each comes as lines of the width of the stream, one for each entry of a query, key or value: as a column-major matrix
//! that is `d × d_h`, so that queries are `x·Q`, as in the papers.

use super::latent::{Latent, LatentQuery};
use super::layouts::{Axes, NormKind};
use super::modules::{Module, Projections};
use super::names::Norm;
use super::projections::{Projection, Span};
use crate::error::{Error, brief};
use crate::layer::{Element, Layer, TensorInfo};
use crate::matrix::Matrix;
use crate::solver::Basis;
use crate::weight::Catalogue;

/// Whether norms are folded into what reads through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folding {
    /// They are.
    Folded,
    /// Weights are taken as they are stored.
    Raw,
}

/// One of the four matrices of a head.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lines {
    /// `d_h` lines of `d` entries.
    pub entries: Vec<f64>,
    /// What is added to the product, where anything is.
    pub bias: Option<Vec<f64>>,
}

/// A norm in numbers.
struct Scaling {
    gain: Vec<f64>,
    shift: Option<Vec<f64>>,
    is_centred: bool,
}

/// The parts of latent attention whose bounds are told apart, of all heads.
pub(super) struct LatentParts {
    /// From the latent vector of queries, or from the stream: `plain + rotated` lines a head.
    pub query: Vec<f64>,
    pub query_width: usize,
    /// From the latent vector of keys and values: `plain` lines for the key, then the value, a head.
    pub up: Vec<f64>,
    /// From the stream to the rotated part of all keys.
    pub rotated: Vec<f64>,
    /// From the stream to the latent vectors.
    query_down: Option<Vec<f64>>,
    down: Vec<f64>,
}

/// The weights of a module in memory, as they are stored.
pub(super) struct Weights<'a> {
    pub module: &'a Module,
    matrices: Vec<(&'a str, Matrix)>,
    biases: [Option<Vec<f64>>; 3],
    own: Option<Scaling>,
    encoder: Option<Scaling>,
    /// Gains of the norms of queries and keys.
    pub qk_gains: Option<[Vec<f64>; 2]>,
    pub latent: Option<LatentParts>,
    folding: Folding,
}

impl<'a> Weights<'a> {
    /// Reads all of them.
    ///
    /// # Errors
    /// When something cannot be read, or a vector is not as long as what it scales.
    pub(super) fn read(source: &Catalogue, module: &'a Module, folding: Folding) -> Result<Self, Error> {
        let whole = |layer: &Layer| source.read(layer, 0..layer.rows);
        let scaling = |norm: &Norm, length: usize| -> Result<Option<Scaling>, Error> {
            if folding == Folding::Raw {
                return Ok(None);
            }
            let gain = gain(source, norm, length)?;
            let shift = norm.shift.as_ref().map(|shift| vector(source, shift, length)).transpose()?;
            // Without a norm nothing takes the mean away.
            let is_centred = norm.kind == NormKind::Layer && norm.gain.is_some();
            Ok(Some(Scaling { gain, shift, is_centred }))
        };
        let own = scaling(&module.norm, module.width)?;
        let qk_gains = match &module.qk_norm {
            Some([query, key]) => Some([
                gain(source, query, normed(query, module.head_dim, module.heads))?,
                gain(source, key, normed(key, module.head_dim, module.kv_heads))?,
            ]),
            None => None,
        };
        let (mut matrices, mut biases, mut latent) = (vec![], [None, None, None], None);
        match &module.inputs {
            Projections::Plain(projections) => {
                for (projection, bias) in projections.iter().zip(&mut biases) {
                    let Projection { layer, axes, bias: tensor, .. } = projection;
                    if !matrices.iter().any(|(name, _): &(&str, _)| layer.name == *name) {
                        matrices.push((layer.name.as_str(), whole(layer)?));
                    }
                    let outputs = if *axes == Axes::OutIn { layer.rows } else { layer.cols };
                    *bias = tensor.as_ref().map(|tensor| vector(source, tensor, outputs)).transpose()?;
                }
            }
            Projections::Latent(parts) => latent = Some(latent_parts(parts, own.as_ref(), source, folding)?),
        }
        matrices.push((module.output.layer.name.as_str(), whole(&module.output.layer)?));
        let encoder = match &module.encoder_norm {
            Some(norm) => scaling(norm, module.width)?,
            None => None,
        };
        Ok(Self { module, matrices, biases, own, encoder, qk_gains, latent, folding })
    }

    /// The queries of a head.
    pub(super) fn query(&self, head: usize) -> Lines {
        if let (Some(latent), Projections::Latent(parts)) = (&self.latent, &self.module.inputs) {
            return Lines { entries: latent.query_lines(parts, head), bias: None };
        }
        let lines = self.input(0, head, self.own.as_ref());
        self.normed(lines, 0, head)
    }

    /// The keys of a key head.
    pub(super) fn key(&self, head: usize) -> Lines {
        if let (Some(latent), Projections::Latent(parts)) = (&self.latent, &self.module.inputs) {
            return Lines { entries: latent.key_lines(parts, head), bias: None };
        }
        let lines = self.input(1, head, self.keys_from());
        self.normed(lines, 1, head)
    }

    /// The values of a value head.
    pub(super) fn value(&self, head: usize) -> Lines {
        if let (Some(latent), Projections::Latent(parts)) = (&self.latent, &self.module.inputs) {
            return Lines { entries: latent.value_lines(parts, head), bias: None };
        }
        self.input(2, head, self.keys_from())
    }

    /// What a head writes into the stream: a line for each entry of its value. A LayerNorm that reads the stream does not see
    /// the mean.
    pub(super) fn output(&self, head: usize) -> Vec<f64> {
        let Projection { layer, axes, span, .. } = &self.module.output;
        let turned = if *axes == Axes::OutIn { Axes::InOut } else { Axes::OutIn };
        let mut entries = lines(self.matrix(&layer.name), turned, *span, head);
        if self.folding == Folding::Folded && self.module.norm.kind == NormKind::Layer {
            centre(&mut entries, self.module.width);
        }
        entries
    }

    fn keys_from(&self) -> Option<&Scaling> {
        if self.module.is_cross() { self.encoder.as_ref() } else { self.own.as_ref() }
    }

    fn matrix(&self, name: &str) -> &Matrix {
        let found = self.matrices.iter().find(|(known, _)| *known == name);
        &found.expect("every matrix of the module was read").1
    }

    fn input(&self, which: usize, head: usize, scaling: Option<&Scaling>) -> Lines {
        let Projections::Plain(projections) = &self.module.inputs else {
            return Lines { entries: vec![], bias: None };
        };
        let Projection { layer, axes, span, .. } = &projections[which];
        let mut entries = lines(self.matrix(&layer.name), *axes, *span, head);
        let first = span.first + head * span.period;
        let mut bias = self.biases[which].as_ref().map(|bias| bias[first..first + span.count].to_vec());
        if let Some(scaling) = scaling {
            scaling.fold(&mut entries, &mut bias);
        }
        Lines { entries, bias }
    }

    /// The same with the gains of the norm of queries or keys.
    fn normed(&self, mut lines: Lines, which: usize, head: usize) -> Lines {
        let Some(gains) = self.qk_gains.as_ref().filter(|_| self.folding == Folding::Folded) else {
            return lines;
        };
        let gains = own_gains(&gains[which], self.module.head_dim, head);
        for (line, gain) in lines.entries.chunks_exact_mut(self.module.width).zip(gains) {
            line.iter_mut().for_each(|x| *x *= gain);
        }
        for (x, gain) in lines.bias.iter_mut().flatten().zip(gains) {
            *x *= gain;
        }
        lines
    }
}

/// The gains of a head: a norm is over each head, or over all together.
pub(super) fn own_gains(gains: &[f64], head_dim: usize, head: usize) -> &[f64] {
    if gains.len() == head_dim { gains } else { &gains[head * head_dim..(head + 1) * head_dim] }
}

/// The length of a norm of queries or keys.
fn normed(norm: &Norm, head_dim: usize, heads: usize) -> usize {
    let is_whole = norm.gain.as_ref().is_some_and(|gain| gain.shape == [heads * head_dim]);
    if is_whole { heads * head_dim } else { head_dim }
}

impl Scaling {
    /// `W·(g∘x + b)` as `(W∘g)·x + W·b`; where the norm takes the mean away, nothing along it is read.
    fn fold(&self, entries: &mut [f64], bias: &mut Option<Vec<f64>>) {
        let width = self.gain.len();
        if let Some(shift) = &self.shift {
            let added =
                entries.chunks_exact(width).map(|line| line.iter().zip(shift).map(|(w, b)| w * b).sum());
            let added: Vec<f64> = added.collect();
            match bias {
                Some(bias) => bias.iter_mut().zip(added).for_each(|(x, y)| *x += y),
                None => *bias = Some(added),
            }
        }
        scale(entries, &self.gain);
        if self.is_centred {
            centre(entries, width);
        }
    }
}

fn scale(entries: &mut [f64], gain: &[f64]) {
    for line in entries.chunks_exact_mut(gain.len().max(1)) {
        line.iter_mut().zip(gain).for_each(|(x, g)| *x *= g);
    }
}

fn centre(entries: &mut [f64], width: usize) {
    for line in entries.chunks_exact_mut(width.max(1)) {
        let mean = line.iter().sum::<f64>() / width as f64;
        line.iter_mut().for_each(|x| *x -= mean);
    }
}

/// The outputs of a head as lines of the inputs' length.
fn lines(matrix: &Matrix, axes: Axes, span: Span, head: usize) -> Vec<f64> {
    let (first, count, cols) = (span.first + head * span.period, span.count, matrix.cols());
    if axes == Axes::OutIn {
        let mut entries = vec![0.0; count * cols];
        matrix.widen(first * cols..(first + count) * cols, &mut entries);
        return entries;
    }
    let length = matrix.rows();
    let (mut entries, mut row) = (vec![0.0; count * length], vec![0.0; count]);
    for i in 0..length {
        matrix.widen(i * cols + first..i * cols + first + count, &mut row);
        row.iter().enumerate().for_each(|(k, x)| entries[k * length + i] = *x);
    }
    entries
}

/// A stored vector.
fn vector(source: &Catalogue, tensor: &TensorInfo, length: usize) -> Result<Vec<f64>, Error> {
    let fail = |reason: String| Err(source.stored().malformed(tensor, reason));
    let Element::Float(dtype) = tensor.element else { return fail("is not a float tensor".to_owned()) };
    if tensor.shape.iter().product::<usize>() != length {
        return fail(format!("has shape {:?}, and {length} numbers are needed", tensor.shape));
    }
    let layer = tensor.as_matrix((1, length), dtype);
    let entries = source.alone(layer.clone()).read(&layer, 0..1)?.to_f64();
    if entries.iter().all(|x| x.is_finite()) {
        Ok(entries)
    } else {
        fail(format!("`{}` holds NaN or infinite entries", brief(&tensor.name)))
    }
}

/// The gains of a norm, 1 where none is stored.
fn gain(source: &Catalogue, norm: &Norm, length: usize) -> Result<Vec<f64>, Error> {
    let Some(gain) = &norm.gain else { return Ok(vec![1.0; length]) };
    let mut entries = vector(source, gain, length)?;
    if norm.kind == NormKind::RmsLessOne {
        entries.iter_mut().for_each(|g| *g += 1.0);
    }
    Ok(entries)
}

fn latent_parts(
    parts: &Latent,
    own: Option<&Scaling>,
    source: &Catalogue,
    folding: Folding,
) -> Result<LatentParts, Error> {
    let whole = |layer: &Layer| Ok::<_, Error>(source.read(layer, 0..layer.rows)?.to_f64());
    let folded = |entries: &mut Vec<f64>| {
        if let Some(own) = own {
            own.fold(entries, &mut None);
        }
    };
    let inner = |norm: &Norm, entries: &mut Vec<f64>, length: usize| -> Result<(), Error> {
        if folding == Folding::Folded {
            scale(entries, &gain(source, norm, length)?);
        }
        Ok(())
    };
    let mut down = whole(&parts.down)?;
    folded(&mut down);
    let rotated = down.split_off(parts.rank * parts.down.cols);
    let mut up = whole(&parts.up)?;
    inner(&parts.norm, &mut up, parts.rank)?;
    let (query, query_width, query_down) = match &parts.query {
        LatentQuery::Direct(layer) => {
            let mut query = whole(layer)?;
            folded(&mut query);
            (query, layer.cols, None)
        }
        LatentQuery::Low { down, norm, up } => {
            let (mut query, mut query_down) = (whole(up)?, whole(down)?);
            folded(&mut query_down);
            inner(norm, &mut query, up.cols)?;
            (query, up.cols, Some(query_down))
        }
    };
    Ok(LatentParts { query, query_width, up, rotated, query_down, down })
}

impl LatentParts {
    /// The lines of a head's query, from its latent vector or the stream.
    pub(super) fn query_part(&self, parts: &Latent, head: usize) -> &[f64] {
        let size = parts.query_dim() * self.query_width;
        &self.query[head * size..(head + 1) * size]
    }

    /// The lines of a head's key from the latent vector.
    pub(super) fn key_part(&self, parts: &Latent, head: usize) -> &[f64] {
        let (plain, value) = (parts.plain * parts.rank, parts.value_dim * parts.rank);
        &self.up[head * (plain + value)..][..plain]
    }

    fn value_part(&self, parts: &Latent, head: usize) -> &[f64] {
        let (plain, value) = (parts.plain * parts.rank, parts.value_dim * parts.rank);
        &self.up[head * (plain + value) + plain..][..value]
    }

    fn query_lines(&self, parts: &Latent, head: usize) -> Vec<f64> {
        let part = self.query_part(parts, head);
        self.query_down.as_ref().map_or_else(|| part.to_vec(), |down| through(part, down, self.query_width))
    }

    fn key_lines(&self, parts: &Latent, head: usize) -> Vec<f64> {
        let mut lines = through(self.key_part(parts, head), &self.down, parts.rank);
        lines.extend(&self.rotated);
        lines
    }

    fn value_lines(&self, parts: &Latent, head: usize) -> Vec<f64> {
        through(self.value_part(parts, head), &self.down, parts.rank)
    }
}

/// Lines over a latent vector of `rank` entries as lines over the stream, by the lines of `down` that make the vector.
fn through(lines: &[f64], down: &[f64], rank: usize) -> Vec<f64> {
    let width = down.len() / rank.max(1);
    let columns = (0..width).flat_map(|j| (0..rank).map(move |i| down[i * width + j])).collect();
    let product = Basis::from_columns(rank, columns).cosines(&Basis::from_columns(rank, lines.to_vec()));
    product.columns().flatten().copied().collect()
}
