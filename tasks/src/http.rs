//! `http`: one request over HTTP; or a job at a service that takes it by a request and tells by
//! another how it is.
//!
//! **Safe start**: HTTP itself says which requests may be repeated: `GET`, `HEAD`, `PUT` and
//! `DELETE` mean the same sent twice. A `POST` or `PATCH` whose answer was lost is repeated only
//! if the service can tell the repetition: `idempotency` puts a key made of the attempt's id into
//! a header or a field, and `lookup` asks the service for the job of that key first. Or if the
//! task says `idempotent: true`. Else the attempt ends as `lost`.
//!
//! Without `poll` the request is the whole job: its answer is the result. With `poll` a request
//! that was taken starts a job, which is asked about until a state ends it; words that the task
//! does not list are not terminal.
//!
//! Stored requests hold what the task says, so that a secret must not stand there as text.

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use self::exchange::{ANSWER_BYTES_MAX, Answer, Outgoing, Silence, exchange, place};
use crate::{
    aws::{ask_again, next_look, repeat},
    clients::{Clients, START_TIMEOUT},
    operator::{
        ErrorClass, Failure, Found, Handle, Intent, Operator, Outputs, PrepareContext, Request, Sent, Status,
    },
    registry::Options,
    released::Released,
    scalar::Scalar,
};

pub mod exchange;
mod job;
mod read;
pub(crate) mod settings;

#[cfg(test)]
mod tests;

/// The longest that an answer can be waited for; what servers and proxies bear at most.
const ANSWER_WITHIN_MAX: Duration = Duration::from_secs(15 * 60);

/// The longest body that is sent: it is stored with the attempt.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The longest that one question about a job takes.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The operator.
#[derive(Debug)]
pub struct Http {
    released: Released,
    quarantine: Duration,
}

/// Settings of an `http` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where the request goes, `https://…` or `http://…`.
    pub url: String,
    /// `GET`, `HEAD`, `PUT`, `DELETE`, `POST` or `PATCH`.
    #[serde(default)]
    pub method: Method,
    /// Headers. They are stored with the attempt: no place for a secret as text.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, Scalar>")]
    pub headers: IndexMap<String, Value>,
    /// A body in JSON; sets `content-type`. At most 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// A body as text, instead of `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Statuses that mean success. Without it, 200 to 299.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<u16>,
    /// How long the answer is waited for, in seconds; at most 900, with `poll` at most 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 900))]
    pub answer_within: Option<u64>,
    /// Where the service takes a key by which it knows a repeated request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Says that sending the request twice does no harm.
    #[serde(default)]
    pub idempotent: bool,
    /// Values of the answer that become outputs, by JSON pointer: `{ rows: /result/rows }`.
    /// Without it, the output `body` is the whole answer, at most 256 KiB. With `poll`, of the
    /// answer that showed the end.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub outputs: IndexMap<String, String>,
    /// The request starts a job: how to ask about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Poll>,
    /// How to find the job of a key, before a request whose answer was lost is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookup: Option<Lookup>,
    /// How to stop the job. Without it, a cancelled task only stops asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
}

/// The methods that a request may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Ask.
    #[default]
    Get,
    /// Ask for the headers.
    Head,
    /// Put in place.
    Put,
    /// Remove.
    Delete,
    /// Hand in.
    Post,
    /// Change.
    Patch,
}

/// Where the key goes; say one of them.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Idempotency {
    /// A header, such as `Idempotency-Key`.
    Header(String),
    /// A field of the `json` object.
    Field(String),
}

/// How a job is asked about.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// Where to ask; `{id}` stands for the job's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where the answer to the request says where to ask, instead of `url`: a JSON pointer such
    /// as `/links/self`, or `header:Location`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_from: Option<String>,
    /// Where the answer to the request holds the job's id: a JSON pointer such as `/id`, or
    /// `header:NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_from: Option<String>,
    /// Where the state stands, a JSON pointer. Without it, status 202 means that the job runs
    /// and any other success that it has ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// States that mean success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub succeeded: Vec<Scalar>,
    /// States that mean failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Scalar>,
    /// States that mean that somebody stopped it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<Scalar>,
    /// Where the reason of a failure stands, a JSON pointer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How the job of a key is looked for.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// Where to ask; `{key}` stands for the key.
    pub url: String,
    /// Where the answer holds the job, a JSON pointer such as `/items/0`; without it, the answer
    /// is the job. Status 404, or nothing there, means that there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
}

/// How a job is stopped.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// Where to ask for the stop; `{id}` stands for the job's id. Without it, where the job is
    /// asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The request's method.
    pub method: Method,
}

/// What a stored request holds.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Stored {
    method: Method,
    url: String,
    headers: IndexMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    expect: Vec<u16>,
    answer_within_seconds: u64,
    /// Whether a request that may have arrived may be sent again.
    repeatable: bool,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    outputs: IndexMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    poll: Option<Poll>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lookup: Option<Lookup>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cancel: Option<Cancel>,
}

impl Http {
    /// Takes the scale of time of the options.
    pub fn new(options: &Options) -> Self {
        Self { released: Released::default(), quarantine: options.quarantine }
    }
}

impl Operator for Http {
    const TYPE: &'static str = "http";
    const EXAMPLE: &'static str = "\
type: http
url: https://reports.example.com/v1/jobs
method: POST
json: { report: daily, day: '2026-11-19' }
idempotency: { header: Idempotency-Key }
poll:
  id_from: /id
  url: https://reports.example.com/v1/jobs/{id}
  state: /status
  succeeded: [DONE]
  failed: [ERROR]
  error: /message
outputs: { rows: /result/rows }
timeout: 2h
";
    const GUARANTEE: &'static str = "`GET`, `HEAD`, `PUT` and `DELETE` are repeated after a lost answer. Others \
         only with `idempotency` (the same key again, after a `lookup` if there is one) or `idempotent: true`; \
         else an interrupted request ends as `lost`.";
    const SECRETS: &'static [&'static str] = &["headers"];
    type Config = HttpConfig;

    fn default_timeout(&self) -> Duration {
        // Nothing limits the job but the service: a day, so that one that never ends is said.
        Duration::from_secs(24 * 60 * 60)
    }

    fn label(&self, request: &Request) -> String {
        match Stored::deserialize(&request.body) {
            Ok(stored) => stored.label(),
            Err(_) => "HTTP request".to_owned(),
        }
    }

    fn prepare(&self, config: &HttpConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        let stored = settings::stored(config, cx)?;
        let body = serde_json::to_value(stored).map_err(|error| wrong(error.to_string()))?;
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    fn start_limit(&self, request: &Request) -> Duration {
        request.body["answer_within_seconds"].as_u64().map_or(START_TIMEOUT, Duration::from_secs)
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let stored = match read_stored(&intent.request.body) {
            Ok(stored) => stored,
            Err(failure) => return Sent::Refused(failure),
        };
        let limit = Duration::from_secs(stored.answer_within_seconds);
        match exchange(clients, stored.outgoing(), limit).await {
            Ok(answer) => stored.answered(intent.request, &answer),
            Err(silence) => stored.unanswered(silence),
        }
    }

    async fn find(&self, clients: &Clients, intent: &Intent<'_>) -> Found {
        let request = intent.request;
        let stored = match read_stored(&request.body) {
            Ok(stored) => stored,
            Err(failure) => return Found::Lost(failure),
        };
        if let Some(lookup) = &stored.lookup {
            return match job::look(clients, &stored, lookup, request).await {
                Ok(Some(handle)) => Found::Found(handle),
                // The service may show it later than it took it.
                Ok(None) => match next_look(intent, self.quarantine) {
                    Some(again_at) => Found::NotYetKnown {
                        again_at,
                        reason: format!("the service shows no job of key {} yet", request.token),
                    },
                    None => Found::ProvedAbsent,
                },
                Err(failure) => ask_again(intent, self.quarantine, &failure),
            };
        }
        if stored.repeatable {
            return repeat(intent, self.quarantine);
        }
        Found::Lost(Failure::new(
            ErrorClass::Lost,
            format!(
                "nobody can tell whether {} arrived: its answer was lost. `idempotency` (if the service takes a \
                 key) or `idempotent: true` would let Trunkline send it again",
                stored.label()
            ),
        ))
    }

    async fn poll(&self, clients: &Clients, handles: &[Handle]) -> Vec<Status> {
        let mut statuses = Vec::with_capacity(handles.len());
        for handle in handles {
            if self.released.contains(&handle.id) {
                self.released.remove(&handle.id);
                let message = "no longer watched; the task names no way to stop the job, which may go on";
                statuses.push(Status::Cancelled(Failure::new(ErrorClass::Cancelled, message)));
                continue;
            }
            statuses.push(job::status(clients, handle).await);
        }
        statuses
    }

    async fn cancel(&self, clients: &Clients, handle: &Handle) -> Result<(), Failure> {
        if job::stop(clients, handle).await? {
            return Ok(());
        }
        self.released.add(&handle.id);
        Ok(())
    }
}

impl Method {
    fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Post => "POST",
            Self::Patch => "PATCH",
        }
    }

    /// Whether HTTP says that sending it twice means the same as once.
    fn is_idempotent(self) -> bool {
        !matches!(self, Self::Post | Self::Patch)
    }
}

impl Stored {
    fn outgoing(&self) -> Outgoing<'_> {
        Outgoing {
            method: self.method.word(),
            url: &self.url,
            headers: &self.headers,
            body: self.body.as_deref().map(str::as_bytes),
            answer_max: ANSWER_BYTES_MAX,
        }
    }

    /// Without the query, which may hold what nobody should read.
    fn label(&self) -> String {
        let place = Url::parse(&self.url).map_or_else(|_| "?".to_owned(), |url| place(&url));
        format!("HTTP {} {place}", self.method.word())
    }

    fn is_expected(&self, answer: &Answer) -> bool {
        if self.expect.is_empty() { answer.is_success() } else { self.expect.contains(&answer.status) }
    }

    /// What an answer to the request means.
    fn answered(&self, request: &Request, answer: &Answer) -> Sent {
        if self.is_expected(answer) {
            return match &self.poll {
                Some(poll) => match job::handle(self, poll, request, answer) {
                    Ok(handle) => Sent::Accepted(handle),
                    Err(failure) => Sent::Refused(failure),
                },
                None => match read::outcome(&self.outputs, answer, Outputs::new()) {
                    Ok(outcome) => Sent::Done(outcome),
                    Err(failure) => Sent::Refused(failure),
                },
            };
        }
        let failure = read::refusal(&self.label(), answer);
        match answer.status {
            429 => Sent::Throttled(failure),
            // The service broke while it worked at it: whether it acted is open, unless it was the
            // whole of a job that may be repeated, which then has simply failed.
            408 | 500..=599 if self.poll.is_some() || !self.repeatable => Sent::Unknown(failure),
            _ => Sent::Refused(failure),
        }
    }

    fn unanswered(&self, silence: Silence) -> Sent {
        let label = self.label();
        match silence {
            Silence::NotSent(reason) => {
                let message = format!("{label}: no connection could be made: {reason}");
                Sent::Refused(Failure::new(ErrorClass::System, message))
            }
            Silence::Wrong(reason) => Sent::Refused(wrong(format!("{label}: {reason}"))),
            Silence::Unanswered(reason) => {
                Sent::Unknown(Failure::new(ErrorClass::System, format!("{label}: {reason}")))
            }
            Silence::TooLong(status) => Sent::Refused(read::too_long(&label, status)),
        }
    }
}

fn read_stored(body: &Value) -> Result<Stored, Failure> {
    Stored::deserialize(body).map_err(|error| wrong(format!("the stored request cannot be read: {error}")))
}

fn wrong(message: impl Into<String>) -> Failure {
    Failure::new(ErrorClass::Config, message)
}
