//! `svdkit watch`: the same as `series`, while the run goes on.

mod kept;
mod seen;
mod told;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::error::{Error, printable};
use crate::notation;
use crate::report::{Hidden, Report};
use crate::study::{Series, StepOrder, StepRecord};

use super::options::Common;
use super::outputs::{self, Outputs};
use super::series::measure::Run;
use super::series::open::is_passed_over;
use super::series::options::StepOptions;
use super::{Status, is_interrupted, priority, remark, run};
use kept::KeptSteps;
use seen::Seen;
use told::Told;

/// Measures the checkpoints of a run as they are written, and shows what `svdkit series` shows of them.
///
/// A checkpoint is measured once it is complete: nothing of it changed for an interval, no file has a temporary name, and
/// all files that its index names are as long as their headers say. Checkpoints that are deleted later stay in the report.
/// Files of `-o` and `--tensorboard` are brought up to date after each step.
///
/// The watch ends with the report when the file of `--until-file` appears or the step of `--until` is measured.
/// Ctrl-C ends it at once; typed again, the same command goes on with what is in the ledger.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder in which checkpoints appear
    #[arg(value_name = "RUN")]
    folder: PathBuf,
    /// End when this step, or a later one, is measured
    #[arg(long, value_name = "STEP", help_heading = "Watch")]
    until: Option<u64>,
    /// End when this file is there and all complete checkpoints are measured [default: RUN/svdkit.stop]
    #[arg(long, value_name = "FILE", help_heading = "Watch")]
    until_file: Option<PathBuf>,
    /// Seconds between two looks at the folder; a checkpoint has to be unchanged for as long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds, help_heading = "Watch")]
    interval: Duration,
    /// Where each step is written down, so that a watch which was stopped goes on [default: FILE.ledger beside the first
    /// FILE of `-o`; without `-o` and `--tensorboard`, none]
    #[arg(long, value_name = "DIR", help_heading = "Watch")]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    options: StepOptions,
}

/// A time between a hundredth of a second and a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok();
    let range = 0.01..=86_400.0;
    let seconds = seconds.filter(|seconds| range.contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a number of seconds from 0.01 to 86400, as in 30".to_owned())
}

/// So often a checkpoint is read again whose matrices could not all be read, before it is taken as it is.
const ATTEMPTS: u32 = 3;

/// A watch in progress.
struct Watch<'a> {
    arguments: &'a Arguments,
    run: Run<'a>,
    /// The same options, without messages: for what is written between two steps.
    silent: Common,
    seen: Seen,
    measured: Measured,
    ledger: Option<KeptSteps>,
    told: Told,
}

/// What was measured so far.
#[derive(Default)]
struct Measured {
    series: Series,
    /// What the settings file hides of the last step.
    hidden: Hidden,
    /// What the files of the steps were.
    marks: BTreeMap<u64, String>,
}

impl Measured {
    /// Takes the report on a step.
    fn take(&mut self, step: u64, (path, mark): (&str, String), (report, hidden): (Report, Hidden)) {
        if self.series.last().is_none_or(|last| last <= step) {
            self.hidden = hidden;
        }
        self.series.add(step, path, report);
        self.marks.insert(step, mark);
    }
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<Status, Error> {
    let options = &arguments.options;
    let common = &options.common.in_force()?;
    let folder = &arguments.folder;
    if folder.exists() && !folder.is_dir() {
        return Err(Error::malformed(folder, "is not a folder; `svdkit series` measures single checkpoints"));
    }
    let mut run = Run::new(options, common)?;
    let mut outputs = Outputs::new(&common.output)?;
    let mut seen = Seen::new(folder, arguments.interval);
    outputs::reports(common).try_for_each(|path| seen.check_outside(path.parent()))?;
    seen.check_outside(options.tensorboard.as_deref())?;
    options.events(common, &mut outputs)?;
    run.open_base()?;
    run.follows = true;
    if common.dry_run {
        let is_there = seen.look()?;
        let places: Vec<_> = seen.steps().iter().map(|(step, below)| seen.place(*step, below)).collect();
        return match places.is_empty() {
            true if is_there => Err(Error::malformed(folder, "holds no checkpoint yet, by which to plan")),
            true => Err(Error::malformed(folder, "is not there yet")),
            false => run.dry_run(&places).map(|()| Status::Fine),
        };
    }
    // Before threads are started: they inherit it.
    priority::lower();
    outputs.check()?;
    let silent = Common { quiet: true, verbose: false, ..common.clone() };
    let mut watch = Watch {
        arguments,
        run,
        silent,
        seen,
        measured: Measured::default(),
        ledger: None,
        told: Told::default(),
    };
    watch.resume()?;
    watch.follow()?;
    watch.end()
}

impl Watch<'_> {
    /// Takes what an earlier watch has measured.
    fn resume(&mut self) -> Result<(), Error> {
        let events = self.arguments.options.tensorboard.as_deref();
        let common = self.run.common;
        let Some(folder) = KeptSteps::folder(self.arguments.ledger.as_deref(), common, events) else {
            return Ok(());
        };
        KeptSteps::check(&folder, common)?;
        let facts = (self.run.facts(&self.arguments.folder)?, outputs::draws(common));
        let Self { arguments, measured, .. } = self;
        self.ledger = Some(KeptSteps::open(&folder, facts, &mut |record| {
            let path = arguments.folder.join(&record.place).display().to_string();
            let (step, mark, hidden) = (record.step, record.mark.clone(), record.hidden.clone());
            measured.take(step, (&path, mark), (record.into_report(&path)?, hidden));
            Some(())
        })?);
        let count = self.measured.series.measured();
        if count > 0 {
            if let Ok(report) = self.judged() {
                self.told.known(&report);
            }
            if !common.quiet {
                let folder = printable(&folder.to_string_lossy());
                remark(&format!(
                    "{folder}: {} known",
                    notation::counted(count as u64, "step is", "steps are")
                ));
            }
            self.write();
        }
        Ok(())
    }

    /// Measures checkpoints as they come, until the watch is to end.
    fn follow(&mut self) -> Result<(), Error> {
        /// So often a folder may be away when the watch is to end: a network disk may come back.
        const AWAY: u32 = 3;
        let (mut away, mut trouble) = (0, String::new());
        loop {
            // What is written before this file is there is measured.
            let is_last = self.stop_file().exists();
            let is_there = match self.seen.look() {
                Ok(is_there) => is_there,
                // Somebody may be moving checkpoints just now.
                Err(error) if self.measured.series.measured() > 0 && !is_last => {
                    self.say(&mut trouble, format!("{error}; the watch waits"));
                    self.sleep()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if is_there {
                (away, trouble) = (0, String::new());
            } else {
                away += 1;
                let folder = &self.arguments.folder;
                let why = self.seen.away.clone().filter(|_| folder.exists());
                let name = printable(&folder.to_string_lossy());
                self.say(&mut trouble, format!("waiting for {}", why.unwrap_or(name)));
            }
            for (step, below) in self.seen.steps() {
                let is_new = self.is_new(step, &below);
                if is_new && self.seen.is_settled(&below) {
                    self.check_outside(step, &below)?;
                    self.measure(step, &below)?;
                }
                if self.is_reached() {
                    break;
                }
            }
            self.warn();
            let most = if is_last && (is_there || away >= AWAY) {
                Some(u64::MAX)
            } else {
                self.is_reached().then(|| self.measured.series.last()).flatten()
            };
            let mut left =
                self.seen.steps().into_iter().filter(|(step, _)| most.is_some_and(|most| *step <= most));
            if most.is_some() && left.all(|(_, below)| self.seen.is_still(&below)) {
                return Ok(());
            }
            self.sleep()?;
        }
    }

    /// Says what the watch waits for, if that was not the last that it said.
    fn say(&self, last: &mut String, words: String) {
        if *last != words && !self.run.common.quiet {
            remark(&words);
        }
        *last = words;
    }

    /// Says once why nothing could be measured so far, as with a filter that leaves nothing.
    fn warn(&mut self) {
        let is_silent = self.run.common.quiet || self.measured.series.measured() > 0 || self.told.is_warned;
        let first = if is_silent { None } else { self.seen.first_in_vain() };
        if let Some((step, why)) = first {
            self.told.is_warned = true;
            remark(&format!("step {step} is left out so far: {why}"));
        }
    }

    /// Waits for the next look.
    fn sleep(&self) -> Result<(), Error> {
        const NAP: Duration = Duration::from_millis(20);
        let until = Instant::now() + self.arguments.interval;
        while !is_interrupted() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(NAP)),
                _ => return Ok(()),
            }
        }
        Err(Error::Interrupted)
    }

    fn stop_file(&self) -> PathBuf {
        let own = self.arguments.until_file.clone();
        own.unwrap_or_else(|| self.arguments.folder.join("svdkit.stop"))
    }

    fn is_reached(&self) -> bool {
        self.arguments
            .until
            .is_some_and(|until| self.measured.series.last().is_some_and(|last| last >= until))
    }

    /// Whether a checkpoint is not measured as it is now.
    fn is_new(&mut self, step: u64, below: &Path) -> bool {
        let measured = self.measured.marks.get(&step);
        self.seen.get(below).is_some_and(|place| measured != Some(&place.mark.weights))
    }

    /// Refuses outputs in a checkpoint that is read.
    fn check_outside(&self, step: u64, below: &Path) -> Result<(), Error> {
        let place = self.seen.place(step, below);
        let events = self.arguments.options.tensorboard.as_deref();
        outputs::reports(self.run.common).chain(events).try_for_each(|path| place.check_outside(path))
    }

    /// Measures a checkpoint, if it is as it should be and stays so; if not, it is waited for.
    fn measure(&mut self, step: u64, below: &Path) -> Result<(), Error> {
        let place = self.seen.place(step, below);
        let measured = self.run.measure(&place, &mut || Ok(()));
        let is_same = self.seen.is_same(below);
        let Some(seen) = self.seen.get(below) else { return Ok(()) };
        match measured {
            Ok(found) if is_same => {
                if found.0.totals.failed > 0 && seen.failures + 1 < ATTEMPTS {
                    seen.failures += 1;
                    self.seen.wait_again(below);
                    return Ok(());
                }
                let mark = seen.mark.weights.clone();
                self.keep(step, (below, mark), found)
            }
            Ok(_) => Ok(()),
            Err(error) if is_passed_over(&error) => {
                seen.why = Some(error.to_string()).filter(|_| is_same);
                self.run.check_base()
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps what was measured of a step, writes it down, and replaces the outputs.
    fn keep(
        &mut self,
        step: u64,
        (below, mark): (&Path, String),
        (report, hidden): (Report, Hidden),
    ) -> Result<(), Error> {
        let path = self.arguments.folder.join(below).display().to_string();
        if let Some(ledger) = &mut self.ledger {
            let place = (below.to_string_lossy().into_owned(), mark.clone());
            ledger.append(&StepRecord::new(step, place, (&report, &hidden)))?;
        }
        self.measured.take(step, (&path, mark), (report, hidden));
        let report = self.write();
        if !self.run.common.quiet {
            remark(&self.told.line(report.as_ref(), step, self.arguments.options.shown()));
        }
        Ok(())
    }

    /// Writes down which steps are left out: those before the last whose files are not as they should be.
    fn skip(&mut self, most: u64) {
        self.measured.series.forget_skipped();
        for (step, below) in self.seen.steps().into_iter().filter(|(step, _)| *step <= most) {
            let is_known = self.measured.marks.contains_key(&step);
            let path = self.arguments.folder.join(&below).display().to_string();
            let why = self.seen.get(&below).and_then(|place| place.why.clone());
            if let Some(why) = why.filter(|_| !is_known) {
                self.measured.series.skip(step, &path, &why);
            }
        }
    }

    /// The report so far.
    fn judged(&self) -> Result<Report, Error> {
        self.run.judged(&self.measured.series, (StepOrder::ByNumber, &self.measured.hidden), &self.silent)
    }

    /// Replaces the outputs, and gives the report; a disk that takes nothing now may do so after the next step.
    fn write(&mut self) -> Option<Report> {
        self.skip(self.measured.series.last().unwrap_or(0));
        let write = || -> Result<Report, Error> {
            let report = self.judged()?;
            let mut outputs = Outputs::new(&self.silent.output)?;
            let events = self.arguments.options.events(&self.silent, &mut outputs)?;
            outputs.again(&self.silent)?;
            self.run.write_events(&report, events, &mut outputs);
            run::write_files(&report, &self.silent, self.arguments.options.shown(), &mut outputs);
            Ok(report)
        };
        let written = write();
        self.told.trouble(written.as_ref().err());
        written.ok()
    }

    /// The report at the end. What could not be measured so far is looked at once more, as `series` does.
    fn end(mut self) -> Result<Status, Error> {
        let most = if self.is_reached() { self.measured.series.last().unwrap_or(u64::MAX) } else { u64::MAX };
        for (step, below) in self.seen.steps().into_iter().filter(|(step, _)| *step <= most) {
            if self.is_new(step, &below) {
                self.measure_at_last(step, &below)?;
            }
        }
        self.skip(most);
        self.run.end();
        let common = self.run.common;
        if !common.quiet {
            told::left_out(&self.judged());
        }
        let mut outputs = Outputs::new(&common.output)?;
        let events = self.arguments.options.events(common, &mut outputs)?;
        outputs.again(common)?;
        let report =
            self.run.judged(&self.measured.series, (StepOrder::ByNumber, &self.measured.hidden), common)?;
        self.run.deliver((&self.measured.series, &report), events, &mut outputs)
    }

    /// Measures a checkpoint whose names said that it is not complete, now that nobody writes it any more.
    fn measure_at_last(&mut self, step: u64, below: &Path) -> Result<(), Error> {
        self.check_outside(step, below)?;
        if let Some(place) = self.seen.get(below) {
            place.failures = ATTEMPTS;
        }
        self.measure(step, below)
    }
}
