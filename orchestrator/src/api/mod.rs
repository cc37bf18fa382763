//! The REST API that `serve` offers, and its pages: the same functions of [`crate::service`] that the commands
//! use, over HTTP. The only place that knows axum.
//!
//! | file | what |
//! |---|---|
//! | `routes` | the table of operations: reading requests, and what is documented of them |
//! | `body` | what requests bring, within limits |
//! | `openapi` | that table as OpenAPI 3.1 |
//! | `guard` | the Host header, who asks and what they may do, sessions of browsers |
//! | `problem` | refusals as `application/problem+json` |
//! | `pages` | cursors |
//! | `pipelines`, `deployments`, `runs`, `changes`, `many`, `backfills`, `pools`, `triggers`, `mails`, `overview`, `accounts`, `tokens`, `audit` | the operations |
//! | `events` | what happens, as it happens |
//! | `metrics` | health, readiness, Prometheus |
//! | `server`, `way`, `tls` | the accept loop and its limits, how clients come to it |
//! | `ui/` | pages for people: what the operations answer, as HTML |
//!
//! Nothing here decides what may happen to a run, knows SQL, or asks the store without a client.

mod accounts;
mod audit;
mod backfills;
mod body;
mod changes;
mod deployments;
mod events;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod mails;
mod many;
mod metrics;
mod openapi;
mod overview;
mod pages;
mod pipelines;
mod pools;
mod problem;
mod routes;
mod runs;
mod server;
mod tls;
mod tokens;
mod triggers;
mod ui;
mod under_way;
mod way;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use trunkline_state::store::Store;
use trunkline_tasks::Registry;

/// What operations answer, for clients of this program.
pub(crate) mod answers {
    pub(crate) use super::{
        backfills::BackfillMade,
        changes::ChangeDone,
        deployments::{DEPLOYMENT_BYTES_MAX, DeployDone, RolledBack},
        many::ManyDone,
        overview::StatusView,
        pages::{LIMIT_MAX, Page},
        pipelines::{CreatedView, SwitchView},
    };
}

use self::{
    events::Tail,
    guard::Guard,
    metrics::HttpCounts,
    problem::{Kind, Problem},
    routes::Routes,
};
pub use self::{
    tls::{Tls, TlsFiles},
    way::Way,
};
use crate::{
    clock::{SharedClock, SharedIds},
    engine::EngineHandle,
    service::{mails::Mailbox, provider::Provider, receive::OwnProject, token::Token, zones::Zones},
};

/// What the API needs.
#[derive(Debug)]
pub struct ApiOptions {
    /// The store, on connections of the API's own.
    pub store: Store,
    /// The engine of this process.
    pub engine: EngineHandle,
    /// The task types.
    pub registry: Arc<Registry>,
    /// What time it is.
    pub clock: SharedClock,
    /// Where ids come from.
    pub ids: SharedIds,
    /// The project that what is deployed is resolved with.
    pub project: OwnProject,
    /// Names under which clients reach this server, beside loopback and addresses.
    pub hosts: Vec<String>,
    /// The token of this project's folder; none where others than this machine can connect.
    pub local_token: Option<Token>,
    /// How clients come here.
    pub way: Way,
    /// Who says that somebody is who they say, beside passwords.
    pub provider: Option<Provider>,
    /// Where mails lie that the sandbox delivers; none where there is no sandbox.
    pub mailbox: Option<Mailbox>,
}

/// What all operations use.
struct Api {
    /// The store without regard to who asks. What people asked for goes through [`routes::Call::store`].
    whole: Store,
    engine: EngineHandle,
    registry: Arc<Registry>,
    clock: SharedClock,
    ids: SharedIds,
    /// The environment, for people.
    environment: String,
    project: OwnProject,
    mailbox: Option<Mailbox>,
    zones: Zones,
    /// Held by the deployment that is being made.
    deploying: tokio::sync::Mutex<()>,
    guard: Guard,
    provider: Option<Provider>,
    tail: Arc<Tail>,
    http: HttpCounts,
    document: Value,
    ending: CancellationToken,
}

/// A running API.
#[derive(Debug)]
pub struct ApiServer {
    url: String,
    ending: CancellationToken,
    serving: JoinHandle<()>,
}

impl ApiServer {
    /// Serves on a listener until [`ApiServer::shutdown`].
    pub fn start(listener: TcpListener, options: ApiOptions) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        let ending = CancellationToken::new();
        let (url, way) = (server::url_of(address, &options.way), options.way.clone());
        let router = router(options, address.port(), ending.clone());
        let serving = tokio::spawn(server::serve(listener, router, way, ending.clone()));
        Ok(Self { url, ending, serving })
    }

    /// Where it is reached.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends streams, waits a few seconds for answers that are under way.
    pub async fn shutdown(self) {
        self.ending.cancel();
        let _ = self.serving.await;
    }
}

fn operations() -> Routes {
    let routes = Routes::new();
    let routes = pipelines::add(routes);
    let routes = deployments::add(routes);
    let routes = runs::add(routes);
    let routes = changes::add(routes);
    let routes = many::add(routes);
    let routes = backfills::add(routes);
    let routes = pools::add(routes);
    let routes = triggers::add(routes);
    let routes = mails::add(routes);
    let routes = overview::add(routes);
    let routes = accounts::add(routes);
    let routes = tokens::add(routes);
    let routes = audit::add(routes);
    events::add(routes)
}

fn router(options: ApiOptions, port: u16, ending: CancellationToken) -> Router {
    let ApiOptions {
        store,
        engine,
        registry,
        clock,
        ids,
        project,
        hosts,
        local_token,
        way,
        provider,
        mailbox,
    } = options;
    let secure = way.is_secure();
    let mut routes = operations();
    let document = openapi::document(&mut routes);
    let api = Arc::new(Api {
        tail: Arc::new(Tail::new(store.clone(), ending.clone())),
        whole: store,
        engine,
        registry,
        clock,
        ids,
        environment: project.environment.clone(),
        project,
        mailbox,
        zones: Zones::default(),
        deploying: tokio::sync::Mutex::new(()),
        guard: Guard {
            hosts,
            local: local_token,
            secure,
            hides_addresses: way.hides_addresses(),
            // The prefix has browsers refuse one that another site or a plain connection set.
            cookie: if secure { "__Host-trunkline".to_owned() } else { format!("trunkline-{port}") },
            used_links: Mutex::default(),
            throttle: Mutex::default(),
            hashing: tokio::sync::Semaphore::new(guard::HASHES_AT_ONCE),
        },
        provider,
        http: HttpCounts::default(),
        document,
        ending,
    });
    routes
        .router
        .merge(ui::routes())
        .route(&format!("{}/openapi.json", routes::PREFIX), get(show_document))
        .route("/healthz", get(metrics::healthy))
        .route("/readyz", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), around))
        .with_state(api)
}

async fn show_document(State(api): State<Arc<Api>>) -> Response {
    let mut response = api.document.to_string().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(routes::JSON));
    response
}

async fn nowhere(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!(
        "there is nothing at {path}; {}/openapi.json says what there is",
        routes::PREFIX
    ))
}

async fn wrong_method(method: Method) -> Problem {
    Problem::new(Kind::Method, format!("{method} is not for this path; the header `allow` says what is"))
}

/// Around every request: the name that the server was called by, what browsers are told, the count.
async fn around(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let method = request.method().clone();
    let mut response = match api.guard.check_host(request.headers(), authority.as_deref()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    let mut always = |name, value| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    always(header::CACHE_CONTROL, "no-store");
    always(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    always(header::REFERRER_POLICY, "no-referrer");
    always(header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    always(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    always(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if api.guard.secure {
        always(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    api.http.answered(&method, response.status());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_documented_under_a_name_of_its_own() {
        let mut routes = operations();
        let names: std::collections::BTreeSet<_> =
            routes.operations.iter().map(|operation| operation.id).collect();
        assert_eq!(names.len(), routes.operations.len());
        let document = openapi::document(&mut routes);
        let mut list = String::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                list += &format!(
                    "{:4} {path}  {}\n",
                    method.to_uppercase(),
                    operation["description"].as_str().unwrap()
                );
            }
        }
        insta::assert_snapshot!(list);
        let text = document.to_string();
        for (at, _) in text.match_indices("\"$ref\":\"") {
            let name = text[at + 8..].split('"').next().unwrap().trim_start_matches('#');
            assert!(document.pointer(name).is_some(), "{name} is not there");
        }
    }
}
