//! `svdkit heads`: what attention heads read and write, which compose, and which may blow up.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::analysis::heads::{Components, Folding, Inputs};
use crate::checkpoint::{Factors, Holds, Opening, Pairs};
use crate::error::Error;
use crate::layer::Filter;
use crate::notation;
use crate::study::{self, Heads, HeadsOpened, HeadsRequest, Study};

use super::ledger;
use super::model::{Model, open_base};
use super::options::{Common, ReadingOptions};
use super::outputs::Outputs;
use super::recording::LedgerOptions;
use super::{Status, plan, rules, run};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 11] = [
    "logit_bound",
    "logit_bound_rotary",
    "ov_spectral_norm",
    "ov_effective_rank",
    "qk_effective_rank",
    "copying",
    "ov_top_share",
    "qk_top_share",
    "output_overlap",
    "qk_spectral_norm",
    "value_gain",
];
/// The same beside a base.
const SHOWN_CHANGES: [&str; 8] = [
    "logit_bound",
    "logit_bound_change",
    "qk_delta_ratio",
    "ov_delta_ratio",
    "copying",
    "copying_difference",
    "ov_spectral_norm_change",
    "qk_spectral_norm_change",
];
/// The same with known inputs.
const SHOWN_INPUTS: [&str; 6] =
    ["control_tokens", "logit_bound", "query_gain", "key_gain", "value_gain", "ov_spectral_norm"];
/// The same of pairs.
const SHOWN_PAIRS: [&str; 7] =
    ["composition", "q_composition", "k_composition", "v_composition", "q_z", "k_z", "v_z"];
/// The same with single directions.
const SHOWN_COMPONENTS: [&str; 7] = [
    "composition",
    "q_component",
    "q_component_at",
    "k_component",
    "k_component_at",
    "v_component",
    "v_component_at",
];
/// So many pairs are listed in the table.
const LISTED: usize = 50;

/// What attention heads read and write: their OV and QK products by singular values, how large their logits can become,
/// whether they copy; or with `--compose` which heads read what earlier ones write.
///
/// Needs the `config.json` beside the weights. An adapter needs its `--base`: the merged heads are measured.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A checkpoint or an adapter: a file, a folder, or a model in the Hugging Face cache (ORG/NAME or ORG/NAME@REV)
    model: PathBuf,
    /// What MODEL was trained from: tells what changed in each head. The base of an adapter
    #[arg(long, value_name = "BASE", help_heading = "Input")]
    base: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    /// Weights as stored: without the gain of the norm before the attention, and without centering
    #[arg(long, help_heading = "Method")]
    no_fold: bool,
    /// How many leading singular values of each product JSON lists
    #[arg(long, value_name = "K", default_value_t = 8, help_heading = "Method")]
    top_directions: usize,
    /// What the attention modules get for some tokens, to tell what control tokens could do: safetensors or .npy of tokens ×
    /// width, one table, or one for each module by its name
    #[arg(
        long,
        value_name = "FILE",
        requires = "target",
        conflicts_with = "compose",
        help_heading = "Method"
    )]
    inputs: Option<PathBuf>,
    /// The value that a head is to give, for `--inputs`: one vector
    #[arg(long, value_name = "FILE", requires = "inputs", help_heading = "Method")]
    target: Option<PathBuf>,
    /// Pairs of heads instead of heads: how far queries, keys and values of each read what each head of an earlier layer
    /// writes
    #[arg(long, help_heading = "Method")]
    compose: bool,
    /// With `--compose`: the scores of single directions, too
    #[arg(long, requires = "compose", help_heading = "Method")]
    components: bool,
    #[command(flatten)]
    pub ledger: LedgerOptions,
    #[command(flatten)]
    pub common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let mut common = arguments.common.recorded(&arguments.ledger)?;
    let request = request(arguments);
    let gate = rules::gate(&common, "heads", &request.columns()).map_err(|error| hint(error, request))?;
    if arguments.compose {
        common.sort.get_or_insert_with(|| "-composition".to_owned());
        common.limit = common.limit.or(LISTED.try_into().ok());
    }
    let common = &common;
    let mut outputs = Outputs::new(&common.output)?;
    let study = Arc::new(open(arguments, request, &common.filter()?)?);
    outputs.ready(common)?;
    let limits = common.limits_of_decompositions()?;
    if common.dry_run {
        let mut lines = plan::lines(&study.estimate(), limits);
        let what = if arguments.compose { "pairs" } else { "heads" };
        lines[0] = (what, notation::count(study.count() as u64));
        return plan::print(&lines).map(|()| Status::Fine);
    }
    let manifest = study.manifest();
    let tasks: Arc<dyn Study> = Arc::clone(&study) as _;
    let Some(ledger) = ledger::measured(&tasks, &manifest, (common, limits))? else {
        return Ok(Status::Fine);
    };
    drop(tasks);
    let hides = !gate.clauses.is_empty() && manifest.report.totals.filtered > 0;
    let names = if hides { study.names() } else { vec![] };
    // A report of many rows needs the room.
    drop(study);
    let mut report = study::assemble(manifest, ledger);
    if hides {
        let none = std::iter::empty();
        report.unlisted.hidden = rules::hidden(common, names.iter().map(String::as_str), none)?;
    }
    run::find(&mut report, common);
    run::judge(&mut report, common, &gate)?;
    let shown: &[&str] = match request {
        HeadsRequest { compose: Some(Components::Told), .. } => &SHOWN_COMPONENTS,
        HeadsRequest { compose: Some(Components::Summed), .. } => &SHOWN_PAIRS,
        HeadsRequest { has_base: true, .. } => &SHOWN_CHANGES,
        HeadsRequest { has_inputs: true, .. } => &SHOWN_INPUTS,
        _ => &SHOWN,
    };
    run::deliver(&report, common, shown, &mut outputs)
}

fn request(arguments: &Arguments) -> HeadsRequest {
    let components = if arguments.components { Components::Told } else { Components::Summed };
    HeadsRequest {
        folding: if arguments.no_fold { Folding::Raw } else { Folding::Folded },
        directions: arguments.top_directions,
        compose: arguments.compose.then_some(components),
        has_base: arguments.base.is_some(),
        has_inputs: arguments.inputs.is_some(),
    }
}

/// An error about a column that rows of another kind have says so.
fn hint(error: Error, request: HeadsRequest) -> Error {
    let Error::Column { at, key, problem } = error else { return error };
    let has = |compose, has_base| {
        let other = HeadsRequest { compose, has_base, ..request };
        other.columns().iter().any(|column| column.key == key)
    };
    let why = match () {
        () if has(None, false) => "of single heads: leave out `--compose`",
        () if has(Some(Components::Summed), false) => "of pairs of heads: add `--compose`",
        () if has(Some(Components::Told), false) => "of single directions: add `--compose --components`",
        () if key == "control_tokens" => "of known inputs: add `--inputs FILE --target FILE`",
        () if has(None, true) => "of changes: add `--base BASE`",
        () => return Error::Column { at, key, problem },
    };
    let problem = format!("`{key}` is a column {why}");
    Error::Column { at, key, problem }
}

fn open(arguments: &Arguments, request: HeadsRequest, filter: &Filter) -> Result<Heads, Error> {
    let opening = arguments.reading.opening()?;
    let base = arguments.base.as_deref().map(|base| open_base(base, &opening)).transpose()?;
    let opening = Opening { base: base.as_ref().map(|base| Arc::clone(&base.source)), ..opening };
    let model = Model::open(&arguments.model, &opening)?;
    let is_adapter = model.source.holds() == Holds::Updates;
    let mut roots = model.roots();
    roots.extend(base.iter().flat_map(Model::roots));
    let model = match (&base, is_adapter) {
        (None, true) => {
            let reason = "is an adapter; `--base BASE` names the checkpoint whose heads it changes";
            return Err(Error::malformed(&arguments.model, reason));
        }
        (Some(base), true) => merged(base, model, &arguments.model)?,
        (Some(_), false) if arguments.compose => {
            let reason =
                "`--compose` tells no changes: leave out `--base`, which only an adapter needs there";
            return Err(Error::Usage(reason.to_owned()));
        }
        (_, false) => HeadsOpened::new(&model.location, model.source, model.origin)?,
    };
    let base = base.map(|base| HeadsOpened::new(&base.location, base.source, base.origin)).transpose()?;
    let inputs = match (&arguments.inputs, &arguments.target) {
        (Some(inputs), Some(target)) => {
            let opening = Opening { factors: Factors::Weights, ..Opening::default() };
            let [of_inputs, of_target] = [inputs, target].map(|path| Model::open(path, &opening));
            let (of_inputs, of_target) = (of_inputs?, of_target?);
            let both =
                [&of_inputs, &of_target].map(|model| (model.origin.path.as_str(), model.source.as_ref()));
            Some(Inputs::read(both[0], both[1])?)
        }
        _ => None,
    };
    request.plan(model, (base, inputs), roots, filter)
}

/// The base with the updates of an adapter.
fn merged(base: &Model, adapter: Model, path: &Path) -> Result<HeadsOpened, Error> {
    let pairs = Pairs::new(Arc::clone(&base.source), adapter.source);
    study::check_all_fit(path, &pairs, &Filter::default())?;
    let vectors = pairs.tuned().select(&Filter::default()).skipped.len();
    let mut opened = HeadsOpened::new(&base.location, Arc::new(pairs.merged()), adapter.origin)?;
    if vectors > 0 {
        let what = if vectors == 1 { "1 tensor" } else { &format!("{vectors} tensors") };
        opened.modules.notes.push(format!(
            "{what} of the adapter that are not updates of matrices are left out: norms and biases are the base's"
        ));
    }
    Ok(opened)
}
