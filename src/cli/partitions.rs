//! `svdkit plan`: the parts of a run on many machines, with what each costs, from headers alone.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};

use crate::engine::Limits;
use crate::error::{Error, printable};
use crate::notation;
use crate::study::{Partition, Reads, Study};

use super::options::Common;
use super::recording::{Errand, Plan};
use super::words::bare;
use super::{Status, parts_of, plan, slurm, stdout};

/// Shows how a run is cut into parts: work, memory, bytes to read and time of each, from headers alone.
///
/// Parts are runs of matrices as they lie in the files, of about the same work. Each machine finds the same parts by itself:
/// `svdkit COMMAND … --ledger DIR --partition K/N` does one, `svdkit collect DIR` makes the report of all.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many parts [default: shows what several numbers of parts would cost]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    partitions: Option<u32>,
    /// Write what runs the parts, and collects them, to stdout
    #[arg(long, value_name = "WHAT", value_enum, requires = "partitions")]
    emit: Option<EmitName>,
    /// The command, as in `svdkit plan --partitions 16 -- spectrum MODEL -o report.html`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EmitName {
    /// A script that submits an array of jobs to Slurm, and one that collects after them
    Slurm,
}

/// More parts than this are not listed one by one.
const LISTED: usize = 64;

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let mut command = super::parse(&arguments.command)?;
    let Some((common, ledger)) = parts_of(&mut command) else {
        return Err(Error::Usage(format!(
            "`{}` is not done in parts; spectrum, rank, farms, intruders, compare and heads are",
            printable(&arguments.command[0])
        )));
    };
    let script = arguments.emit.map(|EmitName::Slurm| bare(&arguments.command));
    if script.is_some() && ledger.ledger.is_none() {
        let what = "add `--ledger DIR` to the command: the folder for its records, which every node sees";
        return Err(Error::Usage(what.to_owned()));
    }
    common.dry_run = false;
    (ledger.partition, ledger.resume) = (None, false);
    let count = arguments.partitions.map(|count| count as usize);
    ledger.errand = Errand::Plan(Plan { count, script });
    super::run_command(&command)
}

/// Tells the parts of `study`.
pub(super) fn tell(study: &dyn Study, plan: &Plan, (common, limits): (&Common, Limits)) -> Result<(), Error> {
    let Some(count) = plan.count else { return choices(study, limits) };
    let partition = Partition::new(study, count);
    if let (Some(command), Some(folder)) = (&plan.script, &common.recording.ledger) {
        let heading = summary(study, &partition, limits);
        let has_jobs = common.shared.jobs.is_some();
        let script = slurm::script(command, folder, count, (&heading.join("\n"), has_jobs));
        return stdout::print(script.as_bytes());
    }
    let (jobs, reads) = (study.costs(), study.reads());
    let line = |(i, tasks): (usize, &Vec<usize>)| {
        let most = tasks.iter().map(|task| jobs[*task].bytes).max().unwrap_or(0);
        let reads: Vec<Reads> = tasks.iter().filter_map(|task| reads.get(*task).copied()).collect();
        let files: BTreeSet<usize> =
            reads.iter().map(|reads| reads.file).filter(|file| *file != usize::MAX).collect();
        let bytes = reads.iter().fold(0_u64, |sum, reads| sum.saturating_add(reads.bytes));
        [
            (i + 1).to_string(),
            notation::count(tasks.len() as u64),
            notation::flops(partition.work[i]),
            notation::bytes(bytes),
            files.len().to_string(),
            notation::bytes(most),
            plan::time(partition.work[i], limits),
        ]
    };
    let head = ["part", "tasks", "work", "to read", "files", "memory", "time"].map(str::to_owned);
    let rows: Vec<[String; 7]> = partition.parts.iter().enumerate().take(LISTED).map(line).collect();
    let more = partition.parts.len().saturating_sub(LISTED);
    table(&summary(study, &partition, limits), &head, &rows, more)
}

/// The whole in three lines.
fn summary(study: &dyn Study, partition: &Partition, limits: Limits) -> [String; 3] {
    let work: f64 = partition.work.iter().sum();
    let most = partition.work.iter().copied().fold(0.0, f64::max);
    let (tasks, work) = (notation::count(study.costs().len() as u64), notation::flops(work));
    let (time, threads) =
        (plan::time(most, limits), notation::counted(limits.threads as u64, "thread", "threads"));
    [
        format!("tasks  {tasks}, {work}"),
        format!(
            "parts  {}; the dearest has {:.3} times the mean",
            partition.parts.len(),
            partition.balance()
        ),
        format!("time   {time} for the dearest, on {threads} like here"),
    ]
}

/// What several numbers of parts would cost.
fn choices(study: &dyn Study, limits: Limits) -> Result<(), Error> {
    const MOST: u32 = 10;
    let tasks = study.costs().len();
    let counts = (0..=MOST).map(|power| 1_usize << power).take_while(|count| *count == 1 || *count <= tasks);
    let mut best = f64::INFINITY;
    let mut rows = vec![];
    for count in counts {
        let partition = Partition::new(study, count);
        let most = partition.work.iter().copied().fold(0.0, f64::max);
        // More parts than that are of no use: the dearest matrix is one of its own.
        if most >= best {
            break;
        }
        best = most;
        rows.push([
            count.to_string(),
            notation::flops(most),
            format!("{:.3}", partition.balance()),
            plan::time(most, limits),
        ]);
    }
    let head = ["parts", "dearest", "over the mean", "time"].map(str::to_owned);
    table(&["what the dearest part costs; `--partitions N` shows each".to_owned()], &head, &rows, 0)
}

/// Writes rows under some lines, numbers to the right.
fn table<const N: usize>(
    lines: &[String],
    head: &[String; N],
    rows: &[[String; N]],
    more: usize,
) -> Result<(), Error> {
    let all = || std::iter::once(head).chain(rows);
    let wide: [usize; N] =
        std::array::from_fn(|at| all().map(|row| row[at].chars().count()).max().unwrap_or(0));
    stdout::write(|out| {
        lines.iter().try_for_each(|line| writeln!(out, " {}", printable(line)))?;
        writeln!(out)?;
        for row in all() {
            let cells: Vec<String> =
                row.iter().zip(wide).map(|(cell, wide)| format!("{cell:>wide$}")).collect();
            writeln!(out, " {}", cells.join("  "))?;
        }
        if more > 0 { writeln!(out, " … {more} more") } else { Ok(()) }
    })
}
