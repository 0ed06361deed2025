//! What earlier runs kept: a known checkpoint is not read, whichever command asks.

use std::collections::HashMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use svdkit::analysis::compare::{Preserve, Vectors};
use svdkit::analysis::farms::{Convolution, FARMS, Settings};
use svdkit::analysis::intruders::{Cosines, Detail, Of, Options, VectorSide};
use svdkit::checkpoint::{self, Catalogue, Opening, Pairs};
use svdkit::engine::Limits;
use svdkit::layer::Filter;
use svdkit::metric::StartRule;
use svdkit::report::{Report, Source};
use svdkit::solver::{Memo, NoMemo, Precision};
use svdkit::store::{Disk, Entry, Listed, Location, ReadAt, Stamp, Store, Version};
use svdkit::study::{
    Asked, Begun, CompareRequest, ComparedSide, Depth, FarmsRequest, IntrudersRequest, Measures, Names,
    Opened, OwnColumns, Pictures, RankRequest, Sides, Spectra, SpectrumRequest, Study, assemble, run,
};

/// The disk, where nothing is ever written: how often files were opened again, which every read of weights takes, and how
/// often their states were asked for.
#[derive(Debug, Default)]
struct Still {
    reads: AtomicUsize,
    stamps: AtomicUsize,
    is_settled: AtomicBool,
}

impl Store for Still {
    fn entry(&self, path: &Path) -> io::Result<Entry> {
        Disk.entry(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Listed>> {
        Disk.list(folder)
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn ReadAt>, Version)> {
        Disk.open(path)
    }

    fn reopen(&self, path: &Path, version: &Version) -> Result<Box<dyn ReadAt>, String> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Disk.reopen(path, version)
    }

    fn stamp(&self, path: &Path, _: &Version) -> Option<Stamp> {
        self.stamps.fetch_add(1, Ordering::Relaxed);
        let is_settled = self.is_settled.load(Ordering::Relaxed);
        Some(Stamp { mark: path.display().to_string(), is_settled })
    }

    fn describe(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// Keeps everything.
#[derive(Default)]
struct Kept(Mutex<HashMap<[u8; 32], Vec<u8>>>);

impl Memo for Kept {
    fn recall(&self, key: &blake3::Hash) -> Option<Vec<u8>> {
        self.0.lock().unwrap().get(key.as_bytes()).cloned()
    }

    fn keep(&self, key: &blake3::Hash, what: &[u8]) {
        self.0.lock().unwrap().insert(*key.as_bytes(), what.to_owned());
    }
}

fn source(store: &Arc<Still>, name: &str) -> (Arc<Catalogue>, Source) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let store: Arc<dyn Store> = Arc::<Still>::clone(store);
    let (_, source) = checkpoint::open_at(&Location::new(store, path), &Opening::default()).unwrap();
    (source, Source { path: name.into(), format: "safetensors".into(), commit: None, files: vec![] })
}

fn opened(store: &Arc<Still>, name: &str) -> Opened {
    let (source, origin) = source(store, name);
    Opened { source, pairs: None, origin, base: None, roots: vec![] }
}

/// The report of a study, and how many reads it took.
fn found(study: &Arc<dyn Study>, store: &Still, memo: &Arc<dyn Memo>) -> (Report, usize) {
    store.reads.store(0, Ordering::Relaxed);
    let limits = Limits { threads: 2, memory: 1 << 30, granted: u64::MAX };
    let ledger = run(study, limits, memo, Begun::new(study.as_ref(), Pictures::Kept), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
    (assemble(study.manifest(), ledger), store.reads.load(Ordering::Relaxed))
}

fn spectrum(store: &Arc<Still>, name: &str, measures: Measures) -> Arc<dyn Study> {
    let request = SpectrumRequest { measures, asked: Asked::own(), spectra: Spectra::Dropped };
    Arc::new(request.plan(opened(store, name), &Filter::default()).unwrap())
}

fn rank(store: &Arc<Still>, name: &str) -> Arc<dyn Study> {
    let request = RankRequest::new(Precision::Fast, 0.01, &[], Spectra::Dropped);
    Arc::new(request.plan(opened(store, name), &Filter::default()).unwrap())
}

/// With these columns, or all.
fn farms(store: &Arc<Still>, columns: &[&str]) -> Arc<dyn Study> {
    let settings = Settings {
        window: 16,
        aspect: 1.0,
        windows_per_dim: 3,
        start: StartRule::Peak,
        convolution: Convolution::Fold,
        precision: Precision::Fast,
    };
    let named = FARMS.iter().map(|metric| &metric.column).filter(|column| columns.contains(&column.key));
    let own = if columns.is_empty() { OwnColumns::Wanted } else { OwnColumns::LeftOut };
    let asked = Asked { own, columns: named.map(|column| (column, String::new())).collect(), ..Asked::own() };
    let request = FarmsRequest { settings, asked };
    Arc::new(request.plan(opened(store, "charlm/base"), &Filter::default()).unwrap())
}

fn intruders(store: &Arc<Still>) -> Arc<dyn Study> {
    let options = Options {
        k: 4,
        epsilon: 0.5,
        sweep: vec![],
        side: VectorSide::Left,
        of: Of::Tuned,
        cosines: Cosines::Decided,
        detail: Detail::Indices,
        mitigate: None,
    };
    let base = opened(store, "charlm/base");
    let pairs = Arc::new(Pairs::new(base.source.clone(), source(store, "charlm/full").0));
    let update = Opened { source: Arc::new(pairs.difference()), ..base };
    let request = IntrudersRequest { options, asked: Asked::own() };
    Arc::new(request.plan(update, &pairs, &Filter::default(), None).unwrap())
}

fn compare(store: &Arc<Still>) -> Arc<dyn Study> {
    let side = |name: &str| {
        let (source, origin) = source(store, name);
        ComparedSide::of_checkpoint(origin, source, vec![])
    };
    let sides = Sides::new(side("charlm/base"), vec![("full".to_owned(), side("charlm/full"))]);
    let request = CompareRequest {
        depth: Depth::Changes,
        names: None,
        precision: None,
        vectors: Vectors::None,
        preserve: Preserve::Energy(0.9),
        top: 10,
    };
    Arc::new(request.over(sides).unwrap().asked(Asked::own()).plan(Filter::default()).unwrap())
}

const VALUES: Measures = Measures::Values(Names::Svdkit, Precision::Fast);

#[test]
fn a_known_checkpoint_is_not_read() {
    let (store, memo): (Arc<Still>, Arc<dyn Memo>) = (Arc::default(), Arc::new(Kept::default()));
    store.is_settled.store(true, Ordering::Relaxed);
    for name in ["charlm/base", "charlm/lora-r4", "quantized/fp8", "formats/gguf/kinds.gguf"] {
        let (first, reads) = found(&spectrum(&store, name, VALUES), &store, &memo);
        assert!(reads > 0, "{name}");
        assert_eq!(found(&spectrum(&store, name, VALUES), &store, &memo), (first, 0), "{name}");
        for other in [rank(&store, name), spectrum(&store, name, Measures::Bytes)] {
            let (known, reads) = found(&other, &store, &memo);
            assert_eq!(reads, 0, "{name}");
            let none: Arc<dyn Memo> = Arc::new(Kept::default());
            assert_eq!(known, found(&other, &store, &none).0, "{name}");
        }
    }
    let alone = farms(&store, &["whole_alpha"]);
    let (values, reads) = found(&alone, &store, &memo);
    assert_eq!(reads, 0, "`spectrum` left the values");
    let none: Arc<dyn Memo> = Arc::new(Kept::default());
    assert_eq!(values, found(&alone, &store, &none).0);
    for study in [compare(&store), farms(&store, &[]), intruders(&store)] {
        let (first, reads) = found(&study, &store, &memo);
        assert!(reads > 0);
        assert_eq!(found(&study, &store, &memo), (first, 0));
    }
}

#[test]
fn nobody_asks_where_a_matrix_lies_where_nothing_is_kept() {
    let (store, memo): (Arc<Still>, Arc<dyn Memo>) = (Arc::default(), Arc::new(NoMemo));
    for study in
        [spectrum(&store, "charlm/base", VALUES), compare(&store), farms(&store, &[]), intruders(&store)]
    {
        store.stamps.store(0, Ordering::Relaxed);
        found(&study, &store, &memo);
        assert_eq!(store.stamps.load(Ordering::Relaxed), 0);
    }
}

/// Its times may not tell when it is written to next.
#[test]
fn a_file_that_was_written_a_moment_ago_is_read_again() {
    let (store, memo): (Arc<Still>, Arc<dyn Memo>) = (Arc::default(), Arc::new(Kept::default()));
    for _ in 0..2 {
        assert!(found(&spectrum(&store, "charlm/base", VALUES), &store, &memo).1 > 0);
        assert!(found(&compare(&store), &store, &memo).1 > 0);
    }
}
