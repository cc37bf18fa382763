//! `sign_in` of an environment: the OpenID provider that says who somebody is, and what its groups may do.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use url::Url;

use super::Values;
use crate::{
    definition::{
        reader::{Keys, shorten},
        suggest::did_you_mean,
        tree::{Entry, Kind},
    },
    service::{
        account::{Roles, check_roles},
        token::Scope,
    },
};

/// The keys of `sign_in`.
const SIGN_IN_KEYS: [&str; 7] =
    ["issuer", "client_id", "client_secret", "label", "name_claim", "groups_claim", "roles"];
/// What the button says where nothing else is said.
const LABEL: &str = "single sign-on";
/// Where most providers keep what people call somebody.
const NAME_CLAIM: &str = "preferred_username";
/// Where most providers keep what somebody is a member of, once told to.
const GROUPS_CLAIM: &str = "groups";
/// In place of a group: whoever the provider vouches for.
pub const EVERYBODY: &str = "*";

/// Who says that somebody is who they say, and what they may do then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// The provider's address, as it names itself, to the last slash.
    pub issuer: String,
    /// What this server is called there.
    pub client_id: String,
    /// The secret of this environment that this server is known by; none where the provider asks for none.
    pub client_secret: Option<String>,
    /// What people call the provider.
    pub label: String,
    /// The claim that accounts are called by.
    pub name_claim: String,
    /// The claim that lists groups.
    pub groups_claim: String,
    /// What each group may do, by folder; `*` is everybody.
    pub roles: IndexMap<String, Roles>,
}

impl SignIn {
    /// What a member of these groups may do: in each folder the most that any of them may.
    pub fn roles_of(&self, groups: &[String]) -> Roles {
        let mut all = Roles::new();
        let held = self.roles.iter().filter(|(group, _)| *group == EVERYBODY || groups.contains(group));
        for (folder, role) in held.flat_map(|(_, roles)| roles) {
            let kept = all.entry(folder.clone()).or_insert_with(|| role.clone());
            if Scope::from_role(role) > Scope::from_role(kept) {
                kept.clone_from(role);
            }
        }
        all
    }
}

impl Values<'_, '_> {
    pub(super) fn sign_in(&mut self, entry: &Entry, secrets: &[&str]) -> Option<SignIn> {
        let mapping = self.reader.mapping(&entry.value, "sign_in")?;
        let before = self.reader.found.len();
        self.reader.check_keys(mapping, Keys { of: "`sign_in`", known: &SIGN_IN_KEYS, later: &[] });
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for inner in mapping.entries.iter().filter(|inner| inner.key != "roles") {
            let text = self.reader.text(inner)?;
            texts.insert(&inner.key, self.complete(&text, &inner.value.span)?);
        }
        for key in ["issuer", "client_id", "roles"] {
            if mapping.get(key).is_none() {
                let diagnostic = self
                    .reader
                    .error(&entry.key_span, format!("`sign_in` needs `{key}`"))
                    .label(format!("`{key}` is missing"))
                    .help("write { issuer: https://…, client_id: …, roles: { GROUP: viewer } }");
                self.reader.report(diagnostic);
            }
        }
        let issuer = mapping.get("issuer").and_then(|inner| self.issuer(inner, texts.get("issuer")?));
        if let (Some(inner), Some(name)) = (mapping.get("client_secret"), texts.get("client_secret")) {
            self.check_secret(inner, name, secrets);
        }
        let roles = mapping.get("roles").map(|inner| self.group_roles(inner)).unwrap_or_default();
        if self.reader.found.len() > before {
            return None;
        }
        let mut taken = |key: &str| texts.remove(key);
        Some(SignIn {
            issuer: issuer?,
            client_id: taken("client_id")?,
            client_secret: taken("client_secret"),
            label: taken("label").unwrap_or_else(|| LABEL.to_owned()),
            name_claim: taken("name_claim").unwrap_or_else(|| NAME_CLAIM.to_owned()),
            groups_claim: taken("groups_claim").unwrap_or_else(|| GROUPS_CLAIM.to_owned()),
            roles,
        })
    }

    /// Keys of signatures come from there: nobody may stand in between.
    fn issuer(&mut self, entry: &Entry, text: &str) -> Option<String> {
        // Of another environment, it may hold what is not looked up here.
        if self.lookup.is_none() && text.contains("${") {
            return None;
        }
        let url = Url::parse(text).ok();
        let safe = |url: &Url| {
            url.scheme() == "https" || url.scheme() == "http" && trunkline_tasks::clients::is_loopback(text)
        };
        let url = url.filter(|url| safe(url) && url.query().is_none() && url.fragment().is_none());
        if url.is_none() {
            let diagnostic = self
                .reader
                .error(&entry.value.span, format!("`{}` is no address of a provider", shorten(text)))
                .label("not https")
                .help("write the address that the provider names as its `issuer`, such as https://login.example.com/realms/data");
            self.reader.report(diagnostic);
        }
        url.map(|_| text.to_owned())
    }

    fn check_secret(&mut self, entry: &Entry, name: &str, secrets: &[&str]) {
        if secrets.contains(&name) {
            return;
        }
        // Without the text: it may well be the secret itself.
        let known = did_you_mean(name, secrets.iter().copied(), "there are");
        let help =
            known.unwrap_or_else(|| "add `secrets: { provider: { env: NAME } }` and name it here".to_owned());
        let diagnostic = self
            .reader
            .error(
                &entry.value.span,
                "`client_secret` names a secret of this environment, and there is none of that name",
            )
            .label("a name, not a value")
            .help(help);
        self.reader.report(diagnostic);
    }

    fn group_roles(&mut self, entry: &Entry) -> IndexMap<String, Roles> {
        let mut all = IndexMap::new();
        let Some(mapping) = self.reader.mapping(&entry.value, "roles") else { return all };
        for inner in &mapping.entries {
            let said = match &inner.value.kind {
                Kind::Mapping(folders) => folders
                    .entries
                    .iter()
                    .filter_map(|one| Some((one.key.clone(), self.reader.text(one)?)))
                    .collect(),
                _ => self.reader.text(inner).map(|role| (String::new(), role)).into_iter().collect(),
            };
            match check_roles(said) {
                Ok(roles) => {
                    all.insert(inner.key.clone(), roles);
                }
                Err(error) => {
                    let diagnostic = self
                        .reader
                        .error(&inner.value.span, error.to_string())
                        .label("what this group may do")
                        .help("write GROUP: viewer, or by folder GROUP: { \"\": viewer, finance: operator }");
                    self.reader.report(diagnostic);
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_add_up() {
        let roles = |of: &[(&str, &str)]| -> Roles {
            of.iter().map(|(folder, role)| ((*folder).to_owned(), (*role).to_owned())).collect()
        };
        let sign_in = SignIn {
            issuer: "https://login.example.com".to_owned(),
            client_id: "trunkline".to_owned(),
            client_secret: None,
            label: LABEL.to_owned(),
            name_claim: NAME_CLAIM.to_owned(),
            groups_claim: GROUPS_CLAIM.to_owned(),
            roles: IndexMap::from([
                ("data".to_owned(), roles(&[("", "viewer"), ("finance", "editor")])),
                ("night".to_owned(), roles(&[("", "operator"), ("finance", "operator")])),
            ]),
        };
        let of = |groups: &[&str]| {
            sign_in.roles_of(&groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["night", "data"]), roles(&[("", "operator"), ("finance", "editor")]));
        assert_eq!(of(&["data", "other"]), roles(&[("", "viewer"), ("finance", "editor")]));
        assert_eq!(of(&["dat", EVERYBODY]), Roles::new());
        let mut open = sign_in.clone();
        open.roles.insert(EVERYBODY.to_owned(), roles(&[("", "viewer")]));
        assert_eq!(open.roles_of(&[]), roles(&[("", "viewer")]));
    }
}
