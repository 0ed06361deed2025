//! What is told while the work runs: a bar on a terminal, a line now and then elsewhere. The measure is work, not tensors.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::Job;
use crate::notation;

/// A run shorter than this needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);
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
    way: Way,
}

enum Way {
    Silent,
    Lines,
    Bar(Option<ProgressBar>),
}

impl Progress {
    /// Progress over `jobs`; silent when the user asked for quiet.
    pub(super) fn new(jobs: &[Job], quiet: bool) -> Self {
        let now = Instant::now();
        let way = match (quiet, super::is_watched()) {
            (true, _) => Way::Silent,
            (false, true) => Way::Bar(None),
            (false, false) => Way::Lines,
        };
        let costs: Vec<f64> = jobs.iter().map(|job| job.flops).collect();
        Self {
            total: costs.iter().sum::<f64>().max(1.0),
            costs,
            done: 0.0,
            finished: 0,
            begun: now,
            told: now,
            way,
        }
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
                *bar = Some(new_bar());
            }
            Way::Silent | Way::Lines | Way::Bar(None) => {}
            Way::Bar(Some(bar)) => {
                bar.set_position((share * 1000.0) as u64);
                bar.set_message(text);
            }
        }
    }

    /// How far the work is; time left once anything is done to judge by.
    fn text(&self, share: f64) -> String {
        let state = format!("{} of {} tensors", self.finished, self.costs.len());
        if share > 0.0 {
            let left = self.begun.elapsed().as_secs_f64() * (1.0 - share) / share;
            format!("{state} · about {} left", notation::seconds(left))
        } else {
            state
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(self) {
        if let Way::Bar(Some(bar)) = self.way {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} % · {msg}") {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}
