//! A template: checked as its file is loaded, and rendered as a run needs it, with fuel and limits as always.
//!
//! What a run brings (params, outputs, what triggered it) holds a mark of a secret here. None may come out:
//! only the template's author says where a secret goes.
#![no_main]

use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use jiff::Zoned;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use trunkline::definition::{
    RenderContext, Templates,
    template::{
        OUTPUT_BYTES_MAX,
        check::{Names, check},
        sole_expression,
        vocabulary::Place,
    },
};
use trunkline_fuzz::PIPELINE;
use trunkline_tasks::secrets::mark::{Mark, SENTINEL, has_marks};

static TEMPLATES: LazyLock<Templates> = LazyLock::new(|| Templates::for_pipeline(&PIPELINE));
static CONTEXT: LazyLock<RenderContext> = LazyLock::new(|| {
    let start: Zoned = "2026-11-19T00:00[America/New_York]".parse().expect("a moment");
    let end: Zoned = "2026-11-20T00:00[America/New_York]".parse().expect("a moment");
    let object = |value: Value| value.as_object().cloned().expect("an object");
    let evil = Mark::of("token").to_string();
    RenderContext {
        logical_date: start.clone(),
        interval: Some((start, end)),
        params: object(
            json!({ "n": 10, "day": "2026-02-28", "list": [1, "a", evil], "text": evil, "map": { evil.clone(): 1 } }),
        ),
        vars: Arc::new(IndexMap::from([("bucket".to_owned(), json!("cdr-raw"))])),
        run: object(
            json!({ "id": "0190", "name": "daily@2026-11-19", "key": evil, "generation": 1, "attempt": 2 }),
        ),
        item: Some((3, json!({ "key": evil }))),
        outputs: object(json!({ "x": { "rows": 7, "text": evil }, "y": { "rows": [[1, 2], [3, 4]] } })),
        trigger: json!({ "type": "s3", "objects": [{ "key": evil, evil.clone(): 1 }] }),
        error: Some(json!({ "task": "x", "message": evil, "class": "job", "code": "E", "attempt": 1 })),
        links: Some(json!({ "console": "https://console" })),
    }
});

fuzz_target!(|text: &str| {
    let environments = [("local", vec!["bucket"])];
    let secrets = [("local", vec!["token"])];
    let names = Names {
        data_interval: true,
        params: &["n", "day", "list", "text", "map"],
        environments: &environments,
        secrets: Some(&secrets),
        place: Place::Element,
        links: &[],
        trigger: &["objects"],
        shared: false,
    };
    for fault in check(text, &names).faults {
        assert!(fault.span.start <= fault.span.end && fault.span.end <= text.len(), "{fault:?}");
    }
    let _ = sole_expression(text);
    let Ok(value) = TEMPLATES.render(&Value::from(text), &CONTEXT) else { return };
    let length = value.as_str().map_or_else(|| value.to_string().len(), str::len);
    // A text that is no template is as long as it is.
    assert!(length <= OUTPUT_BYTES_MAX.max(text.len()), "{length} bytes");
    // The author may name a secret, or write the character in one of several ways.
    let by_author = text.contains("secrets") || text.contains(SENTINEL) || text.contains(['\\', '%']);
    assert!(by_author || !has_marks(&value), "{value}");
});
