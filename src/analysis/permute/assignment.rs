//! The linear assignment problem on a dense square matrix: which column each row gets, so that the sum is the largest.
//!
//! An auction finds prices (Bertsekas 1988). From these on, shortest augmenting paths (Jonker & Volgenant 1987) over the best
//! entries of each row and column only, as in Volgenant 1996: prices that no other entry contradicts prove that nothing was
//! lost by leaving it out; those that do contradict them join, and their rows are assigned anew. Exact up to rounding.
//!
//! Written here because the crates for it were measured and take minutes at the size of an MLP, by what its weights are
//! ([numbers](../../../docs/numerics.md#why-the-assignment-is-ours)).

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::mem;

/// No row, or no column.
const NONE: u32 = u32::MAX;
/// So many of the best entries of each row are looked at first.
const FIRST: usize = 24;
/// So many of each column.
const FIRST_OF_COLUMN: usize = 4;
/// So many bids of each row end a round of the auction: the rest is left to the paths.
const BIDS: usize = 3;
/// Prices may contradict an entry by so much, relative to the largest one: rounding.
const SLACK: f64 = 1e-13;

/// For each row the column it is assigned, where `gains` is an n × n matrix in rows: Σ gains[i, column of i] is the largest
/// possible.
pub fn assignment(gains: &[f64], n: usize) -> Vec<u32> {
    if n == 0 {
        return vec![];
    }
    let mut search = Search::new(gains, n);
    let mut free: Vec<u32> = (0..n as u32).filter(|i| search.column_of[*i as usize] == NONE).collect();
    while !free.is_empty() {
        free.iter().for_each(|row| search.augment(*row));
        free = search.contradicted();
    }
    search.column_of
}

/// Prices at which most rows can have what they would rather have: Bertsekas' auction, with steps that become smaller.
fn auction(gains: &[f64], n: usize) -> Vec<f64> {
    let (least, most) =
        gains.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(*x), b.max(*x)));
    let mut price = vec![0.0; n];
    let mut step = (most - least) / 8.0;
    while step > (most - least) / (8 * n) as f64 {
        let mut row_of = vec![NONE; n];
        let mut waiting: VecDeque<u32> = (0..n as u32).collect();
        for _ in 0..BIDS * n {
            let Some(i) = waiting.pop_front() else { break };
            let row = &gains[i as usize * n..(i as usize + 1) * n];
            let (mut best, mut second, mut at) = (f64::NEG_INFINITY, f64::NEG_INFINITY, 0);
            for (j, (gain, price)) in row.iter().zip(&price).enumerate() {
                let offer = gain - price;
                if offer > second {
                    if offer > best {
                        (second, best, at) = (best, offer, j);
                    } else {
                        second = offer;
                    }
                }
            }
            price[at] += if second.is_finite() { best - second } else { 0.0 } + step;
            let loser = mem::replace(&mut row_of[at], i);
            if loser != NONE {
                waiting.push_back(loser);
            }
        }
        step /= 4.0;
    }
    price
}

/// An assignment in the making: `row_price[i] + column_price[j] ≥ gains[i, j]` for all entries that are looked at, and equal
/// where row `i` has column `j`.
struct Search<'g> {
    gains: &'g [f64],
    n: usize,
    slack: f64,
    /// The columns of each row that are looked at.
    near: Vec<Vec<u32>>,
    row_price: Vec<f64>,
    column_price: Vec<f64>,
    column_of: Vec<u32>,
    row_of: Vec<u32>,
    /// Of the path that is sought: how far each column is, the row before it, whether it is settled.
    distance: Vec<f64>,
    before: Vec<u32>,
    settled: Vec<bool>,
    touched: Vec<u32>,
}

impl<'g> Search<'g> {
    fn new(gains: &'g [f64], n: usize) -> Self {
        let column_price = auction(gains, n);
        let largest = gains.iter().fold(0.0f64, |most, gain| most.max(gain.abs()));
        let mut search = Self {
            gains,
            n,
            slack: SLACK * largest,
            near: vec![vec![]; n],
            row_price: vec![0.0; n],
            column_price,
            column_of: vec![NONE; n],
            row_of: vec![NONE; n],
            distance: vec![f64::INFINITY; n],
            before: vec![NONE; n],
            settled: vec![false; n],
            touched: vec![],
        };
        let mut of_columns: Vec<[(f64, u32); FIRST_OF_COLUMN]> =
            vec![[(f64::NEG_INFINITY, NONE); FIRST_OF_COLUMN]; n];
        for i in 0..n {
            search.near[i] = search.best(i, FIRST.min(n));
            let offer = |j: usize| gains[i * n + j] - search.column_price[j];
            search.row_price[i] =
                search.near[i].iter().fold(f64::NEG_INFINITY, |most, j| most.max(offer(*j as usize)));
        }
        for i in 0..n {
            let (row, price) = (&gains[i * n..(i + 1) * n], search.row_price[i]);
            for (best, gain) in of_columns.iter_mut().zip(row) {
                let offer = gain - price;
                if offer > best[FIRST_OF_COLUMN - 1].0 {
                    let at = best.iter().position(|known| offer > known.0).unwrap_or(0);
                    best[at..].rotate_right(1);
                    best[at] = (offer, i as u32);
                }
            }
        }
        for (j, best) in of_columns.iter().enumerate() {
            for (_, i) in best.iter().filter(|(_, i)| *i != NONE) {
                let near = &mut search.near[*i as usize];
                if !near.contains(&(j as u32)) {
                    near.push(j as u32);
                }
            }
        }
        for i in 0..n {
            let tight = search.near[i]
                .iter()
                .copied()
                .find(|j| search.short_of(i, *j) <= 0.0 && search.row_of[*j as usize] == NONE);
            if let Some(j) = tight {
                (search.column_of[i], search.row_of[j as usize]) = (j, i as u32);
            }
        }
        search
    }

    /// By how much the prices of a row and a column exceed their gain.
    fn short_of(&self, i: usize, j: u32) -> f64 {
        self.row_price[i] + self.column_price[j as usize] - self.gains[i * self.n + j as usize]
    }

    /// The `count` columns that row `i` would rather have, at present prices.
    fn best(&self, i: usize, count: usize) -> Vec<u32> {
        let row = &self.gains[i * self.n..(i + 1) * self.n];
        let offers: Vec<f64> = row.iter().zip(&self.column_price).map(|(gain, price)| gain - price).collect();
        let mut columns: Vec<u32> = (0..self.n as u32).collect();
        if count < self.n {
            let order = |a: &u32, b: &u32| offers[*b as usize].total_cmp(&offers[*a as usize]).then(a.cmp(b));
            columns.select_nth_unstable_by(count, order);
            columns.truncate(count);
        }
        columns.sort_unstable();
        columns
    }

    /// Gives `row` a column, along the shortest path to a free one.
    fn augment(&mut self, row: u32) {
        loop {
            if let Some((end, length)) = self.path(row) {
                return self.exchange(row, end, length);
            }
            // No column is free within reach: every row on the way looks further.
            let reached = self.touched.iter().map(|j| self.row_of[*j as usize]);
            let rows: Vec<u32> = std::iter::once(row).chain(reached).filter(|i| *i != NONE).collect();
            self.forget();
            for i in rows {
                let i = i as usize;
                let mut near = self.best(i, (4 * self.near[i].len()).min(self.n));
                near.extend(&self.near[i]);
                near.sort_unstable();
                near.dedup();
                self.near[i] = near;
            }
            self.settle_price(row as usize);
        }
    }

    /// Hands each column on the path that was found to the row before it, and moves prices so that no offer is better.
    fn exchange(&mut self, row: u32, end: u32, length: f64) {
        for at in 0..self.touched.len() {
            let j = self.touched[at] as usize;
            if self.settled[j] {
                let moved = length - self.distance[j];
                self.column_price[j] += moved;
                // The row that has the column pays less.
                self.row_price[self.row_of[j] as usize] -= moved;
            }
        }
        self.row_price[row as usize] -= length;
        let mut j = end;
        loop {
            let i = self.before[j as usize];
            let next = self.column_of[i as usize];
            (self.column_of[i as usize], self.row_of[j as usize]) = (j, i);
            if i == row {
                break;
            }
            j = next;
        }
        self.forget();
    }

    /// Sets the price of a row to the most that its columns offer.
    fn settle_price(&mut self, i: usize) {
        let offers = self.near[i]
            .iter()
            .map(|j| self.gains[i * self.n + *j as usize] - self.column_price[*j as usize]);
        self.row_price[i] = offers.fold(f64::NEG_INFINITY, f64::max);
    }

    /// The free column that is nearest to `row`, and how far it is.
    fn path(&mut self, row: u32) -> Option<(u32, f64)> {
        let mut heap = BinaryHeap::new();
        let (mut i, mut so_far) = (row, 0.0);
        loop {
            for at in 0..self.near[i as usize].len() {
                let j = self.near[i as usize][at];
                if self.settled[j as usize] {
                    continue;
                }
                let distance = so_far + self.short_of(i as usize, j).max(0.0);
                if distance < self.distance[j as usize] {
                    if self.distance[j as usize] == f64::INFINITY {
                        self.touched.push(j);
                    }
                    self.distance[j as usize] = distance;
                    self.before[j as usize] = i;
                    heap.push(Near { distance, column: j });
                }
            }
            let next = loop {
                let next = heap.pop()?;
                if !self.settled[next.column as usize] && next.distance <= self.distance[next.column as usize]
                {
                    break next;
                }
            };
            if self.row_of[next.column as usize] == NONE {
                return Some((next.column, next.distance));
            }
            self.settled[next.column as usize] = true;
            (i, so_far) = (self.row_of[next.column as usize], next.distance);
        }
    }

    /// Ends a search.
    fn forget(&mut self) {
        for j in self.touched.drain(..) {
            self.distance[j as usize] = f64::INFINITY;
            self.settled[j as usize] = false;
        }
    }

    /// Takes in the entries that contradict the prices, and the rows whose column they make too dear: these lose it.
    fn contradicted(&mut self) -> Vec<u32> {
        let mut free = vec![];
        for i in 0..self.n {
            let row = &self.gains[i * self.n..(i + 1) * self.n];
            let limit = self.row_price[i] + self.slack;
            let offers = row.iter().zip(&self.column_price).map(|(gain, price)| gain - price);
            let more: Vec<u32> =
                (0u32..).zip(offers).filter(|(_, offer)| *offer > limit).map(|(j, _)| j).collect();
            if more.is_empty() {
                continue;
            }
            self.near[i].extend(more);
            self.settle_price(i);
            let j = self.column_of[i];
            self.row_of[j as usize] = NONE;
            self.column_of[i] = NONE;
            free.push(i as u32);
        }
        free
    }
}

/// A column on the way, the nearest first.
#[derive(PartialEq)]
struct Near {
    distance: f64,
    column: u32,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> Ordering {
        other.distance.total_cmp(&self.distance).then(other.column.cmp(&self.column))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests;
