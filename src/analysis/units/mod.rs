//! Units of a model that may change places with each other without changing what it computes: the neurons of an MLP,
//! attention heads, the coordinates of the residual stream. Which tensors hold them, and on which side.
//!
//! Found by names and shapes of the tensors as they are stored; nothing is guessed. A group that has a tensor which is not
//! understood is left out, with a note.

mod chain;
mod gather;
mod heads;
mod neurons;
mod residual;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::format::Config;
use crate::layer::{Element, Filter, Layer, Part, natural};
use crate::matrix::Matrix;
use crate::pair;
use crate::weight::Catalogue;

pub use gather::{Lines, Panel, lines, panel};

/// What the units of a group are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnitKind {
    /// Coordinates of the residual stream.
    Residual,
    /// Key and value heads, each with its query heads.
    Heads,
    /// Hidden neurons between two matrices.
    Neurons,
}

impl UnitKind {
    /// What reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Residual => "residual",
            Self::Heads => "heads",
            Self::Neurons => "neurons",
        }
    }
}

/// A side of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Axis {
    /// Its rows.
    Rows,
    /// Its columns.
    Columns,
}

impl Axis {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        if self == Self::Rows { Self::Columns } else { Self::Rows }
    }

    /// How long it is in a matrix of this shape.
    pub fn length(self, (rows, cols): (usize, usize)) -> usize {
        if self == Self::Rows { rows } else { cols }
    }
}

/// The lines of one side of a tensor that belong to units: those of unit `i` begin at `first + i · period`, `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where the first unit begins.
    pub first: usize,
    /// From one unit to the next.
    pub period: usize,
    /// Lines of a unit.
    pub count: usize,
}

impl Span {
    /// Each line is a unit.
    pub const LINES: Self = Self { first: 0, period: 1, count: 1 };
}

/// Where a group lies in one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The position of the tensor in [`Units::tensors`].
    pub tensor: usize,
    /// On which side of it.
    pub side: Axis,
    /// In which lines.
    pub span: Span,
}

/// Units that may change places.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitGroup {
    /// The module, or the first of the tensors.
    pub name: String,
    /// What they are.
    pub kind: UnitKind,
    /// How many.
    pub count: usize,
    /// Matrices that compute them, in order, then one that reads them, then vectors.
    pub members: Vec<Member>,
    /// Of an MLP: which members are the gate and what it multiplies, if it has one; and the one that reads.
    pub roles: Roles,
    /// Of heads: how many query heads each unit has, and where these lie.
    pub queries: Option<Queries>,
}

/// The members of an MLP's neurons by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// What tells neurons apart: the gate, or the only matrix that computes them.
    pub first: usize,
    /// What the gate multiplies.
    pub value: Option<usize>,
    /// The matrix that reads them.
    pub reader: Option<usize>,
}

/// The query heads of key and value heads.
#[derive(Debug, Clone, PartialEq)]
pub struct Queries {
    /// How many each has.
    pub each: usize,
    /// Where they lie, by query head.
    pub members: Vec<Member>,
}

/// A stored tensor: a matrix, or a vector as a matrix of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitTensor {
    /// Its shape and place.
    pub layer: Arc<Layer>,
    /// Whether it is one.
    pub is_vector: bool,
}

impl UnitTensor {
    /// Its entries.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, source: &Catalogue) -> Result<Matrix, Error> {
        let rows = 0..self.layer.rows;
        if self.is_vector {
            let layer = self.layer.as_ref().clone();
            return source.alone(layer).read(&self.layer, rows);
        }
        source.read(&self.layer, rows)
    }
}

/// Two models with the same tensors.
#[derive(Clone, Copy)]
pub struct Models<'a> {
    /// Both checkpoints: the one whose order stays, then the one that is permuted.
    pub sources: [&'a Catalogue; 2],
    /// Their tensors, in one order.
    pub tensors: [&'a [UnitTensor]; 2],
    /// Where they lie, for messages.
    pub paths: [&'a Path; 2],
}

impl Models<'_> {
    /// A tensor of both.
    ///
    /// # Errors
    /// When it cannot be read or is not finite.
    pub fn read(&self, tensor: usize) -> Result<[Matrix; 2], Error> {
        let one = |side: usize| -> Result<Matrix, Error> {
            let of = &self.tensors[side][tensor];
            let matrix = of.read(self.sources[side])?;
            if matrix.is_finite() {
                return Ok(matrix);
            }
            let reason = "holds NaN or infinite entries, so its units cannot be matched";
            Err(Error::tensor(self.paths[side], &of.layer.tensor, reason))
        };
        Ok([one(0)?, one(1)?])
    }
}

/// The groups of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Units {
    /// Every tensor that some group lies in.
    pub tensors: Vec<UnitTensor>,
    /// In the order in which they are matched.
    pub groups: Vec<UnitGroup>,
    /// The position of the embedding of tokens, which no group of neurons or heads lies in.
    pub embedding: Option<usize>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// Why a tensor of one model has no counterpart in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// There is none of its name.
    Absent,
    /// It has so many rows and columns.
    Reshaped(usize, usize),
}

/// Which groups are sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Hidden neurons alone.
    Neurons,
    /// Neurons and heads.
    Inner,
    /// The residual stream, too.
    All,
}

impl Units {
    /// Those of `source`, a checkpoint at `path` with fused tensors as they are stored.
    ///
    /// # Errors
    /// When there is none, or the residual stream is asked for and a tensor is not known.
    pub(crate) fn of(path: &Path, source: &Catalogue, config: &Config, which: Which) -> Result<Self, Error> {
        let mut found = Search::new(source, config);
        found.neurons();
        if which != Which::Neurons {
            found.heads(path);
        }
        if found.groups.is_empty() {
            found.chain();
        }
        if found.groups.is_empty() {
            let why = found.notes.first().map_or_else(String::new, |note| format!("; {note}"));
            let reason = format!(
                "holds no hidden neurons that svdkit knows: no `gate_proj`, `up_proj`, `down_proj`, no `fc1`, `fc2` or their like in one module, and no plain chain of linear layers{why}"
            );
            return Err(Error::malformed(path, reason));
        }
        if which == Which::All {
            found.residual(path)?;
        }
        found.groups.sort_by(|a, b| {
            let first = |group: &UnitGroup| group.kind != UnitKind::Residual;
            first(a).cmp(&first(b)).then_with(|| natural(&a.name, &b.name))
        });
        let embedding = found.embedding().map(|(name, _)| name.clone());
        let embedding = embedding.filter(|_| which == Which::Neurons).and_then(|name| found.place(&name));
        Ok(Self { tensors: found.tensors, groups: found.groups, embedding, notes: found.notes })
    }

    /// The same tensors of `other`, and what is lacking of those that are not the same. An embedding may have other rows.
    pub fn of_other(&self, other: &Catalogue) -> Vec<Result<UnitTensor, Lacking>> {
        let config = Config::default();
        let search = Search::new(other, &config);
        let names: Vec<&str> = search.known.keys().map(String::as_str).collect();
        let own: Vec<&str> = self.tensors.iter().map(|tensor| tensor.layer.tensor.as_str()).collect();
        let mut found: Vec<Option<UnitTensor>> = vec![None; own.len()];
        for (name, partner) in names.iter().zip(pair::tensors(&own, &names)) {
            if let (Some(at), Some(tensor)) = (partner, search.known.get(*name)) {
                found[at] = Some(tensor.clone());
            }
        }
        let fits = |at: usize, own: &Layer, other: &Layer| {
            own.cols == other.cols && (own.rows == other.rows || self.embedding == Some(at))
        };
        let one = |(at, other): (usize, Option<UnitTensor>)| match other {
            None => Err(Lacking::Absent),
            Some(other) if !fits(at, &self.tensors[at].layer, &other.layer) => {
                Err(Lacking::Reshaped(other.layer.rows, other.layer.cols))
            }
            Some(other) => Ok(other),
        };
        found.into_iter().enumerate().map(one).collect()
    }

    /// Leaves out the groups for which `is_wanted` is false, then the tensors without a group, but for the embedding. Gives
    /// the positions that the tensors had.
    pub fn keep(&mut self, mut is_wanted: impl FnMut(&UnitGroup) -> bool) -> Vec<usize> {
        self.groups.retain(|group| is_wanted(group));
        let mut used: Vec<usize> = self.groups.iter().flat_map(UnitGroup::tensors).collect();
        used.extend(self.embedding);
        used.sort_unstable();
        used.dedup();
        let place = |tensor: usize| used.binary_search(&tensor).unwrap_or_default();
        for group in &mut self.groups {
            let queries = group.queries.iter_mut().flat_map(|queries| &mut queries.members);
            group.members.iter_mut().chain(queries).for_each(|member| member.tensor = place(member.tensor));
        }
        self.embedding = self.embedding.map(place);
        self.tensors = used.iter().map(|at| self.tensors[*at].clone()).collect();
        used
    }
}

impl UnitGroup {
    /// Where it lies, query heads included.
    pub fn all_members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().chain(self.queries.iter().flat_map(|queries| &queries.members))
    }

    /// The positions of its tensors; one may come several times.
    pub fn tensors(&self) -> impl Iterator<Item = usize> {
        self.all_members().map(|member| member.tensor)
    }
}

/// What is found in one checkpoint.
struct Search<'s> {
    source: &'s Catalogue,
    config: &'s Config,
    /// Every matrix and vector by the name of its tensor.
    known: BTreeMap<String, UnitTensor>,
    /// Matrices by the name of their layer.
    matrices: BTreeMap<String, String>,
    tensors: Vec<UnitTensor>,
    places: BTreeMap<String, usize>,
    groups: Vec<UnitGroup>,
    notes: Vec<String>,
}

impl<'s> Search<'s> {
    fn new(source: &'s Catalogue, config: &'s Config) -> Self {
        let selection = source.select(&Filter::default());
        let (mut known, mut matrices) = (BTreeMap::new(), BTreeMap::new());
        for layer in selection.layers {
            if !matches!(layer.part, Part::Slice(_)) && layer.stored_shape.len() == 2 {
                matrices.insert(layer.name.to_string(), layer.tensor.to_string());
                known.insert(layer.tensor.to_string(), UnitTensor { layer, is_vector: false });
            }
        }
        for info in source.tensors() {
            if let (Element::Float(dtype), [length]) = (&info.element, info.shape.as_slice()) {
                let layer = Arc::new(info.as_matrix((*length, 1), *dtype));
                known.entry(info.name.to_string()).or_insert(UnitTensor { layer, is_vector: true });
            }
        }
        Self {
            source,
            config,
            known,
            matrices,
            tensors: vec![],
            places: BTreeMap::new(),
            groups: vec![],
            notes: vec![],
        }
    }

    /// The tensor of the matrix `name`.
    fn matrix(&self, name: &str) -> Option<&UnitTensor> {
        self.known.get(self.matrices.get(name)?)
    }

    /// The vector `name`, if it has this length.
    fn vector(&self, name: &str, length: usize) -> Option<&UnitTensor> {
        self.known.get(name).filter(|tensor| tensor.is_vector && tensor.layer.rows == length)
    }

    /// The position of the tensor `name` among those with units.
    fn place(&mut self, name: &str) -> Option<usize> {
        let tensor = self.known.get(name)?.clone();
        Some(*self.places.entry(name.to_owned()).or_insert_with(|| {
            self.tensors.push(tensor);
            self.tensors.len() - 1
        }))
    }

    /// A member in the tensor `name`.
    fn member(&mut self, name: &str, side: Axis, span: Span) -> Option<Member> {
        self.place(name).map(|tensor| Member { tensor, side, span })
    }

    /// The first tensor below `module` that is none of `members` and has as many lines as one of `counts`: it may hold the
    /// same units in a way that is not known.
    fn stranger(&self, module: &str, members: &[String], counts: &[usize]) -> Option<String> {
        let is_strange = |info: &&crate::layer::TensorInfo| {
            info.name.starts_with(module)
                && info.shape.len() < 3
                && !members.iter().any(|name| *name == info.name.as_str())
                && info.shape.iter().any(|n| counts.contains(n))
        };
        self.source.tensors().iter().find(is_strange).map(|info| info.name.to_string())
    }
}
