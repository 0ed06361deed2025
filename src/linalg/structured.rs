//! Matrices with few distinct singular values, or none that is ordinary, whose values are known by construction.
//!
//! Only tests. The hardest inputs for divide and conquer: blocks that do not touch, repeated rows, projectors,
//! clusters, Kronecker products, matrices graded to the end of the doubles. Everything is drawn from a seed.

use faer::Mat;

use super::kernel::tests::noise;

/// A matrix and its singular values, descending.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) matrix: Mat<f64>,
    pub(super) values: Vec<f64>,
}

/// A seeded stream of choices.
pub(super) struct Draw(Box<dyn Iterator<Item = f64>>);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        // The first numbers of neighboring seeds are alike.
        Self(Box::new(noise(seed.wrapping_mul(0x9e37_79b9).wrapping_add(77)).skip(16)))
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        0.5 * (self.0.next().unwrap_or(0.0) + 1.0)
    }

    /// A whole number below `count`.
    fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count - 1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        (1..count).rev().for_each(|i| order.swap(i, self.below(i + 1)));
        order
    }

    /// A side between 16 and `most`, its logarithm uniform.
    fn side(&mut self, most: usize) -> usize {
        (16.0 * (most as f64 / 16.0).powf(self.unit())) as usize
    }
}

impl Case {
    /// Any values, in any order and without the zeros.
    pub(super) fn new(name: &str, matrix: Mat<f64>, mut values: Vec<f64>) -> Self {
        values.iter_mut().for_each(|x| *x = x.abs());
        values.sort_by(|a, b| b.total_cmp(a));
        values.resize(matrix.nrows().min(matrix.ncols()), 0.0);
        Self { name: name.to_owned(), matrix, values }
    }

    pub(super) fn row_major(&self) -> Vec<f64> {
        self.matrix.row_iter().flat_map(|row| row.iter().copied().collect::<Vec<_>>()).collect()
    }

    fn map(self, name: &str, change: impl FnOnce(Mat<f64>) -> Mat<f64>) -> Self {
        let Self { name: before, matrix, values } = self;
        Self::new(&format!("{name} {before}"), change(matrix), values)
    }

    pub(super) fn transposed(self) -> Self {
        self.map("transposed", |a| a.transpose().to_owned())
    }

    pub(super) fn shuffled(self, draw: &mut Draw) -> Self {
        let (rows, cols) = (draw.order(self.matrix.nrows()), draw.order(self.matrix.ncols()));
        self.map("shuffled", |a| Mat::from_fn(rows.len(), cols.len(), |i, j| a[(rows[i], cols[j])]))
    }

    /// Between two reflections, which leave the values but not one entry.
    pub(super) fn reflected(self, draw: &mut Draw) -> Self {
        self.map("reflected", |mut a| {
            for _ in 0..2 {
                a = mirrored(&a, &mirror(a.nrows(), draw)).transpose().to_owned();
            }
            a
        })
    }

    pub(super) fn kron(&self, other: &Self) -> Self {
        let (a, b) = (&self.matrix, &other.matrix);
        let (p, q) = b.shape();
        let matrix = Mat::from_fn(a.nrows() * p, a.ncols() * q, |i, j| a[(i / p, j / q)] * b[(i % p, j % q)]);
        let values = self.values.iter().flat_map(|x| other.values.iter().map(move |y| x * y)).collect();
        Self::new(&format!("({} ⊗ {})", self.name, other.name), matrix, values)
    }

    /// Both along the diagonal.
    pub(super) fn beside(&self, other: &Self) -> Self {
        let ((p, q), (r, s)) = (self.matrix.shape(), other.matrix.shape());
        let matrix = Mat::from_fn(p + r, q + s, |i, j| match (i < p, j < q) {
            (true, true) => self.matrix[(i, j)],
            (false, false) => other.matrix[(i - p, j - q)],
            _ => 0.0,
        });
        let values = self.values.iter().chain(&other.values).copied().collect();
        Self::new(&format!("({} ⊕ {})", self.name, other.name), matrix, values)
    }
}

fn unit(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

/// A unit vector.
fn mirror(length: usize, draw: &mut Draw) -> Vec<f64> {
    let entries: Vec<f64> = (0..length).map(|_| draw.unit() - 0.5).collect();
    let norm = entries.iter().map(|x| x * x).sum::<f64>().sqrt();
    entries.iter().map(|x| x / norm).collect()
}

/// `(I − 2vvᵀ)·A`.
fn mirrored(a: &Mat<f64>, v: &[f64]) -> Mat<f64> {
    let along: Vec<f64> = a.col_iter().map(|c| c.iter().zip(v).map(|(x, v)| x * v).sum()).collect();
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] - 2.0 * v[i] * along[j])
}

pub(super) fn diagonal(name: &str, values: Vec<f64>) -> Case {
    let n = values.len();
    Case::new(name, Mat::from_fn(n, n, |i, j| values[i] * unit(i == j)), values)
}

pub(super) fn hadamard(n: usize) -> Case {
    let entry = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    Case::new("hadamard", Mat::from_fn(n, n, entry), vec![(n as f64).sqrt(); n])
}

pub(super) fn ones(rows: usize, cols: usize) -> Case {
    Case::new("ones", Mat::full(rows, cols, 1.0), vec![((rows * cols) as f64).sqrt()])
}

/// A few distinct values, each many times.
fn levels(n: usize, draw: &mut Draw) -> Vec<f64> {
    const SIZES: [f64; 9] = [1.0, 0.5, 1.0 + 1e-10, 1e-3, 1e-6, 1e-8, 1e-12, 1e-14, 0.0];
    let levels: Vec<f64> = (0..2 + draw.below(3)).map(|_| draw.pick(&SIZES)).collect();
    std::iter::once(1.0).chain((1..n).map(|_| draw.pick(&levels))).collect()
}

/// LAPACK's `dlatms` modes.
fn mode(n: usize, draw: &mut Draw) -> Vec<f64> {
    let (mode, condition) = (draw.below(6), draw.pick(&[2.0, 1e4, 1.0 / f64::EPSILON]));
    let share = |i: usize| i as f64 / (n - 1).max(1) as f64;
    let value = |i: usize| match mode {
        0 => {
            if i == 0 {
                1.0
            } else {
                1.0 / condition
            }
        }
        1 => {
            if i + 1 < n {
                1.0
            } else {
                1.0 / condition
            }
        }
        2 => condition.powf(-share(i)),
        3 => 1.0 - share(i) * (1.0 - 1.0 / condition),
        4 => condition.powf(-draw.unit()),
        _ => draw.unit(),
    };
    (0..n).map(value).collect()
}

/// A square matrix, or nearly so, of at most this side.
fn base(n: usize, draw: &mut Draw) -> Case {
    let angle = |k: f64, of: f64| std::f64::consts::PI * k / of;
    let half = n.div_ceil(2);
    match draw.below(17) {
        0 | 1 => hadamard(1 << n.ilog2()),
        2 => ones(n, half + draw.below(half.max(2) - 1)),
        3 => diagonal("identity", vec![1.0; n]),
        4 => diagonal("identity", vec![1.0; n]).reflected(draw),
        5 => diagonal("levels", levels(n, draw)).reflected(draw),
        6 => diagonal("levels", levels(n, draw)).shuffled(draw),
        7 => {
            let values = (0..n).map(|i| unit(i < n / 2 || i == 0)).collect();
            let v = mirror(n, draw);
            let both = |a: Mat<f64>| mirrored(&mirrored(&a, &v).transpose().to_owned(), &v);
            diagonal("projector", values).map("reflected", both)
        }
        8 => {
            let values = (1..=n).map(|k| 2.0 * angle(k as f64, (2 * n + 1) as f64).cos()).collect();
            Case::new("jordan", Mat::from_fn(n, n, |i, j| unit(j == i || j == i + 1)), values)
        }
        9 => Case::new("shift", Mat::from_fn(n, n, |i, j| unit(j == i + 1)), vec![1.0; n - 1]),
        10 => {
            let values = (1..=n).map(|k| 0.5 / angle((2 * k - 1) as f64, (4 * n + 2) as f64).sin()).collect();
            Case::new("triangle", Mat::from_fn(n, n, |i, j| unit(j >= i)), values)
        }
        11 => {
            let tail = std::iter::repeat_n(1.0, n.max(2) - 2);
            let values = [half as f64 + 1.0, (n / 2) as f64 + 1.0].into_iter().chain(tail);
            let matrix = Mat::from_fn(n, n, |i, j| unit((i + j).is_multiple_of(2)) + unit(i == j));
            Case::new("checkerboard", matrix, values.take(n).collect())
        }
        12 => diagonal("mode", mode(n, draw)).reflected(draw),
        13 => {
            let value = |i: usize| 1.0 + 1e-10 * (i as f64 / n as f64 - 0.5);
            diagonal("cluster", (0..n).map(value).collect()).reflected(draw)
        }
        14 => {
            let end = draw.pick(&[-300.0, -150.0, -30.0, -16.0]);
            diagonal("graded", (0..n).map(|i| 10f64.powf(end * i as f64 / n as f64)).collect()).shuffled(draw)
        }
        15 => {
            let small = draw.pick(&[1e-12, 1e-6, 1.0]);
            let values = (0..n).map(|i| small + n as f64 * unit(i == 0)).collect();
            Case::new("ones and diagonal", Mat::from_fn(n, n, |i, j| 1.0 + small * unit(i == j)), values)
        }
        _ => {
            // Repeated orthogonal rows.
            let (few, times) = (n.div_ceil(4), 4);
            let once = diagonal("identity", vec![1.0; few]).reflected(draw);
            once.kron(&ones(times, 1 + draw.below(4)))
        }
    }
}

/// A matrix whose sides are at most `most`, and its values.
pub(super) fn drawn(seed: u64, most: usize) -> Case {
    let mut draw = Draw::new(seed);
    let n = draw.side(most);
    let few = draw.pick(&[2, 2, 3, 4, 5, 8]);
    let mut case = match draw.below(6) {
        0 | 1 => base(n, &mut draw),
        2 => base(n / few, &mut draw).kron(&base(few, &mut draw)),
        3 => base(few, &mut draw).kron(&base(n / few, &mut draw)),
        4 => {
            let block = base(n / few, &mut draw);
            diagonal("identity", vec![1.0; few]).kron(&block)
        }
        _ => base(n - n / few, &mut draw).beside(&base(n / few, &mut draw)),
    };
    if draw.below(4) == 0 {
        // Rows of zeros, and a shape that is not square.
        case = case.beside(&Case::new("zero", Mat::zeros(draw.side(most) / 4, few), vec![]));
    }
    case = match draw.below(4) {
        0 => case.shuffled(&mut draw),
        1 => case.reflected(&mut draw),
        _ => case,
    };
    let name = format!("seed {seed}: {} × {} {}", case.matrix.nrows(), case.matrix.ncols(), case.name);
    Case { name, ..case }
}
