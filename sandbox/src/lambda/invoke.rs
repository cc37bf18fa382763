//! Calls: what may be called, the ledger, the answer.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::events::Event;
use super::program::{Call, RESPONSE_MAX};
use super::record::Function;
use super::route::Headers;
use super::{Lambda, internal, invalid};
use crate::ledger::Accepted;
use crate::wire::rest::Answer;
use crate::wire::{ApiError, CallContext};

/// AWS's limits for a payload.
const SYNC_BYTES_MAX: usize = 6 * 1024 * 1024;
const ASYNC_BYTES_MAX: usize = 1024 * 1024;

/// AWS's limit for a client context, in base64.
const CONTEXT_BYTES_MAX: usize = 3583;

/// How much of the end of a log is told with an answer.
const TAIL_BYTES: usize = 4 * 1024;

/// The custom value of the client context by which a caller names a call of its own, so that the ledger can
/// show it.
const MARKER: &str = "trunkline-attempt";

impl Lambda {
    pub(super) async fn invoke(
        self: &Arc<Self>,
        cx: &CallContext,
        named: &str,
        headers: &Headers,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let function = self.function(named, headers.qualifier.as_deref())?;
        let kind = headers.invocation_type.as_deref().unwrap_or("RequestResponse");
        let payload = check(&function, kind, headers, body)?;
        let context = client_context(headers.client_context.as_deref())?;
        match kind {
            "DryRun" => Ok(Answer::empty(204)),
            "Event" => {
                let event = Event::new(&function.name, &cx.request_id, payload);
                self.keep_event(&event)?;
                self.accept(cx, &function, None)?;
                self.work_on(event);
                Ok(Answer::empty(202))
            }
            _ => {
                self.call_now(cx, function, payload, context, headers.log_type.as_deref() == Some("Tail"))
                    .await
            }
        }
    }

    async fn call_now(
        &self,
        cx: &CallContext,
        function: Function,
        payload: String,
        client_context: Option<Value>,
        wants_log: bool,
    ) -> Result<Answer, ApiError> {
        let Ok(_place) = self.calls.try_acquire() else {
            return Err(ApiError::new(429, "TooManyRequestsException", "Rate Exceeded."));
        };
        let marker =
            client_context.as_ref().and_then(|told| told["custom"][MARKER].as_str()).map(str::to_owned);
        // Before the function runs: whatever happens to it or to the answer, it was called.
        self.accept(cx, &function, marker)?;
        let call = Call { function, request_id: cx.request_id.clone(), payload, client_context };
        let ended = tokio::select! {
            ended = self.run(&call) => ended.map_err(|error| internal(format!("cannot run python3: {error}")))?,
            () = self.closing.cancelled() => return Err(internal("the sandbox is stopping")),
        };
        let mut answer = Answer { status: 200, ..Answer::default() };
        answer.headers.push(("x-amz-executed-version", "$LATEST".to_owned()));
        if wants_log {
            let tail = &ended.log[ended.log.len().saturating_sub(TAIL_BYTES)..];
            answer.headers.push(("x-amz-log-result", STANDARD.encode(tail)));
        }
        answer.body = match ended.result {
            Ok(response) if response.len() as u64 <= RESPONSE_MAX => response.into_bytes(),
            Ok(_) => {
                return Err(ApiError::new(
                    413,
                    "RequestTooLargeException",
                    format!(
                        "Response payload size exceeded maximum allowed payload size ({RESPONSE_MAX} bytes)."
                    ),
                ));
            }
            Err(error) => {
                answer.headers.push(("x-amz-function-error", "Unhandled".to_owned()));
                error.to_string().into_bytes()
            }
        };
        Ok(answer)
    }

    fn accept(&self, cx: &CallContext, function: &Function, marker: Option<String>) -> Result<(), ApiError> {
        let accepted = Accepted { marker, id: &cx.request_id, subject: &function.name };
        self.world.ledger.accepted(cx, accepted).map_err(internal)
    }
}

/// The payload, if the call may be made.
fn check(function: &Function, kind: &str, headers: &Headers, body: &[u8]) -> Result<String, ApiError> {
    let most = match kind {
        "RequestResponse" | "DryRun" => SYNC_BYTES_MAX,
        "Event" => ASYNC_BYTES_MAX,
        other => return Err(invalid(format!("InvocationType {other} is not one that Lambda has"))),
    };
    if body.len() > most {
        return Err(ApiError::new(
            413,
            "RequestTooLargeException",
            format!("Request must be smaller than {most} bytes for the InvokeFunction operation"),
        ));
    }
    if headers.durable_name.is_some() {
        let name = &function.name;
        return Err(invalid(format!("{name} is no durable function; the sandbox does not run any")));
    }
    let payload = if body.is_empty() { "{}" } else { std::str::from_utf8(body).unwrap_or("\u{fffd}") };
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(payload) {
        let message = format!("Could not parse request body into json: {error}");
        return Err(ApiError::new(400, "InvalidRequestContentException", message));
    }
    Ok(payload.to_owned())
}

fn client_context(encoded: Option<&str>) -> Result<Option<Value>, ApiError> {
    let Some(encoded) = encoded else { return Ok(None) };
    let refuse = |reason: &str| Err(ApiError::new(400, "InvalidRequestContentException", reason.to_owned()));
    if encoded.len() > CONTEXT_BYTES_MAX {
        return refuse("Client context must be no more than 3583 bytes when base64-encoded.");
    }
    match STANDARD.decode(encoded).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        Some(context @ Value::Object(_)) => Ok(Some(context)),
        _ => refuse("Client context must be a valid Base64-encoded JSON object."),
    }
}
