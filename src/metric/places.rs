//! Which entries, rows and columns of a matrix are worth naming.

use super::Subject;
use crate::report::{Concentration, Entry, Places};
use crate::solver::{Lines, Texture};

/// From here on an entry makes a singular direction by itself: `lone_entry` of 1.
const LONE: f64 = 1.0;

/// From this share of the energy on, the leading direction is told from all others.
const HALF: f64 = 0.5;

/// A simple part accounts for a direction if it holds this much of its energy.
const ACCOUNTS: f64 = 0.8;

/// So many lines are named.
const FIRST: usize = 3;

impl Subject<'_> {
    /// What is worth naming.
    pub fn places(&self) -> Places {
        let Some(Lines { oddities, texture, .. }) = self.entries.lines() else { return Places::default() };
        let first = |lines: &[usize]| lines.iter().take(FIRST).map(|i| *i as u64).collect();
        let pair = |pairs: &[(usize, usize)]| pairs.first().map(|(i, j)| Box::new([*i as u64, *j as u64]));
        let finite = self.entries.nonfinite_count() == 0;
        let texture = texture.as_ref().filter(|_| finite);
        Places {
            largest_entry: texture.and_then(|texture| self.lone_entry(texture)).map(Box::new),
            zero_rows: if texture.is_some() { first(&oddities.zero_rows) } else { vec![] },
            zero_columns: if texture.is_some() { first(&oddities.zero_columns) } else { vec![] },
            duplicate_rows: pair(&oddities.duplicate_rows),
            duplicate_columns: pair(&oddities.duplicate_columns),
            leading_direction: texture
                .zip(self.leading_share())
                .and_then(|(texture, share)| self.leading_direction(texture, share)),
            reordering: None,
            parts: None,
        }
    }

    fn lone_entry(&self, texture: &Texture) -> Option<Entry> {
        let entry = self.entries.largest()?;
        let size = entry.value.abs() / texture.mean_square.sqrt();
        (size >= LONE * ((texture.rows * texture.columns) as f64).powf(0.25)).then_some(Entry {
            row: entry.row as u64,
            column: entry.column as u64,
            value: entry.value,
        })
    }

    /// The share of the energy that the leading direction holds.
    fn leading_share(&self) -> Option<f64> {
        match (self.largest, self.spectrum) {
            (Some(largest), _) => Some(largest.value.powi(2) / self.energy().ok()?),
            (None, Ok(spectrum)) => Some((spectrum.largest() / spectrum.norm()).powi(2)),
            (None, Err(_)) => None,
        }
    }

    /// The simplest part of the matrix that makes its leading direction.
    fn leading_direction(&self, texture: &Texture, share: f64) -> Option<Concentration> {
        if share.is_nan() || share < HALF {
            return None;
        }
        let entries = (texture.rows * texture.columns) as f64;
        let entry = self.entries.max_abs().powi(2) / (texture.mean_square * entries);
        let parts = [
            (entry, Concentration::Entry),
            (texture.row_energy, Concentration::Row),
            (texture.column_energy, Concentration::Column),
            (texture.mean_energy, Concentration::Constant),
            (texture.mean_row_energy, Concentration::CommonRow),
            (texture.mean_column_energy, Concentration::ConstantPerRow),
        ];
        let found = parts.into_iter().find(|(energy, _)| *energy >= ACCOUNTS * share);
        Some(found.map_or(Concentration::Spread, |(_, part)| part))
    }
}
