//! The sandbox's own paths below `/_sandbox/`: health, ledger, calls, fault script, provisioning.
//!
//! They take no credentials, so they answer only requests that were sent to loopback by name: a page in a
//! browser cannot reach them through a host name of its own.

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use s3s::Body;
use serde_json::{Value, json};

use crate::provision;
use crate::server::accounts::Accounts;
use crate::server::dispatch::{Services, read};
use crate::wire::query::Form;
use crate::wire::{ApiError, CallContext};

/// The longest body: a template of `CloudFormation`'s own limit (1 MB) in JSON, with room for escapes.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// Answers one of the sandbox's own paths.
pub(crate) async fn answer(
    accounts: &Accounts,
    request: Request<Incoming>,
    now: Timestamp,
) -> Response<Body> {
    match route(accounts, request, now).await {
        Ok(value) => reply(200, &value),
        Err(error) => {
            reply(error.status, &json!({ "error": { "code": error.code, "message": error.message } }))
        }
    }
}

async fn route(accounts: &Accounts, request: Request<Incoming>, now: Timestamp) -> Result<Value, ApiError> {
    let services = accounts.first();
    if !is_loopback(&request) {
        return Err(ApiError::new(403, "AccessDenied", "these paths answer on 127.0.0.1 and localhost only"));
    }
    let world = services.world();
    let query = Form::parse(request.uri().query().unwrap_or_default());
    match (request.method().clone(), request.uri().path()) {
        (Method::GET, "/_sandbox/health") => Ok(json!({
            "status": "ok",
            "endpoint": world.endpoint(),
            "root": world.root,
            "mailbox": world.mailbox.folder(),
            "time_scale": world.settings.time_scale,
            "signature_age_max_ms":
                u64::try_from(world.settings.signature_age_max.as_millis()).unwrap_or(u64::MAX),
            "pid": std::process::id(),
        })),
        (Method::GET, "/_sandbox/ledger") => ledger(services, &query),
        (Method::GET, "/_sandbox/calls") => {
            let calls = world.ledger.calls();
            let entry = |(service, operation, count)| json!({ "service": service, "operation": operation, "count": count });
            Ok(Value::Array(calls.into_iter().map(entry).collect()))
        }
        (Method::GET, "/_sandbox/faults") => Ok(world.faults.report()),
        (Method::PUT, "/_sandbox/faults") => {
            let body = read(request, BODY_MAX).await?;
            let rules = parse(&body)?;
            world.faults.install(rules, now)?;
            Ok(world.faults.report())
        }
        (Method::POST, "/_sandbox/provision") => {
            let body = read(request, BODY_MAX).await?;
            let wish: provision::Wish = parse(&body)?;
            let services = accounts.of(wish.account()).await?;
            let account = &services.world().account;
            let id = world.new_uuid().to_string();
            let cx = CallContext::internal(id, provision::CALLER, account, now);
            provision::provision(&services, &cx, wish).await
        }
        (method, path) => {
            Err(ApiError::new(404, "NotFound", format!("there is no {method} {path} in the sandbox")))
        }
    }
}

fn ledger(services: &Services, query: &Form) -> Result<Value, ApiError> {
    let after = query.get("after").and_then(|after| after.parse().ok()).unwrap_or(0);
    let mut entries = services.world().ledger.entries_after(after).map_err(ApiError::internal)?;
    let fits = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| wanted == value);
    entries.retain(|entry| {
        fits(query.get("service"), &entry.service)
            && fits(query.get("operation"), &entry.operation)
            && fits(query.get("subject"), &entry.subject)
    });
    serde_json::to_value(entries).map_err(ApiError::internal)
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::new(400, "ValidationException", error.to_string()))
}

fn is_loopback(request: &Request<Incoming>) -> bool {
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let name = host.map(|host| host.rsplit_once(':').map_or(host, |(name, _port)| name));
    matches!(name, Some("127.0.0.1" | "localhost"))
}

fn reply(status: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{value:#}\n")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
