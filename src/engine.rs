//! The ordered parallel map: dearest job first, never more memory in flight than allowed, results in the order given.
//!
//! One worker takes one job. A worker with nothing left to take helps the others through the pool's work stealing,
//! so the last large matrix uses every thread. Nothing here knows what a job does.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
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
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|a, b| jobs[*b].flops.total_cmp(&jobs[*a].flops).then(a.cmp(b)));
    let mut waiting = VecDeque::from(order);
    let mut results: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
    let (mut running, mut in_flight) = (0, 0);
    let (send, receive) = mpsc::channel();
    loop {
        while running < limits.threads.max(1) {
            let fits = |i: &usize| running == 0 || in_flight + jobs[*i].bytes <= limits.memory;
            let Some(job) = waiting.iter().position(fits).and_then(|at| waiting.remove(at)) else { break };
            running += 1;
            in_flight += jobs[job].bytes;
            let (work, send) = (Arc::clone(work), send.clone());
            pool.spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| work(job))).ok();
                // The receiver is gone only when the run was interrupted: nobody wants the result.
                let _ = send.send((job, result));
            });
            stop(watch(Event::Started(job)))?;
        }
        if running == 0 {
            return Ok(results);
        }
        match receive.recv_timeout(Duration::from_millis(50)) {
            Ok((job, result)) => {
                running -= 1;
                in_flight -= jobs[job].bytes;
                results[job] = result;
                stop(watch(Event::Finished(job)))?;
            }
            Err(_) => stop(watch(Event::Waiting))?,
        }
    }
}

fn stop(flow: ControlFlow<()>) -> Result<(), Error> {
    if flow.is_break() { Err(Error::Interrupted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

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
