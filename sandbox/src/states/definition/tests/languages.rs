//! Definitions in `JSONata`, in both languages, and with variables.

use super::*;

fn jsonata(state: Value) -> Value {
    let mut definition = with_state(state);
    definition["QueryLanguage"] = "JSONata".into();
    definition
}

/// What is told of a definition, each as place and message.
fn assert_told(definition: &Value, expected: &str) {
    let told = problems(definition.clone());
    assert!(told.iter().any(|one| one == expected), "{definition}: {told:?}");
}

#[test]
fn a_whole_definition_in_jsonata_is_read() {
    let catcher = json!({
        "ErrorEquals": ["States.ALL"], "Next": "F", "Assign": { "cause": "{% $states.errorOutput.Cause %}" },
        "Output": { "was": "{% $states.errorOutput.Error %}" },
    });
    let machine = Machine::parse(
        &json!({
            "QueryLanguage": "JSONata", "StartAt": "A",
            "States": {
                "A": { "Type": "Pass", "Assign": { "n": 1 }, "Output": [1, "{% $states.input %}"], "Next": "B" },
                "B": {
                    "Type": "Choice", "Default": "F", "Assign": { "way": "default" }, "Output": "{% $n %}",
                    "Choices": [
                        { "Condition": "{% $n = 1 %}", "Assign": { "way": "first" }, "Output": 1, "Next": "C", "Comment": "c" },
                        { "Condition": false, "Next": "C" },
                    ],
                },
                "C": {
                    "Type": "Task", "Resource": "arn:aws:states:::glue:startJobRun.sync", "Next": "P",
                    "Arguments": { "JobName": "{% $states.input.job %}" }, "TimeoutSeconds": "{% $n * 60 %}",
                    "HeartbeatSeconds": 5, "Output": "{% $states.result %}", "Catch": [catcher],
                    "Retry": [{ "ErrorEquals": ["States.QueryEvaluationError"] }],
                },
                "P": {
                    "Type": "Parallel", "Arguments": "{% $states.input %}", "Next": "M", "Output": "{% $states.result[0] %}",
                    "Branches": [{ "StartAt": "S", "States": { "S": { "Type": "Succeed", "Output": "{% $n %}" } } }],
                },
                "M": {
                    "Type": "Map", "Items": [1, "{% $n %}"], "MaxConcurrency": "{% $n %}", "End": true,
                    "ItemSelector": { "v": "{% $states.context.Map.Item.Value %}" },
                    "ItemProcessor": { "StartAt": "W", "States": { "W": { "Type": "Wait", "Seconds": "{% $n %}", "End": true } } },
                },
                "F": { "Type": "Fail", "Error": "E", "Cause": "{% 'because ' & $n %}" },
            },
        })
        .to_string(),
    )
    .unwrap();
    let Kind::Choice { rules, .. } = &machine.states["B"].kind else { panic!("B is a choice") };
    assert!(
        matches!(&rules[0].condition, Condition::Query(query) if query.field() == "Choices[0]/Condition")
    );
    assert_eq!(rules[1].condition, Condition::Constant(false));
    assert!(
        matches!(&machine.states["C"].kind, Kind::Task(task) if matches!(task.timeout, Some(Amount::Query(_))))
    );
    assert!(matches!(&machine.states["M"].kind, Kind::Map(map) if matches!(map.items, Items::Template(_))));
    assert!(matches!(&machine.states["C"].catch[0].output, Caught::Output(Some(_))));
}

#[test]
fn each_language_has_its_own_fields() {
    for field in [
        "InputPath",
        "Parameters",
        "ResultSelector",
        "ResultPath",
        "OutputPath",
        "Result",
        "ItemsPath",
        "MaxConcurrencyPath",
        "SecondsPath",
        "TimestampPath",
        "TimeoutSecondsPath",
        "HeartbeatSecondsPath",
        "ErrorPath",
        "CausePath",
        "Variable",
    ] {
        let state = json!({ "Type": "Pass", "End": true, field: "$.a" });
        let expected = format!(
            "/States/A/{field} The QueryLanguage is set to 'JSONata', but field '{field}' is only supported for the 'JSONPath' QueryLanguage"
        );
        assert_told(&jsonata(state), &expected);
    }
    for field in ["Arguments", "Output", "Items", "Condition"] {
        let state = json!({ "Type": "Pass", "End": true, field: "{% 1 %}" });
        let expected = format!(
            "/States/A/{field} The QueryLanguage is set to 'JSONPath', but field '{field}' is only supported for the 'JSONata' QueryLanguage"
        );
        assert_told(&with_state(state), &expected);
    }
    let rule = json!({ "Type": "Choice", "Choices": [{ "Variable": "$.a", "IsNull": true, "Next": "A" }] });
    assert!(problems(jsonata(rule))[0].starts_with("/States/A/Choices/0/Variable The QueryLanguage is set"));
    let rule = json!({ "Type": "Choice", "Choices": [{ "Condition": "{% true %}", "Next": "A" }] });
    assert!(
        problems(with_state(rule))[0].starts_with("/States/A/Choices/0/Condition The QueryLanguage is set")
    );
    let task = |catcher: Value| {
        json!({
            "Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true,
            "Catch": [catcher],
        })
    };
    let catcher = json!({ "ErrorEquals": ["States.ALL"], "Next": "A", "ResultPath": "$.e" });
    assert!(
        problems(jsonata(task(catcher)))[0].starts_with("/States/A/Catch/0/ResultPath The QueryLanguage")
    );
    let catcher = json!({ "ErrorEquals": ["States.ALL"], "Next": "A", "Output": 1 });
    assert!(problems(with_state(task(catcher)))[0].starts_with("/States/A/Catch/0/Output The QueryLanguage"));
}

#[test]
fn a_state_may_change_to_jsonata_and_never_back() {
    let pass = |more: Value| {
        let mut state = json!({ "Type": "Pass", "End": true });
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        state
    };
    assert_eq!(
        problems(with_state(pass(json!({ "QueryLanguage": "JSONata", "Output": "{% 1 %}" })))),
        [""; 0]
    );
    assert_told(
        &jsonata(pass(json!({ "QueryLanguage": "JSONPath" }))),
        "/States/A 'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
    );
    assert_told(
        &with_state(pass(json!({ "QueryLanguage": "jsonata" }))),
        "/States/A/QueryLanguage QueryLanguage is JSONPath or JSONata",
    );
    let inner = |language: Value, state: Value| {
        let mut processor = with_state(state);
        if !language.is_null() {
            processor["QueryLanguage"] = language;
        }
        json!({ "Type": "Map", "QueryLanguage": "JSONata", "End": true, "ItemProcessor": processor })
    };
    // The inside of a map has the language of the whole machine, not of the map.
    assert_eq!(problems(with_state(inner(Value::Null, pass(json!({ "InputPath": "$.a" }))))), [""; 0]);
    assert_told(
        &with_state(inner("JSONata".into(), pass(json!({})))),
        "/States/A/ItemProcessor/QueryLanguage Field 'QueryLanguage' is not supported in a state machine",
    );
}

#[test]
fn expressions_are_read_when_the_machine_is_made() {
    for (state, expected) in [
        (
            json!({ "Type": "Pass", "End": true, "Output": { "a": ["{% $x + %}"] } }),
            "/States/A/Output/a/0 `$x +` is no JSONata expression: S0207: Unexpected end of expression",
        ),
        (
            json!({ "Type": "Pass", "End": true, "Output": "{% $states.result %}" }),
            "/States/A/Output Reference to '$states.result' is not supported in this field",
        ),
        (
            json!({ "Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true, "Arguments": "{% $states.result %}" }),
            "/States/A/Arguments Reference to '$states.result' is not supported in this field",
        ),
        (
            json!({ "Type": "Pass", "End": true, "Assign": { "a": "{% phone %}" } }),
            "/States/A/Assign/a Reference to 'phone' at the top level is not supported: the input is $states.input",
        ),
        (
            json!({ "Type": "Pass", "End": true, "Output": "{% $x" }),
            "/States/A/Output `{% $x` must begin with {% and end with %} to be an expression",
        ),
        (
            json!({ "Type": "Wait", "Seconds": "5", "End": true }),
            "/States/A/Seconds Seconds must be a whole number from 0 to 99999999",
        ),
        (
            json!({ "Type": "Wait", "Seconds": "{% $x( %}", "End": true }),
            "/States/A/Seconds `$x(` is no JSONata expression: S0207: Unexpected end of expression",
        ),
        (
            json!({ "Type": "Wait", "End": true }),
            "/States/A/Type exactly one of Seconds and Timestamp is needed",
        ),
        (
            json!({ "Type": "Choice", "Choices": [{ "Condition": "$x", "Next": "A" }] }),
            "/States/A/Choices/0/Condition Condition must be true, false or an expression in {% %}",
        ),
        (
            json!({ "Type": "Choice", "Choices": [{ "Next": "A" }] }),
            "/States/A/Choices/0/Condition Condition must be true, false or an expression in {% %}",
        ),
        (
            json!({ "Type": "Choice", "Choices": [{ "Condition": true, "And": [], "Next": "A" }] }),
            "/States/A/Choices/0/And Field 'And' is not supported in a choice rule",
        ),
        (
            json!({ "Type": "Map", "Items": "list", "End": true }),
            "/States/A/Items Items must be a list or an expression in {% %} that gives one",
        ),
        (
            json!({ "Type": "Map", "Items": { "a": 1 }, "End": true }),
            "/States/A/Items Items must be a list or an expression in {% %} that gives one",
        ),
    ] {
        assert_told(&jsonata(state), expected);
    }
    let code =
        Machine::parse(&jsonata(json!({ "Type": "Pass", "End": true, "Output": "{% ( %}" })).to_string());
    assert_eq!(code.unwrap_err()[0].code, "SCHEMA_VALIDATION_FAILED");
}

#[test]
fn each_kind_has_its_own_fields() {
    for (state, expected) in [
        (
            json!({ "Type": "Succeed", "Assign": { "a": 1 } }),
            "/States/A/Assign Field 'Assign' is not supported in states of type Succeed",
        ),
        (
            json!({ "Type": "Fail", "Output": 1 }),
            "/States/A/Output Field 'Output' is not supported in states of type Fail",
        ),
        (
            json!({ "Type": "Pass", "End": true, "Arguments": {} }),
            "/States/A/Arguments Field 'Arguments' is not supported in states of type Pass",
        ),
    ] {
        assert_told(&jsonata(state), expected);
    }
}

#[test]
fn variables_have_names() {
    for (assign, expected) in [
        (json!([1]), "/States/A/Assign Assign must be an object of variables"),
        (json!({ "states": 1 }), "/States/A/Assign/states the variable $states is reserved"),
        (
            json!({ "x.y": 1 }),
            "/States/A/Assign/x.y `x.y` is no name of a variable: a letter, then letters, digits and underscores",
        ),
    ] {
        let state = json!({ "Type": "Pass", "End": true, "Assign": assign });
        assert_told(&with_state(state.clone()), expected);
        assert_told(&jsonata(state), expected);
    }
    let paths = json!({ "Type": "Pass", "End": true, "Assign": { "x.$": "$.a", "y": { "z.$": "$x.b" } } });
    assert_eq!(problems(with_state(paths.clone())), [""; 0]);
    assert!(problems(jsonata(paths))[0].contains("`x.$` is no name of a variable"));
}

#[test]
fn an_outer_variable_is_only_read_inside() {
    let assign = |name: &str| json!({ "Type": "Pass", "Assign": { name: 1 }, "End": true });
    let definition = |inner: Value| {
        json!({
            "StartAt": "Before",
            "States": {
                "Before": { "Type": "Pass", "Next": "Both" },
                "Both": { "Type": "Parallel", "Branches": [with_state(assign("other")), with_state(inner)], "Next": "After" },
                "After": assign("outer"),
            },
        })
    };
    assert_eq!(problems(definition(assign("inner"))), [""; 0]);
    assert_eq!(problems(definition(assign("other"))), [""; 0], "branches do not see each other");
    let told =
        "the variable outer is assigned in an outer scope too: variables of an outer scope can only be read";
    let branch = "/States/Both/Branches/1/States/A";
    assert_eq!(problems(definition(assign("outer"))), [format!("{branch}/Assign/outer {told}")]);
    let map = json!({ "Type": "Map", "ItemProcessor": with_state(assign("outer")), "End": true });
    assert_eq!(problems(definition(map)), [format!("{branch}/ItemProcessor/States/A/Assign/outer {told}")]);
    let catcher = json!({ "ErrorEquals": ["States.ALL"], "Next": "A", "Assign": { "outer": 1 } });
    let task = json!({
        "Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true, "Catch": [catcher],
    });
    assert_eq!(problems(definition(task)), [format!("{branch}/Assign/outer {told}")]);
}
