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
use crate::report::{Flag, Measurements, MissingReason, Places};
use crate::solver::{self, Cost, Form, Held, Need, Precision, unit};
use crate::spectrum::{Spectrum, scaled};
use crate::weight::Catalogue;

use super::Measured;

pub use columns::FARMS;
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

/// Reads `layer` from `source` and fits the pooled tail of its windows, and the tail of the whole matrix.
///
/// # Errors
/// When the layer cannot be read or a decomposition does not converge.
pub fn measure(source: &Catalogue, layer: &Layer, settings: &Settings) -> Result<Measured, Error> {
    let weight = Held::read(source, layer)?;
    let (pooled, spectrum) = if weight.entries().nonfinite_count() == 0 {
        // 0 unless it is far from one.
        let unit = unit::common([weight.exponent()]);
        let near = if unit == 0 { None } else { Some(weight.rescaled(-unit)?) };
        let (spectrum, samples) = spectra(near.as_ref().unwrap_or(&weight), layer, settings)?;
        let fit = |sample: &[f64], exponent: i32| {
            if spectrum.largest() == 0.0 {
                return Err(MissingReason::AllZero);
            }
            let exponent = exponent + 2 * unit;
            let tail = fit_by(sample, exponent, settings.start)?;
            Ok(TailFit { xmin: scaled(tail.xmin, exponent), ..tail })
        };
        let tails = samples.iter().map(|sample| fit(sample, 0)).collect();
        let Eigenvalues { values, exponent } = eigenvalues(&spectrum);
        let whole = fit(&values, exponent);
        (Pooled { tails, whole, ..plan(layer, settings) }, Some(spectrum.rescaled(unit)?))
    } else {
        let none = MissingReason::NonFinite;
        (Pooled { tails: Err(none), whole: Err(none), ..plan(layer, settings) }, None)
    };
    let values = Measurements(FARMS.iter().map(|metric| (&metric.column, (metric.value)(&pooled))).collect());
    let (places, flags) = (Places::default(), flags(&pooled));
    Ok(Measured { values, places, flags, identity: weight.identity(), spectrum })
}

/// The spectrum of the whole, and the eigenvalues that one tail each is fitted to, ascending: of all windows
/// together, or of each row of blocks.
fn spectra(weight: &Held, layer: &Layer, settings: &Settings) -> Result<(Spectrum, Vec<Vec<f64>>), Error> {
    let precision = settings.precision.of(layer.dtype);
    let whole = solver::singular_values(weight, precision)?;
    if let (Some(blocks), Held::Dense(matrix)) = (kernels::blocks(layer, settings), weight) {
        let spectra = blocks.spectra(matrix, precision)?;
        let scaled = |spectra: &Vec<Spectrum>| pool(spectra).iter().map(|x| x * kernels::SCALE).collect();
        return Ok((whole, spectra.iter().map(scaled).collect()));
    }
    let grid = windows(settings, layer.rows, layer.cols);
    Ok((whole, vec![pool(&weight.windows(&grid, precision)?)]))
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

/// The cost of measuring `layer`.
pub fn cost(layer: &Layer, settings: &Settings) -> Cost {
    let form = Form::of(layer, settings.precision).kept();
    let whole = solver::cost(&form, Need::Values);
    let windows = match kernels::blocks(layer, settings) {
        Some(blocks) => blocks.cost(&form),
        None => solver::cost(&form, Need::Windows(&windows(settings, layer.rows, layer.cols))),
    };
    // One after the other, but the buffers of the first are kept for the next.
    Cost { flops: whole.flops + windows.flops, bytes: whole.bytes + windows.bytes }
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
