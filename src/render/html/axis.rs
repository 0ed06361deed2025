//! The scale of a picture: from numbers to places, with ticks where a reader expects them.

/// How numbers become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal differences are equally wide.
    Linear,
    /// Equal ratios are equally wide.
    Log,
}

/// Numbers from `low` to `high` laid out between two places.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub scale: Scale,
    pub low: f64,
    pub high: f64,
    from: f64,
    to: f64,
}

/// Beyond this, and nearer than its inverse, differences and ratios may not fit a double.
const FARTHEST: f64 = 1e300;
const NEAREST: f64 = 1e-300;
/// An axis spans at least this share of its largest number.
const LEAST: f64 = 0.02;
/// More than this many decades of positive numbers are easier to read on a logarithmic scale.
const DECADES: f64 = 2.0;

impl Axis {
    /// An axis over `low` to `high`, made wider where they are one number.
    pub(super) fn new(scale: Scale, (low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = (low.clamp(-FARTHEST, FARTHEST), high.clamp(-FARTHEST, FARTHEST));
        let (low, high) = match scale {
            Scale::Log if low >= NEAREST && low < high => (low, high),
            Scale::Log if high > 10.0 * NEAREST => (high / 10.0, high * 1.1),
            Scale::Log => (0.1, 1.0),
            Scale::Linear if high - low > NEAREST => (low, high),
            Scale::Linear => (low - low.abs().max(1.0) / 10.0, low + low.abs().max(1.0) / 10.0),
        };
        Self { scale, low, high, from, to }
    }

    /// The axis that suits `values`: logarithmic where they span decades, with some room at both ends.
    pub(super) fn fitting(values: &[f64], places: (f64, f64)) -> Self {
        let (low, high) = extremes(values);
        let scale =
            if low >= NEAREST && high.log10() - low.log10() > DECADES { Scale::Log } else { Scale::Linear };
        match scale {
            Scale::Log => {
                let room = ((high.ln() - low.ln()) * 0.04).exp();
                Self::new(scale, (low / room, high * room), places)
            }
            Scale::Linear => {
                // Numbers that hardly differ are not drawn as if they did.
                let least = LEAST * high.abs().max(low.abs()).min(FARTHEST);
                let (low, high) = match low.midpoint(high) {
                    middle if high - low < least => (middle - least / 2.0, middle + least / 2.0),
                    _ => (low, high),
                };
                let room = (high - low).min(FARTHEST) * 0.06;
                // Numbers that start near zero are read against zero.
                let floor = if low >= 0.0 && low < 0.35 * high { 0.0 } else { low - room };
                Self::new(scale, (floor, high + room), places)
            }
        }
    }

    /// The position of `x`, clamped to the ends.
    pub(super) fn at(&self, x: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (x - self.low) / (self.high - self.low),
            Scale::Log => (x.max(self.low).ln() - self.low.ln()) / (self.high.ln() - self.low.ln()),
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Whether `x` lies on the axis.
    pub(super) fn holds(&self, x: f64) -> bool {
        (self.low..=self.high).contains(&x)
    }

    /// The scale and its ends, for a script that goes from places back to numbers.
    pub(super) fn code(&self) -> String {
        let scale = if self.scale == Scale::Log { "log" } else { "linear" };
        // Every chart has two: zeros at the end of a number say nothing.
        let short = |x: f64| {
            let text = format!("{x:.4e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
        };
        format!("{scale} {} {} {:.0} {:.0}", short(self.low), short(self.high), self.from, self.to)
    }

    /// Round numbers along the axis, at most about `most`, with their labels.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let ticks = match self.scale {
            Scale::Linear => vec![],
            Scale::Log => self.decades(most),
        };
        if ticks.len() >= 2 { ticks } else { self.steps(most) }
    }

    fn decades(&self, most: usize) -> Vec<(f64, String)> {
        let first = (self.low.log10() - 1e-9).ceil() as i32;
        let last = (self.high.log10() + 1e-9).floor() as i32;
        let decades = (last - first + 1).max(0) as usize;
        if decades >= 3 {
            let step = decades.div_ceil(most.max(1));
            return (first..=last).step_by(step).map(|n| (10f64.powi(n), decade(n))).collect();
        }
        let digits: &[f64] = if decades == 2 { &[1.0, 3.0] } else { &[1.0, 2.0, 5.0] };
        let all = (first - 1..=last).map(|n| 10f64.powi(n));
        let all = all.flat_map(|power| digits.iter().map(move |digit| (digit * power, power)));
        all.filter(|(x, _)| self.holds(*x)).map(|(x, power)| (x, plain(x, power))).collect()
    }

    fn steps(&self, most: usize) -> Vec<(f64, String)> {
        let rough = (self.high - self.low) / most.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(power * 10.0);
        let first = (self.low / step).ceil();
        let count = ((self.high / step).floor() - first).max(0.0).min(most as f64 * 2.0) as usize;
        (0..=count).map(|i| (first + i as f64) * step).map(|x| (x, plain(x, step))).collect()
    }
}

/// The smallest and the largest of `values`.
pub(super) fn extremes(values: &[f64]) -> (f64, f64) {
    let wider = |(low, high): (f64, f64), x: &f64| (low.min(*x), high.max(*x));
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), wider)
}

/// A power of ten: `0.01`, `10`, `10⁻⁵`.
fn decade(n: i32) -> String {
    match n {
        -3..=-1 => format!("{:.*}", n.unsigned_abs() as usize, 10f64.powi(n)),
        0..=3 => format!("{:.0}", 10f64.powi(n)),
        _ => format!("10{}", superscript(n)),
    }
}

/// `x` with the digits that a neighbor `step` away differs in.
fn plain(x: f64, step: f64) -> String {
    let digits = -step.log10().floor();
    // −0 is 0.
    let x = if x.abs() < step / 2.0 { 0.0 } else { x };
    if x.abs() <= 0.0 {
        return "0".to_owned();
    }
    if digits > 5.0 || x.abs() >= 1e6 {
        let text = format!("{x:.1e}");
        let (number, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let number = number.trim_end_matches(".0").replace('-', "−");
        return format!("{number}·10{}", superscript(exponent.parse().unwrap_or(0)));
    }
    format!("{x:.*}", digits.max(0.0) as usize).replace('-', "−")
}

fn superscript(n: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raise = |c: char| c.to_digit(10).map_or('⁻', |digit| DIGITS[digit as usize]);
    n.to_string().chars().map(raise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scale: Scale, ends: (f64, f64), expected: &[&str]) {
        let ticks = Axis::new(scale, ends, (0.0, 100.0)).ticks(5);
        assert_eq!(ticks.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>(), expected, "{ends:?}");
    }

    #[test]
    fn ticks_are_round_numbers() {
        check(Scale::Linear, (0.0, 10.0), &["0", "2", "4", "6", "8", "10"]);
        check(Scale::Linear, (-0.1, 0.31), &["−0.1", "0", "0.1", "0.2", "0.3"]);
        check(Scale::Linear, (0.0, 4e7), &["0", "1·10⁷", "2·10⁷", "3·10⁷", "4·10⁷"]);
        check(Scale::Log, (0.002, 300.0), &["0.01", "0.1", "1", "10", "100"]);
        check(Scale::Log, (1e-9, 1e6), &["10⁻⁹", "10⁻⁵", "0.1", "1000"]);
        check(Scale::Log, (0.5, 40.0), &["1", "3", "10", "30"]);
        check(Scale::Log, (0.5, 6.0), &["0.5", "1", "2", "5"]);
    }

    #[test]
    fn any_two_numbers_make_an_axis() {
        let ends = [0.0, 1.0, -1.0, 1e-320, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 3.0];
        for scale in [Scale::Linear, Scale::Log] {
            for low in ends {
                for high in ends {
                    let axis = Axis::new(scale, (low, high), (40.0, 400.0));
                    assert!((40.0..=400.0).contains(&axis.at(low)), "{low} {high}");
                    assert!(axis.ticks(5).len() < 20, "{low} {high}");
                    let _ = Axis::fitting(&[low, high], (40.0, 400.0)).ticks(5);
                }
            }
        }
    }

    #[test]
    fn a_place_grows_with_the_number_and_stops_at_the_ends() {
        let axis = Axis::new(Scale::Log, (0.01, 100.0), (0.0, 100.0));
        assert!((axis.at(1.0) - 50.0).abs() < 1e-9 && (axis.at(10.0) - 75.0).abs() < 1e-9);
        assert!(axis.at(1e9) <= 100.0 && axis.at(0.0) >= 0.0);
    }
}
