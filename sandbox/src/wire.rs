//! The AWS wire protocols: who calls (signatures), what is called (JSON and Query requests), how it is
//! answered. Nothing here knows what an operation means.

pub(crate) mod json;
pub(crate) mod query;
pub(crate) mod rest;
pub(crate) mod signature;

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

#[cfg(test)]
use crate::world::ACCOUNT;

/// One call, as every service sees it.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    /// Service as in the credential scope: `glue`, `athena`, `sns`, `sqs`, `events`, `lambda`, `sts`.
    pub service: String,
    /// Operation in the API's own words.
    pub operation: String,
    /// The id under which this call is answered.
    pub request_id: String,
    /// Access key of the caller; `provision` for the sandbox's own provisioning.
    pub caller: String,
    /// The date that the caller signed, if the request was signed.
    pub signed_at: Option<Timestamp>,
    /// Region of the credential scope.
    pub region: String,
    /// The account that the caller belongs to.
    pub account: Arc<str>,
    /// ARN of the assumed role, where the caller has the credentials of one.
    pub session: Option<String>,
    /// When the call arrived; one value for the whole call.
    pub now: Timestamp,
}

impl CallContext {
    /// The same caller and time, calling something else.
    pub(crate) fn with_operation(&self, service: &str, operation: &str) -> Self {
        Self { service: service.to_owned(), operation: operation.to_owned(), ..self.clone() }
    }

    /// A call at the epoch, for tests of this crate.
    #[cfg(test)]
    pub(crate) fn for_tests(service: &str, operation: &str) -> Self {
        Self {
            service: service.to_owned(),
            operation: operation.to_owned(),
            request_id: "00000000-0000-4000-8000-000000000001".to_owned(),
            caller: "AKIATEST".to_owned(),
            signed_at: Some(Timestamp::UNIX_EPOCH),
            region: "us-east-1".to_owned(),
            account: ACCOUNT.into(),
            session: None,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// The context of a call that the sandbox makes to itself.
    pub(crate) fn internal(request_id: String, caller: &str, account: &Arc<str>, now: Timestamp) -> Self {
        Self {
            service: String::new(),
            operation: String::new(),
            request_id,
            caller: caller.to_owned(),
            signed_at: None,
            region: crate::world::REGION.to_owned(),
            account: Arc::clone(account),
            session: None,
            now,
        }
    }
}

/// A refusal in a service's own words.
#[derive(Debug, Clone, thiserror::Error, PartialEq)]
#[error("{code}: {message}")]
pub(crate) struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The exception's name in the service model.
    pub code: Cow<'static, str>,
    /// Text for people, in the service's wording where it is known.
    pub message: String,
}

impl ApiError {
    /// An exception.
    pub(crate) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }

    /// The sandbox itself failed (disk full, corrupt record).
    pub(crate) fn internal(reason: impl Display) -> Self {
        Self::new(500, "InternalServiceException", reason.to_string())
    }

    /// The operation is not one that the sandbox knows.
    pub(crate) fn unknown_operation(cx: &CallContext) -> Self {
        Self::new(
            400,
            "UnknownOperationException",
            format!("the sandbox does not implement {} of {}", cx.operation, cx.service),
        )
    }
}

/// A time as the JSON protocols write it: seconds since the epoch with millisecond fraction.
pub(crate) fn epoch_seconds(at: Timestamp) -> Value {
    let milliseconds = at.as_millisecond();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53 for 285,000 years")]
    Value::from(milliseconds as f64 / 1000.0)
}
