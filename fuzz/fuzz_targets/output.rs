//! What a program printed, from its bytes to what people see: a terminal, a page, a picture, a mail, a log.
//! Nothing of it may command a terminal or be markup, and no secret may come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trunkline::fuzzing::{api, escaped_json, harmless, in_svg, mail_lines, plain};
use trunkline_tasks::{
    fuzzing::printed,
    secrets::mask::{Mask, Stream},
};

const SECRET: &str = "s3cr\"t/=";

fuzz_target!(|bytes: &[u8]| {
    let text = decoded(bytes);
    masked(bytes);
    terminal(&text);
    markup(&text);
    for room in [0, 1, 3, 8] {
        let lines = mail_lines(&text, room);
        assert!(lines.len() <= room.max(1) && lines.iter().all(|line| !line.contains(char::is_control)));
        assert!(lines.iter().all(|line| line.chars().count() <= 200), "short enough for a phone");
    }
    assert!(!plain(&text).contains("\u{1b}["), "no colours in a file");
});

/// Pieces of output are read until nothing is left, and none is read twice.
fn decoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, used) = printed(rest);
        assert!(used > 0 && used <= rest.len(), "{used} of {}", rest.len());
        text.push_str(&piece);
        rest = &rest[used..];
    }
    text
}

/// Wherever the bytes are cut, the same is masked, and nothing of the secret is left.
fn masked(bytes: &[u8]) {
    let mask = Mask::of([&SECRET.to_owned()]);
    let whole = {
        let mut stream = Stream::new(mask.clone());
        let mut out = stream.push(bytes);
        out.extend(stream.finish());
        out
    };
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte) % bytes.len());
    let mut stream = Stream::new(mask);
    let mut pieces = stream.push(&bytes[..cut]);
    pieces.extend(stream.push(&bytes[cut..]));
    pieces.extend(stream.finish());
    assert_eq!(pieces, whole, "cut at {cut}");
    assert!(!whole.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
}

/// Of what a terminal obeys only line breaks, tabs and colours are left.
fn terminal(text: &str) {
    let shown = harmless(text);
    assert_eq!(harmless(&shown), shown, "once is enough");
    let mut rest = shown.as_str();
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\n' && c != '\t') {
        let colour = rest[at..].strip_prefix("\u{1b}[").expect("only colours are left");
        let end = colour.find(|c: char| !c.is_ascii_digit() && c != ';').expect("a colour ends");
        assert!(colour[end..].starts_with('m'), "{shown:?}");
        rest = &colour[end..];
    }
    assert!(!shown.contains(['\u{202e}', '\u{2066}', '\u{9b}']));
    let json = Value::from(text).to_string();
    let printed = escaped_json(&json);
    assert!(!printed.contains(char::is_control));
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("it is JSON"), Value::from(text));
}

/// On a page and in a picture a text is text: no tag but those that the page itself makes of quotes.
fn markup(text: &str) {
    let page = api::sentence(text).replace("<code>", "").replace("</code>", "");
    assert!(!page.contains(['<', '>', '"']), "{page}");
    let picture = in_svg(text);
    assert!(!picture.contains(['<', '>', '"']), "{picture}");
}
