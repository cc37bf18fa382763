//! Browsers that are signed in: until when, and by which token. What their cookies hold is never here, only
//! hashes.

use std::{collections::BTreeMap, time::Duration};

use super::{Store, StoreError};

/// A session that nobody used for so long has ended: a working day.
pub const SESSION_IDLE: Duration = Duration::from_hours(8);
/// And every session so long after the sign-in, however busy it is.
pub const SESSION_AGE: Duration = Duration::from_hours(24);
/// How exactly the last use of a session is known: a write for each request would cost more than the
/// request.
const USE_NOTED_EVERY: Duration = Duration::from_mins(5);

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionOwner {
    /// Whoever showed this token.
    Token {
        /// The token's id.
        id: String,
    },
    /// Whoever knew the password of this account.
    Account {
        /// The account's name.
        name: String,
    },
    /// Whoever showed the token of a project's folder.
    Local {
        /// That token's hash.
        sha256: [u8; 32],
    },
}

/// A session that is good at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GoodSession {
    /// By a token that is good as well.
    Token {
        /// The token's name.
        name: String,
        /// What it may be used for.
        scopes: Vec<String>,
        /// Where.
        folders: Vec<String>,
    },
    /// By a password, of an account that is not disabled.
    Account {
        /// The account's name.
        name: String,
        /// What it may do, by folder.
        roles: BTreeMap<String, String>,
    },
    /// By the token of a project's folder; whether it still is that one, the caller knows.
    Local {
        /// The hash of that token.
        sha256: Vec<u8>,
    },
}

impl Store {
    /// Stores a session by the hash of what its cookie holds, and forgets those that have ended.
    pub async fn begin_session(&self, sha256: &[u8; 32], owner: &SessionOwner) -> Result<(), StoreError> {
        let (token, local, account) = match owner {
            SessionOwner::Token { id } => (Some(id.as_str()), None, None),
            SessionOwner::Local { sha256 } => (None, Some(&sha256[..]), None),
            SessionOwner::Account { name } => (None, None, Some(name.as_str())),
        };
        sqlx::query!(
            "with ended as (
               delete from web_session
                where created_at < clock_timestamp() - make_interval(secs => $4)
                   or seen_at < clock_timestamp() - make_interval(secs => $5)
             )
             insert into web_session (sha256, token_id, local_sha256, account) values ($1, $2, $3, $6)",
            &sha256[..],
            token,
            local,
            SESSION_AGE.as_secs_f64(),
            SESSION_IDLE.as_secs_f64(),
            account
        )
        .execute(&self.link)
        .await?;
        Ok(())
    }

    /// The session of a hash, if neither it nor the token that it was begun with has ended, on the database's
    /// clock. That it is used is written down now and then.
    pub async fn good_session(&self, sha256: &[u8; 32]) -> Result<Option<GoodSession>, StoreError> {
        let row = sqlx::query!(
            r#"with good as (
               select s.sha256, s.seen_at, s.local_sha256, t.name, t.scopes, t.folders, s.account, a.roles
                 from web_session s left join api_token t on t.token_id = s.token_id
                      left join account a on a.name = s.account
                where s.sha256 = $1
                  and s.created_at > clock_timestamp() - make_interval(secs => $2)
                  and s.seen_at > clock_timestamp() - make_interval(secs => $3)
                  and (s.token_id is null or (t.revoked_at is null and t.expires_at > clock_timestamp()))
                  and (s.account is null or not a.disabled)
             ), used as (
               update web_session s set seen_at = clock_timestamp() from good g
                where s.sha256 = g.sha256 and g.seen_at < clock_timestamp() - make_interval(secs => $4)
             )
             select local_sha256, name as "name?", scopes as "scopes?", folders as "folders?", account as "account?", roles as "roles?"
               from good"#,
            &sha256[..],
            SESSION_AGE.as_secs_f64(),
            SESSION_IDLE.as_secs_f64(),
            USE_NOTED_EVERY.as_secs_f64()
        )
        .fetch_optional(&self.link)
        .await?;
        Ok(row.and_then(|row| {
            if let Some(sha256) = row.local_sha256 {
                return Some(GoodSession::Local { sha256 });
            }
            if let (Some(name), Some(roles)) = (row.account, row.roles) {
                let roles = serde_json::from_value(roles).unwrap_or_default();
                return Some(GoodSession::Account { name, roles });
            }
            let (name, scopes, folders) = (row.name?, row.scopes?, row.folders?);
            Some(GoodSession::Token { name, scopes, folders })
        }))
    }

    /// Ends a session. Once it returned, no request with its cookie succeeds.
    pub async fn end_session(&self, sha256: &[u8; 32]) -> Result<(), StoreError> {
        sqlx::query!("delete from web_session where sha256 = $1", &sha256[..]).execute(&self.link).await?;
        Ok(())
    }
}
