//! Temporary credentials that were given out.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{role_of, user_of};
use crate::wire::ApiError;
use crate::world::ACCOUNT;
use crate::{SandboxError, files};

/// Sessions remembered at once; above it the ones that end first are forgotten.
const SESSIONS_MAX: usize = 1_000;

/// What access keys stand for.
#[derive(Debug)]
pub(super) struct Sessions {
    by_key: BTreeMap<String, Session>,
}

/// One session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    /// The assumed role; empty for a user's own session.
    role_arn: String,
    name: String,
    /// When it was given out.
    #[serde(default)]
    pub made: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
    /// The account of a user's own session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

impl Session {
    pub(super) fn of_role(role_arn: &str, name: &str, made: Timestamp, ends: Timestamp) -> Self {
        Self { role_arn: role_arn.to_owned(), name: name.to_owned(), made, ends, account: None }
    }

    pub(super) fn of_user(account: &str, made: Timestamp, ends: Timestamp) -> Self {
        Self { role_arn: String::new(), name: String::new(), made, ends, account: Some(account.to_owned()) }
    }

    /// The account that its holder belongs to.
    pub(super) fn account(&self) -> &str {
        self.account
            .as_deref()
            .or_else(|| role_of(&self.role_arn).map(|(account, _)| account))
            .unwrap_or(ACCOUNT)
    }

    /// The ARN and the user id of its holder.
    pub(super) fn identity(&self) -> (String, String) {
        let Some((account, role)) = role_of(&self.role_arn) else { return user_of(self.account()) };
        let name = &self.name;
        (
            format!("arn:aws:sts::{account}:assumed-role/{role}/{name}"),
            format!("AROASANDBOXROLE000000:{name}"),
        )
    }
}

impl Sessions {
    pub(super) fn open(folder: &Path) -> Result<Self, SandboxError> {
        Ok(Self { by_key: files::read_json(&folder.join("sessions.json"))?.unwrap_or_default() })
    }

    pub(super) fn get(&self, access_key: &str) -> Option<&Session> {
        self.by_key.get(access_key)
    }

    /// Keeps a session, over a restart too.
    pub(super) fn remember(
        &mut self,
        folder: &Path,
        access_key: &str,
        session: Session,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        // A day after its end a session need not even be known to have ended.
        let day = SignedDuration::from_hours(24);
        self.by_key.retain(|_, session| session.ends.saturating_add(day).is_ok_and(|gone| gone > now));
        while self.by_key.len() >= SESSIONS_MAX {
            let first = self.by_key.iter().min_by_key(|(_, session)| session.ends);
            let Some(first) = first.map(|(key, _)| key.clone()) else { break };
            self.by_key.remove(&first);
        }
        self.by_key.insert(access_key.to_owned(), session);
        files::replace_json(&folder.join("sessions.json"), &self.by_key).map_err(ApiError::internal)
    }
}
