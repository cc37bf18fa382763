//! Intrinsic functions, with the examples of the language's documentation among others.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::states::scope::Dice;
use crate::states::variables::Variables;

fn evaluate(text: &str, input: &Value) -> Result<Value, Failure> {
    let dice = Dice::new(Uuid::nil(), "test");
    let context = json!({ "Execution": { "Name": "e-1" } });
    let order = json!({ "order": { "number": 7 } });
    let variables = Variables::default().with(order.as_object().unwrap()).unwrap();
    let scope = Scope::new(input, &context, &variables, &dice, Timestamp::UNIX_EPOCH);
    Expression::parse(text).unwrap().evaluate(scope)
}

#[test]
fn each_function_does_what_it_says() {
    let input = json!({
        "name": "Arnav", "list": [1, 2, 3, 3, 1, "x"], "a": { "k": 1, "l": { "m": 1 } }, "b": { "l": 2 },
        "text": "{\"n\": [1]}", "template": "<{}>",
    });
    for (text, expected) in [
        (
            r"States.Format('Hi, my name is {}. \{\} it\'s {}', $.name, 3)",
            json!("Hi, my name is Arnav. {} it's 3"),
        ),
        ("States.Format($.template, $$.Execution.Name)", json!("<e-1>")),
        ("States.Format('order {} of {}', $order.number, $.name)", json!("order 7 of Arnav")),
        ("States.StringToJson($.text)", json!({ "n": [1] })),
        ("States.JsonToString($.b)", json!("{\"l\":2}")),
        ("States.Array(1, 'a', $.b, null, true)", json!([1, "a", { "l": 2 }, null, true])),
        ("States.Array()", json!([])),
        ("States.ArrayPartition($.list, 4)", json!([[1, 2, 3, 3], [1, "x"]])),
        ("States.ArrayContains($.list, 'x')", json!(true)),
        ("States.ArrayRange(1, 9, 2)", json!([1, 3, 5, 7, 9])),
        ("States.ArrayRange(3, 1, -1)", json!([3, 2, 1])),
        ("States.ArrayGetItem($.list, 5)", json!("x")),
        ("States.ArrayLength($.list[0:2])", json!(2)),
        ("States.ArrayUnique($.list)", json!([1, 2, 3, "x"])),
        ("States.Base64Encode('Data to encode')", json!("RGF0YSB0byBlbmNvZGU=")),
        ("States.Base64Decode('RGVjb2RlZCBkYXRh')", json!("Decoded data")),
        ("States.Hash('input data', 'SHA-1')", json!("aaff4a450a104cd177d28d18d74485e8cae074b7")),
        ("States.Hash('abc', 'MD5')", json!("900150983cd24fb0d6963f7d28e17f72")),
        (
            "States.Hash('abc', 'SHA-256')",
            json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ),
        ("States.JsonMerge($.a, $.b, false)", json!({ "k": 1, "l": 2 })),
        ("States.MathAdd(111, -1)", json!(110)),
        ("States.MathAdd(1.5, 1)", json!(3)),
        ("States.StringSplit('This.is+a,test=string', '.+,=')", json!(["This", "is", "a", "test", "string"])),
        ("States.Format('{}', States.ArrayGetItem(States.StringSplit('a/b', '/'), 1))", json!("b")),
    ] {
        assert_eq!(evaluate(text, &input), Ok(expected), "{text}");
    }
}

#[test]
fn chance_is_the_same_when_it_is_asked_again() {
    let first =
        evaluate("States.Array(States.UUID(), States.UUID(), States.MathRandom(5, 8))", &json!({})).unwrap();
    assert_ne!(first[0], first[1]);
    assert_eq!(first[0].as_str().map(|id| Uuid::parse_str(id).unwrap().get_version_num()), Some(4));
    assert!((5..8).contains(&first[2].as_i64().unwrap()), "{first}");
    let again = evaluate("States.Array(States.UUID(), States.UUID(), States.MathRandom(5, 8))", &json!({}));
    assert_eq!(again, Ok(first));
}

#[test]
fn what_cannot_be_done_fails_by_name() {
    let input = json!({ "list": [1], "n": 5 });
    for text in [
        "States.Format('{} {}', 1)",
        "States.Format('{}', 1, 2)",
        "States.Format('{', 1)",
        "States.StringToJson('{')",
        "States.ArrayGetItem($.list, 1)",
        "States.ArrayRange(1, 5000, 1)",
        "States.ArrayRange(-9223372036854775808, 9223372036854775807, -1)",
        "States.ArrayRange(1, 2, 0)",
        "States.ArrayPartition($.list, 0)",
        "States.JsonMerge($.n, $.n, false)",
        "States.Hash('a', 'CRC')",
        "States.Base64Decode('%')",
        "States.MathAdd('a', 1)",
        "States.MathAdd(9223372036854775807, 1)",
        "States.MathRandom(2, 1)",
    ] {
        assert_eq!(evaluate(text, &input).unwrap_err().error, "States.IntrinsicFailure", "{text}");
    }
    assert_eq!(evaluate("States.Array($.none)", &input).unwrap_err().error, "States.ParameterPathFailure");
}

#[test]
fn what_cannot_be_read_is_told() {
    for (text, words) in [
        ("States.Frmat('a')", "no intrinsic function States.Frmat"),
        ("States.UUID(1)", "takes 0 arguments, not 1"),
        ("States.Format('a'", "not closed"),
        ("States.Format('a", "quote is not closed"),
        ("States.Format(\"a\")", "is no argument"),
        ("States.UUID() x", "nothing may follow"),
        ("hello", "neither a path nor a call"),
    ] {
        let error = Expression::parse(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
    let deep = format!("{}1{}", "States.Array(".repeat(12), ")".repeat(12));
    assert!(Expression::parse(&deep).unwrap_err().contains("too deeply"));
}
