//! Where a matrix is read from, in a digest: the files as they are now, and all that their bytes are computed by. As long as
//! a place is the same, so is the matrix.

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

/// Takes what a place depends on.
struct Marks {
    hash: Hasher,
    is_settled: bool,
}

impl Marks {
    fn new(kind: &str) -> Self {
        let mut marks = Self { hash: Hasher::new(), is_settled: true };
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
    fn file(&mut self, tensors: &Tensors, index: usize) -> Option<()> {
        let stamp = tensors.stamp(index)?;
        self.word(&stamp.mark);
        self.is_settled &= stamp.is_settled;
        Some(())
    }

    fn leaf(&mut self, tensors: &Tensors, layer: &Layer) -> Option<()> {
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
        let mut all = |kind: &str, parts: &[&Expr]| {
            self.word(kind);
            parts.iter().try_for_each(|part| self.expr(part))
        };
        match expr {
            // In memory, and nobody's file.
            Expr::Given(_) => return None,
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
                // Its parts may lie in any of the files.
                (0..tensors.files().len()).try_for_each(|file| self.file(tensors, file))?;
                self.say((scheme, first, rows));
            }
            Expr::Decoded(Decoded::Tiles { tensors, tiles }) => {
                self.word("tiles");
                (0..tensors.files().len()).try_for_each(|file| self.file(tensors, file))?;
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
        let mut marks = Marks::new("matrix");
        marks.expr(&weight.expr)?;
        marks.say((layer.rows, layer.cols, layer.read_as, layer.rank));
        Some(marks.finish())
    }
}

impl Tensors {
    /// The same of the numbers of a tensor.
    pub fn place(&self, tensor: &TensorInfo) -> Option<Place> {
        let mut marks = Marks::new("tensor");
        marks.file(self, tensor.file)?;
        marks.say((&tensor.shape, &tensor.element, tensor.offset, tensor.bytes, self.layout(&tensor.name)));
        Some(marks.finish())
    }
}
