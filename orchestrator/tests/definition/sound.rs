//! Sound files: what comes out of them.

use std::time::Duration;

use serde_json::json;
use trunkline::definition::{Operators, load_text};
use trunkline_state::pipeline::{Catchup, Pipeline, TriggerRule};

use crate::fixture;

fn load(text: &str) -> Pipeline {
    let registry = fixture::registry();
    let mut loaded = load_text("p.yaml", text.as_bytes(), &fixture::scope(), &Operators::new(&registry));
    assert_eq!(loaded.diagnostics.render(false), "");
    loaded.pipelines.remove(0).pipeline
}

#[test]
fn what_is_not_said_has_the_documented_meaning() {
    let pipeline = load("name: a\ntasks: { one: { type: noop } }\n");
    assert_eq!(
        (pipeline.timezone.as_str(), pipeline.catchup, pipeline.max_active_runs),
        ("UTC", Catchup::Last, 1)
    );
    assert!(pipeline.calendar.is_none() && pipeline.run_timeout.is_none());
    let task = &pipeline.tasks[0];
    assert_eq!((task.connection.as_str(), task.trigger_rule), ("aws", TriggerRule::AllSuccess));
    assert_eq!((task.retry.retries, task.retry.delay), (0, Duration::from_mins(1)));
    assert!(task.timeout > Duration::ZERO);
    assert_eq!(task.settings, json!({}));
}

#[test]
fn a_task_is_stronger_than_defaults() {
    let pipeline = load(
        "name: a\ndefaults: { retries: 2, retry_delay: 5m, timeout: 1h }\ntasks:\n  one: { type: noop }\n  \
         two: { type: noop, retries: 0, timeout: 90s }\n",
    );
    let [one, two] = &pipeline.tasks[..] else { panic!("two tasks") };
    assert_eq!((one.retry.retries, one.timeout), (2, Duration::from_hours(1)));
    assert_eq!(
        (two.retry.retries, two.retry.delay, two.timeout),
        (0, Duration::from_mins(5), Duration::from_secs(90))
    );
}

#[test]
fn tasks_stand_in_topological_order_and_otherwise_as_in_the_file() {
    let pipeline = load(
        "name: a\ntasks:\n  last: { type: noop, depends_on: [b, a] }\n  b: { type: noop }\n  a: { type: noop, depends_on: b }\n  \
         other: { type: noop }\n",
    );
    let names: Vec<&str> = pipeline.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["b", "a", "last", "other"]);
    for (position, task) in pipeline.tasks.iter().enumerate() {
        assert!(task.depends_on.iter().all(|upstream| *upstream < position));
    }
    assert_eq!(pipeline.tasks[2].depends_on, [0, 1]);
}

#[test]
fn values_are_what_was_written() {
    let pipeline = load(
        "name: a\ntasks:\n  one:\n    type: glue_job\n    job: 012345678901\n    number_of_workers: 4\n    \
         arguments: { --account: 012345678901, --rate: 1.10, --flag: yes, --on: true, --n: 7, --date: \"{{ ds }}\" }\n",
    );
    assert_eq!(
        pipeline.tasks[0].settings,
        json!({
            "job": "012345678901",
            "number_of_workers": 4,
            "arguments": {
                "--account": "012345678901", "--rate": "1.10", "--flag": "yes", "--on": true, "--n": 7, "--date": "{{ ds }}"
            }
        })
    );
}

#[test]
fn a_trigger_is_stored_with_its_vars_and_its_params_as_templates() {
    let pipeline = load(
        "name: a\ndefaults: { connection: events }\nparams: { objects: { type: array } }\ntriggers:\n  \
         - s3: { queue: \"{{ vars.topic }}-events\", prefix: in/, exclude: [in/configs/] }\n    \
         batch: { max: 100, window: 60s }\n    params: { objects: \"{{ trigger.objects }}\" }\n\
         tasks: { one: { type: noop, outputs: { n: \"{{ trigger.objects | length }}\" } } }\n",
    );
    let stored = serde_json::to_value(&pipeline.triggers).unwrap();
    assert_eq!(
        stored,
        json!([{
            "s3": { "queue": "value-events", "connection": "events", "prefix": "in/", "suffix": "", "exclude": ["in/configs/"] },
            "batch": { "max": 100, "window": { "secs": 60, "nanos": 0 } },
            "params": { "objects": "{{ trigger.objects }}" },
        }])
    );
    let connections: Vec<&String> = pipeline.connections.keys().collect();
    assert_eq!(connections, ["events"], "the way to the queue belongs to the version");
    let without = load("name: a\ntasks: { one: { type: noop } }\n");
    assert!(
        serde_json::to_value(&without).unwrap().get("triggers").is_none(),
        "other versions stay as they are"
    );
}

#[test]
fn a_pipeline_may_come_after_others() {
    let pipeline = load(
        "name: a\ndata_interval: day\ntriggers:\n  - pipeline: crawl\n  - pipeline: { name: b, on: done }\n    \
         params: { by: \"{{ trigger.pipeline }}\" }\nparams: { by: { type: string, default: x } }\n\
         tasks: { one: { type: noop, outputs: { n: \"{{ trigger.run.key }}\" } } }\n",
    );
    let stored = serde_json::to_value(&pipeline.triggers).unwrap();
    assert_eq!(
        stored,
        json!([
            { "pipeline": { "name": "crawl", "on": "success" } },
            { "pipeline": { "name": "b", "on": "done" }, "params": { "by": "{{ trigger.pipeline }}" } },
        ])
    );
}

#[test]
fn a_pipeline_may_write_datasets_and_wait_for_others() {
    let pipeline = load(
        "name: a\ntriggers:\n  - dataset: [\"S3://{{ vars.topic }}/in/\", plain, plain]\n  - dataset: { any: x }\n    \
         params: { of: \"{{ trigger.datasets[0].run }}\" }\nparams: { of: { type: string, default: x } }\n\
         tasks: { one: { type: noop, outlets: out/one }, two: { type: noop, outlets: [\"{{ vars.topic }}:2\", b] } }\n",
    );
    let stored = serde_json::to_value(&pipeline.triggers).unwrap();
    assert_eq!(
        stored,
        json!([
            { "dataset": { "all": ["s3://value/in/", "plain"] } },
            { "dataset": { "any": ["x"] }, "params": { "of": "{{ trigger.datasets[0].run }}" } },
        ])
    );
    let outlets: Vec<&[String]> = pipeline.tasks.iter().map(|task| task.outlets.as_slice()).collect();
    assert_eq!(outlets, [&["out/one".to_owned()][..], &["value:2".to_owned(), "b".to_owned()][..]]);
    let without = load("name: a\ntasks: { one: { type: noop } }\n");
    let stored = serde_json::to_value(&without.tasks).unwrap();
    assert!(stored[0].get("outlets").is_none(), "other versions stay as they are");
}

#[test]
fn equal_files_are_one_version_and_another_setting_is_another() {
    let text =
        |value: u32| format!("name: a\ntasks: {{ one: {{ type: noop, outputs: {{ n: {value} }} }} }}\n");
    assert_eq!(load(&text(1)).content_hash(), load(&format!("# comment\n{}", text(1))).content_hash());
    assert_ne!(load(&text(1)).content_hash(), load(&text(2)).content_hash());
}
