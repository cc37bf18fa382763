//! `tests.yaml`: what is wrong is said at its place, the schema fits the reader, and scripted
//! cases go through the core as runs do.

use std::fs;

use trunkline::{
    definition::{
        Diagnostics, Operators,
        cases::{Case, load_cases, load_cases_text, schema::cases_schema_text},
        load_text,
    },
    engine::rehearsal::rehearse,
    project::{LOCAL, load},
    service::cases::{Line, Seen, compare},
};
use trunkline_state::pipeline::Pipeline;

use crate::{fixture, shipped::update};

/// A pipeline with a schedule over a change of the clock, a parameter, retries that take long, a
/// person, a task that reads another's output.
const PIPELINE: &str = r#"
name: daily
owner: someone
schedule: "30 2 * * *"
timezone: Europe/Paris
start_date: 2026-01-01
data_interval: day
params: { workers: { type: integer, default: 10, minimum: 2 } }
defaults: { retries: 2, retry_delay: 10m }
tasks:
  extract: { type: glue_job, job: "{{ vars.etl_job }}", number_of_workers: "{{ params.workers }}", arguments: { --date: "{{ ds }}" }, timeout: 1h }
  allow: { type: approval, message: Publish?, depends_on: extract, retries: 0 }
  publish: { type: sqs_send, queue: "{{ vars.raw_bucket }}", body: "{{ tasks.extract.outputs.rows }} rows", depends_on: [extract, allow] }
  tidy: { type: noop, depends_on: publish, trigger_rule: all_done, when: "{{ params.workers > 2 }}" }
on_success: [{ sns: "{{ vars.topic }}", subject: "done: {{ ds }}" }]
on_failure: [{ sns: "{{ vars.topic }}" }]
on_retry: [{ sns: "{{ vars.topic }}", subject: "again: {{ error.task }}" }]
on_warning: [{ sns: "{{ vars.topic }}", subject: "look: {{ ds }}", message: "look here: {{ links.console }}", min_count: 2 }]
"#;

fn pipeline() -> Pipeline {
    let registry = fixture::registry();
    let mut loaded =
        load_text("pipeline.yaml", PIPELINE.as_bytes(), &fixture::scope(), &Operators::new(&registry));
    assert_eq!(loaded.diagnostics.render(false), "");
    loaded.pipelines.remove(0).pipeline
}

#[test]
fn every_broken_file_of_tests_says_what_is_wrong_and_where() {
    let folder = fixture::repository().join("orchestrator/tests/definition/broken_cases");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 12, "{} files", files.len());
    let pipeline = pipeline();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder.join("messages"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut out = Diagnostics::default();
        let text = fs::read(&file).expect("the file");
        let cases = load_cases_text(&pipeline, &format!("{name}.yaml"), &text, &mut out);
        assert!(out.has_errors() && cases.is_empty(), "{name} is not broken");
        out.sort();
        settings.bind(|| insta::assert_snapshot!(name.as_str(), out.render(false)));
    }
}

#[test]
fn the_committed_schema_of_tests_is_current() {
    let text = cases_schema_text();
    let file = fixture::repository().join("docs/tests-schema.json");
    if update() {
        fs::write(&file, &text).expect("written");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == text, "docs/tests-schema.json is stale: run the test with UPDATE_DOCS=1");
}

#[test]
fn every_shipped_pipeline_has_tests_that_load_fit_the_schema_and_pass() {
    let registry = fixture::registry();
    let schema = serde_json::from_str(&cases_schema_text()).expect("JSON");
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let root = fixture::repository();
    let (project, loaded) = load(&root, LOCAL, &|_| None, &registry);
    for entry in &loaded.pipelines {
        let name = &entry.pipeline.name;
        let mut out = Diagnostics::default();
        let cases = load_cases(entry, &project.root, &mut out);
        assert_eq!(out.render(false), "");
        assert!(cases.iter().any(|case| case.sandbox) && cases.len() >= 3, "{name} has too few tests");
        let bytes = fs::read(entry.folder.join("tests.yaml")).expect("the file");
        let value = trunkline::definition::tree::parse(&bytes).root.expect("a tree").to_json();
        let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        for case in cases.iter().filter(|case| !case.sandbox) {
            let seen = Seen::of_rehearsal(&entry.pipeline, rehearse(&entry.pipeline, case, &registry));
            let mismatches = compare(case, &seen);
            assert!(mismatches.is_empty(), "{name}, {}: {mismatches:#?}", case.name.value);
        }
    }
}

fn cases(text: &str) -> (Pipeline, Vec<Case>) {
    let pipeline = pipeline();
    let mut out = Diagnostics::default();
    let cases = load_cases_text(&pipeline, "tests.yaml", text.as_bytes(), &mut out);
    assert_eq!(out.render(false), "");
    (pipeline, cases)
}

/// What does not come as the only case of a file expects, as lines.
fn verdict(text: &str) -> Vec<String> {
    let (pipeline, cases) = cases(text);
    let case = cases.first().expect("a case");
    let seen = Seen::of_rehearsal(&pipeline, rehearse(&pipeline, case, &fixture::registry()));
    let lines = compare(case, &seen).into_iter().flat_map(|mismatch| {
        let place = text[..mismatch.span.start].matches('\n').count() + 1;
        let first = format!("{place}: {}", mismatch.what);
        let rest = mismatch.lines.into_iter().map(|line| match line {
            Line::Expected(text) => format!("- {text}"),
            Line::Seen(text) => format!("+ {text}"),
            Line::Note(text) => format!("  {text}"),
        });
        std::iter::once(first).chain(rest).collect::<Vec<_>>()
    });
    lines.collect()
}

fn passes(text: &str) {
    let verdict = verdict(text);
    assert!(verdict.is_empty(), "{verdict:#?}");
}

#[test]
fn outputs_reach_later_tasks_and_everything_that_is_not_named_succeeds() {
    passes(
        "cases:\n  all well:\n    date: 2026-11-19\n    params: { workers: 4 }\n    \
         answers: { extract: { outputs: { rows: 7 } } }\n    \
         expect:\n      run: succeeded\n      tasks:\n        \
         extract: { request: { StartJobRun: { NumberOfWorkers: 4, Arguments: { --date: 2026-11-19 } } } }\n        \
         publish: { state: succeeded, request: { SendMessage: { MessageBody: 7 rows } } }\n        \
         tidy: succeeded\n      \
         notices: [{ on: success, subject: \"done: 2026-11-19\" }]\n",
    );
}

#[test]
fn what_an_earlier_task_did_not_leave_is_an_error_of_the_later_one() {
    passes(
        "cases:\n  no rows:\n    date: 2026-11-19\n    expect:\n      run: failed\n      tasks:\n        \
         publish: { state: failed, class: config, attempts: 1, error: rows }\n        tidy: succeeded\n",
    );
}

#[test]
fn retries_of_ten_minutes_take_no_time_and_are_told_of() {
    passes(
        "cases:\n  twice:\n    date: 2026-11-19\n    answers:\n      extract:\n        - fails: out of memory\n        \
         - { fails: { class: capacity, message: no room }, throttled: 3 }\n        - outputs: { rows: 1 }\n    \
         expect:\n      run: succeeded\n      tasks: { extract: { attempts: 3 } }\n      notices:\n        \
         - { on: retry, subject: \"again: extract\", contains: [out of memory, attempt 1 of 3] }\n        \
         - { on: retry, contains: no room }\n        - on: success\n",
    );
}

#[test]
fn a_job_that_hangs_is_stopped_by_its_timeout() {
    passes(
        "cases:\n  hangs:\n    date: 2026-11-19\n    answers: { extract: { takes: 2h } }\n    \
         expect:\n      run: failed\n      tasks:\n        \
         extract: { state: failed, attempts: 3, class: timeout, error: \"3600s, the task's timeout\" }\n",
    );
}

#[test]
fn a_person_says_no_and_a_condition_says_no() {
    passes(
        "cases:\n  no:\n    date: 2026-11-19\n    params: { workers: 2 }\n    \
         answers: { extract: { outputs: { rows: 1 } }, allow: { rejected: true } }\n    \
         expect:\n      run: failed\n      tasks: { allow: failed, publish: upstream_failed, tidy: skipped }\n      \
         notices: [{ on: failure, contains: allow }]\n",
    );
}

#[test]
fn warnings_are_counted() {
    passes(
        "cases:\n  two warnings:\n    date: 2026-11-19\n    answers: { extract: { outputs: { rows: 1 }, warnings: [one file is empty, another too] } }\n    \
         expect:\n      run: succeeded\n      tasks: { extract: { warnings: [empty, another] } }\n      \
         notices: [{ on: success }, { on: warning, subject: \"look: 2026-11-19\", contains: look here, lacks: could not be rendered }]\n",
    );
}

#[test]
fn the_clock_that_jumps_is_the_schedules_business() {
    // At 02:30 on 29 March 2026 there is no such time in Paris: the fire comes at 03:00.
    passes(
        "cases:\n  gap:\n    fire: \"2026-03-29 03:00\"\n    answers: { extract: { outputs: { rows: 1 } } }\n    \
         expect: { run: succeeded, key: 2026-03-28, covers: 2026-03-28 00:00 }\n",
    );
}

#[test]
fn each_expectation_that_is_not_met_is_shown_with_its_place() {
    let shown = verdict(
        "cases:\n  wrong:\n    date: 2026-11-19\n    answers: { extract: { fails: boom } }\n    expect:\n      \
         run: succeeded\n      key: 2026-11-20\n      tasks:\n        extract:\n          attempts: 1\n          \
         class: timeout\n          error: bang\n          request: { StartJobRun: { Arguments: { --date: x }, Gone: 1 } }\n        \
         publish: succeeded\n      notices:\n        - { on: failure, subject: nothing, count: 2 }\n",
    );
    insta::assert_snapshot!(shown.join("\n"));
}
