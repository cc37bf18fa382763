//! Triggers: what waits for which pipeline, and the queues that tell of it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{
    token::Scope,
    triggers,
    views::{TriggeredView, TriggersView},
};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(
            outline(
                Scope::Read,
                "/triggers",
                "list_triggers",
                "Pipelines that events make runs of, and the queues that tell of them",
            ),
            list,
        )
        .get(
            outline(Scope::Read, "/triggers/{pipeline}", "show_trigger", "One, with the events that wait"),
            show,
        )
}

#[derive(Deserialize, JsonSchema)]
struct PipelinePath {
    /// Its name.
    pipeline: String,
}

pub(super) async fn list(call: Call<Nothing, Nothing, Nothing>) -> Result<TriggersView, Problem> {
    Ok(triggers::list(&call.store).await?)
}

async fn show(call: Call<PipelinePath, Nothing, Nothing>) -> Result<TriggeredView, Problem> {
    Ok(triggers::one(&call.store, &call.path.pipeline).await?)
}
