//! Every route against matrices whose singular values are known by construction (`structured`).
//!
//! The suite takes a sample; `SVDKIT_STRUCTURED=2000 cargo test --lib campaign` takes that many, of sides up to 700
//! (`1000..2000`: these seeds).

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use faer::Mat;

    use super::super::factors::Factors;
    use super::super::kernel::tests::machines;
    use super::super::structured::{Case, Draw, diagonal, drawn, hadamard, ones};
    use super::super::{Operator, by_gram, exact, leading, low_rank};
    use crate::error::Error;
    use crate::low_rank::LowRank;
    use crate::matrix::Matrix;
    use crate::spectrum::Spectrum;

    /// Matrices of the sample, and the side that they stay below.
    const SAMPLE: (u64, usize) = (120, 300);
    /// The side in a larger run.
    const MOST: usize = 700;

    fn matrix(case: &Case) -> Matrix {
        Matrix::from_f64(case.matrix.nrows(), case.matrix.ncols(), &case.row_major()).expect("sizes agree")
    }

    /// How far values are off, in units of `floor`.
    fn worst(found: &[f64], expected: &[f64], floor: f64) -> f64 {
        assert_eq!(found.len(), expected.len());
        let miss = found.iter().zip(expected).map(|(x, y)| (x - y).abs());
        let worst = miss.fold(0.0f64, |worst, x| if x > worst || x.is_nan() { x } else { worst });
        if worst == 0.0 { 0.0 } else { worst / floor }
    }

    #[track_caller]
    fn hold(found: Result<Spectrum, Error>, case: &Case, route: &str) {
        let found = found.unwrap_or_else(|error| panic!("{route}, {}: {error}", case.name));
        let off = worst(found.values(), &case.values, found.floor());
        assert!(off <= 1.0, "{route}, {}: off by {off} floors", case.name);
    }

    /// Values by every route and on every instruction set; as written, turned and shuffled.
    #[track_caller]
    fn check(case: &Case, seed: u64) {
        let shuffled = case.clone().shuffled(&mut Draw::new(seed + 1));
        for twin in [case.clone(), case.clone().transposed(), shuffled] {
            let matrix = matrix(&twin);
            // All on small matrices, each in its turn on large ones.
            let all = machines();
            let large = matrix.rows().min(matrix.cols()) > 64;
            for arch in all.iter().skip(if large { seed as usize % all.len() } else { 0 }) {
                hold(exact::by_counting(*arch, &matrix), &twin, "exact");
                hold(by_gram(*arch, &matrix), &twin, "fast");
                if large {
                    break;
                }
            }
        }
        let matrix = matrix(case);
        let factors = exact::factors(&Operator::from(&matrix));
        if let Ok(factors) = &factors {
            hold_vectors(factors, case);
        }
        hold(factors.and_then(|factors| factors.spectrum()), case, "vectors");
        let (rows, cols) = case.matrix.shape();
        let identity: Vec<f64> = (0..cols * cols).map(|i| f64::from(u8::from(i % (cols + 1) == 0))).collect();
        let product = LowRank::new((rows, cols), cols, case.row_major(), identity).expect("sizes agree");
        hold(low_rank(&product).and_then(|factors| factors.spectrum()), case, "low rank");
        let found = leading(&Operator::from(&matrix), 8).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let first = case.values.first().copied().unwrap_or(0.0);
        for (found, value) in found.values.iter().zip(&case.values) {
            assert!(
                (found - value).abs() <= 1e-9 * first,
                "leading, {}: {found:e} is not {value:e}",
                case.name
            );
        }
    }

    /// How far the bases are from orthonormal and their product from the matrix, entry by entry.
    #[track_caller]
    fn hold_vectors(factors: &Factors, case: &Case) {
        let (left, right) = (factors.left.as_mat(), factors.right.as_mat());
        let count = factors.values.len();
        let unit = f64::EPSILON * case.matrix.nrows().max(case.matrix.ncols()) as f64;
        let identity = Mat::<f64>::identity(count, count);
        let first = factors.values.first().copied().unwrap_or(0.0).max(f64::MIN_POSITIVE);
        let scaled = Mat::from_fn(left.nrows(), count, |i, j| left[(i, j)] * factors.values[j]);
        let misses = [
            (left.transpose() * left - &identity).norm_max(),
            (right.transpose() * right - &identity).norm_max(),
            (scaled * right.transpose() - &case.matrix).norm_l2() / first,
        ];
        assert!(misses.iter().all(|x| *x <= 8.0 * unit), "vectors, {}: {misses:?} of {unit:e}", case.name);
    }

    #[test]
    fn no_value_of_a_structured_matrix_is_beyond_its_floor_on_any_route() {
        let asked = std::env::var("SVDKIT_STRUCTURED").ok();
        let (seeds, most) = asked.map_or((0..SAMPLE.0, SAMPLE.1), |asked| {
            let seeds = asked.split_once("..").unwrap_or(("0", &asked));
            let whole = |number: &str| number.parse().expect("SVDKIT_STRUCTURED is a count, or FIRST..END");
            (whole(seeds.0)..whole(seeds.1), MOST)
        });
        seeds.for_each(|seed| check(&drawn(seed, most), seed));
    }

    #[test]
    fn kahans_matrix_has_its_determinant_on_every_route() {
        // Nearly singular, which no column says; no formula gives its values.
        let n = 30;
        let entry = |i: usize, j: usize| {
            let above = match i.cmp(&j) {
                Ordering::Equal => 1.0,
                Ordering::Less => -0.43,
                Ordering::Greater => 0.0,
            };
            0.9f64.powf(i as f64) * above
        };
        let kahan = Mat::from_fn(n, n, entry);
        let determinant: f64 = (0..n).map(|i| 0.9f64.powf(i as f64).ln()).sum();
        let matrix = Matrix::from_f64(n, n, &(0..n * n).map(|i| entry(i / n, i % n)).collect::<Vec<_>>());
        let matrix = matrix.expect("sizes agree");
        for arch in machines() {
            let found = exact::by_counting(arch, &matrix).expect("sound");
            let product: f64 = found.values().iter().map(|s| s.ln()).sum();
            assert!((product - determinant).abs() < 1e-8, "{product} is not {determinant}");
            let case =
                Case { name: "kahan".to_owned(), matrix: kahan.clone(), values: found.values().to_vec() };
            check(&case, 1);
        }
    }

    #[test]
    fn leading_vectors_of_a_matrix_with_one_value_stay_orthonormal() {
        // After two blocks nothing is new but rounding.
        for n in [100, 200, 300] {
            for nothing in 1..9 {
                let mut draw = Draw::new(n as u64 + nothing as u64);
                let once = diagonal("identity", vec![1.0; n]).reflected(&mut draw);
                let case = once.beside(&Case::new("zero", Mat::zeros(17, nothing), vec![]));
                let matrix = matrix(&case);
                let found = leading(&Operator::from(&matrix), 8).expect("converges");
                assert_eq!(found.values.len(), 8);
                let identity = Mat::<f64>::identity(8, 8);
                for basis in [found.left.as_mat(), found.right.as_mat()] {
                    let off = (basis.transpose() * basis - &identity).norm_max();
                    assert!(off < 1e-12, "{}, {nothing}: {off:e}", case.name);
                }
                let off = worst(&found.values, &case.values[..8], 1.0);
                assert!(off < 1e-12, "{}, {nothing}: {off:e}", case.name);
            }
        }
    }

    #[test]
    fn a_hadamard_matrix_of_doubled_entries_has_half_its_rank() {
        for (p, copies) in [(16, (2, 2)), (64, (4, 4)), (128, (2, 2)), (128, (1, 3))] {
            let mut case = Case::kron(&hadamard(p), &ones(copies.0, copies.1));
            case.name = format!("hadamard {p} ⊗ ones {copies:?}");
            check(&case, 1);
        }
    }
}
