use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;

/// Files in memory.
struct Files(Vec<Vec<(&'static str, Vec<u8>)>>);

impl Source for Files {
    fn open(
        &self,
        input: usize,
        file: usize,
    ) -> BoxFuture<'static, Result<Content, Box<dyn std::error::Error + Send + Sync>>> {
        let (name, bytes) = self.0[input][file].clone();
        Box::pin(async move {
            if name == "gone" {
                return Err("gone: there is no such file".into());
            }
            Ok(Content::Memory(bytes))
        })
    }
}

fn column(text: &str) -> Column {
    let (name, rest) = text.split_once(' ').unwrap();
    let hive_type = rest.trim_end_matches('!');
    Column { name: name.to_owned(), hive_type: hive_type.to_owned(), required: rest.ends_with('!') }
}

fn input(name: &str, format: InputFormat, columns: &[&str], files: &[(&'static str, &str)]) -> Input {
    Input {
        name: name.to_owned(),
        format,
        columns: columns.iter().map(|text| column(text)).collect(),
        files: files.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}

fn output(query: &str, format: FileFormat, partition_by: &[&str]) -> Output {
    let partition_by = partition_by.iter().map(|key| (*key).to_owned()).collect();
    Output { name: "out".to_owned(), query: query.to_owned(), format, partition_by }
}

fn contents(files: &[&[(&'static str, &str)]]) -> Arc<dyn Source> {
    // A byte that is no UTF-8 is written as a character that no test needs.
    let plain = |text: &str| text.split('\u{fffd}').map(str::as_bytes).collect::<Vec<_>>().join(&0xff);
    let bytes = |(name, text): &(&'static str, &str)| (*name, plain(text));
    Arc::new(Files(files.iter().map(|files| files.iter().map(bytes).collect()).collect()))
}

async fn run_in(
    scratch: &Path,
    transformation: &Transformation,
    source: Arc<dyn Source>,
) -> Result<Report, TransformError> {
    run(transformation, source, scratch, 64 * 1024 * 1024).await
}

/// What came of it as text: counts, files with their contents, and what did not fit. Rows of a partition have no order.
fn shown(transformation: &Transformation, report: &Report) -> String {
    let mut text = format!("records {:?}\n", report.records);
    for (output, files) in transformation.outputs.iter().zip(&report.outputs) {
        for file in files {
            let values: Vec<_> = file.values.iter().map(|value| value.as_deref().unwrap_or("null")).collect();
            writeln!(text, "-- {} {values:?} {} rows", output.name, file.rows).unwrap();
            if output.format != FileFormat::Parquet {
                let body = std::fs::read_to_string(&file.path).unwrap();
                let mut lines: Vec<_> = body.lines().collect();
                if !output.partition_by.is_empty() {
                    lines[1..].sort_unstable();
                }
                writeln!(text, "{}", lines.join("\n")).unwrap();
            }
        }
    }
    if let Some(rejected) = &report.rejected {
        writeln!(text, "-- {} rejected, such as {}", rejected.count, rejected.example).unwrap();
        let lines = std::fs::read_to_string(&rejected.path).unwrap();
        let mut lines: Vec<_> = lines.lines().collect();
        lines.sort_unstable();
        text.push_str(&lines.join("\n"));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_fit_go_on_and_others_are_kept_aside() {
    let files: &[(&str, &str)] = &[
        (
            "a",
            "{\"Id\":1,\"Who\":{\"Name\":\"Zoë\"},\"At\":\"2026-11-19T10:00:00Z\"}{\"id\":\"two\"}\n{\"id\":3}",
        ),
        ("b", "{\"id\":null,\"who\":{}}\n{\"id\": 4,\nnonsense\n{\"id\":5,\"more\":[1]}\n{\"id\":"),
        ("empty", ""),
    ];
    let transformation = Transformation {
        inputs: vec![input(
            "people",
            InputFormat::Json,
            &["id int!", "who struct<name:string>", "at timestamp"],
            files,
        )],
        outputs: vec![output(
            "SELECT id AS \"Id\", who.name, uuid5('url', who.name) AS person, at, _file, _record FROM people ORDER BY id",
            FileFormat::Json,
            &[],
        )],
        sets_aside: true,
    };
    check(&transformation).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let report = run_in(folder.path(), &transformation, contents(&[files])).await.unwrap();
    insta::assert_snapshot!(shown(&transformation, &report));

    let mut strict = Transformation { sets_aside: false, ..transformation };
    strict.inputs[0].files.truncate(1);
    let refused = run_in(folder.path(), &strict, contents(&[files])).await.unwrap_err();
    assert_eq!(refused.to_string(), "a: record 2: column id: \"two\" is not an int: {\"id\":\"two\"}");
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_is_read_by_its_names_and_written_in_partitions() {
    let files: &[(&str, &str)] = &[
        ("a.csv", "Amount;day;note\n1.50;2026-11-19;\"x;y\"\nmany;2026-11-19;\n;2026-11-20;z\n1;2\n"),
        ("b.csv", "\u{feff}day;amount\n2026-11-20;7\n2026-13-01;8\n2026-11-\u{fffd};9\n"),
        ("none.csv", ""),
    ];
    let lists: &[(&str, &str)] = &[("days", "[{\"day\":\"2026-11-19\",\"open\":true}]")];
    let transformation = Transformation {
        inputs: vec![
            input(
                "sale",
                InputFormat::Csv { delimiter: b';' },
                &["amount decimal(9,2)", "day date!", "note string"],
                files,
            ),
            input("days", InputFormat::Json, &["day date", "open boolean"], lists),
        ],
        outputs: vec![
            output(
                "SELECT s.amount, s.note, d.open, s.day FROM sale s LEFT JOIN days d ON s.day = d.day ORDER BY amount",
                FileFormat::Csv,
                &["day"],
            ),
            output(
                "SELECT count(*) AS n, sum(amount) AS total, NULL AS nothing FROM sale",
                FileFormat::Json,
                &[],
            ),
        ],
        sets_aside: true,
    };
    let folder = tempfile::tempdir().unwrap();
    let report = run_in(folder.path(), &transformation, contents(&[files, lists])).await.unwrap();
    insta::assert_snapshot!(shown(&transformation, &report));
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_goes_there_and_back_without_columns() {
    let lines: String = (0..20_000).map(|at| format!("{{\"id\":{at},\"tag\":\"t{}\"}}", at % 3)).collect();
    let files: &[(&str, &str)] = &[("lines", &lines)];
    let folder = tempfile::tempdir().unwrap();
    let first = Transformation {
        inputs: vec![input("t", InputFormat::Json, &["id bigint", "tag string"], files)],
        outputs: vec![output("SELECT * FROM t", FileFormat::Parquet, &["tag"])],
        sets_aside: false,
    };
    let report = run_in(&folder.path().join("1"), &first, contents(&[files])).await;
    let written = &report.unwrap().outputs[0];
    assert_eq!(written.iter().map(|file| file.rows).sum::<usize>(), 20_000);
    let names = ["0", "1", "2", "broken"];
    let mut bytes: Vec<_> = written.iter().map(|file| std::fs::read(&file.path).unwrap()).collect();
    bytes.push(b"PAR1 is how it begins".to_vec());
    let mut second = Transformation {
        inputs: vec![Input {
            name: "t".to_owned(),
            format: InputFormat::Parquet,
            columns: Vec::new(),
            files: names.map(str::to_owned).to_vec(),
        }],
        outputs: vec![output("SELECT count(*) AS n, sum(id) AS s FROM t", FileFormat::Json, &[])],
        sets_aside: true,
    };
    let source = || Arc::new(Files(vec![names.into_iter().zip(bytes.clone()).collect()]));
    let refused = run_in(&folder.path().join("2"), &second, source()).await.unwrap_err().to_string();
    assert_eq!(refused, "inputs.t: two columns are named _file");
    second.inputs[0].columns = vec![column("id bigint!")];
    let report = run_in(&folder.path().join("3"), &second, source()).await.unwrap();
    let shown = shown(&second, &report);
    assert!(shown.contains("{\"n\":20000,\"s\":199990000}"), "{shown}");
    let rejected = report.rejected.unwrap();
    assert_eq!(rejected.count, 1);
    assert!(rejected.example.starts_with("broken: Parquet error"), "{}", rejected.example);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_before_anything_is_read() {
    let mut told = BTreeMap::new();
    for (columns, query, keys) in [
        ("id int", "SELECT idd FROM t", &[][..]),
        ("id int", "SELECT id FROM missing", &[]),
        ("id int", "SELECT id FROM", &[]),
        ("id int", "DELETE FROM t", &[]),
        ("id int", "SELECT string_agg(id) FROM t", &[]),
        ("id int", "SELECT id, id FROM t", &[]),
        ("id int", "SELECT id FROM t", &["day"]),
        ("id uuid", "SELECT id FROM t", &[]),
        ("_file string", "SELECT 1 AS x FROM t", &[]),
    ] {
        let files: &[(&str, &str)] = &[("gone", "")];
        let transformation = Transformation {
            inputs: vec![input("t", InputFormat::Json, &[columns], files)],
            outputs: vec![output(query, FileFormat::Json, keys)],
            sets_aside: false,
        };
        let error = check(&transformation).unwrap_err().to_string();
        let folder = tempfile::tempdir().unwrap();
        let ran = run_in(folder.path(), &transformation, contents(&[files])).await.unwrap_err();
        assert_eq!(ran.to_string(), error);
        told.insert(format!("{columns}: {query} {keys:?}"), error);
    }
    insta::assert_debug_snapshot!(told);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_ends_it() {
    let files: &[(&str, &str)] = &[("a", "{\"id\":1}"), ("gone", "")];
    let transformation = Transformation {
        inputs: vec![input("t", InputFormat::Json, &["id int"], files)],
        outputs: vec![output("SELECT id FROM t", FileFormat::Json, &[])],
        sets_aside: true,
    };
    let folder = tempfile::tempdir().unwrap();
    let failed = run_in(folder.path(), &transformation, contents(&[files])).await.unwrap_err();
    assert_eq!(failed.to_string(), "gone: there is no such file");
}
