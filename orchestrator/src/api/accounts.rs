//! Accounts: people with a password, their roles by folder; whoever asks, and their own password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::AccountChange;

use super::{
    guard::Visitor,
    pages::Items,
    problem::{Kind, Problem},
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{
    account::{Roles, check_change, check_name, check_roles, told},
    password::Password,
    token::Scope,
    views::AccountView,
};

pub(super) fn add(routes: Routes) -> Routes {
    let admin = |path, id, summary| outline(Scope::Admin, path, id, summary).everywhere();
    routes
        .get(outline(Scope::Read, "/me", "show_me", "Who asks, and what they may do"), me)
        .post(
            outline(Scope::Read, "/me/password", "change_password", "Change one's own password"),
            own_password,
        )
        .get(admin("/accounts", "list_accounts", "People who can sign in, by name"), list)
        .post(
            admin("/accounts", "create_account", "Make one, with a password that is shown this once"),
            create,
        )
        .post(
            admin("/accounts/{account}", "change_account", "Change its roles, its password, or shut it"),
            change,
        )
}

/// An account in a path.
#[derive(Deserialize, JsonSchema)]
struct AccountPath {
    /// Its name.
    #[schemars(length(min = 1))]
    account: String,
}

/// Who asks.
#[derive(Serialize, JsonSchema)]
pub(super) struct MeView {
    /// As the history calls them.
    pub(super) actor: String,
    /// What they may do, by folder of pipelines; `""` is every folder.
    pub(super) roles: Roles,
}

/// A new account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    /// Its name.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9@+._-]{0,127}$"))]
    account: String,
    /// `viewer`, `operator`, `editor` or `admin` by folder of pipelines; `""` is every folder.
    roles: Roles,
    /// Its password; without one, one is made and shown.
    password: Option<String>,
}

/// What changes of an account; what is left out stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// Its roles, all of them.
    roles: Option<Roles>,
    /// Whether it gets a new password, which is shown.
    #[serde(default)]
    reset_password: bool,
    /// Whether nobody can sign in with it.
    disabled: Option<bool>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// One's own password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    /// The present one.
    old: String,
    /// The next one.
    new: String,
}

/// What became of an account.
#[derive(Serialize, JsonSchema)]
struct AccountDone {
    /// The account.
    account: String,
    /// Whether this was only a preview.
    dry_run: bool,
    /// What changes, one line each.
    changes: Vec<String>,
    /// Its password, if one was made: shown this once.
    password: Option<String>,
}

/// That one's password is another now.
#[derive(Serialize, JsonSchema)]
struct PasswordDone {
    /// The account.
    account: String,
}

pub(super) async fn me(call: Call<Nothing, Nothing, Nothing>) -> Result<MeView, Problem> {
    let Visitor { actor, rights, .. } = call.visitor;
    let roles = rights.iter().map(|(folder, scope)| (folder.to_owned(), scope.role().to_owned()));
    Ok(MeView { actor, roles: roles.collect() })
}

pub(super) async fn list(call: Call<Nothing, Nothing, Nothing>) -> Result<Items<AccountView>, Problem> {
    let rows = call.store.accounts().await?;
    Ok(Items { items: rows.into_iter().map(AccountView::from).collect() })
}

async fn create(call: Call<Nothing, Nothing, CreateBody>) -> Result<AccountDone, Problem> {
    let CreateBody { account, roles, password } = call.body;
    let account = check_name(&account).map_err(invalid)?;
    let roles = check_roles(roles).map_err(invalid)?;
    let chosen = password.map(Password::chosen).transpose().map_err(invalid)?;
    let shown = chosen.is_none();
    let (password, hash) = hashed(&call.api, chosen).await?;
    if !call.store.create_account(&account, &hash, &roles, &call.visitor.actor).await? {
        return Err(Problem::refused(format!("there is an account `{account}`; name this one otherwise")));
    }
    let changes = vec![format!("{account} is new: {}", told(&roles))];
    Ok(AccountDone {
        account,
        dry_run: false,
        changes,
        password: shown.then(|| password.reveal().to_owned()),
    })
}

async fn change(call: Call<AccountPath, Nothing, ChangeBody>) -> Result<AccountDone, Problem> {
    let (account, body) = (call.path.account, call.body);
    let rows = call.store.accounts().await?;
    let Some(row) = rows.iter().find(|row| row.name == account) else {
        return Err(Problem::not_found(format!("there is no account `{}`", account.escape_debug())));
    };
    let roles = body.roles.map(check_roles).transpose().map_err(invalid)?;
    let wanted = AccountChange {
        roles: roles.clone(),
        password: body.reset_password.then(String::new),
        ..AccountChange::default()
    };
    check_change(&account, row.issuer.as_deref(), &wanted)
        .map_err(|error| Problem::refused(error.to_string()))?;
    let mut changes = Vec::new();
    if let Some(roles) = roles.as_ref().filter(|roles| **roles != row.roles) {
        changes.push(format!("{account}: {} → {}", told(&row.roles), told(roles)));
    }
    if body.reset_password {
        changes.push(format!("{account} gets a new password, and is signed out everywhere"));
    }
    if let Some(disabled) = body.disabled.filter(|disabled| *disabled != row.disabled) {
        let what = if disabled { "cannot sign in any more, and is signed out" } else { "can sign in again" };
        changes.push(format!("{account} {what}"));
    }
    let mut done = AccountDone { account, dry_run: body.dry_run, changes, password: None };
    if body.dry_run || done.changes.is_empty() {
        return Ok(done);
    }
    let mut change = AccountChange { roles, password: None, disabled: body.disabled };
    if body.reset_password {
        let (password, hash) = hashed(&call.api, None).await?;
        done.password = Some(password.reveal().to_owned());
        change.password = Some(hash);
    }
    call.store.change_account(&done.account, &change, &call.visitor.actor, None).await?;
    Ok(done)
}

async fn own_password(call: Call<Nothing, Nothing, PasswordBody>) -> Result<PasswordDone, Problem> {
    let Visitor { actor, session: Some(session), account: Some(account), .. } = call.visitor else {
        let detail = format!("`{}` has no password: it is no account", call.visitor.actor);
        return Err(Problem::refused(detail));
    };
    if call.store.password_of(&account).await?.is_none() {
        return Err(Problem::refused(format!("`{account}` has no password: it signs in at a provider")));
    }
    let new = Password::chosen(call.body.new).map_err(invalid)?;
    let (old, now) = (Password::typed(call.body.old), call.api.clock.now());
    // Guesses with a session count together, from wherever they come.
    let from = std::net::Ipv4Addr::UNSPECIFIED.into();
    if !call.api.guard.check_password(&call.store, (&account, old), from, now).await? {
        return Err(Problem::new(Kind::Forbidden, "that is not your present password"));
    }
    let (_, hash) = hashed(&call.api, Some(new)).await?;
    let change = AccountChange { password: Some(hash), ..AccountChange::default() };
    call.store.change_account(&account, &change, &actor, Some(&session.sha256())).await?;
    Ok(PasswordDone { account })
}

/// A password, drawn where none was chosen, and what is kept of it.
async fn hashed(api: &super::Api, chosen: Option<Password>) -> Result<(Password, String), Problem> {
    let password = chosen.unwrap_or_else(|| Password::drawn(api.ids.secret()));
    let (kept, salt) = (password.clone(), api.ids.secret());
    let hash = api.guard.hashed(move || kept.hash(salt)).await?;
    Ok((password, hash))
}

fn invalid(error: impl std::error::Error) -> Problem {
    Problem::invalid(error.to_string())
}
