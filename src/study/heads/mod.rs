//! `heads`: a row an attention head, or a row a pair of heads; a task is a module, or two.

mod found;
mod origins;
mod rows;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use found::{drawings, resolution, tokens};
use rows::{pairs, singles, skipped};

use super::{Basis, Complete, Found, FoundRow, Manifest, Reads, Step, Study, TaskRows, Waiting, unmatched};
use crate::analysis::compare::TwoSided;
use crate::analysis::heads::{
    self, COMPONENTS, COMPOSITION, CONTROL_TOKENS, Circuits, Components, Composed, Folding, HEAD_CHANGES,
    HEADS, Inputs, Module, Modules,
};
use crate::checkpoint::{Catalogue, Config};
use crate::engine::Job;
use crate::error::{Error, printable};
use crate::layer::Filter;
use crate::pair;
use crate::report::{
    self, Attention, Column, ComponentScores, Drawings, MissingReason, Report, Row, Source, Totals, Unlisted,
    Value,
};
use crate::solver::{Cost, Memo};
use crate::store::Location;

/// Circuits of modules are kept for all pairs up to this many bytes together; the others are found anew for each pair.
const KEPT: u64 = 256 << 20;

/// More rows are a mistake: no model of today has so many pairs of heads.
const MOST: usize = 4_000_000;
/// So many names that filters left out are looked through for one that was meant.
const NAMED: usize = 1000;

/// The options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadsRequest {
    /// Whether norms are folded in.
    pub folding: Folding,
    /// How many leading singular values are listed.
    pub directions: usize,
    /// Whether rows are pairs of heads.
    pub compose: Option<Components>,
    /// Whether there is a base to tell changes from.
    pub has_base: bool,
    /// Whether the inputs of heads are known.
    pub has_inputs: bool,
}

/// A model whose heads were found.
pub struct HeadsOpened {
    /// Its matrices.
    pub source: Arc<Catalogue>,
    /// Its attention modules.
    pub modules: Modules,
    /// Where it came from.
    pub origin: Source,
}

/// A study of the heads of one model.
pub struct Heads {
    request: HeadsRequest,
    model: HeadsOpened,
    base: Option<HeadsOpened>,
    inputs: Option<Inputs>,
    roots: Vec<PathBuf>,
    tasks: Vec<Task>,
    rows: Vec<Row>,
    filtered: usize,
    /// The columns beside a base; they live as long as the program, so they are made once.
    compared: Vec<TwoSided>,
    circuits: Mutex<BTreeMap<usize, Arc<Circuits>>>,
}

/// What is done at once.
struct Task {
    /// The module, or the earlier one of two.
    module: usize,
    /// The later one.
    later: Option<usize>,
    /// The heads that have rows, or pairs of these, with the positions of the rows.
    rows: BTreeMap<(usize, usize), usize>,
}

impl HeadsOpened {
    /// The heads of `source`, a checkpoint at `location`, by the `config.json` beside it.
    ///
    /// # Errors
    /// When the model type is unknown or has no heads, or something that it should have is not there.
    pub fn new(location: &Location, source: Arc<Catalogue>, origin: Source) -> Result<Self, Error> {
        // Layouts know fused tensors as they are stored.
        let source = source.fused().cloned().unwrap_or(source);
        let config = Config::beside(location)?;
        let modules = heads::modules(origin.path.as_ref(), &source, &config)?;
        Ok(Self { source, modules, origin })
    }
}

impl HeadsRequest {
    /// Every column, in report order.
    pub fn columns(self) -> Vec<&'static Column> {
        match (self.compose, self.has_base) {
            (Some(Components::Summed), _) => COMPOSITION.iter().collect(),
            (Some(Components::Told), _) => COMPOSITION.iter().chain(&COMPONENTS).collect(),
            (None, false) => HEADS.iter().chain(self.has_inputs.then_some(&CONTROL_TOKENS)).collect(),
            (None, true) => {
                let compared = HEADS.iter().flat_map(|column| {
                    let TwoSided { base, difference, change, .. } = TwoSided::new(column, None);
                    [base, difference, change]
                });
                let inputs = self.has_inputs.then_some(&CONTROL_TOKENS);
                HEADS.iter().chain(inputs).chain(&HEAD_CHANGES).chain(compared).collect()
            }
        }
    }

    /// The tasks over the heads of `model` that `filter` keeps.
    ///
    /// # Errors
    /// When there is none.
    pub fn plan(
        self,
        model: HeadsOpened,
        (base, inputs): (Option<HeadsOpened>, Option<Inputs>),
        roots: Vec<PathBuf>,
        filter: &Filter,
    ) -> Result<Heads, Error> {
        let all = if self.compose.is_some() { pairs(&model.modules) } else { singles(&model.modules) };
        let (mut rows, mut tasks, mut names, mut filtered) = (vec![], vec![], vec![], 0);
        for (module, later, each) in all {
            let mut task = Task { module, later, rows: BTreeMap::new() };
            for (heads, row) in each {
                if filter.keeps(&row.name) {
                    task.rows.insert(heads, rows.len());
                    rows.push(row);
                } else {
                    filtered += 1;
                    names.extend((names.len() < NAMED).then_some(row.name));
                }
                if rows.len() > MOST {
                    let reason = format!("has more than {MOST} pairs of heads; `--include` narrows them");
                    return Err(Error::malformed(model.origin.path.as_ref(), reason));
                }
            }
            if let Some(inputs) = inputs.as_ref().filter(|_| !task.rows.is_empty()) {
                inputs.check(&model.modules.modules[module])?;
            }
            tasks.extend((!task.rows.is_empty()).then_some(task));
        }
        if rows.is_empty() {
            let what = if self.compose.is_some() { "pairs of heads" } else { "heads" };
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            let hint = unmatched::hint(filter, &names);
            return Err(Error::malformed(
                model.origin.path.as_ref(),
                if filtered == 0 {
                    "has no two layers whose heads could be composed".to_owned()
                } else {
                    format!("`--include` and `--exclude` leave none of its {filtered} {what}{hint}")
                },
            ));
        }
        let compared = HEADS.iter().map(|column| TwoSided::new(column, None)).collect();
        Ok(Heads {
            compared,
            request: self,
            model,
            base,
            inputs,
            roots,
            tasks,
            rows,
            filtered,
            circuits: Mutex::default(),
        })
    }
}

impl Heads {
    /// Names of all heads, or pairs, whatever the filter.
    pub fn names(&self) -> Vec<String> {
        let all = if self.request.compose.is_some() {
            pairs(&self.model.modules)
        } else {
            singles(&self.model.modules)
        };
        all.into_iter().flat_map(|(_, _, rows)| rows).map(|(_, row)| row.name.to_string()).collect()
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The module of the base that `module` came of.
    fn of_base(&self, module: &Module) -> Option<(&HeadsOpened, &Module)> {
        let base = self.base.as_ref()?;
        let name = pair::canonical(&module.name);
        let found = base.modules.modules.iter().find(|other| pair::canonical(&other.name) == name)?;
        let sizes = |module: &Module| {
            (module.width, module.heads, module.kv_heads, module.head_dim, module.value_dim)
        };
        (sizes(found) == sizes(module)).then_some((base, found))
    }

    fn heads(&self, task: &Task) -> Result<Vec<FoundRow>, Error> {
        let module = &self.model.modules.modules[task.module];
        let HeadsRequest { folding, has_base, .. } = self.request;
        let source = self.model.source.as_ref();
        let measured = heads::heads(source, module, folding)?;
        let base = match self.of_base(module) {
            Some((base, other)) => {
                let moved = heads::changes((source, module), (base.source.as_ref(), other), folding)?;
                Some((heads::heads(base.source.as_ref(), other, folding)?, moved))
            }
            None => None,
        };
        let reach = match &self.inputs {
            Some(inputs) => Some(heads::reach(source, module, inputs)?),
            None => None,
        };
        let row = |((head, _), row): (&(usize, usize), &usize)| {
            let own = &measured[*head];
            let mut values = own.values.clone();
            let mut resolution = vec![resolution(false, module, own)];
            let reach = reach.as_ref().map(|reach| reach[*head].clone());
            values.extend(reach.as_ref().map(|reach| tokens(reach.as_ref())));
            if has_base {
                let absent = vec![Value::Missing(MissingReason::Unpaired); HEADS.len()];
                let before = base.as_ref().map_or(&absent, |(heads, _)| &heads[*head].values);
                let none = [Value::Missing(MissingReason::Unpaired); 2];
                values.extend(base.as_ref().map_or(none, |(_, moved)| moved[*head]));
                for ((column, tuned), base) in self.compared.iter().zip(&own.values).zip(before) {
                    let [_, (_, difference), (_, change)] = column.values(*base, *tuned);
                    values.extend([*base, difference, change]);
                }
                resolution
                    .extend(base.as_ref().map(|(heads, _)| found::resolution(true, module, &heads[*head])));
            }
            let mut attention = self.rows[*row].attention.clone();
            if let Some(Attention::Head(place)) = attention.as_deref_mut() {
                let leading = |sigma: &[f64]| sigma.iter().copied().take(self.request.directions).collect();
                place.reach = reach.flatten();
                (place.sigma_ov, place.sigma_qk) = (leading(&own.sigma_ov), leading(&own.sigma_qk));
            }
            FoundRow {
                row: *row,
                values: values.into_iter().map(Some).collect(),
                resolution: resolution.into_iter().flatten().collect(),
                attention,
                drawn: drawings(own),
            }
        };
        Ok(task.rows.iter().map(row).collect())
    }

    fn composed(&self, task: &Task, later: usize) -> Result<Vec<FoundRow>, Error> {
        let components = self.request.compose.unwrap_or(Components::Summed);
        let (earlier, later) = (self.circuits(task.module)?, self.circuits(later)?);
        let wanted = |writer: usize, reader: usize| task.rows.contains_key(&(writer, reader));
        let found = earlier.scores(&later, components, wanted);
        let row = |(pair, Composed { values, components }): ((usize, usize), Composed)| {
            let row = *task.rows.get(&pair)?;
            let attention = components.and_then(|[q, k, v]| {
                let mut attention = self.rows[row].attention.clone()?;
                if let Attention::Composition(pair) = &mut *attention {
                    pair.components = Some(ComponentScores { q, k, v });
                }
                Some(attention)
            });
            let values = values.into_iter().map(Some).collect();
            Some(FoundRow { row, values, resolution: vec![], attention, drawn: Drawings::default() })
        };
        Ok(found.into_iter().filter_map(row).collect())
    }

    /// The circuits of a module, kept for other pairs as far as there is room.
    fn circuits(&self, module: usize) -> Result<Arc<Circuits>, Error> {
        let known = |map: &BTreeMap<usize, Arc<Circuits>>| map.get(&module).map(Arc::clone);
        if let Some(found) = known(&self.circuits.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(found);
        }
        let modules = &self.model.modules.modules;
        let found =
            Arc::new(Circuits::read(self.model.source.as_ref(), &modules[module], self.request.folding)?);
        let mut kept = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: u64 = kept.keys().map(|known| heads::circuits_bytes(&modules[*known])).sum();
        if taken + heads::circuits_bytes(&modules[module]) <= KEPT {
            kept.insert(module, Arc::clone(&found));
        }
        Ok(found)
    }
}

impl Study for Heads {
    fn manifest(&self) -> Manifest {
        let skipped = skipped(&self.model.source, &self.model.modules.modules);
        let HeadsRequest { folding, directions, compose, .. } = self.request;
        let mut settings = vec![
            ("rows".into(), if compose.is_some() { "pairs" } else { "heads" }.to_owned()),
            ("fold".into(), if folding == Folding::Folded { "norms" } else { "none" }.to_owned()),
        ];
        match compose {
            Some(_) => {}
            None => settings.push(("directions".into(), directions.to_string())),
        }
        let notes = self.model.source.notes().iter().chain(&self.model.modules.notes);
        let report = Report {
            schema: report::SCHEMA,
            svdkit: env!("CARGO_PKG_VERSION").into(),
            command: "heads".into(),
            model: self.model.origin.clone(),
            base: self.base.as_ref().map(|base| base.origin.clone()),
            tuned: vec![],
            settings,
            columns: self.request.columns(),
            rows: self.rows.clone(),
            totals: Totals {
                skipped: skipped.len() as u64,
                filtered: self.filtered as u64,
                ..Totals::default()
            },
            skipped,
            groups: vec![],
            notes: notes.map(|note| printable(note)).collect(),
            summary: None,
            findings: vec![],
            findings_unchecked: vec![],
            verdicts: vec![],
            unlisted: Unlisted::default(),
            steps: vec![],
        };
        let tasks = self.tasks.iter().map(|task| task.rows.values().copied().collect()).collect();
        let complete = Complete::Rows(TaskRows { tasks });
        Manifest { report, rows: vec![], roots: self.roots.clone(), complete }
    }

    fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    fn costs(&self) -> Vec<Job> {
        let modules = &self.model.modules.modules;
        let cost = |task: &Task| {
            let Cost { flops, bytes } = match task.later {
                Some(later) => heads::composition_cost(&modules[task.module], &modules[later]),
                None => heads::cost(&modules[task.module]),
            };
            let sides = if self.base.is_some() && task.later.is_none() { 3 } else { 1 };
            Job { flops: flops * f64::from(sides), bytes }
        };
        self.tasks.iter().map(cost).collect()
    }

    fn basis(&self) -> Option<Basis> {
        Some(self.origins())
    }

    fn reads(&self) -> Vec<Reads> {
        self.tasks.iter().map(|task| self.first_read(task)).collect()
    }

    fn copies(&self, waiting: &[Waiting], _: &dyn Memo) -> Vec<Option<usize>> {
        vec![None; waiting.len()]
    }

    fn run(&self, task: usize, _: Option<Found>, _: &dyn Memo) -> Result<Step, Error> {
        let task = &self.tasks[task];
        let rows = match task.later {
            None => self.heads(task)?,
            Some(later) => self.composed(task, later)?,
        };
        Ok(Step::Done(Found::Rows(rows)))
    }
}
