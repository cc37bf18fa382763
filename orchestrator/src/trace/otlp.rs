//! Spans out of this process: OpenTelemetry's protocol over HTTP, in protobuf.
//!
//! The encoding is that of `opentelemetry-otlp`; requests go out by the client that everything else here uses, so
//! that proxies and trusted roots are the same (`docs/decisions/0026-traces-are-read-off-the-store.md`). One try per
//! call: how often is decided in `engine/traces.rs`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use indexmap::IndexMap;
use opentelemetry::{
    InstrumentationScope, Key, KeyValue, Value as Attribute,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use serde_json::Value;
use trunkline_tasks::{
    clients::Clients,
    http::exchange::{ANSWER_BYTES_MAX, Outgoing, Silence, exchange},
};
use url::Url;

use super::{Export, Span, Unexported};

/// How long the answer to an export is waited for: what the standard says where nobody says otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What traces are found by, unless `OTEL_SERVICE_NAME` says otherwise.
const SERVICE: &str = "trunkline";
/// What the SDK makes of the name where nobody says one.
const UNNAMED: &str = "unknown_service";

/// The way to one receiver.
#[derive(Debug)]
pub(super) struct Otlp {
    exporter: SpanExporter,
    post: Arc<Post>,
    scope: InstrumentationScope,
}

impl Otlp {
    /// Connects to nothing yet. Headers come from the standard variables.
    pub(super) fn new(url: &Url) -> Result<Self, String> {
        let post = Arc::new(Post::default());
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_shared_http_client(Arc::clone(&post) as Arc<dyn HttpClient>)
            .with_endpoint(url.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(ANSWER_WITHIN)
            // It would sleep on the runtime's thread.
            .with_retry_policy(RetryPolicy::disabled())
            .build()
            .map_err(|error| error.to_string())?;
        exporter.set_resource(&resource());
        let scope = InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self { exporter, post, scope })
    }

    fn data(&self, span: Span) -> SpanData {
        let context = SpanContext::new(
            TraceId::from(span.trace),
            SpanId::from(span.id),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        );
        let attributes = span.attributes.into_iter();
        SpanData {
            span_context: context,
            parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: span.name.into(),
            start_time: SystemTime::from(span.start),
            end_time: SystemTime::from(span.end),
            attributes: attributes.map(|(name, value)| KeyValue::new(name, attribute(value))).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl Export for Otlp {
    fn export(&self, spans: Vec<Span>) -> BoxFuture<'_, Result<(), Unexported>> {
        Box::pin(async move {
            let batch = spans.into_iter().map(|span| self.data(span)).collect();
            let result = self.exporter.export(batch).await;
            let failed = self.post.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The exporter's own words leave out what the network said.
            result.map_err(|error| {
                failed.unwrap_or_else(|| Unexported { reason: error.to_string(), may_pass: false })
            })
        })
    }
}

/// What all spans have in common. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` are read by the SDK.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let named = Resource::builder().with_attribute(version.clone()).build();
    let name = named.get(&Key::from_static_str("service.name"));
    if name.is_some_and(|name| !name.as_str().starts_with(UNNAMED)) {
        return named;
    }
    Resource::builder().with_attribute(version).with_service_name(SERVICE).build()
}

fn attribute(value: Value) -> Attribute {
    match value {
        Value::Bool(yes) => yes.into(),
        Value::String(text) => text.into(),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(broken)) => broken.into(),
            (None, None) => number.to_string().into(),
        },
        other => other.to_string().into(),
    }
}

/// One POST; keeps why the last one failed, which the exporter does not tell. Exports come one after the other.
#[derive(Debug, Default)]
struct Post {
    clients: Clients,
    failed: Mutex<Option<Unexported>>,
}

impl Post {
    fn fail(&self, reason: String, may_pass: bool) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Unexported { reason, may_pass });
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let headers: IndexMap<String, Value> = parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.into())))
            .collect();
        let outgoing = Outgoing {
            method: parts.method.as_str(),
            url: &url,
            headers: &headers,
            body: Some(&body),
            answer_max: ANSWER_BYTES_MAX,
        };
        match exchange(&self.clients, outgoing, ANSWER_WITHIN).await {
            Ok(answer) => {
                if !answer.is_success() {
                    // Which ones may be repeated is the protocol's word.
                    let may_pass = matches!(answer.status, 429 | 502..=504);
                    self.fail(format!("the receiver answered with status {}", answer.status), may_pass);
                }
                Ok(Response::builder().status(answer.status).body(answer.body.into())?)
            }
            Err(silence) => {
                let (reason, may_pass) = match silence {
                    Silence::NotSent(reason) => (format!("the receiver cannot be reached: {reason}"), true),
                    Silence::Unanswered(reason) => (reason, true),
                    Silence::Wrong(reason) => (reason, false),
                    Silence::TooLong(status) => (format!("status {status} and more than is read"), false),
                };
                self.fail(reason.clone(), may_pass);
                Err(reason.into())
            }
        }
    }
}
