//! The store as a whole: its replicas, and how many runs are live.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{token::Scope, views::ReplicaView};

pub(super) fn add(routes: Routes) -> Routes {
    routes.get(outline(Scope::Read, "/status", "status", "Replicas, and how many runs are live"), status)
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct StatusView {
    /// The program's version.
    pub(crate) version: String,
    /// The environment of this server.
    pub(crate) environment: String,
    /// Pipelines that are not removed.
    pub(crate) pipelines: usize,
    /// Runs that have not ended, by state.
    pub(crate) runs: BTreeMap<String, i64>,
    /// The replicas that live.
    pub(crate) replicas: Vec<ReplicaView>,
}

async fn status(call: Call<Nothing, Nothing, Nothing>) -> Result<StatusView, Problem> {
    let store = &call.store;
    let counts = store.live_counts().await?;
    Ok(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: call.api.environment.clone(),
        pipelines: store.pipelines().await?.iter().filter(|row| !row.removed).count(),
        runs: counts.into_iter().map(|(state, runs)| (state.word().to_owned(), runs)).collect(),
        replicas: store.live_replicas().await?.into_iter().map(ReplicaView::from).collect(),
    })
}
