//! STS: who am I, and temporary credentials for a role.
//!
//! A role may be assumed by whom its trust policy names, with the external id that it asks for; what the role
//! may then do is not part of the sandbox. Sessions and roles are common to all accounts and are remembered,
//! so that credentials go on to work, and to end, over a restart.

mod roles;
mod sessions;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use self::roles::Roles;
use self::sessions::{Session, Sessions};
use crate::SandboxError;
use crate::ledger::Accepted;
use crate::wire::query::{Form, Xml};
use crate::wire::{ApiError, CallContext};
use crate::world::{ACCOUNT, World};

/// The service.
#[derive(Debug)]
pub(crate) struct Sts {
    world: Arc<World>,
    folder: PathBuf,
    sessions: Mutex<Sessions>,
    roles: Mutex<Roles>,
}

/// Who calls, by the access key.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The account that the caller belongs to.
    pub account: Arc<str>,
    /// The session, where the key is of temporary credentials.
    pub session: Option<CallerSession>,
    unknown: bool,
}

/// The session of a caller.
#[derive(Debug, Clone)]
pub(crate) struct CallerSession {
    /// ARN of the assumed role, or of the user.
    pub arn: String,
    made: Timestamp,
    ends: Timestamp,
}

/// What is wrong with credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialTrouble {
    /// Their time is over.
    Ended,
    /// They were never given out, or are long forgotten.
    Unknown,
}

impl Caller {
    /// What keeps the caller's credentials from being good now; `age_max` ends them sooner than they say.
    pub(crate) fn trouble(&self, now: Timestamp, age_max: Option<Duration>) -> Option<CredentialTrouble> {
        if self.unknown {
            return Some(CredentialTrouble::Unknown);
        }
        let session = self.session.as_ref()?;
        let age = Duration::try_from(now.duration_since(session.made)).unwrap_or_default();
        let too_old = age_max.is_some_and(|most| age > most);
        (session.ends <= now || too_old).then_some(CredentialTrouble::Ended)
    }
}

impl Sts {
    /// Reads the sessions that an earlier process gave out, and the roles that were provisioned.
    pub(crate) fn open(world: Arc<World>) -> Result<Self, SandboxError> {
        let folder = world.root.join("sts");
        let sessions = Mutex::new(Sessions::open(&folder)?);
        let roles = Mutex::new(Roles::open(&folder)?);
        Ok(Self { world, folder, sessions, roles })
    }

    /// Who calls with an access key: a session, an account named by its number, or the first account.
    pub(crate) fn caller(&self, access_key: Option<&str>) -> Caller {
        let key = access_key.unwrap_or_default();
        if !key.starts_with("ASIA") {
            let account = if is_account(key) { key } else { ACCOUNT };
            return Caller { account: account.into(), session: None, unknown: false };
        }
        let found = self.sessions().get(key).cloned();
        let unknown = found.is_none();
        let account = found.as_ref().map_or(ACCOUNT, Session::account).into();
        let session = found.map(|session| CallerSession {
            arn: session.identity().0,
            made: session.made,
            ends: session.ends,
        });
        Caller { account, session, unknown }
    }

    /// Makes a role known, with who may assume it.
    pub(crate) fn put_role(&self, account: &str, name: &str, trust: &Value) -> Result<bool, ApiError> {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        roles.put(&self.folder, &format!("arn:aws:iam::{account}:role/{name}"), trust)
    }

    /// Answers one call.
    pub(crate) fn call(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        match cx.operation.as_str() {
            "GetCallerIdentity" => Ok(self.get_caller_identity(cx)),
            "AssumeRole" => self.assume_role(cx, form),
            "GetSessionToken" => {
                let ends = ends(cx.now, form.get("DurationSeconds"), 43_200)?;
                let access_key = self.new_access_key();
                let session = Session::of_user(&cx.account, cx.now, ends);
                self.sessions().remember(&self.folder, &access_key, session, cx.now)?;
                let mut xml = Xml::default();
                self.write_credentials(&mut xml, &access_key, ends);
                Ok(xml)
            }
            _ => Err(ApiError::new(
                400,
                "InvalidAction",
                format!("Could not find operation {} for version 2011-06-15 in the sandbox", cx.operation),
            )),
        }
    }

    fn get_caller_identity(&self, cx: &CallContext) -> Xml {
        let session = self.sessions().get(&cx.caller).cloned();
        let (arn, user_id) = session.as_ref().map_or_else(|| user_of(&cx.account), Session::identity);
        let mut xml = Xml::default();
        xml.leaf("Arn", &arn);
        xml.leaf("UserId", &user_id);
        xml.leaf("Account", &cx.account);
        xml
    }

    fn assume_role(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        let role_arn = form.required("RoleArn")?;
        let name = form.required("RoleSessionName")?;
        check_session_name(name)?;
        if role_of(role_arn).is_none() {
            return Err(ApiError::new(400, "ValidationError", format!("{role_arn} is invalid")));
        }
        let mut ends = ends(cx.now, form.get("DurationSeconds"), 3_600)?;
        let caller = cx.session.clone().unwrap_or_else(|| user_of(&cx.account).0);
        let may = {
            let roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
            roles.may_assume(role_arn, &cx.account, &caller, form.get("ExternalId"))
        };
        if !may {
            // The same words whether the role is missing, trusts somebody else, or wants another external id:
            // AWS tells a stranger nothing about it.
            return Err(ApiError::new(
                403,
                "AccessDenied",
                format!(
                    "User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
                ),
            ));
        }
        if let Some(life) = self.world.faults.session_life("sts", "AssumeRole", cx.now) {
            let life = SignedDuration::try_from(life).unwrap_or(SignedDuration::MAX);
            ends = cx.now.saturating_add(life).map_err(ApiError::internal)?;
        }
        let session = Session::of_role(role_arn, name, cx.now, ends);
        let (arn, user_id) = session.identity();
        let access_key = self.new_access_key();
        self.sessions().remember(&self.folder, &access_key, session, cx.now)?;
        let accepted = Accepted { marker: Some(name.to_owned()), id: &access_key, subject: role_arn };
        self.world.ledger.accepted(cx, accepted).map_err(ApiError::internal)?;
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

    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Whether a text is an account's number.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The ARN and the user id of somebody who calls with no role.
fn user_of(account: &str) -> (String, String) {
    (format!("arn:aws:iam::{account}:user/sandbox"), "AIDASANDBOXUSER000000".to_owned())
}

/// `arn:aws:iam::123456789012:role/path/name` to the account and `name`.
fn role_of(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.strip_prefix("arn:")?.splitn(5, ':');
    let (account, resource) = (parts.nth(3)?, parts.next()?);
    let name = resource.strip_prefix("role/")?.rsplit('/').next().filter(|name| !name.is_empty())?;
    is_account(account).then_some((account, name))
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
        assert_eq!(role_of("arn:aws:iam::000000000000:role/etl"), Some(("000000000000", "etl")));
        assert_eq!(role_of("arn:aws:iam::111111111111:role/a/b/etl"), Some(("111111111111", "etl")));
        assert_eq!(role_of("arn:aws:iam::000000000000:user/etl"), None);
        assert_eq!(role_of("arn:aws:iam::me:role/etl"), None);
        assert_eq!(role_of("etl"), None);
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

    #[test]
    fn credentials_end_when_they_say_or_when_the_script_says() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let session = CallerSession { arn: String::new(), made: at(0), ends: at(60) };
        let caller = Caller { account: ACCOUNT.into(), session: Some(session), unknown: false };
        assert_eq!(caller.trouble(at(59), None), None);
        assert_eq!(caller.trouble(at(60), None), Some(CredentialTrouble::Ended));
        assert_eq!(caller.trouble(at(5), Some(Duration::from_secs(4))), Some(CredentialTrouble::Ended));
    }
}
