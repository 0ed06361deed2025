//! The parallel map: dearest job first, never more memory in flight than allowed, each result handed over as it comes.
//!
//! A worker takes one job after the other. Only one with nothing left to take goes back to the pool and helps the others
//! through its work stealing, so the last large matrix uses every thread. No job begins inside another that waits for
//! its parts, as it would if jobs were handed to the pool one by one. It knows nothing about what a job does.

pub mod heap;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use crate::error::Error;
use crate::notation;

/// The expected cost of a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Floating-point operations; decides the order and the progress shown.
    pub flops: f64,
    /// Peak memory while it runs.
    pub bytes: u64,
}

/// The limits for all jobs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Threads, at least one.
    pub threads: usize,
    /// Bytes in flight. A single job above it runs alone.
    pub memory: u64,
    /// Bytes that this process can have at all: it would be killed for more.
    pub granted: u64,
}

/// What a run may take beside `--memory`: the program, and its report.
const BESIDE: u64 = 100 << 20;
/// What the program takes of that.
pub const OWN: u64 = 16 << 20;

impl Limits {
    /// What a report may take, and all that is known until then: names, shapes and places of all tensors.
    pub fn of_report(self) -> u64 {
        self.memory.saturating_add(BESIDE - OWN).min(self.granted)
    }

    /// What is left for jobs beside a report of so many bytes.
    #[must_use]
    pub fn beside(self, report: u64) -> Self {
        let granted = self.granted.saturating_sub(report);
        let memory = self.memory.saturating_sub(report.saturating_sub(BESIDE - OWN));
        Self { memory: memory.min(granted).max(1), granted, ..self }
    }

    /// Why a job is not begun: it takes more than there is, or more than the limit and than its input justifies.
    pub fn forbids(self, job: &Job, justified: u64) -> Option<String> {
        let needed = notation::bytes(job.bytes);
        if job.bytes > self.granted {
            let granted = notation::bytes(self.granted);
            return Some(format!(
                "takes about {needed} of memory; this machine, or the control group of this run, leaves {granted}"
            ));
        }
        (job.bytes > self.memory.max(justified)).then(|| {
            format!(
                "takes about {needed} of memory, far more than what is stored of it; `--memory {}G` allows that",
                job.bytes.div_ceil(1 << 30)
            )
        })
    }
}

/// Progress events for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<T> {
    /// Job `0` of the given slice has begun.
    Started(usize),
    /// Job `0` of the given slice has ended with this result; without one where it panicked.
    Finished(usize, Option<T>),
    /// Nothing happened for a moment.
    Waiting,
}

/// Runs `work(i)` for every job.
///
/// `watch` is called from this thread after every event; when it breaks, the call returns at once and leaves running
/// jobs to end with the process.
///
/// # Errors
/// [`Error::Interrupted`] when `watch` broke, [`Error::Resources`] when the threads cannot be had.
pub fn map<T: Send + 'static>(
    jobs: &[Job],
    limits: Limits,
    work: &Arc<dyn Fn(usize) -> T + Send + Sync>,
    watch: &mut dyn FnMut(Event<T>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(limits.threads.max(1))
        .thread_name(|i| format!("svdkit-{i}"))
        .build()
        .map_err(|e| Error::Resources(format!("cannot start {} threads: {e}", limits.threads)))?;
    let queue = Arc::new(Mutex::new(Queue::new(jobs, limits)));
    let (send, receive) = mpsc::channel();
    loop {
        let (idle, over) = lock(&queue).state();
        if over {
            break;
        }
        if idle {
            let (queue, work, send) = (Arc::clone(&queue), Arc::clone(work), send.clone());
            pool.spawn_broadcast(move |_| worker(&queue, work.as_ref(), &send));
        }
        match receive.recv_timeout(Duration::from_millis(50)) {
            Ok(event) => stop(watch(event))?,
            Err(_) => stop(watch(Event::Waiting))?,
        }
    }
    // The last events may still be in the channel.
    receive.try_iter().try_for_each(|event| stop(watch(event)))
}

/// Runs jobs until none is left or the receiver is gone.
///
/// Every thread of the pool is called, also one that is at work and waits for a part of it: that one goes on waiting.
fn worker<T>(queue: &Mutex<Queue>, work: &(dyn Fn(usize) -> T + Send + Sync), send: &mpsc::Sender<Event<T>>) {
    thread_local!(static BUSY: Cell<bool> = const { Cell::new(false) });
    if BUSY.replace(true) {
        return;
    }
    let mut next = lock(queue).take();
    while let Some(job) = next {
        if send.send(Event::Started(job)).is_err() {
            break;
        }
        let result = catch_unwind(AssertUnwindSafe(|| work(job))).ok();
        let mut queue = lock(queue);
        // Sent under the lock, so that whoever sees the end has received every event.
        let heard = send.send(Event::Finished(job, result)).is_ok();
        queue.release(job);
        next = if heard { queue.take() } else { None };
    }
    BUSY.set(false);
}

/// Waiting and running jobs.
struct Queue {
    waiting: VecDeque<usize>,
    bytes: Vec<u64>,
    limits: Limits,
    running: usize,
    in_flight: u64,
}

impl Queue {
    /// All jobs, most expensive first.
    fn new(jobs: &[Job], limits: Limits) -> Self {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by(|a, b| jobs[*b].flops.total_cmp(&jobs[*a].flops).then(a.cmp(b)));
        let bytes = jobs.iter().map(|job| job.bytes).collect();
        Self { waiting: order.into(), bytes, limits, running: 0, in_flight: 0 }
    }

    /// Whether a thread without work could have some, and whether all is done.
    fn state(&self) -> (bool, bool) {
        (self.first_fit().is_some(), self.running == 0 && self.waiting.is_empty())
    }

    /// The position of the most expensive job that fits, if a thread is free.
    fn first_fit(&self) -> Option<usize> {
        let fits = |i: &usize| self.running == 0 || self.in_flight + self.bytes[*i] <= self.limits.memory;
        if self.running < self.limits.threads.max(1) { self.waiting.iter().position(fits) } else { None }
    }

    fn take(&mut self) -> Option<usize> {
        let job = self.first_fit().and_then(|at| self.waiting.remove(at))?;
        self.running += 1;
        self.in_flight += self.bytes[job];
        Some(job)
    }

    fn release(&mut self, job: usize) {
        self.running -= 1;
        self.in_flight -= self.bytes[job];
    }
}

/// No job runs under the lock, so no panic can have left the queue half changed.
fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stop(flow: ControlFlow<()>) -> Result<(), Error> {
    if flow.is_break() { Err(Error::Interrupted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rayon::prelude::*;

    use super::*;

    fn jobs(costs: &[u64]) -> Vec<Job> {
        costs.iter().map(|c| Job { flops: *c as f64, bytes: *c }).collect()
    }

    fn shared<T>(work: impl Fn(usize) -> T + Send + Sync + 'static) -> Arc<dyn Fn(usize) -> T + Send + Sync> {
        Arc::new(work)
    }

    /// The results in the order of the jobs.
    fn all<T: Send + 'static>(
        jobs: &[Job],
        limits: Limits,
        work: &Arc<dyn Fn(usize) -> T + Send + Sync>,
    ) -> Vec<Option<T>> {
        let mut results: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
        let mut keep = |event| {
            if let Event::Finished(job, result) = event {
                results[job] = result;
            }
            ControlFlow::Continue(())
        };
        map(jobs, limits, work, &mut keep).expect("not interrupted");
        results
    }

    #[test]
    fn every_result_comes_with_its_job_and_the_dearest_job_starts_first() {
        let started = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&started);
        let work = move |i: usize| {
            log.lock().expect("no test panics while it holds the lock").push(i);
            i * 10
        };
        let limits = Limits { threads: 1, memory: 1, granted: u64::MAX };
        let results = all(&jobs(&[1, 3, 2]), limits, &shared(work));
        assert_eq!(results, [Some(0), Some(10), Some(20)]);
        assert_eq!(*started.lock().expect("as above"), [1, 2, 0]);
    }

    #[test]
    fn memory_in_flight_stays_under_the_budget() {
        let costs: Vec<u64> = (0..40).map(|i| 1 + i * 7 % 13).collect();
        let (now, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (n, m, c) = (Arc::clone(&now), Arc::clone(&most), costs.clone());
        let work = move |i: usize| {
            let held = n.fetch_add(c[i], Ordering::SeqCst) + c[i];
            m.fetch_max(held, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            n.fetch_sub(c[i], Ordering::SeqCst);
        };
        let limits = Limits { threads: 4, memory: 20, granted: u64::MAX };
        all(&jobs(&costs), limits, &shared(work));
        assert!(most.load(Ordering::SeqCst) <= 20, "{most:?}");
    }

    #[test]
    fn no_job_begins_inside_another_that_waits_for_its_parts() {
        thread_local!(static DEPTH: Cell<usize> = const { Cell::new(0) });
        let work = |_: usize| {
            let depth = DEPTH.get();
            DEPTH.set(depth + 1);
            (0..64).into_par_iter().for_each(|_| std::thread::sleep(Duration::from_micros(50)));
            DEPTH.set(depth);
            depth
        };
        let limits = Limits { threads: 3, memory: 1000, granted: u64::MAX };
        let results = all(&jobs(&[1; 40]), limits, &shared(work));
        assert_eq!(results, [Some(0); 40]);
    }

    #[test]
    fn a_job_that_cannot_fit_is_not_begun() {
        let limits = Limits { threads: 1, memory: 10, granted: 100 };
        let forbidden = |bytes, justified| limits.forbids(&Job { flops: 1.0, bytes }, justified).is_some();
        let all =
            [(5, 0), (50, 0), (50, 60), (100, 200), (101, 200)].map(|(bytes, own)| forbidden(bytes, own));
        assert_eq!(all, [false, true, false, false, true]);
    }

    #[test]
    fn a_large_report_leaves_less_for_jobs() {
        let limits = Limits { threads: 2, memory: 64 << 20, granted: 1 << 30 };
        assert_eq!(limits.of_report(), (64 + 84) << 20);
        assert_eq!(limits.beside(84 << 20), Limits { granted: 940 << 20, ..limits });
        assert_eq!(limits.beside(100 << 20), Limits { memory: 48 << 20, granted: 924 << 20, ..limits });
        let small = Limits { granted: 48 << 20, ..limits };
        assert_eq!((small.of_report(), small.beside(40 << 20).memory), (48 << 20, 8 << 20));
    }

    #[test]
    fn a_job_that_panics_loses_only_itself() {
        let work = |i: usize| if i == 1 { panic!("planted") } else { i };
        let limits = Limits { threads: 2, memory: 9, granted: u64::MAX };
        let results = all(&jobs(&[1, 1, 1]), limits, &shared(work));
        assert_eq!(results, [Some(0), None, Some(2)]);
    }

    #[test]
    fn an_interrupt_returns_at_once() {
        let work = |_: usize| std::thread::sleep(Duration::from_mins(10));
        let mut watch =
            |event| if event == Event::Waiting { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let limits = Limits { threads: 1, memory: 1, granted: u64::MAX };
        assert!(matches!(map(&jobs(&[1]), limits, &shared(work), &mut watch), Err(Error::Interrupted)));
    }
}
