//! The largest singular triplets of an operator: by iteration where that converges soon, by the Gram matrix made tridiagonal
//! where it does not, by the whole decomposition where neither does.

use super::exact;
use super::factors::Factors;
use super::krylov::{MOST, SLOWER, TOLERANCE, WIDTH, krylov, nonzero};
use super::operator::Operator;
use super::reduced::Reduced;
use crate::error::Error;

/// A short side of less than this is decomposed whole, and one of less than so many for each triplet and a few more.
const FEWEST: usize = 128;
const EACH: usize = 8;
const SPARE: usize = 4;

/// Whether so many triplets of a matrix of this shape are sought by products; a shorter side costs less decomposed whole.
pub fn by_products(rows: usize, cols: usize, k: usize) -> bool {
    rows.min(cols) >= FEWEST.max(EACH * (k + SPARE))
}

/// The `k` largest singular triplets, or as many as there are above rounding.
///
/// Where the iteration promises to take longer than making the Gram matrix tridiagonal, as it does where the wanted values
/// hardly stand out from the others, that is done instead. If neither pays or converges, the matrix is decomposed
/// whole.
///
/// # Errors
/// [`Error::NotConverged`]; [`Error::NotFinite`] when an entry is not, [`Error::Overflow`] when a singular value is too
/// large for a double.
pub fn leading(operator: &Operator<'_>, k: usize) -> Result<Factors, Error> {
    leading_to(operator, k, TOLERANCE)
}

/// The same, with `‖Wᵀu − σv‖` of each triplet below this share of its `σ`: where vectors are compared one space with another,
/// and the error of a space is that over the distance to the next value.
///
/// # Errors
/// As [`leading`].
pub fn leading_to(operator: &Operator<'_>, k: usize, tolerance: f64) -> Result<Factors, Error> {
    let whole = || Ok(nonzero(exact::factors(operator)?, operator).truncated(k));
    if !by_products(operator.rows(), operator.cols(), k) {
        return whole();
    }
    let products = |steps| krylov(operator, k, steps, tolerance);
    if operator.has_doubles() {
        return products(MOST).map_or_else(whole, Ok);
    }
    let found = products(affordable(operator)).or_else(|| tridiagonal(operator, k, tolerance));
    found.or_else(|| products(MOST)).map_or_else(whole, Ok)
}

/// The triplets from the Gram matrix of the short side; none where that resolves too little.
fn tridiagonal(operator: &Operator<'_>, k: usize, tolerance: f64) -> Option<Factors> {
    if operator.rows() <= operator.cols() {
        return Reduced::of(operator)?.leading(operator, k, tolerance);
    }
    let transposed = operator.clone().transposed();
    Some(Reduced::of(&transposed)?.leading(&transposed, k, tolerance)?.transposed())
}

/// Steps of the iteration that take as long as the way through the Gram matrix.
fn affordable(operator: &Operator<'_>) -> usize {
    let (short, long) =
        (operator.rows().min(operator.cols()) as f64, operator.rows().max(operator.cols()) as f64);
    let gram = long * short * short + 4.0 / 3.0 * short.powi(3);
    // Two products with a block.
    let step = 4.0 * SLOWER * long * short * WIDTH as f64;
    ((gram / step) as usize).clamp(4, MOST)
}

#[cfg(test)]
mod tests {
    use super::super::dense::on_one_thread;
    use super::super::kernel::tests::noise;
    use super::super::operator::tests::{random, update};
    use super::super::vector::norm;
    use super::*;
    use crate::matrix::Matrix;

    /// The iteration against the whole decomposition: values, and vectors by what they do.
    #[track_caller]
    fn check(name: &str, operator: &Operator<'_>, k: usize) {
        let found = krylov(operator, k, MOST, TOLERANCE).unwrap_or_else(|| panic!("{name}: no convergence"));
        hold(name, operator, k, &found);
    }

    /// The same where copies hide from a narrow block.
    #[track_caller]
    fn check_copies(name: &str, operator: &Operator<'_>, k: usize) {
        assert_eq!(krylov(operator, k, MOST, TOLERANCE), None, "{name}");
        hold(name, operator, k, &leading(operator, k).expect("converges"));
    }

    /// The same of the way through the Gram matrix.
    #[track_caller]
    fn check_both(name: &str, operator: &Operator<'_>, k: usize) {
        check(name, operator, k);
        let found =
            tridiagonal(operator, k, TOLERANCE).unwrap_or_else(|| panic!("{name}: not clear of rounding"));
        hold(name, operator, k, &found);
    }

    #[track_caller]
    fn hold(name: &str, operator: &Operator<'_>, k: usize, found: &Factors) {
        on_one_thread();
        let whole = nonzero(exact::factors(operator).expect("converges"), operator).truncated(k);
        let largest = whole.values.first().copied().unwrap_or(0.0);
        assert_eq!(found.values.len(), whole.values.len(), "{name}: {:?}", found.values);
        let (rows, cols) = (operator.rows(), operator.cols());
        let entries = operator.to_f64();
        for (i, (s, expected)) in found.values.iter().zip(&whole.values).enumerate() {
            assert!((s - expected).abs() <= 1e-11 * largest, "{name}: σ{i} is {s}, not {expected}");
            let (u, v) = (found.left.column(i), found.right.column(i));
            let forth =
                (0..rows).map(|r| super::super::vector::dot(&entries[r * cols..][..cols], v) - s * u[r]);
            let back =
                (0..cols).map(|c| (0..rows).map(|r| entries[r * cols + c] * u[r]).sum::<f64>() - s * v[c]);
            let misses = [forth.collect::<Vec<_>>(), back.collect()].map(|miss| norm(&miss));
            let [small, large] = if misses[0] <= misses[1] { misses } else { [misses[1], misses[0]] };
            assert!(small <= 1e-13 * largest, "{name}: triplet {i} is off by {small:e} on its better side");
            assert!(large <= 2.0 * TOLERANCE * largest, "{name}: triplet {i} is off by {large:e}");
        }
        for basis in [&found.left, &found.right] {
            let defect = |i: usize, j: usize| {
                let unit = f64::from(u8::from(i == j));
                (super::super::vector::dot(basis.column(i), basis.column(j)) - unit).abs()
            };
            let worst = (0..basis.count()).flat_map(|i| (0..=i).map(move |j| (i, j)));
            let worst = worst.map(|(i, j)| defect(i, j)).fold(0.0, f64::max);
            assert!(worst <= 1e-8, "{name}: vectors meet at {worst:e}");
        }
    }

    fn of(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> f64) -> Matrix {
        let entries: Vec<f64> = (0..rows * cols).map(|i| entry(i / cols, i % cols)).collect();
        Matrix::from_f64(rows, cols, &entries).expect("sizes agree")
    }

    #[test]
    fn leading_triplets_are_those_of_the_whole_decomposition() {
        for (rows, cols) in [(150, 150), (90, 300), (300, 90), (20, 400)] {
            let weight = random(rows, cols, 1);
            check_both("noise", &Operator::from(&weight), 10);
            check_both("noise", &Operator::from(&weight).transposed(), 10);
            let update = update(rows, cols, 4, 1.5, 3);
            let tuned = Operator::from(&weight).plus(&Operator::from(&update)).expect("one shape");
            check_both("noise and an update", &tuned, 10);
            check("an update", &Operator::from(&update), 10);
            check_both("many", &tuned, 17);
        }
    }

    #[test]
    fn clusters_low_ranks_and_zeros_are_resolved() {
        check_copies("identity", &Operator::from(&of(120, 120, |i, j| f64::from(u8::from(i == j)))), 10);
        check_copies(
            "repeated",
            &Operator::from(&of(
                120,
                100,
                |i, j| if i == j { f64::from(u8::from(i < 12)) + 1.0 } else { 0.0 },
            )),
            14,
        );
        // More copies than a block is wide: above others, above zeros, between others, and equal but for rounding.
        let diagonal = |values: &[(usize, f64)]| {
            let all: Vec<f64> = values.iter().flat_map(|(n, x)| vec![*x; *n]).collect();
            of(200, 180, |i, j| if i == j { *all.get(i).unwrap_or(&0.0) } else { 0.0 })
        };
        for values in [
            &[(10, 2.0), (2, 1.9), (168, 0.1)][..],
            &[(20, 3.0), (20, 2.0), (20, 1.0)],
            &[(9, 3.0)],
            &[(1, 5.0), (1, 4.0), (12, 2.0), (20, 1.0)],
            &[(20, 1.0), (20, 1.0 - 6e-8), (80, 0.5)],
            &[(20, 1.0 + 1e-12), (160, 1.0)],
        ] {
            for k in [10, 16] {
                let weight = diagonal(values);
                let operator = Operator::from(&weight);
                hold("copies", &operator, k, &leading(&operator, k).expect("converges"));
            }
        }
        // A huge value above others that are near each other.
        let huge = of(200, 180, |i, j| {
            if i != j {
                0.0
            } else if i == 0 {
                1e10
            } else {
                70.0 - i as f64 / 10.0
            }
        });
        check("huge", &Operator::from(&huge), 10);
        check("zero", &Operator::from(&of(80, 70, |_, _| 0.0)), 10);
        check("rank one", &Operator::from(&of(80, 200, |i, j| (i + 1) as f64 * (j as f64 - 60.0))), 10);
        check("one entry", &Operator::from(&of(90, 90, |i, j| f64::from(u8::from(i + j == 0)))), 3);
        let decaying = of(140, 140, |i, j| if i == j { 0.1f64.powf(i as f64) } else { 0.0 });
        check("decaying", &Operator::from(&decaying), 10);
        let close = of(200, 200, |i, j| if i == j { 2.0 - 1e-7 * i as f64 } else { 0.0 });
        check_both("close", &Operator::from(&close), 10);
        check("a row", &Operator::from(&of(1, 300, |_, j| j as f64)), 5);
    }

    #[test]
    fn any_scale_gives_the_same_triplets() {
        let entries: Vec<f64> = noise(5).take(130 * 140).collect();
        let plain = Matrix::from_f64(130, 140, &entries).expect("sizes agree");
        let expected = leading(&Operator::from(&plain), 6).expect("converges");
        for power in [-66, 66, 480, -480] {
            let scale = 2f64.powi(power);
            let scaled: Vec<f64> = entries.iter().map(|x| x * scale).collect();
            let scaled = Matrix::from_f64(130, 140, &scaled).expect("sizes agree");
            let found = leading(&Operator::from(&scaled), 6).expect("converges");
            let unscaled: Vec<f64> = found.values.iter().map(|s| s / scale).collect();
            assert_eq!(unscaled, expected.values, "2^{power}");
            assert_eq!(found.left, expected.left, "2^{power}");
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_a_bit() {
        let weight = random(700, 600, 4);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            pool.install(|| leading(&Operator::from(&weight), 10)).expect("converges")
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn what_is_not_finite_has_no_triplets() {
        let mut entries = vec![1.0; 300 * 200];
        entries[77] = f64::NAN;
        let weight = Matrix::from_f64(300, 200, &entries).expect("sizes agree");
        assert!(leading(&Operator::from(&weight), 3).is_err());
    }
}
