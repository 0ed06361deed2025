//! Every expression has the same entries whichever way they are asked for.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::expr::{Along, Expr, Runs, Side, Sign};
use super::scratch::Scratch;
use crate::matrix::Matrix;

/// A matrix in memory whose entries follow from its name.
fn given(name: &str, (rows, cols): (usize, usize)) -> Arc<Expr> {
    let seed: f64 = name.bytes().map(f64::from).sum();
    let entries: Vec<f64> = (0..rows * cols).map(|i| ((seed + i as f64) * 12.9898).sin() * 2.0).collect();
    Arc::new(Expr::Given(Matrix::from_f64(rows, cols, &entries).expect("as many").into()))
}

/// An expression of this shape with thin factors, built from `choices`.
fn thin((rows, cols): (usize, usize), choices: &mut dyn Iterator<Item = u8>) -> Arc<Expr> {
    let choice = choices.next().unwrap_or(0);
    let mut again = |shape| thin(shape, choices);
    Arc::new(match choice % 7 {
        1 => Expr::Transposed(again((cols, rows))),
        2 => Expr::Scaled(again((rows, cols)), -1.5),
        3 => Expr::Sum(again((rows, cols)), Sign::Minus, again((rows, cols))),
        4 => Expr::Sum(again((rows, cols)), Sign::Plus, again((rows, cols))),
        5 => Expr::Hadamard(again((rows, cols)), again((rows, cols))),
        6 if rows % 2 == 0 && cols % 3 == 0 => {
            Expr::Kronecker(given("two", (2, 3)), again((rows / 2, cols / 3)))
        }
        _ => {
            let rank = 1 + usize::from(choice / 7 % 2);
            let left = given("left", (rows, 3 * rank));
            let columns = Runs { first: 1, run: 1, period: 3, count: rank };
            let left = Arc::new(Expr::Part { of: left, side: Side::Columns, runs: columns });
            let right = given("right", (rank + 4, cols));
            let right = Expr::Part { of: right, side: Side::Rows, runs: Runs::one(2..2 + rank) };
            Expr::Product(Arc::new(Expr::Diagonal { of: left, by: given("by", (1, rank)) }), Arc::new(right))
        }
    })
}

fn close(found: &[f64], expected: &[f64]) -> bool {
    let scale = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
    found.len() == expected.len() && found.iter().zip(expected).all(|(x, y)| (x - y).abs() <= 1e-11 * scale)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn rows_are_those_of_the_factors_product(choices in prop::collection::vec(any::<u8>(), 0..6), cut in 0usize..=12) {
        let (expr, room) = (thin((12, 18), &mut choices.into_iter()), Scratch::default());
        let rows = expr.read(0..12, &room).expect("made").to_f64();
        let factors = expr.factors(&room).expect("made");
        prop_assert!(close(&factors.dense(0..12).expect("its rows").to_f64(), &rows));
        prop_assert!(expr.thin_rank().is_none_or(|rank| rank == factors.rank()));
        let parts = [0..cut, cut..12].map(|part| expr.read(part, &room).expect("made").to_f64());
        prop_assert!(close(&parts.concat(), &rows));
    }

    #[test]
    fn what_is_added_and_taken_away_again_is_as_it_was(choices in prop::collection::vec(any::<u8>(), 0..6)) {
        let (update, base) = (thin((12, 18), &mut choices.into_iter()), given("base", (12, 18)));
        let merged = Arc::clone(&update).plus(Arc::clone(&base));
        prop_assert_eq!(&merged.minus(Arc::clone(&base)), &update);
        let difference = Arc::clone(&update).minus(Arc::clone(&base));
        prop_assert_eq!(&difference.plus(base), &update);
    }
}

#[test]
fn rows_and_columns_have_the_lengths_they_are_given() {
    for (along, count) in [(Along::Rows, 6), (Along::Columns(1), 4), (Along::Columns(2), 2)] {
        let room = Scratch::default();
        let lengths = given("lengths", (1, count));
        let of = given("of", (6, 4));
        let rescaled = Expr::Rescaled { of, lengths: Arc::clone(&lengths), along };
        let entries = rescaled.read(0..6, &room).expect("made").to_f64();
        let wanted = lengths.rows(0..1, &room).expect("made");
        let own = |i: usize| match along {
            Along::Rows => i / 4,
            Along::Columns(group) => i % 4 / group,
        };
        for (k, wanted) in wanted.iter().enumerate() {
            let squares = entries.iter().enumerate().filter(|(i, _)| own(*i) == k).map(|(_, x)| x * x);
            assert!((squares.sum::<f64>().sqrt() - wanted.abs()).abs() < 1e-12, "{along:?} {k}");
        }
    }
}

#[test]
fn parts_are_the_rows_and_columns_of_the_whole() {
    let (whole, room) = (given("whole", (6, 8)), Scratch::default());
    let all = whole.read(0..6, &room).expect("made").to_f64();
    let runs = Runs { first: 1, run: 1, period: 2, count: 3 };
    let rows = Expr::Part { of: Arc::clone(&whole), side: Side::Rows, runs };
    let expected: Vec<f64> = [1, 3, 5].iter().flat_map(|row| all[row * 8..row * 8 + 8].to_vec()).collect();
    assert_eq!(rows.read(0..3, &room).expect("made").to_f64(), expected);
    let columns = Arc::new(Expr::Part { of: whole, side: Side::Columns, runs }).transposed();
    let expected: Vec<f64> =
        [1, 3, 5].iter().flat_map(|col| (0..6).map(|row| all[row * 8 + col]).collect::<Vec<_>>()).collect();
    assert_eq!(columns.read(0..3, &room).expect("made").to_f64(), expected);
    assert_eq!(columns.rows(1..2, &room).expect("made"), expected[6..12]);
}
