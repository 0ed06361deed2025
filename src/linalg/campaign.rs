//! Every route against matrices whose singular values are known by construction (`structured`).
//!
//! The suite takes a sample; `SVDKIT_STRUCTURED=2000 cargo test --lib campaign` takes that many, of sides up to 700.

#[cfg(test)]
mod tests {
    use faer::Mat;

    use super::super::factors::Factors;
    use super::super::kernel::tests::machines;
    use super::super::structured::{Case, Draw, drawn, hadamard, ones};
    use super::super::{Operator, by_gram, exact, leading, low_rank};
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

    fn held(found: &Spectrum, case: &Case, route: &str) -> f64 {
        let off = worst(found.values(), &case.values, found.floor());
        assert!(off <= 1.0, "{route}, {}: off by {off} floors", case.name);
        off
    }

    /// Values on every instruction set; they and vectors as written, turned and shuffled.
    fn check(case: &Case, seed: u64) -> [f64; 5] {
        let mut off = [0.0f64; 5];
        let mut note = |at: usize, value: f64| off[at] = off[at].max(value);
        let twins = [
            case.clone(),
            case.clone().transposed(),
            case.clone().shuffled(&mut Draw::new(seed + 1)),
        ];
        for twin in &twins {
            let matrix = matrix(twin);
            let small = matrix.rows().min(matrix.cols()) <= 64;
            for arch in machines().into_iter().rev().take(if small { 3 } else { 1 + (seed % 3) as usize }) {
                let found = exact::by_counting(arch, &matrix);
                note(0, held(&found.unwrap_or_else(|e| panic!("{}: {e}", twin.name)), twin, "exact"));
                let found = by_gram(arch, &matrix);
                note(1, held(&found.unwrap_or_else(|e| panic!("{}: {e}", twin.name)), twin, "fast"));
            }
        }
        let matrix = matrix(case);
        let factors = exact::factors(&Operator::from(&matrix)).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        note(2, held(&factors.spectrum().expect("finite"), case, "vectors"));
        note(3, sound(&factors, case));
        let (rows, cols) = case.matrix.shape();
        let identity: Vec<f64> = (0..cols * cols).map(|i| f64::from(u8::from(i % (cols + 1) == 0))).collect();
        let product = LowRank::new((rows, cols), cols, case.row_major(), identity).expect("sizes agree");
        let found = low_rank(&product).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        note(4, held(&found.spectrum().expect("finite"), case, "low rank"));
        let found = leading(&Operator::from(&matrix), 8).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let first = case.values.first().copied().unwrap_or(0.0);
        for (found, value) in found.values.iter().zip(&case.values) {
            assert!((found - value).abs() <= 1e-11 * first, "leading, {}: {found:e} is not {value:e}", case.name);
        }
        off
    }

    /// How far the bases are from orthonormal and their product from the matrix, in units of `max(m, n)·ε`.
    fn sound(factors: &Factors, case: &Case) -> f64 {
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
        let off = misses.into_iter().fold(0.0, f64::max) / unit;
        assert!(off <= 30.0, "vectors, {}: {misses:?}, {off} units", case.name);
        off
    }

    #[test]
    fn no_value_of_a_structured_matrix_is_beyond_its_floor_on_any_route() {
        let asked = std::env::var("SVDKIT_STRUCTURED").ok().and_then(|count| count.parse().ok());
        let (count, most) = asked.map_or(SAMPLE, |count| (count, MOST));
        let mut off = [0.0f64; 5];
        let first = std::env::var("SVDKIT_FIRST").ok().and_then(|x| x.parse().ok()).unwrap_or(0);
        for seed in first..first + count {
            let case = drawn(seed, most);
            let begun = std::time::Instant::now();
            let found = check(&case, seed);
            eprintln!("{found:.3?} {:.2} {}", begun.elapsed().as_secs_f64(), case.name);
            off.iter_mut().zip(found).for_each(|(off, found)| *off = off.max(found));
        }
        eprintln!("{off:.3?}");
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
