//! One table of operations: what a request must look like, what it may do, what is answered. The router
//! and the OpenAPI document are both made of it, from the types of the handlers, so that neither can say
//! what the other does not do.

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts as _, Path, Query, Request},
    http::{HeaderValue, Method, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, on},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use trunkline_state::store::Store;

use super::{
    Api, body,
    guard::{Need, Visitor},
    problem::{Kind, Problem},
};
use crate::service::token::Scope;

/// Where every operation lies.
pub(super) const PREFIX: &str = "/api/v1";
/// The longest body of most operations: parameters and lists of tasks, never files.
const BODY_MAX: usize = 256 * 1024;
/// The type of what is answered.
pub(super) const JSON: &str = "application/json";

/// A request as a handler sees it: admitted, read and checked.
pub(super) struct Call<P, Q, B> {
    pub(super) api: Arc<Api>,
    /// The store as far as whoever asks may do there what the operation does.
    pub(super) store: Store,
    pub(super) visitor: Visitor,
    pub(super) path: P,
    pub(super) query: Q,
    pub(super) body: B,
    /// The event that a client of a stream saw last.
    pub(super) last_event: Option<String>,
}

/// Nothing is asked for in this part of a request; what stands there all the same is refused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What is documented of an operation.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) scope: Scope,
    pub(super) path_shape: Schema,
    pub(super) query_shape: Schema,
    pub(super) body_shape: Option<Schema>,
    pub(super) answer: (&'static str, Schema),
}

/// How an operation is written down.
#[derive(Clone, Copy)]
pub(super) struct Outline {
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) scope: Scope,
    /// The longest body, in bytes.
    body_max: usize,
    /// Whether the scope must hold for all folders: what is done concerns all of them.
    everywhere: bool,
}

impl Outline {
    /// The same for an operation that takes longer bodies than others.
    pub(super) const fn with_body(self, body_max: usize) -> Self {
        Self { body_max, ..self }
    }

    /// The same for an operation that concerns every folder.
    pub(super) const fn everywhere(self) -> Self {
        Self { everywhere: true, ..self }
    }

    fn need(self) -> Need {
        Need { scope: self.scope, everywhere: self.everywhere }
    }
}

/// An outline in one line.
pub(super) const fn outline(
    scope: Scope,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Outline {
    Outline { path, id, summary, scope, body_max: BODY_MAX, everywhere: false }
}

/// The operations, while they are collected.
pub(super) struct Routes {
    pub(super) router: Router<Arc<Api>>,
    pub(super) operations: Vec<Operation>,
    /// Shapes of what comes in, and of what goes out.
    pub(super) incoming: SchemaGenerator,
    pub(super) outgoing: SchemaGenerator,
}

impl Routes {
    pub(super) fn new() -> Self {
        let settings = || {
            schemars::generate::SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            router: Router::new(),
            operations: Vec::new(),
            incoming: settings().for_deserialize().into_generator(),
            outgoing: settings().for_serialize().into_generator(),
        }
    }

    /// A question.
    pub(super) fn get<P, Q, A, F, Fut>(mut self, outline: Outline, handler: F) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema + 'static,
        F: Fn(Call<P, Q, Nothing>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let answer = (JSON, self.outgoing.subschema_for::<A>());
        self.document::<P, Q>(Method::GET, outline, None, answer);
        self.route(MethodFilter::GET, outline, move |api, parts, _| {
            let handler = handler.clone();
            async move {
                let call = read::<P, Q, Nothing>(api, outline.need(), parts, Nothing {}).await?;
                Ok(json(&handler(call).await?))
            }
        })
    }

    /// Something to be done.
    pub(super) fn post<P, B, A, F, Fut>(mut self, outline: Outline, handler: F) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        B: DeserializeOwned + JsonSchema + Send + 'static,
        A: Serialize + JsonSchema + 'static,
        F: Fn(Call<P, Nothing, B>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let answer = (JSON, self.outgoing.subschema_for::<A>());
        let body = self.incoming.subschema_for::<B>();
        self.document::<P, Nothing>(Method::POST, outline, Some(body), answer);
        self.route(MethodFilter::POST, outline, move |api, parts, body| {
            let handler = handler.clone();
            async move {
                // Who may not ask is told so before anything of the body is read.
                let call =
                    read::<P, Nothing, Nothing>(api, outline.need(), parts.clone(), Nothing {}).await?;
                let Call { api, store, visitor, path, query, last_event, .. } = call;
                let narrowed = visitor.rights.folders(outline.scope) != visitor.rights.folders(Scope::Read);
                let body = body::read(&parts, body, outline.body_max).await?;
                let call = Call { api, store, visitor, path, query, body, last_event };
                let done = handler(call).await;
                // What somebody may only look at is not found here: said, since they see it on every page.
                let done = done
                    .map_err(|problem| if narrowed { problem.looked_for(outline.scope) } else { problem });
                Ok(json(&done?))
            }
        })
    }

    /// A question whose answer goes on: a stream of events.
    pub(super) fn stream<P, F, Fut>(mut self, outline: Outline, handler: F) -> Self
    where
        P: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(Call<P, Nothing, Nothing>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        let answer = ("text/event-stream", self.outgoing.subschema_for::<String>());
        self.document::<P, Nothing>(Method::GET, outline, None, answer);
        self.route(MethodFilter::GET, outline, move |api, parts, _| {
            let handler = handler.clone();
            async move {
                let call = read::<P, Nothing, Nothing>(api, outline.need(), parts, Nothing {}).await?;
                handler(call).await
            }
        })
    }

    fn document<P: JsonSchema, Q: JsonSchema>(
        &mut self,
        method: Method,
        outline: Outline,
        body_shape: Option<Schema>,
        answer: (&'static str, Schema),
    ) {
        let path_shape = P::json_schema(&mut self.incoming);
        let query_shape = Q::json_schema(&mut self.incoming);
        let Outline { path, id, summary, scope, .. } = outline;
        self.operations.push(Operation {
            method,
            path,
            id,
            summary,
            scope,
            path_shape,
            query_shape,
            body_shape,
            answer,
        });
    }

    fn route<F, Fut>(mut self, method: MethodFilter, outline: Outline, handler: F) -> Self
    where
        F: Fn(Arc<Api>, Parts, Body) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        let service = move |axum::extract::State(api): axum::extract::State<Arc<Api>>, request: Request| {
            let handler = handler.clone();
            async move {
                let (parts, body) = request.into_parts();
                handler(api, parts, body).await.unwrap_or_else(axum::response::IntoResponse::into_response)
            }
        };
        self.router = self.router.route(&format!("{PREFIX}{}", outline.path), on(method, service));
        self
    }
}

async fn read<P, Q, B>(api: Arc<Api>, need: Need, mut parts: Parts, body: B) -> Result<Call<P, Q, B>, Problem>
where
    P: DeserializeOwned + Send + 'static,
    Q: DeserializeOwned + Send + 'static,
{
    let visitor = api.guard.admit(&api.whole, &parts, need).await?;
    let store = api.whole.seen_by(visitor.rights.folders(need.scope));
    let (path, query) = read_address(&mut parts).await?;
    let last_event = parts.headers.get("last-event-id").map(|value| {
        let text = value.to_str().map(str::to_owned);
        text.map_err(|_| Problem::invalid("Last-Event-ID is no id of these events; leave it out"))
    });
    let last_event = last_event.transpose()?;
    Ok(Call { api, store, visitor, path, query, body, last_event })
}

/// What stands in the path and the query.
pub(super) async fn read_address<P, Q>(parts: &mut Parts) -> Result<(P, Q), Problem>
where
    P: DeserializeOwned + Send + 'static,
    Q: DeserializeOwned + Send + 'static,
{
    refuse_nul(parts)?;
    let Path(path) = Path::<P>::from_request_parts(parts, &())
        .await
        .map_err(|error| Problem::new(Kind::Malformed, format!("the path: {}", error.body_text())))?;
    let Query(query) = Query::<Q>::try_from_uri(&parts.uri)
        .map_err(|error| Problem::new(Kind::Malformed, format!("the query: {}", error.body_text())))?;
    Ok((path, query))
}

/// Postgres keeps no NUL in a text, and no name has one.
fn refuse_nul(parts: &Parts) -> Result<(), Problem> {
    let text = parts.uri.path_and_query().map(axum::http::uri::PathAndQuery::as_str).unwrap_or_default();
    if text.contains("%00") {
        return Err(Problem::new(Kind::Malformed, "the path or query holds a NUL character; leave it out"));
    }
    Ok(())
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
            response
        }
        Err(error) => Problem::new(Kind::Internal, format!("the answer cannot be written as JSON: {error}"))
            .into_response(),
    }
}
