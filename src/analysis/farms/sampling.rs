//! Where the windows of a matrix lie: the peers' fixed grid (FARMS, `fixed_sampling`), rows and columns as stored.
//!
//! A window has as many rows as asked for, or as the shorter side of the matrix; its columns follow from the aspect
//! ratio. Along each side windows start at multiples of `⌊(side − length)/(n − 1)⌋`, at least 1, as many as fit, at
//! most n. Where the peers would start before the matrix, because a wide window does not fit, the window shrinks here
//! with its aspect ratio kept.

use crate::solver::{WindowGrid, Windows};

use super::Settings;

/// The windows of a matrix of `rows` × `cols`, both positive.
pub fn windows(settings: &Settings, rows: usize, cols: usize) -> Windows {
    let aspect = settings.aspect;
    let fitting = (cols as f64 / aspect) as usize;
    let length = settings.window.min(rows).min(cols).min(fitting).max(1);
    let width = ((length as f64 * aspect) as usize).clamp(1, cols);
    Windows {
        rows: places(rows, length, settings.windows_per_dim),
        cols: places(cols, width, settings.windows_per_dim),
    }
}

fn places(side: usize, length: usize, most: usize) -> WindowGrid {
    let step = ((side - length) / (most - 1)).max(1);
    let count = most.min((side - length) / step + 1);
    WindowGrid { length, starts: (0..count).map(|i| i * step).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    /// `expected`: for rows and columns the length, the number of places, the second start and the last.
    #[track_caller]
    fn check(
        (rows, cols): (usize, usize),
        (window, aspect, most): (usize, f64, usize),
        expected: [(usize, usize, usize, usize); 2],
    ) {
        let settings = Settings { window, aspect, windows_per_dim: most, ..settings() };
        let windows = windows(&settings, rows, cols);
        let seen = |places: &WindowGrid| {
            let starts = &places.starts;
            let second = starts.get(1).copied().unwrap_or(0);
            (places.length, starts.len(), second, starts[starts.len() - 1])
        };
        assert_eq!([seen(&windows.rows), seen(&windows.cols)], expected);
        for (places, side) in [(&windows.rows, rows), (&windows.cols, cols)] {
            assert!(places.starts.iter().all(|start| start + places.length <= side), "{places:?}");
        }
    }

    #[test]
    fn the_windows_lie_where_the_peers_put_them() {
        let square = (2000, 15, 149, 2086);
        check((4096, 4096), (2000, 1.0, 15), [square, square]);
        check((11008, 4096), (2000, 1.0, 15), [(2000, 15, 643, 9002), square]);
        check((4096, 4096), (2000, 1.0, 10), [(2000, 10, 232, 2088), (2000, 10, 232, 2088)]);
        check((1000, 512), (100, 1.0, 9), [(100, 9, 112, 896), (100, 9, 51, 408)]);
        check((11008, 4096), (4096, 1.0, 5), [(4096, 5, 1728, 6912), (4096, 1, 0, 0)]);
        check((256, 4096), (2000, 1.0, 15), [(256, 1, 0, 0), (256, 15, 274, 3836)]);
        check((100, 512), (100, 1.0, 9), [(100, 1, 0, 0), (100, 9, 51, 408)]);
    }

    #[test]
    fn a_window_that_does_not_fit_shrinks_and_keeps_its_shape() {
        check((100, 100), (80, 2.0, 3), [(50, 3, 25, 50), (100, 1, 0, 0)]);
        check((100, 100), (80, 0.5, 3), [(80, 3, 10, 20), (40, 3, 30, 60)]);
        check((1, 1), (2000, 1.0, 15), [(1, 1, 0, 0), (1, 1, 0, 0)]);
        check((3, 5), (2, 0.1, 4), [(2, 2, 1, 1), (1, 4, 1, 3)]);
        check((5, 3), (4, 1e9, 4), [(1, 4, 1, 3), (3, 1, 0, 0)]);
        check((10, 10), (8, 1.0, 200), [(8, 3, 1, 2), (8, 3, 1, 2)]);
    }
}
