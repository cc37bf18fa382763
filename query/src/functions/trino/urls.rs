//! Athena's URL functions, on URLs as RFC 3986 takes them apart. What is no URL gives null.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;

use crate::functions::{Body, Plain};

/// Characters that no URL has unencoded.
const ILLEGAL: &str = " \"<>\\^`{|}";

pub(super) fn register(context: &SessionContext) {
    let text = DataType::Utf8;
    let one = std::slice::from_ref(&text);
    let parts: [(&'static str, Body); 5] = [
        ("url_extract_protocol", |a| Ok(part(a, |url| url.scheme.to_owned()))),
        ("url_extract_host", |a| Ok(part(a, |url| url.host.to_owned()))),
        ("url_extract_path", |a| Ok(part(a, |url| decoded(url.path, false).unwrap_or_default()))),
        ("url_extract_query", |a| {
            Ok(part(a, |url| decoded(url.query.unwrap_or_default(), false).unwrap_or_default()))
        }),
        ("url_extract_fragment", |a| Ok(part(a, |url| decoded(url.fragment, false).unwrap_or_default()))),
    ];
    for (name, body) in parts {
        context.register_udf(Plain::fixed(name, &[one], text.clone(), body));
    }
    context.register_udf(Plain::fixed("url_extract_port", &[one], DataType::Int64, port));
    let two = [text.clone(), text.clone()];
    context.register_udf(Plain::fixed("url_extract_parameter", &[&two], text.clone(), parameter));
    context.register_udf(Plain::fixed("url_encode", &[one], text.clone(), encode));
    context.register_udf(Plain::fixed("url_decode", &[one], text.clone(), decode));
}

struct Url<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<i64>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: &'a str,
}

fn take_apart(text: &str) -> Option<Url<'_>> {
    if text.chars().any(|c| ILLEGAL.contains(c) || c.is_control()) || decoded(text, false).is_none() {
        return None;
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let is_scheme = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => ("", rest),
    };
    let Some(rest) = rest.strip_prefix("//") else {
        // What has a scheme and no slash, as `mailto:` has, has no path.
        let (path, query) =
            if scheme.is_empty() || rest.starts_with('/') { (rest, query) } else { ("", None) };
        return Some(Url { scheme, host: "", port: None, path, query, fragment });
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (place, None),
    };
    Some(Url { scheme, host, port, path, query, fragment })
}

fn part(arguments: &[ArrayRef], read: fn(&Url<'_>) -> String) -> ArrayRef {
    let texts = arguments[0].as_string::<i32>().iter();
    let parts: StringArray = texts.map(|text| take_apart(text?).map(|url| read(&url))).collect();
    Arc::new(parts)
}

#[expect(clippy::unnecessary_wraps, reason = "the engine calls all functions alike")]
fn port(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let texts = arguments[0].as_string::<i32>().iter();
    let ports: Int64Array = texts.map(|text| take_apart(text?)?.port).collect();
    Ok(Arc::new(ports))
}

#[expect(clippy::unnecessary_wraps, reason = "the engine calls all functions alike")]
fn parameter(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let names = arguments[1].as_string::<i32>();
    let found: StringArray = arguments[0]
        .as_string::<i32>()
        .iter()
        .zip(names)
        .map(|(text, name)| {
            let (query, name) = (take_apart(text?)?.query?, name?);
            query.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(key, false)? == name).then(|| decoded(value, false))?
            })
        })
        .collect();
    Ok(Arc::new(found))
}

#[expect(clippy::unnecessary_wraps, reason = "the engine calls all functions alike")]
fn encode(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let encoded = |text: &str| {
        let byte = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            b if b.is_ascii_alphanumeric() || b"-_.*".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    let texts = arguments[0].as_string::<i32>().iter();
    Ok(Arc::new(texts.map(|text| text.map(encoded)).collect::<StringArray>()))
}

fn decode(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let one = |text: &str| {
        decoded(text, true).ok_or_else(|| {
            DataFusionError::Execution(format!("INVALID_FUNCTION_ARGUMENT: not URL-encoded: {text}"))
        })
    };
    let texts = arguments[0].as_string::<i32>().iter();
    Ok(Arc::new(texts.map(|text| text.map(one).transpose()).collect::<Result<StringArray>>()?))
}

/// The text behind percent signs; `None` if one of them begins nothing.
fn decoded(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        match byte {
            b'%' => {
                let digits = [left.next()?, left.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            b'+' if plus_is_space => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, scheme, host, port, path, query, fragment) in [
            (
                "http://a.com:8080/p/q.php?k1=v1&k2#R",
                "http",
                "a.com",
                Some(8080),
                "/p/q.php",
                Some("k1=v1&k2"),
                "R",
            ),
            ("http://a.com/p?", "http", "a.com", None, "/p", Some(""), ""),
            ("https://user:word@a.com", "https", "a.com", None, "", None, ""),
            ("mailto:test@a.com", "mailto", "", None, "", None, ""),
            ("foo", "", "", None, "foo", None, ""),
            ("http://[::1]:80/x", "http", "[::1]", Some(80), "/x", None, ""),
        ] {
            let url = take_apart(text).unwrap();
            let found = (url.scheme, url.host, url.port, url.path, url.query, url.fragment);
            assert_eq!(found, (scheme, host, port, path, query, fragment), "{text}");
        }
        for text in ["http://a.com/^", "http://a.com/%zz", "a b"] {
            assert!(take_apart(text).is_none(), "{text}");
        }
    }
}
