//! `svdkit features`: tables of data, a row a sample.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::analysis::features::{ColumnTreatment, Order, Treatment};
use crate::checkpoint::{Factors, Opening, names_weights};
use crate::error::Error;
use crate::layer::natural;
use crate::notation;
use crate::report::Source;
use crate::study::{self, Asked, Features, FeaturesRequest, Rows, Spectra, Study, TableFile};
use crate::writing;

use super::jobs::run_study;
use super::locate;
use super::model::Model;
use super::options::{Common, PrecisionName};
use super::outputs::Outputs;
use super::{Status, plan, rules, run};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 12] = [
    "effective_rank",
    "nuclear_norm",
    "matrix_nuclear_norm",
    "matrix_entropy",
    "two_nn_dimension",
    "mle_dimension",
    "ph_dimension",
    "condition_number",
    "rank_at_90",
    "smallest_singular_value",
    "nuclear_bound",
    "samples",
];
/// The same of gradients.
const SHOWN_GRADIENTS: [&str; 7] = [
    "nuclear_norm",
    "effective_rank",
    "partner_cosine",
    "next_cosine",
    "frobenius_norm",
    "spectral_norm",
    "samples",
];

/// What tables of data look like: activations, embeddings or features, a row a sample. How many directions they use, how
/// compressed they are, and what dimension the cloud of their rows has; or with `--gradients` how large gradients are and
/// how those of one sample stand to each other.
///
/// Of a tensor of more than two axes, all but the last are samples.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch the user may type")]
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Files of tables (safetensors, .npy, .npz, .pt), or folders of such files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Take the mean off each column
    #[arg(long, help_heading = "Method")]
    center: bool,
    /// Take the mean off each column, and divide it by its standard deviation (over n − 1)
    #[arg(long, conflicts_with = "center", help_heading = "Method")]
    standardize: bool,
    /// Divide each row by its length, after the columns
    #[arg(long, help_heading = "Method")]
    unit_rows: bool,
    /// Tables of one name in several files are samples of one thing: show the means of their numbers
    #[arg(long, help_heading = "Method")]
    mean: bool,
    /// Files hold gradients in the shapes of their weights, a sample a file: show means, and cosines of q and o, k and v, and
    /// neighbors in depth
    #[arg(long, conflicts_with_all = ["center", "standardize", "unit_rows", "mean"], help_heading = "Method")]
    gradients: bool,
    /// Which rows the estimates of the dimension draw
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Method")]
    seed: u64,
    /// Estimate the dimension on the first rows, not on random ones
    #[arg(long, conflicts_with = "seed", help_heading = "Method")]
    first_rows: bool,
    /// How exact small singular values are
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrecisionName::Fast)]
    precision: PrecisionName,
    /// Save every spectrum to FILE: one f64 tensor a table
    #[arg(long, value_name = "FILE.safetensors", conflicts_with_all = ["mean", "gradients"])]
    singular_values: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let request = request(arguments);
    let columns = request.columns();
    let gate = rules::gate(common, "features", &columns).map_err(|error| hint(error, &request))?;
    let request = FeaturesRequest { asked: rules::asked(common, &gate, &columns, &[]), ..request };
    let mut outputs = Outputs::new(&common.output)?;
    let singular_values = outputs.add("--singular-values", arguments.singular_values.as_deref())?;
    let (files, origin) = open(&arguments.paths)?;
    let study: Arc<Features> = Arc::new(request.plan(files, origin, &common.filter()?)?);
    outputs.ready(common)?;
    let limits = common.limits_of_decompositions()?;
    if common.dry_run {
        plan::write(&study.estimate(), limits)?;
        return Ok(Status::Fine);
    }
    let (manifest, shown) = (study.manifest(), study.shown().to_vec());
    let mut ledger = run_study(&(Arc::clone(&study) as Arc<dyn Study>), (common, limits))?;
    if let Some(slot) = singular_values {
        let spectra = ledger.take_spectra(&manifest);
        let spectra: Vec<_> = spectra.iter().map(|(name, spectrum)| (name.as_str(), spectrum)).collect();
        let holds = format!("singular values of {} tables", notation::count(spectra.len() as u64));
        outputs.write(slot, &holds, |out| writing::write_spectra(out, &spectra));
    }
    let mut report = study::assemble(manifest, ledger);
    if !gate.clauses.is_empty() && report.totals.filtered > 0 {
        let names = study.names().iter().map(String::as_str);
        report.unlisted.hidden = rules::hidden(common, names, std::iter::empty())?;
    }
    run::find(&mut report, common);
    run::judge(&mut report, common, &gate)?;
    report.keep(&shown);
    let shown: &[&str] = if arguments.gradients { &SHOWN_GRADIENTS } else { &SHOWN };
    run::deliver(&report, common, shown, &mut outputs)
}

fn request(arguments: &Arguments) -> FeaturesRequest {
    FeaturesRequest {
        rows: match (arguments.gradients, arguments.mean) {
            (true, _) => Rows::Gradients,
            (false, true) => Rows::Means,
            (false, false) => Rows::Tables,
        },
        treatment: Treatment {
            columns: match (arguments.standardize, arguments.center) {
                (true, _) => ColumnTreatment::Standardized,
                (false, true) => ColumnTreatment::Centered,
                (false, false) => ColumnTreatment::None,
            },
            unit_rows: arguments.unit_rows,
        },
        precision: arguments.precision.into(),
        order: if arguments.first_rows { Order::Stored } else { Order::Seeded(arguments.seed) },
        asked: Asked::own(),
        spectra: if arguments.singular_values.is_some() { Spectra::Kept } else { Spectra::Dropped },
    }
}

/// An error about a column that rows of another kind have says so.
fn hint(error: Error, request: &FeaturesRequest) -> Error {
    let Error::Column { at, key, problem } = error else { return error };
    let has = |rows| {
        let other = FeaturesRequest { rows, ..request.clone() };
        other.columns().iter().any(|column| column.key == key)
    };
    let problem = match () {
        () if has(Rows::Tables) => {
            format!("`{key}` is a column of single tables: leave out `--mean` and `--gradients`")
        }
        () if has(Rows::Gradients) => format!("`{key}` is a column of gradients: add `--gradients`"),
        () => problem,
    };
    Error::Column { at, key, problem }
}

/// The files at `typed`; a folder stands for the files in it, a sharded one for itself.
fn open(typed: &[PathBuf]) -> Result<(Vec<TableFile>, Source), Error> {
    let mut paths: Vec<PathBuf> = vec![];
    for path in typed {
        let location = locate::locate(path)?.location;
        let listed = if location.is_folder() { location.list()? } else { vec![] };
        let is_sharded = listed.iter().any(|entry| entry.name.ends_with(".index.json"));
        if !location.is_folder() || is_sharded {
            paths.push(path.clone());
            continue;
        }
        let mut names: Vec<String> =
            listed.into_iter().filter(|entry| !entry.is_folder).map(|e| e.name).collect();
        names.retain(|name| names_weights(name) && !name.starts_with('.'));
        if names.is_empty() {
            let reason = "holds no file of tables: safetensors, .npy, .npz or .pt";
            return Err(Error::malformed(path, reason));
        }
        names.sort_by(|a, b| natural(a, b));
        paths.extend(names.iter().map(|name| path.join(name)));
    }
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let stems: Vec<String> = paths.iter().map(|path| stem(path)).collect();
    let opening = Opening { factors: Factors::Weights, ..Opening::default() };
    let (mut files, mut origins) = (vec![], vec![]);
    for (i, path) in paths.iter().enumerate() {
        let model = Model::open(path, &opening)?;
        let is_alone = stems.iter().filter(|other| **other == stems[i]).count() == 1;
        let name = if is_alone { stems[i].clone() } else { path.display().to_string() };
        files.push(TableFile { name, roots: model.roots(), source: model.source });
        origins.push(model.origin);
    }
    let path = typed.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ");
    let mut all = origins.into_iter();
    let mut origin = all.next().ok_or_else(|| Error::Usage("no file is named".to_owned()))?;
    for next in all {
        if next.format != origin.format {
            origin.format = "several".into();
        }
        origin.files.extend(next.files);
    }
    Ok((files, Source { path, ..origin }))
}
