//! Parquet says what the CSV says, with types; a build without it says so before it works.

use std::path::Path;
use std::process::Output;

use super::harness::program;

const BASE: &str = "fixtures/charlm/base";

fn svdkit(arguments: &[&str], folder: &Path, outputs: &[&str]) -> Output {
    let mut command = program();
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    for output in outputs {
        command.arg("-o").arg(folder.join(output));
    }
    command.output().unwrap()
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_what_to_do_before_it_works() {
    let folder = tempfile::tempdir().unwrap();
    let output = svdkit(&["spectrum", BASE], folder.path(), &["report.parquet"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("build with `--features parquet`, or write .csv"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(output.stdout.is_empty());
    assert!(folder.path().read_dir().unwrap().next().is_none());
}

#[cfg(feature = "parquet")]
mod written {
    use std::fs::{self, File};
    use std::path::Path;

    use parquet::basic::Type;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    use super::{BASE, svdkit};

    /// The header and the lines of a Parquet file, written as the CSV writes them.
    fn read(path: &Path) -> Vec<Vec<String>> {
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr();
        let mut lines = vec![schema.columns().iter().map(|column| column.name().to_owned()).collect()];
        let cell = |field: &Field| match field {
            Field::Null => String::new(),
            Field::Str(text) => text.clone(),
            Field::Long(n) => n.to_string(),
            Field::Double(x) => serde_json::to_string(x).unwrap(),
            other => panic!("{other:?}"),
        };
        for row in reader.get_row_iter(None).unwrap() {
            lines.push(row.unwrap().get_column_iter().map(|(_, field)| cell(field)).collect());
        }
        lines
    }

    fn assert_same_as_csv(arguments: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let output = svdkit(arguments, folder.path(), &["report.parquet", "report.csv"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let csv = fs::read_to_string(folder.path().join("report.csv")).unwrap();
        let mut csv = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_bytes());
        let csv: Vec<Vec<String>> =
            csv.records().map(|line| line.unwrap().iter().map(str::to_owned).collect()).collect();
        assert!(csv.len() > 2);
        assert_eq!(read(&folder.path().join("report.parquet")), csv, "{arguments:?}");
    }

    #[test]
    fn every_cell_is_that_of_the_csv() {
        assert_same_as_csv(&["spectrum", BASE]);
        assert_same_as_csv(&["spectrum", BASE, "--names", "weightwatcher"]);
        assert_same_as_csv(&["rank", "fixtures/charlm/full", "--base", BASE, "--energy", "0.8"]);
        assert_same_as_csv(&["compare", BASE, "fixtures/charlm/lora-r4"]);
    }

    #[test]
    fn columns_have_the_types_of_what_they_hold_even_where_all_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let named = format!("parquet={}", path.display());
        svdkit(&["spectrum", BASE, "--include", "lm_head", "-o", &named], folder.path(), &[]);
        let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let schema = reader.metadata().file_metadata().schema_descr();
        let of = |name: &str| schema.columns().iter().find(|column| column.name() == name).unwrap();
        let types =
            ["reason", "block", "rows", "numerical_rank", "alpha"].map(|name| of(name).physical_type());
        assert_eq!(types, [Type::BYTE_ARRAY, Type::INT64, Type::INT64, Type::INT64, Type::DOUBLE]);
        assert_eq!(of("block").max_def_level(), 1, "can be null");
    }
}
