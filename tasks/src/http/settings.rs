//! From the settings of a task to the request that is stored: rules that a schema cannot say.

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::{
    ANSWER_WITHIN_MAX, BODY_BYTES_MAX, HttpConfig, Idempotency, Method, Poll, Stored, read::Place, wrong,
};
use crate::{
    clients::START_TIMEOUT,
    operator::{Failure, PrepareContext},
};

/// Headers that the client sets itself, or that would change what is sent.
const OWN_HEADERS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];

/// The request as it is stored.
pub(super) fn stored(config: &HttpConfig, cx: &PrepareContext<'_>) -> Result<Stored, Failure> {
    check_url(&config.url, "url")?;
    let key = cx.attempt_id.to_string();
    let mut headers = config.headers.clone();
    for (name, value) in &headers {
        if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(wrong(format!("headers: `{name}` is set by the client itself")));
        }
        if value.is_array() || value.is_null() {
            return Err(wrong(format!("headers: `{name}` must be one text")));
        }
    }
    let mut json = config.json.clone();
    match &config.idempotency {
        Some(Idempotency::Header(name)) => {
            headers.insert(name.clone(), json!(key));
        }
        Some(Idempotency::Field(name)) => match &mut json {
            Some(Value::Object(fields)) => {
                fields.insert(name.clone(), json!(key));
            }
            _ => return Err(wrong("idempotency: `field` needs `json` to be an object")),
        },
        None => {}
    }
    let body = body(config, json.as_ref())?;
    let has_type = headers.keys().any(|name| name.eq_ignore_ascii_case("content-type"));
    if json.is_some() && !has_type {
        headers.insert("content-type".to_owned(), json!("application/json"));
    }
    check_job(config)?;
    Ok(Stored {
        method: config.method,
        url: config.url.clone(),
        headers,
        body,
        expect: config.expect.clone(),
        answer_within_seconds: answer_within(config, cx.timeout)?.as_secs().max(1),
        repeatable: config.idempotent || config.idempotency.is_some() || config.method.is_idempotent(),
        outputs: config.outputs.clone(),
        poll: config.poll.clone(),
        lookup: config.lookup.clone(),
        cancel: config.cancel.clone(),
    })
}

fn body(config: &HttpConfig, json: Option<&Value>) -> Result<Option<String>, Failure> {
    let body = match (json, &config.body) {
        (Some(_), Some(_)) => return Err(wrong("say either `json` or `body`")),
        (Some(json), None) => Some(json.to_string()),
        (None, body) => body.clone(),
    };
    if body.is_some() && matches!(config.method, Method::Get | Method::Head) {
        return Err(wrong(format!("method: a {} has no body; say `method: POST`", config.method.word())));
    }
    match &body {
        Some(body) if body.len() > BODY_BYTES_MAX => Err(wrong(format!(
            "the body has {} bytes and may have {BODY_BYTES_MAX}: put the data into S3 and send its address",
            body.len()
        ))),
        _ => Ok(body),
    }
}

fn answer_within(config: &HttpConfig, timeout: Duration) -> Result<Duration, Failure> {
    let most = if config.poll.is_some() { START_TIMEOUT } else { ANSWER_WITHIN_MAX };
    let asked = config.answer_within.map_or(START_TIMEOUT, Duration::from_secs);
    if asked.is_zero() || asked > most {
        return Err(wrong(format!("answer_within: must be from 1 to {} seconds here", most.as_secs())));
    }
    Ok(asked.min(timeout))
}

fn check_job(config: &HttpConfig) -> Result<(), Failure> {
    for (name, pointer) in &config.outputs {
        Place::pointer(pointer, &format!("outputs: `{name}`"))?;
    }
    let Some(poll) = &config.poll else {
        if config.lookup.is_some() || config.cancel.is_some() {
            return Err(wrong("`lookup` and `cancel` are about a job: say with `poll` how to ask about it"));
        }
        return Ok(());
    };
    check_poll(poll)?;
    if let Some(lookup) = &config.lookup {
        check_url(&lookup.url, "lookup: `url`")?;
        if config.idempotency.is_none() || !lookup.url.contains("{key}") {
            return Err(wrong(
                "lookup: it looks for the key of `idempotency`: say where the key goes, and put `{key}` into its `url`",
            ));
        }
        if let Some(job) = &lookup.job {
            Place::pointer(job, "lookup: `job`")?;
        }
    }
    match config.cancel.as_ref().and_then(|cancel| cancel.url.as_deref()) {
        Some(url) => check_url(url, "cancel: `url`"),
        None => Ok(()),
    }
}

fn check_poll(poll: &Poll) -> Result<(), Failure> {
    match (&poll.url, &poll.url_from) {
        (Some(url), None) => check_url(url, "poll: `url`")?,
        (None, Some(place)) => {
            Place::read(place, "poll: `url_from`")?;
        }
        _ => return Err(wrong("poll: say either `url` or `url_from`")),
    }
    if let Some(place) = &poll.id_from {
        Place::read(place, "poll: `id_from`")?;
    } else if poll.url.as_ref().is_some_and(|url| url.contains("{id}")) {
        return Err(wrong("poll: `{id}` needs `id_from`, which says where the answer holds the job's id"));
    }
    match &poll.state {
        Some(state) => {
            Place::pointer(state, "poll: `state`")?;
            if poll.succeeded.is_empty() {
                return Err(wrong("poll: `state` needs `succeeded`, the states that mean success"));
            }
        }
        None if !(poll.succeeded.is_empty() && poll.failed.is_empty() && poll.cancelled.is_empty()) => {
            return Err(wrong("poll: `succeeded`, `failed` and `cancelled` need `state`"));
        }
        None => {}
    }
    match &poll.error {
        Some(error) => Place::pointer(error, "poll: `error`").map(|_| ()),
        None => Ok(()),
    }
}

pub(crate) fn check_url(text: &str, what: &str) -> Result<(), Failure> {
    let plain = text.replace("{id}", "x").replace("{key}", "x");
    let url = Url::parse(&plain)
        .map_err(|error| wrong(format!("{what}: `{text}` is no URL ({error}); write https://host/path")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong(format!("{what}: only https:// and http:// are spoken")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(format!("{what}: no user and no password in a URL, which is stored and shown")));
    }
    Ok(())
}
