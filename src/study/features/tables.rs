//! Which tables files hold, and which rows they make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::super::unmatched;
use super::{Rows, TableFile};
use crate::analysis::features::Table;
use crate::error::{Error, printable};
use crate::layer::{Element, Filter, Layer, Selection, TensorInfo, bare, distinct, natural, place_of};
use crate::report::{SkipKind, Skipped};

/// A row, and the tables that it is about, each with the position of its file.
pub(super) struct TableRow {
    pub layer: Arc<Layer>,
    pub tables: Vec<(usize, Table)>,
}

/// What files hold.
#[derive(Default)]
pub(super) struct FoundTables {
    pub rows: Vec<TableRow>,
    pub skipped: Vec<Skipped>,
    pub filtered: usize,
    /// The names of all tables, also of those that a filter leaves out.
    pub names: Vec<String>,
    pub by_name: Vec<BTreeMap<String, Arc<Layer>>>,
}

/// Why there is no row.
pub(super) fn nothing(names: &[String], (filtered, skipped): (usize, &[Skipped]), filter: &Filter) -> String {
    if filtered > 0 {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let hint = unmatched::hint(filter, &names);
        return format!("`--include` and `--exclude` leave none of its {filtered} tables{hint}");
    }
    match skipped {
        [] => "holds no tensor".to_owned(),
        [first, ..] => format!(
            "holds no table of numbers, samples × features: `{}` is skipped: {}",
            printable(&first.tensor),
            first.reason
        ),
    }
}

/// Every tensor of two axes or more as samples × features: all axes but the last are samples.
///
/// # Errors
/// When samples of one thing differ in the number of their columns.
pub(super) fn tables(files: &[TableFile], rows: Rows, filter: &Filter) -> Result<FoundTables, Error> {
    let mut found = FoundTables::default();
    let mut all: BTreeMap<String, Vec<(usize, &TensorInfo, Table)>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        let tensors = file.source.tensors();
        // A NumPy file of one array calls that as itself.
        let stem = file.roots.first().and_then(|path| path.file_stem());
        let is_nameless = matches!(tensors, [only] if stem.is_some_and(|stem| stem == only.name.as_str()));
        for info in tensors {
            let own = bare(&info.name);
            let name = match rows {
                _ if is_nameless && files.len() > 1 => {
                    if rows == Rows::Tables {
                        file.name.clone()
                    } else {
                        "table".to_owned()
                    }
                }
                Rows::Tables if files.len() > 1 => format!("{}:{own}", file.name),
                _ => own.to_owned(),
            };
            found.names.push(name.clone());
            if !filter.keeps(&name) {
                found.filtered += 1;
                continue;
            }
            match table(info) {
                Ok(layer) => {
                    let source = Arc::new(file.source.alone(layer.clone()));
                    let table = Table { source, layer: Arc::new(layer) };
                    all.entry(printable(&name)).or_default().push((at, info, table));
                }
                Err(why) => found.skipped.push(info.skipped(SkipKind::Plain, why)),
            }
        }
    }
    if rows == Rows::Means {
        for tables in all.values() {
            let tables: Vec<(usize, &Layer)> =
                tables.iter().map(|(at, _, table)| (*at, &*table.layer)).collect();
            check_alike(files, &tables, |layer| layer.cols)?;
        }
    }
    let groups = all.into_iter().flat_map(|(name, tables)| match rows {
        Rows::Means => vec![(name, tables)],
        // Two tensors of one file may share a name but for its ending.
        _ => tables.into_iter().map(|table| (name.clone(), vec![table])).collect(),
    });
    let groups: Vec<_> = groups.collect();
    let names: Vec<(String, String)> =
        groups.iter().map(|(name, tables)| (name.clone(), printable(&tables[0].1.name))).collect();
    let names = distinct(&names, &BTreeSet::new());
    for ((_, tables), name) in groups.into_iter().zip(names) {
        found.rows.push(row(name, tables.into_iter().map(|(at, _, table)| (at, table)).collect()));
    }
    found.rows.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
    Ok(found)
}

/// Refuses samples of one thing that differ in what `size` says.
fn check_alike<S: PartialEq>(
    files: &[TableFile],
    tables: &[(usize, &Layer)],
    size: impl Fn(&Layer) -> S,
) -> Result<(), Error> {
    let Some((first, one)) = tables.first() else { return Ok(()) };
    let Some((at, other)) = tables.iter().find(|(_, other)| size(other) != size(one)) else { return Ok(()) };
    let path = files[*at].roots.first().map_or_else(|| Path::new(""), |path| path.as_path());
    let reason = format!(
        "is {} × {} here and {} × {} in `{}`: means are over samples of one model",
        other.rows, other.cols, one.rows, one.cols, files[*first].name
    );
    Err(Error::tensor(path, &other.tensor, reason))
}

fn row(name: String, tables: Vec<(usize, Table)>) -> TableRow {
    let mut layer = Layer::clone(&tables[0].1.layer);
    layer.name = name.into();
    (layer.block, layer.role) = place_of(&layer.name);
    TableRow { layer: Arc::new(layer), tables }
}

/// A tensor as samples × features, or why it is not a table.
fn table(info: &TensorInfo) -> Result<Layer, String> {
    let Element::Float(dtype) = info.element else {
        return Err(format!("{} is not a float type", info.element.name()));
    };
    match info.shape.as_slice() {
        shape if shape.contains(&0) => Err("empty".to_owned()),
        [] => Err("a single number".to_owned()),
        [_] => Err("1-D".to_owned()),
        [samples @ .., features] => {
            let rows = samples.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
            Ok(info.as_matrix((rows.ok_or("too large")?, *features), dtype))
        }
    }
}

/// Every matrix as its weight has it, a sample a file.
///
/// # Errors
/// When one has another shape in another file: then the files are of different models.
pub(super) fn gradients(files: &[TableFile], filter: &Filter) -> Result<FoundTables, Error> {
    let mut found = FoundTables::default();
    let mut all: BTreeMap<String, Vec<(usize, Table)>> = BTreeMap::new();
    for (at, file) in files.iter().enumerate() {
        let Selection { layers, skipped, filtered } = file.source.select(filter);
        for layer in layers {
            let table = Table { source: Arc::clone(&file.source), layer: Arc::clone(&layer) };
            all.entry(layer.name.to_string()).or_default().push((at, table));
        }
        found.skipped.extend(skipped.into_iter().map(Arc::unwrap_or_clone));
        found.filtered = found.filtered.max(filtered);
        let named = |layer: Arc<Layer>| (layer.name.to_string(), layer);
        let named: BTreeMap<String, Arc<Layer>> =
            file.source.select(&Filter::default()).layers.into_iter().map(named).collect();
        found.names.extend(named.keys().cloned());
        found.by_name.push(named);
    }
    for tables in all.values() {
        let tables: Vec<(usize, &Layer)> = tables.iter().map(|(at, table)| (*at, &*table.layer)).collect();
        check_alike(files, &tables, |layer| (layer.rows, layer.cols))?;
    }
    // The same tensor of every sample is skipped once.
    let mut seen = BTreeSet::new();
    found.skipped.retain(|line| seen.insert(line.tensor.clone()));
    found.rows = all.into_iter().map(|(name, tables)| row(name, tables)).collect();
    found.rows.sort_by(|a, b| natural(&a.layer.name, &b.layer.name));
    Ok(found)
}
