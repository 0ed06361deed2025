//! The factors of an update as an adapter stores them, without scale, diagonal and base.

use super::expr::Expr;
use super::scratch::Scratch;
use crate::error::Error;

/// `B`, `d` and `A` of an update `s·B·diag(d)·A`.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredFactors {
    /// Outputs × rank, row by row.
    pub up: Vec<f64>,
    /// Rank × inputs, row by row.
    pub down: Vec<f64>,
    /// Directions of the product.
    pub rank: usize,
    /// A number for each direction, between the two.
    pub diagonal: Option<Vec<f64>>,
    /// What the product is multiplied by.
    pub scale: f64,
    /// Whether the weight is stored inputs × outputs.
    pub transposed: bool,
}

impl StoredFactors {
    /// The inner products of the columns of `B`, rank × rank.
    pub fn of_columns(&self) -> Vec<f64> {
        let mut products = vec![0.0; self.rank * self.rank];
        for row in self.up.chunks_exact(self.rank.max(1)) {
            for (products, x) in products.chunks_exact_mut(self.rank.max(1)).zip(row) {
                products.iter_mut().zip(row).for_each(|(product, y)| *product += x * y);
            }
        }
        products
    }

    /// The inner products of the rows of `A`, rank × rank.
    pub fn of_rows(&self) -> Vec<f64> {
        let rows: Vec<&[f64]> = self.down.chunks_exact(self.inputs().max(1)).collect();
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        rows.iter().flat_map(|a| rows.iter().map(move |b| product(a, b))).collect()
    }

    /// Columns of `A`.
    pub fn inputs(&self) -> usize {
        self.down.len() / self.rank.max(1)
    }

    /// Rows of `B`.
    pub fn outputs(&self) -> usize {
        self.up.len() / self.rank.max(1)
    }
}

/// The product of an update: its factors, and whether it is turned.
struct Product<'e> {
    up: &'e Expr,
    down: &'e Expr,
    transposed: bool,
    scale: f64,
}

impl Expr {
    /// The factors that it is made of, where it is a product, or a base with one added.
    pub(crate) fn stored_factors(&self, room: &Scratch) -> Result<Option<StoredFactors>, Error> {
        let Some(Product { mut up, down, transposed, mut scale }) = self.product() else { return Ok(None) };
        let mut diagonal = None;
        loop {
            match up {
                Self::Scaled(of, by) => {
                    scale *= by;
                    up = of;
                }
                Self::Diagonal { of, by } => {
                    diagonal = Some(by.rows(0..1, room)?);
                    up = of;
                }
                _ => break,
            }
        }
        let (outputs, rank) = up.shape();
        let (up, down) = (up.rows(0..outputs, room)?, down.rows(0..rank, room)?);
        Ok(Some(StoredFactors { up, down, rank, diagonal, scale, transposed }))
    }

    fn product(&self) -> Option<Product<'_>> {
        match self {
            Self::Product(up, down) => Some(Product { up, down, transposed: false, scale: 1.0 }),
            Self::Transposed(of) => {
                of.product().map(|found| Product { transposed: !found.transposed, ..found })
            }
            Self::Scaled(of, by) => of.product().map(|found| Product { scale: found.scale * by, ..found }),
            Self::Rescaled { of, .. } | Self::Sum(of, ..) => of.product(),
            _ => None,
        }
    }
}
