//! Tokens of the API, and requests for runs that may come twice. Secrets are never here, only hashes.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Store, StoreError,
    rows::{at, read_option},
};

/// How exactly the last use of a token is known: a write for each request would cost more than the
/// request.
const USE_NOTED_EVERY: Duration = Duration::from_secs(300);

/// A token as it is listed.
#[derive(Clone, Debug)]
pub struct TokenRow {
    /// Its id, part of what its owner sends.
    pub id: String,
    /// Its name: who acts by it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// Where, by folder of pipelines; `""` is everywhere.
    pub folders: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to five minutes.
    pub last_used_at: Option<Timestamp>,
}

/// A token to be stored.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The hash of its secret.
    pub sha256: [u8; 32],
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// Where, by folder of pipelines; `""` is everywhere.
    pub folders: Vec<String>,
    /// Who makes it.
    pub actor: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
}

/// A token that is good at this moment, as far as its id tells.
#[derive(Clone, Debug)]
pub struct GoodToken {
    /// Its name.
    pub name: String,
    /// The hash of its secret.
    pub sha256: Vec<u8>,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// Where, by folder of pipelines; `""` is everywhere.
    pub folders: Vec<String>,
}

/// Which run a request means that its sender may repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRequestRow {
    /// The hash of the request's contents.
    pub sha256: Vec<u8>,
    /// The pipeline.
    pub pipeline: String,
    /// The run's key.
    pub key: String,
}

impl Store {
    /// Stores a token. `false`: a token of that name is in use.
    pub async fn create_token(&self, new: &NewToken) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "insert into api_token (token_id, name, sha256, scopes, created_by, expires_at, folders)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
            new.id,
            new.name,
            &new.sha256[..],
            &new.scopes,
            new.actor,
            at(new.expires_at) as _,
            &new.folders
        )
        .execute(&self.link)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Every token, newest first, those too that are no good any more.
    pub async fn tokens(&self, limit: i64) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select token_id, name, scopes, folders, created_by, created_at as "created_at: jiff_sqlx::Timestamp",
                      expires_at as "expires_at: jiff_sqlx::Timestamp", revoked_at as "revoked_at: jiff_sqlx::Timestamp",
                      last_used_at as "last_used_at: jiff_sqlx::Timestamp"
                 from api_token order by created_at desc limit $1"#,
            limit
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| TokenRow {
                id: row.token_id,
                name: row.name,
                scopes: row.scopes,
                folders: row.folders,
                created_at: row.created_at.to_jiff(),
                created_by: row.created_by,
                expires_at: row.expires_at.to_jiff(),
                revoked_at: read_option(row.revoked_at),
                last_used_at: read_option(row.last_used_at),
            })
            .collect())
    }

    /// The token of an id, if it is neither revoked nor expired on the database's clock. That it is used
    /// is written down now and then.
    pub async fn good_token(&self, id: &str) -> Result<Option<GoodToken>, StoreError> {
        let row = sqlx::query!(
            "with good as (
               select token_id, name, sha256, scopes, folders, last_used_at from api_token
                where token_id = $1 and revoked_at is null and expires_at > clock_timestamp()
             ), used as (
               update api_token t set last_used_at = clock_timestamp() from good g
                where t.token_id = g.token_id
                  and coalesce(g.last_used_at < clock_timestamp() - make_interval(secs => $2), true)
             )
             select name, sha256, scopes, folders from good",
            id,
            USE_NOTED_EVERY.as_secs_f64()
        )
        .fetch_optional(&self.link)
        .await?;
        Ok(row.map(|row| GoodToken {
            name: row.name,
            sha256: row.sha256,
            scopes: row.scopes,
            folders: row.folders,
        }))
    }

    /// Takes a token back, by name or id. Once it returned, no request with it succeeds. Whether there
    /// was one.
    pub async fn revoke_token(&self, name: &str, actor: &str) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update api_token set revoked_at = clock_timestamp(), revoked_by = $2
              where (name = $1 or token_id = $1) and revoked_at is null",
            name,
            actor
        )
        .execute(&self.link)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Which run a request means: what the first one of this id said.
    pub async fn run_request(&self, id: &str) -> Result<Option<RunRequestRow>, StoreError> {
        let row = sqlx::query!("select sha256, pipeline, run_key from run_request where request_id = $1", id)
            .fetch_optional(&self.link)
            .await?;
        Ok(row.map(|row| RunRequestRow { sha256: row.sha256, pipeline: row.pipeline, key: row.run_key }))
    }

    /// Settles which run a request means. `false`: another one of this id was faster.
    pub async fn settle_run_request(&self, id: &str, request: &RunRequestRow) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "insert into run_request (request_id, sha256, pipeline, run_key) values ($1, $2, $3, $4)
             on conflict do nothing",
            id,
            request.sha256,
            request.pipeline,
            request.key
        )
        .execute(&self.link)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Forgets a request whose run turned out to be somebody else's.
    pub async fn forget_run_request(&self, id: &str) -> Result<(), StoreError> {
        sqlx::query!("delete from run_request where request_id = $1", id).execute(&self.link).await?;
        Ok(())
    }
}
