//! The order of names: numbers in them count as numbers.

use std::cmp::Ordering;

/// Orders names as a person counts: `layers.2` before `layers.10`; equal numbers by their digits, so the order is total.
pub fn natural(a: &str, b: &str) -> Ordering {
    // Most names that meet in a sort begin alike, and equal pieces decide nothing.
    let alike = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let start = last_piece(&a.as_bytes()[..alike]);
    let (mut left, mut right) = (&a[start..], &b[start..]);
    loop {
        let (x, y) = (piece(left), piece(right));
        if x.is_empty() || y.is_empty() {
            return x.len().cmp(&y.len()).then_with(|| a.cmp(b));
        }
        let digits = |s: &str| s.starts_with(|c: char| c.is_ascii_digit());
        let order = if digits(x) && digits(y) {
            let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
        (left, right) = (&left[x.len()..], &right[y.len()..]);
    }
}

/// The longest start of `s` that is all digits or all non-digits.
fn piece(s: &str) -> &str {
    let first = s.bytes().next().is_some_and(|b| b.is_ascii_digit());
    let end = s.bytes().position(|b| b.is_ascii_digit() != first).unwrap_or(s.len());
    &s[..end]
}

/// Where the last such piece of `bytes` starts.
fn last_piece(bytes: &[u8]) -> usize {
    let Some(last) = bytes.last() else { return 0 };
    let other = bytes.iter().rposition(|b| b.is_ascii_digit() != last.is_ascii_digit());
    other.map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::natural;

    /// Names that meet where numbers, zeros and letters of several bytes begin and end.
    fn name() -> impl Strategy<Value = String> {
        let parts = vec!["a", "b", ".", "0", "00", "1", "10", "9", "[", "σ", "τ", "/", ":", "-"];
        prop::collection::vec(prop::sample::select(parts), 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 20_000,
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn the_order_is_total([a, b, c] in [name(), name(), name()]) {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b).is_eq(), a == b);
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le(), "{} {} {}", a, b, c);
            }
        }
    }

    #[test]
    fn names_are_ordered_as_a_person_counts() {
        let mut names =
            vec!["layers.10.b", "layers.2.b", "layers.2.a", "head", "layers.02.a", "x[10]", "x[9]"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["head", "layers.02.a", "layers.2.a", "layers.2.b", "layers.10.b", "x[9]", "x[10]"]
        );
        assert!(
            natural("fc1.w", "fc.w").is_lt() && natural("a12", "a1b").is_gt() && natural("σ1", "σ2").is_lt()
        );
    }
}
