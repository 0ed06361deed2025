//! The bracket of one eigenvalue, and the next point to test.
//!
//! A bracket shrinks by counts alone, which hold whatever the matrix; the polynomial's values only say where to count.
//! While the eigenvalue is alone in its bracket the secant through both ends guesses it; a guess that keeps landing on
//! one side has the other end's value made smaller. After a number of steps only halving is trusted.

use std::ops::Range;

/// Secant steps before only halving is trusted.
const SECANTS: u32 = 24;

/// The result at one point: eigenvalues below it, and `pₙ = value · 2^(512·power)`.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) below: usize,
    pub(super) value: f64,
    pub(super) power: f64,
}

impl Point {
    /// The quotient of the polynomials' values at two points.
    fn over(&self, other: &Self) -> f64 {
        self.value / other.value * 2f64.powf(512.0 * (self.power - other.power))
    }
}

/// Where one eigenvalue lies: fewer than or as many as its index below `low`, more below `high`.
#[derive(Clone, Copy)]
pub(super) struct Bracket {
    low: Point,
    high: Point,
    steps: u32,
    /// Which end the last step moved.
    moved: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Low,
    High,
}

/// The first bracket of each of these eigenvalues.
pub(super) fn brackets(grid: &[Point], wanted: Range<usize>) -> Vec<Bracket> {
    let mut above = 1;
    let bracket = |i: usize| {
        while above + 1 < grid.len() && grid[above].below <= i {
            above += 1;
        }
        Bracket { low: grid[above - 1], high: grid[above], steps: 0, moved: None }
    };
    wanted.map(bracket).collect()
}

impl Bracket {
    /// Whether the bracket is as narrow as wanted, or as doubles of this size allow.
    pub(super) fn is_closed(&self, finest: f64) -> bool {
        self.high.x - self.low.x <= self.tolerance(finest)
    }

    fn tolerance(&self, finest: f64) -> f64 {
        finest + 2.0 * f64::EPSILON * self.low.x.abs().max(self.high.x.abs())
    }

    pub(super) fn middle(&self) -> f64 {
        0.5 * (self.low.x + self.high.x)
    }

    /// The eigenvalue of a closed bracket: zero if it may be zero.
    pub(super) fn value(&self) -> f64 {
        if self.low.x == 0.0 { 0.0 } else { self.middle() }
    }

    /// Whether the eigenvalue is alone in its bracket.
    fn alone(&self) -> bool {
        self.high.below - self.low.below == 1
    }

    /// The next point: the secant's zero if it can be trusted, else the middle.
    pub(super) fn next(&self, finest: f64) -> f64 {
        let (low, high) = (self.low, self.high);
        if !self.alone() || low.value == 0.0 || high.value == 0.0 || self.steps >= SECANTS {
            return self.middle();
        }
        let x = low.x + (high.x - low.x) / (1.0 + high.over(&low).abs());
        let tolerance = self.tolerance(finest);
        // Not onto an end: from just inside it, the next count closes the bracket.
        x.max(low.x + 0.45 * tolerance).min(high.x - 0.45 * tolerance)
    }

    /// Moves the end that `point` replaces. The value of an end that stays a second time is made smaller, by as much as
    /// the other end's shrank (Anderson & Björck, BIT 13 (1973)) or, where that one grew, by half (Illinois).
    pub(super) fn shrink(&mut self, index: usize, mut point: Point) {
        self.steps += 1;
        let alone = self.alone();
        // Counts of one point may contradict those of its neighbors by rounding; brackets never do.
        let (moved, stays, end) = if point.below <= index {
            point.below = point.below.min(self.high.below - 1);
            (&mut self.low, &mut self.high, End::Low)
        } else {
            point.below = point.below.max(self.low.below + 1);
            (&mut self.high, &mut self.low, End::High)
        };
        if alone && self.moved == Some(end) {
            let left = 1.0 - point.over(moved);
            stays.value *= if left > 0.0 { left } else { 0.5 };
        }
        *moved = point;
        self.moved = Some(end);
    }
}
