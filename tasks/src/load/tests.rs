//! What is refused before anything is read. The rest is tried end to end in `tests/python/test_extract_and_load.py`.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn load() -> Load {
    Load::new(&Options::for_looking())
}

fn prepared(settings: Value) -> Result<Request, Failure> {
    let config: LoadConfig = serde_json::from_value(settings).unwrap();
    let cx = PrepareContext {
        attempt_id: Uuid::from_u128(1),
        pipeline: "p",
        run: "p@2026-11-19",
        task: "t",
        environment: "local",
        connection: "aws",
        timeout: Duration::from_secs(30),
        previous: None,
        generation: 1,
    };
    load().prepare(&config, &cx)
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_place() {
    for (table, expected) in [
        (
            json!({ "table": "a.b.c", "from": "s3://b/k", "mode": "append" }),
            "tables[0].table: `a.b.c` names no table",
        ),
        (json!({ "table": "t", "from": "b/k", "mode": "append" }), "tables[0].from: `b/k` is no address"),
        (json!({ "table": "t", "from": "s3://b/k", "mode": "upsert" }), "tables[0].mode: upsert needs `key`"),
        (
            json!({ "table": "t", "from": "s3://b/k", "mode": "merge", "key": ["id"] }),
            "tables[0].mode: merge needs `newest`",
        ),
        (
            json!({ "table": "t", "from": "s3://b/k", "mode": "append", "key": ["id"] }),
            "tables[0].key: append has no use for it",
        ),
        (
            json!({ "table": "t", "from": "s3://b/k", "mode": "replace_partition" }),
            "tables[0].mode: replace_partition needs `partition`",
        ),
    ] {
        let refused = prepared(json!({ "url": "postgresql://h/d", "tables": [table] })).unwrap_err();
        assert!(refused.message.starts_with(expected), "{}", refused.message);
    }
    let refused = prepared(json!({ "url": "postgresql://a:hidden@h/d", "tables": [] })).unwrap_err();
    assert!(refused.message.starts_with("url: it holds a password") && !refused.message.contains("hidden"));
    let refused = prepared(json!({
        "url": "postgresql://h/d",
        "tables": [{ "table": "t", "from": [], "mode": "append" }],
        "advance_watermark": { "name": "shop", "to": { "t": 7 } }
    }));
    let refused = refused.unwrap_err().message;
    assert!(refused.starts_with("advance_watermark.to.t: it is not what `extract` leaves"), "{refused}");
}

#[test]
fn what_is_read_is_what_iam_must_allow() {
    let tables = json!([
        { "table": "a", "from": ["s3://raw/a/1.jsonl", "s3://raw/a/2.jsonl"], "mode": "append" },
        { "table": "b", "from": "s3://old/b/", "mode": "append" }
    ]);
    let request = prepared(json!({ "url": "postgresql://h/d", "tables": tables })).unwrap();
    let needs = load().needs(&request, &Place::new("us-east-1", "111122223333")).unwrap();
    let resources: Vec<&String> = needs.statements.iter().flat_map(|one| &one.resources).collect();
    assert_eq!(
        resources,
        [
            "arn:aws:s3:::raw",
            "arn:aws:s3:::old",
            "arn:aws:s3:::raw/a/1.jsonl",
            "arn:aws:s3:::raw/a/2.jsonl",
            "arn:aws:s3:::old/b/*"
        ]
    );
}
