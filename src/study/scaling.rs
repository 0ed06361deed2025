//! `scaling`: how singular values grow with the width of a model, a row a role.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::each::{Watch, counted, each, left_out};
use super::matrices::report_of;
use super::{Estimate, RowHeader, unmatched};
use crate::analysis::scaling::{self, DECAY_RATIO, RoleSpectra, SCALING};
use crate::analysis::spectrum;
use crate::checkpoint::{Catalogue, Holds};
use crate::engine::{Job, Limits};
use crate::error::{Error, printable};
use crate::format::Config;
use crate::layer::{Filter, Layer, Purpose, Selection, natural, purpose, without_block};
use crate::report::{
    Aspect, Column, ColumnKey, Measurements, MissingReason, Named, Report, Row, SkipKind, Skipped, Source,
    Totals, Value,
};
use crate::solver::{Needs, NoMemo, Precision};
use crate::spectrum::Spectrum;
use crate::store::Location;

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalingRequest {
    /// Whether learning rates and weight decays are known.
    pub has_rates: bool,
}

/// One model of a family.
pub struct FamilyMember {
    /// What its columns carry after `@`.
    pub name: String,
    source: Arc<Catalogue>,
    origin: Source,
    width: usize,
    /// √(η/λ), where it is known.
    rate: Option<f64>,
}

/// Keys of a configuration for the width.
const WIDTHS: [&str; 4] = ["hidden_size", "n_embd", "d_model", "dim"];

impl FamilyMember {
    /// The model of `source`, a checkpoint at `location`; without a `width` it is that of the configuration beside it, or the
    /// commonest side of its matrices. `rates` are the learning rate and the weight decay.
    ///
    /// # Errors
    /// When it is an adapter, or holds no matrix.
    pub fn new(
        name: String,
        (location, source, origin): (&Location, Arc<Catalogue>, Source),
        width: Option<usize>,
        rates: Option<(f64, f64)>,
    ) -> Result<Self, Error> {
        if source.holds() != Holds::Weights {
            let reason = "is an adapter, and `scaling` compares whole models; `svdkit adapter merge ADAPTER --base BASE --out DIR` makes one of it";
            return Err(Error::malformed(Path::new(&origin.path), reason));
        }
        let config = Config::beside(location)?;
        let told = width.or_else(|| config.number(&WIDTHS));
        let width = told.or_else(|| commonest(&source.select(&Filter::default()).layers));
        let Some(width) = width.filter(|width| *width > 0) else {
            return Err(Error::malformed(Path::new(&origin.path), "holds no matrix"));
        };
        Ok(Self { name, source, origin, width, rate: rates.map(|(lr, decay)| (lr / decay).sqrt()) })
    }
}

/// The commonest side of some matrices, the smallest of several.
fn commonest(layers: &[Arc<Layer>]) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for side in layers.iter().flat_map(|layer| [layer.rows, layer.cols]) {
        *counts.entry(side).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(side, count)| (*count, std::cmp::Reverse(*side))).map(|(side, _)| side)
}

/// A role with its matrices in each model.
struct Role {
    name: String,
    layers: Vec<Vec<Arc<Layer>>>,
}

/// The roles that all members have.
struct Roles {
    all: Vec<Role>,
    /// What is of none of them, of each member in turn.
    skipped: Vec<Skipped>,
    /// How many matrices and tensors a filter leaves out.
    filtered: usize,
}

impl ScalingRequest {
    /// Every column, in report order, for models of these names.
    pub fn columns(self, names: &[&str]) -> Vec<&'static Column> {
        let [.., largest, constant] = &SCALING;
        let of_each = |metric: &'static Column| {
            let column = |name: &&str| ColumnKey { metric, aspect: Aspect::Value, side: Some(name) }.column();
            names.iter().map(column).collect::<Vec<_>>()
        };
        let mut columns: Vec<&'static Column> = SCALING[..4].iter().collect();
        columns.extend(of_each(largest));
        if self.has_rates {
            columns.push(&DECAY_RATIO);
            columns.extend(of_each(constant));
        }
        columns
    }

    /// What it takes, as headers tell.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn estimate(self, family: &[FamilyMember], filter: &Filter) -> Result<Estimate, Error> {
        let Roles { all: roles, skipped, .. } = roles(family, filter)?;
        let layers: Vec<&Layer> = all(&roles).map(|(_, layer)| layer.as_ref()).collect();
        let bytes = layers.iter().map(|layer| layer.bytes()).sum();
        let jobs = layers.iter().map(|layer| job(layer)).collect();
        Ok(Estimate::new(&layers, jobs, bytes, (skipped.len(), SCALING.len(), family.len())))
    }

    /// The report on a family, whose members may be in any order.
    ///
    /// # Errors
    /// When its members share no role, all have one width, or `watch` broke. The row of a role fails if one of its matrices
    /// cannot be read or is not finite.
    pub fn run(
        self,
        mut family: Vec<FamilyMember>,
        filter: &Filter,
        (limits, watch): (Limits, Watch<'_>),
    ) -> Result<Report, Error> {
        family.sort_by_key(|member| member.width);
        if let [first, .., last] = family.as_slice()
            && first.width == last.width
        {
            let models: Vec<&str> = family.iter().map(|member| member.origin.path.as_str()).collect();
            let reason = format!(
                "{} have width {}, and an exponent needs two widths; `--widths` gives those of models whose `config.json` does not",
                models.join(" and "),
                first.width
            );
            return Err(Error::Usage(reason));
        }
        let Roles { all: roles, mut skipped, filtered } = roles(&family, filter)?;
        let tasks: Vec<(usize, Arc<Layer>)> =
            all(&roles).map(|(model, layer)| (model, Arc::clone(layer))).collect();
        let jobs: Vec<Job> = tasks.iter().map(|(_, layer)| job(layer)).collect();
        let family = Arc::new(family);
        let work: Arc<dyn Fn(usize) -> Result<Vec<f64>, Error> + Send + Sync> = {
            let family = Arc::clone(&family);
            Arc::new(move |i| {
                let (model, layer) = &tasks[i];
                let how = (Precision::Fast, Needs::Values);
                let member = &family[*model];
                let measured = spectrum::measure_some(&member.source, layer, how, &[], &NoMemo)?;
                let found = measured.spectrum.filter(Spectrum::fits);
                let reason = "holds NaN or infinite entries, or none that a double holds";
                let unfit = || Error::tensor(Path::new(&member.origin.path), &layer.tensor, reason);
                Ok(found.ok_or_else(unfit)?.values().to_vec())
            })
        };
        let mut found = each(&jobs, (limits, watch), &work)?.into_iter();
        let names: Vec<&str> = family.iter().map(|member| member.name.as_str()).collect();
        let columns = self.columns(&names);
        let mut rows = vec![];
        for role in &roles {
            let spectra = role.layers.iter().zip(family.iter()).map(|(layers, member)| {
                // All of a role's are taken, whether they failed or not.
                let values: Vec<Result<Vec<f64>, Error>> = found.by_ref().take(layers.len()).collect();
                let is_zero = |values: &Vec<f64>| values.first().is_none_or(|largest| *largest <= 0.0);
                let zero = layers.iter().zip(&values).filter(|(_, of)| of.as_ref().is_ok_and(is_zero));
                let reason = "every entry is zero, so its role has no exponent; `--exclude` leaves it out";
                let line = |layer: &Arc<Layer>| of_member(member, left_out(layer, SkipKind::Refused, reason));
                skipped.extend(zero.map(|(layer, _)| line(layer)));
                let values = values.into_iter().collect::<Result<_, _>>()?;
                Ok(RoleSpectra { width: member.width as f64, rate: member.rate, values })
            });
            let spectra: Vec<Result<RoleSpectra, Error>> = spectra.collect();
            let spectra: Result<Vec<RoleSpectra>, Error> = spectra.into_iter().collect();
            rows.push(self.row(role, spectra, &columns));
        }
        Ok(counted(report((self, &family), columns, rows, filtered), skipped))
    }

    fn row(self, role: &Role, spectra: Result<Vec<RoleSpectra>, Error>, columns: &[&'static Column]) -> Row {
        let header = role.layers.last().and_then(|layers| layers.first());
        let header = header.map(|layer| RowHeader::new(layer, None).row()).unwrap_or_default();
        let header = Row {
            name: printable(&role.name).into(),
            role: printable(&role.name).into(),
            block: None,
            ..header
        };
        let spectra = match spectra {
            Ok(spectra) => spectra,
            Err(error) => return Row { failed: Some(error.to_string()), ..header },
        };
        let (shared, ratio) = scaling::measure(&spectra);
        let zero = Value::Missing(MissingReason::AllZero);
        let value = |x: Option<f64>| x.map_or(zero, Value::real);
        let mut values: Vec<Value> = shared.to_vec();
        values.extend(spectra.iter().map(|of| value(of.mean_largest())));
        if self.has_rates {
            values.push(ratio);
            values.extend(spectra.iter().map(|of| value(of.constant())));
        }
        Row { values: Measurements(columns.iter().copied().zip(values).collect()).into(), ..header }
    }
}

/// Every matrix with its model, role by role.
fn all(roles: &[Role]) -> impl Iterator<Item = (usize, &Arc<Layer>)> {
    roles.iter().flat_map(|role| {
        role.layers
            .iter()
            .enumerate()
            .flat_map(|(model, layers)| layers.iter().map(move |layer| (model, layer)))
    })
}

fn job(layer: &Layer) -> Job {
    let cost = spectrum::cost(layer, Precision::Fast, Needs::Values);
    Job { flops: cost.flops, bytes: cost.bytes }
}

/// The roles of what `filter` keeps; tables, norms and heads aside.
fn roles(family: &[FamilyMember], filter: &Filter) -> Result<Roles, Error> {
    let mut known: BTreeMap<String, Vec<Vec<Arc<Layer>>>> = BTreeMap::new();
    let (mut all_skipped, mut all_filtered) = (vec![], 0);
    for (i, member) in family.iter().enumerate() {
        let Selection { layers, skipped, filtered } = member.source.select(filter);
        all_filtered += filtered;
        all_skipped.extend(skipped.into_iter().map(|line| of_member(member, Arc::unwrap_or_clone(line))));
        for layer in layers {
            if purpose(&layer.name) == Purpose::Inner {
                let role = known.entry(without_block(&layer.name));
                role.or_insert_with(|| vec![vec![]; family.len()])[i].push(layer);
            } else {
                let reason = "a table, a norm or an output head, which scales by another rule";
                all_skipped.push(of_member(member, left_out(&layer, SkipKind::Plain, reason)));
            }
        }
    }
    for (role, layers) in &known {
        let Some(lacking) = layers.iter().position(Vec::is_empty) else { continue };
        let reason = format!("{} has no `{}`", family[lacking].name, printable(role));
        for (member, layer) in family.iter().zip(layers).flat_map(|(m, of)| of.iter().map(move |l| (m, l))) {
            all_skipped.push(of_member(member, left_out(layer, SkipKind::Refused, reason.as_str())));
        }
    }
    known.retain(|_, layers| layers.iter().all(|of_model| !of_model.is_empty()));
    all_skipped.extend(holes(family, &known));
    if known.is_empty() {
        let all: Vec<_> = family.iter().flat_map(|of| of.source.select(&Filter::default()).layers).collect();
        let names: Vec<&str> = all.iter().map(|layer| layer.name.as_str()).collect();
        let hint = unmatched::hint(filter, &names);
        let models: Vec<&str> = family.iter().map(|member| member.origin.path.as_str()).collect();
        let reason = format!(
            "{} share no kind of matrix: names must be the same but for the number of the block{hint}",
            models.join(" and ")
        );
        return Err(Error::Usage(reason));
    }
    let mut roles: Vec<Role> = known.into_iter().map(|(name, layers)| Role { name, layers }).collect();
    roles.sort_by(|a, b| natural(&a.name, &b.name));
    Ok(Roles { all: roles, skipped: all_skipped, filtered: all_filtered })
}

/// A line on a tensor of one model.
fn of_member(member: &FamilyMember, line: Skipped) -> Skipped {
    Skipped { tensor: format!("{}: {}", member.name, line.tensor).into(), ..line }
}

/// What a model lacks in a block that it has, and another model has there: the mean of its role is over other blocks.
fn holes(family: &[FamilyMember], known: &BTreeMap<String, Vec<Vec<Arc<Layer>>>>) -> Vec<Skipped> {
    let blocks = |layers: &[Arc<Layer>]| layers.iter().map(|layer| layer.block).collect::<BTreeSet<_>>();
    let mut lines = vec![];
    for (i, member) in family.iter().enumerate() {
        let there: BTreeSet<_> = known.values().flat_map(|layers| blocks(&layers[i])).collect();
        for layers in known.values() {
            let own = blocks(&layers[i]);
            let mut told = own.clone();
            for layer in layers.iter().flatten() {
                if there.contains(&layer.block) && told.insert(layer.block) {
                    let reason =
                        "is not there, though its block is: the mean of its role is over other blocks";
                    lines.push(of_member(member, left_out(layer, SkipKind::Refused, reason)));
                }
            }
        }
    }
    lines
}

fn report(
    (request, family): (ScalingRequest, &[FamilyMember]),
    columns: Vec<&'static Column>,
    rows: Vec<Row>,
    filtered: usize,
) -> Report {
    let tuned: Vec<Named> = family
        .iter()
        .map(|member| Named { name: member.name.clone(), source: member.origin.clone() })
        .collect();
    let widths: Vec<String> = family.iter().map(|of| format!("{} {}", of.name, of.width)).collect();
    let mut settings = vec![("widths", widths.join(", "))];
    if request.has_rates {
        let rates = family.iter().map(|of| format!("{} {}", of.name, of.rate.unwrap_or_default()));
        settings.push(("sqrt_lr_over_wd", rates.collect::<Vec<_>>().join(", ")));
    }
    let note = format!("widths: {}", widths.join(" · "));
    Report {
        tuned,
        totals: Totals { filtered: filtered as u64, ..Totals::default() },
        rows,
        notes: vec![note],
        ..report_of("scaling", family[0].origin.clone(), settings, columns)
    }
}
