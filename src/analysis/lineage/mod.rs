//! Whether the weights of two models have a common history: a test with a null that training itself provides.
//!
//! Training treats the neurons of an MLP alike: of a model that was trained by itself, every order of them is equally likely.
//! So the rows of its matrices are held against those of the other model in the same places, and the sum of their cosines
//! against its law under all orders (Hoeffding 1951). Of a copy whose neurons changed places, the order is not known: there
//! the rows of the gate tell which neuron is which, and the matrix that the gate multiplies is tested. Its rows have signs
//! that training treats alike, too: turning one together with the column that reads it changes nothing.

mod columns;

use super::permute::assignment;
use super::probability::{ln_combined, ln_normal_tail};
use super::units::{Axis, Lines, Member, Models, Panel, Span, UnitGroup, UnitTensor, panel};
use crate::error::Error;
use crate::matrix::Matrix;
use crate::report::{Column, MissingReason, Value};
use crate::solver::{self, Cost};

pub use columns::LINEAGE;

/// The values of [`LINEAGE`] of one group of neurons, and `ln p`, where there is one.
pub type LineageMeasured = ([Value; 7], Option<f64>);

/// Whether the neurons of both models stand in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeuronOrder<'a> {
    /// If they are related, they do.
    Same,
    /// It is not known, and the residual stream of the second model may stand in this order.
    Unknown(Option<&'a Lines>),
}

/// The law of a sum of cosines.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Law {
    sum: f64,
    mean: f64,
    variance: f64,
}

/// The least `null_sigma` that is not rounding: cosines are known to about 1e-15, those of a model have some 1/√(n·d).
const ROUNDING: f64 = 1e-12;

/// Numbers of a block of rows.
const BLOCK: usize = 1 << 20;

/// The values of [`LINEAGE`] of one group of neurons, and `ln p`, where there is one.
///
/// # Errors
/// When a weight cannot be read.
pub fn measure(
    models: Models<'_>,
    group: &UnitGroup,
    order: NeuronOrder<'_>,
) -> Result<LineageMeasured, Error> {
    let roles = group.roles;
    let rows = |member: Option<&Member>| {
        member.map(|member| Rows::read(models, *member, group.count, order)).transpose()
    };
    // A model that holds NaN anywhere in the MLP is not told to be related, whatever the tested matrix says.
    let tested = match (order, roles.value) {
        (NeuronOrder::Same, value) => vec![value.unwrap_or(roles.first)],
        (NeuronOrder::Unknown(_), Some(value)) => vec![roles.first, value],
        (NeuronOrder::Unknown(_), None) => vec![roles.first, roles.reader.unwrap_or(roles.first)],
    };
    for role in [Some(roles.first), roles.value, roles.reader].into_iter().flatten() {
        if let Some(member) = group.members.get(role).filter(|_| !tested.contains(&role)) {
            models.read(member.tensor)?;
        }
    }
    let law = match order {
        NeuronOrder::Same => rows(group.members.get(tested[0]))?.and_then(Rows::in_place),
        NeuronOrder::Unknown(_) => {
            let Some(first) = rows(group.members.get(roles.first))? else { return Ok(none(group)) };
            let nearest = first.nearest();
            match (roles.value, roles.reader) {
                (Some(value), _) => {
                    drop(first);
                    rows(group.members.get(value))?.map(|rows| rows.signed(&nearest))
                }
                (None, Some(reader)) => {
                    rows(group.members.get(reader))?.and_then(|rows| rows.beside(&first).matched(&nearest))
                }
                (None, None) => None,
            }
        }
    };
    let n = group.count as f64;
    let Some(Law { sum, mean, variance }) = law.filter(|law| law.variance.sqrt() > ROUNDING * n) else {
        return Ok(none(group));
    };
    let z = (sum - mean) / variance.sqrt();
    let ln = ln_normal_tail(z);
    let values = [
        Value::count(group.count),
        Value::real(sum / n),
        Value::real(mean / n),
        Value::real(variance.sqrt() / n),
        Value::real(z),
        probability(ln),
        Value::real(ln / std::f64::consts::LN_10),
    ];
    Ok((values, Some(ln)))
}

/// All groups together, from the `ln p` of each: the values of [`LINEAGE`] that there are.
pub fn combined(ln: &[f64]) -> [(&'static Column, Value); 2] {
    let [.., p, log] = &LINEAGE;
    if ln.is_empty() {
        return [p, log].map(|column| (column, Value::Missing(MissingReason::EqualRows)));
    }
    let ln = ln_combined(ln);
    [(p, probability(ln)), (log, Value::real(ln / std::f64::consts::LN_10))]
}

/// `e^ln`, where a double holds it.
fn probability(ln: f64) -> Value {
    let p = ln.exp();
    if p.is_normal() { Value::Real(p) } else { Value::Missing(MissingReason::TooSmall) }
}

/// Of rows that are all zero or all the same there is nothing to tell.
fn none(group: &UnitGroup) -> LineageMeasured {
    let mut values = [Value::Missing(MissingReason::EqualRows); 7];
    values[0] = Value::count(group.count);
    (values, None)
}

/// Most rows of embeddings that tell of the order of the stream.
const TOKENS: usize = 1 << 13;

/// In which order the coordinates of the second model's residual stream are most like those of the first, by both models'
/// embeddings of the same tokens; none where that is the order they stand in.
///
/// # Errors
/// When an embedding cannot be read.
pub fn stream(models: Models<'_>, embedding: usize) -> Result<Option<Lines>, Error> {
    let both = models.read(embedding)?;
    let (rows, units) = (both[0].rows().min(both[1].rows()).min(TOKENS), both[0].cols());
    let member = Member { tensor: embedding, side: Axis::Columns, span: Span::LINES };
    let [first, second] = both.map(|matrix| {
        let mut columns = panel(&Panel { matrix: &matrix, member, units, others: None }, 0..rows);
        columns.chunks_exact_mut(rows.max(1)).for_each(normalize);
        columns
    });
    let mut cosines = vec![0.0; units * units];
    solver::add_inner_products(&mut cosines, &first, &second, rows);
    let order = assignment(&cosines, units);
    Ok(order.iter().enumerate().any(|(i, from)| i as u32 != *from).then_some(order))
}

/// What a group takes.
pub fn cost(tensors: &[UnitTensor], group: &UnitGroup) -> Cost {
    let Some(member) = group.members.get(group.roles.first) else { return Cost { flops: 1.0, bytes: 1 } };
    let layer = &tensors[member.tensor].layer;
    let entries = (group.count * Axis::other(member.side).length((layer.rows, layer.cols))) as f64;
    Cost { flops: 2.0 * group.count as f64 * entries, bytes: 48 * entries as u64 + (8 * BLOCK) as u64 }
}

/// Rows of length one of both models, row-major; of zeros where a weight has no direction.
struct Rows {
    width: usize,
    sides: [Vec<f64>; 2],
}

impl Rows {
    fn read(models: Models<'_>, member: Member, units: usize, order: NeuronOrder<'_>) -> Result<Self, Error> {
        let both = models.read(member.tensor)?;
        let length = member.side.other().length((both[0].rows(), both[0].cols()));
        let stream = match order {
            NeuronOrder::Unknown(Some(lines)) if lines.len() == length => Some(lines.as_slice()),
            _ => None,
        };
        let width = length * member.span.count;
        let rows = |matrix: &Matrix, others| {
            let mut rows = panel(&Panel { matrix, member, units, others }, 0..length);
            rows.chunks_exact_mut(width.max(1)).for_each(normalize);
            rows
        };
        Ok(Self { width, sides: [rows(&both[0], None), rows(&both[1], stream)] })
    }

    fn pairs(&self) -> impl Iterator<Item = (&[f64], &[f64])> {
        self.sides[0].chunks_exact(self.width).zip(self.sides[1].chunks_exact(self.width))
    }

    /// What each row of the first model is most like in the second.
    fn nearest(&self) -> Vec<usize> {
        let mut nearest = vec![];
        self.products(&mut |products| {
            let most = products.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            nearest.push(most.map_or(0, |(at, _)| at));
        });
        nearest
    }

    /// The inner products of each row of the first model with all of the second.
    fn products(&self, each: &mut dyn FnMut(&[f64])) {
        let count = self.sides[1].len() / self.width.max(1);
        let block = (BLOCK / count.max(1)).max(1) * self.width.max(1);
        for rows in self.sides[0].chunks(block) {
            let mut products = vec![0.0; rows.len() / self.width.max(1) * count];
            solver::add_inner_products(&mut products, rows, &self.sides[1], self.width);
            products.chunks_exact(count).for_each(&mut *each);
        }
    }

    /// The sum over rows in the same place, if every order is equally likely (Hoeffding 1951): its variance is
    /// Σ dᵢⱼ²/(n − 1), of the cosines less the means of their rows and columns.
    fn in_place(mut self) -> Option<Law> {
        let count = self.sides[0].len() / self.width.max(1);
        if count < 2 {
            return None;
        }
        let sum: f64 = self.pairs().map(|(a, b)| dot(a, b)).sum();
        let means = self.sides.each_mut().map(|rows| center(rows, self.width));
        let mean = count as f64 * dot(&means[0], &means[1]);
        let mut squares = 0.0;
        self.products(&mut |products| squares += products.iter().map(|x| x * x).sum::<f64>());
        Some(Law { sum, mean, variance: squares / (count - 1) as f64 })
    }

    /// The sum over matched rows, if both signs of a row of the second model are equally likely.
    fn signed(&self, matched: &[usize]) -> Law {
        let mut sums = vec![0.0; matched.len()];
        for (a, at) in self.sides[0].chunks_exact(self.width.max(1)).zip(matched) {
            sums[*at] += dot(a, &self.sides[1][at * self.width..(at + 1) * self.width]);
        }
        let variance = sums.iter().map(|x| x * x).sum();
        Law { sum: sums.iter().sum(), mean: 0.0, variance }
    }

    /// The sum over matched rows, if they are matched by chance: each of the second as often as it is.
    fn matched(self, matched: &[usize]) -> Option<Law> {
        let second: Vec<f64> = matched
            .iter()
            .flat_map(|at| &self.sides[1][at * self.width..(at + 1) * self.width])
            .copied()
            .collect();
        let [first, _] = self.sides;
        Self { width: self.width, sides: [first, second] }.in_place()
    }

    /// What is left of these rows beside those of `other` in the same places: what a neuron writes often resembles what it
    /// reads, and would tell of the match again.
    fn beside(mut self, other: &Self) -> Self {
        if self.width == other.width {
            for (own, other) in self.sides.iter_mut().zip(&other.sides) {
                for (row, along) in own.chunks_exact_mut(self.width).zip(other.chunks_exact(self.width)) {
                    let share = dot(row, along);
                    row.iter_mut().zip(along).for_each(|(x, y)| *x -= share * y);
                    normalize(row);
                }
            }
        }
        self
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn normalize(row: &mut [f64]) {
    let largest = row.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    if largest > 0.0 {
        // Squares of numbers near one fit a double.
        row.iter_mut().for_each(|x| *x /= largest);
        let size = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= size);
    }
}

/// Takes the mean row from all, and gives it.
fn center(rows: &mut [f64], width: usize) -> Vec<f64> {
    let count = (rows.len() / width) as f64;
    let mut mean = vec![0.0; width];
    rows.chunks_exact(width).for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x / count));
    rows.chunks_exact_mut(width).for_each(|row| row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean));
    mean
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of a linear congruence.
    fn rows(count: usize, width: usize, seed: u32) -> Vec<f64> {
        let mut state = seed;
        let entry = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.3
        };
        let mut rows: Vec<f64> = (0..count * width).map(entry).collect();
        rows.chunks_exact_mut(width).for_each(normalize);
        rows
    }

    #[test]
    fn the_law_of_a_sum_is_that_of_all_orders() {
        let sides = [rows(5, 3, 1), rows(5, 3, 2)];
        let cosine = |i: usize, j: usize| dot(&sides[0][3 * i..3 * i + 3], &sides[1][3 * j..3 * j + 3]);
        let mut sums = vec![];
        for code in 0..5usize.pow(5) {
            let order: Vec<usize> = (0..5).map(|i| code / 5usize.pow(i) % 5).collect();
            if (0..5).all(|j| order.contains(&j)) {
                sums.push((0..5).map(|i| cosine(i, order[i])).sum::<f64>());
            }
        }
        assert_eq!(sums.len(), 120);
        let mean = sums.iter().sum::<f64>() / 120.0;
        let variance = sums.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 120.0;
        let law = Rows { width: 3, sides: sides.clone() }.in_place().expect("five rows");
        assert!((law.mean - mean).abs() < 1e-12 && (law.variance - variance).abs() < 1e-12, "{law:?}");
        assert!((law.sum - (0..5).map(|i| cosine(i, i)).sum::<f64>()).abs() < 1e-12);
    }

    #[test]
    fn the_law_of_signs_is_that_of_all_signs() {
        let sides = [rows(4, 3, 3), rows(4, 3, 4)];
        let matched = [2, 0, 2, 1];
        let law = Rows { width: 3, sides: sides.clone() }.signed(&matched);
        let mut sums = vec![];
        for signs in 0..16u32 {
            let sign = |at: usize| if signs & (1 << at) == 0 { 1.0 } else { -1.0 };
            let one = |(i, at): (usize, &usize)| {
                sign(*at) * dot(&sides[0][3 * i..3 * i + 3], &sides[1][3 * at..3 * at + 3])
            };
            sums.push(matched.iter().enumerate().map(one).sum::<f64>());
        }
        assert!((law.sum - sums[0]).abs() < 1e-12);
        let variance = sums.iter().map(|x| x * x).sum::<f64>() / 16.0;
        assert!((law.variance - variance).abs() < 1e-12, "{law:?} {variance}");
    }

    #[test]
    fn rows_find_themselves_in_any_order() {
        let first = rows(40, 16, 5);
        let order: Vec<usize> = (0..40).map(|i| (i * 7 + 3) % 40).collect();
        let second: Vec<f64> = order.iter().flat_map(|i| first[16 * i..16 * i + 16].to_vec()).collect();
        let nearest = Rows { width: 16, sides: [first, second] }.nearest();
        assert!(nearest.iter().enumerate().all(|(i, at)| order[*at] == i));
    }
}
