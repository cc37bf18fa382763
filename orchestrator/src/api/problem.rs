//! Refusals as `application/problem+json` (RFC 9457): what clients can tell apart is `type`, what people
//! read is `detail`.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use trunkline_state::{machine::Refusal, store::StoreError};

use crate::{
    definition::{Diagnostics, params::ParamsError},
    engine::{AskError, EngineError, chain},
    service::{
        FindError, backfill::BackfillError, choose::ChooseError, foresee::ForeseeError, newest::MoveError,
        request::WantedError, token::Scope, trigger::TriggerError, views::DiagnosticView,
    },
};

/// What kind of refusal it is. Words are added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Malformed,
    Unauthenticated,
    Forbidden,
    NotFound,
    Method,
    TooSlow,
    Refused,
    TooLarge,
    MediaType,
    WrongHost,
    Invalid,
    TooMany,
    Internal,
    Unavailable,
}

impl Kind {
    pub(super) const ALL: [Self; 14] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Method,
        Self::TooSlow,
        Self::Refused,
        Self::TooLarge,
        Self::MediaType,
        Self::WrongHost,
        Self::Invalid,
        Self::TooMany,
        Self::Internal,
        Self::Unavailable,
    ];

    /// Status, word and title.
    pub(super) fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (StatusCode::BAD_REQUEST, "malformed", "The request cannot be read"),
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "Nobody knows who you are")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "You may not do this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::Method => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this HTTP method")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long to arrive"),
            Self::Refused => {
                (StatusCode::CONFLICT, "refused", "It cannot be done as things stand; nothing was changed")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
            Self::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is not application/json")
            }
            Self::WrongHost => {
                (StatusCode::MISDIRECTED_REQUEST, "wrong-host", "This server has another name")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "The request makes no sense"),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many clients at once"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server made a mistake"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The server cannot do it at this moment")
            }
        }
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    mistakes: Option<Box<Mistakes>>,
}

/// What is wrong with definitions.
#[derive(Clone, Debug)]
struct Mistakes {
    rows: Vec<DiagnosticView>,
    rendered: String,
}

/// As it is sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct ProblemView<'a> {
    /// Which kind of problem: `urn:trunkline:problem:<word>`; never changes.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what to do about it.
    detail: &'a str,
    /// Of definitions that are wrong: each mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<&'a [DiagnosticView]>,
    /// The same as text, as the commands print it.
    #[serde(skip_serializing_if = "Option::is_none")]
    rendered: Option<&'a str>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), mistakes: None }
    }

    /// Definitions with mistakes, each with its place.
    pub(super) fn mistakes(found: &Diagnostics) -> Self {
        let errors = match found.counts() {
            (1, _) => "1 error".to_owned(),
            (errors, _) => format!("{errors} errors"),
        };
        let detail = format!(
            "there is {errors} in the definitions, and nothing was deployed; `diagnostics` says where"
        );
        let mistakes = Mistakes { rows: DiagnosticView::rows(found), rendered: found.render(false) };
        Self { mistakes: Some(Box::new(mistakes)), ..Self::invalid(detail) }
    }

    /// The same, saying where was looked: somebody with this scope in some folders looks at more than that.
    pub(super) fn looked_for(mut self, scope: Scope) -> Self {
        if self.kind == Kind::NotFound {
            self.detail = format!("{} (looked for only where you have the scope `{scope}`)", self.detail);
        }
        self
    }

    /// What kind of refusal it is.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// What a person reads.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::new(Kind::Refused, detail)
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, word, title) = self.kind.parts();
        let view = ProblemView {
            kind: format!("urn:trunkline:problem:{word}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            diagnostics: self.mistakes.as_ref().map(|mistakes| mistakes.rows.as_slice()),
            rendered: self.mistakes.as_ref().map(|mistakes| mistakes.rendered.as_str()),
        };
        let body = serde_json::to_vec(&view).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"trunkline\""));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound { .. } => Self::not_found(error.to_string()),
            StoreError::NamesTaken { .. } | StoreError::ConnectionClosed { .. } => {
                Self::refused(error.to_string())
            }
            unreachable if unreachable.is_unreachable() => {
                Self::new(Kind::Unavailable, format!("{error}; send the request again in a moment"))
            }
            _ => {
                // The database's words may hold what others wrote; they are for the log.
                tracing::error!("a request failed: {}", chain(&error));
                Self::new(Kind::Internal, format!("{error}; the server's log says more"))
            }
        }
    }
}

impl From<FindError> for Problem {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Store(error) => error.into(),
            other => Self::not_found(other.to_string()),
        }
    }
}

impl From<ChooseError> for Problem {
    fn from(error: ChooseError) -> Self {
        match error {
            ChooseError::Store(error) => error.into(),
            ChooseError::Find(error) => error.into(),
            other => Self::invalid(other.to_string()),
        }
    }
}

impl From<WantedError> for Problem {
    fn from(error: WantedError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ParamsError> for Problem {
    fn from(error: ParamsError) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(reason) => Self::refused(reason),
            AskError::Store(error) => error.into(),
            other => Self::new(Kind::Unavailable, other.to_string()),
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            closed @ EngineError::Closed => Self::new(Kind::Unavailable, closed.to_string()),
        }
    }
}

impl From<MoveError> for Problem {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Refused(reason) => Self::refused(reason),
            MoveError::Find(error) => error.into(),
            MoveError::Store(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.0)
    }
}

impl From<ForeseeError> for Problem {
    fn from(error: ForeseeError) -> Self {
        match error {
            ForeseeError::Refused(reason) => Self::refused(reason),
            ForeseeError::Store(error) => error.into(),
        }
    }
}

impl From<TriggerError> for Problem {
    fn from(error: TriggerError) -> Self {
        match error {
            TriggerError::Store(error) => error.into(),
            TriggerError::Engine(error) => error.into(),
            other => Self::refused(other.to_string()),
        }
    }
}

impl From<BackfillError> for Problem {
    fn from(error: BackfillError) -> Self {
        match error {
            BackfillError::Store(error) => error.into(),
            other => Self::invalid(other.to_string()),
        }
    }
}
