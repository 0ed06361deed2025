//! Sums over the rows of `svdkit intruders`: by role, by block, and over the whole model.

use std::collections::BTreeMap;

use crate::layer::natural;
use crate::report::{Column, Format, Group, Measurements, MissingReason, Row, Value};

use super::super::delta::{DELTA_EFFECTIVE_RANK, DELTA_FROBENIUS_RATIO};
use super::columns::{INTRUDER_COUNT, INTRUDER_ENERGY, K};
use super::{Of, Options};

/// The sums of a group.
const COLUMNS: [&Column; 4] = [&INTRUDER_COUNT, &K, &INTRUDER_ENERGY, &DELTA_EFFECTIVE_RANK];

/// Sums by role and by block, each where there are several rows to sum.
pub fn groups(rows: &[Row]) -> Vec<Group> {
    let by = |by: &'static str, name: &dyn Fn(&Row) -> Option<String>| {
        let mut found: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.failed.is_none()) {
            if let Some(name) = name(row) {
                found.entry(name).or_default().push(row);
            }
        }
        let mut groups: Vec<Group> = found.into_iter().map(|(name, rows)| group(by, name, &rows)).collect();
        groups.sort_by(|a, b| natural(&a.name, &b.name));
        let several = groups.len() > 1 && groups.iter().any(|group| group.matrices > 1);
        if several { groups } else { vec![] }
    };
    // An encoder and a decoder count their blocks alike, so that there neither the number nor the role alone names one.
    let mut stacks: Vec<&str> =
        rows.iter().filter(|row| row.block.is_some()).map(|row| stack_of_blocks(&row.name)).collect();
    stacks.sort_unstable();
    stacks.dedup();
    let name = |row: &Row| match stack_of_blocks(&row.name) {
        stack if stacks.len() > 1 && !stack.is_empty() => Some(format!("{stack}.{}", row.block?)),
        _ => row.block.map(|block| block.to_string()),
    };
    let role = |row: &Row| match stack_of_blocks(&row.name) {
        stack if stacks.len() > 1 && !stack.is_empty() && row.block.is_some() => {
            format!("{stack}.*.{}", row.role)
        }
        _ => row.role.to_string(),
    };
    let mut groups = by("role", &|row| Some(role(row)));
    groups.extend(by("block", &name));
    groups
}

/// What a name says before the number of its block.
fn stack_of_blocks(name: &str) -> &str {
    let mut end = 0;
    for part in name.split('.') {
        if part.parse::<u64>().is_ok() {
            return name[..end].trim_end_matches('.');
        }
        end += part.len() + 1;
    }
    ""
}

fn group(by: &'static str, name: String, rows: &[&Row]) -> Group {
    let value = |column: &Column| {
        let values: Vec<Value> = rows.iter().filter_map(|row| row.values.get(column.key)).collect();
        let numbers: Vec<f64> = values.iter().filter_map(|value| value.number()).collect();
        let sum: f64 = numbers.iter().sum();
        match (column.format, values.first()) {
            _ if !numbers.is_empty() && column.format == Format::Count => Value::Count(sum as u64),
            _ if !numbers.is_empty() => Value::real(sum / numbers.len() as f64),
            (_, Some(missing)) => *missing,
            (_, None) => Value::Missing(MissingReason::NotApplicable),
        }
    };
    let is_there = |column: &&&Column| rows.iter().any(|row| row.values.get(column.key).is_some());
    let values = COLUMNS.iter().filter(is_there).map(|column| (*column, value(column))).collect();
    Group { by: by.into(), name, matrices: rows.len() as u64, values: Measurements(values).into() }
}

/// The whole model in one line, and in one more for every limit of the sweep.
pub fn summary(rows: &[Row], options: &Options) -> Vec<String> {
    let sum = |key: &str| rows.iter().filter_map(|row| row.values.get(key)?.number()).sum::<f64>() as u64;
    let of = if options.of == Of::Delta { "leading directions of the updates" } else { "leading directions" };
    let (intruders, k) = (sum(INTRUDER_COUNT.key), sum(K.key));
    let mut lines = vec![format!(
        "{intruders} intruder{} among {k} {of} (ε = {}, k = {})",
        if intruders == 1 { "" } else { "s" },
        options.epsilon,
        options.k
    )];
    let measured = || rows.iter().filter(|row| row.failed.is_none());
    let nothing = |row: &Row| {
        row.update.is_some() && row.values.get(DELTA_FROBENIUS_RATIO.key).and_then(Value::number) == Some(0.0)
    };
    if measured().next().is_some() && measured().all(nothing) {
        lines.push("every update is exactly zero: this adapter is untrained".to_owned());
    }
    if !options.sweep.is_empty() {
        let swept = (0..options.sweep.len()).map(|i| {
            let at = |row: &Row| row.intruders.as_ref()?.sweep.get(i).map(|(_, count)| *count);
            format!("{} at {}", rows.iter().filter_map(at).sum::<u64>(), options.sweep[i])
        });
        lines.push(format!("at other ε: {}", swept.collect::<Vec<_>>().join(" · ")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_an_encoder_and_of_a_decoder_are_told_apart() {
        let row = |name: &str| Row { name: name.into(), block: Some(0), role: "q".into(), ..Row::default() };
        let named = |names: &[&str]| -> Vec<(String, u64)> {
            let rows: Vec<Row> = names.iter().map(|name| row(name)).collect();
            let groups = groups(&rows).into_iter().filter(|group| group.by == "block");
            groups.map(|group| (group.name, group.matrices)).collect()
        };
        let both = ["encoder.block.0.q", "encoder.block.0.k", "decoder.block.0.q", "decoder.block.0.k"];
        let expected = [("decoder.block.0".to_owned(), 2), ("encoder.block.0".to_owned(), 2)];
        assert_eq!(named(&both), expected);
        let roles = ["encoder.block.0.q", "encoder.block.1.q", "decoder.block.0.q", "decoder.block.1.q"];
        let rows: Vec<Row> = roles.iter().map(|name| row(name)).collect();
        let roles: Vec<String> =
            groups(&rows).into_iter().filter(|group| group.by == "role").map(|group| group.name).collect();
        assert_eq!(roles, ["decoder.block.*.q", "encoder.block.*.q"]);
        let mut later = row("layers.1.q");
        later.block = Some(1);
        let rows = [row("layers.0.q"), row("layers.0.k"), later];
        let names: Vec<String> =
            groups(&rows).into_iter().filter(|group| group.by == "block").map(|group| group.name).collect();
        assert_eq!(names, ["0", "1"]);
    }
}
