//! The ordered parallel map: dearest job first, never more memory in flight than allowed, results in the order given.
//!
//! A worker takes one job after the other. Only one with nothing left to take goes back to the pool and helps the others
//! through its work stealing, so the last large matrix uses every thread. A job never waits in the pool: whoever waits
//! there for a part of his own job would begin it, and finish neither. Nothing here knows what a job does.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use crate::error::Error;

/// What a job is expected to cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Job {
    /// Floating-point operations; decides the order and the progress shown.
    pub flops: f64,
    /// Peak memory while it runs.
    pub bytes: u64,
}

/// What the jobs together may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Threads, at least one.
    pub threads: usize,
    /// Bytes in flight. A single job above it runs alone.
    pub memory: u64,
}

/// What the caller is told while the map runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Job `0` of the given slice has begun.
    Started(usize),
    /// Job `0` of the given slice has ended.
    Finished(usize),
    /// Nothing happened for a moment.
    Waiting,
}

/// Runs `work(i)` for every job and returns the results in the order of `jobs`; `None` where `work` panicked.
///
/// `watch` is called from this thread after every event; when it breaks, the call returns at once and leaves running
/// jobs to end with the process.
///
/// # Errors
/// [`Error::Interrupted`] when `watch` broke, [`Error::Usage`] when the threads cannot be had.
pub fn map<T: Send + 'static>(
    jobs: &[Job],
    limits: Limits,
    work: &Arc<dyn Fn(usize) -> T + Send + Sync>,
    watch: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Vec<Option<T>>, Error> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(limits.threads.max(1))
        .thread_name(|i| format!("svdkit-{i}"))
        .build()
        .map_err(|e| Error::Usage(format!("cannot start {} threads: {e}", limits.threads)))?;
    let queue = Arc::new(Mutex::new(Queue::new(jobs, limits)));
    let mut results: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
    let (send, receive) = mpsc::channel();
    loop {
        // The guard goes before the body runs.
        while let Some(job) = { lock(&queue).take() } {
            let (queue, work, send) = (Arc::clone(&queue), Arc::clone(work), send.clone());
            pool.spawn(move || worker(job, &queue, work.as_ref(), &send));
            stop(watch(Event::Started(job)))?;
        }
        if lock(&queue).running == 0 {
            break;
        }
        match receive.recv_timeout(Duration::from_millis(50)) {
            Ok(done) => note(done, &mut results, watch)?,
            Err(_) => stop(watch(Event::Waiting))?,
        }
    }
    // The last workers tell before they go, but nobody has listened yet.
    receive.try_iter().try_for_each(|done| note(done, &mut results, watch))?;
    Ok(results)
}

/// A job that has ended, what came of it, and the one that its worker took next.
type Done<T> = (usize, Option<T>, Option<usize>);

/// Does `job`, then whatever can be taken next, until there is nothing or nobody listens any more.
fn worker<T>(
    mut job: usize,
    queue: &Mutex<Queue>,
    work: &(dyn Fn(usize) -> T + Send + Sync),
    send: &mpsc::Sender<Done<T>>,
) {
    loop {
        let result = catch_unwind(AssertUnwindSafe(|| work(job))).ok();
        let mut queue = lock(queue);
        queue.release(job);
        let next = queue.take();
        // Told before the lock is let go: who finds nothing running has been told all.
        let heard = send.send((job, result, next)).is_ok();
        drop(queue);
        match next {
            Some(next) if heard => job = next,
            _ => return,
        }
    }
}

/// Keeps a result and tells what happened.
fn note<T>(
    (job, result, next): Done<T>,
    results: &mut [Option<T>],
    watch: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<(), Error> {
    results[job] = result;
    stop(watch(Event::Finished(job)))?;
    next.map_or(Ok(()), |next| stop(watch(Event::Started(next))))
}

/// What waits and what runs.
struct Queue {
    waiting: VecDeque<usize>,
    bytes: Vec<u64>,
    limits: Limits,
    running: usize,
    in_flight: u64,
}

impl Queue {
    /// All jobs, dearest first.
    fn new(jobs: &[Job], limits: Limits) -> Self {
        let mut order: Vec<usize> = (0..jobs.len()).collect();
        order.sort_by(|a, b| jobs[*b].flops.total_cmp(&jobs[*a].flops).then(a.cmp(b)));
        let bytes = jobs.iter().map(|job| job.bytes).collect();
        Self { waiting: order.into(), bytes, limits, running: 0, in_flight: 0 }
    }

    /// The dearest job that fits, if a thread is free for it.
    fn take(&mut self) -> Option<usize> {
        if self.running >= self.limits.threads.max(1) {
            return None;
        }
        let fits = |i: &usize| self.running == 0 || self.in_flight + self.bytes[*i] <= self.limits.memory;
        let job = self.waiting.iter().position(fits).and_then(|at| self.waiting.remove(at))?;
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

    fn quiet(_: Event) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn results_come_in_the_order_given_and_the_dearest_job_starts_first() {
        let started = Arc::new(Mutex::new(vec![]));
        let log = Arc::clone(&started);
        let work = move |i: usize| {
            log.lock().expect("no test panics while it holds the lock").push(i);
            i * 10
        };
        let limits = Limits { threads: 1, memory: 1 };
        let results = map(&jobs(&[1, 3, 2]), limits, &shared(work), &mut quiet).expect("not interrupted");
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
        let limits = Limits { threads: 4, memory: 20 };
        map(&jobs(&costs), limits, &shared(work), &mut quiet).expect("not interrupted");
        assert!(most.load(Ordering::SeqCst) <= 20, "{most:?}");
    }

    #[test]
    fn no_job_begins_inside_another_that_waits_for_its_parts() {
        thread_local!(static DEPTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });
        let work = |_: usize| {
            let depth = DEPTH.get();
            DEPTH.set(depth + 1);
            (0..64).into_par_iter().for_each(|_| std::thread::sleep(Duration::from_micros(50)));
            DEPTH.set(depth);
            depth
        };
        let limits = Limits { threads: 3, memory: 1000 };
        let results = map(&jobs(&[1; 40]), limits, &shared(work), &mut quiet).expect("not interrupted");
        assert_eq!(results, [Some(0); 40]);
    }

    #[test]
    fn a_job_that_panics_loses_only_itself() {
        let work = |i: usize| if i == 1 { panic!("planted") } else { i };
        let limits = Limits { threads: 2, memory: 9 };
        let results = map(&jobs(&[1, 1, 1]), limits, &shared(work), &mut quiet).expect("not interrupted");
        assert_eq!(results, [Some(0), None, Some(2)]);
    }

    #[test]
    fn an_interrupt_returns_at_once() {
        let work = |_: usize| std::thread::sleep(Duration::from_mins(10));
        let mut watch =
            |event| if event == Event::Waiting { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let limits = Limits { threads: 1, memory: 1 };
        assert!(matches!(map(&jobs(&[1]), limits, &shared(work), &mut watch), Err(Error::Interrupted)));
    }
}
