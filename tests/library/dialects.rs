//! Whatever a checkpoint is read through, its notes, its tensors and what filters see of them stay the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{Glob, GlobSet};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use svdkit::checkpoint::{self, Catalogue, Opening, Pairs, QueriesKeysValues};
use svdkit::layer::{Filter, bare};

/// Folders of safetensors files: plain, fused, quantized, factored, adapters.
const FOLDERS: [&str; 15] = [
    "charlm/base",
    "charlm/full",
    "charlm/lora-r4",
    "charlm/dora-r4",
    "dialects/base",
    "dialects/experts",
    "dialects/parts",
    "experts/fused",
    "experts/interleaved",
    "experts/gpt2",
    "quantized/fp8",
    "quantized/integers",
    "factored/svd-llm",
    "factored/sorsa",
    "factored/incomplete",
];

const GLOBS: [&str; 7] = ["*norm", "*.0.*", "*proj", "*weight", "*[[]0]", "*lora*", "*experts*"];

/// A copy of a fixture beside which the same model lies again, which a note says.
fn noted(folder: &Path, name: &str, fixture: &str) -> PathBuf {
    let (from, to) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture), folder.join(name));
    std::fs::create_dir(&to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    std::fs::write(to.join("consolidated.safetensors"), []).unwrap();
    to
}

fn filter(include: Option<&str>, exclude: Option<&str>) -> Filter {
    let set = |glob: &str| GlobSet::builder().add(Glob::new(glob).unwrap()).build().unwrap();
    Filter { include: include.map(set), exclude: exclude.map(set).unwrap_or_default(), ..Filter::default() }
}

/// Notes are kept, filters only leave out, and every tensor becomes something.
fn check(source: &Catalogue, notes: &[&str], wanted: &Filter, what: &str) {
    for note in notes {
        assert!(source.notes().iter().any(|kept| kept == note), "{what}: {:?}", source.notes());
    }
    let (all, kept) = (source.select(&Filter::default()), source.select(wanted));
    let keeps = |name: &str| wanted.keeps(name);
    assert!(kept.layers.iter().eq(all.layers.iter().filter(|layer| keeps(&layer.name))), "{what}");
    assert!(kept.skipped.iter().all(|skipped| all.skipped.contains(skipped)), "{what}");
    assert_eq!(all.filtered, 0, "{what}");
    let count = |selection: &svdkit::layer::Selection| selection.layers.len() + selection.skipped.len();
    assert_eq!(count(&kept) + kept.filtered, count(&all), "{what}");
    let updates = all.layers.iter().filter_map(|layer| source.update(layer));
    let mut told: BTreeSet<String> = updates.flat_map(|update| update.tensors).collect();
    told.extend(all.layers.iter().map(|layer| layer.tensor.to_string()));
    told.extend(all.skipped.iter().map(|skipped| skipped.tensor.to_string()));
    for tensor in source.tensors() {
        assert!(told.contains(tensor.name.as_str()), "{what}: nothing is said of {}", tensor.name);
    }
    // Vectors go by the same names with a base as without.
    for skipped in all.skipped.iter().filter(|skipped| skipped.reason == "1-D") {
        assert_eq!(
            kept.skipped.contains(skipped),
            keeps(bare(&skipped.tensor)),
            "{what}: {}",
            skipped.tensor
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_stack_of_dialects_keeps_notes_filters_and_every_tensor(
        base in prop::sample::select(&FOLDERS[..]),
        tuned in prop::sample::select(&FOLDERS[..]),
        include in prop::option::of(prop::sample::select(&GLOBS[..])),
        exclude in prop::option::of(prop::sample::select(&GLOBS[..])),
        split in any::<bool>(),
        with_base in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let [base_path, tuned_path] = [("base", base), ("tuned", tuned)].map(|(name, from)| noted(folder.path(), name, from));
        let attention = if split { QueriesKeysValues::Split } else { QueriesKeysValues::Together };
        let opening = Opening { attention, ..Opening::default() };
        let note = "`consolidated.safetensors` beside it was taken to be the same model and left alone";
        let (wanted, what) = (filter(include, exclude), format!("{base} {tuned} {include:?} {exclude:?} {split}"));
        let Ok((_, base)) = checkpoint::open_with(&base_path, &opening) else { return Ok(()) };
        check(base.as_ref(), &[note], &wanted, &what);
        let opening = Opening { base: with_base.then(|| Arc::clone(&base)), ..opening };
        let Ok((_, tuned)) = checkpoint::open_with(&tuned_path, &opening) else { return Ok(()) };
        check(tuned.as_ref(), &[note], &wanted, &what);
        let pairs = Pairs::new(base, tuned);
        let both = [note, &format!("base: {note}")];
        check(&pairs.difference(), &both, &wanted, &what);
        check(&pairs.merged(), &both, &wanted, &what);
    }
}
