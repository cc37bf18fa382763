//! What the fuzzers in `fuzz/` reach of the API without a server: everything that reads a request before anybody
//! knows who asks, or that reads it for whoever may ask. Each hands on, and decides nothing.

use std::sync::Mutex;

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;
use trunkline_state::store::FollowPlace;

use super::{
    accounts, audit, backfills, body, changes, deployments,
    guard::{self, Guard},
    many, pages, pipelines, runs, tokens, ui,
};
use crate::service::sign_in::SessionSecret;

/// A body as strict JSON, whatever it is to mean.
pub fn body(bytes: &[u8]) -> Option<Value> {
    body::parse(bytes).ok()
}

/// How many operations would take the body.
pub fn taken_by(bytes: &[u8]) -> usize {
    fn taken<B: DeserializeOwned>(bytes: &[u8]) -> usize {
        usize::from(body::parse::<B>(bytes).is_ok())
    }
    taken::<pipelines::RunBody>(bytes)
        + taken::<pipelines::PlanBody>(bytes)
        + taken::<changes::ClearBody>(bytes)
        + taken::<changes::ResolveBody>(bytes)
        + taken::<backfills::BackfillBody>(bytes)
        + taken::<tokens::CreateBody>(bytes)
        + taken::<accounts::CreateBody>(bytes)
        + taken::<many::ClearManyBody>(bytes)
        + taken::<deployments::DeployBody>(bytes)
}

/// How many lists take the query of an address.
pub fn queried(uri: &Uri) -> usize {
    fn taken<Q: DeserializeOwned>(uri: &Uri) -> usize {
        usize::from(Query::<Q>::try_from_uri(uri).is_ok())
    }
    taken::<runs::RunsQuery>(uri)
        + taken::<runs::AttemptsQuery>(uri)
        + taken::<runs::LogQuery>(uri)
        + taken::<pipelines::PageQuery>(uri)
        + taken::<audit::AuditQuery>(uri)
}

/// The cursors of lists, each written again.
pub fn cursors(text: &str) -> Vec<String> {
    let moment = pages::read_moment_cursor(text).ok().map(|(at, id)| pages::moment_cursor(at, id));
    let number = pages::read_number::<i32>(Some(text)).ok().flatten().map(|number| number.to_string());
    let place = text.parse::<FollowPlace>().ok().map(|place| place.to_string());
    moment.into_iter().chain(number).chain(place).collect()
}

/// Whether a server that goes by this name, beside loopback and addresses, answers a request for that one.
pub fn is_host(own: &str, asked: &HeaderValue, authority: Option<&str>) -> bool {
    let headers = HeaderMap::from_iter([(header::HOST, asked.clone())]);
    known_as(own).check_host(&headers, authority).is_ok()
}

/// The session in the cookie of this name.
pub fn session(cookie: &str, headers: &HeaderMap) -> Option<SessionSecret> {
    known_as(cookie).cookie_of(headers)
}

/// Whether a browser's change with these headers counts as one of this origin.
pub fn is_own_page(headers: &[(HeaderName, HeaderValue)]) -> bool {
    guard::check_origin(&headers.iter().cloned().collect()).is_ok()
}

/// A sentence of the program as a page shows it.
pub fn sentence(text: &str) -> String {
    ui::sentence(text)
}

fn known_as(name: &str) -> Guard {
    Guard {
        hosts: vec![name.to_owned()],
        local: None,
        secure: false,
        hides_addresses: false,
        cookie: name.to_owned(),
        used_links: Mutex::default(),
        throttle: Mutex::default(),
        hashing: Semaphore::new(1),
    }
}
