//! Reports read back: those kept from schema 1, any that could be written, and the keys and rules that are said of them.

use std::{fs, path::Path};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value as Json, json};
use svdkit::analysis::columns;
use svdkit::gate::{Clause, Day, Gate, MissingPolicy, Rule};
use svdkit::layer::Filter;
use svdkit::metric::METRICS;
use svdkit::render::{self, Experts, Formulas, Layout, OutputFormat, Overflow, Paint, TableStyle, Unchanged};
use svdkit::report::{
    Aspect, Column, ColumnKey, Comparison, Flag, Intruders, Measurements, MissingReason, Offender, Outcome,
    Report, Row, SCHEMA, Severity, SkipKind, Skipped, SkippedContent, Source, SourceFile, Standing, Totals,
    Unlisted, Update, Value, Verdict, Word,
};

const COMMANDS: [&str; 5] = ["spectrum", "compare", "rank", "farms", "intruders"];

fn read(json: &Json) -> Result<Report, String> {
    Report::read(json.as_object().unwrap().clone(), &columns::of_report)
}

fn written(report: &Report) -> Vec<u8> {
    let style = TableStyle {
        limit: None,
        offenders: 10,
        width: 80,
        columns: vec![],
        overflow: Overflow::Drop,
        layout: Layout::Flat,
        paint: Paint::Plain,
        unchanged: Unchanged::Shown,
        experts: Experts::Apart,
        formulas: Formulas::Defused,
    };
    let mut bytes = vec![];
    render::write(report, OutputFormat::Json, &style, &mut bytes).unwrap();
    bytes
}

/// What `report` looks like after it was written and read, and that it is then written as it was.
#[track_caller]
fn reread(report: &Report) -> Report {
    let bytes = written(report);
    let read = read(&serde_json::from_slice(&bytes).unwrap()).unwrap();
    assert!(written(&read) == bytes, "{}", String::from_utf8_lossy(&bytes));
    read
}

fn remove(from: &mut Json, key: &str) {
    from.as_object_mut().unwrap().remove(key);
}

/// The reports of schema 1, by file name.
fn kept() -> Vec<(String, Json)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/reports");
    let json = |path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), json(entry.path()));
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

#[test]
fn a_report_of_schema_1_keeps_its_numbers_reasons_and_verdicts() {
    assert!(kept().len() > 10);
    for (name, old) in kept() {
        let report = read(&old).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((report.schema, reread(&report) == report), (SCHEMA, true), "{name}");
        let foreign = report.columns.iter().find(|column| column.source.is_empty());
        assert_eq!(foreign, None, "{name}");
        let new: Json = serde_json::from_slice(&written(&report)).unwrap();
        let rows = |report: &Json| -> Vec<Json> {
            ["rows", "groups"].iter().filter_map(|key| report[key].as_array()).flatten().cloned().collect()
        };
        assert_eq!(rows(&old).len(), rows(&new).len(), "{name}");
        for (old, new) in rows(&old).iter().zip(rows(&new)) {
            for (key, value) in old.as_object().unwrap() {
                match key.as_str() {
                    "missing" => {
                        for (key, words) in value.as_object().unwrap() {
                            assert_eq!(new["missing"][key]["text"], *words, "{name}: {key}");
                        }
                    }
                    "missing_codes" => {
                        for (key, code) in value.as_object().unwrap() {
                            assert_eq!(new["missing"][key]["code"], *code, "{name}: {key}");
                        }
                    }
                    "flags" => {
                        let codes = new["flags"].as_array().unwrap().iter().map(|flag| &flag["code"]);
                        assert!(codes.eq(value.as_array().unwrap()), "{name}");
                    }
                    _ => assert_eq!(new[key], *value, "{name}: {key}"),
                }
            }
        }
        for (old, new) in old["verdicts"].as_array().into_iter().flatten().zip(&report.verdicts) {
            assert_eq!(old["findings"].as_array().map_or(0, Vec::len), new.offenders.len(), "{name}");
            assert_eq!(old["worst"].as_str(), new.worst.as_deref(), "{name}");
        }
        for key in ["model", "base", "settings", "columns", "skipped", "totals", "notes"] {
            assert_eq!(old.get(key), new.get(key), "{name}: {key}");
        }
    }
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    for (name, old) in kept() {
        let report = read(&old).unwrap();
        let mut later: Json = serde_json::from_slice(&written(&report)).unwrap();
        later["omens"] = json!([{ "name": "raven", "level": "dire" }]);
        for row in later["rows"].as_array_mut().unwrap() {
            row["kind"] = json!("head");
            let mut flags = row["flags"].as_array().cloned().unwrap_or_default();
            flags.push(json!({ "code": "of_tomorrow", "text": "?" }));
            row["flags"] = json!(flags);
        }
        assert_eq!(read(&later).unwrap(), report, "{name}");
    }
}

#[test]
fn a_report_that_makes_no_sense_is_refused() {
    let (_, whole) = kept().into_iter().find(|(name, _)| name == "zeros.json").unwrap();
    let check = |damage: &dyn Fn(&mut Json), part: &str| {
        let mut damaged = whole.clone();
        damage(&mut damaged);
        let error = read(&damaged).unwrap_err();
        assert!(error.contains(part), "{error}");
    };
    let mut enough = whole.clone();
    remove(&mut enough["model"], "files");
    remove(&mut enough["totals"], "tied");
    assert!(read(&enough).is_ok());
    check(&|report| remove(&mut report["totals"], "filtered"), "missing field `filtered`");
    check(&|report| remove(report, "columns"), "missing field `columns`");
    check(&|report| remove(report, "totals"), "missing field `totals`");
    check(&|report| report["columns"][0] = json!("a b"), "`a b` is not a name of a column");
    check(&|report| report["settings"]["noise"] = json!(3), "setting `noise` is not a text");
    check(&|report| report["command"] = json!("\u{1b}[2J"), "is not a word of svdkit");
    check(&|report| remove(&mut report["rows"][0], "alpha"), "lacks the number `alpha`");
    check(&|report| report["rows"][0]["alpha"] = json!("2"), "lacks the number `alpha`");
    check(&|report| report["rows"][0]["alpha"] = Json::Null, "`alpha` is missing without a known reason");
    check(&|report| report["rows"][0]["shape"] = json!([1]), "row ");
    check(&|report| report["rows"][1] = report["rows"][0].clone(), "two rows are called");
}

#[test]
fn every_key_of_a_comparison_is_parsed_as_it_is_printed() {
    let sides = [None, Some("full"), Some("a.b-c_d"), Some("x#2"), Some("_base")];
    for metric in COMMANDS.iter().flat_map(|command| columns::metrics_of(command)) {
        for (aspect, _) in Aspect::ALL {
            let of_steps = Aspect::OF_STEPS.contains(&aspect);
            for side in sides.into_iter().filter(|s| s.is_none() || !(of_steps || aspect == Aspect::Base)) {
                let key = ColumnKey { metric, aspect, side };
                let text = key.to_string();
                let exists = aspect == Aspect::Value || of_steps || !metric.is_of_a_pair();
                assert_eq!(ColumnKey::parse(&text, [metric]), exists.then_some(key), "{text}");
                let meant = columns::meaning(&text).map(|key| (key.metric.key, key.aspect, key.side));
                assert_eq!(meant, exists.then_some((metric.key, aspect, side)), "{text}");
            }
        }
    }
}

/// A name, a path or a remark, as odd as a file may have it.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,4}(\\.[0-9]{1,2})?(\\.[a-z_]{1,8})?",
        "\\PC{0,12}",
        "[\\x00-\\x1f\u{202e}\"\\\\]{0,4}"
    ]
}

/// A word of the program.
fn word() -> impl Strategy<Value = Word> {
    prop::sample::select(vec![Word::from("lora"), Word::from("svdkit report"), Word::from("")])
}

fn number() -> impl Strategy<Value = Value> {
    let reason = prop::sample::select(MissingReason::ALL);
    prop_oneof![
        any::<u64>().prop_map(Value::Count),
        any::<f64>().prop_map(Value::real),
        reason.prop_map(Value::Missing)
    ]
}

fn source() -> impl Strategy<Value = Source> {
    let files = prop::collection::vec((text(), any::<u64>()), 0..3);
    (text(), word(), prop::option::of(text()), files).prop_map(|(path, format, commit, files)| {
        let files = files.into_iter().map(|(name, bytes)| SourceFile { name, bytes }).collect();
        Source { path, format, commit, files }
    })
}

fn comparison() -> impl Strategy<Value = Comparison> {
    let standings =
        vec![Standing::Measured, Standing::Unchanged, Standing::Added, Standing::Removed, Standing::Failed];
    let standing = prop::sample::select(standings);
    (standing, prop::option::of(any::<[u64; 2]>()), prop::option::of(text()), prop::option::of(text()))
        .prop_map(|(status, base_shape, base_dtype, base_blake3)| Comparison {
            status,
            base_shape,
            base_dtype,
            base_blake3,
        })
}

fn update() -> impl Strategy<Value = Update> {
    let scale = prop::option::of(any::<f64>().prop_filter("a number", |x| x.is_finite()));
    (word(), scale, prop::option::of(any::<u64>()), prop::collection::vec(text(), 0..3))
        .prop_map(|(kind, scale, rank, tensors)| Update { kind, scale, rank, tensors, flags: vec![] })
}

fn row(columns: Vec<&'static Column>) -> impl Strategy<Value = Row> {
    let names = (text(), text(), text(), text());
    let kept = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
    let shapes = (
        any::<[u64; 2]>(),
        prop::option::of(prop::collection::vec(any::<u64>(), 0..4)),
        any::<Option<u64>>(),
    );
    let flags = prop::collection::vec(prop::sample::select(Flag::ALL), 0..3);
    let parts = (prop::option::of(update()), prop::option::of(comparison()), flags);
    let intruders = prop::option::of(prop::collection::vec(any::<u64>(), 0..3));
    let values = prop::collection::vec(number(), columns.len());
    (names, kept, shapes, parts, intruders, values).prop_map(
        move |(
            (name, tensor, role, dtype),
            (dequant, blake3, failed),
            (shape, stored_shape, block),
            parts,
            intruders,
            values,
        )| {
            let (update, comparison, flags) = parts;
            // What failed has no numbers.
            let values = columns.iter().copied().zip(values).filter(|_| failed.is_none()).collect();
            Row {
                name: name.into(),
                tensor: tensor.into(),
                role: role.into(),
                dtype: dtype.into(),
                dequant,
                blake3,
                failed,
                shape,
                stored_shape,
                block,
                update: update.map(Box::new),
                comparison: comparison.map(Box::new),
                flags,
                values: Measurements(values).into(),
                intruders: intruders.map(|indices| Box::new(Intruders { indices, ..Intruders::default() })),
                ..Row::default()
            }
        },
    )
}

fn skipped() -> impl Strategy<Value = Skipped> {
    let kinds = vec![SkipKind::Plain, SkipKind::Unpaired, SkipKind::Refused];
    let content = prop::option::of((text(), any::<Option<u64>>()));
    let shape = prop::collection::vec(any::<u64>(), 0..4);
    let whys = (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()));
    (text(), shape, text(), text(), prop::sample::select(kinds), content, whys).prop_map(
        |(tensor, shape, dtype, reason, kind, content, (unseen, failed, scales))| {
            let content = content.map(|(blake3, nonfinite_count)| SkippedContent { blake3, nonfinite_count });
            let [tensor, dtype, reason] = [tensor, dtype, reason].map(Into::into);
            Skipped { tensor, shape, dtype, reason, kind, content, unseen, failed, scales }
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let outcomes = [Outcome::Pass, Outcome::Accepted, Outcome::Inconclusive, Outcome::Fail];
    let outcome = || prop::sample::select(outcomes.to_vec());
    let reason = prop::option::of(prop::sample::select(MissingReason::ALL));
    let offender = (prop::option::of(text()), outcome(), text(), reason, prop::option::of(text()));
    let offender = offender.prop_map(|(matrix, outcome, what, missing, note)| {
        let step = None;
        Offender { matrix, outcome, what, missing, note, step }
    });
    (text(), outcome(), any::<[u64; 5]>(), prop::collection::vec(offender, 0..3), prop::option::of(text()))
        .prop_map(|(rule, outcome, [broken, missing, inconclusive, accepted, hidden], offenders, worst)| {
            Verdict {
                key: if hidden % 3 == 0 { rule.clone() } else { String::new() },
                rule,
                severity: if hidden % 2 == 0 { Severity::Error } else { Severity::Warn },
                outcome,
                broken,
                missing,
                missing_reasons: (missing > 0).then(|| ("no_tail".to_owned(), missing)).into_iter().collect(),
                inconclusive,
                accepted,
                hidden,
                remarks: worst.iter().cloned().collect(),
                worst,
                offenders,
            }
        })
}

fn report() -> impl Strategy<Value = Report> {
    let names = prop::collection::btree_set(0..METRICS.len(), 0..5);
    let sides = prop::sample::select(&[None, Some("full"), Some("x#2")][..]);
    let aspects = prop::sample::select(&Aspect::ALL[..]);
    let columns = (names, sides, aspects).prop_map(|(metrics, side, (aspect, _))| -> Vec<&'static Column> {
        let column = |i: usize| {
            ColumnKey { metric: &METRICS[i].column, aspect: Aspect::Value, side }.of(aspect).column()
        };
        metrics.into_iter().map(column).collect()
    });
    let rows =
        columns.prop_flat_map(|columns| (Just(columns.clone()), prop::collection::vec(row(columns), 0..4)));
    let sources = (source(), prop::option::of(source()));
    let rest = (prop::collection::vec(skipped(), 0..3), prop::collection::vec(verdict(), 0..3), text());
    (rows, sources, rest).prop_map(|((columns, mut rows), (model, base), (skipped, verdicts, note))| {
        // Names are keys.
        rows.iter_mut().enumerate().for_each(|(i, row)| row.name = format!("{}{i}", row.name).into());
        Report {
            schema: SCHEMA,
            svdkit: "9.9.9".into(),
            command: "compare".into(),
            model,
            base,
            tuned: vec![],
            settings: vec![("names".into(), "svdkit".to_owned()), ("noise".into(), note.clone())],
            columns,
            rows,
            skipped,
            totals: Totals { measured: 3, ..Totals::default() },
            groups: vec![],
            notes: vec![note],
            summary: None,
            findings: vec![],
            findings_unchecked: vec![],
            verdicts,
            unlisted: Unlisted::default(),
            steps: vec![],
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_report_is_read_as_it_was_written(report in report()) {
        prop_assert_eq!(reread(&report), report);
    }

    #[test]
    fn a_rule_means_what_it_says(
        (operator, number, value) in (0..6usize, 0..4u32, 0..4u64),
        (glob, percent, blanks) in (prop::sample::select(&["", "a*", "*:b", "z"][..]), any::<bool>(), any::<bool>()),
    ) {
        let (word, holds): (&str, fn(f64, f64) -> bool) = [
            ("<", (|x, y| x < y) as fn(f64, f64) -> bool),
            ("<=", |x, y| x <= y),
            (">", |x, y| x > y),
            (">=", |x, y| x >= y),
            ("==", |x, y| x.total_cmp(&y).is_eq()),
            ("!=", |x, y| x.total_cmp(&y).is_ne()),
        ][operator];
        let metric = METRICS.iter().map(|metric| &metric.column).find(|column| column.key == "numerical_rank").unwrap();
        // Of a change, whose number may be a percentage.
        let key = ColumnKey { metric, aspect: Aspect::Change, side: Some("a.b") };
        let column = key.column();
        let shown = if percent { format!("{}%", 100 * number) } else { number.to_string() };
        let space = if blanks { " " } else { "" };
        let glob_text = if glob.is_empty() { String::new() } else { format!("{glob}:{space}") };
        let text = format!("{glob_text}{key}{space}{word}{space}{shown}");
        let rule = Rule::parse(&text, &[column], &[]).unwrap();
        prop_assert_eq!((rule.text(), rule.key()), (text.as_str(), column.key));
        let clause = Clause { rule, severity: Severity::Error, filter: Filter::default(), missing: MissingPolicy::default() };
        let gate = Gate { clauses: vec![clause], accepted: vec![], today: Day { year: 2026, month: 1, day: 1 } };
        let values = Measurements(vec![(column, Value::Count(value))]).into();
        let row = Row { name: "a:b".into(), values, ..Row::default() };
        let source = Source { path: String::new(), format: "".into(), commit: None, files: vec![] };
        let report = Report {
            schema: SCHEMA, svdkit: "".into(), command: "compare".into(), model: source, base: None, tuned: vec![],
            settings: vec![], columns: vec![column], rows: vec![row], skipped: vec![], totals: Totals::default(),
            groups: vec![], notes: vec![], summary: None, findings: vec![], findings_unchecked: vec![],
            verdicts: vec![], unlisted: Unlisted::default(), steps: vec![],
        };
        match gate.judge(&report) {
            Ok(verdicts) => {
                let expected = if holds(value as f64, f64::from(number)) { Outcome::Fail } else { Outcome::Pass };
                prop_assert_eq!((glob == "z", verdicts[0].outcome), (false, expected));
            }
            Err(error) => prop_assert!(glob == "z", "{}", error),
        }
    }
}
