//! Tasks cut into parts of about the same work, for several machines.
//!
//! Tasks are ordered as their bytes lie in files and cut into runs, so that a machine reads little of what it does not
//! measure. Everything comes from headers: each machine computes the same parts by itself.

use std::collections::BTreeMap;

use super::Study;

/// Where a task begins to read, and how much it reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reads {
    /// The file, counted from 0.
    pub file: usize,
    /// The position of its first byte there.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The parts of a study.
#[derive(Debug, Clone, PartialEq)]
pub struct Partition {
    /// The tasks of each part, ascending; some parts may have none.
    pub parts: Vec<Vec<usize>>,
    /// The work of each part: floating-point operations.
    pub work: Vec<f64>,
}

impl Partition {
    /// The tasks of `study` in so many parts, at least one.
    pub fn new(study: &dyn Study, count: usize) -> Self {
        let (work, reads) = (study.work(), study.reads());
        let mut order: Vec<usize> = (0..work.len()).collect();
        order.sort_by_key(|task| (reads.get(*task).map(|reads| (reads.file, reads.offset)), *task));
        let mut parts = split(&work, &order, count.max(1));
        parts.iter_mut().for_each(|part| part.sort_unstable());
        let work = parts.iter().map(|part| part.iter().map(|task| work[*task]).sum()).collect();
        Self { parts, work }
    }

    /// The work of the dearest part over the mean: 1 is perfect.
    pub fn balance(&self) -> f64 {
        let total: f64 = self.work.iter().sum();
        let most = self.work.iter().copied().fold(0.0, f64::max);
        if total > 0.0 { most * self.work.len() as f64 / total } else { 1.0 }
    }
}

/// The tasks in `order`, cut into `count` parts. A task whose work is more than a part's share is a part of its own; of the
/// others, the dearest part is as cheap as runs of them allow.
fn split(work: &[f64], order: &[usize], count: usize) -> Vec<Vec<usize>> {
    let mut alone: Vec<usize> = vec![];
    let mut rest: Vec<usize> = order.to_vec();
    // Without the dearest, shares are smaller, and others may be too large for them.
    while count - alone.len() > 1 {
        let share = rest.iter().map(|task| work[*task]).sum::<f64>() / (count - alone.len()) as f64;
        let Some(at) = (0..rest.len()).max_by(|a, b| work[rest[*a]].total_cmp(&work[rest[*b]])) else {
            break;
        };
        if work[rest[at]] <= share {
            break;
        }
        alone.push(rest.remove(at));
    }
    let most = capacity(work, &rest, count - alone.len());
    let mut parts = runs(work, &rest, count - alone.len(), most);
    parts.extend(alone.into_iter().map(|task| vec![task]));
    // Parts follow the order, those of one task as well.
    let place: BTreeMap<usize, usize> =
        order.iter().enumerate().map(|(place, task)| (*task, place)).collect();
    parts.sort_by_key(|part| part.first().map_or(usize::MAX, |task| place[task]));
    parts
}

/// The least work that a part may have, so that so many runs of `tasks` take all.
fn capacity(work: &[f64], tasks: &[usize], count: usize) -> f64 {
    /// Halvings: more than the digits of a double.
    const STEPS: usize = 64;
    let total: f64 = tasks.iter().map(|task| work[*task]).sum();
    let dearest = tasks.iter().map(|task| work[*task]).fold(0.0, f64::max);
    let (mut low, mut high) = ((total / count as f64).max(dearest), total.max(dearest));
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if needed(work, tasks, middle) <= count { high = middle } else { low = middle }
    }
    high
}

/// How many runs of at most so much work `tasks` take.
fn needed(work: &[f64], tasks: &[usize], most: f64) -> usize {
    let (mut count, mut filled) = (1, 0.0);
    for task in tasks {
        if filled + work[*task] > most && filled > 0.0 {
            (count, filled) = (count + 1, 0.0);
        }
        filled += work[*task];
    }
    count
}

/// `tasks` in `count` runs of at most so much work.
fn runs(work: &[f64], tasks: &[usize], count: usize, most: f64) -> Vec<Vec<usize>> {
    let (mut parts, mut part, mut filled) = (vec![], vec![], 0.0);
    for (i, task) in tasks.iter().enumerate() {
        // Where tasks are few, each later part gets one.
        let is_short = tasks.len() - i < count - parts.len();
        if !part.is_empty() && parts.len() + 1 < count && (filled + work[*task] > most || is_short) {
            parts.push(std::mem::take(&mut part));
            filled = 0.0;
        }
        filled += work[*task];
        part.push(*task);
    }
    parts.push(part);
    parts.resize(count, vec![]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(work: &[f64], count: usize) -> Vec<Vec<usize>> {
        let order: Vec<usize> = (0..work.len()).collect();
        let parts = split(work, &order, count);
        let mut all: Vec<usize> = parts.concat();
        all.sort_unstable();
        assert_eq!((all, parts.len()), (order, count), "every task is in one part");
        parts
    }

    /// The least work of the dearest of `count` runs, by trying every cut.
    fn least(work: &[f64], count: usize) -> f64 {
        if count == 1 {
            return work.iter().sum();
        }
        let cut = |at: usize| work[..at].iter().sum::<f64>().max(least(&work[at..], count - 1));
        (0..=work.len()).map(cut).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn runs_are_as_even_as_every_cut_that_was_tried() {
        let mut state = 7_u64;
        for _ in 0..200 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) % 20 + 1
            };
            let (length, count) = (next() as usize % 8 + 1, next() as usize % 4 + 1);
            let work: Vec<f64> = (0..length).map(|_| next() as f64).collect();
            let tasks: Vec<usize> = (0..length).collect();
            let most = capacity(&work, &tasks, count);
            let parts = runs(&work, &tasks, count, most);
            let dearest = parts.iter().map(|part| part.iter().map(|task| work[*task]).sum::<f64>());
            let dearest = dearest.fold(0.0, f64::max);
            assert!((dearest - least(&work, count)).abs() < 1e-9, "{work:?} in {count}: {parts:?}");
        }
    }

    #[test]
    fn a_task_too_large_for_its_share_is_a_part_of_its_own() {
        assert_eq!(cut(&[1.0, 1.0, 10.0, 1.0, 1.0], 3), [vec![0, 1], vec![2], vec![3, 4]]);
        // Without the first of two large ones, the second is too large as well.
        assert_eq!(cut(&[1.0, 9.0, 1.0, 5.0, 1.0], 3), [vec![0, 2, 4], vec![1], vec![3]]);
        assert_eq!(cut(&[4.0, 1.0], 4), [vec![0], vec![1], vec![], vec![]]);
        assert_eq!(cut(&[1.0; 4], 3), [vec![0, 1], vec![2], vec![3]]);
    }
}
