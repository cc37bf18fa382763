//! Accounts and tokens as JSON: who may do what, and where. Never a password, a secret or a hash.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use trunkline_state::store::{AccountRow, TokenRow};

use crate::service::account::Roles;

/// Somebody who can sign in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AccountView {
    /// The name.
    pub account: String,
    /// What they may do, by folder of pipelines; `""` is every folder.
    pub roles: Roles,
    /// The provider where they sign in, which says what they may do; none has a password here.
    pub provider: Option<String>,
    /// Whether nobody can sign in with it.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
}

impl From<AccountRow> for AccountView {
    fn from(row: AccountRow) -> Self {
        let AccountRow { name, roles, issuer, created_at, created_by, changed_at, changed_by, disabled } =
            row;
        Self {
            account: name,
            roles,
            provider: issuer,
            disabled,
            created_at,
            created_by,
            changed_at,
            changed_by,
        }
    }
}

/// A token.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TokenView {
    /// Its name: the history says `token:NAME`.
    pub name: String,
    /// Its id, part of what its owner sends.
    pub id: String,
    /// What it may be used for.
    pub scopes: Vec<String>,
    /// In which folders of pipelines; `""` is every folder.
    pub folders: Vec<String>,
    /// `good`, `expired` or `revoked`.
    pub state: &'static str,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was last used, to five minutes.
    pub last_used_at: Option<Timestamp>,
}

impl TokenView {
    /// How a token stands at a moment.
    pub fn new(row: TokenRow, now: Timestamp) -> Self {
        let state = match (row.revoked_at, row.expires_at <= now) {
            (Some(_), _) => "revoked",
            (None, true) => "expired",
            (None, false) => "good",
        };
        Self {
            name: row.name,
            id: row.id,
            scopes: row.scopes,
            folders: row.folders,
            state,
            created_at: row.created_at,
            created_by: row.created_by,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }

    /// Where it is good, for people.
    pub fn place(&self) -> String {
        let everywhere = self.folders.iter().any(String::is_empty);
        if everywhere { "all folders".to_owned() } else { self.folders.join(", ") }
    }
}
