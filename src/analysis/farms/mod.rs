//! FARMS: a tail exponent free of aspect-ratio bias.
//!
//! The exponent of a whole matrix depends on its shape, so a 4096 × 1024 layer does not compare with a
//! 4096 × 14336 one. FARMS fits one tail to the pooled eigenvalues of many overlapping windows of one fixed aspect
//! ratio (Hu, Goel, Killiakov & Yang 2025). Where the windows lie is in `sampling`, the peers' way with convolutions in
//! `kernels`, the columns in `columns`.

mod columns;
mod kernels;
mod sampling;

use crate::error::Error;
use crate::layer::Layer;
use crate::metric::{Eigenvalues, LOW_N, StartRule, TailFit, eigenvalues, fit_by};
use crate::report::{Flag, Measurements, MissingReason};
use crate::solver::{self, Cost, Form, Held, Memo, Need, Needs, Precision, Reading, unit};
use crate::spectrum::{Spectrum, magnitude, scaled};
use crate::weight::Catalogue;

use super::{Measured, hygiene};

pub use columns::{FARMS, Metric, Metrics, Of};
pub use sampling::windows;

/// The settings that decide the numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Rows of a window, at least 1; less where the matrix is smaller.
    pub window: usize,
    /// Columns over rows of a window, positive and finite.
    pub aspect: f64,
    /// Windows along each side, at least 2. A side too short for that many has fewer.
    pub windows_per_dim: usize,
    /// Where the tails may start.
    pub start: StartRule,
    /// How convolutions are taken.
    pub convolution: Convolution,
    /// How exact small singular values are.
    pub precision: Precision,
}

/// How the kernel of a convolution becomes matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convolution {
    /// Folded to out × (in·k·k), like any other matrix.
    Fold,
    /// The peers' way: square blocks of each kernel position, one exponent a row of blocks, their mean.
    Blocks,
}

/// Results for one matrix, before they become columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Pooled {
    /// The tail of the pooled eigenvalues: one, or one a row of blocks.
    pub tails: Result<Vec<TailFit>, MissingReason>,
    /// The tail of the whole matrix by the same rule.
    pub whole: Result<TailFit, MissingReason>,
    /// How many windows there are.
    pub windows: usize,
    /// Rows and columns of a window.
    pub shape: (usize, usize),
    /// Entries in at least one window.
    pub covered: usize,
    /// Entries of the matrix.
    pub entries: usize,
}

/// Reads `layer` from `source`, and fits the pooled tail of its windows and the tail of the whole matrix, as far as `metrics`
/// take them; values of the whole are recalled where nothing else is taken.
///
/// # Errors
/// When the layer cannot be read or a decomposition does not converge.
pub fn measure(
    source: &Catalogue,
    layer: &Layer,
    settings: &Settings,
    metrics: Metrics,
    memo: &dyn Memo,
) -> Result<Measured, Error> {
    let of_windows = metrics.iter().any(|metric| metric.of.is_windows());
    let of_whole = metrics.iter().any(|metric| metric.of.is_whole());
    let mut pooled = plan(layer, settings);
    let told = |pooled: &Pooled| {
        Measurements(metrics.iter().map(|metric| (&metric.column, (metric.value)(pooled))).collect())
    };
    // Thin factors cost less than a look.
    if !of_windows && layer.rank.is_none() {
        let needs = if of_whole { Needs::Values } else { Needs::Entries };
        let reading = read_near(source, layer, (settings.precision, needs), memo)?;
        if let Some(Reading { entries, identity, spectrum, .. }) = reading {
            let spectrum = spectrum.filter(|_| of_whole);
            pooled.whole = match &spectrum {
                Some(spectrum) => whole(spectrum, settings, 0),
                None if entries.nonfinite_count() > 0 => Err(MissingReason::NonFinite),
                None => pooled.whole,
            };
            let resolution = spectrum.as_ref().and_then(super::resolution);
            let (values, flags) = (told(&pooled), flags(&pooled));
            return Ok(Measured { values, flags, resolution, spectrum, ..Measured::nothing(identity) });
        }
    }
    let weight = Held::read(source, layer)?;
    let mut spectrum = None;
    if weight.entries().nonfinite_count() == 0 {
        // 0 unless it is far from one.
        let unit = unit::common([weight.exponent()]);
        let near = if unit == 0 { None } else { Some(weight.rescaled(-unit)?) };
        let near = near.as_ref().unwrap_or(&weight);
        let found = if of_whole {
            Some(solver::singular_values(near, settings.precision.of(layer.dtype))?)
        } else {
            None
        };
        if of_windows {
            let fit = |sample: &Vec<f64>| match weight.exponent() {
                None => Err(MissingReason::AllZero),
                Some(_) => fit(sample, 2 * unit, settings),
            };
            pooled.tails = samples(near, layer, settings)?.iter().map(fit).collect();
        }
        if let Some(found) = found {
            pooled.whole = whole(&found, settings, unit);
            spectrum = Some(found.rescaled(unit)?);
        }
    } else {
        let none = MissingReason::NonFinite;
        (pooled.tails, pooled.whole) = (Err(none), Err(none));
    }
    let resolution = spectrum.as_ref().and_then(super::resolution);
    let (values, flags) = (told(&pooled), flags(&pooled));
    Ok(Measured { values, flags, resolution, spectrum, ..Measured::nothing(weight.identity()) })
}

/// What is read of a dense matrix that is near one; none of others.
fn read_near(
    source: &Catalogue,
    layer: &Layer,
    how: (Precision, Needs),
    memo: &dyn Memo,
) -> Result<Option<Reading>, Error> {
    if layer.operands.is_some() {
        return Ok(None);
    }
    let reading = solver::read(source, layer, how, memo)?;
    let size = reading.entries.max_abs();
    let exponent = (size > 0.0 && size.is_finite()).then(|| magnitude(size));
    Ok(Some(reading).filter(|_| unit::common([exponent]) == 0))
}

/// The tail of the whole matrix, whose `spectrum` is in units of `2^unit`.
fn whole(spectrum: &Spectrum, settings: &Settings, unit: i32) -> Result<TailFit, MissingReason> {
    if spectrum.largest() == 0.0 {
        return Err(MissingReason::AllZero);
    }
    let Eigenvalues { values, exponent } = eigenvalues(spectrum);
    fit(&values, exponent + 2 * unit, settings)
}

/// The tail of ascending eigenvalues in units of `2^exponent`.
fn fit(sample: &[f64], exponent: i32, settings: &Settings) -> Result<TailFit, MissingReason> {
    let tail = fit_by(sample, exponent, settings.start)?;
    Ok(TailFit { xmin: scaled(tail.xmin, exponent), ..tail })
}

/// The eigenvalues that one tail each is fitted to, ascending: of all windows together, or of each row of blocks.
fn samples(weight: &Held, layer: &Layer, settings: &Settings) -> Result<Vec<Vec<f64>>, Error> {
    let precision = settings.precision.of(layer.dtype);
    if let (Some(blocks), Held::Dense(matrix)) = (kernels::blocks(layer, settings), weight) {
        let spectra = blocks.spectra(matrix, precision)?;
        let scaled = |spectra: &Vec<Spectrum>| pool(spectra).iter().map(|x| x * kernels::SCALE).collect();
        return Ok(spectra.iter().map(scaled).collect());
    }
    let grid = windows(settings, layer.rows, layer.cols);
    Ok(vec![pool(&weight.windows(&grid, precision)?)])
}

/// Flags for the reader of the values.
fn flags(pooled: &Pooled) -> Vec<Flag> {
    let short = |tail: &TailFit| tail.count < LOW_N;
    let tails = pooled.tails.as_ref().is_ok_and(|tails| tails.iter().any(short));
    let whole = pooled.whole.as_ref().is_ok_and(short);
    [(tails, Flag::LowNTail), (whole, Flag::LowNWholeTail)]
        .into_iter()
        .filter_map(|(short, flag)| short.then_some(flag))
        .collect()
}

/// The cost of the singular values of the whole, and of those of the windows.
pub fn costs(layer: &Layer, settings: &Settings) -> [Cost; 2] {
    let form = Form::of(layer, settings.precision).kept();
    let windows = match kernels::blocks(layer, settings) {
        Some(blocks) => blocks.cost(&form),
        None => solver::cost(&form, Need::Windows(&windows(settings, layer.rows, layer.cols))),
    };
    [solver::cost(&form, Need::Values), windows]
}

/// The cost of measuring `layer` by `metrics`.
pub fn cost(layer: &Layer, settings: &Settings, metrics: Metrics) -> Cost {
    let [whole, windows] = costs(layer, settings);
    let taken = [
        (whole, metrics.iter().any(|metric| metric.of.is_whole())),
        (windows, metrics.iter().any(|metric| metric.of.is_windows())),
    ];
    // One after the other, but the buffers of the first are kept for the next.
    let taken = taken.into_iter().filter(|(_, is_taken)| *is_taken).map(|(cost, _)| cost);
    let sum = taken.reduce(|sum, one| Cost { flops: sum.flops + one.flops, bytes: sum.bytes + one.bytes });
    sum.unwrap_or_else(|| hygiene::cost(layer))
}

/// Number, shape and coverage of the windows of `layer`; nothing fitted yet.
fn plan(layer: &Layer, settings: &Settings) -> Pooled {
    let (windows, shape, covered) = if let Some(blocks) = kernels::blocks(layer, settings) {
        (blocks.count(), blocks.shape(), blocks.covered())
    } else {
        let windows = windows(settings, layer.rows, layer.cols);
        let shape = (windows.rows.length, windows.cols.length);
        (windows.count(), shape, windows.rows.covered() * windows.cols.covered())
    };
    let none = MissingReason::NotApplicable;
    Pooled { tails: Err(none), whole: Err(none), windows, shape, covered, entries: layer.len() }
}

/// The eigenvalues of several spectra, ascending; of each those above its own floor.
fn pool(spectra: &[Spectrum]) -> Vec<f64> {
    // The weight is near one; a window all of whose squares underflow beside it has nothing to add.
    let near = spectra.iter().map(eigenvalues).filter(|found| found.exponent == 0);
    let mut pooled: Vec<f64> = near.flat_map(|found| found.values).collect();
    pooled.sort_unstable_by(f64::total_cmp);
    pooled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Value;

    /// The published setting for language models.
    pub(super) fn settings() -> Settings {
        Settings {
            window: 2000,
            aspect: 1.0,
            windows_per_dim: 15,
            start: StartRule::Peak,
            convolution: Convolution::Fold,
            precision: Precision::Fast,
        }
    }

    fn tail(alpha: f64) -> TailFit {
        TailFit { alpha, xmin: 1.0, count: 60, distance: 0.1 }
    }

    fn check(pooled: &Pooled, key: &str, expected: Value) {
        let metric = FARMS.iter().find(|metric| metric.column.key == key).expect("a column");
        assert_eq!((metric.value)(pooled), expected, "{key}");
    }

    #[test]
    fn a_key_stands_once_among_the_columns() {
        let mut keys: Vec<_> = FARMS.iter().map(|metric| metric.column.key).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), FARMS.len());
    }

    #[test]
    fn several_tails_give_their_mean_and_no_common_start() {
        let pooled = Pooled {
            tails: Ok(vec![tail(2.0), tail(4.0)]),
            whole: Ok(tail(2.5)),
            windows: 8,
            shape: (3, 3),
            covered: 72,
            entries: 96,
        };
        check(&pooled, "farms_alpha", Value::Real(3.0));
        check(&pooled, "alpha_shift", Value::Real(0.5));
        let short = Pooled { whole: Ok(TailFit { count: 49, ..tail(2.5) }), ..pooled.clone() };
        assert_eq!((flags(&pooled), flags(&short)), (vec![], vec![Flag::LowNWholeTail]));
        check(&pooled, "farms_ks_distance", Value::Real(0.1));
        check(&pooled, "farms_xmin", Value::Missing(MissingReason::NotApplicable));
        check(&pooled, "window_coverage", Value::Real(0.75));
        let failed = Pooled { whole: Err(MissingReason::NoTail), ..pooled.clone() };
        check(&failed, "farms_alpha", Value::Real(3.0));
        check(&failed, "alpha_shift", Value::Missing(MissingReason::NoTail));
        let zero = Pooled { tails: Err(MissingReason::AllZero), ..pooled };
        check(&zero, "farms_alpha", Value::Missing(MissingReason::AllZero));
        check(&zero, "alpha_shift", Value::Missing(MissingReason::AllZero));
        check(&zero, "windows", Value::Count(8));
    }
}
