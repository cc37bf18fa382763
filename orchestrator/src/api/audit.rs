//! What people and programs asked for, newest first.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    pages::{self, Page},
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{token::Scope, views::AuditView};

pub(super) fn add(routes: Routes) -> Routes {
    routes.get(
        outline(Scope::Read, "/audit", "list_audit", "What people and programs asked for, newest first"),
        list,
    )
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Of this pipeline only.
    pub(super) pipeline: Option<String>,
    /// By this actor only, such as `account:ana`.
    pub(super) actor: Option<String>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
    /// At most so many.
    #[schemars(range(min = 1, max = 200))]
    pub(super) limit: Option<u32>,
}

pub(super) async fn list(call: Call<Nothing, AuditQuery, Nothing>) -> Result<Page<AuditView>, Problem> {
    let query = call.query;
    let limit = pages::limit(query.limit)?;
    let below = pages::read_number(query.cursor.as_deref())?;
    let (pipeline, actor) = (query.pipeline.as_deref(), query.actor.as_deref());
    let rows = call.store.audit(below, pipeline, actor, limit + 1).await?;
    Ok(pages::page(rows, limit, |row| row.id.to_string(), AuditView::from))
}
