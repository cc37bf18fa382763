//! Tokens of programs: list, make, take back.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::NewToken;

use super::{
    pages::Items,
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{
    token::{Scope, Token, check_folders, check_name, expiry},
    views::TokenView,
};

/// Tokens that are listed.
const LISTED_MAX: i64 = 1_000;
/// Days that a token is good where nobody says how many.
const DAYS: i64 = 90;

pub(super) fn add(routes: Routes) -> Routes {
    let admin = |path, id, summary| outline(Scope::Admin, path, id, summary).everywhere();
    routes
        .get(admin("/tokens", "list_tokens", "Tokens, newest first; their secrets are not kept"), list)
        .post(admin("/tokens", "create_token", "Make one; it is shown this once"), create)
        .post(admin("/tokens/{token}/revoke", "revoke_token", "Take one back, at once"), revoke)
}

#[derive(Deserialize, JsonSchema)]
struct TokenPath {
    /// Its name or its id.
    #[schemars(length(min = 1))]
    token: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    /// Its name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]{1,64}$"))]
    name: String,
    /// What it may be used for: `read`, `operate`, `deploy` or `admin`.
    scope: Scope,
    /// In which folders of pipelines; none named means in every one.
    #[serde(default)]
    folders: Vec<String>,
    /// How many days it is good.
    #[schemars(range(min = 1, max = 366))]
    days: Option<u32>,
}

/// A token that was made.
#[derive(Serialize, JsonSchema)]
struct TokenMade {
    /// Its name.
    name: String,
    /// Its id.
    id: String,
    /// What its owner sends: shown this once.
    token: String,
    /// Until when it is good.
    expires_at: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RevokeBody {
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, JsonSchema)]
struct Revoked {
    /// The token.
    name: String,
    /// Whether this was only a preview.
    dry_run: bool,
    /// What changes, one line each.
    changes: Vec<String>,
}

pub(super) async fn list(call: Call<Nothing, Nothing, Nothing>) -> Result<Items<TokenView>, Problem> {
    let now = call.api.clock.now();
    let rows = call.store.tokens(LISTED_MAX).await?;
    Ok(Items { items: rows.into_iter().map(|row| TokenView::new(row, now)).collect() })
}

async fn create(call: Call<Nothing, Nothing, CreateBody>) -> Result<TokenMade, Problem> {
    let CreateBody { name, scope, folders, days } = call.body;
    let name = check_name(&name).map_err(Problem::invalid)?;
    let invalid = |error: &dyn std::error::Error| Problem::invalid(error.to_string());
    let folders = check_folders(scope, &folders).map_err(|error| invalid(&error))?;
    let age = SignedDuration::from_hours(days.map_or(DAYS, i64::from).saturating_mul(24));
    let expires_at = expiry(call.api.clock.now(), age).map_err(|error| invalid(&error))?;
    let token = Token::of(call.api.ids.secret());
    let new = NewToken {
        id: token.id().to_owned(),
        name: name.clone(),
        sha256: token.sha256(),
        scopes: vec![scope.word().to_owned()],
        folders,
        actor: call.visitor.actor,
        expires_at,
    };
    if !call.store.create_token(&new).await? {
        return Err(Problem::refused(format!("a token `{name}` is in use; name this one otherwise")));
    }
    Ok(TokenMade { name, id: new.id, token: token.reveal(), expires_at })
}

async fn revoke(call: Call<TokenPath, Nothing, RevokeBody>) -> Result<Revoked, Problem> {
    let (wanted, dry_run) = (call.path.token, call.body.dry_run);
    let rows = call.store.tokens(LISTED_MAX).await?;
    let mut live = rows.iter().filter(|row| row.revoked_at.is_none());
    let Some(row) = live.find(|row| row.name == wanted || row.id == wanted) else {
        return Err(Problem::not_found(format!("there is no token `{}` in use", wanted.escape_debug())));
    };
    if !dry_run {
        call.store.revoke_token(&row.id, &call.visitor.actor).await?;
    }
    let changes =
        vec![format!("{} is good for nothing from now on, nor are sessions begun with it", row.name)];
    Ok(Revoked { name: row.name.clone(), dry_run, changes })
}
