//! `svdkit intruders`: which leading directions of a fine-tune its base does not have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::analysis::intruders::{Cosines, Detail, Of, Options, VectorSide};
use crate::error::{Error, printable};
use crate::study::{Asked, IntrudersRequest, Mitigation, check_complete};
use crate::writing::Spool;

use super::locate;
use super::model::{self, open_pair};
use super::options::{Common, FormatName, ReadingOptions};
use super::outputs::Outputs;
use super::run::{self, Finished};
use super::{Status, print, rules};

/// Columns of the table, most wanted first.
const SHOWN: [&str; 7] = [
    "intruder_count",
    "k",
    "intruder_energy",
    "lowest_cosine",
    "delta_spectral_ratio",
    "delta_frobenius_ratio",
    "delta_effective_rank",
];

/// Finds intruder dimensions: leading singular vectors of TUNED that no singular vector of BASE comes close to.
///
/// Low-rank adapters tend to have them, full fine-tunes hardly any (Shuttleworth et al. 2024, arXiv 2410.21228).
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The original checkpoint
    base: PathBuf,
    /// The fine-tune: a checkpoint or an adapter
    #[arg(required_unless_present = "more")]
    tuned: Option<PathBuf>,
    /// Another fine-tune of BASE, in a table and a file of its own; may be repeated. NAME=PATH names it
    #[arg(id = "more", long = "tuned", value_name = "[NAME=]PATH", help_heading = "Input")]
    more: Vec<PathBuf>,
    /// Number of leading directions to check in each matrix
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
    k: usize,
    /// A direction is an intruder if its best cosine is below this
    #[arg(long, value_name = "COSINE", default_value_t = 0.5, value_parser = cosine)]
    epsilon: f64,
    /// Which singular vectors to compare
    #[arg(long, value_name = "SIDE", value_enum, default_value_t = SideName::Left)]
    side: SideName,
    /// Which leading directions: those of the tuned weight, or of the update alone
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = OfName::Tuned)]
    of: OfName,
    /// Also count at other limits: epsilon=FIRST:LAST:STEP
    #[arg(long, value_name = "RANGE", value_parser = sweep)]
    sweep: Option<Sweep>,
    /// Report every leading direction: its singular value, best cosine, and the closest vector of the base
    #[arg(long)]
    detail: bool,
    /// Compute the best cosines instead of bounds; slower if there are intruders
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    reading: ReadingOptions,
    /// Write a copy of TUNED whose intruders keep only this share of their strength: 0 removes them, 1 leaves them
    #[arg(long, value_name = "KEEP", value_parser = share, requires = "out", help_heading = "Mitigated copy")]
    mitigate: Option<f64>,
    /// The folder for the copy; must be empty or not exist
    #[arg(long, value_name = "DIR", requires = "mitigate", help_heading = "Mitigated copy")]
    out: Option<PathBuf>,
    /// The rank of a mitigated adapter [default: its own]
    #[arg(long, value_name = "R", requires = "mitigate", value_parser = at_least_one, help_heading = "Mitigated copy")]
    rank: Option<usize>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SideName {
    /// Left vectors, in the output space, as in the paper
    Left,
    /// Right vectors, in the input space
    Right,
    /// Both
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OfName {
    /// The tuned weight, base + update, as in the paper
    Tuned,
    /// The update alone
    Delta,
}

/// Limits of `--sweep`.
#[derive(Debug, Clone)]
struct Sweep(Vec<f64>);

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|k| *k > 0).ok_or_else(|| "a whole number from 1 on".to_owned())
}

fn cosine(text: &str) -> Result<f64, String> {
    let cosine: Option<f64> = text.parse().ok();
    cosine.filter(|x| (0.0..=1.0).contains(x)).ok_or_else(|| "a cosine is a number from 0 to 1".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share: Option<f64> = text.parse().ok();
    share.filter(|x| (0.0..=1.0).contains(x)).ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

/// `epsilon=0.3:0.9:0.1`.
fn sweep(text: &str) -> Result<Sweep, String> {
    const MOST: usize = 100;
    let usage = || "a sweep is epsilon=FIRST:LAST:STEP, as in epsilon=0.3:0.9:0.1".to_owned();
    let range = text.strip_prefix("epsilon=").ok_or_else(usage)?;
    let parts: Vec<f64> = range.split(':').map(cosine).collect::<Result<_, _>>()?;
    let [first, last, step] = parts[..] else { return Err(usage()) };
    if step <= 0.0 || last < first || (last - first) / step > MOST as f64 {
        return Err(format!("{}; at most {MOST} steps", usage()));
    }
    // Multiples of a decimal step are decimals again.
    let at = |i: usize| ((first + i as f64 * step) * 1e9).round() / 1e9;
    Ok(Sweep((0..=((last - first) / step + 1e-9) as usize).map(at).collect()))
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let common = &arguments.common.in_force()?;
    let tuned = model::named(arguments.tuned.iter().chain(&arguments.more));
    let several = tuned.len() > 1;
    let in_turn = [FormatName::Table, FormatName::Markdown].contains(&common.format);
    if several && (!in_turn || arguments.out.is_some()) {
        let what = "several `--tuned` make one table each, and with `-o` one file each; for another `--format` or `--mitigate`, run them one by one";
        return Err(Error::Usage(what.to_owned()));
    }
    let files = |name: &str| -> Vec<PathBuf> {
        common.output.iter().map(|path| if several { of_side(path, name) } else { path.clone() }).collect()
    };
    let outputs = tuned.iter().map(|(name, _)| Outputs::new(&files(name))).collect::<Result<Vec<_>, _>>()?;
    let mut worst = Status::Fine;
    for (i, ((name, tuned), outputs)) in tuned.iter().zip(outputs).enumerate() {
        if several {
            let gap = if i > 0 { "\n" } else { "" };
            let mark = if common.format == FormatName::Markdown { "## " } else { " " };
            let path = tuned.to_string_lossy();
            let own = if path.ends_with(name.as_str()) { String::new() } else { format!("{name}: ") };
            print(format!("{gap}{mark}{}\n", printable(&format!("{own}{path}"))).as_bytes())?;
        }
        worst = worst.max(find(arguments, tuned, (common, outputs))?);
    }
    Ok(worst)
}

/// The file of one of several fine-tunes: `r.lora.json` for `r.json`.
fn of_side(path: &Path, name: &str) -> PathBuf {
    let part = |text: Option<&std::ffi::OsStr>| text.map(|text| text.to_string_lossy().into_owned());
    let (stem, end) = (part(path.file_stem()).unwrap_or_default(), part(path.extension()));
    path.with_file_name(format!("{stem}.{name}{}", end.map_or_else(String::new, |end| format!(".{end}"))))
}

/// Reports the intruders of one fine-tune.
fn find(
    arguments: &Arguments,
    tuned: &Path,
    (common, mut outputs): (&Common, Outputs),
) -> Result<Status, Error> {
    let request = IntrudersRequest { options: options(arguments), asked: Asked::own() };
    if arguments.out.is_some() && request.options.of == Of::Delta {
        let reason = "`--mitigate` scales intruders of the tuned weight; leave out `--of delta`";
        return Err(Error::Usage(reason.to_owned()));
    }
    let columns = request.columns();
    let gate = rules::gate(common, "intruders", &columns)?;
    let every = columns.iter().filter(|_| common.columns.iter().any(|word| word == "all"));
    let every: Vec<_> = every.map(|column| (*column, "`--columns all`")).collect();
    let request = IntrudersRequest { asked: rules::asked(common, &gate, &columns, &every), ..request };
    let opening = arguments.reading.opening()?;
    let (opened, pairs) = open_pair(&arguments.base, tuned, &opening)?;
    let mitigation = mitigation(arguments, tuned)?;
    if let Some(mitigation) = &mitigation {
        mitigation.check(&pairs, &common.filter()?)?;
        outputs.add_folder("--out", &mitigation.out);
    }
    outputs.ready(common)?;
    let source = Arc::clone(&opened.source);
    let corrections = mitigation.as_ref().map(|copy| Spool::beside(&copy.out)).transpose()?.map(Arc::new);
    let study = request.plan(opened, &pairs, &common.filter()?, corrections.as_ref())?;
    let Some(Finished { mut report, .. }) = run::report(study, source, (common, &gate))? else {
        return Ok(Status::Fine);
    };
    if let Some((mitigation, corrections)) = mitigation.zip(corrections) {
        check_complete(&report, &mitigation.out)?;
        match mitigation.write(&mut report, &corrections, &pairs) {
            Ok(left_out) => run::tell_left_out(&mitigation.out, &left_out, common),
            Err(error) => outputs.fail(&error),
        }
    }
    run::deliver(&report, common, &SHOWN, &mut outputs)
}

/// The copy that is to be written, if one is.
fn mitigation(arguments: &Arguments, tuned: &Path) -> Result<Option<Mitigation>, Error> {
    let Some(out) = arguments.out.clone() else { return Ok(None) };
    let from = locate::locate(tuned)?.local()?;
    Ok(Some(Mitigation { from, out, keep: arguments.mitigate.unwrap_or(1.0), rank: arguments.rank }))
}

fn options(arguments: &Arguments) -> Options {
    Options {
        k: arguments.k,
        epsilon: arguments.epsilon,
        sweep: arguments.sweep.as_ref().map_or_else(Vec::new, |sweep| sweep.0.clone()),
        side: match arguments.side {
            SideName::Left => VectorSide::Left,
            SideName::Right => VectorSide::Right,
            SideName::Both => VectorSide::Both,
        },
        of: match arguments.of {
            OfName::Tuned => Of::Tuned,
            OfName::Delta => Of::Delta,
        },
        cosines: if arguments.exact { Cosines::Exact } else { Cosines::Decided },
        detail: if arguments.detail { Detail::Directions } else { Detail::Indices },
        mitigate: arguments.mitigate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_fine_tunes_has_its_file() {
        let check =
            |path: &str, expected: &str| assert_eq!(of_side(Path::new(path), "lora"), Path::new(expected));
        check("a/r.json", "a/r.lora.json");
        check("r.x.html", "r.x.lora.html");
        check("r", "r.lora");
    }

    #[test]
    fn a_sweep_has_both_ends_and_no_rounding() {
        let limits = |text: &str| sweep(text).ok().map(|sweep| sweep.0);
        assert_eq!(limits("epsilon=0.3:0.9:0.1"), Some(vec![0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]));
        assert_eq!(limits("epsilon=0.5:0.5:0.1"), Some(vec![0.5]));
        for wrong in
            ["0.3:0.9:0.1", "epsilon=0.3:0.9", "epsilon=0.9:0.3:0.1", "epsilon=0:1:0", "epsilon=0:1:0.001"]
        {
            assert_eq!(limits(wrong), None, "{wrong}");
        }
    }
}
