//! Pages for people, made here and sent as HTML. Each shows what an operation of the API answers, asked by
//! calling it; each change is a request to the API from the page's script. So neither can say what the other
//! does not.
//!
//! | file | what |
//! |---|---|
//! | `shell` | what is around every page; refusals |
//! | `sign_in`, `provider` | who is somebody: here, and as a provider says |
//! | `assets` | scripts and styles |
//! | `words` | states, times and durations |
//! | `pipelines` | all of them at a glance |
//! | `pipeline` | one: grid, graph, schedule |
//! | `source` | its YAML by versions, with what was said of its lines |
//! | `start` | the form for a run |
//! | `backfills` | lists of backfills, one with its dates, the form for one |
//! | `waiting` | what waits: events for runs, tasks for slots of pools |
//! | `deployments` | what was deployed when, and what it changed |
//! | `mails` | the sandbox's mailbox |
//! | `people` | accounts and tokens, whoever is signed in |
//! | `audit` | what people and programs asked for |
//! | `runs` | lists of runs |
//! | `run` | one run: tasks, timeline, history |
//! | `task`, `attempts` | one task run: its attempts by generation, output |
//!
//! No SQL, no decision about runs, no HTML outside.

mod assets;
mod attempts;
mod audit;
mod backfills;
mod deployments;
mod mails;
mod people;
mod pipeline;
mod pipelines;
mod provider;
mod run;
mod runs;
mod shell;
mod sign_in;
mod source;
mod start;
mod task;
mod waiting;
mod words;

use std::{future::Future, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::de::DeserializeOwned;
use trunkline_state::store::Store;

use super::{
    Api,
    guard::Visitor,
    problem::Problem,
    routes::{Call, Nothing, read_address},
};
use crate::service::{find, token::Scope};

/// A sentence as pages show it, for whoever looks at the HTML alone.
pub(super) fn sentence(text: &str) -> String {
    words::sentence(text).into_string()
}

/// A request for a page, of somebody who may look.
struct Visit<P, Q> {
    api: Arc<Api>,
    /// The store as far as whoever asks may look.
    store: Store,
    visitor: Visitor,
    path: P,
    query: Q,
}

impl<P, Q> Visit<P, Q> {
    /// The question that an operation of the API answers.
    fn ask<R, S>(&self, path: R, query: S) -> Call<R, S, Nothing> {
        Call {
            api: Arc::clone(&self.api),
            store: self.store.clone(),
            visitor: self.visitor.clone(),
            path,
            query,
            body: Nothing {},
            last_event: None,
        }
    }

    /// Whether whoever asks may change runs of the pipelines of a folder.
    fn operates_in(&self, folder: &str) -> bool {
        self.visitor.rights.hold_in(folder, Scope::Operate)
    }

    /// Whether whoever asks may change runs of a pipeline.
    async fn operates(&self, pipeline: &str) -> Result<bool, Problem> {
        if self.visitor.rights.hold_everywhere(Scope::Operate) {
            return Ok(true);
        }
        Ok(self.operates_in(&find::pipeline(&self.store, pipeline).await?.folder))
    }
}

/// The pages.
pub(super) fn routes() -> Router<Arc<Api>> {
    let router = Router::new()
        .route("/sign-in", get(sign_in::ask).post(sign_in::enter))
        .route("/sign-in/provider", get(provider::go))
        .route("/sign-in/return", get(provider::come_back))
        .route("/sign-out", post(sign_in::leave))
        .route("/assets/{version}/{name}", get(assets::serve));
    let router = page(router, "/", pipelines::show);
    let router = page(router, "/pipelines", pipelines::show);
    let router = page(router, "/pipelines/{pipeline}", pipeline::grid);
    let router = page(router, "/pipelines/{pipeline}/graph", pipeline::graph);
    let router = page(router, "/pipelines/{pipeline}/source", source::show);
    let router = page(router, "/pipelines/{pipeline}/schedule", pipeline::schedule);
    let router = page(router, "/pipelines/{pipeline}/start", start::show);
    let router = page(router, "/pipelines/{pipeline}/backfill", backfills::form);
    let router = page(router, "/backfills", backfills::list);
    let router = page(router, "/backfills/{backfill}", backfills::show);
    let router = page(router, "/deployments", deployments::show);
    let router = page(router, "/triggers", waiting::triggers);
    let router = page(router, "/pools", waiting::pools);
    let router = page(router, "/mails", mails::list);
    let router = page(router, "/mails/{mail}", mails::show);
    let router = page(router, "/accounts", people::accounts);
    let router = page(router, "/audit", audit::show);
    let router = page(router, "/me", people::me);
    let router = page(router, "/runs", runs::show);
    let router = page(router, "/runs/{run}", run::tasks);
    let router = page(router, "/runs/{run}/timeline", run::timeline);
    let router = page(router, "/runs/{run}/history", run::history);
    page(router, "/runs/{run}/tasks/{task}", task::show)
}

/// Adds a page; whoever is not signed in is asked to first, and led back.
fn page<P, Q, F, Fut>(router: Router<Arc<Api>>, path: &str, show: F) -> Router<Arc<Api>>
where
    P: DeserializeOwned + Send + 'static,
    Q: DeserializeOwned + Send + 'static,
    F: Fn(Visit<P, Q>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    let service = move |State(api): State<Arc<Api>>, parts: Parts| {
        let show = show.clone();
        async move {
            let visitor = match api.guard.by_session(&api.whole, &parts.headers).await {
                Ok(Some(visitor)) => visitor,
                Ok(None) => return to_sign_in(&parts),
                Err(problem) => return shell::refused(&api, None, &problem),
            };
            let asked = read::<P, Q>(Arc::clone(&api), visitor.clone(), parts).await;
            let shown = match asked {
                Ok(visit) => show(visit).await,
                Err(problem) => Err(problem),
            };
            shown.unwrap_or_else(|problem| shell::refused(&api, Some(&visitor), &problem))
        }
    };
    router.route(path, get(service))
}

async fn read<P, Q>(api: Arc<Api>, visitor: Visitor, mut parts: Parts) -> Result<Visit<P, Q>, Problem>
where
    P: DeserializeOwned + Send + 'static,
    Q: DeserializeOwned + Send + 'static,
{
    let (path, query) = read_address(&mut parts).await?;
    let store = api.whole.seen_by(visitor.rights.folders(Scope::Read));
    Ok(Visit { api, store, visitor, path, query })
}

fn to_sign_in(parts: &Parts) -> Response {
    let wanted = parts.uri.path_and_query().map_or("/", axum::http::uri::PathAndQuery::as_str);
    let to = if wanted == "/" {
        "/sign-in".to_owned()
    } else {
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("to", wanted).finish();
        format!("/sign-in?{query}")
    };
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}
