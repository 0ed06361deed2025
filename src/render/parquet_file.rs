//! Parquet: the lines of the CSV with a type for each column, in one row group; missing values are null.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::flat::{self, Cell, CellType};
use crate::report::Report;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let lines: Vec<Vec<Cell<'_>>> = flat::lines(report).collect();
    let columns: Vec<(&str, CellType)> = flat::columns(report)
        .enumerate()
        .map(|(at, (name, kind))| (name, held(kind, lines.iter().map(|line| &line[at]))))
        .collect();
    let fields = columns.iter().map(|(name, kind)| field(name, *kind)).collect::<Result<_, _>>()?;
    let schema = Type::group_type_builder("report").with_fields(fields).build()?;
    let writer = concat!("svdkit version ", env!("CARGO_PKG_VERSION"));
    let properties = WriterProperties::builder().set_created_by(writer.to_owned()).build();
    // A page must be known before it is written, so the file is made in memory.
    let mut file = SerializedFileWriter::new(vec![], Arc::new(schema), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (at, (_, kind)) in columns.iter().enumerate() {
        let Some(mut column) = group.next_column()? else { break };
        let cells = lines.iter().map(|line| &line[at]);
        match kind {
            CellType::Text => fill::<ByteArrayType>(&mut column, cells.map(words))?,
            CellType::Count => fill::<Int64Type>(&mut column, cells.map(whole))?,
            CellType::Real => fill::<DoubleType>(&mut column, cells.map(real))?,
        }
        column.close()?;
    }
    group.close()?;
    out.write_all(&file.into_inner()?)
}

/// A column of counts that does not fit its type holds doubles: a saved report may bring such numbers in.
fn held<'a>(kind: CellType, mut cells: impl Iterator<Item = &'a Cell<'a>>) -> CellType {
    let fits = |cell: &Cell<'_>| *cell == Cell::Empty || whole(cell).is_some();
    if kind == CellType::Count && !cells.all(fits) { CellType::Real } else { kind }
}

fn field(name: &str, kind: CellType) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match kind {
        CellType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        CellType::Count => (Physical::INT64, None),
        CellType::Real => (Physical::DOUBLE, None),
    };
    let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
    Ok(Arc::new(field.with_repetition(Repetition::OPTIONAL).build()?))
}

fn fill<T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    cells: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let cells: Vec<Option<T::T>> = cells.collect();
    let present: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
    let values: Vec<T::T> = cells.into_iter().flatten().collect();
    column.typed::<T>().write_batch(&values, Some(&present), None).map(|_| ())
}

fn words(cell: &Cell<'_>) -> Option<ByteArray> {
    if let Cell::Text(text) = cell { Some(text.as_ref().into()) } else { None }
}

fn whole(cell: &Cell<'_>) -> Option<i64> {
    if let Cell::Count(n) = cell { i64::try_from(*n).ok() } else { None }
}

fn real(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Count(n) => Some(*n as f64),
        Cell::Real(x) => Some(*x),
        Cell::Empty | Cell::Text(_) => None,
    }
}
