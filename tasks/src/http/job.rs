//! Jobs that a request started: their handle, their state, the look-up by key, the stop.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{
    Cancel, Lookup, Poll, QUESTION_TIMEOUT, Stored,
    exchange::{ANSWER_BYTES_MAX, Answer, Outgoing, Silence, exchange, place},
    read::{self, Place, text_at},
    wrong,
};
use crate::{
    aws::url_part,
    clients::Clients,
    operator::{ErrorClass, Failure, Handle, Outputs, Request, Status},
    scalar::Scalar,
};

/// What is kept of a job.
#[derive(Debug, Deserialize, Serialize)]
struct Job {
    url: String,
    headers: IndexMap<String, Value>,
    poll: Poll,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    outputs: IndexMap<String, String>,
    /// Method and URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cancel: Option<(super::Method, String)>,
}

/// The job that an answer to the request names.
pub(super) fn handle(
    stored: &Stored,
    poll: &Poll,
    request: &Request,
    answer: &Answer,
) -> Result<Handle, Failure> {
    let json = answer.json();
    let at = |text: &str, what: &str| -> Result<String, Failure> {
        Place::read(text, what)?.text(answer, json.as_ref()).ok_or_else(|| {
            // The job may run, and nobody could ever ask about it: said at once, with the answer.
            wrong(format!(
                "{}: the answer holds nothing at {what} `{text}`, so the job cannot be asked about: {}",
                stored.label(),
                answer.shown()
            ))
        })
    };
    let id = match &poll.id_from {
        Some(place) => at(place, "poll `id_from`")?,
        None => request.token.clone(),
    };
    let url = match (&poll.url, &poll.url_from) {
        (Some(url), _) => url.replace("{id}", &url_part(&id)),
        (None, Some(place)) => {
            let named = at(place, "poll `url_from`")?;
            let joined =
                answer.url.join(&named).map_err(|error| wrong(format!("poll `url_from`: {error}")))?;
            joined.to_string()
        }
        (None, None) => return Err(wrong("poll: says neither `url` nor `url_from`")),
    };
    make(stored, poll, request, id, url)
}

fn make(stored: &Stored, poll: &Poll, request: &Request, id: String, url: String) -> Result<Handle, Failure> {
    let parsed = Url::parse(&url).map_err(|error| wrong(format!("poll: `{url}` is no URL: {error}")))?;
    let first = Url::parse(&stored.url).map_err(|error| wrong(error.to_string()))?;
    // Headers were meant for the service that took the request, not for whatever it names.
    let headers = if parsed.origin() == first.origin() { stored.headers.clone() } else { IndexMap::new() };
    let headers =
        headers.into_iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-type")).collect();
    let cancel = stored.cancel.as_ref().map(|Cancel { url: named, method }| {
        let target =
            named.as_ref().map_or_else(|| url.clone(), |named| named.replace("{id}", &url_part(&id)));
        (*method, target)
    });
    let job = Job { url, headers, poll: poll.clone(), outputs: stored.outputs.clone(), cancel };
    let detail = serde_json::to_value(job).map_err(|error| wrong(error.to_string()))?;
    Ok(Handle { connection: request.connection.clone(), id, detail })
}

/// Looks for the job of a request's key.
pub(super) async fn look(
    clients: &Clients,
    stored: &Stored,
    lookup: &Lookup,
    request: &Request,
) -> Result<Option<Handle>, Failure> {
    let Some(poll) = &stored.poll else { return Ok(None) };
    let url = lookup.url.replace("{key}", &url_part(&request.token));
    let answer = question(clients, &url, &stored.headers).await?;
    if answer.status == 404 {
        return Ok(None);
    }
    if !answer.is_success() {
        return Err(read::refusal("the look-up of the key", &answer));
    }
    let found = answer.json().unwrap_or(Value::Null);
    let job = lookup.job.as_deref().map_or(Some(&found), |pointer| found.pointer(pointer));
    let Some(job) = job.filter(|job| !job.is_null()) else { return Ok(None) };
    // The job, as if it had been the answer to the request.
    let as_answer = Answer { body: job.to_string().into_bytes(), ..answer };
    handle(stored, poll, request, &as_answer).map(Some)
}

async fn question(
    clients: &Clients,
    url: &str,
    headers: &IndexMap<String, Value>,
) -> Result<Answer, Failure> {
    let outgoing = Outgoing { method: "GET", url, headers, body: None, answer_max: ANSWER_BYTES_MAX };
    let shown = || Url::parse(url).map_or_else(|_| url.to_owned(), |url| place(&url));
    exchange(clients, outgoing, QUESTION_TIMEOUT).await.map_err(|silence| match silence {
        Silence::NotSent(reason) | Silence::Unanswered(reason) => {
            Failure::new(ErrorClass::System, format!("HTTP GET {}: {reason}", shown()))
        }
        Silence::Wrong(reason) => wrong(format!("HTTP GET {}: {reason}", shown())),
        Silence::TooLong(status) => read::too_long(&format!("HTTP GET {}", shown()), status),
    })
}

/// How a job is.
pub(super) async fn status(clients: &Clients, handle: &Handle) -> Status {
    let job = match Job::deserialize(&handle.detail) {
        Ok(job) => job,
        Err(error) => return Status::Gone(wrong(format!("the stored handle cannot be read: {error}"))),
    };
    match question(clients, &job.url, &job.headers).await {
        Ok(answer) => job.status(handle, &answer),
        // What cannot be read now cannot be read later either.
        Err(failure) if failure.class == ErrorClass::Config => Status::Failed(failure),
        Err(failure) => Status::Unavailable(failure),
    }
}

/// Asks the service to stop a job. `false` if the task does not say how.
pub(super) async fn stop(clients: &Clients, handle: &Handle) -> Result<bool, Failure> {
    let job = Job::deserialize(&handle.detail)
        .map_err(|error| wrong(format!("the stored handle cannot be read: {error}")))?;
    let Some((method, url)) = &job.cancel else { return Ok(false) };
    let outgoing = Outgoing {
        method: method.word(),
        url,
        headers: &job.headers,
        body: None,
        answer_max: ANSWER_BYTES_MAX,
    };
    let answer = exchange(clients, outgoing, QUESTION_TIMEOUT).await.map_err(|silence| {
        Failure::new(ErrorClass::System, format!("the request to stop job {}: {silence:?}", handle.id))
    })?;
    // 404 and 409: it has ended already, which the next poll sees.
    if answer.is_success() || matches!(answer.status, 404 | 409 | 410) {
        return Ok(true);
    }
    Err(read::refusal("the request to stop the job", &answer))
}

impl Job {
    fn status(&self, handle: &Handle, answer: &Answer) -> Status {
        match answer.status {
            200..=299 => {}
            404 | 410 => return Status::Gone(read::refusal("the question about the job", answer)),
            429 => return Status::Throttled(read::refusal("the question about the job", answer)),
            // A refusal says nothing about the job, so it never ends one.
            _ => return Status::Unavailable(read::refusal("the question about the job", answer)),
        }
        let running = |word: &str| Status::Running { remote_state: word.to_owned(), poll_at: None };
        let Some(pointer) = &self.poll.state else {
            return if answer.status == 202 { running("202") } else { self.succeeded(handle, answer) };
        };
        let json = answer.json().unwrap_or(Value::Null);
        let Some(word) = text_at(&json, pointer) else { return running("?") };
        let is_in = |words: &[Scalar]| words.iter().any(|known| known.0 == word);
        if is_in(&self.poll.succeeded) {
            return self.succeeded(handle, answer);
        }
        let reason = || {
            let named = self.poll.error.as_deref().and_then(|pointer| text_at(&json, pointer));
            named.unwrap_or_else(|| answer.shown())
        };
        if is_in(&self.poll.failed) {
            let message = format!("job {} is {word}: {}", handle.id, reason());
            return Status::Failed(Failure::new(ErrorClass::Failed, message).with_code(word));
        }
        if is_in(&self.poll.cancelled) {
            let message = format!("job {} is {word}: {}", handle.id, reason());
            return Status::Cancelled(Failure::new(ErrorClass::Cancelled, message).with_code(word));
        }
        running(&word)
    }

    fn succeeded(&self, handle: &Handle, answer: &Answer) -> Status {
        let mut outputs = Outputs::new();
        outputs.insert("id".to_owned(), handle.id.clone().into());
        match read::outcome(&self.outputs, answer, outputs) {
            Ok(outcome) => Status::Succeeded(outcome),
            Err(failure) => Status::Failed(failure),
        }
    }
}
