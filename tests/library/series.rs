//! A series step by step through the library: what did not change is not decomposed, steps may come in any order, and a report
//! reads back as it was written.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use svdkit::analysis::columns;
use svdkit::checkpoint::open;
use svdkit::engine::Limits;
use svdkit::layer::Filter;
use svdkit::report::{Report, Source};
use svdkit::solver::{Memo, Precision};
use svdkit::study::{
    self, Asked, Begun, Measures, Names, Opened, Pictures, RecentMemo, Series, Spectra, SpectrumRequest,
    StepOrder, Study,
};

/// Counts what is asked for in vain: each is a matrix that had to be read or decomposed.
struct Counted(RecentMemo, AtomicUsize);

impl Memo for Counted {
    fn recall(&self, key: &blake3::Hash) -> Option<Vec<u8>> {
        self.0.recall(key)
    }

    fn keep(&self, key: &blake3::Hash, what: &[u8]) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.keep(key, what);
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/charlm").join(name)
}

fn report(path: &Path, memo: &Arc<dyn Memo>) -> Report {
    let (format, source) = open(path).unwrap();
    let origin = Source {
        path: path.display().to_string(),
        format: format.into(),
        commit: None,
        files: source.files(),
    };
    let opened = Opened { source, pairs: None, origin, base: None, roots: vec![path.to_owned()] };
    let measures = Measures::Values(Names::Svdkit, Precision::Fast);
    let request = SpectrumRequest { measures, asked: Asked::own(), spectra: Spectra::Dropped };
    let study: Arc<dyn Study> = Arc::new(request.plan(opened, &Filter::default()).unwrap());
    let limits = Limits { threads: 2, memory: 1 << 28, granted: u64::MAX };
    let watch = &mut |_: study::Event<'_>| std::ops::ControlFlow::Continue(());
    let begun = Begun::new(study.as_ref(), Pictures::Dropped);
    let ledger = study::run(&study, limits, memo, begun, watch).unwrap();
    study::assemble(study.manifest(), ledger)
}

#[test]
fn what_did_not_change_is_not_decomposed_again() {
    let counted = Arc::new(Counted(RecentMemo::new(None), AtomicUsize::new(0)));
    let memo: Arc<dyn Memo> = Arc::clone(&counted) as _;
    let mut series = Series::default();
    let mut found = vec![];
    for (step, name) in [(1, "base"), (2, "full"), (3, "full"), (4, "full")] {
        counted.0.next_step();
        let before = counted.1.load(Ordering::Relaxed);
        series.add(step, name, report(&fixture(name), &memo));
        found.push(counted.1.load(Ordering::Relaxed) - before);
    }
    assert!(found[0] >= 28 && found[1] >= 28, "{found:?}");
    assert_eq!(found[2..], [0, 0]);
    let report = series.finish(StepOrder::ByNumber).unwrap();
    let repeats: Vec<Option<u64>> = report.steps.iter().map(|step| step.repeats).collect();
    assert_eq!(repeats, [None, None, Some(2), Some(2)]);
    assert_eq!(report.rows[0].course.as_ref().unwrap().unchanged, [2, 3]);
}

#[test]
fn steps_may_come_in_any_order_and_the_report_reads_back() {
    let memo: Arc<dyn Memo> = Arc::new(RecentMemo::new(None));
    let reports: Vec<(u64, &str, Report)> = [(10, "base"), (20, "full"), (40, "base")]
        .map(|(step, name)| (step, name, report(&fixture(name), &memo)))
        .into();
    let series = |order: [usize; 3]| {
        let mut series = Series::default();
        series.skip(30, "cut", "is cut short");
        for at in order {
            let (step, name, report) = &reports[at];
            series.add(*step, name, report.clone());
        }
        series.finish(StepOrder::ByNumber).unwrap()
    };
    let report = series([0, 1, 2]);
    for order in [[2, 1, 0], [1, 2, 0], [0, 2, 1]] {
        assert_eq!(series(order), report, "{order:?}");
    }
    assert_eq!(report.steps[3].repeats, Some(10));
    assert_eq!(report.steps[2].failed.as_deref(), Some("is cut short"));
    let text = serde_json::to_string(&report).unwrap();
    let read = Report::read(serde_json::from_str(&text).unwrap(), &columns::of_report).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!(read.rows[0].course, report.rows[0].course);
    assert!(Series::default().finish(StepOrder::AsGiven).is_err());
}
