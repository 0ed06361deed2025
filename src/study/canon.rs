//! `adapter canon`: the same adapter with factors that its updates alone decide.
//!
//! Factors are unique only up to an invertible matrix between them, so two files of one adapter may share no number.
//! Here A has orthonormal rows and B = UΣ: of (A, B) and (ZA, BZ⁻¹) both give the same file, up to rounding.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::matrices::{Copies, Method};
use super::written::{check_no_stack, check_products};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::adapter::{self, ModuleMeasured, canonical, columns::columns};
use crate::checkpoint::{Catalogue, FactorNames, factor_names};
use crate::error::Error;
use crate::layer::{Element, Filter, Layer, TensorInfo};
use crate::matrix::{Dtype, Matrix};
use crate::notation;
use crate::report::{Column, Report};
use crate::writing::{CheckpointCopy, Spool};

/// The command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanonRequest;

/// A stored factor of the adapter that is written.
struct Factor {
    /// What its product is kept under.
    key: String,
    /// Whether it is the factor next to the inputs.
    is_down: bool,
    dtype: Dtype,
    shape: Vec<u64>,
}

impl CanonRequest {
    /// Every column, in report order: of the updates, which stay, and not of the factors, which do not.
    pub fn columns(self) -> Vec<&'static Column> {
        columns(false).into_iter().filter(|column| !OF_FACTORS.contains(&column.key)).collect()
    }

    /// The tasks over the updates of `opened` that `filter` keeps; `products` takes their factors.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(
        self,
        (of, opened): (&Path, Opened),
        filter: &Filter,
        products: &Arc<Spool>,
    ) -> Result<Matrices, Error> {
        let (source, products) = (Arc::clone(&opened.source), Arc::clone(products));
        let method = Method {
            command: "adapter canon",
            columns: self.columns(),
            shown: self.columns(),
            parts: vec![],
            kept_by: None,
            settings: vec![],
            cost: Box::new(|layer| adapter::cost(None, layer)),
            base: opened.pairs.clone(),
            copies: Copies::Done,
            beside: Beside::Adapter,
            measure: Box::new(move |source, layer: &Layer, _| {
                let ModuleMeasured { mut measured, detail, .. } = adapter::measure(source, None, layer)?;
                measured.values.0.retain(|(column, _)| !OF_FACTORS.contains(&column.key));
                let factors = source.stored_factors(layer)?;
                let Some(factors) = factors.filter(|factors| factors.diagonal.is_none()) else {
                    return Err(Error::Usage(NOT_FACTORS.to_owned()));
                };
                products.put(&layer.name, &canonical(&factors)?)?;
                Ok(FoundMatrix {
                    factors: Some(Box::new(detail)),
                    ..FoundMatrix::new(measured, layer, Spectra::Dropped)
                })
            }),
        };
        let study = Matrices::new(opened, filter, method)?;
        check_products(of, &source, study.layers())?;
        check_no_stack(of, &source, study.layers(), "made canonical")?;
        Ok(study)
    }
}

/// Columns that the canonical form changes.
const OF_FACTORS: [&str; 2] = ["defect_a", "defect_b"];

/// Why a module cannot be written.
const NOT_FACTORS: &str = "is not the product of two stored factors; leave it out with `--exclude`";

/// Writes a copy of the adapter at `from` whose factors are those of `products`, and notes that in `report`. Gives the names
/// of files that were not copied, for they are links out of the adapter's folder.
///
/// # Errors
/// When the copy cannot be written.
pub fn write_canonical(
    report: &mut Report,
    source: &Catalogue,
    products: &Spool,
    (from, out): (&Path, &Path),
) -> Result<Vec<String>, Error> {
    let factors = factors(from, report, source)?;
    let copy = CheckpointCopy::new(from, source, out)?;
    let shapes = factors.iter().map(|(name, factor)| (name.clone(), factor.shape.clone())).collect();
    copy.replace(&shapes, &|name| factors[name].read(products))?;
    let left_out = copy.left_out().to_vec();
    copy.finish()?;
    report.notes.push(format!(
        "{}: {} in canonical form",
        out.display(),
        notation::counted(factors.len() as u64 / 2, "module", "modules")
    ));
    Ok(left_out)
}

fn factors(from: &Path, report: &Report, source: &Catalogue) -> Result<BTreeMap<String, Factor>, Error> {
    let stored: BTreeMap<&str, &TensorInfo> =
        source.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut factors = BTreeMap::new();
    for row in &report.rows {
        let names = row.update.as_ref().and_then(|update| factor_names(&update.tensors));
        let refuse = || Error::tensor(from, &row.tensor, NOT_FACTORS);
        let Some(FactorNames { down, up, .. }) = names else { return Err(refuse()) };
        for (name, is_down) in [(down, true), (up, false)] {
            let info = stored.get(name.as_str()).ok_or_else(refuse)?;
            let Element::Float(dtype) = info.element else { return Err(refuse()) };
            let shape = info.shape.iter().map(|n| *n as u64).collect();
            let factor = Factor { key: row.name.to_string(), is_down, dtype, shape };
            // One stack of factors holds many.
            if factors.insert(name, factor).is_some() {
                return Err(refuse());
            }
        }
    }
    Ok(factors)
}

impl Factor {
    /// Its entries, rounded to its type.
    fn read(&self, products: &Spool) -> Result<Matrix, Error> {
        let missing = || Error::Contract(format!("`{}`: no factors", self.key));
        let product = products.get(&self.key)?.ok_or_else(missing)?;
        let entries = if self.is_down { product.right() } else { product.left() };
        if entries.len() as u64 != self.shape.iter().product::<u64>() {
            return Err(Error::Contract(format!("`{}`: factors of another size", self.key)));
        }
        Matrix::rounded(1, entries.len(), self.dtype, entries)
    }
}
