//! How many of a layer's parameters matter: directions that its inputs never have, and that no gradient asks for, change
//! nothing.

use super::super::weighting;
use super::Notes;
use super::columns::PARAMETERS;
use crate::checkpoint::Moments;
use crate::error::Error;
use crate::report::Value;
use crate::solver;

/// Eigenvalues count above this share of the largest.
const RELATIVE: f64 = 1e-6;
/// The limit of the authors, whatever the scale.
const ABSOLUTE: f64 = 1e-5;

pub(super) fn measure(
    notes: &mut Notes,
    (rows, cols): (usize, usize),
    inputs: &Moments,
    gradients: &Moments,
) -> Result<(), Error> {
    let [inputs, gradients] = [eigenvalues(inputs)?, eigenvalues(gradients)?];
    let above = |values: &[f64], limit: f64| values.iter().filter(|x| **x > limit).count();
    let rank = |values: &[f64]| above(values, RELATIVE * values.first().copied().unwrap_or(0.0));
    let (of_inputs, of_gradients) = (rank(&inputs), rank(&gradients));
    let parameters = of_inputs * of_gradients;
    notes.add(
        &PARAMETERS,
        [
            Value::count(of_inputs),
            Value::count(above(&inputs, ABSOLUTE)),
            Value::count(of_gradients),
            Value::count(parameters),
            Value::real(parameters as f64 / (rows * cols) as f64),
            effective(&inputs),
            effective(&gradients),
        ],
    );
    notes.lists.real("input_eigenvalues", inputs);
    notes.lists.real("gradient_eigenvalues", gradients);
    Ok(())
}

/// Descending, none negative.
fn eigenvalues(moments: &Moments) -> Result<Vec<f64>, Error> {
    let mut values = match moments {
        Moments::Diagonal(squares) => squares.clone(),
        Moments::Covariance(covariance) => weighting::eigen(covariance)?.1,
        Moments::Inputs(inputs) => weighting::eigen(&solver::gram(inputs)?)?.1,
    };
    values.sort_by(|a, b| b.total_cmp(a));
    Ok(values)
}

/// The exponential of the entropy of what is not zero.
fn effective(values: &[f64]) -> Value {
    let all: f64 = values.iter().sum();
    let shares = values.iter().map(|x| x / all).filter(|p| *p > 0.0);
    Value::real((-shares.map(|p| p * p.ln()).sum::<f64>()).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_input_has_and_no_gradient_asks_for_does_not_count() {
        let mut notes = Notes::default();
        let inputs = Moments::Diagonal(vec![0.0, 4e-6, 3.0, 1.0]);
        let gradients = Moments::Diagonal(vec![2.0, 2.0, 1e-9]);
        measure(&mut notes, (3, 4), &inputs, &gradients).expect("diagonals");
        let value =
            |key: &str| notes.values.iter().find(|(column, _)| column.key == key).map(|(_, value)| *value);
        assert_eq!(value("input_rank"), Some(Value::Count(3)));
        assert_eq!(value("input_rank_absolute"), Some(Value::Count(2)));
        assert_eq!(value("effective_parameters"), Some(Value::Count(6)));
        assert_eq!(value("effective_parameter_share"), Some(Value::Real(0.5)));
    }
}
