//! The Query protocol (SNS, STS, IAM): form-encoded requests, XML answers.

use std::fmt::Write;

use http::{HeaderValue, Response};
use s3s::Body;

use super::{ApiError, CallContext};

/// The longest request body that is read: a batch of ten 256 KiB messages, percent-encoded threefold, plus room.
pub(crate) const BODY_MAX: usize = 10 * 1024 * 1024;

/// A decoded form or query string, in the order it was sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Form {
    pairs: Vec<(String, String)>,
}

impl Form {
    /// Decodes `a=b&c=d`; `+` and percent escapes are undone, malformed escapes are kept as they are.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (percent_decode(name), percent_decode(value))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All pairs, in the order they were sent.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the name is there, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A value that the operation cannot do without.
    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| {
            ApiError::new(400, "ValidationError", format!("1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"))
        })
    }

    /// A list `PREFIX.member.1.FIELD…` or `PREFIX.entry.1.FIELD…`: one form per element, with the rest of
    /// the name (the empty name for a list of plain values).
    pub(crate) fn list(&self, prefix: &str) -> Vec<Form> {
        let mut elements: Vec<(u32, Form)> = Vec::new();
        for (name, value) in &self.pairs {
            let Some((index, field)) = element_name(name, prefix) else { continue };
            let pair = (field.to_owned(), value.clone());
            match elements.iter_mut().find(|(known, _)| *known == index) {
                Some((_, form)) => form.pairs.push(pair),
                None => elements.push((index, Form { pairs: vec![pair] })),
            }
        }
        elements.sort_by_key(|(index, _)| *index);
        elements.into_iter().map(|(_, form)| form).collect()
    }

    /// A map `PREFIX.entry.1.key` / `.value` (or `Name`/`Value` for message attributes' names).
    pub(crate) fn map(&self, prefix: &str) -> Vec<(String, String)> {
        let entry = |form: &Form| {
            let key = form.get("key").or_else(|| form.get("Name"))?;
            let value = form.get("value").or_else(|| form.get("Value")).unwrap_or_default();
            Some((key.to_owned(), value.to_owned()))
        };
        self.list(prefix).iter().filter_map(entry).collect()
    }

    /// Builds a form from pairs, for calls that the sandbox makes to itself.
    pub(crate) fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        Self { pairs }
    }
}

fn element_name<'a>(name: &'a str, prefix: &str) -> Option<(u32, &'a str)> {
    let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
    let rest = rest.strip_prefix("member.").or_else(|| rest.strip_prefix("entry.")).unwrap_or(rest);
    let (index, field) = rest.split_once('.').unwrap_or((rest, ""));
    Some((index.parse().ok()?, field))
}

/// Undoes percent escapes and `+`.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = bytes
            .get(at + 1..at + 3)
            .filter(|_| byte == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let plain = if byte == b'+' { b' ' } else { byte };
        decoded.push(escape.unwrap_or(plain));
        at += if escape.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// XML being written: elements are opened and closed by nesting of calls, text is escaped.
#[derive(Debug, Default)]
pub(crate) struct Xml {
    text: String,
}

impl Xml {
    /// Writes `<name>…</name>` around what `inside` writes.
    pub(crate) fn nest(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.push_tag(name, false);
        inside(self);
        self.push_tag(name, true);
    }

    /// Writes `<name>text</name>`.
    pub(crate) fn leaf(&mut self, name: &str, text: &str) {
        self.nest(name, |xml| escape_into(&mut xml.text, text));
    }

    /// Writes a map as the Query protocol does: `<entry><key/><value/></entry>` for each pair.
    pub(crate) fn map<'a>(&mut self, name: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) {
        self.nest(name, |xml| {
            for (key, value) in pairs {
                xml.nest("entry", |xml| {
                    xml.leaf("key", key);
                    xml.leaf("value", &value);
                });
            }
        });
    }

    fn push_tag(&mut self, name: &str, closing: bool) {
        self.text.push_str(if closing { "</" } else { "<" });
        self.text.push_str(name);
        self.text.push('>');
    }
}

fn escape_into(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way at all to say most control characters.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' => out.push('\u{fffd}'),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
}

/// An answer in this protocol: the result's members as written by the service, in the usual wrapping.
pub(crate) fn answer(result: Result<Xml, ApiError>, cx: &CallContext) -> Response<Body> {
    let (status, body) = match result {
        Ok(members) => (200, success(cx, &members)),
        Err(error) => (error.status, failure(cx, &error)),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(&cx.request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

fn namespace(service: &str) -> &'static str {
    match service {
        "sts" => "https://sts.amazonaws.com/doc/2011-06-15/",
        "iam" => "https://iam.amazonaws.com/doc/2010-05-08/",
        _ => "http://sns.amazonaws.com/doc/2010-03-31/",
    }
}

fn success(cx: &CallContext, members: &Xml) -> String {
    let (operation, id) = (&cx.operation, &cx.request_id);
    let mut body = String::with_capacity(members.text.len() + 256);
    // Writing to a string cannot fail.
    let _ = write!(body, "<{operation}Response xmlns=\"{}\"><{operation}Result>", namespace(&cx.service));
    body.push_str(&members.text);
    let _ = write!(
        body,
        "</{operation}Result><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
    );
    body
}

fn failure(cx: &CallContext, error: &ApiError) -> String {
    let mut xml = Xml::default();
    xml.nest("Error", |xml| {
        xml.leaf("Type", if error.status < 500 { "Sender" } else { "Receiver" });
        xml.leaf("Code", &error.code);
        xml.leaf("Message", &error.message);
    });
    xml.leaf("RequestId", &cx.request_id);
    format!("<ErrorResponse xmlns=\"{}\">{}</ErrorResponse>", namespace(&cx.service), xml.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_forms() {
        let form = Form::parse("Action=Publish&Message=a%26b+c%C3%A9&Broken=%zz&Empty");
        assert_eq!(form.get("Message"), Some("a&b cé"));
        assert_eq!(form.get("Broken"), Some("%zz"));
        assert_eq!(form.get("Empty"), Some(""));
        assert_eq!(form.get("Missing"), None);
    }

    #[test]
    fn reads_lists_and_maps_in_index_order() {
        let form = Form::parse(
            "A.entry.10.key=j&A.entry.10.value=10&A.entry.2.key=b&A.entry.2.value=2&L.member.1=x",
        );
        assert_eq!(form.map("A"), [("b".into(), "2".into()), ("j".into(), "10".into())]);
        assert_eq!(form.list("L")[0].get(""), Some("x"));
    }

    #[test]
    fn escapes_what_xml_cannot_say() {
        let mut xml = Xml::default();
        xml.leaf("M", "a<b>&\"\u{1}\r");
        assert_eq!(xml.text, "<M>a&lt;b&gt;&amp;&quot;\u{fffd}&#13;</M>");
    }
}
