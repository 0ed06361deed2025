//! One matrix of a checkpoint, read once: its hash, what its entries say, and its singular values.

use super::around_kernel::AroundKernel;
use super::choice::{BLOCK_BYTES, Form, Need, Needs, Precision, Procedure, procedure};
use super::entries::Entries;
use super::held::Held;
use super::kronecker::Pair;
use super::memo::{Alone, ContentKey, Memo, note, seen};
use super::memory::singular_values;
use crate::error::Error;
use crate::layer::Layer;
use crate::linalg::{self, Factors, Largest, Operator, Reference, Stream, Vectors};
use crate::matrix::Matrix;
use crate::spectrum::Spectrum;
use crate::weight::{Catalogue, ContentId, Fingerprint, Place};

/// The result of reading a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What its entries say.
    pub entries: Entries,
    /// What it is called equal by.
    pub identity: ContentId,
    /// Its singular values, if they were asked for or the largest is not found by itself; none where an entry is not finite.
    pub spectrum: Option<Spectrum>,
    /// Its largest singular value, where only that was asked for.
    pub largest: Option<Largest>,
}

impl Reading {
    /// What entries say alone.
    pub(super) fn new(entries: Entries, identity: ContentId) -> Self {
        Self { entries, identity, spectrum: None, largest: None }
    }
}

/// Reads a matrix and finds of its singular values what is needed, unless `memo` has it. Nothing is read where it has been
/// read before.
///
/// # Errors
/// When it cannot be read or its decomposition does not converge.
pub fn read(
    source: &Catalogue,
    layer: &Layer,
    (precision, needs): (Precision, Needs),
    memo: &dyn Memo,
) -> Result<Reading, Error> {
    let form = Form::of(layer, precision);
    let place = || if memo.is_kept() { source.place(layer) } else { None };
    let before = place();
    if let Some(known) = before.as_ref().and_then(|place| known(place, &form, needs, memo)) {
        return Ok(known);
    }
    let reading = read_now(source, layer, (&form, needs), memo)?;
    note(memo, before.as_ref(), place, (&reading.identity, &reading.entries));
    Ok(reading)
}

/// What is known of a matrix without reading it.
fn known(place: &Place, form: &Form, needs: Needs, memo: &dyn Memo) -> Option<Reading> {
    let (identity, entries) = seen(memo, place)?;
    let mut reading = Reading::new(entries, identity);
    if !finite(&reading.entries) || needs == Needs::Entries {
        return Some(reading);
    }
    let content = content(&identity, form);
    if is_alone(form, needs) {
        Alone(reading.largest) = content.recall_largest(memo, &reading.entries)?;
    }
    if reading.largest.is_none() {
        reading.spectrum = Some(content.recall(memo, &reading.entries)?);
    }
    Some(reading)
}

/// Whether the largest value is sought by itself.
fn is_alone(form: &Form, needs: Needs) -> bool {
    needs == Needs::Largest && procedure(form, Need::Largest) == Procedure::Products
}

fn read_now(
    source: &Catalogue,
    layer: &Layer,
    (form, needs): (&Form, Needs),
    memo: &dyn Memo,
) -> Result<Reading, Error> {
    if let Some(pair) = Pair::of(source, layer)? {
        let reading = Reading::new(pair.entries()?, pair.identity());
        return with_values(reading, (form, needs), memo, || pair.spectrum());
    }
    if let Some(product) = AroundKernel::of(source, layer)? {
        let reading = Reading::new(product.entries(), product.identity());
        return with_values(reading, (form, needs), memo, || product.spectrum());
    }
    let alone = is_alone(form, needs);
    if procedure(form, Need::Values) == Procedure::Stream && !alone {
        return streamed(source, layer, (form, needs), memo);
    }
    let held = Held::read(source, layer)?;
    let mut reading = Reading::new(held.entries(), held.identity());
    if alone && finite(&reading.entries) {
        let content = content(&reading.identity, form);
        Alone(reading.largest) = content.recall_largest(memo, &reading.entries).unwrap_or_else(|| {
            let found = Alone(linalg::largest(&Operator::from(&held)));
            content.keep_largest(memo, found);
            found
        });
    }
    if reading.largest.is_some() {
        return Ok(reading);
    }
    with_values(reading, (form, needs), memo, || singular_values(&held, form.precision))
}

/// The same with the values that are found, where they are needed and not kept.
fn with_values(
    reading: Reading,
    (form, needs): (&Form, Needs),
    memo: &dyn Memo,
    find: impl FnOnce() -> Result<Spectrum, Error>,
) -> Result<Reading, Error> {
    if needs == Needs::Entries || !finite(&reading.entries) {
        return Ok(reading);
    }
    let spectrum = recalled(memo, (&reading.identity, &reading.entries), form, find)?;
    Ok(Reading { spectrum: Some(spectrum), ..reading })
}

/// The same in blocks of rows: the matrix is never in memory whole.
fn streamed(
    source: &Catalogue,
    layer: &Layer,
    (form, needs): (&Form, Needs),
    memo: &dyn Memo,
) -> Result<Reading, Error> {
    let mut stream = Stream::new(layer.rows, layer.cols);
    let reading = scanned(source, layer, |rows| {
        if needs > Needs::Entries {
            stream.push(rows);
        }
    })?;
    let max_abs = reading.entries.max_abs();
    with_values(reading, (form, needs), memo, || match stream.finish() {
        Ok(found) if found.largest() > 0.0 || max_abs == 0.0 => Ok(found),
        // Squares of doubles left their range: the exact route scales first, and takes the weight whole.
        Ok(_) | Err(Error::Overflow(_)) => {
            singular_values(&source.read(layer, 0..layer.rows)?, Precision::Exact)
        }
        Err(error) => Err(error),
    })
}

/// What the entries of a matrix say, read in blocks of rows; `each` takes the blocks up to the first that is not finite.
pub(super) fn scanned(
    source: &Catalogue,
    layer: &Layer,
    mut each: impl FnMut(&Matrix),
) -> Result<Reading, Error> {
    let (mut entries, mut fingerprint) =
        (Entries::of_shape((layer.rows, layer.cols)), Fingerprint::default());
    for rows in layer.blocks(BLOCK_BYTES) {
        let rows = source.read(layer, rows)?;
        entries.push(&rows);
        fingerprint.push(&rows);
        if finite(&entries) {
            each(&rows);
        }
    }
    Ok(Reading::new(entries, fingerprint.finish()))
}

/// The triplets that are sought beside the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sought {
    /// How many leading ones.
    pub k: usize,
    /// The largest residual of a leading one, relative to `σ₁`.
    pub tolerance: f64,
    /// Whether all are.
    pub all: bool,
}

/// Triplets that came from the same reduction as the values.
#[derive(Debug, Clone, PartialEq)]
pub struct Triplets {
    /// The leading ones.
    pub leading: Factors,
    /// All of them, where they were sought.
    pub all: Option<Factors>,
}

/// Reads a matrix whole and finds its singular values, the same as [`read`], and the triplets that are `sought`; none where
/// it has no values or is a product of thin factors.
///
/// # Errors
/// When it cannot be read or a decomposition does not converge.
pub fn read_triplets(
    source: &Catalogue,
    layer: &Layer,
    precision: Precision,
    sought: Sought,
) -> Result<(Reading, Option<Triplets>), Error> {
    let held = Held::read(source, layer)?;
    let (entries, identity) = (held.entries(), held.identity());
    let form = Form::of(layer, precision);
    let (spectrum, triplets) = match &held {
        _ if !finite(&entries) => (None, None),
        Held::Thin(_) => (Some(singular_values(&held, form.precision)?), None),
        Held::Dense(matrix) => {
            // On the side that `read` takes of a square one.
            let route = procedure(&form, Need::Values).route();
            let reference = Reference::new(matrix, Vectors::Right, route)?;
            let spectrum = reference.spectrum().clone();
            (Some(spectrum), triplets_where_they_fit(reference, sought)?)
        }
    };
    Ok((Reading { spectrum, ..Reading::new(entries, identity) }, triplets))
}

/// The same of a reduction; none where the values fit units that vectors are not sought in.
pub(super) fn triplets_where_they_fit(
    reference: Reference<'_>,
    sought: Sought,
) -> Result<Option<Triplets>, Error> {
    match triplets(reference, sought) {
        Err(Error::Overflow(_)) => Ok(None),
        found => found.map(Some),
    }
}

fn triplets(reference: Reference<'_>, sought: Sought) -> Result<Triplets, Error> {
    let leading = reference.leading_to(sought.k, sought.tolerance)?;
    let all = sought.all.then(|| reference.into_factors()).transpose()?;
    Ok(Triplets { leading, all })
}

pub(super) fn finite(entries: &Entries) -> bool {
    entries.nonfinite_count() == 0
}

/// The values of this content, found only where they are not kept.
fn recalled(
    memo: &dyn Memo,
    (identity, entries): (&ContentId, &Entries),
    form: &Form,
    find: impl FnOnce() -> Result<Spectrum, Error>,
) -> Result<Spectrum, Error> {
    let content = content(identity, form);
    match content.recall(memo, entries) {
        Some(spectrum) => Ok(spectrum),
        None => find().inspect(|found| content.keep(memo, found)),
    }
}

fn content(identity: &ContentId, form: &Form) -> ContentKey {
    let Form { rows, cols, read_as, .. } = *form;
    ContentKey { identity: *identity, rows, cols, read_as, route: procedure(form, Need::Values).route() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::sync::{Arc, Mutex};

    use super::super::NoMemo;
    use super::*;
    use crate::matrix::Dtype;
    use crate::spectrum::Route;
    use crate::weight::{Given, Holds, Rows};

    /// A matrix of ones beside a diagonal, and how many rows each read asked for.
    struct Counted {
        layer: Layer,
        source: Catalogue,
        reads: Arc<Mutex<Vec<usize>>>,
    }

    impl Counted {
        fn new((rows, cols): (usize, usize), dtype: Dtype) -> Self {
            let (layer, reads) =
                (Layer::plain("w", (rows, cols), dtype), Arc::<Mutex<Vec<usize>>>::default());
            let counted = Arc::clone(&reads);
            let read = move |range: Range<usize>| {
                counted.lock().expect("one thread").push(range.len());
                let entry = |(i, j): (usize, usize)| 1.0 + if i == j { i as f64 } else { 0.0 };
                let entries = range.clone().flat_map(|i| (0..cols).map(move |j| (i, j))).map(entry);
                Matrix::rounded(range.len(), cols, dtype, &entries.collect::<Vec<_>>())
            };
            let given = Given::Rows(Rows { shape: (rows, cols), dtype, read: Arc::new(read) });
            let source = Catalogue::given(Holds::Weights, [(layer.clone(), given)]);
            Self { layer, source, reads }
        }

        fn read(&self, precision: Precision, memo: &dyn Memo) -> (Reading, Vec<usize>) {
            let reading =
                read(&self.source, &self.layer, (precision, Needs::Values), memo).expect("converges");
            (reading, std::mem::take(&mut *self.reads.lock().expect("one thread")))
        }
    }

    #[test]
    fn what_is_planned_to_be_streamed_is_never_in_memory_whole() {
        // Five blocks, all of them alike but for the last.
        let (rows, cols) = (32_800, 257);
        let tall = Counted::new((rows, cols), Dtype::F32);
        let form = Form::of(&tall.layer, Precision::Fast);
        assert_eq!(procedure(&form, Need::Values), Procedure::Stream);
        let (reading, reads) = tall.read(Precision::Fast, &NoMemo);
        assert!(reads.len() > 4 && reads.iter().all(|rows| rows * cols * 4 <= BLOCK_BYTES), "{reads:?}");
        assert_eq!(reading.spectrum.map(|spectrum| spectrum.route()), Some(Route::Gram));
        let held = linalg::cost(rows, cols, Dtype::F32, Route::Gram);
        let never_held = (rows * cols * 4 - BLOCK_BYTES) as u64;
        assert_eq!(super::super::cost(&form, Need::Values).bytes, held.bytes - never_held);

        for (shape, dtype) in [((257, 300), Dtype::F32), ((300, 257), Dtype::F64), ((40, 30), Dtype::F32)] {
            let whole = Counted::new(shape, dtype);
            let form = Form::of(&whole.layer, Precision::Fast);
            let (reading, reads) = whole.read(Precision::Fast, &NoMemo);
            assert_eq!(reads, [shape.0], "{form:?}");
            let route = procedure(&form, Need::Values).route();
            assert_eq!(reading.spectrum.map(|spectrum| spectrum.route()), Some(route), "{form:?}");
        }
    }

    /// Keeps everything.
    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<[u8; 32], Vec<u8>>>);

    impl Memo for Kept {
        fn recall(&self, key: &blake3::Hash) -> Option<Vec<u8>> {
            self.0.lock().expect("one thread").get(key.as_bytes()).cloned()
        }

        fn keep(&self, key: &blake3::Hash, what: &[u8]) {
            self.0.lock().expect("one thread").insert(*key.as_bytes(), what.to_owned());
        }
    }

    #[test]
    fn values_are_recalled_by_content_and_by_the_route_of_the_need() {
        for shape in [(300, 280), (280, 300)] {
            let (source, memo) = (Counted::new(shape, Dtype::F32), Kept::default());
            let (fast, _) = source.read(Precision::Fast, &memo);
            let (exact, _) = source.read(Precision::Exact, &memo);
            let routes = [&fast, &exact].map(|reading| reading.spectrum.as_ref().map(Spectrum::route));
            assert_eq!(routes, [Some(Route::Gram), Some(Route::Direct)]);
            // Kept values are the returned ones, each for its own need; forged ones are found anew.
            let mut values = fast.spectrum.as_ref().expect("finite").values().to_vec();
            let content = content(&fast.identity, &Form::of(&source.layer, Precision::Fast));
            let plant = |values: &[f64]| {
                let other = Spectrum::new(values.to_vec(), shape.0, shape.1, Route::Gram);
                content.keep(&memo, &other.expect("sound values"));
                source.read(Precision::Fast, &memo).0.spectrum
            };
            assert_eq!(plant(&[7.0; 280]), fast.spectrum);
            values[279] *= 1.0 + 1e-9;
            assert_eq!(plant(&values).expect("finite").values(), values);
            assert_eq!(source.read(Precision::Exact, &memo).0.spectrum, exact.spectrum);
        }
    }
}
