//! STS: who am I, and temporary credentials for a role.
//!
//! Every role may be assumed: permissions are not part of the sandbox. Sessions are remembered, so that
//! credentials of a role answer with that role.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::wire::query::{Form, Xml};
use crate::wire::{ApiError, CallContext};
use crate::world::{ACCOUNT, World};
use crate::{SandboxError, files};

/// Sessions remembered at once; above it the ones that end first are forgotten.
const SESSIONS_MAX: usize = 1_000;

/// The service.
#[derive(Debug)]
pub(crate) struct Sts {
    world: Arc<World>,
    path: PathBuf,
    sessions: Mutex<BTreeMap<String, Session>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    role_arn: String,
    name: String,
    ends: Timestamp,
}

impl Sts {
    /// Reads the sessions that an earlier process gave out.
    pub(crate) fn open(world: Arc<World>) -> Result<Self, SandboxError> {
        let path = world.root.join("sts/sessions.json");
        let sessions = files::read_json(&path)?.unwrap_or_default();
        Ok(Self { world, path, sessions: Mutex::new(sessions) })
    }

    /// Answers one call.
    pub(crate) fn call(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        match cx.operation.as_str() {
            "GetCallerIdentity" => self.get_caller_identity(cx),
            "AssumeRole" => self.assume_role(cx, form),
            "GetSessionToken" => {
                let ends = ends(cx.now, form.get("DurationSeconds"), 43_200)?;
                let mut xml = Xml::default();
                self.write_credentials(&mut xml, &self.new_access_key(), ends);
                Ok(xml)
            }
            _ => Err(ApiError::new(
                400,
                "InvalidAction",
                format!("Could not find operation {} for version 2011-06-15 in the sandbox", cx.operation),
            )),
        }
    }

    fn get_caller_identity(&self, cx: &CallContext) -> Result<Xml, ApiError> {
        let session = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.get(&cx.caller).cloned()
        };
        let (arn, user_id) = match session {
            Some(session) if session.ends <= cx.now => {
                return Err(ApiError::new(
                    403,
                    "ExpiredToken",
                    "The security token included in the request is expired",
                ));
            }
            Some(session) => session.identity(),
            None => (format!("arn:aws:iam::{ACCOUNT}:user/sandbox"), "AIDASANDBOXUSER000000".to_owned()),
        };
        let mut xml = Xml::default();
        xml.leaf("Arn", &arn);
        xml.leaf("UserId", &user_id);
        xml.leaf("Account", cx.account);
        Ok(xml)
    }

    fn assume_role(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        let role_arn = form.required("RoleArn")?;
        let name = form.required("RoleSessionName")?;
        check_session_name(name)?;
        if role_name(role_arn).is_none() {
            return Err(ApiError::new(400, "ValidationError", format!("{role_arn} is invalid")));
        }
        let ends = ends(cx.now, form.get("DurationSeconds"), 3_600)?;
        let session = Session { role_arn: role_arn.to_owned(), name: name.to_owned(), ends };
        let (arn, user_id) = session.identity();
        let access_key = self.new_access_key();
        self.remember(&access_key, session, cx.now)?;
        let mut xml = Xml::default();
        self.write_credentials(&mut xml, &access_key, ends);
        xml.nest("AssumedRoleUser", |xml| {
            xml.leaf("Arn", &arn);
            xml.leaf("AssumedRoleId", &user_id);
        });
        if let Some(identity) = form.get("SourceIdentity") {
            xml.leaf("SourceIdentity", identity);
        }
        Ok(xml)
    }

    fn remember(&self, access_key: &str, session: Session, now: Timestamp) -> Result<(), ApiError> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // A day after its end a session need not even be known to have ended.
        let day = SignedDuration::from_hours(24);
        sessions.retain(|_, session| session.ends.saturating_add(day).is_ok_and(|gone| gone > now));
        while sessions.len() >= SESSIONS_MAX {
            let first = sessions.iter().min_by_key(|(_, session)| session.ends).map(|(key, _)| key.clone());
            let Some(first) = first else { break };
            sessions.remove(&first);
        }
        sessions.insert(access_key.to_owned(), session);
        files::replace_json(&self.path, &*sessions).map_err(ApiError::internal)
    }

    fn new_access_key(&self) -> String {
        let random = self.world.new_uuid().simple().to_string().to_uppercase();
        format!("ASIA{}", &random[..16])
    }

    fn write_credentials(&self, xml: &mut Xml, access_key: &str, ends: Timestamp) {
        let random = || self.world.new_uuid().simple().to_string();
        xml.nest("Credentials", |xml| {
            xml.leaf("AccessKeyId", access_key);
            xml.leaf("SecretAccessKey", &format!("{}{}", random(), &random()[..8]));
            xml.leaf("SessionToken", &format!("sandbox-{}", random()));
            xml.leaf("Expiration", &ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        });
    }
}

impl Session {
    /// The ARN and the user id of a caller with this session.
    fn identity(&self) -> (String, String) {
        let role = role_name(&self.role_arn).unwrap_or("role");
        let account = self.role_arn.split(':').nth(4).unwrap_or(ACCOUNT);
        let name = &self.name;
        (
            format!("arn:aws:sts::{account}:assumed-role/{role}/{name}"),
            format!("AROASANDBOXROLE000000:{name}"),
        )
    }
}

/// `arn:aws:iam::123456789012:role/path/name` to `name`.
fn role_name(arn: &str) -> Option<&str> {
    let resource = arn.strip_prefix("arn:")?.splitn(5, ':').nth(4)?;
    resource.strip_prefix("role/")?.rsplit('/').next().filter(|name| !name.is_empty())
}

fn check_session_name(name: &str) -> Result<(), ApiError> {
    let legal = |character: char| character.is_ascii_alphanumeric() || "_+=,.@-".contains(character);
    if (2..=64).contains(&name.len()) && name.chars().all(legal) {
        return Ok(());
    }
    Err(ApiError::new(
        400,
        "ValidationError",
        format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]* with length between 2 and 64"
        ),
    ))
}

fn ends(now: Timestamp, seconds: Option<&str>, default: i64) -> Result<Timestamp, ApiError> {
    let seconds = seconds.map_or(Ok(default), str::parse::<i64>).ok();
    let seconds = seconds.filter(|seconds| (900..=129_600).contains(seconds)).ok_or_else(|| {
        ApiError::new(
            400,
            "ValidationError",
            "1 validation error detected: Value at 'durationSeconds' failed to satisfy constraint: Member must be between 900 and 43200",
        )
    })?;
    now.saturating_add(SignedDuration::from_secs(seconds)).map_err(ApiError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_may_have_paths() {
        assert_eq!(role_name("arn:aws:iam::000000000000:role/etl"), Some("etl"));
        assert_eq!(role_name("arn:aws:iam::000000000000:role/a/b/etl"), Some("etl"));
        assert_eq!(role_name("arn:aws:iam::000000000000:user/etl"), None);
        assert_eq!(role_name("etl"), None);
    }

    #[test]
    fn session_names_are_checked() {
        assert!(check_session_name("trunkline@prod").is_ok());
        assert!(check_session_name("x").is_err());
        assert!(check_session_name("a b").is_err());
    }

    #[test]
    fn durations_have_limits() {
        assert!(ends(Timestamp::UNIX_EPOCH, Some("899"), 3600).is_err());
        assert!(ends(Timestamp::UNIX_EPOCH, Some("x"), 3600).is_err());
        assert_eq!(ends(Timestamp::UNIX_EPOCH, None, 3600).unwrap().as_second(), 3600);
    }
}
