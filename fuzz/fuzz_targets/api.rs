//! A request to the API, as far as it is read without a server: the address with its query, cursors and
//! `Last-Event-ID`, headers that say who asks and for which name, links, and bodies of strict JSON.
//!
//! The first line is an address, and every other text that stands alone; what follows is a body.
#![no_main]

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use trunkline::{
    fuzzing::{api, escaped_json},
    service::{
        sign_in::{SessionSecret, SignInLink},
        token::{Token, check_name},
    },
};
use trunkline_fuzz::has_nul;

/// A name that no address and no machine of loopback has.
const OWN: &str = "trunkline.example.com";

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, rest) = data.split_at(at);
    if let Ok(line) = std::str::from_utf8(line) {
        address(line);
        secrets(line);
    }
    headers(line);
    body(rest.strip_prefix(b"\n").unwrap_or(line));
});

/// What a cursor says is written as it was, or in the one way in which it is written here.
fn address(line: &str) {
    if let Ok(uri) = line.parse::<Uri>() {
        api::queried(&uri);
    }
    for cursor in api::cursors(line) {
        assert!(api::cursors(&cursor).contains(&cursor), "{cursor} reads back");
    }
}

/// A token reads back, and nothing that was made up is good.
fn secrets(line: &str) {
    let own = Token::of([7; 40]);
    if let Ok(token) = Token::read(line) {
        assert!(Token::read(&token.reveal()).is_ok_and(|again| again.is(&token.sha256())));
        assert!(!own.is(&token.sha256()) || token.reveal() == own.reveal());
    }
    assert!(SignInLink::read(line, &own, Timestamp::UNIX_EPOCH).is_none(), "nobody knows the token");
    if let Ok(name) = check_name(line) {
        assert_eq!(check_name(&name).as_ref(), Ok(&name));
    }
}

/// Only the server's own name, loopback and addresses are answered.
fn headers(line: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    if api::is_host(OWN, &value, None) {
        let text = value.to_str().expect("a name is text").to_ascii_lowercase();
        let address = text.contains(|c: char| c.is_ascii_digit()) || text.contains(':');
        assert!(text.starts_with(OWN) || text.starts_with("localhost") || address, "{text}");
        assert!(!text.contains("evil"), "{text}");
    }
    let of = |name, value: &HeaderValue| HeaderMap::from_iter([(name, value.clone())]);
    if let Some(secret) = api::session(OWN, &of(header::COOKIE, &value)) {
        assert_eq!(SessionSecret::read(&secret.reveal()), Some(secret));
    }
    let host = HeaderValue::from_static("127.0.0.1:8377");
    if api::is_own_page(&[(header::ORIGIN, value.clone()), (header::HOST, host)]) {
        assert!(line.ends_with(b"://127.0.0.1:8377"), "{value:?}");
    }
}

/// Strict JSON is what any reader takes it for, and holds neither a key twice nor a NUL.
fn body(bytes: &[u8]) {
    let Some(value) = api::body(bytes) else { return };
    assert_eq!(serde_json::from_slice::<Value>(bytes).ok().as_ref(), Some(&value));
    assert!(!has_nul(&value), "{value}");
    let text = value.to_string();
    assert_eq!(api::body(text.as_bytes()).as_ref(), Some(&value), "written again it is the same");
    let printed = escaped_json(&text);
    assert_eq!(serde_json::from_str::<Value>(&printed).ok().as_ref(), Some(&value));
    api::taken_by(bytes);
    assert!(serde_json::from_slice::<BTreeMap<String, Value>>(bytes).is_ok(), "an object");
}
