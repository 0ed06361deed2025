//! Eigenvalues: of square matrices, which a recurrence multiplies its state with, and of the diagonals that state-space models
//! store.

mod columns;
mod state_space;

use crate::error::Error;
use crate::layer::Layer;
use crate::matrix::{Dtype, Matrix};
use crate::report::{Lists, MissingReason, Value};
use crate::solver::{self, Complex, Cost, Eigenpairs, Form, Need, Precision};
use crate::weight::Catalogue;

pub use columns::EIGENVALUES;
pub use state_space::Parameter;

/// So many eigenvalues are listed, those of the largest real parts.
const LISTED: usize = 256;

/// What is asked beside the columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Eigenvalues {
    /// Points z of the plane at which σ_min(zI − A) is told.
    pub points: Vec<Complex>,
}

/// What it takes.
pub fn cost(layer: &Layer) -> Cost {
    if Parameter::of(&layer.name).is_some() || layer.rows != layer.cols {
        return Cost { flops: 20.0 * layer.len() as f64, bytes: 64 * layer.len() as u64 };
    }
    let side = layer.rows as f64;
    let twice = Form::whole((2 * layer.rows, 2 * layer.rows), Dtype::F64, Precision::Exact);
    let Cost { flops, bytes } = solver::cost(&twice, Need::Values);
    // The Schur form and its vectors (Golub & Van Loan 2013, 7.5), the vectors' values, the symmetric part's.
    Cost { flops: 25.0 * side.powi(3) + flops + 9.0 * side.powi(3), bytes: bytes + 100 * layer.len() as u64 }
}

/// The values of [`EIGENVALUES`] for `layer`, with lists; `imaginary` has the imaginary parts of its eigenvalues, in its shape,
/// where they are stored beside it.
///
/// # Errors
/// When something cannot be read, or an iteration does not converge.
pub fn measure(
    asked: &Eigenvalues,
    (source, layer): (&Catalogue, &Layer),
    imaginary: Option<&Layer>,
) -> Result<(Vec<Value>, Lists), Error> {
    let parameter = Parameter::of(&layer.name);
    let none = |why| Ok((vec![Value::Missing(why); EIGENVALUES.len()], Lists::default()));
    if parameter == Some(Parameter::AImag) || (parameter.is_none() && layer.rows != layer.cols) {
        return none(MissingReason::NoEigenvalues);
    }
    let matrix = source.read(layer, 0..layer.rows)?;
    let entries = matrix.to_f64();
    if entries.iter().any(|x| !x.is_finite()) {
        return none(MissingReason::NonFinite);
    }
    if parameter.is_none() {
        // Products of entries have to be numbers, too.
        let largest = entries.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        let is_far = largest > 0.0 && !(1e-100..1e100).contains(&largest);
        return if is_far { none(MissingReason::Overflow) } else { square(asked, &matrix, &entries) };
    }
    let of = |other: &Layer| Ok::<_, Error>(source.read(other, 0..other.rows)?.to_f64());
    let parts = imaginary.map(of).transpose()?;
    if parts.iter().flatten().any(|x| !x.is_finite()) {
        return none(MissingReason::NonFinite);
    }
    let value = |k: usize| (-entries[k].exp(), parts.as_ref().map_or(0.0, |parts| parts[k]));
    let channels: Vec<Vec<Complex>> =
        (0..layer.rows).map(|i| (0..layer.cols).map(|j| value(i * layer.cols + j)).collect()).collect();
    let start = match (layer.stored_shape.len(), &parts) {
        (1, _) => Start::Unknown,
        (_, None) => Start::Real,
        (_, Some(_)) => Start::Complex,
    };
    diagonal(&channels, start)
}

/// Where training can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Each head has a rate of its own, drawn at random (Mamba-2).
    Unknown,
    Real,
    Complex,
}

/// Of stored eigenvalues: their matrix is diagonal, so it is normal.
fn diagonal(channels: &[Vec<Complex>], start: Start) -> Result<(Vec<Value>, Lists), Error> {
    let all: Vec<Complex> = channels.concat();
    if all.iter().any(|value| !value.0.is_finite()) {
        return Ok((vec![Value::Missing(MissingReason::Overflow); EIGENVALUES.len()], Lists::default()));
    }
    let normal =
        Normality { numerical_abscissa: None, condition: Value::Real(1.0), departure: Value::Real(0.0) };
    let mut values = of_eigenvalues(&all, normal);
    let distances = match start {
        Start::Unknown => vec![None; EIGENVALUES.len() - values.len()],
        _ => state_space::distances(channels, start == Start::Complex)?,
    };
    values.extend(
        distances.into_iter().map(|x| x.map_or(Value::Missing(MissingReason::NotStateSpace), Value::real)),
    );
    let mean = |j: usize, part: fn(&Complex) -> f64| {
        channels.iter().map(|channel| part(&channel[j])).sum::<f64>() / channels.len() as f64
    };
    let mut lists = Lists::default();
    let listed = channels.first().map_or(0, Vec::len).min(LISTED);
    lists.real("eigenvalues_real", (0..listed).map(|j| mean(j, |value| value.0)));
    lists.real("eigenvalues_imag", (0..listed).map(|j| mean(j, |value| value.1)));
    Ok((values, lists))
}

/// What a matrix is beside its eigenvalues.
#[derive(Clone, Copy)]
struct Normality {
    /// That of a normal matrix is its spectral abscissa.
    numerical_abscissa: Option<f64>,
    condition: Value,
    departure: Value,
}

fn square(asked: &Eigenvalues, matrix: &Matrix, entries: &[f64]) -> Result<(Vec<Value>, Lists), Error> {
    let side = matrix.rows();
    let Eigenpairs { values, vectors } = solver::eigenpairs(matrix)?;
    let at = |i: usize, j: usize| entries[i * side + j];
    let is_symmetric = (0..side).all(|i| (0..i).all(|j| at(i, j) - at(j, i) == 0.0));
    let normal = if is_symmetric {
        Normality { numerical_abscissa: None, condition: Value::Real(1.0), departure: Value::Real(0.0) }
    } else {
        let symmetric: Vec<f64> =
            (0..side * side).map(|k| f64::midpoint(at(k / side, k % side), at(k % side, k / side))).collect();
        let (_, own) = solver::eigen(&Matrix::from_f64(side, side, &symmetric)?)?;
        Normality {
            numerical_abscissa: own.into_iter().reduce(f64::max),
            condition: condition(&vectors)?,
            departure: departure(entries, &values),
        }
    };
    let mut found = of_eigenvalues(&values, normal);
    found.resize(EIGENVALUES.len(), Value::Missing(MissingReason::NotStateSpace));
    let mut lists = Lists::default();
    lists.real("eigenvalues_real", values.iter().take(LISTED).map(|value| value.0));
    lists.real("eigenvalues_imag", values.iter().take(LISTED).map(|value| value.1));
    let smallest = asked.points.iter().map(|point| smallest_at(*point, entries, side));
    lists.real("sigma_min_at", smallest.collect::<Result<Vec<f64>, Error>>()?);
    Ok((found, lists))
}

/// The columns up to the distances.
fn of_eigenvalues(values: &[Complex], normal: Normality) -> Vec<Value> {
    let abscissa = values.iter().map(|value| value.0).fold(f64::NEG_INFINITY, f64::max);
    let radius = values.iter().map(|value| value.0.hypot(value.1)).fold(0.0, f64::max);
    let rates = || values.iter().map(|value| -value.0).filter(|rate| *rate > 0.0);
    let time = |rate: Option<f64>| {
        rate.map_or(Value::Missing(MissingReason::NotApplicable), |rate| Value::real(1.0 / rate))
    };
    vec![
        Value::real(abscissa),
        Value::real(radius),
        Value::real(normal.numerical_abscissa.unwrap_or(abscissa)),
        normal.condition,
        normal.departure,
        Value::count(values.iter().filter(|value| value.0 >= 0.0).count()),
        time(rates().reduce(f64::min)),
        time(rates().reduce(f64::max)),
    ]
}

/// σ₁/σ_min; below rounding of 1, the smallest cannot be told from zero.
fn condition(vectors: &Matrix) -> Result<Value, Error> {
    let spectrum = solver::singular_values(vectors, Precision::Exact)?;
    Ok(match spectrum.values() {
        [first, .., last] if *last > spectrum.floor() => Value::real(first / last),
        [_] => Value::Real(1.0),
        _ => Value::Missing(MissingReason::BelowExactFloor),
    })
}

/// √(‖A‖F² − Σ|λ|²)/‖A‖F; of a matrix that is normal up to rounding it cannot be told from zero.
fn departure(entries: &[f64], values: &[Complex]) -> Value {
    let all: f64 = entries.iter().map(|x| x * x).sum();
    let normal: f64 = values.iter().map(|value| value.0 * value.0 + value.1 * value.1).sum();
    let rounding = values.len() as f64 * f64::EPSILON;
    match (all - normal) / all {
        share if share > rounding => Value::real(share.min(1.0).sqrt()),
        _ => Value::Missing(MissingReason::BelowExactFloor),
    }
}

/// σ_min(zI − A): each singular value of a complex matrix is twice one of [Re, −Im; Im, Re].
fn smallest_at((re, im): Complex, entries: &[f64], side: usize) -> Result<f64, Error> {
    let entry = |k: usize| {
        let (i, j) = (k / (2 * side), k % (2 * side));
        let on = |x: f64| if i % side == j % side { x } else { 0.0 };
        match (i < side, j < side) {
            (true, true) | (false, false) => on(re) - entries[(i % side) * side + j % side],
            (true, false) => on(-im),
            (false, true) => on(im),
        }
    };
    let all: Vec<f64> = (0..4 * side * side).map(entry).collect();
    let spectrum = solver::singular_values(&Matrix::from_f64(2 * side, 2 * side, &all)?, Precision::Exact)?;
    Ok(spectrum.values().last().copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HiPPO-LegS: its eigenvalues are −1 … −n, its numerical abscissa is −½, both exactly (Gu et al. 2020).
    #[test]
    fn hippo_has_whole_eigenvalues_and_an_abscissa_of_half() {
        for side in [1, 4, 8, 12] {
            let entry = |i: usize, j: usize| match i.cmp(&j) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => -(i as f64 + 1.0),
                std::cmp::Ordering::Greater => -((2 * i + 1) as f64 * (2 * j + 1) as f64).sqrt(),
            };
            let entries: Vec<f64> = (0..side * side).map(|k| entry(k / side, k % side)).collect();
            let matrix = Matrix::from_f64(side, side, &entries).expect("sizes agree");
            let (values, lists) = square(&Eigenvalues::default(), &matrix, &entries).expect("converges");
            for (k, found) in lists.get("eigenvalues_real").iter().enumerate() {
                assert!((found + k as f64 + 1.0).abs() < 1e-12, "{side}: {found}");
            }
            let expected = if side == 1 { -1.0 } else { -0.5 };
            let found = values[2].number().expect("a number");
            assert!((found - expected).abs() < 1e-12, "{side}: {found}");
        }
    }

    #[test]
    fn a_symmetric_matrix_is_normal() {
        let entries = [1.0, 2.0, 2.0, -3.0];
        let matrix = Matrix::from_f64(2, 2, &entries).expect("sizes agree");
        let (values, _) = square(&Eigenvalues::default(), &matrix, &entries).expect("converges");
        assert_eq!(values[2], values[0]);
        assert_eq!(values[3..5], [Value::Real(1.0), Value::Real(0.0)]);
    }

    #[test]
    fn the_resolvent_of_a_jordan_block_is_that_of_two_by_two() {
        // σ_min of [z, −1; 0, z] at z = i: the product of both is 1, their squares add up to 3.
        let found = smallest_at((0.0, 1.0), &[0.0, 1.0, 0.0, 0.0], 2).expect("converges");
        let expected = ((3.0 - 5f64.sqrt()) / 2.0).sqrt();
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
}
