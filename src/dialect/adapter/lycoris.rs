//! LoHa and LoKr: updates that are the entrywise or the Kronecker product of two small matrices.
//!
//! Both products of two matrices of rank r have thin factors of rank r², so they are decomposed like any other update.

use std::sync::Arc;

use super::factor::{Between, Product};
use super::module::{Module, Setting, tensor};
use super::names::{Multiplicand, Piece, TensorRole};
use crate::error::Error;
use crate::weight::Expr;

/// The kind, the update and the rank that scales it.
type Composed = (&'static str, Arc<Expr>, Option<usize>);

/// LoHa: `(A₁B₁) ∘ (A₂B₂)`.
pub(super) fn hadamard(module: &Module<'_>, setting: &Setting<'_>) -> Result<Composed, Error> {
    let first = product(module, setting, |piece| TensorRole::Hada(Multiplicand::First, piece))?;
    let second = product(module, setting, |piece| TensorRole::Hada(Multiplicand::Second, piece))?;
    let rank = first.rank();
    let name = first.down.name().to_owned();
    let [first, second] = [first, second].map(|product| product.expr(setting.source, 1.0));
    if first.shape() != second.shape() {
        let ((a, b), (c, d)) = (first.shape(), second.shape());
        let reason = format!("makes a matrix of {a} × {b}, but `hada_w2_b` one of {c} × {d}");
        return Err(Error::tensor(setting.path, &name, reason));
    }
    Ok(("loha", Arc::new(Expr::Hadamard(first, second)), Some(rank)))
}

/// LoKr: `W₁ ⊗ W₂`, each whole or itself a product.
pub(super) fn kronecker(module: &Module<'_>, setting: &Setting<'_>) -> Result<Composed, Error> {
    let operand = |side| {
        let whole = TensorRole::Lokr(side, Piece::Whole);
        if let (Some(_), Some(part)) = (module.get(whole), module.get(TensorRole::Lokr(side, Piece::Up))) {
            let reason = "stands beside the matrix that it is a factor of";
            return Err(Error::tensor(setting.path, &part.name, reason));
        }
        if module.get(whole).is_some() {
            return Ok((module.factor(setting, whole, whole)?.expr(setting.source), None));
        }
        let product = product(module, setting, |piece| TensorRole::Lokr(side, piece))?;
        let rank = product.rank();
        Ok::<_, Error>((product.expr(setting.source, 1.0), Some(rank)))
    };
    let ((first, one), (second, two)) = (operand(Multiplicand::First)?, operand(Multiplicand::Second)?);
    let ((a, b), (c, d)) = (first.shape(), second.shape());
    if a.checked_mul(c).is_none() || b.checked_mul(d).is_none() {
        return Err(Error::malformed(setting.path, format!("an update of {a}·{c} × {b}·{d} is too large")));
    }
    Ok(("lokr", Arc::new(Expr::Kronecker(first, second)), two.or(one)))
}

/// One of the two matrices, from its factors and, for a convolution, the kernel between them.
fn product(
    module: &Module<'_>,
    setting: &Setting<'_>,
    part: impl Fn(Piece) -> TensorRole,
) -> Result<Product, Error> {
    let up = module.factor(setting, part(Piece::Up), part(Piece::Down))?;
    let down = module.factor(setting, part(Piece::Down), part(Piece::Up))?;
    let kernel = module.get(part(Piece::Middle)).map(|info| tensor(setting, info)).transpose()?;
    let rank = down.rows();
    // Beside a kernel the factor of the outputs lies on its side.
    let (lies, fits) = match &kernel {
        None => (false, up.cols() == rank),
        Some(kernel) => {
            let square = matches!(kernel.shape(), [p, q, ..] if p == q && *p == rank);
            (true, up.rows() == rank && up.shape().len() == 2 && down.shape().len() == 2 && square)
        }
    };
    if !fits {
        let reason = format!("{:?} does not fit {:?} of `{}`", up.shape(), down.shape(), down.name());
        return Err(Error::tensor(setting.path, up.name(), reason));
    }
    let between = kernel.map_or(Between::Nothing, Between::Kernel);
    Ok(Product { up, up_lies: lies, down, between, transposed: false })
}
