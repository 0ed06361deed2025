//! `adapter clash`: every pair of some adapters, module by module, and all of them together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::analysis::clash::{self, CLASH, Meeting, Together, UpdateTriplets, meeting};
use crate::checkpoint::Catalogue;
use crate::engine::{Job, Limits};
use crate::error::{Error, brief};
use crate::layer::{Filter, Layer, natural};
use crate::report::{
    Column, Encounter, Group, Measurements, Named, Report, Row, SCHEMA, Skipped, Source, Totals, Unlisted,
    Value,
};

use super::each::{Watch, each};
use super::{Estimate, RowHeader};

/// The command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClashRequest;

/// An adapter that was opened.
pub struct Clashing {
    /// What it is called.
    pub name: String,
    /// Where it came from.
    pub origin: Source,
    /// Its updates.
    pub updates: Arc<Catalogue>,
}

/// A module and its update in each adapter.
struct Module {
    name: String,
    layers: Vec<Option<Arc<Layer>>>,
}

impl ClashRequest {
    /// Every column, in report order.
    pub fn columns(self) -> Vec<&'static Column> {
        CLASH.iter().collect()
    }

    /// What it takes, as headers tell.
    ///
    /// # Errors
    /// When an update is of another shape than the same in another adapter, or the filter leaves none.
    pub fn estimate(self, adapters: &[Clashing], filter: &Filter) -> Result<Estimate, Error> {
        let modules = modules(adapters, filter)?;
        let all: Vec<&Layer> =
            modules.iter().flat_map(|module| module.layers.iter().flatten()).map(AsRef::as_ref).collect();
        let skipped = adapters.iter().map(|adapter| adapter.updates.select(filter).skipped.len()).sum();
        let bytes = all.iter().map(|layer| layer.bytes()).sum();
        let jobs = all
            .iter()
            .map(|layer| clash::cost(layer))
            .map(|cost| Job { flops: cost.flops, bytes: cost.bytes });
        let mut estimate = Estimate::new(&all, jobs.collect(), bytes, (skipped, CLASH.len(), 1));
        // What each does with the others comes on top of the first of them.
        let mut first = 0;
        for module in &modules {
            let count = module.layers.iter().flatten().count();
            estimate.jobs[first].flops += module.meetings();
            first += count;
        }
        Ok(estimate)
    }

    /// The report on all pairs of `adapters`, which have one `base` or none.
    ///
    /// # Errors
    /// When an update is of another shape than the same in another adapter, or `watch` broke. The rows of an update that
    /// cannot be read or decomposed, or is not finite, fail.
    pub fn run(
        self,
        adapters: Vec<Clashing>,
        base: Option<Source>,
        filter: &Filter,
        (limits, watch): (Limits, Watch<'_>),
    ) -> Result<Report, Error> {
        let modules = Arc::new(modules(&adapters, filter)?);
        let jobs: Vec<Job> = modules.iter().map(Module::cost).collect();
        let adapters = Arc::new(adapters);
        let work: Arc<dyn Fn(usize) -> Result<Vec<Row>, Error> + Send + Sync> = {
            let (modules, adapters) = (Arc::clone(&modules), Arc::clone(&adapters));
            Arc::new(move |i| Ok(modules[i].rows(&adapters)))
        };
        let rows: Result<Vec<Vec<Row>>, Error> = each(&jobs, (limits, watch), &work)?.into_iter().collect();
        Ok(report(&adapters, base, rows?.into_iter().flatten().collect(), self.columns()))
    }
}

/// The modules that some adapter changes, in natural order.
fn modules(adapters: &[Clashing], filter: &Filter) -> Result<Vec<Module>, Error> {
    let mut found: BTreeMap<String, Vec<Option<Arc<Layer>>>> = BTreeMap::new();
    for (i, adapter) in adapters.iter().enumerate() {
        for layer in adapter.updates.select(filter).layers {
            let module = found.entry(layer.name.to_string()).or_insert_with(|| vec![None; adapters.len()]);
            module[i] = Some(layer);
        }
    }
    if found.is_empty() {
        return Err(Error::Usage("`--include` and `--exclude` leave no update of any adapter".to_owned()));
    }
    let mut modules: Vec<Module> = found.into_iter().map(|(name, layers)| Module { name, layers }).collect();
    modules.sort_by(|a, b| natural(&a.name, &b.name));
    for Module { name, layers } in &modules {
        let mut shapes = layers.iter().enumerate().filter_map(|(i, layer)| Some((i, layer.as_ref()?)));
        let Some((i, first)) = shapes.next() else { continue };
        if let Some((j, other)) =
            shapes.find(|(_, other)| (other.rows, other.cols) != (first.rows, first.cols))
        {
            let (ours, theirs) = (&adapters[i].name, &adapters[j].name);
            let reason = format!(
                "`{}` is {} × {} in {ours} and {} × {} here: these are adapters of different models",
                brief(name),
                first.rows,
                first.cols,
                other.rows,
                other.cols
            );
            return Err(Error::malformed(Path::new(theirs), reason));
        }
    }
    Ok(modules)
}

impl Module {
    fn cost(&self) -> Job {
        let each = self.layers.iter().flatten().map(|layer| clash::cost(layer));
        let (flops, bytes) =
            each.fold((0.0, 0), |(flops, bytes), cost| (flops + cost.flops, bytes + cost.bytes));
        Job { flops: flops + self.meetings(), bytes }
    }

    /// The operations of all its pairs.
    fn meetings(&self) -> f64 {
        let there: Vec<&Arc<Layer>> = self.layers.iter().flatten().collect();
        let pairs = there
            .iter()
            .enumerate()
            .flat_map(|(i, first)| there[i + 1..].iter().map(move |second| (first, second)));
        pairs.map(|(first, second)| clash::cost_of_meeting(first, second)).sum()
    }

    /// A row for each pair one of which has an update. Those of an update that cannot be read fail.
    fn rows(&self, adapters: &[Clashing]) -> Vec<Row> {
        let triplets: Vec<Result<Option<UpdateTriplets>, Error>> =
            self.layers.iter().zip(adapters).map(|(layer, of)| self.triplets(layer.as_deref(), of)).collect();
        let mut rows = vec![];
        for (i, first) in triplets.iter().enumerate() {
            for (j, second) in triplets.iter().enumerate().skip(i + 1) {
                let Some(layer) = self.layers[i].as_ref().or(self.layers[j].as_ref()) else { continue };
                let met = match (first, second) {
                    (Ok(first), Ok(second)) => {
                        meeting(first.as_ref(), second.as_ref()).map_err(|e| e.to_string())
                    }
                    (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
                };
                let (a, b) = (&adapters[i].name, &adapters[j].name);
                let mut encounter = Encounter {
                    module: self.name.clone(),
                    first: a.clone(),
                    second: b.clone(),
                    left_cosines: vec![],
                    right_cosines: vec![],
                };
                let mut row = Row {
                    name: format!("{} · {a} × {b}", self.name).into(),
                    flags: vec![],
                    ..RowHeader::new(layer, None).row()
                };
                match met {
                    Ok(Meeting { values, left, right }) => {
                        row.values = Measurements(CLASH.iter().zip(values).collect()).into();
                        (encounter.left_cosines, encounter.right_cosines) = (left, right);
                    }
                    Err(why) => row.failed = Some(why),
                }
                rows.push(Row { encounter: Some(Box::new(encounter)), ..row });
            }
        }
        rows
    }

    /// The update of one adapter, if it has one.
    fn triplets(&self, layer: Option<&Layer>, adapter: &Clashing) -> Result<Option<UpdateTriplets>, Error> {
        let Some(layer) = layer else { return Ok(None) };
        UpdateTriplets::read(&adapter.updates, layer).map(Some).map_err(|error| match error {
            Error::NotFinite { .. } => {
                let reason = format!(
                    "the update holds NaN or infinite entries; `--exclude {}` leaves it out",
                    brief(&self.name)
                );
                Error::tensor(Path::new(&adapter.origin.path), &layer.tensor, reason)
            }
            other => other,
        })
    }
}

fn report(
    adapters: &[Clashing],
    base: Option<Source>,
    rows: Vec<Row>,
    columns: Vec<&'static Column>,
) -> Report {
    let named = |adapter: &Clashing| Named { name: adapter.name.clone(), source: adapter.origin.clone() };
    let tuned: Vec<Named> = adapters.iter().map(named).collect();
    let mut skipped = vec![];
    for adapter in adapters {
        skipped.extend(adapter.updates.select(&Filter::default()).skipped.iter().map(|line| Skipped {
            tensor: format!("{}: {}", adapter.name, line.tensor).into(),
            ..Skipped::clone(line)
        }));
    }
    let failed = rows.iter().filter(|row| row.failed.is_some()).count() as u64;
    Report {
        schema: SCHEMA,
        svdkit: env!("CARGO_PKG_VERSION").into(),
        command: "adapter clash".into(),
        model: tuned.first().map_or_else(
            || Source { path: String::new(), format: "".into(), commit: None, files: vec![] },
            |named| named.source.clone(),
        ),
        base,
        tuned,
        settings: vec![],
        columns,
        totals: Totals {
            measured: rows.len() as u64 - failed,
            failed,
            skipped: skipped.len() as u64,
            ..Totals::default()
        },
        groups: groups(&rows, adapters),
        rows,
        skipped,
        notes: vec![],
        summary: None,
        findings: vec![],
        findings_unchecked: vec![],
        verdicts: vec![],
        unlisted: Unlisted::default(),
        steps: vec![],
    }
}

/// Each pair of adapters over all modules that could be measured, in the order of the adapters.
fn groups(rows: &[Row], adapters: &[Clashing]) -> Vec<Group> {
    let place: BTreeMap<&str, usize> =
        adapters.iter().enumerate().map(|(i, adapter)| (adapter.name.as_str(), i)).collect();
    let mut pairs: BTreeMap<(usize, usize), (&Encounter, Together)> = BTreeMap::new();
    let measured = rows.iter().filter(|row| row.failed.is_none());
    for (row, encounter) in measured.filter_map(|row| Some((row, row.encounter.as_ref()?))) {
        let pair = (place[encounter.first.as_str()], place[encounter.second.as_str()]);
        let value = |column: &Column| row.values.get(column.key).unwrap_or(Value::Real(0.0));
        pairs
            .entry(pair)
            .or_insert_with(|| (encounter, Together::default()))
            .1
            .add(&CLASH.each_ref().map(value));
    }
    let group = |(Encounter { first, second, .. }, together): (&Encounter, Together)| Group {
        by: "pair".into(),
        name: format!("{first} × {second}"),
        matrices: together.shared,
        values: Measurements(together.values()).into(),
    };
    pairs.into_values().map(group).collect()
}
