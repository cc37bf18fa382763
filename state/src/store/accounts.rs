//! People: who they are, what they may do where, whether a password of theirs or a provider says that it is
//! them. Passwords are never here, only their hashes.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Store, StoreError};

/// Accounts that are listed.
const ACCOUNTS_MAX: i64 = 10_000;

/// An account as it is listed.
#[derive(Clone, Debug)]
pub struct AccountRow {
    /// Its name.
    pub name: String,
    /// What it may do, by folder.
    pub roles: BTreeMap<String, String>,
    /// The provider that vouches for it, if it has no password.
    pub issuer: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
    /// Whether nobody can sign in with it.
    pub disabled: bool,
}

/// Somebody whom a provider vouches for.
#[derive(Clone, Debug)]
pub struct Vouched<'a> {
    /// The provider, by its name for itself.
    pub issuer: &'a str,
    /// Who it is, by the provider's name for them that never changes.
    pub subject: &'a str,
    /// What they are called here when they come for the first time.
    pub name: &'a str,
    /// What they may do from now on, by folder.
    pub roles: &'a BTreeMap<String, String>,
}

/// What became of somebody whom a provider vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Welcome {
    /// They are this account.
    Known {
        /// Its name.
        name: String,
        /// Whether nobody can sign in with it.
        disabled: bool,
    },
    /// Another account is called so already.
    NameTaken,
}

/// What changes of an account; `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// What it may do, by folder.
    pub roles: Option<BTreeMap<String, String>>,
    /// The hash of its password.
    pub password: Option<String>,
    /// Whether nobody can sign in with it.
    pub disabled: Option<bool>,
}

impl Store {
    /// Stores an account. `false`: there is one of that name.
    pub async fn create_account(
        &self,
        name: &str,
        password: &str,
        roles: &BTreeMap<String, String>,
        actor: &str,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "insert into account (name, password, roles, created_by, changed_by)
             values ($1, $2, $3, $4, $4) on conflict do nothing",
            name,
            password,
            serde_json::json!(roles),
            actor
        )
        .execute(&self.link)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Changes an account. Once it returned, no session that began before is good, but for `keep`: whoever
    /// changes something of their own goes on. `false`: there is no such account.
    pub async fn change_account(
        &self,
        name: &str,
        change: &AccountChange,
        actor: &str,
        keep: Option<&[u8; 32]>,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            r#"with changed as (
                 update account set roles = coalesce($2, roles), password = coalesce($3, password),
                        disabled = coalesce($4, disabled), changed_at = clock_timestamp(), changed_by = $5
                  where name = $1 returning name
               ), ended as (
                 delete from web_session s using changed c
                  where s.account = c.name and ($6::bytea is null or s.sha256 <> $6)
               )
               select count(*) as "changed!" from changed"#,
            name,
            change.roles.as_ref().map(|roles| serde_json::json!(roles)),
            change.password,
            change.disabled,
            actor,
            keep.map(|sha256| &sha256[..])
        )
        .fetch_one(&self.link)
        .await?;
        Ok(done.changed == 1)
    }

    /// The account of somebody whom a provider vouches for, made when they come for the first time, with the roles
    /// that they have now.
    pub async fn welcome(&self, who: &Vouched<'_>) -> Result<Welcome, StoreError> {
        let actor = format!("provider:{}", who.issuer);
        let kept = sqlx::query!(
            "insert into account (name, issuer, subject, roles, created_by, changed_by) values ($1, $2, $3, $4, $5, $5)
             on conflict (issuer, subject) do update
                set roles = excluded.roles, changed_at = clock_timestamp(), changed_by = excluded.changed_by
              where account.roles <> excluded.roles and not account.disabled",
            who.name,
            who.issuer,
            who.subject,
            serde_json::json!(who.roles),
            actor
        )
        .execute(&self.link)
        .await;
        match kept {
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("account_pkey") => {
                return Ok(Welcome::NameTaken);
            }
            kept => kept?,
        };
        let row = sqlx::query!(
            "select name, disabled from account where issuer = $1 and subject = $2",
            who.issuer,
            who.subject
        )
        .fetch_one(&self.link)
        .await?;
        Ok(Welcome::Known { name: row.name, disabled: row.disabled })
    }

    /// The hash of an account's password, if somebody may sign in with it.
    pub async fn password_of(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar!(
            r#"select password as "password!" from account where name = $1 and not disabled and password is not null"#,
            name
        )
        .fetch_optional(&self.link)
        .await?)
    }

    /// All accounts by name.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select name, roles, issuer, created_by, created_at as "created_at: jiff_sqlx::Timestamp", changed_by,
                      changed_at as "changed_at: jiff_sqlx::Timestamp", disabled
                 from account order by name limit $1"#,
            ACCOUNTS_MAX
        )
        .fetch_all(&self.link)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| AccountRow {
                name: row.name,
                roles: serde_json::from_value(row.roles).unwrap_or_default(),
                issuer: row.issuer,
                created_at: row.created_at.to_jiff(),
                created_by: row.created_by,
                changed_at: row.changed_at.to_jiff(),
                changed_by: row.changed_by,
                disabled: row.disabled,
            })
            .collect())
    }
}
