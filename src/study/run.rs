//! Runs the tasks of a study in rounds, and writes what they find into a ledger as it comes.
//!
//! A task whose first look says that more has to be done waits for the next round, with a cost of its own. Between rounds
//! tasks with the same content are known, so that only one of them goes on.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Failure, Ledger, Pictures, Record, Step, Study, Waiting};
use crate::engine::{self, Job, Limits};
use crate::error::Error;
use crate::solver::Memo;

/// What the caller is told while a study runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event<'a> {
    /// A round of these jobs begins.
    Round(&'a [Job]),
    /// One of them has ended.
    Finished(usize),
    /// Nothing happened for a moment.
    Waiting,
}

/// Does all tasks of `study`; `memo` has what earlier runs found.
///
/// `watch` is told what happens; when it breaks, the call returns at once.
///
/// # Errors
/// [`Error::Interrupted`] when `watch` broke; when the threads cannot be had. What a task fails at is its record.
pub fn run(
    study: &Arc<dyn Study>,
    limits: Limits,
    (memo, pictures): (&Arc<dyn Memo>, Pictures),
    watch: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Ledger, Error> {
    let first = |(task, cost)| Waiting { task, cost, before: None };
    let mut waiting: Vec<Waiting> = study.costs().into_iter().enumerate().map(first).collect();
    let mut ledger = Ledger::new(pictures, waiting.len());
    while !waiting.is_empty() {
        waiting = round(study, waiting, (limits, memo), &mut ledger, watch)?;
    }
    Ok(ledger)
}

/// Does what waits, and returns what has to wait for another round.
fn round(
    study: &Arc<dyn Study>,
    waiting: Vec<Waiting>,
    (limits, memo): (Limits, &Arc<dyn Memo>),
    ledger: &mut Ledger,
    watch: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Vec<Waiting>, Error> {
    let copies = study.copies(&waiting, memo.as_ref());
    let mut originals: Vec<usize> = (0..waiting.len()).filter(|i| copies[*i].is_none()).collect();
    originals.retain(|i| {
        let Waiting { task, cost, before } = &waiting[*i];
        let Some(reason) = limits.forbids(cost, study.justified(*task)) else { return true };
        let result = Err(Failure::new(&Error::Resources(reason), study.roots()));
        ledger.write(Record { task: *task, result, before: before.clone() });
        false
    });
    let jobs: Vec<Job> = originals.iter().map(|i| waiting[*i].cost).collect();
    let (waiting, originals) = (Arc::new(waiting), Arc::new(originals));
    let work: Arc<dyn Fn(usize) -> Result<Step, Error> + Send + Sync> = {
        let (study, waiting, originals) = (Arc::clone(study), Arc::clone(&waiting), Arc::clone(&originals));
        let memo = Arc::clone(memo);
        Arc::new(move |i| {
            let Waiting { task, before, .. } = &waiting[originals[i]];
            study.run(*task, before.clone(), memo.as_ref())
        })
    };
    if watch(Event::Round(&jobs)).is_break() {
        return Err(Error::Interrupted);
    }
    let mut next = vec![];
    let mut heed = |event| match event {
        engine::Event::Started(_) => ControlFlow::Continue(()),
        engine::Event::Waiting => watch(Event::Waiting),
        engine::Event::Finished(i, result) => {
            let Waiting { task, before, .. } = &waiting[originals[i]];
            let result = match result {
                Some(Ok(Step::Done(found))) => Ok(found),
                Some(Ok(Step::Again(cost, found))) => {
                    next.push(Waiting { task: *task, cost, before: Some(found) });
                    return watch(Event::Finished(i));
                }
                Some(Err(error)) => Err(Failure::new(&error, study.roots())),
                None => Err(Failure::panicked()),
            };
            let before = before.clone().filter(|_| result.is_err());
            ledger.write(Record { task: *task, result, before });
            watch(Event::Finished(i))
        }
    };
    engine::map(&jobs, limits, &work, &mut heed)?;
    for (copy, original) in waiting.iter().zip(copies).filter_map(|(copy, original)| Some((copy, original?)))
    {
        if !ledger.copy(waiting[original].task, copy.task) {
            next.push(copy.clone());
        }
    }
    next.sort_by_key(|waiting| waiting.task);
    Ok(next)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;
    use crate::report::SkippedContent;
    use crate::solver::NoMemo;
    use crate::study::{Found, Manifest};

    /// Tasks that each say a word; those of two steps first its length.
    struct Words(Vec<&'static str>, Mutex<Vec<String>>);

    fn none() -> Arc<dyn Memo> {
        Arc::new(NoMemo)
    }

    fn found(text: &str) -> Found {
        Found::Bytes(vec![Some(SkippedContent { blake3: text.to_owned(), nonfinite_count: None })])
    }

    impl Study for Words {
        fn manifest(&self) -> Manifest {
            unreachable!("nothing is assembled here")
        }

        fn roots(&self) -> &[PathBuf] {
            &[]
        }

        fn costs(&self) -> Vec<Job> {
            self.0.iter().map(|word| Job { flops: word.len() as f64, bytes: 1 }).collect()
        }

        fn copies(&self, waiting: &[Waiting], _: &dyn Memo) -> Vec<Option<usize>> {
            let second = |waiting: &Waiting| waiting.before.as_ref().map(|_| self.0[waiting.task]);
            crate::study::ties::copies(waiting.iter().map(second))
        }

        fn run(&self, task: usize, before: Option<Found>, _: &dyn Memo) -> Result<Step, Error> {
            let word = self.0[task];
            self.1.lock().expect("no test panics with it").push(word.to_owned());
            match (word, before) {
                ("bad", Some(_)) => Err(Error::Usage("a bad word".to_owned())),
                ("panic", _) => panic!("planted"),
                ("once", _) | (_, Some(_)) => Ok(Step::Done(found(word))),
                (_, None) => Ok(Step::Again(Job { flops: 1.0, bytes: 1 }, found("seen"))),
            }
        }
    }

    #[test]
    fn a_second_step_has_the_first_and_is_done_once_for_all_copies() {
        let words = Arc::new(Words(vec!["ab", "once", "bad", "ab", "panic"], Mutex::default()));
        let study: Arc<dyn Study> = Arc::clone(&words) as _;
        let mut rounds = vec![];
        let mut watch = |event: Event<'_>| {
            if let Event::Round(jobs) = event {
                rounds.push(jobs.len());
            }
            ControlFlow::Continue(())
        };
        let limits = Limits { threads: 2, memory: 10, granted: u64::MAX };
        let records = run(&study, limits, (&none(), Pictures::Kept), &mut watch)
            .expect("not interrupted")
            .into_records();
        assert_eq!(rounds, [5, 2]);
        assert_eq!(records.iter().map(|record| record.task).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(records[0].result, Ok(found("ab")));
        assert_eq!(records[1].result, Ok(found("once")));
        let failure = records[2].result.as_ref().expect_err("a bad word");
        assert_eq!((failure.text(&[]), &records[2].before), ("a bad word".to_owned(), &Some(found("seen"))));
        assert_eq!(records[3].result, Ok(found("ab")));
        assert_eq!(records[4].result.as_ref().expect_err("planted").kind, crate::error::ErrorKind::Internal);
        let said = words.1.lock().expect("as above").iter().filter(|word| *word == "ab").count();
        assert_eq!(said, 3, "two looks and one second step");
    }

    #[test]
    fn an_interrupt_ends_a_study() {
        let study: Arc<dyn Study> = Arc::new(Words(vec!["once"], Mutex::default()));
        let mut watch = |_: Event<'_>| ControlFlow::Break(());
        let limits = Limits { threads: 1, memory: 1, granted: u64::MAX };
        assert!(matches!(
            run(&study, limits, (&none(), Pictures::Kept), &mut watch),
            Err(Error::Interrupted)
        ));
    }
}
