//! `adapter merge`: a base with an adapter's updates added, written matrix by matrix.
//!
//! Each task reads a weight in blocks of rows, adds its update, rounds once and writes. What is not changed was copied
//! before, byte by byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copying::Copying;
use super::matrices::{Copies, Method};
use super::{Beside, FoundMatrix, Matrices, Opened, Spectra};
use crate::analysis::merge::{self, MERGED};
use crate::checkpoint::{Catalogue, Pairs, VectorUpdate, vector_update};
use crate::error::{Error, brief, quoted};
use crate::layer::{Element, Filter, Layer, TensorInfo};
use crate::matrix::Matrix;
use crate::pair::{self, Unpaired};
use crate::report::{Column, Skipped};
use crate::writing::CheckpointCopy;

/// The command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeRequest;

/// A merged checkpoint in the making.
pub struct Merging {
    /// The base's file or folder.
    pub from: PathBuf,
    /// Where the merged checkpoint goes, as typed.
    pub out: PathBuf,
    pairs: Arc<Pairs>,
    vectors: Vec<Vector>,
    copy: Copying,
}

/// A vector of the base that changes.
struct Vector {
    /// In the base.
    layer: Layer,
    /// In the adapter.
    update: Layer,
    /// What it is multiplied by before it is added; nothing where it takes the vector's place.
    added: Option<f64>,
}

impl MergeRequest {
    /// Every column, in report order.
    pub fn columns(self) -> Vec<&'static Column> {
        MERGED.iter().collect()
    }

    /// The tasks over the updates of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none, or one cannot be written.
    pub fn plan(self, opened: Opened, merging: &Arc<Merging>, filter: &Filter) -> Result<Matrices, Error> {
        let pairs = Arc::clone(&merging.pairs);
        let method = Method {
            command: "adapter merge",
            columns: self.columns(),
            shown: self.columns(),
            parts: vec![],
            kept_by: None,
            settings: vec![],
            cost: Box::new(merge::cost),
            base: Some(Arc::clone(&pairs)),
            copies: Copies::Done,
            beside: Beside::Nothing,
            measure: {
                let (merging, merged) = (Arc::clone(merging), pairs.merged());
                Box::new(move |_, layer: &Layer, _| {
                    let base = &pairs.get(&layer.name)?.base;
                    let copy = merging.copy.get()?;
                    let mut rows = copy.rows(base)?;
                    let measured =
                        merge::merge((&pairs, &merged), &layer.name, &mut |block| rows.write(block));
                    let named = |error: Error| match error {
                        // Rounding knows no tensor.
                        Error::Usage(reason) => Error::tensor(&merging.from, &base.tensor, reason),
                        Error::NotFinite { .. } => {
                            let reason = "holds NaN or infinite entries, or the update does";
                            Error::tensor(&merging.from, &base.tensor, reason)
                        }
                        other => other,
                    };
                    Ok(FoundMatrix::new(measured.map_err(named)?, layer, Spectra::Dropped))
                })
            },
        };
        let study = Matrices::new(opened, filter, method)?;
        for layer in study.layers() {
            let base = &merging.pairs.get(&layer.name)?.base;
            CheckpointCopy::check_layer(&merging.from, merging.pairs.base(), base)?;
        }
        Ok(study)
    }
}

impl Merging {
    /// Whether everything that the adapter `of` changes is in the base, and a copy of that can be written.
    ///
    /// # Errors
    /// When something fits nothing, or the copy cannot be written.
    pub fn new(
        (of, from, out): (&Path, PathBuf, PathBuf),
        pairs: Arc<Pairs>,
        filter: &Filter,
    ) -> Result<Self, Error> {
        check_paired(of, &pairs, filter)?;
        let vectors = vectors(of, &pairs, filter)?;
        CheckpointCopy::check_files(&from, pairs.base(), &out)?;
        Ok(Self { from, out, pairs, vectors, copy: Copying::default() })
    }

    /// Copies what `study` leaves as it is.
    ///
    /// # Errors
    /// When the copy cannot be made.
    pub fn begin(&self, study: &Matrices) -> Result<(), Error> {
        let base = |layer: &Arc<Layer>| Some(Arc::clone(&self.pairs.get(&layer.name).ok()?.base));
        let later: Vec<Arc<Layer>> = study.layers().iter().filter_map(base).collect();
        let later: Vec<&Layer> = later.iter().map(AsRef::as_ref).collect();
        let copy = CheckpointCopy::without(&self.from, self.pairs.base(), &self.out, &later)?;
        self.copy.begin(copy);
        Ok(())
    }

    /// Removes what was written so far: threads that have ended their work may still hold this.
    pub fn abandon(&self) {
        self.copy.abandon();
    }

    /// Writes the vectors and puts the copy in its place. Gives how many vectors changed, and the names of files that were not
    /// copied, for they are links out of the model's folder.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn finish(&self) -> Result<(usize, Vec<String>), Error> {
        let copy = self.copy.get()?;
        for Vector { layer, update, added } in &self.vectors {
            let read = |source: &Catalogue, layer: &Layer| -> Result<Vec<f64>, Error> {
                Ok(source.alone(layer.clone()).read(layer, 0..1)?.to_f64())
            };
            let mut entries = read(self.pairs.tuned(), update)?;
            if let Some(scale) = added {
                let before = read(self.pairs.base(), layer)?;
                entries.iter_mut().zip(before).for_each(|(x, before)| *x = *x * scale + before);
            }
            let rounded = Matrix::rounded(1, layer.cols, layer.dtype, &entries);
            let rounded =
                rounded.map_err(|reason| Error::tensor(&self.from, &layer.tensor, reason.to_string()))?;
            copy.rows(layer)?.write(&rounded)?;
        }
        drop(copy);
        Ok((self.vectors.len(), self.copy.finish()?))
    }
}

/// Refuses an adapter with an update that fits nothing.
fn check_paired(of: &Path, pairs: &Pairs, filter: &Filter) -> Result<(), Error> {
    let unfit = |unpaired: &Unpaired| match unpaired {
        Unpaired::Added(layer) | Unpaired::Ambiguous(layer) => Some(layer.name.to_string()),
        Unpaired::Reshaped(pair) => Some(pair.tuned.name.to_string()),
        Unpaired::Removed(_) => None,
    };
    let unfit: Vec<String> =
        pairs.unpaired().iter().filter_map(unfit).filter(|name| filter.keeps(name)).collect();
    if unfit.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "{} of its updates fit no matrix of the base: {}; is it an adapter of another model? `--exclude` leaves updates out",
        unfit.len(),
        quoted(&unfit)
    );
    Err(Error::malformed(of, reason))
}

/// The vectors that the adapter changes.
fn vectors(of: &Path, pairs: &Pairs, filter: &Filter) -> Result<Vec<Vector>, Error> {
    let (base, tuned) = (pairs.base(), pairs.tuned());
    let of_base: BTreeMap<String, &TensorInfo> =
        base.tensors().iter().map(|tensor| (pair::canonical(&tensor.name), tensor)).collect();
    let of_adapter: BTreeMap<&str, &TensorInfo> =
        tuned.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let scale = |module: &str| {
        let layers = tuned.select(&Filter::default()).layers;
        let update = layers.iter().find(|layer| layer.name == module).and_then(|layer| tuned.update(layer));
        update.and_then(|update| update.scale)
    };
    let mut vectors = vec![];
    for line in tuned.select(filter).skipped {
        let Skipped { tensor: name, shape, reason, .. } = &*line;
        let refuse = |reason: &str| Error::tensor(of, name, format!("cannot be merged: {reason}"));
        let (target, added) = match vector_update(name) {
            // The base's own weight, saved with the adapter.
            VectorUpdate::Whole { .. } if name.contains(".base_layer.") && shape.len() > 1 => continue,
            VectorUpdate::Whole { target } => (target, None),
            VectorUpdate::Added { target } => (target, Some(1.0)),
            VectorUpdate::Scaled { module } => {
                let scale = scale(&module).ok_or_else(|| refuse("the scale of its module is not known"))?;
                (format!("{module}.bias"), Some(scale))
            }
            VectorUpdate::Unknown => return Err(refuse(reason)),
        };
        let Some(info) = of_base.get(&target).filter(|info| shape.len() < 2 && same(&info.shape, shape))
        else {
            let reason = format!("the base has no `{}` of its shape ({reason})", brief(&target));
            return Err(refuse(&reason));
        };
        let layer = |info: &TensorInfo| match info.element {
            Element::Float(dtype) => Ok(info.as_matrix((1, info.shape.iter().product()), dtype)),
            _ => Err(refuse("it is not a float tensor")),
        };
        let Some(update) = of_adapter.get(name.as_str()) else { continue };
        // A count of batches, say, that comes with its module.
        if added.is_none()
            && !matches!(info.element, Element::Float(_))
            && is_copy((tuned, update), (base, info))?
        {
            continue;
        }
        vectors.push(Vector { layer: layer(info)?, update: layer(update)?, added });
    }
    Ok(vectors)
}

/// Whether two tensors have the same bytes.
fn is_copy(
    (one, tensor): (&Catalogue, &TensorInfo),
    (other, like): (&Catalogue, &TensorInfo),
) -> Result<bool, Error> {
    let (Some(length), true) = (tensor.bytes, tensor.bytes == like.bytes && tensor.element == like.element)
    else {
        return Ok(false);
    };
    Ok(one.stored().bytes(tensor, 0, length)? == other.stored().bytes(like, 0, length)?)
}

fn same(one: &[usize], other: &[u64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| *a as u64 == *b)
}
