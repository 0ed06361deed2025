//! How numbers are written for people: tables, verdicts, notes. Machines get full precision elsewhere.

/// A real number to four significant digits, in the shorter of decimal and scientific notation.
pub fn real(x: f64) -> String {
    let magnitude = x.abs();
    if magnitude == 0.0 {
        return "0".to_owned();
    }
    // Rounding first decides the number of digits: 9.9996 is 10.00.
    let exponent =
        format!("{magnitude:.3e}").rsplit_once('e').and_then(|(_, e)| e.parse::<i32>().ok()).unwrap_or(0);
    match exponent {
        -3..=3 => format!("{x:.*}", (3 - exponent) as usize),
        4..=5 => format!("{x:.0}"),
        _ => format!("{x:.2e}"),
    }
}

/// A share of one as a percentage.
pub fn share(x: f64) -> String {
    format!("{} %", real(x * 100.0))
}

/// A relative change as a percentage: with its sign, to three significant digits and no finer than a hundredth.
pub fn change(x: f64) -> String {
    let percent = x.abs() * 100.0;
    let sign = if x < 0.0 { '\u{2212}' } else { '+' };
    match percent {
        0.0 => "0 %".to_owned(),
        _ if percent < 9.995 => format!("{sign}{percent:.2} %"),
        _ if percent < 99.95 => format!("{sign}{percent:.1} %"),
        _ if percent < 1e6 => format!("{sign}{percent:.0} %"),
        _ => format!("{sign}{percent:.2e} %"),
    }
}

/// So many things, in the singular or the plural: `1 matrix`, `128 256 matrices`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A whole number with thin groups of three: `128 256`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digits.len() > 4 {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `x` with a decimal prefix: `0.81 M`, `8.03 B` for numbers of parameters.
pub fn parameters(n: u64) -> String {
    let x = n as f64;
    match n {
        0..100_000 => count(n),
        100_000..1_000_000_000 => format!("{:.*} M", if x < 1e7 { 2 } else { 0 }, x / 1e6),
        _ => format!("{:.2} B", x / 1e9),
    }
}

/// A number of bytes with a binary prefix.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB"])
}

/// A number of floating-point operations with a decimal prefix.
pub fn flops(x: f64) -> String {
    // A sum of nothing is −0.
    scaled(x + 0.0, 1000.0, &["flop", "kflop", "Mflop", "Gflop", "Tflop", "Pflop"])
}

fn scaled(mut x: f64, step: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while x >= step && unit + 1 < units.len() {
        x /= step;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && x < 100.0);
    format!("{x:.digits$} {}", units[unit])
}

/// A duration in the two largest units that matter.
pub fn seconds(s: f64) -> String {
    let whole = s.round() as u64;
    match whole {
        _ if s < 10.0 => format!("{s:.2} s"),
        0..60 => format!("{s:.0} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// An estimated duration, no finer than estimates are: `1.5 s`, `9 s`, `40 s`, `8 min`, `3 h`.
pub fn estimate(s: f64) -> String {
    let whole = |x: f64| x.round().max(1.0);
    match s {
        _ if s < 1.0 => "1 s".to_owned(),
        _ if s < 3.25 => format!("{} s", (2.0 * s).round() / 2.0),
        _ if s < 14.5 => format!("{:.0} s", whole(s)),
        _ if s < 57.5 => format!("{:.0} s", 5.0 * whole(s / 5.0)),
        _ if s < 3570.0 => format!("{:.0} min", whole(s / 60.0)),
        _ if s < 36_000.0 => {
            let minutes = 10 * (s / 600.0).round() as u64;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
        _ => format!("{} h", count((s / 3600.0).round() as u64)),
    }
}

/// The heights of a line of blocks.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A line of at most `width` blocks drawing numbers in their order, from the least to the greatest of them; `·` where there is
/// none. Of numbers that hardly differ all are in the middle.
pub fn course(values: &[Option<f64>], width: usize) -> String {
    /// A smaller spread, relative to the largest, is not drawn as if it were one.
    const LEAST: f64 = 0.01;
    let known = || values.iter().flatten();
    let (low, high) = known().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
    let spread = high - low;
    let steps = width.min(values.len());
    // Of several that share a block, the one farthest from the middle of all.
    let block = |i: usize| {
        let (from, to) = (i * values.len() / steps, (i + 1) * values.len() / steps);
        let far = |x: &f64| (x - low.midpoint(high)).abs();
        let shown = values[from..to.max(from + 1)].iter().flatten().copied();
        let Some(x) = shown.max_by(|a, b| far(a).total_cmp(&far(b))) else { return '·' };
        if spread <= LEAST * high.abs().max(low.abs()) {
            return BLOCKS[3];
        }
        BLOCKS[(((x - low) / spread).clamp(0.0, 1.0) * 7.0).round() as usize]
    };
    if known().next().is_none() { String::new() } else { (0..steps).map(block).collect() }
}

/// A line of `width` blocks drawing `log σ` of the given descending values: full height is σ₁, nothing is σ₁/100 or less,
/// so that the lines of different matrices compare.
pub fn spark(values: &[f64], width: usize) -> String {
    const DECADES: f64 = 2.0;
    let Some(first) = values.first().copied().filter(|s| *s > 0.0) else { return String::new() };
    let steps = width.min(values.len());
    let at = |i: usize| values[if steps < 2 { 0 } else { i * (values.len() - 1) / (steps - 1) }];
    let level = |s: f64| 1.0 + (s / first).log10() / DECADES;
    (0..steps).map(|i| BLOCKS[(level(at(i)).clamp(0.0, 1.0) * 7.0).round() as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(x: f64, expected: &str) {
        assert_eq!(real(x), expected, "{x:e}");
    }

    #[test]
    fn real_numbers_keep_four_digits() {
        check(58.805_209, "58.81");
        check(1.029_87, "1.030");
        check(109.94, "109.9");
        check(9.9996, "10.00");
        check(0.079_602, "0.07960");
        check(-3.0, "-3.000");
        check(123_456.7, "123457");
        check(1.0e-5, "1.00e-5");
        check(4.2e9, "4.20e9");
        check(0.0, "0");
    }

    #[test]
    fn changes_carry_their_sign() {
        assert_eq!(change(0.2), "+20.0 %");
        assert_eq!(change(-0.990_712), "−99.1 %");
        assert_eq!(change(0.012_345), "+1.23 %");
        assert_eq!(change(-1e-9), "−0.00 %");
        assert_eq!(change(0.0), "0 %");
        assert_eq!(change(12.5), "+1250 %");
    }

    #[test]
    fn large_numbers_are_scaled() {
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(flops(2.5e9), "2.5 Gflop");
        assert_eq!(parameters(812_345), "0.81 M");
        assert_eq!(parameters(8_030_000_000), "8.03 B");
        assert_eq!(count(18_674), "18\u{202f}674");
        assert_eq!(seconds(3725.0), "1 h 02 min");
        let estimates = [0.2, 8.7, 43.0, 58.0, 505.0, 3725.0, 90_000.0].map(estimate);
        assert_eq!(estimates, ["1 s", "9 s", "45 s", "1 min", "8 min", "1 h 00 min", "25 h"]);
    }

    #[test]
    fn a_spark_line_falls_with_the_spectrum() {
        assert_eq!(spark(&[1.0, 0.1, 0.001, 0.0], 4), "█▅▁▁");
        assert_eq!(spark(&[2.0], 12), "█");
        assert_eq!(spark(&[0.0, 0.0], 12), "");
    }

    #[test]
    fn a_course_shows_what_is_far_from_the_others() {
        let line =
            |values: &[f64], width| course(&values.iter().copied().map(Some).collect::<Vec<_>>(), width);
        assert_eq!(line(&[0.0, 7.0, 1.0], 12), "▁█▂");
        assert_eq!(line(&[1.0, 1.0, 1.0, 8.0, 1.0, 1.0], 3), "▁█▁");
        assert_eq!(line(&[100.0, 100.2, 100.1], 12), "▄▄▄");
        assert_eq!(course(&[Some(1.0), None, Some(2.0)], 12), "▁·█");
        assert_eq!(course(&[None, None], 12), "");
    }
}
