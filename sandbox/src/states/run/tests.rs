//! Whole walks without tasks: what each state gives, which variables it sees, and that a walk which is made again
//! from any part of its history ends the same.

use std::path::Path;

use super::*;
use crate::states::record::MachineKind;

const SEED: Uuid = Uuid::from_u128(7);

fn run(backend: &Arc<Backend>, journal: &Path, definition: &Value, input: &Value) -> Run {
    let record = ExecutionRecord {
        arn: "arn:aws:states:us-east-1:000000000000:execution:m:e".to_owned(),
        name: "e".to_owned(),
        machine: "m".to_owned(),
        machine_arn: "arn:aws:states:us-east-1:000000000000:stateMachine:m".to_owned(),
        kind: MachineKind::Standard,
        definition: definition.to_string(),
        role_arn: "r".to_owned(),
        region: "us-east-1".to_owned(),
        input: input.to_string(),
        status: Status::Running,
        started: Timestamp::UNIX_EPOCH,
        stopped: None,
        output: None,
        error: None,
        cause: None,
        seed: SEED,
        redrives: 0,
        redriven: None,
        redrive_tokens: Vec::new(),
    };
    let machine = Machine::parse(&record.definition).unwrap();
    let journal = Journal::open(journal).unwrap();
    Run { backend: Arc::clone(backend), journal, record, machine, stop: CancellationToken::new() }
}

/// The output, or the error with its cause.
async fn walked(definition: &Value, input: &Value) -> Result<Value, Failure> {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::of_folder(&folder.path().join("root")).await;
    let end = run(&backend, &folder.path().join("e.jsonl"), definition, input).perform().await.unwrap();
    match end.output {
        Some(text) => Ok(serde_json::from_str(&text).unwrap()),
        None => Err(end.failure.unwrap()),
    }
}

/// A machine of states that follow each other as they are written.
fn chain(language: &str, states: &[(&str, Value)]) -> Value {
    let mut described = Map::new();
    for (index, (name, state)) in states.iter().enumerate() {
        let mut state = state.clone();
        let ends = ["Choice", "Succeed", "Fail"].iter().any(|kind| state["Type"] == *kind);
        match states.get(index + 1) {
            _ if ends || !state["Next"].is_null() => {}
            Some((next, _)) => state["Next"] = (*next).into(),
            None => state["End"] = true.into(),
        }
        described.insert((*name).to_owned(), state);
    }
    json!({ "QueryLanguage": language, "StartAt": states[0].0, "States": described })
}

fn inside(states: &[(&str, Value)]) -> Value {
    let mut machine = chain("", states);
    machine.as_object_mut().unwrap().shift_remove("QueryLanguage");
    machine
}

#[tokio::test]
async fn all_expressions_of_a_state_see_the_variables_of_its_entry() {
    let definition = chain(
        "JSONata",
        &[
            ("A", json!({ "Type": "Pass", "Assign": { "x": 3, "a": 6 } })),
            (
                "B",
                json!({ "Type": "Pass", "Assign": { "x": "{% $a %}", "next": "{% $x %}" }, "Output": "{% $x %}" }),
            ),
            ("C", json!({ "Type": "Pass", "Output": ["{% $states.input %}", "{% $x %}", "{% $next %}"] })),
        ],
    );
    assert_eq!(walked(&definition, &json!({})).await, Ok(json!([3, 6, 3])));
}

#[tokio::test]
async fn a_choice_assigns_and_gives_what_its_rule_says() {
    let choice = json!({
        "Type": "Choice", "Default": "End", "Assign": { "way": "default" }, "Output": { "default": true },
        "Choices": [
            { "Condition": "{% $states.input.n > 5 %}", "Assign": { "way": "large" }, "Output": "{% $states.input.n %}", "Next": "End" },
            { "Condition": "{% $states.input.n = 0 %}", "Next": "End" },
        ],
    });
    let end = json!({ "Type": "Succeed", "Output": ["{% $states.input %}", "{% $exists($way) ? $way : 'none' %}"] });
    let definition = chain("JSONata", &[("Pick", choice), ("End", end)]);
    for (input, expected) in [
        (json!({ "n": 7 }), json!([7, "large"])),
        (json!({ "n": 0 }), json!([{ "n": 0 }, "none"])),
        (json!({ "n": 1 }), json!([{ "default": true }, "default"])),
    ] {
        assert_eq!(walked(&definition, &input).await, Ok(expected), "{input}");
    }
    let failure = walked(&definition, &json!({ "n": "text" })).await.unwrap_err();
    assert_eq!(failure.error, "States.QueryEvaluationError");
    assert!(failure.cause.contains("field 'Choices[0]/Condition' threw an error"), "{}", failure.cause);
}

#[tokio::test]
async fn branches_and_iterations_keep_their_variables() {
    let iteration = inside(&[
        ("One", json!({ "Type": "Pass", "Assign": { "own": "{% $states.input.v * $factor %}" } })),
        ("Two", json!({ "Type": "Pass", "Output": { "own": "{% $own %}", "at": "{% $states.input.at %}" } })),
    ]);
    let branch = |value: u64| {
        inside(&[
            ("P", json!({ "Type": "Pass", "Assign": { "own": value } })),
            ("Q", json!({ "Type": "Pass", "Output": "{% $own + $factor + $states.input %}" })),
        ])
    };
    let rename = |mut machine: Value, to: &str| {
        let text = machine
            .to_string()
            .replace("\"P\"", &format!("\"P{to}\""))
            .replace("\"Q\"", &format!("\"Q{to}\""));
        machine = serde_json::from_str(&text).unwrap();
        machine
    };
    let definition = chain(
        "JSONata",
        &[
            ("Set", json!({ "Type": "Pass", "Assign": { "factor": 10, "list": [1, 2] } })),
            (
                "Each",
                json!({
                    "Type": "Map", "Items": "{% $list %}", "MaxConcurrency": "{% $count($list) %}",
                    "ItemSelector": {
                        "v": "{% $states.context.Map.Item.Value %}", "at": "{% $states.context.Map.Item.Index %}",
                        "of": "{% $states.input.n %}",
                    },
                    "ItemProcessor": iteration, "Assign": { "each": "{% $states.result.own %}" },
                    "Output": "{% $states.result[0] %}",
                }),
            ),
            (
                "Both",
                json!({
                    "Type": "Parallel", "Arguments": 5, "Branches": [branch(1), rename(branch(2), "2")],
                    "Output": { "both": "{% $states.result %}", "before": "{% $states.input %}", "each": "{% $each %}" },
                }),
            ),
        ],
    );
    let expected = json!({ "both": [16, 17], "before": { "own": 10, "at": 0 }, "each": [10, 20] });
    assert_eq!(walked(&definition, &json!({ "n": 1 })).await, Ok(expected));
}

#[tokio::test]
async fn a_failure_is_caught_with_variables_and_output() {
    let broken = inside(&[("Break", json!({ "Type": "Fail", "Error": "{% $name %}", "Cause": "it broke" }))]);
    let definition = chain(
        "JSONata",
        &[
            ("Set", json!({ "Type": "Pass", "Assign": { "name": "Custom.Bad" } })),
            (
                "Both",
                json!({
                    "Type": "Parallel", "Branches": [broken], "Next": "End",
                    "Catch": [{
                        "ErrorEquals": ["Custom.Bad"], "Next": "End",
                        "Assign": { "cause": "{% $states.errorOutput.Cause %}" },
                        "Output": { "was": "{% $states.errorOutput.Error %}", "input": "{% $states.input %}" },
                    }],
                }),
            ),
            ("End", json!({ "Type": "Pass", "Output": "{% $merge([$states.input, {'cause': $cause}]) %}" })),
        ],
    );
    let expected = json!({ "was": "Custom.Bad", "input": { "n": 1 }, "cause": "it broke" });
    assert_eq!(walked(&definition, &json!({ "n": 1 })).await, Ok(expected));
}

#[tokio::test]
async fn a_failed_evaluation_is_told_once_with_its_state_and_caught() {
    let broken = inside(&[("Break", json!({ "Type": "Pass", "Output": "{% $states.input.none %}" }))]);
    let both = json!({
        "Type": "Parallel", "Branches": [broken], "Next": "End",
        "Catch": [{ "ErrorEquals": ["States.QueryEvaluationError"], "Next": "End" }],
    });
    let definition = chain("JSONata", &[("Both", both), ("End", json!({ "Type": "Succeed" }))]);
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::of_folder(&folder.path().join("root")).await;
    let journal = folder.path().join("e.jsonl");
    let end = run(&backend, &journal, &definition, &json!({})).perform().await.unwrap();
    let cause = "An error occurred while executing the state 'Break' (entered at the event id #4). The JSONata \
                 expression '$states.input.none' specified for the field 'Output' returned nothing (undefined).";
    let output: Value = serde_json::from_str(&end.output.unwrap()).unwrap();
    assert_eq!(output, json!({ "Error": "States.QueryEvaluationError", "Cause": cause }));
    let events = crate::states::journal::read(&journal).unwrap();
    let told: Vec<_> = events.iter().filter(|event| event.kind == "EvaluationFailed").collect();
    assert_eq!(told.len(), 1);
    let expected = json!({
        "error": "States.QueryEvaluationError", "cause": cause, "location": "Output", "state": "Break",
    });
    assert_eq!(told[0].details["evaluationFailedEventDetails"], expected);
}

#[tokio::test]
async fn values_of_another_kind_fail_the_state() {
    for (state, words) in [
        (
            json!({ "Type": "Wait", "Seconds": "{% -1 %}" }),
            "field 'Seconds' returned an unexpected result type",
        ),
        (json!({ "Type": "Wait", "Seconds": "{% 'soon' %}" }), "but was 'string' for value: \"soon\""),
        (
            json!({ "Type": "Wait", "Timestamp": "{% 'noon' %}" }),
            "Timestamp field is no timestamp of RFC 3339: noon",
        ),
        (
            json!({ "Type": "Map", "Items": "{% 1 %}", "ItemProcessor": inside(&[("I", json!({ "Type": "Succeed" }))]) }),
            "Expected 'array', but was 'number' for value: 1",
        ),
        (json!({ "Type": "Fail", "Error": "{% 1 %}" }), "field 'Error' returned an unexpected result type"),
        (
            json!({ "Type": "Pass", "Assign": { "x": { "y": ["{% $none %}"] } } }),
            "field 'Assign/x/y[0]' returned nothing",
        ),
    ] {
        let failure = walked(&chain("JSONata", &[("S", state.clone())]), &json!({})).await.unwrap_err();
        assert_eq!(failure.error, "States.QueryEvaluationError", "{state}");
        assert!(failure.cause.contains(words), "{state}: {}", failure.cause);
    }
}

#[tokio::test]
async fn too_large_a_variable_fails_the_state() {
    let state = json!({ "Type": "Pass", "Assign": { "x": "{% $pad('', 300000) %}" }, "Output": 1 });
    let failure = walked(&chain("JSONata", &[("S", state)]), &json!({})).await.unwrap_err();
    assert_eq!(failure.error, "States.DataLimitExceeded");
}

#[tokio::test]
async fn variables_pass_between_both_languages() {
    let loops = inside(&[(
        "Inner",
        json!({ "Type": "Pass", "Assign": { "sum.$": "States.MathAdd($, $bias)" }, "Parameters": { "sum.$": "$bias" } }),
    )]);
    let definition = chain(
        "JSONPath",
        &[
            (
                "First",
                json!({
                    "Type": "Pass", "Result": { "n": 2 }, "ResultPath": "$.made", "InputPath": "$.in",
                    "Assign": { "from.$": "$.n", "of.$": "$$.Execution.Name", "plain": { "deep.$": "$" }, "bias": 4 },
                }),
            ),
            (
                "Second",
                json!({
                    "Type": "Pass", "QueryLanguage": "JSONata", "Output": { "from": "{% $from %}", "of": "{% $of %}" },
                    "Assign": { "from": "{% $from + 1 %}" },
                }),
            ),
            (
                "Third",
                json!({ "Type": "Pass", "Parameters": { "from.$": "$from", "deep.$": "$plain.deep.n", "was.$": "$.from" } }),
            ),
            (
                "Pick",
                json!({ "Type": "Choice", "Default": "Other", "Choices": [
                { "Variable": "$from", "NumericEqualsPath": "$.from", "Assign": { "picked.$": "$.deep" }, "Next": "Fourth" },
            ] }),
            ),
            (
                "Fourth",
                json!({ "Type": "Pass", "ResultPath": "$.picked", "InputPath": "$picked", "Next": "End" }),
            ),
            ("Other", json!({ "Type": "Map", "ItemsPath": "$.list", "ItemProcessor": loops })),
            ("End", json!({ "Type": "Succeed" })),
        ],
    );
    let expected = json!({ "from": 3, "deep": 2, "was": 2, "picked": 2 });
    assert_eq!(walked(&definition, &json!({ "in": {} })).await, Ok(expected));
}

#[tokio::test]
async fn a_variable_without_value_is_missing_in_a_path() {
    let definition =
        chain("JSONPath", &[("A", json!({ "Type": "Pass", "Parameters": { "x.$": "$none.a" } }))]);
    let failure = walked(&definition, &json!({})).await.unwrap_err();
    assert_eq!(failure.error, "States.ParameterPathFailure");
    assert!(failure.cause.contains("'$none.a'"), "{}", failure.cause);
}

/// Chance and time in every field, variables in branches, a retry and a catcher.
fn definition_with_everything() -> Value {
    let chance = "{% [$uuid(), $random(), $millis()] %}";
    let iteration = inside(&[
        ("One", json!({ "Type": "Pass", "Assign": { "own": chance } })),
        (
            "Pause",
            json!({ "Type": "Wait", "Seconds": "{% $floor($random() * 3) %}", "Assign": { "woken": "{% $now() %}" } }),
        ),
        (
            "Two",
            json!({ "Type": "Pass", "Output": ["{% $own %}", "{% $woken %}", "{% $set %}", "{% $states.input %}"] }),
        ),
    ]);
    let broken = inside(&[("Break", json!({ "Type": "Pass", "Output": "{% $states.input.none %}" }))]);
    chain(
        "JSONata",
        &[
            ("Set", json!({ "Type": "Pass", "Assign": { "set": chance, "n": 0 }, "Output": chance })),
            (
                "Each",
                json!({
                    "Type": "Map", "Items": "{% $shuffle([1..5]) %}", "MaxConcurrency": 2, "ItemProcessor": iteration,
                    "ItemSelector": ["{% $states.context.Map.Item.Value %}", chance],
                    "Assign": { "mapped": "{% $states.result %}", "at": "{% $now() %}" },
                }),
            ),
            (
                "Both",
                json!({
                    "Type": "Parallel", "Branches": [broken], "Next": "Count",
                    "Retry": [{ "ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1 }],
                    "Catch": [{
                        "ErrorEquals": ["States.ALL"], "Next": "Count",
                        "Assign": { "error": "{% $states.errorOutput %}", "again": chance }, "Output": chance,
                    }],
                }),
            ),
            ("Count", json!({ "Type": "Pass", "Assign": { "n": "{% $n + 1 %}" } })),
            (
                "Enough",
                json!({
                    "Type": "Choice", "Default": "Count",
                    "Choices": [{ "Condition": "{% $n >= 3 %}", "Next": "End", "Output": [chance, "{% $n %}"] }],
                }),
            ),
            (
                "End",
                json!({ "Type": "Succeed", "Output": [
                "{% $states.input %}", "{% $set %}", "{% $mapped %}", "{% $at %}", "{% $error %}", "{% $again %}",
            ] }),
            ),
        ],
    )
}

#[tokio::test]
async fn a_walk_that_is_made_again_from_any_part_of_its_history_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::of_folder(&folder.path().join("root")).await;
    let (whole, part) = (folder.path().join("whole.jsonl"), folder.path().join("part.jsonl"));
    let definition = definition_with_everything();
    let first = run(&backend, &whole, &definition, &json!({})).perform().await.unwrap();
    assert_eq!(first.status, Status::Succeeded, "{first:?}");
    let history = std::fs::read_to_string(&whole).unwrap();
    let lines: Vec<&str> = history.split_inclusive('\n').collect();
    assert!(lines.len() > 40, "{}", lines.len());
    for known in (1..lines.len()).rev() {
        std::fs::write(&part, lines[..known].concat()).unwrap();
        let again = run(&backend, &part, &definition, &json!({})).perform().await.unwrap();
        // Times that were not recorded yet are new ones; everything else is as it was.
        let (first, again) = (without_times(&first), without_times(&again));
        assert_eq!(first, again, "after {known} events");
        let events = std::fs::read_to_string(&part).unwrap();
        assert!(events.starts_with(&lines[..known].concat()), "history is never changed");
    }
    std::fs::write(&part, &history).unwrap();
    assert_eq!(run(&backend, &part, &definition, &json!({})).perform().await.unwrap(), first);
}

/// The output with every time made the same.
fn without_times(end: &End) -> String {
    let mut output: Value = serde_json::from_str(end.output.as_deref().unwrap_or_default()).unwrap();
    forget_times(&mut output);
    output.to_string()
}

fn forget_times(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_times),
        Value::Object(members) => members.values_mut().for_each(forget_times),
        Value::Number(number) if number.as_f64().is_some_and(|number| number > 1e12) => *value = 0.into(),
        Value::String(text) if text.parse::<Timestamp>().is_ok() => *value = "".into(),
        Value::String(text) if text.contains("event id #") => *value = "told".into(),
        _ => {}
    }
}

#[test]
fn pauses_between_tries_grow() {
    let mut retrier = Retrier {
        errors: vec!["States.ALL".into()],
        interval_seconds: 2,
        attempts_max: 9,
        backoff: 1.5,
        delay_max_seconds: Some(4),
        jitter: false,
    };
    let dice = Dice::new(Uuid::nil(), "t");
    let pauses: Vec<f64> = (0..3).map(|used| delay(&retrier, used, &dice).as_secs_f64()).collect();
    assert_eq!(pauses, [2.0, 3.0, 4.0]);
    retrier.jitter = true;
    assert!(delay(&retrier, 0, &dice) < Duration::from_secs(2));
    retrier.delay_max_seconds = None;
    assert!(delay(&retrier, 100_000, &dice) > Duration::ZERO, "no pause is too long to be counted");
}
