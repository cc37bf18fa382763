//! What is refused before anything is read. The rest is tried end to end in `tests/python/test_extract_and_load.py`.

use serde_json::{Value, json};

use super::*;

fn refused(change: &Value) -> String {
    let mut settings = json!({
        "url": "postgresql://h/d",
        "tables": [{ "table": "public.sale", "since": "changed" }],
        "to": "s3://raw/shop/",
        "watermark": { "url": "postgresql://h/w", "name": "shop" }
    });
    for (key, value) in change.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let config: ExtractConfig = serde_json::from_value(settings).unwrap();
    check(&config).map_or_else(|failure| failure.message, |()| String::new())
}

#[test]
fn settings_that_make_no_sense_are_refused_with_their_place() {
    assert_eq!(refused(&json!({})), "");
    for (change, expected) in [
        (json!({ "to": "s3://raw/shop" }), "to: `s3://raw/shop` is no folder"),
        (json!({ "to": "raw/" }), "to: `raw/` is no address"),
        (json!({ "tables": [] }), "tables: 0 of them"),
        (
            json!({ "tables": [{ "table": "a" }, { "table": "x.a" }] }),
            "tables[1].table: two tables are named a",
        ),
        (json!({ "tables": [{ "table": "a", "columns": ["b\""] }] }), "tables[0]: `b\"` names no column"),
        (json!({ "watermark": null }), "tables[0].since: say where it stands how far was read"),
        (json!({ "watermark": { "url": "postgresql://h/w", "name": " " } }), "watermark.name: it is empty"),
        (json!({ "tables": [{ "table": "a" }], "overlap": "10m" }), "overlap: no table has `since`"),
    ] {
        let message = refused(&change);
        assert!(message.starts_with(expected), "{message}");
    }
    let message = refused(&json!({ "watermark": { "url": "postgresql://a:hidden@h/w", "name": "shop" } }));
    assert!(
        message.starts_with("watermark.url: it holds a password") && !message.contains("hidden"),
        "{message}"
    );
}
