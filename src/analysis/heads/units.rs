//! Where the heads of a module lie in its tensors, for whoever lets them change places.

use super::layouts::Axes;
use super::modules::{Module, Projections};
use super::projections::Span;
use crate::layer::{Layer, TensorInfo};

/// The lines of a tensor that belong to heads: those of head `i` begin at `first + i · period`, `count` of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadTensor {
    /// The name of the tensor.
    pub tensor: String,
    /// Whether heads lie in its columns.
    pub is_turned: bool,
    /// Where the first head begins.
    pub first: usize,
    /// From one head to the next.
    pub period: usize,
    /// Lines of a head.
    pub count: usize,
}

/// The tensors of a module by whose heads lie in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadUnits {
    /// By key and value head.
    pub keys: Vec<HeadTensor>,
    /// By query head: what queries are computed by, and what reads the heads.
    pub queries: Vec<HeadTensor>,
}

impl Module {
    /// Where its heads lie; none where keys and values of all heads are computed from a latent vector.
    pub fn units(&self) -> Option<HeadUnits> {
        let Projections::Plain(projections) = &self.inputs else { return None };
        let [q, k, v] = projections.as_ref();
        let matrix = |layer: &Layer, is_turned, Span { first, period, count }: Span| HeadTensor {
            tensor: layer.tensor.to_string(),
            is_turned,
            first,
            period,
            count,
        };
        let vector = |info: &TensorInfo, Span { first, period, count }: Span| HeadTensor {
            tensor: info.name.to_string(),
            is_turned: false,
            first,
            period,
            count,
        };
        let (mut keys, mut queries) = (vec![], vec![]);
        for (projection, into) in [(q, true), (k, false), (v, false)] {
            let is_turned = projection.axes == Axes::InOut;
            let lies = matrix(&projection.layer, is_turned, projection.span);
            let bias = projection.bias.as_ref().map(|info| vector(info, projection.span));
            if into { &mut queries } else { &mut keys }.extend([lies].into_iter().chain(bias));
        }
        let output = Span { first: 0, period: self.value_dim, count: self.value_dim };
        queries.push(matrix(&self.output.layer, self.output.axes == Axes::OutIn, output));
        // A norm of all heads together has a gain for each of their entries.
        if let Some([of_queries, of_keys]) = &self.qk_norm {
            let span = Span { first: 0, period: self.head_dim, count: self.head_dim };
            for (norm, into) in [(of_queries, &mut queries), (of_keys, &mut keys)] {
                let parts = [&norm.gain, &norm.shift].into_iter().flatten();
                let is_long = |info: &&TensorInfo| info.shape.iter().product::<usize>() > self.head_dim;
                into.extend(parts.filter(is_long).map(|info| vector(info, span)));
            }
        }
        Some(HeadUnits { keys, queries })
    }
}
