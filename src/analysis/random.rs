//! Seeded numbers: those of a name are the same whatever other names there are.

use std::f64::consts::TAU;

/// A stream of numbers.
pub(super) struct Stream(u64);

impl Stream {
    /// The stream of this name by this seed.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let hash = blake3::hash(&[&seed.to_le_bytes(), name.as_bytes()].concat());
        let first = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        Self(u64::from_le_bytes(first))
    }

    /// Uniform in all 64 bits: SplitMix64 (Steele, Lea & Flood 2014).
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts `count` of `items` first, each choice as likely as another (Fisher & Yates).
    pub(super) fn choose<T>(&mut self, items: &mut [T], count: usize) {
        for i in 0..count.min(items.len()) {
            let below = ((u128::from(self.bits()) * (items.len() - i) as u128) >> 64) as usize;
            items.swap(i, i + below);
        }
    }

    /// Uniform in [−bound, bound).
    pub(super) fn uniform(&mut self, bound: f64) -> f64 {
        bound * (2.0 * self.unit() - 1.0)
    }

    /// Normal, of mean 0 and variance 1 (Box & Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut stream = Stream::new(0, "a");
        let count = 20_000;
        let check = |numbers: Vec<f64>, variance: f64| {
            let mean = numbers.iter().sum::<f64>() / f64::from(count);
            let square = numbers.iter().map(|x| x * x).sum::<f64>() / f64::from(count);
            // Five standard errors.
            assert!(mean.abs() < 5.0 * (variance / f64::from(count)).sqrt(), "{mean}");
            assert!((square / variance - 1.0).abs() < 0.06, "{square}");
        };
        check((0..count).map(|_| stream.normal()).collect(), 1.0);
        check((0..count).map(|_| stream.uniform(0.5)).collect(), 0.25 / 3.0);
    }

    #[test]
    fn a_stream_is_of_its_seed_and_module() {
        let first = |seed, module| Stream::new(seed, module).unit().to_bits();
        assert_eq!(first(1, "a"), first(1, "a"));
        assert!(first(1, "a") != first(2, "a") && first(1, "a") != first(1, "b"));
    }
}
