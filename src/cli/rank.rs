//! `svdkit rank`: how many directions each matrix, or its update, uses, and what rank to keep.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use clap::Args;

use crate::analysis::allocation::{ASSIGNED_RANK, assign};
use crate::error::Error;
use crate::gate;
use crate::layer::Layer;
use crate::render::{self, OutputFormat, TableStyle};
use crate::report::{Column, Report, Value};
use crate::spectrum::Spectrum;
use crate::study::{RankRequest, Spectra};

use super::emit::{self, Emit, Spoken};
use super::model::open_input;
use super::options::{Common, Input, PrecisionName};
use super::outputs::Outputs;
use super::previews::PreviewOptions;
use super::recording::LedgerOptions;
use super::run;
use super::values::share;
use super::{Status, rules};

/// Columns of the table, most wanted first; those of `--energy` come before.
const SHOWN: [&str; 12] = [
    "effective_rank",
    "rank_at_95",
    "saved_at_95",
    "spike_count",
    "gavish_donoho_rank",
    "rank_above_rounding",
    "stable_rank",
    "rank_at_99",
    "break_even_rank",
    "largest_gap",
    "largest_gap_at",
    "relative_rank",
];

/// The columns in a plot's caption.
const FACTS: [&str; 7] = [
    "rank_at_90",
    "rank_at_95",
    "rank_at_99",
    "effective_rank",
    "break_even_rank",
    "gavish_donoho_rank",
    "spike_count",
];

/// Shows how many directions each matrix, or its update from BASE, uses, and what rank to keep.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    input: Input,
    /// How exact small singular values are
    #[arg(long, value_name = "HOW", value_enum, default_value_t = PrecisionName::Fast)]
    precision: PrecisionName,
    /// Shares of the energy, as in 0.8,0.97: for each, the rank that holds it and how much factors of that rank save
    #[arg(long, value_name = "SHARES", value_delimiter = ',', value_parser = share)]
    energy: Vec<f64>,
    /// Count the values above this share of the largest in `relative_rank`
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.01")]
    threshold: f64,
    /// What fixed directions hold in place of singular ones: `dct`, the cosines of optimizers without SVD; at these ranks
    #[arg(long, value_name = "dct[=RANKS]", value_parser = basis)]
    basis: Option<CosineRanks>,
    /// Measure only LAYER, and plot its singular values and their cumulative energy
    #[arg(long, value_name = "LAYER")]
    plot: Option<String>,
    #[command(flatten)]
    previews: PreviewOptions,
    #[command(flatten)]
    emit: Emit,
    #[command(flatten)]
    pub ledger: LedgerOptions,
    #[command(flatten)]
    pub common: Common,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let mut common = arguments.common.recorded(&arguments.ledger)?;
    arguments.emit.check(&arguments.energy)?;
    check_stdout(arguments)?;
    if !arguments.previews.files().is_empty() {
        arguments.ledger.check_without("a data file")?;
    }
    let request = request(arguments)?;
    let previews = arguments.previews.previews()?.columns();
    let columns = request.columns();
    let gate = rules::gate(&common, "rank", &columns)?;
    let outputs_of = arguments.emit.columns();
    let request = request.asked(rules::asked(&common, &gate, &columns, &outputs_of));
    let shown = shown(previews.into_iter().chain(request.chosen()));
    let mut outputs = Outputs::new(&common.output)?;
    let emissions = arguments.emit.add_to(&mut outputs)?;
    let opened = open_input(&arguments.input)?;
    if let Some(name) = &arguments.plot {
        let layers = opened.source.select(&common.filter()?).layers;
        common.shared.include = vec![globset::escape(named(name, &layers)?)];
    }
    outputs.ready(&common)?;
    let source = Arc::clone(&opened.source);
    let study = request.plan(opened, &common.filter()?)?;
    let Some(finished) = run::report(study, source, (&common, &gate))? else {
        return Ok(Status::Fine);
    };
    let spectra = &finished.spectra;
    let manner = (&arguments.energy[..], common.quiet);
    let (spoken, ranks) = emit::advise(emissions, &mut outputs, &arguments.emit, &finished, manner);
    let mut shown = shown;
    let report = if ranks.is_empty() {
        Cow::Borrowed(&finished.report)
    } else {
        let mut report = finished.report.clone();
        let ranks = ranks.into_iter().map(|(name, rank)| (name, Value::count(rank))).collect();
        assign(&mut report, &ASSIGNED_RANK, &ranks);
        shown.insert(0, ASSIGNED_RANK.key);
        Cow::Owned(report)
    };
    let report = report.as_ref();
    if let Spoken::Advice(_) | Spoken::Failed = spoken {
        for verdict in report.verdicts.iter().filter(|verdict| verdict.blocks()) {
            let worst = verdict.worst.as_deref().unwrap_or("broken");
            super::remark(&format!("{} {}: {worst}", verdict.word(), verdict.rule));
        }
        if !run::is_rows_alone(&common) {
            run::tell_remarks(report, &common);
        }
        let content = |_: &TableStyle<'_>, out: &mut dyn Write| match &spoken {
            Spoken::Advice(advice) => render::advice::write(advice, out),
            Spoken::None | Spoken::Failed => Ok(()),
        };
        return run::deliver_with(report, &common, &shown, &mut outputs, &content);
    }
    let drawn = arguments.plot.as_ref().and_then(|_| spectra.first());
    run::deliver_with(report, &common, &shown, &mut outputs, &|style, out| {
        render::write(report, common.format.into(), style, out)?;
        drawn.map_or(Ok(()), |(_, spectrum)| draw(report, spectrum, style, out))
    })
}

fn request(arguments: &Arguments) -> Result<RankRequest, Error> {
    let kept = arguments.plot.is_some() || arguments.emit.is_asked();
    let spectra = if kept { Spectra::Kept } else { Spectra::Dropped };
    let own = RankRequest::new(arguments.precision.into(), arguments.threshold, &arguments.energy, spectra);
    let own = own.with(arguments.previews.previews()?, arguments.previews.files());
    Ok(match &arguments.basis {
        Some(CosineRanks(ranks)) => own.in_cosines(ranks.clone()),
        None => own,
    })
}

/// Ranks at which the cosine basis is held against the singular one.
#[derive(Debug, Clone, PartialEq)]
struct CosineRanks(Vec<usize>);

/// Those of `dct` alone.
const COSINE_RANKS: [usize; 3] = [8, 32, 128];

/// `dct` or `dct=8,32`.
fn basis(text: &str) -> Result<CosineRanks, String> {
    let wrong = || "`dct`, or `dct=` with ranks, as in dct=8,32".to_owned();
    let (name, ranks) = text.split_once('=').map_or((text, None), |(name, ranks)| (name, Some(ranks)));
    if name != "dct" {
        return Err(wrong());
    }
    let Some(ranks) = ranks else { return Ok(CosineRanks(COSINE_RANKS.to_vec())) };
    let rank = |rank: &str| rank.trim().parse().ok().filter(|rank| *rank > 0).ok_or_else(wrong);
    let mut ranks = ranks.split(',').map(rank).collect::<Result<Vec<usize>, String>>()?;
    ranks.sort_unstable();
    ranks.dedup();
    Ok(CosineRanks(ranks))
}

/// stdout holds one thing.
fn check_stdout(arguments: &Arguments) -> Result<(), Error> {
    let table = OutputFormat::from(arguments.common.format) == OutputFormat::Table;
    let advice = arguments.emit.to_stdout();
    match (advice.as_slice(), &arguments.plot) {
        ([_, second, ..], _) => Err(Error::Usage(format!(
            "stdout takes one `--emit`; write the other to a file, as in `--emit {second}=FILE`"
        ))),
        ([kind], Some(_)) => Err(Error::Usage(format!(
            "stdout takes `--plot` or `--emit {kind}`; write the second to a file: `--emit {kind}=FILE`"
        ))),
        ([kind], None) if !table => Err(Error::Usage(format!(
            "stdout takes `--format` or `--emit {kind}`; write the second to a file: `--emit {kind}=FILE`"
        ))),
        ([], Some(_)) if !table => Err(Error::Usage(
            "`--plot` draws below the table; leave out `--format`, or write the report with `-o`".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// What each preview is asked for: its other columns give way before these.
const FIRST: [&str; 7] = [
    "output_rank_at_95",
    "fisher_rank_at_95",
    "effective_parameters",
    "column_error",
    "lowrank_columns_error",
    "sampling_top_hits",
    "nf4_error",
];

/// The table's columns, those that the user chose first.
fn shown(columns: impl Iterator<Item = &'static Column>) -> Vec<&'static str> {
    // Ranks by σ come with those by σ², and are seldom wanted.
    let is_wanted = |key: &&str| !SHOWN.contains(key) && !key.starts_with("nuclear_rank_at_");
    let chosen = columns.map(|column| column.key).filter(is_wanted);
    let (first, rest): (Vec<_>, Vec<_>) = chosen.partition(|key| FIRST.contains(key));
    first.into_iter().chain(rest).chain(SHOWN).collect()
}

/// The layer of that name.
fn named<'a>(name: &str, layers: &'a [Arc<Layer>]) -> Result<&'a str, Error> {
    if let Some(layer) = layers.iter().find(|layer| layer.name == name) {
        return Ok(&layer.name);
    }
    let names = || layers.iter().map(|layer| layer.name.as_str());
    let near = names().find(|known| known.contains(name)).or_else(|| gate::likeliest(name, names()));
    let hint = near.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    Err(Error::Usage(format!("no matrix is called `{}`{hint}", crate::error::brief(name))))
}

fn draw(report: &Report, spectrum: &Spectrum, style: &TableStyle<'_>, out: &mut dyn Write) -> io::Result<()> {
    // What does not fit a double cannot be drawn.
    let Some(row) = report.rows.first().filter(|_| spectrum.fits()) else { return Ok(()) };
    let facts: Vec<&Column> = FACTS
        .iter()
        .filter_map(|key| report.columns.iter().find(|column| column.key == *key).copied())
        .collect();
    render::plot::write(row, spectrum, &facts, (style.width, style.paint), out)
}
