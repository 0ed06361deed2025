//! Families of columns that have one for each of several ranks: `svd_error_16` is that of `svd_error` at rank 16.

use crate::report::Column;

/// The column of `family` at `rank`; it lives as long as the program.
pub fn at_rank(family: &'static Column, rank: usize) -> &'static Column {
    let keep = |text: String| -> &'static str { text.leak() };
    let (key, label) = (keep(format!("{}_{rank}", family.key)), keep(format!("{} {rank}", family.label)));
    Box::leak(Box::new(Column { key, label, ..*family }))
}

/// The family that `key` is a column of, and the rank.
pub fn of_key(key: &str, families: &'static [Column]) -> Option<(&'static Column, usize)> {
    let (family, rank) = key.rsplit_once('_')?;
    Some((families.iter().find(|known| known.key == family)?, rank.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Accuracy, Format, Quantity};

    #[test]
    fn a_key_tells_its_family_and_rank() {
        static FAMILY: [Column; 1] = [Column {
            key: "svd_error",
            label: "SVD",
            format: Format::Share,
            quantity: Quantity::Pair(Accuracy::Relative),
            doc: "",
            range: "",
            source: "",
        }];
        let families = &FAMILY;
        let column = at_rank(&families[0], 16);
        assert_eq!(of_key(column.key, families), Some((&families[0], 16)));
        assert_eq!(of_key(families[0].key, families), None);
    }
}
