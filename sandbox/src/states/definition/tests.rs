//! Definitions that are read, and everything that is refused.

use serde_json::json;

use super::*;

fn problems(definition: Value) -> Vec<String> {
    let problems = Machine::parse(&definition.to_string()).err().unwrap_or_default();
    problems.iter().map(|problem| format!("{} {}", problem.location, problem.message)).collect()
}

fn with_state(state: Value) -> Value {
    json!({ "StartAt": "A", "States": { "A": state } })
}

#[test]
fn a_whole_definition_is_read() {
    let machine = Machine::parse(
        &json!({
            "Comment": "all kinds", "StartAt": "A", "TimeoutSeconds": 60, "Version": "1.0",
            "States": {
                "A": { "Type": "Pass", "Result": { "n": 1 }, "ResultPath": "$.a", "Next": "B" },
                "B": { "Type": "Choice", "Choices": [{ "Variable": "$.a.n", "NumericEquals": 1, "Next": "C" }], "Default": "F" },
                "C": {
                    "Type": "Task", "Resource": "arn:aws:states:::glue:startJobRun.sync",
                    "Parameters": { "JobName": "j", "Arguments": { "--x.$": "$.a.n" } }, "TimeoutSeconds": 5,
                    "Retry": [{ "ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1.5 }],
                    "Catch": [{ "ErrorEquals": ["States.TaskFailed"], "ResultPath": "$.error", "Next": "F" }], "Next": "P",
                },
                "P": { "Type": "Parallel", "Branches": [{ "StartAt": "S", "States": { "S": { "Type": "Succeed" } } }], "Next": "M" },
                "M": {
                    "Type": "Map", "ItemsPath": "$.list", "MaxConcurrency": 2, "ItemSelector": { "v.$": "$$.Map.Item.Value" },
                    "ItemProcessor": {
                        "ProcessorConfig": { "Mode": "INLINE" }, "StartAt": "W",
                        "States": { "W": { "Type": "Wait", "SecondsPath": "$.v", "End": true } },
                    },
                    "End": true,
                },
                "F": { "Type": "Fail", "Error": "E", "CausePath": "States.Format('{}', $.error.Cause)" },
            },
        })
        .to_string(),
    )
    .unwrap();
    assert_eq!((machine.states.len(), machine.timeout_seconds), (6, Some(60)));
    assert_eq!(machine.states["C"].retry[0].attempts_max, 2);
    assert!(matches!(&machine.states["M"].kind, Kind::Map(map) if map.concurrency == Amount::Fixed(2)));
}

#[test]
fn what_the_sandbox_does_not_do_is_refused_by_name() {
    for (definition, words) in [
        (
            with_state(json!({ "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": true })),
            "`arn:aws:states:::lambda:invoke`",
        ),
        (
            with_state(json!({
                "Type": "Map", "End": true,
                "ItemProcessor": {
                    "ProcessorConfig": { "Mode": "DISTRIBUTED", "ExecutionType": "STANDARD" }, "StartAt": "S",
                    "States": { "S": { "Type": "Succeed" } },
                },
            })),
            "distributed maps",
        ),
        (
            with_state(json!({ "Type": "Map", "ItemReader": {}, "End": true, "ItemProcessor": {} })),
            "ItemReader is not supported",
        ),
    ] {
        let told = problems(definition);
        assert!(told.iter().any(|problem| problem.contains(words)), "{words}: {told:?}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (state, expected) in [
        (json!({ "Type": "Pass" }), "/States/A the state needs Next, or End: true"),
        (json!({ "Type": "Pass", "Next": "B", "End": true }), "/States/A a state has Next or End, not both"),
        (json!({ "Type": "Pass", "Next": "B" }), "/States/A there is no state \"B\""),
        (json!({ "Type": "Pas", "End": true }), "/States/A/Type there is no type Pas of states"),
        (
            json!({ "Type": "Pass", "End": true, "Resutl": 1 }),
            "/States/A/Resutl Field 'Resutl' is not supported in states of type Pass",
        ),
        (
            json!({ "Type": "Pass", "End": true, "InputPath": "a" }),
            "/States/A/InputPath `a` is no path: a path begins with $",
        ),
        (
            json!({ "Type": "Pass", "End": true, "ResultPath": "$.a[*]" }),
            "/States/A/ResultPath `$.a[*]` must be a reference path: names and indexes only",
        ),
        (
            json!({ "Type": "Pass", "End": true, "ResultPath": "$$.a" }),
            "/States/A/ResultPath ResultPath cannot point into the context object or a variable",
        ),
        (
            json!({ "Type": "Pass", "End": true, "ResultPath": "$x.a" }),
            "/States/A/ResultPath ResultPath cannot point into the context object or a variable",
        ),
        (
            json!({ "Type": "Pass", "End": true, "Parameters": { "a.$": "b" } }),
            "/States/A/Parameters/a.$ `b`: it is neither a path nor a call of an intrinsic function",
        ),
        (
            json!({ "Type": "Wait", "End": true }),
            "/States/A/Type exactly one of Seconds, SecondsPath, Timestamp and TimestampPath is needed",
        ),
        (
            json!({ "Type": "Wait", "Seconds": -1, "End": true }),
            "/States/A/Seconds Seconds must be a whole number from 0 to 99999999",
        ),
        (
            json!({ "Type": "Wait", "Timestamp": "noon", "End": true }),
            "/States/A/Timestamp `noon` is no timestamp of RFC 3339",
        ),
        (
            json!({ "Type": "Choice", "Choices": [] }),
            "/States/A/Choices Choices must be a list of at least one rule",
        ),
        (
            json!({ "Type": "Choice", "Choices": [{ "Variable": "$.a", "IsNull": true }] }),
            "/States/A/Choices/0 Next is missing",
        ),
        (
            json!({ "Type": "Fail", "Error": "a", "ErrorPath": "$.b" }),
            "/States/A/Error there is Error and ErrorPath: one of them is enough",
        ),
        (
            json!({ "Type": "Parallel", "Branches": [], "End": true }),
            "/States/A/Branches Branches must be a list of 1 to 1000 state machines",
        ),
        (json!({ "Type": "Map", "End": true }), "/States/A/ItemProcessor ItemProcessor is missing"),
        (
            json!({ "Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true, "Retry": [{ "ErrorEquals": [] }] }),
            "/States/A/Retry/0 ErrorEquals must be a list of names of errors",
        ),
    ] {
        let told = problems(with_state(state.clone()));
        assert!(told.iter().any(|one| one == expected), "{state}: {told:?}");
    }
}

#[test]
fn the_shape_of_the_whole_is_checked() {
    assert!(problems(json!([]))[0].contains("an object is expected"));
    assert!(problems(json!({ "StartAt": "A" }))[0].contains("States is missing"));
    assert!(
        problems(json!({ "StartAt": "B", "States": { "A": { "Type": "Succeed" } } }))[0]
            .contains("no state \"B\"")
    );
    let unreachable =
        json!({ "StartAt": "A", "States": { "A": { "Type": "Succeed" }, "B": { "Type": "Succeed" } } });
    assert_eq!(problems(unreachable), ["/States/B State \"B\" is not reachable."]);
    assert_eq!(Machine::parse("{").unwrap_err()[0].code, "INVALID_JSON_DESCRIPTION");
    let mut deep = json!({ "StartAt": "S", "States": { "S": { "Type": "Succeed" } } });
    for _ in 0..30 {
        deep = json!({ "StartAt": "P", "States": { "P": { "Type": "Parallel", "Branches": [deep], "End": true } } });
    }
    assert!(problems(deep).iter().any(|problem| problem.contains("too deeply")));
}

mod languages;
