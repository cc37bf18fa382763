//! Expressions: their results, what the service adds, what is refused, and that none runs away.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::states::scope::Dice;
use crate::states::variables::Variables;

fn evaluate_at(text: &str, key: &str, now: &str) -> Result<Value, Failure> {
    let everywhere = Offered { result: true, error: true };
    let query = Query::parse(text, "Output/x", everywhere).unwrap_or_else(|what| panic!("{text}: {what}"));
    let input = json!({ "list": [1, 2, { "b": "x" }], "n": 5, "text": "{\"a\": [1, null]}", "nil": null });
    let context = json!({ "Execution": { "Name": "e-1" } });
    let (result, error) = (json!({ "JobRunState": "SUCCEEDED" }), json!({ "Error": "E", "Cause": "c" }));
    let variables = json!({ "order": { "id": 7, "lines": [{ "p": 2.5 }, { "p": 4 }] }, "x": 3 });
    let variables = Variables::default().with(variables.as_object().unwrap()).unwrap();
    let dice = Dice::seeded(key);
    let scope = Scope::new(&input, &context, &variables, &dice, now.parse().unwrap());
    query.evaluate(Scope { result: Some(&result), error: Some(&error), ..scope })
}

fn evaluate(text: &str) -> Result<Value, Failure> {
    evaluate_at(text, "key", "2026-11-22T05:00:00.25Z")
}

#[test]
fn an_expression_sees_data_context_and_variables() {
    for (text, expected) in [
        ("$states.input.n", json!(5)),
        ("$states.input.list[2].b", json!("x")),
        ("$states.input.nil", Value::Null),
        ("$states.context.Execution.Name & '/' & $states.result.JobRunState", json!("e-1/SUCCEEDED")),
        ("$states.errorOutput.Cause", json!("c")),
        ("$sum($order.lines.p) + $x", json!(9.5)),
        ("$order.lines[p > 3]", json!({ "p": 4 })),
        ("($y := $x * 2; {'twice': $y, 'none': $none})", json!({ "twice": 6 })),
        ("$map($order.lines, function($line) { $line.p })", json!([2.5, 4])),
        ("[$x, $none, null]", json!([3, null])),
        ("$x = 3 ? true : false", json!(true)),
        ("10 / 4", json!(2.5)),
        ("1e300", json!(1e300)),
    ] {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }
}

#[test]
fn the_functions_of_the_service_are_there() {
    for (text, expected) in [
        ("$partition([1, 2, 3, 4, 5], 2.9)", json!([[1, 2], [3, 4], [5]])),
        ("$range(0, 10, 2)", json!([0, 2, 4, 6, 8, 10])),
        ("$range(3, 1, -1)", json!([3, 2, 1])),
        ("$range(1, 1, 1)", json!(1)),
        ("$hash('input data', 'SHA-1')", json!("aaff4a450a104cd177d28d18d74485e8cae074b7")),
        ("$parse($states.input.text)", json!({ "a": [1, null] })),
        ("$random(7) = $random(7)", json!(true)),
        ("$random() != $random()", json!(true)),
        ("$length($uuid())", json!(36)),
        ("$pad('x', -3, '#') & $pad('y', 3) & '|'", json!("##xy  |")),
        ("$sort($shuffle([3, 1, 2]))", json!([1, 2, 3])),
        ("$map([1, 2], $uuid)[0] != $uuid()", json!(true)),
    ] {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }
    for text in [
        "$partition([], 2)",
        "$partition([1], 0)",
        "$range(1, 3)",
        "$range(1, 3, -1)",
        "$range(1, 3, 0)",
        "$hash('a')",
        "$parse($none)",
    ] {
        let cause = evaluate(text).unwrap_err().cause;
        assert!(cause.ends_with("returned nothing (undefined)."), "{text}: {cause}");
    }
}

#[test]
fn chance_and_time_are_the_same_when_they_are_asked_again() {
    let text = "[$uuid(), $random(), $now(), $millis(), $now('[Y0001]', '+0000'), $shuffle([1..20])]";
    let (key, now) = ("/0#0", "2026-11-22T05:00:00.25Z");
    let first = evaluate_at(text, key, now).unwrap();
    assert_eq!(first[2], json!("2026-11-22T05:00:00.250Z"));
    assert_eq!(first[3], json!(1_795_323_600_250_i64));
    assert_eq!(first[4], json!("2026"));
    assert_eq!(evaluate_at(text, key, now), Ok(first.clone()));
    let other = evaluate_at(text, "/1#0", now).unwrap();
    assert!([0, 1, 5].into_iter().all(|index| other[index] != first[index]), "{first} {other}");
}

#[test]
fn failures_name_field_and_expression() {
    for (text, words) in [
        (
            "$states.input.none",
            "The JSONata expression '$states.input.none' specified for the field 'Output/x' returned nothing (undefined).",
        ),
        ("$x + 'a'", "threw an error during evaluation. T2002"),
        ("$nothing(1)", "threw an error during evaluation. T1006"),
        ("$e := 'eval'; $error('mine')", "mine"),
        ("function($y) { $y }", "returned an unsupported result type."),
        ("/a+/", "returned an unsupported result type."),
        ("1/0", "which is no number of JSON"),
        ("$hash('a', 'CRC')", "none of MD5"),
        ("$parse('{')", "no JSON"),
        ("$pad('x', 1e13)", "at most 1000000 characters"),
        ("$range(1, 1e18, 1)", "D2015"),
        ("$range('a', 1, 1)", "must be a number"),
        ("[$eval][0]('1')", "T1006"),
    ] {
        let text = if text.contains(';') { format!("({text})") } else { text.to_owned() };
        let failure = evaluate(&text).unwrap_err();
        assert_eq!(
            (failure.error.as_str(), failure.field.as_deref()),
            ("States.QueryEvaluationError", Some("Output/x")),
            "{text}"
        );
        assert!(failure.cause.contains(words) && failure.cause.contains(&text), "{text}: {}", failure.cause);
    }
}

#[test]
fn a_value_of_another_kind_is_told() {
    let query = Query::parse("$states.input", "Items", Offered::default()).unwrap();
    let (input, context) = (json!({ "foo": "bar" }), json!({}));
    let (variables, dice) = (Variables::default(), Dice::seeded("t"));
    let scope = Scope::new(&input, &context, &variables, &dice, Timestamp::UNIX_EPOCH);
    let failure = query.evaluate_as(scope, "array", |value| value.as_array().cloned()).unwrap_err();
    let expected = "The JSONata expression '$states.input' specified for the field 'Items' returned an unexpected \
                    result type. Expected 'array', but was 'object' for value: {\"foo\":\"bar\"}";
    assert_eq!(failure.cause, expected);
}

#[test]
fn what_must_not_be_referred_to_is_refused() {
    let nothing = Offered::default();
    for (text, words) in [
        ("phone", "Reference to 'phone' at the top level"),
        ("phone.number", "'phone' at the top level"),
        ("$sum(prices)", "'prices' at the top level"),
        ("$map($x, function($y) { name })", "'name' at the top level"),
        ("{'a': b}", "'b' at the top level"),
        ("$", "'$' at the top level"),
        ("$.a", "'$' at the top level"),
        ("$$", "'$$'"),
        ("$x[$$.a]", "'$$'"),
        ("$eval('1')", "$eval is not supported"),
        ("$x ~> $eval()", "$eval is not supported"),
        ("$states.result.a", "'$states.result' is not supported in this field"),
        ("[$states.errorOutput]", "'$states.errorOutput' is not supported in this field"),
        ("$x +", "no JSONata expression"),
        ("", "no JSONata expression"),
    ] {
        let told = Query::parse(text, "Output", nothing).unwrap_err();
        assert!(told.contains(words), "{text}: {told}");
    }
    for text in [
        "$states.input.items[value > 3].name",
        "$x^(>price)",
        "$x{name: $sum(price)}",
        "$x.(a + b)",
        "$x.{'k': $}",
        "$x ~> |items|{'price': price * 2}, ['old']|",
        "$x[$.a = 1]",
        "($a := 1; $f := function($b) { $a + $b }; $f(2))",
    ] {
        assert_eq!(Query::parse(text, "Output", nothing).err(), None, "{text}");
    }
    let result = Offered { result: true, error: false };
    assert!(Query::parse("$states.result", "Output", result).is_ok());
    assert!(Query::parse("$states.errorOutput", "Output", result).is_err());
}

#[test]
fn delimiters_make_an_expression() {
    assert_eq!(delimited("{% $x %}"), Ok(Some("$x")));
    assert_eq!(delimited("{%$x%}"), Ok(Some("$x")));
    for literal in ["$x", "", " {% $x %}", "{% $x %} ", "a {% $x %} b", "{}", "{ % $x % }"] {
        assert_eq!(delimited(literal).unwrap_or(None), None, "{literal}");
    }
    for wrong in ["{% $x", "$x %}", "{%}"] {
        assert!(delimited(wrong).unwrap_err().contains(wrong), "{wrong}");
    }
}

#[test]
fn no_expression_runs_away() {
    for (text, words) in [
        ("($f := function() { $f() }; $f())", "D1012"),
        ("($f := function($n) { 1 + $f($n + 1) }; $f(1))", "D1011"),
        ("$count([1..9000000])", "D2015"),
        ("[1..1e300]", "D2014"),
        ("$reduce([1..40], function($a, $b) { {'l': $a, 'r': $a} }, 1)", "more than 7340032 bytes"),
        ("$reduce([1..300], function($a, $b) { {'a': $a} }, 1)", "nested more than 100 levels"),
    ] {
        let cause = evaluate(text).unwrap_err().cause;
        assert!(cause.contains(words), "{text}: {cause}");
    }
}

#[test]
fn deep_expressions_are_refused_or_evaluated() {
    for text in [
        format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("1{}", "+1".repeat(20_000)),
        format!("{}1", "-".repeat(20_000)),
        format!("$x{}", "[0]".repeat(20_000)),
        format!("{}1", "$x ? 1 : ".repeat(20_000)),
        format!("{}1{}", "[".repeat(300), "]".repeat(300)),
        format!("{}1{}", "function(){".repeat(300), "}".repeat(300)),
    ] {
        if let Ok(query) = Query::parse(&text, "Output", Offered::default()) {
            let (value, variables, dice) = (json!({}), Variables::default(), Dice::seeded("t"));
            let scope = Scope::new(&value, &value, &variables, &dice, Timestamp::UNIX_EPOCH);
            // Either is right: what counts is that the stack holds.
            let outcome = query.evaluate(scope).map_err(|failure| failure.error);
            assert!(outcome.is_ok() || outcome == Err("States.QueryEvaluationError".to_owned()));
        }
    }
}

/// Pieces of expressions, which together are read more often than random characters are; one to a space.
const PIECES: &str = "$states .input .list [0] [ ] ( ) { } 'a' : , ; := $x $f 1 -1 1e308 0.5 null true + - * / % & = != < \
    >= and or in .. ? ?? ?: ~> ^( | function($a) λ $sum $map( $string( $substring( $formatNumber( $fromMillis( \
    $toMillis( $formatBase( $split( $replace( $match( $sift( $zip( $pad( $partition( $range( $hash( $parse( $random( \
    $now( /a+/ /(/ ** @$v #$i \" ß `a` <s-n> /* */ [Y] '#,##0.00'";

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES.split_whitespace().collect::<Vec<_>>());
    (prop::collection::vec(piece, 0..16), any::<bool>())
        .prop_map(|(pieces, is_spaced)| pieces.join(if is_spaced { " " } else { "" }))
}

proptest! {
    /// Whatever is written, it is refused, evaluated, or fails: it never ends the process.
    #[test]
    fn nothing_that_is_written_panics(text in prop_oneof![pieces(), ".{0,24}"]) {
        if let Ok(query) = Query::parse(&text, "Output", Offered { result: true, error: true }) {
            let value = json!({ "list": [1, "a", null, { "a": [] }], "n": -0.5 });
            let variables = json!({ "x": [3, "b", { "a": 1 }] });
            let variables = Variables::default().with(variables.as_object().unwrap()).unwrap();
            let dice = Dice::seeded("t");
            let scope = Scope::new(&value, &value, &variables, &dice, Timestamp::UNIX_EPOCH);
            let outcome = query.evaluate(scope);
            prop_assert!(outcome.is_ok_and(|value| values::json(&JValue::from(value)).is_ok())
                || query.evaluate(scope).is_err());
        }
    }
}
