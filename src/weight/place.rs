//! Where a matrix is read from, in a digest: the files as they are now, and all that their bytes are computed by. As long as
//! a place is the same, so is the matrix.

use std::sync::Arc;

use blake3::Hasher;

use super::catalogue::Catalogue;
use super::decoded::Decoded;
use super::expr::{Decompose, Expr, Leaf};
use super::tensors::Tensors;
use crate::layer::{Layer, TensorInfo};

/// The place of a matrix, or of a tensor that is not one.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Of the files and of all that is done with their bytes; of no name.
    pub digest: blake3::Hash,
    /// Whether a file that changes from now on has another digest. One that was written a moment ago may change within the
    /// same tick of its clock.
    pub is_settled: bool,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// What stands for a file in a digest.
enum Files<'o> {
    /// Its state on this machine.
    AsTheyAre,
    /// Its position in a list of all that are known so far: the same on every machine.
    Listed(&'o mut Vec<Arc<Tensors>>),
}

/// Takes what a place depends on.
struct Marks<'o> {
    hash: Hasher,
    is_settled: bool,
    files: Files<'o>,
}

impl<'o> Marks<'o> {
    fn new(kind: &str, files: Files<'o>) -> Self {
        let mut marks = Self { hash: Hasher::new(), is_settled: true, files };
        marks.word(kind);
        marks
    }

    /// A word, its length before it.
    fn word(&mut self, word: &str) {
        self.hash.update(&(word.len() as u64).to_le_bytes()).update(word.as_bytes());
    }

    /// Numbers in their own words.
    fn say(&mut self, what: impl std::fmt::Debug) {
        self.word(&format!("{what:?}"));
    }

    fn finish(self) -> Place {
        Place { digest: self.hash.finalize(), is_settled: self.is_settled }
    }

    /// The file at `index` as it is now; none where that cannot be told from another.
    fn stamp(&mut self, tensors: &Tensors, index: usize) -> Option<()> {
        let stamp = tensors.stamp(index)?;
        self.word(&stamp.mark);
        self.is_settled &= stamp.is_settled;
        Some(())
    }

    /// The file at `index`.
    fn file(&mut self, tensors: &Arc<Tensors>, index: usize) -> Option<()> {
        let Files::Listed(known) = &mut self.files else { return self.stamp(tensors, index) };
        let at = listed(known, tensors);
        self.say((at, index));
        Some(())
    }

    /// All files: what is computed may lie in any of them.
    fn every_file(&mut self, tensors: &Arc<Tensors>) -> Option<()> {
        match self.files {
            Files::AsTheyAre => {
                (0..tensors.stored_files().len()).try_for_each(|file| self.stamp(tensors, file))
            }
            Files::Listed(_) => self.file(tensors, usize::MAX),
        }
    }

    fn leaf(&mut self, tensors: &Arc<Tensors>, layer: &Layer) -> Option<()> {
        self.file(tensors, layer.file)?;
        let layout = tensors.layout(&layer.tensor);
        // A layout of strides counts from the start of the whole tensor.
        let whole = layout.and_then(|_| tensors.list().iter().find(|tensor| tensor.name == layer.tensor));
        self.say((layout, whole.map(|tensor| (&tensor.shape, tensor.offset))));
        self.say((layer.offset, layer.rows, layer.cols, layer.dtype, layer.read_as));
        Some(())
    }

    /// An expression, the kind of each before its parts.
    fn expr(&mut self, expr: &Expr) -> Option<()> {
        let is_listed = matches!(self.files, Files::Listed(_));
        let mut all = |kind: &str, parts: &[&Expr]| {
            self.word(kind);
            parts.iter().try_for_each(|part| self.expr(part))
        };
        match expr {
            // In memory, and nobody's file.
            Expr::Given(_) if !is_listed => return None,
            Expr::Given(_) => self.word("given"),
            Expr::Stored(Leaf { tensors, layer }) => {
                self.word("stored");
                self.leaf(tensors, layer)?;
            }
            Expr::Decoded(Decoded::Blocks { tensors, layer, decoder, start }) => {
                self.word("blocks");
                self.leaf(tensors, layer)?;
                self.say((decoder, start));
            }
            Expr::Decoded(Decoded::Scaled { tensors, scheme, first, rows }) => {
                self.word("scaled");
                self.every_file(tensors)?;
                self.say((scheme, first, rows));
            }
            Expr::Decoded(Decoded::Tiles { tensors, tiles }) => {
                self.word("tiles");
                self.every_file(tensors)?;
                self.say(tiles);
            }
            Expr::Part { of, side, runs } => {
                all("part", &[of])?;
                self.say((side, runs));
            }
            Expr::Transposed(of) => all("transposed", &[of])?,
            Expr::Scaled(of, by) => {
                all("times", &[of])?;
                self.say(by.to_bits());
            }
            Expr::Diagonal { of, by } => all("diagonal", &[of, by])?,
            Expr::Product(left, right) => all("product", &[left, right])?,
            Expr::Tucker { kernel, down } => all("tucker", &[kernel, down])?,
            Expr::Hadamard(first, second) => all("hadamard", &[first, second])?,
            Expr::Kronecker(first, second) => all("kronecker", &[first, second])?,
            Expr::Sum(first, sign, second) => {
                all("sum", &[first, second])?;
                self.say(sign);
            }
            Expr::Rescaled { of, lengths, along } => {
                all("rescaled", &[of, lengths])?;
                self.say(along);
            }
            Expr::Beyond { of, keep, by: Decompose(_) } => {
                all("beyond", &[of])?;
                self.say(keep);
            }
        }
        Some(())
    }
}

impl Catalogue {
    /// Where `layer` is read from; none where its files cannot be told from others, or have changed since they were opened.
    pub fn place(&self, layer: &Layer) -> Option<Place> {
        let weight = self.get(layer)?;
        let mut marks = Marks::new("matrix", Files::AsTheyAre);
        marks.expr(&weight.expr)?;
        marks.say((layer.rows, layer.cols, layer.read_as, layer.rank));
        Some(marks.finish())
    }
}

/// How matrices are computed from files, in one digest that is the same on every machine; and whose files these are.
#[derive(Debug, Default)]
pub struct Derivations {
    hash: Hasher,
    origins: Vec<Arc<Tensors>>,
}

impl Derivations {
    /// Takes in how `layer` of `source` is computed.
    pub fn add(&mut self, source: &Catalogue, layer: &Layer) {
        self.add_files(source);
        let Some(weight) = source.get(layer) else { return };
        let mut marks = Marks::new("matrix", Files::Listed(&mut self.origins));
        // Nothing that is listed is unknown.
        let _ = marks.expr(&weight.expr);
        marks.say((layer.rows, layer.cols, layer.read_as, layer.rank));
        self.hash.update(marks.finish().digest.as_bytes());
    }

    /// Takes in the files of `source` alone.
    pub fn add_files(&mut self, source: &Catalogue) {
        listed(&mut self.origins, source.stored());
    }

    /// The digest, and whose files matrices are computed from.
    pub fn finish(self) -> (blake3::Hash, Vec<Arc<Tensors>>) {
        (self.hash.finalize(), self.origins)
    }
}

/// The position of `tensors` in the list of those that are known, from now on.
fn listed(known: &mut Vec<Arc<Tensors>>, tensors: &Arc<Tensors>) -> usize {
    known.iter().position(|other| Arc::ptr_eq(other, tensors)).unwrap_or_else(|| {
        known.push(Arc::clone(tensors));
        known.len() - 1
    })
}

impl Tensors {
    /// The same of the numbers of a tensor.
    pub fn place(&self, tensor: &TensorInfo) -> Option<Place> {
        let mut marks = Marks::new("tensor", Files::AsTheyAre);
        marks.stamp(self, tensor.file)?;
        marks.say((&tensor.shape, &tensor.element, tensor.offset, tensor.bytes, self.layout(&tensor.name)));
        Some(marks.finish())
    }
}
