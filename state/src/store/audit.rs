//! What people and programs asked for, to be read. It is written by the database, in the transaction of what was
//! done, and never changed.

use jiff::Timestamp;
use serde_json::Value;

use super::{Store, StoreError};

/// One thing that was done.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Its number.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// The pipeline that it concerns, if it is one.
    pub pipeline: Option<String>,
    /// How exactly.
    pub detail: Value,
}

impl Store {
    /// What was done before a number, newest first; of one pipeline, by one actor, if they are named.
    pub async fn audit(
        &self,
        below: Option<i64>,
        pipeline: Option<&str>,
        actor: Option<&str>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select audit_id, at as "at: jiff_sqlx::Timestamp", actor, action, object, pipeline, detail from audit
                where audit_id < $1 and ($2::text is null or pipeline = $2) and ($3::text is null or actor = $3)
                  and ($5::text[] is null or is_seen(pipeline, $5))
                order by audit_id desc limit $4"#,
            below.unwrap_or(i64::MAX),
            pipeline,
            actor,
            limit,
            self.seen()
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| AuditRow {
                id: row.audit_id,
                at: row.at.to_jiff(),
                actor: row.actor,
                action: row.action,
                object: row.object,
                pipeline: row.pipeline,
                detail: row.detail,
            })
            .collect())
    }
}
