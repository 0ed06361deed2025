//! Progress of a run: a bar on a terminal; elsewhere, with `--verbose`, a line now and then. It measures work, not tensors.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::Job;
use crate::notation;

use super::options::Common;
use super::plan;

/// A run shorter than this needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);
/// Operations that take long enough for the speed of the machine to be measured first.
const LONG: f64 = 2e10;
/// Time between two lines without a terminal.
const INTERVAL: Duration = Duration::from_secs(30);

/// Progress of one run.
pub(super) struct Progress {
    costs: Vec<f64>,
    total: f64,
    done: f64,
    finished: usize,
    begun: Instant,
    told: Instant,
    /// How long the whole is expected to take, by the machine's speed before it began.
    expected: Option<f64>,
    way: Way,
}

enum Way {
    Silent,
    Lines,
    Bar(Option<ProgressBar>),
}

impl Progress {
    /// Progress over `jobs` on `threads`.
    pub(super) fn new(jobs: &[Job], common: &Common, threads: usize) -> Self {
        let way = match () {
            () if common.quiet => Way::Silent,
            () if super::is_watched() => Way::Bar(None),
            () if common.verbose => Way::Lines,
            () => Way::Silent,
        };
        let costs: Vec<f64> = jobs.iter().map(|job| job.flops).collect();
        let total = costs.iter().sum::<f64>().max(1.0);
        let expected =
            (!matches!(way, Way::Silent) && total > LONG).then(|| total / (plan::rate() * threads as f64));
        let now = Instant::now();
        Self { total, costs, done: 0.0, finished: 0, begun: now, told: now, expected, way }
    }

    /// Takes note that a job has ended.
    pub(super) fn finished(&mut self, job: usize) {
        self.done += self.costs[job];
        self.finished += 1;
        self.show();
    }

    /// Shows how far the work is, where it is time to.
    pub(super) fn show(&mut self) {
        let share = self.done / self.total;
        let text = self.text(share);
        match &mut self.way {
            Way::Lines if self.told.elapsed() > INTERVAL => {
                super::remark(&format!("{:.0} % · {text}", share * 100.0));
                self.told = Instant::now();
            }
            Way::Bar(bar @ None) if self.begun.elapsed() > PATIENCE && self.finished < self.costs.len() => {
                let new = new_bar();
                shown().replace(new.clone());
                *bar = Some(new);
            }
            Way::Silent | Way::Lines | Way::Bar(None) => {}
            Way::Bar(Some(bar)) => {
                bar.set_position((share * 1000.0) as u64);
                bar.set_message(text);
            }
        }
    }

    /// How far the work is, and the time left: by the machine's speed at first, by the work done later.
    fn text(&self, share: f64) -> String {
        /// Work that says how fast the rest will be.
        const TELLING: f64 = 0.05;
        let state = format!("{} of {} tensors", self.finished, self.costs.len());
        let elapsed = self.begun.elapsed().as_secs_f64();
        let left = match self.expected {
            Some(expected) if share < TELLING => Some(expected - elapsed).filter(|left| *left > 0.0),
            _ if share > 0.0 => Some(elapsed * (1.0 - share) / share),
            _ => None,
        };
        left.map_or(state.clone(), |left| format!("{state} · about {} left", notation::estimate(left)))
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Way::Bar(Some(_)) = self.way {
            clear();
        }
    }
}

/// The bar on the screen, for whoever ends the process.
fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);
    // Nothing can have been left half changed.
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the bar away, if there is one.
pub(super) fn clear() {
    if let Some(bar) = shown().take() {
        bar.finish_and_clear();
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} % · {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}
