//! Rendering: types, dates, limits.

use serde_json::json;

use super::*;

fn context() -> RenderContext {
    let start: Zoned = "2026-11-19T00:00[America/New_York]".parse().unwrap();
    let end: Zoned = "2026-11-20T00:00[America/New_York]".parse().unwrap();
    let object = |value: Value| value.as_object().cloned().unwrap();
    RenderContext {
        logical_date: start.clone(),
        interval: Some((start, end)),
        params: object(json!({ "workers": 10, "day": "2026-02-28", "list": [1, "a"] })),
        vars: Arc::new(IndexMap::from([("bucket".to_owned(), json!("cdr-raw"))])),
        run: object(json!({ "id": "0190", "name": "daily@2026-11-19", "key": "2026-11-19" })),
        item: None,
        outputs: object(json!({ "convert": { "rows": 7 } })),
        trigger: json!({ "kind": "schedule" }),
        error: None,
        links: None,
    }
}

fn render(text: &str) -> Result<Value, RenderError> {
    let templates = Templates { environment: environment(), tasks: HashSet::new() };
    templates.render(&json!(text), &context())
}

#[test]
fn a_sole_expression_keeps_its_type() {
    assert_eq!(render("{{ params.workers }}"), Ok(json!(10)));
    assert_eq!(render("{{ params.list }}"), Ok(json!([1, "a"])));
    assert_eq!(render("{{- params.workers + 1 -}}"), Ok(json!(11)));
    assert_eq!(render("{{ params.workers }}{{ params.workers }}"), Ok(json!("1010")));
    assert_eq!(render("{{ params.workers }}-x"), Ok(json!("10-x")));
    assert_eq!(render("{{ tasks.convert.outputs.rows }}"), Ok(json!(7)));
    assert_eq!(render("{{ data_interval_end }}"), Ok(json!("2026-11-20T00:00:00-05:00")));
}

#[test]
fn dates_have_methods_and_text_dates_have_them_too() {
    assert_eq!(render("{{ ds }}/{{ ds_nodash }}"), Ok(json!("2026-11-19/20261119")));
    assert_eq!(render("{{ ts }}"), Ok(json!("2026-11-19T00:00:00-05:00")));
    assert_eq!(render("{{ data_interval_start.strftime('%Y/%m/%d') }}"), Ok(json!("2026/11/19")));
    assert_eq!(render("{{ data_interval_start.in_tz('UTC').hour }}"), Ok(json!(5)));
    assert_eq!(render("{{ ds.add('1d') }}"), Ok(json!("2026-11-20")));
    assert_eq!(render("{{ ds.add(months=-1).strftime('%Y-%m') }}"), Ok(json!("2026-10")));
    assert_eq!(render("{{ params.day.add(days=1) }}"), Ok(json!("2026-03-01")));
    assert_eq!(render("{{ ds.subtract('1d') }}"), Ok(json!("2026-11-18")));
    assert!(render("{{ ds.add('soon') }}").is_err());
    assert!(render("{{ ds.add(days=99999999999) }}").is_err());
    assert!(render("{{ ds.add(days=-9223372036854775807 - 1) }}").is_err());
    assert!(render("{{ logical_date.in_tz('Mars/Base') }}").is_err());
    assert!(render("{{ vars.bucket.strftime('%Y') }}").unwrap_err().message.contains("is no date"));
}

#[test]
fn unknown_names_and_missing_values_are_errors() {
    for text in [
        "{{ nope }}",
        "{{ params.nope }}",
        "x {{ params.nope }}",
        "{{ error.message }}",
        "{{ tasks.other.outputs.x }}",
    ] {
        assert!(render(text).is_err(), "{text}");
    }
}

#[test]
fn steps_and_output_are_bounded() {
    let slow = render("{% for a in range(1000) %}{% for b in range(1000) %}{{ b }}{% endfor %}{% endfor %}");
    assert!(slow.unwrap_err().message.contains("too many steps"));
    let long = render("{% for a in range(1000) %}{{ 'x' * 1000 }}{% endfor %}");
    assert!(long.unwrap_err().message.contains("longer than"));
    assert!(render("{{ 'x' * 300000 }}").is_err());
}

#[test]
fn errors_name_the_setting() {
    let templates = Templates { environment: environment(), tasks: HashSet::new() };
    let settings = json!({ "arguments": { "--date": "{{ dss }}" } });
    let error = templates.render(&settings, &context()).unwrap_err();
    assert_eq!(error.path, "arguments.--date");
}

#[test]
fn text_without_templates_is_left_alone() {
    let settings = json!({ "a": "{ not one }", "b": [true, null] });
    let templates = Templates { environment: environment(), tasks: HashSet::new() };
    assert_eq!(templates.render(&settings, &context()), Ok(settings));
    assert_eq!(render("ends with a line break {{ ds }}\n"), Ok(json!("ends with a line break 2026-11-19\n")));
}

#[test]
fn a_notice_reads_its_error_and_links() {
    let mut cx = context();
    cx.error = Some(json!({ "task": "convert", "message": "no such column" }));
    cx.links = Some(json!({ "console": "https://console", "report": "https://s3" }));
    let templates = Templates { environment: environment(), tasks: HashSet::new() };
    let render = |text: &str, cx: &RenderContext| templates.render_text(text, cx);
    assert_eq!(
        render("{{ error.task }}: {{ links.console }} {{ links.report }}", &cx),
        Ok("convert: https://console https://s3".to_owned())
    );
    cx.links = Some(json!({}));
    assert_eq!(render("[{{ links.console }}]", &cx), Ok("[]".to_owned()));
}
