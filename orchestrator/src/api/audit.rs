//! What people and programs asked for, newest first.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_state::store::AuditRow;

use super::{
    pages::{self, Page},
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::token::Scope;

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

/// One thing that was done.
#[derive(Serialize, JsonSchema)]
pub(super) struct AuditView {
    /// Its number.
    pub(super) id: i64,
    /// When.
    pub(super) at: Timestamp,
    /// By whom.
    pub(super) actor: String,
    /// What: `run.clear`, `deploy`, `account.change` and so on.
    pub(super) action: String,
    /// To what.
    pub(super) object: String,
    /// The pipeline that it concerns, if it is one.
    pub(super) pipeline: Option<String>,
    /// How exactly.
    pub(super) detail: Value,
}

impl From<AuditRow> for AuditView {
    fn from(row: AuditRow) -> Self {
        let AuditRow { id, at, actor, action, object, pipeline, detail } = row;
        Self { id, at, actor, action, object, pipeline, detail }
    }
}

pub(super) async fn list(call: Call<Nothing, AuditQuery, Nothing>) -> Result<Page<AuditView>, Problem> {
    let query = call.query;
    let limit = pages::limit(query.limit)?;
    let below = pages::read_number(query.cursor.as_deref())?;
    let (pipeline, actor) = (query.pipeline.as_deref(), query.actor.as_deref());
    let rows = call.store.audit(below, pipeline, actor, limit + 1).await?;
    Ok(pages::page(rows, limit, |row| row.id.to_string(), AuditView::from))
}
