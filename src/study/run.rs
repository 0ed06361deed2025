//! Runs the tasks of a study in rounds, and writes what they find into a ledger as it comes.
//!
//! A task whose first look says that more has to be done waits for the next round, with a cost of its own. Between rounds
//! tasks with the same content are known, so that only one of them goes on.

use std::collections::BTreeMap;
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
    /// A task has found all that it was to find, or has failed.
    Recorded(&'a Record),
    /// One of the jobs of this round has ended.
    Finished(usize),
    /// Nothing happened for a moment.
    Waiting,
}

/// What is known of a study when it begins, and what of it is to be done.
#[derive(Debug)]
pub struct Begun {
    /// The records that there are.
    pub ledger: Ledger,
    /// The tasks that are done, ascending.
    pub tasks: Vec<usize>,
}

impl Begun {
    /// All of `study`, of which nothing is known.
    pub fn new(study: &dyn Study, pictures: Pictures) -> Self {
        let count = study.costs().len();
        Self { ledger: Ledger::new(pictures, count), tasks: (0..count).collect() }
    }
}

/// Does the tasks of `study` that are to be done; `memo` has what earlier runs found.
///
/// `watch` is told what happens; when it breaks, the call returns at once.
///
/// # Errors
/// [`Error::Interrupted`] when `watch` broke; when the threads cannot be had. What a task fails at is its record.
pub fn run(
    study: &Arc<dyn Study>,
    limits: Limits,
    memo: &Arc<dyn Memo>,
    begun: Begun,
    watch: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Ledger, Error> {
    let Begun { mut ledger, tasks } = begun;
    let costs = study.costs();
    let first = |task: usize| Waiting { task, cost: costs[task], before: None };
    let mut waiting: Vec<Waiting> = tasks.into_iter().map(first).collect();
    while !waiting.is_empty() {
        waiting = round(study, &Arc::new(waiting), (limits, memo), &mut ledger, watch)?;
    }
    Ok(ledger)
}

/// Does what waits, and returns what has to wait for another round.
fn round(
    study: &Arc<dyn Study>,
    waiting: &Arc<Vec<Waiting>>,
    (limits, memo): (Limits, &Arc<dyn Memo>),
    ledger: &mut Ledger,
    watch: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Vec<Waiting>, Error> {
    let originals_of = study.copies(waiting, memo.as_ref());
    let mut copies: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (copy, original) in originals_of.iter().enumerate() {
        if let Some(original) = original {
            copies.entry(*original).or_default().push(copy);
        }
    }
    let tasks_of = |at: usize| copies.get(&at).into_iter().flatten().map(|copy| waiting[*copy].task);
    let mut originals: Vec<usize> = (0..waiting.len()).filter(|i| originals_of[*i].is_none()).collect();
    let forbidden = |i: &usize| limits.forbids(&waiting[*i].cost, study.justified(waiting[*i].task));
    for (i, reason) in originals.iter().filter_map(|i| Some((*i, forbidden(i)?))) {
        let Waiting { task, before, .. } = &waiting[i];
        let result = Err(Failure::new(&Error::Resources(reason), study.roots()));
        let record = Record { task: *task, result, before: before.clone() };
        if note(ledger, record, tasks_of(i), watch).is_break() {
            return Err(Error::Interrupted);
        }
    }
    originals.retain(|i| forbidden(i).is_none());
    let jobs: Vec<Job> = originals.iter().map(|i| waiting[*i].cost).collect();
    if watch(Event::Round(&jobs)).is_break() {
        return Err(Error::Interrupted);
    }
    let originals = Arc::new(originals);
    let work: Arc<dyn Fn(usize) -> Result<Step, Error> + Send + Sync> = {
        let (study, waiting, originals) = (Arc::clone(study), Arc::clone(waiting), Arc::clone(&originals));
        let memo = Arc::clone(memo);
        Arc::new(move |i| {
            let Waiting { task, before, .. } = &waiting[originals[i]];
            study.run(*task, before.clone(), memo.as_ref())
        })
    };
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
                    let copies = copies.get(&originals[i]).into_iter().flatten();
                    next.extend(copies.map(|copy| waiting[*copy].clone()));
                    return watch(Event::Finished(i));
                }
                Some(Err(error)) => Err(Failure::new(&error, study.roots())),
                None => Err(Failure::panicked()),
            };
            let before = before.clone().filter(|_| result.is_err());
            note(ledger, Record { task: *task, result, before }, tasks_of(originals[i]), watch)?;
            watch(Event::Finished(i))
        }
    };
    engine::map(&jobs, limits, &work, &mut heed)?;
    next.sort_by_key(|waiting| waiting.task);
    Ok(next)
}

/// Takes note of a record, and of the same for `copies`, other tasks: told before it is written, as long as it is whole.
fn note(
    ledger: &mut Ledger,
    record: Record,
    copies: impl Iterator<Item = usize>,
    watch: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for task in copies {
        let copy = Record { task, ..record.clone() };
        watch(Event::Recorded(&copy))?;
        ledger.write(copy);
    }
    watch(Event::Recorded(&record))?;
    ledger.write(record);
    ControlFlow::Continue(())
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
        let (mut rounds, mut told) = (vec![], vec![]);
        let mut watch = |event: Event<'_>| {
            match event {
                Event::Round(jobs) => rounds.push(jobs.len()),
                Event::Recorded(record) => told.push(record.task),
                Event::Finished(_) | Event::Waiting => {}
            }
            ControlFlow::Continue(())
        };
        let limits = Limits { threads: 2, memory: 10, granted: u64::MAX };
        let begun = Begun::new(study.as_ref(), Pictures::Kept);
        let records =
            run(&study, limits, &none(), begun, &mut watch).expect("not interrupted").into_records();
        assert_eq!(rounds, [5, 2]);
        told.sort_unstable();
        assert_eq!(told, [0, 1, 2, 3, 4], "each is recorded once");
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
    fn only_what_is_to_be_done_is_done() {
        let words = Arc::new(Words(vec!["ab", "once", "ab", "cd"], Mutex::default()));
        let study: Arc<dyn Study> = Arc::clone(&words) as _;
        let mut ledger = Ledger::new(Pictures::Kept, 4);
        ledger.write(Record { task: 0, result: Ok(found("ab")), before: None });
        let limits = Limits { threads: 2, memory: 10, granted: u64::MAX };
        let begun = Begun { ledger, tasks: vec![2, 3] };
        let ledger = run(&study, limits, &none(), begun, &mut |_| ControlFlow::Continue(()));
        let records = ledger.expect("not interrupted").into_records();
        assert_eq!(records.iter().map(|record| record.task).collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(records[1].result, Ok(found("ab")));
        assert!(!words.1.lock().expect("no test panics with it").contains(&"once".to_owned()));
    }

    #[test]
    fn an_interrupt_ends_a_study() {
        let study: Arc<dyn Study> = Arc::new(Words(vec!["once"], Mutex::default()));
        let mut watch = |_: Event<'_>| ControlFlow::Break(());
        let limits = Limits { threads: 1, memory: 1, granted: u64::MAX };
        let begun = Begun::new(study.as_ref(), Pictures::Kept);
        assert!(matches!(run(&study, limits, &none(), begun, &mut watch), Err(Error::Interrupted)));
    }
}
