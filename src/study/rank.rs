//! `rank`: how many directions each matrix, or its update, uses.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use super::asked::PlanPart;
use super::matrices::{Copies, Method};
use super::modules::{DataModules, turned};
use super::salt::SaltTensors;
use super::spectrum::{LARGEST, precision_word};
use super::{Asked, Beside, FoundMatrix, Matrices, Opened, OwnColumns, Spectra};
use crate::analysis::preview::{self, ModuleData, Previews};
use crate::analysis::{Measured, dct, rank, spectrum};
use crate::checkpoint::{Catalogue, DataKind, Holds, LayerData};
use crate::error::Error;
use crate::layer::{Filter, Layer};
use crate::metric::{Chosen, RANKS, chosen};
use crate::report::{Column, Lists};
use crate::solver::{Cost, Needs, Precision};
use crate::weight::StoredFactors;

/// The options.
#[derive(Debug, Clone)]
pub struct RankRequest {
    precision: Precision,
    threshold: f64,
    chosen: &'static [Chosen],
    spectra: Spectra,
    asked: Asked,
    cosines: Cosines,
    previews: Previews,
    files: PreviewFiles,
}

/// Files that previews look into.
#[derive(Debug, Clone, Default)]
pub struct PreviewFiles {
    /// What layers get.
    pub inputs: Option<(DataKind, PathBuf)>,
    /// Fisher weights of their entries.
    pub fisher: Option<PathBuf>,
    /// Covariances of the gradients of what they give.
    pub gradients: Option<PathBuf>,
}

impl RankRequest {
    /// Ranks that hold each of `shares` of the energy, beside those that are always told, and values above `threshold`
    /// of the largest.
    pub fn new(precision: Precision, threshold: f64, shares: &[f64], spectra: Spectra) -> Self {
        Self {
            precision,
            threshold,
            chosen: chosen(threshold, &new_shares(shares)),
            spectra,
            asked: Asked::own(),
            cosines: Cosines::default(),
            previews: Previews::default(),
            files: PreviewFiles::default(),
        }
    }

    /// The same with what directions of the cosine basis hold, at these ranks.
    #[must_use]
    pub fn in_cosines(self, ranks: Vec<usize>) -> Self {
        let columns = dct::columns(&ranks);
        Self { cosines: Cosines { ranks, columns }, ..self }
    }

    /// The same with what decompositions would keep, by these files.
    #[must_use]
    pub fn with(self, previews: Previews, files: PreviewFiles) -> Self {
        Self { previews, files, ..self }
    }

    /// The same for the columns that are `asked` for.
    #[must_use]
    pub fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    /// The columns that were asked for by a number.
    pub fn chosen(&self) -> impl Iterator<Item = &'static Column> + use<> {
        self.cosines.columns.clone().into_iter().chain(self.chosen.iter().map(|metric| &metric.column))
    }

    /// Every column, in report order.
    pub fn columns(&self) -> Vec<&'static Column> {
        let previews = self.previews.columns();
        RANKS.iter().map(|metric| &metric.column).chain(self.chosen()).chain(previews).collect()
    }

    /// The tasks over the matrices of `opened` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(self, opened: Opened, filter: &Filter) -> Result<Matrices, Error> {
        let Self { precision, threshold, chosen, spectra, asked, cosines, previews, files } = self;
        let is_asked = |metric: &&Chosen| asked.own == OwnColumns::Wanted || asked.names(&metric.column);
        let chosen: Vec<&'static Chosen> = chosen.iter().filter(is_asked).collect();
        let of_chosen = || chosen.iter().map(|metric| &metric.column);
        let is_whole = spectra == Spectra::Kept || !chosen.is_empty() || !cosines.ranks.is_empty();
        let least = if is_whole { Needs::Values } else { Needs::Entries };
        let mut taken = asked.of_table(RANKS, (least, Needs::Values));
        taken.shown.extend(of_chosen());
        taken.shown.extend(asked.shown(&cosines.columns, &cosines.columns));
        let (needs, metrics) = (taken.needs, taken.metrics);
        let mut parts = taken.parts(&asked, precision);
        if let Some(last) = parts.last_mut() {
            last.columns.extend(asked.told(of_chosen()));
        }
        parts.extend(cosines.part(&asked));
        let pairs = opened.pairs.clone();
        let of_previews = previews.columns();
        taken.shown.extend(asked.shown(&of_previews, &of_previews));
        if !previews.is_empty() {
            let (previews, columns) = (previews.clone(), asked.told(of_previews.iter().copied()));
            let flops = Box::new(move |layer: &Layer| previews.cost(layer).flops);
            parts.push(PlanPart { what: "previews", columns, flops });
        }
        let turned = if previews.is_empty() {
            BTreeSet::new()
        } else {
            turned(&opened, &opened.source.select(filter).layers)?
        };
        let modules = if files.is_empty() { None } else { Some(DataModules::new(&opened, filter)?) };
        let filter = &modules.as_ref().map_or_else(|| filter.clone(), |modules| modules.filter(filter));
        let data = modules.map(|modules| Files::open(modules, &files)).transpose()?;
        let (salt, opened_source) = (SaltTensors::of(&opened.source), Arc::clone(&opened.source));
        let has_data = data.is_some();
        let mut settings = settings(needs, precision, threshold);
        settings.extend(cosines.setting().into_iter().chain(previews.settings()));
        settings.extend(data.as_ref().map(Files::digests).transpose()?.into_iter().flatten());
        let beside =
            data.as_ref().map_or(Beside::Nothing, |data| Beside::LeftOut(data.modules.left_out.clone()));
        let method = Method {
            command: "rank",
            columns: metrics
                .iter()
                .map(|metric| &metric.column)
                .chain(of_chosen())
                .chain(cosines.columns.iter().copied())
                .chain(of_previews)
                .collect(),
            parts,
            shown: taken.shown,
            kept_by: None,
            settings,
            cost: {
                let (previews, cosines) = (previews.clone(), cosines.clone());
                Box::new(move |layer| {
                    let (own, more) = (spectrum::cost(layer, precision, needs), previews.cost(layer));
                    let cosines = cosines.cost(layer);
                    Cost {
                        flops: own.flops + more.flops + cosines.flops,
                        bytes: own.bytes.max(more.bytes).max(cosines.bytes),
                    }
                })
            },
            measure: Box::new(move |source, layer: &Layer, memo| {
                let (how, which) = ((precision, needs), (metrics, &chosen[..]));
                let mut measured = rank::measure(source, pairs.as_deref(), layer, how, which, memo)?;
                let mut lists = Lists::default();
                if let Some(more) = cosines.measure((source, layer), &mut measured)? {
                    lists.extend(more);
                }
                if let Some(factors) = stored_factors(source, layer)? {
                    lists.extend(preview::importances(&factors));
                }
                if let Some(salt) = salt.beside(&opened_source, layer)? {
                    lists.extend(salt.lists(&source.read(layer, 0..layer.rows)?)?);
                }
                if !previews.is_empty() {
                    let matrix = source.read(layer, 0..layer.rows)?;
                    let is_turned = turned.contains(layer.name.as_str());
                    let matrix = if is_turned { matrix.transposed() } else { matrix };
                    let known =
                        data.as_ref().map_or_else(|| Ok(ModuleData::default()), |data| data.of(layer))?;
                    let (values, more) = preview::measure(&previews, (&matrix, layer), &known)?;
                    measured.values.0.extend(values.0);
                    lists.extend(more);
                }
                Ok(FoundMatrix { lists, ..FoundMatrix::new(measured, layer, spectra) })
            }),
            base: None,
            copies: if has_data { Copies::Done } else { Copies::Recalled },
            beside,
        };
        Ok(Matrices::new(opened, filter, method)?.holding(spectra))
    }
}

/// What decides numbers that need so much, as reports say it.
fn settings(needs: Needs, precision: Precision, threshold: f64) -> Vec<(&'static str, String)> {
    let precision = ("precision", precision_word(precision).to_owned());
    match needs {
        Needs::Values => {
            vec![precision, ("noise", "median".to_owned()), ("threshold", threshold.to_string())]
        }
        Needs::Largest => vec![precision, ("svd", LARGEST.to_owned())],
        Needs::Entries => vec![("svd", "none".to_owned())],
    }
}

/// Ranks at which the cosine basis is held against the singular one, and the columns that say so.
#[derive(Debug, Clone, Default)]
struct Cosines {
    ranks: Vec<usize>,
    columns: Vec<&'static Column>,
}

impl Cosines {
    fn part(&self, asked: &Asked) -> Option<PlanPart> {
        let columns = asked.told(self.columns.iter().copied());
        let flops = Box::new(|layer: &Layer| dct::cost(layer).flops);
        (!self.ranks.is_empty()).then_some(PlanPart { what: "cosines", columns, flops })
    }

    fn setting(&self) -> Option<(&'static str, String)> {
        let ranks: Vec<String> = self.ranks.iter().map(usize::to_string).collect();
        (!ranks.is_empty()).then(|| ("basis", format!("dct at {}", ranks.join(","))))
    }

    fn cost(&self, layer: &Layer) -> Cost {
        if self.ranks.is_empty() { Cost { flops: 0.0, bytes: 0 } } else { dct::cost(layer) }
    }

    /// Adds its values to those of a matrix; gives its lists, if it was asked for.
    fn measure(
        &self,
        (source, layer): (&Catalogue, &Layer),
        measured: &mut Measured,
    ) -> Result<Option<Lists>, Error> {
        if self.ranks.is_empty() {
            return Ok(None);
        }
        let entries = source.read(layer, 0..layer.rows)?.to_f64();
        let shape = (layer.rows, layer.cols);
        let (values, lists) = dct::measure(&entries, shape, measured.spectrum.as_ref(), &self.ranks);
        measured.values.0.extend(self.columns.iter().copied().zip(values));
        Ok(Some(lists))
    }
}

impl PreviewFiles {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_none() && self.fisher.is_none() && self.gradients.is_none()
    }
}

/// Files that are open.
struct Files {
    modules: DataModules,
    inputs: Option<LayerData>,
    fisher: Option<LayerData>,
    gradients: Option<LayerData>,
}

impl Files {
    fn open(modules: DataModules, files: &PreviewFiles) -> Result<Self, Error> {
        let PreviewFiles { inputs, fisher, gradients } = files.clone();
        let open = |file: Option<(DataKind, PathBuf)>| file.map(|file| modules.data(&file)).transpose();
        let inputs = open(inputs)?;
        let fisher = open(fisher.map(|path| (DataKind::Fisher, path)))?;
        let gradients = open(gradients.map(|path| (DataKind::Gradients, path)))?;
        Ok(Self { modules, inputs, fisher, gradients })
    }

    /// What tells each from another, for settings.
    fn digests(&self) -> Result<Vec<(&'static str, String)>, Error> {
        let all = [("inputs", &self.inputs), ("fisher", &self.fisher), ("gradients", &self.gradients)];
        let there = all.into_iter().filter_map(|(key, data)| Some((key, data.as_ref()?)));
        there.map(|(key, data)| Ok((key, data.digest()?))).collect()
    }

    /// What they say of one matrix.
    fn of(&self, layer: &Layer) -> Result<ModuleData<'_>, Error> {
        let moments = |of: &Option<LayerData>| of.as_ref().map(|data| data.moments(&layer.name)).transpose();
        let fisher = self.fisher.as_ref().map(|data| data.fisher(&layer.name)).transpose()?;
        Ok(ModuleData {
            inputs: moments(&self.inputs)?.zip(self.inputs.as_ref().map(LayerData::path)),
            fisher: fisher.map(|fisher| self.modules.upright(&layer.name, fisher)),
            gradients: moments(&self.gradients)?.zip(self.gradients.as_ref().map(LayerData::path)),
        })
    }
}

/// The factors of a weight that is stored as two.
fn stored_factors(source: &Catalogue, layer: &Layer) -> Result<Option<StoredFactors>, Error> {
    let is_product = source.holds() == Holds::Weights && layer.rank.is_some();
    if is_product { source.stored_factors(layer) } else { Ok(None) }
}

/// The shares that have no column in [`RANKS`].
fn new_shares(shares: &[f64]) -> Vec<f64> {
    let mut new: Vec<f64> = vec![];
    for share in shares.iter().filter(|share| ![0.90, 0.95, 0.99].contains(*share)) {
        if !new.contains(share) {
            new.push(*share);
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_one_column() {
        let request = RankRequest::new(Precision::Fast, 0.01, &[0.9, 0.8, 0.8, 0.95], Spectra::Dropped);
        let keys: Vec<&str> = request.columns().iter().map(|column| column.key).collect();
        for key in ["rank_at_80", "rank_at_90", "rank_at_95"] {
            assert_eq!(keys.iter().filter(|known| **known == key).count(), 1, "{key}: {keys:?}");
        }
    }
}
