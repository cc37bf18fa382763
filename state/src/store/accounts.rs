//! People with a password: who they are, what they may do where. Passwords are never here, only their hashes.

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

    /// The hash of an account's password, if somebody may sign in with it.
    pub async fn password_of(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar!("select password from account where name = $1 and not disabled", name)
            .fetch_optional(&self.link)
            .await?)
    }

    /// All accounts by name.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let rows = sqlx::query!(
            r#"select name, roles, created_by, created_at as "created_at: jiff_sqlx::Timestamp", changed_by,
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
                created_at: row.created_at.to_jiff(),
                created_by: row.created_by,
                changed_at: row.changed_at.to_jiff(),
                changed_by: row.changed_by,
                disabled: row.disabled,
            })
            .collect())
    }
}
