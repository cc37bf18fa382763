//! One exchange over HTTP: a request goes out, an answer of limited size comes back. For tasks, and for
//! commands that ask a server.
//!
//! Here stand redirects, limits and what a failure of the way means. What an answer means for a
//! job is not decided here. The client library is the one that the AWS SDK brings along.

use std::time::Duration;

use aws_smithy_runtime_api::{
    client::http::HttpConnector as _, client::orchestrator::HttpRequest, http::Headers,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use indexmap::IndexMap;
use serde_json::Value;
use url::Url;

use crate::{
    aws::error::{causes, is_never_connected},
    clients::{Clients, is_loopback},
};

/// The longest answer that is read: an output holds a quarter of it, and nobody needs more to
/// see a state.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Redirects of one exchange: what browsers need for a login is more than a service has.
const REDIRECTS_MAX: usize = 5;

/// What the other side sees as the caller.
const USER_AGENT: &str = concat!("trunkline/", env!("CARGO_PKG_VERSION"));

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// `GET`, `POST` and the like.
    pub method: &'a str,
    /// Where to.
    pub url: &'a str,
    /// Its headers.
    pub headers: &'a IndexMap<String, Value>,
    /// Its body.
    pub body: Option<&'a [u8]>,
    /// The longest answer that is read, in bytes.
    pub answer_max: usize,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    pub(crate) headers: Headers,
    /// The body, whole.
    pub body: Vec<u8>,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing was sent.
    NotSent(String),
    /// The request cannot be sent as it is written.
    Wrong(String),
    /// It went out, and no whole answer came back.
    Unanswered(String),
    /// The answer is longer than is read.
    TooLong(u16),
}

/// Sends a request and reads the answer, within this time. Redirects are followed for `GET` and
/// `HEAD` only: to repeat anything else elsewhere is not what was asked for.
pub async fn exchange(clients: &Clients, outgoing: Outgoing<'_>, limit: Duration) -> Result<Answer, Silence> {
    match tokio::time::timeout(limit, follow(clients, outgoing)).await {
        Ok(result) => result,
        Err(_) => Err(Silence::Unanswered(format!("no answer within {}s", limit.as_secs_f64()))),
    }
}

async fn follow(clients: &Clients, outgoing: Outgoing<'_>) -> Result<Answer, Silence> {
    let first = Url::parse(outgoing.url).map_err(|error| Silence::Wrong(error.to_string()))?;
    let may_follow = matches!(outgoing.method, "GET" | "HEAD");
    let mut url = first.clone();
    for _ in 0..=REDIRECTS_MAX {
        // Another place gets no header that was meant for the first one.
        let own = url.origin() == first.origin();
        let answer = send(clients, outgoing, url, own).await?;
        let target = answer.redirect().filter(|_| may_follow);
        let Some(target) = target else { return Ok(answer) };
        if answer.url.scheme() == "https" && target.scheme() != "https" {
            let message = format!("{} redirects from https to {}", place(&answer.url), target.scheme());
            return Err(Silence::Wrong(message));
        }
        url = target;
    }
    Err(Silence::Wrong(format!("{} redirects more than {REDIRECTS_MAX} times", place(&first))))
}

async fn send(clients: &Clients, outgoing: Outgoing<'_>, url: Url, own: bool) -> Result<Answer, Silence> {
    let wrong = |error: &dyn std::fmt::Display| Silence::Wrong(error.to_string());
    let body = outgoing.body.map_or_else(SdkBody::empty, SdkBody::from);
    let mut request = HttpRequest::new(body);
    request.set_method(outgoing.method).map_err(|error| wrong(&error))?;
    request.set_uri(url.as_str()).map_err(|error| wrong(&error))?;
    request.headers_mut().insert("user-agent", USER_AGENT);
    for (name, value) in outgoing.headers.iter().filter(|_| own) {
        let text = header_text(value);
        request
            .headers_mut()
            .try_insert(name.to_ascii_lowercase(), text)
            .map_err(|_| Silence::Wrong(format!("header `{name}` has a value that no header can have")))?;
    }
    let connector = clients.plain_http(is_loopback(url.as_str()));
    let response = connector.call(request).await.map_err(|error| {
        let text = causes(&error);
        if is_never_connected(&error) { Silence::NotSent(text) } else { Silence::Unanswered(text) }
    })?;
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = read(status, response.into_body(), outgoing.answer_max).await?;
    Ok(Answer { status, headers, body, url })
}

async fn read(status: u16, body: SdkBody, most: usize) -> Result<Vec<u8>, Silence> {
    let mut stream = ByteStream::new(body);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| Silence::Unanswered(causes(&error)))?;
        if bytes.len() + piece.len() > most {
            return Err(Silence::TooLong(status));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// A header value as it is sent. Marks of secrets have become their values before the call.
fn header_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Answer {
    /// An answer without headers.
    pub fn new(status: u16, body: Vec<u8>, url: Url) -> Self {
        Self { status, headers: Headers::new(), body, url }
    }

    /// Whether it says that all went well.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// One of its headers.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as JSON, if it is.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The beginning of the body, for people.
    pub(crate) fn shown(&self) -> String {
        const SHOWN_CHARS: usize = 2_000;
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        if text.is_empty() {
            return "without a text".to_owned();
        }
        let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown
    }

    /// What it is called at the service, for its support.
    pub(crate) fn request_id(&self) -> Option<String> {
        ["x-request-id", "request-id", "x-amzn-requestid", "x-correlation-id"]
            .iter()
            .find_map(|name| self.headers.get(*name))
            .map(str::to_owned)
    }

    fn redirect(&self) -> Option<Url> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        self.url.join(self.headers.get("location")?).ok()
    }
}

/// A URL without what may be a secret: no query, no user.
pub(crate) fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}
