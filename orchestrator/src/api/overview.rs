//! The store as a whole: its replicas, how many runs are live, what was deployed when, and the way back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::Deployment;

use super::{
    pages::{self, Page},
    pipelines::PageQuery,
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{token::Scope, views::ReplicaView};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(outline(Scope::Read, "/status", "status", "Replicas, and how many runs are live"), status)
        .get(outline(Scope::Read, "/deployments", "list_deployments", "Deployments, newest first"), list)
        .post(
            outline(
                Scope::Deploy,
                "/deployments/rollback",
                "roll_back",
                "Make the versions of the deployment before the last one current again",
            ),
            roll_back,
        )
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

/// A deployment.
#[derive(Serialize, JsonSchema)]
struct DeploymentView {
    /// Its number.
    deployment: i64,
    /// When.
    at: Timestamp,
    /// By whom.
    actor: String,
    /// Pipelines, and the version of each that was current after it.
    versions: BTreeMap<String, i32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What a rollback changes.
#[derive(Serialize, JsonSchema)]
struct RolledBack {
    /// Whether this was only a preview.
    dry_run: bool,
    /// The pipelines whose version changes.
    changes: Vec<VersionChange>,
}

#[derive(Serialize, JsonSchema)]
struct VersionChange {
    /// The pipeline.
    pipeline: String,
    /// The version that was current before; none if it was removed.
    before: Option<i32>,
    /// The version that is current after; none if it is removed.
    after: Option<i32>,
}

async fn status(call: Call<Nothing, Nothing, Nothing>) -> Result<StatusView, Problem> {
    let store = &call.api.store;
    let counts = store.live_counts().await?;
    Ok(StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        environment: call.api.environment.clone(),
        pipelines: store.pipelines().await?.iter().filter(|row| !row.removed).count(),
        runs: counts.into_iter().map(|(state, runs)| (state.word().to_owned(), runs)).collect(),
        replicas: store.live_replicas().await?.into_iter().map(ReplicaView::from).collect(),
    })
}

async fn list(call: Call<Nothing, PageQuery, Nothing>) -> Result<Page<DeploymentView>, Problem> {
    let limit = pages::limit(call.query.limit)?;
    let below = pages::read_number(call.query.cursor.as_deref())?;
    let rows = call.api.store.deployments(below, limit + 1).await?;
    let view = |row: Deployment| DeploymentView {
        deployment: row.id,
        at: row.at,
        actor: row.actor,
        versions: row.versions,
    };
    Ok(pages::page(rows, limit, |row| row.id.to_string(), view))
}

async fn roll_back(call: Call<Nothing, Nothing, RollbackBody>) -> Result<RolledBack, Problem> {
    let (api, dry_run) = (call.api, call.body.dry_run);
    let newest = api.store.deployments(None, 2).await?;
    let [_, earlier] = newest.as_slice() else {
        return Err(Problem::refused("there is no earlier deployment to roll back to"));
    };
    let now: BTreeMap<String, i32> = api
        .store
        .pipelines()
        .await?
        .into_iter()
        .filter(|row| !row.removed)
        .map(|row| (row.name, row.version))
        .collect();
    let names: std::collections::BTreeSet<&String> = now.keys().chain(earlier.versions.keys()).collect();
    let changes = names
        .into_iter()
        .map(|name| VersionChange {
            pipeline: name.clone(),
            before: now.get(name).copied(),
            after: earlier.versions.get(name).copied(),
        })
        .filter(|change| change.before != change.after)
        .collect();
    if !dry_run {
        api.store.roll_back(&call.actor, api.clock.now()).await?;
        api.store.hint().await?;
    }
    Ok(RolledBack { dry_run, changes })
}
