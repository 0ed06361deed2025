//! Measures the steps of a run one by one.

use std::collections::BTreeSet;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use crate::analysis::compare::{Preserve, Vectors};
use crate::analysis::series;
use crate::checkpoint::Catalogue;
use crate::cli::jobs::run_study_with;
use crate::cli::options::{Common, word};
use crate::cli::{cache, plan, remark, rules};
use crate::engine::{Limits, heap};
use crate::error::Error;
use crate::gate::Gate;
use crate::layer::{Filter, bare};
use crate::report::{Column, ColumnKey, Hidden, Report};
use crate::solver::Memo;
use crate::study::{self, Asked, Cache, CompareRequest, Depth, Names, OwnColumns, RecentMemo, Study};

use super::open::{Base, StepPlace, is_passed_over};
use super::options::StepOptions;

/// The tasks of one step, and its weights where they are measured by themselves.
type StepStudy = (Arc<dyn Study>, Option<Arc<Catalogue>>);

/// What is the same for all steps.
pub(in crate::cli) struct Run<'a> {
    pub(in crate::cli) options: &'a StepOptions,
    pub(in crate::cli) common: &'a Common,
    pub(in crate::cli) gate: Gate,
    pub(in crate::cli) asked: Asked,
    /// Whether outputs are written again and again.
    pub(in crate::cli) follows: bool,
    base: Option<Base>,
    limits: Limits,
    recent: Arc<RecentMemo>,
    /// What outlives the run.
    cache: Option<Arc<Cache>>,
}

impl<'a> Run<'a> {
    /// A run of these options; `common` are those in force.
    pub(in crate::cli) fn new(options: &'a StepOptions, common: &'a Common) -> Result<Self, Error> {
        let all = series::columns(&options.metrics());
        let gate = rules::gate(common, "series", &all);
        let gate = if options.no_svd { gate.map_err(rules::without_svd) } else { gate }?;
        let limits = if options.no_svd { common.limits() } else { common.limits_of_decompositions()? };
        let cache = cache::open(&common.shared).map(Arc::new);
        let below = cache.as_ref().map(|cache| Arc::clone(cache) as Arc<dyn Memo>);
        Ok(Self {
            options,
            common,
            asked: of_metrics(rules::asked(common, &gate, &all, &[])),
            gate,
            follows: false,
            base: None,
            limits,
            recent: Arc::new(RecentMemo::new(below)),
            cache,
        })
    }

    /// Opens what all steps are compared with.
    pub(in crate::cli) fn open_base(&mut self) -> Result<(), Error> {
        let base = self.options.base.as_deref();
        self.base = base.map(|base| Base::open(base, &self.options.reading)).transpose()?;
        Ok(())
    }

    /// The report on one step, and which of its rows the settings file hides. `ready` is called once its files are open.
    pub(in crate::cli) fn measure(
        &self,
        place: &StepPlace,
        ready: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<(Report, Hidden), Error> {
        self.recent.next_step();
        let (study, source) = self.study(place)?;
        ready()?;
        heap::give_back();
        let manifest = study.manifest();
        let hidden = self.hidden(&manifest.report, source.as_ref())?;
        let memo = Arc::clone(&self.recent) as Arc<dyn Memo>;
        let ledger = run_study_with(&study, (self.common, self.limits), &memo)?;
        drop((study, source));
        heap::give_back();
        let report = study::assemble(manifest, ledger);
        heap::give_back();
        Ok((report, hidden))
    }

    /// The tasks of one step, and its weights.
    fn study(&self, place: &StepPlace) -> Result<StepStudy, Error> {
        let filter = self.common.filter()?;
        let reading = &self.options.reading;
        let Some(base) = &self.base else {
            let opened = place.open(reading)?;
            let source = Arc::clone(&opened.source);
            let study = self.options.spectrum(self.asked.clone()).plan(opened, &filter)?;
            return Ok((Arc::new(study), Some(source)));
        };
        let request = CompareRequest {
            depth: Depth::Everything,
            names: Some(Names::Svdkit),
            precision: Some(self.options.precision.into()),
            vectors: Vectors::None,
            preserve: Preserve::Energy(0.9),
            top: 10,
        };
        let draft = request.over(base.with(place, reading)?)?;
        Ok((Arc::new(draft.asked(self.asked.clone()).plan(filter)?), None))
    }

    fn hidden(&self, report: &Report, source: Option<&Arc<Catalogue>>) -> Result<Hidden, Error> {
        let Some(source) = source.filter(|_| report.totals.filtered > 0) else {
            return Ok(Hidden::default());
        };
        let all = source.select(&Filter::default());
        let others = all.skipped.iter().map(|skipped| bare(&skipped.tensor));
        rules::hidden(self.common, all.layers.iter().map(|layer| layer.name.as_str()), others)
    }

    /// What decides the numbers of the steps in `folder`, fact by fact.
    pub(in crate::cli) fn facts(&self, folder: &Path) -> Result<Vec<(String, String)>, Error> {
        let absolute = |path: &Path| {
            let path = path::absolute(path).map_err(|e| Error::io(path, "cannot find", e))?;
            Ok::<String, Error>(path.components().collect::<PathBuf>().to_string_lossy().into_owned())
        };
        let (shared, options) = (&self.common.shared, self.options);
        let mut facts = vec![
            ("the run", absolute(folder)?),
            ("`precision`", word(&options.precision)),
            ("`no-svd`", options.no_svd.to_string()),
            ("the choice of columns", self.chosen()),
            ("the search for findings", format!("{:?}", self.asked.findings)),
            ("`include`", shared.include.join(",")),
            ("`exclude`", shared.exclude.join(",")),
            ("how checkpoints are read", format!("{:?}", options.reading)),
        ];
        if let Some(base) = &options.base {
            facts.push(("the base", absolute(base)?));
        }
        Ok(facts.into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect())
    }

    /// Which metrics are measured. A rule on one of those that are measured anyhow changes nothing.
    fn chosen(&self) -> String {
        let Asked { own, columns, evidence, .. } = &self.asked;
        if *own == OwnColumns::Wanted {
            return "those of the table".to_owned();
        }
        let all = self.options.metrics();
        let metric = |key: &'static str| {
            ColumnKey::parse(key, all.iter().copied()).map_or(key, |known| known.metric.key)
        };
        let keys = columns.iter().map(|(column, _)| column.key).chain(evidence.iter().map(|(key, _)| *key));
        let keys: BTreeSet<&str> = keys.map(metric).collect();
        keys.into_iter().collect::<Vec<_>>().join(",")
    }

    /// Whether what all steps are compared with is still there.
    pub(in crate::cli) fn check_base(&self) -> Result<(), Error> {
        let gone =
            self.options.base.as_deref().filter(|base| {
                matches!(base.try_exists(), Ok(false)) && base.parent().is_some_and(Path::exists)
            });
        gone.map_or(Ok(()), |base| {
            Err(Error::malformed(
                base,
                "was deleted; `--base` names a checkpoint that stays while the run goes on",
            ))
        })
    }

    /// Says where nothing could be kept for later runs.
    pub(in crate::cli) fn end(&self) {
        if let Some(trouble) =
            self.cache.as_ref().and_then(|cache| cache.finish()).filter(|_| !self.common.quiet)
        {
            remark(&format!("nothing is kept for later runs: {trouble}; `--no-cache` does not try to"));
        }
    }

    /// The plan, by the first step that can be opened.
    pub(in crate::cli) fn dry_run(&self, places: &[StepPlace]) -> Result<(), Error> {
        let filter = self.common.filter()?;
        let mut first = None;
        for place in places {
            match place.open(&self.options.reading) {
                Ok(opened) => {
                    first = Some(self.options.spectrum(self.asked.clone()).plan(opened, &filter)?);
                    break;
                }
                Err(error) if is_passed_over(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let Some(first) = first else {
            return self.study(&places[0]).map(drop);
        };
        let (from, to) = (places[0].step, places[places.len() - 1].step);
        let mut lines = vec![("steps", format!("{}: {from} to {to}; the plan of one:", places.len()))];
        lines.extend(plan::lines(&first.estimate(), self.limits));
        lines.push(("", "for each step that changed; unchanged matrices are only read".to_owned()));
        if self.base.is_some() {
            lines.push(("", "and the same again for its change from the base".to_owned()));
        }
        plan::print(&lines)
    }
}

/// What each step is asked for: the metrics that the columns of the series are made of.
fn of_metrics(asked: Asked) -> Asked {
    let metric = |(column, by): (&'static Column, String)| (column.means().metric, by);
    Asked { columns: asked.columns.into_iter().map(metric).collect(), ..asked }
}
