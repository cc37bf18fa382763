//! Roles, and who may assume them: the trust policies, as far as a pipeline's template writes them.
//!
//! Read are `Allow` and `Deny` for `sts:AssumeRole`, principals that are an account, a user, a role or `*`, and
//! the condition on `sts:ExternalId`. A condition on anything else is never met, so that nothing is allowed by
//! misunderstanding.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::role_of;
use crate::wire::ApiError;
use crate::{SandboxError, files};

/// Roles of a sandbox, as many as an account has on AWS.
const ROLES_MAX: usize = 1_000;

/// Trust policies by the role's ARN.
#[derive(Debug)]
pub(super) struct Roles {
    trust: BTreeMap<String, Value>,
}

impl Roles {
    pub(super) fn open(folder: &Path) -> Result<Self, SandboxError> {
        Ok(Self { trust: files::read_json(&folder.join("roles.json"))?.unwrap_or_default() })
    }

    /// Keeps a role; whether it is new or changed.
    pub(super) fn put(&mut self, folder: &Path, arn: &str, trust: &Value) -> Result<bool, ApiError> {
        if self.trust.get(arn) == Some(trust) {
            return Ok(false);
        }
        if self.trust.len() >= ROLES_MAX {
            return Err(ApiError::new(409, "LimitExceeded", format!("more than {ROLES_MAX} roles")));
        }
        self.trust.insert(arn.to_owned(), trust.clone());
        files::replace_json(&folder.join("roles.json"), &self.trust).map_err(ApiError::internal)?;
        Ok(true)
    }

    /// Whether somebody of an account, with this ARN, may assume the role.
    pub(super) fn may_assume(
        &self,
        role: &str,
        account: &str,
        caller: &str,
        external_id: Option<&str>,
    ) -> bool {
        let Some(policy) = self.trust.get(role) else { return false };
        let fits = |effect: &str| {
            let statements = policy.get("Statement").map(list).unwrap_or_default();
            statements.into_iter().any(|statement| {
                statement.get("Effect").and_then(Value::as_str) == Some(effect)
                    && statement.get("Action").is_some_and(allows_assuming)
                    && statement.get("Principal").is_some_and(|them| names(them, account, caller))
                    && statement.get("Condition").is_none_or(|condition| is_met(condition, external_id))
            })
        };
        fits("Allow") && !fits("Deny")
    }
}

/// A value that may stand alone or in a list.
fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |items| items.iter().collect())
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    list(value).into_iter().filter_map(Value::as_str)
}

fn allows_assuming(action: &Value) -> bool {
    texts(action).any(|action| matches!(action, "sts:AssumeRole" | "sts:*" | "*"))
}

fn names(principal: &Value, account: &str, caller: &str) -> bool {
    let fits = |named: &str| {
        let root = named.strip_prefix("arn:aws:iam::").and_then(|rest| rest.strip_suffix(":root"));
        // A role in a policy stands for all of its sessions.
        let is_session = || {
            let (of, role) = role_of(named)?;
            caller.strip_prefix(&format!("arn:aws:sts::{of}:assumed-role/{role}/"))
        };
        named == "*" || named == account || root == Some(account) || named == caller || is_session().is_some()
    };
    match principal {
        Value::String(everyone) => everyone == "*",
        other => other.get("AWS").is_some_and(|named| texts(named).any(fits)),
    }
}

fn is_met(condition: &Value, external_id: Option<&str>) -> bool {
    let Some(operators) = condition.as_object() else { return false };
    operators.iter().all(|(operator, keys)| {
        let Some(keys) = keys.as_object().filter(|_| operator == "StringEquals") else { return false };
        keys.iter().all(|(key, wanted)| {
            key.eq_ignore_ascii_case("sts:ExternalId")
                && external_id.is_some_and(|given| texts(wanted).any(|wanted| wanted == given))
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROLE: &str = "arn:aws:iam::111111111111:role/reader";
    const USER: &str = "arn:aws:iam::000000000000:user/sandbox";

    fn may(statement: Value, external_id: Option<&str>) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let mut roles = Roles::open(folder.path()).unwrap();
        let trust = json!({ "Statement": statement });
        assert!(roles.put(folder.path(), ROLE, &trust).unwrap());
        assert!(!roles.put(folder.path(), ROLE, &trust).unwrap());
        Roles::open(folder.path()).unwrap().may_assume(ROLE, "000000000000", USER, external_id)
    }

    fn allow(principal: &Value) -> Value {
        json!({ "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal })
    }

    #[test]
    fn principals_are_accounts_users_or_everyone() {
        for principal in [
            json!("*"),
            json!({ "AWS": "000000000000" }),
            json!({ "AWS": ["arn:aws:iam::222222222222:root", "arn:aws:iam::000000000000:root"] }),
            json!({ "AWS": USER }),
        ] {
            assert!(may(allow(&principal), None), "{principal}");
        }
        for principal in [json!({ "Service": "glue.amazonaws.com" }), json!({ "AWS": "222222222222" })] {
            assert!(!may(allow(&principal), None), "{principal}");
        }
    }

    #[test]
    fn a_role_in_a_policy_stands_for_its_sessions() {
        let principal = json!({ "AWS": "arn:aws:iam::000000000000:role/app" });
        assert!(names(&principal, "0", "arn:aws:sts::000000000000:assumed-role/app/trunkline"));
        assert!(!names(&principal, "0", "arn:aws:sts::000000000000:assumed-role/apps/trunkline"));
    }

    #[test]
    fn the_external_id_must_be_the_one_asked_for() {
        let mut statement = allow(&json!({ "AWS": "000000000000" }));
        statement["Condition"] = json!({ "StringEquals": { "sts:ExternalId": "partner-7" } });
        assert!(may(statement.clone(), Some("partner-7")));
        assert!(!may(statement.clone(), Some("partner-8")));
        assert!(!may(statement.clone(), None));
        statement["Condition"] = json!({ "Bool": { "aws:MultiFactorAuthPresent": "true" } });
        assert!(!may(statement, Some("partner-7")), "a condition that is not understood is not met");
    }

    #[test]
    fn a_deny_wins_and_a_missing_role_is_refused() {
        let everyone = json!("*");
        let deny = json!({ "Effect": "Deny", "Action": "sts:*", "Principal": everyone });
        assert!(!may(json!([allow(&everyone), deny]), None));
        let folder = tempfile::tempdir().unwrap();
        assert!(!Roles::open(folder.path()).unwrap().may_assume(ROLE, "000000000000", USER, None));
    }
}
