//! Studies: what their tasks find can be written, read elsewhere, in any order, and assembled to the same report.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use svdkit::analysis::compare::{Preserve, Vectors};
use svdkit::analysis::farms::{Convolution, Settings};
use svdkit::analysis::intruders::{Cosines, Detail, Of, Options, VectorSide};
use svdkit::checkpoint::{self, Opening, Pairs};
use svdkit::engine::Limits;
use svdkit::layer::Filter;
use svdkit::metric::StartRule;
use svdkit::report::{Report, Source, Value};
use svdkit::solver::{Memo, NoMemo, Precision};
use svdkit::study::{
    Asked, Begun, CompareRequest, ComparedSide, Depth, FarmsRequest, IntrudersRequest, Measures, Names,
    Opened, Pictures, RankRequest, Record, Sides, Spectra, SpectrumRequest, Study, assemble, run,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn origin(path: &Path) -> Source {
    let (path, format) = (path.display().to_string(), "safetensors".into());
    Source { path, format, commit: None, files: vec![] }
}

fn opened(name: &str) -> Opened {
    let path = fixture(name);
    let (_, source) = checkpoint::open(&path).unwrap();
    Opened { source, pairs: None, origin: origin(&path), base: None, roots: vec![path] }
}

fn records(study: &Arc<dyn Study>) -> Vec<Record> {
    let limits = Limits { threads: 2, memory: 1 << 30, granted: u64::MAX };
    let memo: Arc<dyn Memo> = Arc::new(NoMemo);
    let begun = Begun::new(study.as_ref(), Pictures::Kept);
    run(study, limits, &memo, begun, &mut |_| ControlFlow::Continue(())).unwrap().into_records()
}

/// What is written of a report, and the numbers that JSON does not tell apart.
fn text(report: &Report) -> String {
    let values: Vec<Vec<Value>> =
        report.rows.iter().map(|row| row.values.iter().map(|(_, value)| value).collect()).collect();
    let outlines: Vec<_> = report.rows.iter().map(|row| &row.outline).collect();
    format!("{} {values:?} {outlines:?} {:?}", serde_json::to_string(report).unwrap(), report.unlisted)
}

/// Runs a study, and assembles its records as they are, and from two files of lines in another order.
#[track_caller]
fn check(study: impl Study + 'static) -> Report {
    let study: Arc<dyn Study> = Arc::new(study);
    let records = records(&study);
    assert_eq!(records.len(), study.costs().len());
    let report = assemble(study.manifest(), records.iter().cloned().collect());
    let lines: Vec<String> = records.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    let (odd, even): (Vec<_>, Vec<_>) = lines.iter().enumerate().partition(|(i, _)| i % 2 == 1);
    let read = |(_, line): &(usize, &String)| serde_json::from_str::<Record>(line).unwrap();
    let merged = odd.iter().rev().chain(even.iter().rev()).map(read).collect();
    assert_eq!(text(&assemble(study.manifest(), merged)), text(&report));
    let folder = env!("CARGO_MANIFEST_DIR");
    assert!(lines.iter().all(|line| !line.contains(folder)), "a record names a folder of this machine");
    report
}

#[test]
fn a_spectrum_is_assembled_from_its_records() {
    let request = |measures| SpectrumRequest { measures, asked: Asked::own(), spectra: Spectra::Kept };
    for measures in [
        Measures::Bytes,
        Measures::Values(Names::Svdkit, Precision::Fast),
        Measures::Values(Names::Weightwatcher, Precision::Exact),
    ] {
        for name in ["charlm/base", "formats/tied.safetensors", "bad/nan-and-inf.safetensors"] {
            let study = request(measures).plan(opened(name), &Filter::default()).unwrap();
            check(study);
        }
    }
}

#[test]
fn ranks_and_exponents_are_assembled_from_their_records() {
    let request = RankRequest::new(Precision::Fast, 0.01, &[0.8], Spectra::Dropped);
    check(request.plan(opened("charlm/base"), &Filter::default()).unwrap());
    let settings = Settings {
        window: 16,
        aspect: 1.0,
        windows_per_dim: 3,
        start: StartRule::Peak,
        convolution: Convolution::Fold,
        precision: Precision::Fast,
    };
    check(
        FarmsRequest { settings, asked: Asked::own() }
            .plan(opened("charlm/base"), &Filter::default())
            .unwrap(),
    );
}

#[test]
fn intruders_are_assembled_with_their_directions_and_sums() {
    let options = Options {
        k: 4,
        epsilon: 0.5,
        sweep: vec![0.3, 0.9],
        side: VectorSide::Both,
        of: Of::Tuned,
        cosines: Cosines::Decided,
        detail: Detail::Directions,
        mitigate: None,
    };
    let base = opened("charlm/base");
    let opening = Opening { base: Some(Arc::clone(&base.source)), ..Opening::default() };
    let (_, tuned) = checkpoint::open_with(&fixture("charlm/lora-r4"), &opening).unwrap();
    let pairs = Arc::new(Pairs::new(base.source.clone(), tuned));
    let update = Opened { source: Arc::new(pairs.difference()), base: Some(base.origin.clone()), ..base };
    let request = IntrudersRequest { options, asked: Asked::own() };
    let study = request.plan(update, &pairs, &Filter::default(), None).unwrap();
    let report = check(study);
    assert!(!report.groups.is_empty() && report.notes[0].contains("intruders among"));
    assert!(report.rows.iter().all(|row| row.intruders.as_ref().is_some_and(|i| !i.directions.is_empty())));
}

#[test]
fn a_comparison_is_assembled_from_its_records() {
    for depth in [Depth::Bytes, Depth::Changes, Depth::Everything] {
        let side = |name: &str| {
            let Opened { source, origin, roots, .. } = opened(name);
            ComparedSide::of_checkpoint(origin, source, roots)
        };
        let tuned = vec![("full".to_owned(), side("charlm/full")), ("same".to_owned(), side("charlm/base"))];
        let request = CompareRequest {
            depth,
            names: None,
            precision: None,
            vectors: Vectors::All,
            preserve: Preserve::Energy(0.9),
            top: 10,
        };
        let question = request.over(Sides::new(side("charlm/base"), tuned)).unwrap().asked(Asked::own());
        check(question.plan(Filter::default()).unwrap());
    }
}

#[test]
fn what_fails_is_told_from_the_folder_on_that_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    std::fs::copy(fixture("charlm/base/model.safetensors"), &path).unwrap();
    let (_, source) = checkpoint::open(&path).unwrap();
    // What is taken from a file after its header was read is missed when a weight is read.
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(20_000).unwrap();
    let roots = vec![folder.path().to_owned()];
    let opened = Opened { source, pairs: None, origin: origin(&path), base: None, roots };
    let request =
        SpectrumRequest { measures: Measures::Bytes, asked: Asked::own(), spectra: Spectra::Dropped };
    let study: Arc<dyn Study> = Arc::new(request.plan(opened, &Filter::default()).unwrap());
    let records = records(&study);
    let lines = serde_json::to_string(&records).unwrap();
    assert!(
        lines.contains("model.safetensors") && !lines.contains(folder.path().to_str().unwrap()),
        "{lines}"
    );
    let report = assemble(study.manifest(), records.into_iter().collect());
    let failures: Vec<_> = report.failures().collect();
    assert_eq!(failures.len() as u64, report.totals.failed);
    assert!(failures.len() > 30 && failures.iter().all(|(_, why)| why.starts_with(path.to_str().unwrap())));
}
