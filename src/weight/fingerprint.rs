//! What a matrix is called equal by: a hash of its entries as they are read, and whether they are more than one number.

use crate::low_rank::LowRank;
use crate::matrix::Matrix;

/// Takes a matrix in blocks of rows.
#[derive(Debug, Clone, Default)]
pub struct Fingerprint {
    hash: blake3::Hasher,
    first: Option<Vec<u8>>,
    varies: bool,
}

/// The content of a matrix in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentId {
    /// BLAKE3 of its entries as read, row by row; of a product, of its factors.
    pub blake3: blake3::Hash,
    /// Whether it is not one number throughout; of a product, whether neither factor is zero. Matrices that do not vary
    /// are equal because nothing was learned yet, so none is called a copy of another.
    pub varies: bool,
}

impl Fingerprint {
    /// Takes the next rows.
    pub fn push(&mut self, rows: &Matrix) {
        let size = rows.dtype().size();
        let first = self.first.get_or_insert_with(|| rows.bytes().get(..size).unwrap_or_default().to_vec());
        self.varies = self.varies || rows.bytes().chunks_exact(size).any(|entry| entry != &first[..]);
        self.hash.update(rows.bytes());
    }

    /// What the rows come to.
    pub fn finish(self) -> ContentId {
        ContentId { blake3: self.hash.finalize(), varies: self.varies }
    }
}

impl ContentId {
    /// Of a matrix in memory.
    pub fn of_matrix(matrix: &Matrix) -> Self {
        let mut fingerprint = Fingerprint::default();
        fingerprint.push(matrix);
        fingerprint.finish()
    }

    /// Of a product, by its factors.
    pub fn of_factors(factors: &LowRank) -> Self {
        let varies = [factors.left(), factors.right()].iter().all(|side| side.iter().any(|x| *x != 0.0));
        Self { blake3: factors.blake3(), varies }
    }

    /// The hash in hexadecimal.
    pub fn hex(&self) -> String {
        self.blake3.to_hex().to_string()
    }
}
