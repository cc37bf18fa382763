//! `token`: who may use the API, for what, and for how long.

use std::time::Duration;

use jiff::SignedDuration;
use trunkline_state::{folders, schedule::parse_span, store::NewToken};

use super::{
    context::Context,
    exit::{Exit, refuse},
    output::{Field, utc},
};
use crate::{
    definition::suggest::did_you_mean,
    service::{
        token::{Scope, Token, check_folders, check_name, expiry},
        views::TokenView,
    },
};

/// Tokens that are listed.
const LISTED_MAX: i64 = 1_000;

/// What `token` does.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it, this once
    Create(CreateArgs),
    /// List tokens; their secrets are not kept
    List,
    /// Take a token back, at once
    Revoke(RevokeArgs),
}

/// What `token create` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Its name: the history says `token:NAME`
    #[arg(value_parser = check_name)]
    name: String,
    /// What it may be used for; each scope contains the ones before it
    #[arg(long, value_name = "read|operate|deploy|admin", default_value = "read", value_parser = scope)]
    scope: Scope,
    /// Only for pipelines in this folder below the pipelines folder; may be repeated
    #[arg(long = "folder", value_name = "FOLDER", value_parser = folder)]
    folders: Vec<String>,
    /// How long it is good, at most 366 days
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = age)]
    expires: Duration,
}

/// What `token revoke` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RevokeArgs {
    /// Its name or its id
    name: String,
}

fn folder(text: &str) -> Result<String, String> {
    folders::parse(text).map_err(|error| error.to_string())
}

fn scope(word: &str) -> Result<Scope, String> {
    Scope::from_word(word)
        .ok_or_else(|| did_you_mean(word, Scope::ALL.map(Scope::word), "it is one of").unwrap_or_default())
}

fn age(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| "write a duration such as 12h or 90d".to_owned())
}

/// Makes, lists and revokes tokens.
pub(crate) async fn token(cx: &Context, command: &TokenCommand) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Create(args) => create(cx, args).await,
        TokenCommand::List => list(cx).await,
        TokenCommand::Revoke(args) => revoke(cx, args).await,
    }
}

async fn create(cx: &Context, args: &CreateArgs) -> anyhow::Result<Exit> {
    let expires_at = expiry(cx.now(), SignedDuration::try_from(args.expires).unwrap_or(SignedDuration::MAX))?;
    let session = cx.open_to_look().await?;
    let token = Token::of(cx.ids.secret());
    let new = NewToken {
        id: token.id().to_owned(),
        name: args.name.clone(),
        sha256: token.sha256(),
        scopes: vec![args.scope.word().to_owned()],
        folders: check_folders(args.scope, &args.folders)?,
        actor: cx.actor(),
        expires_at,
    };
    if !session.store.create_token(&new).await? {
        return refuse(format!(
            "a token `{0}` is in use; take it back with `trunkline token revoke {0}`, or name this one otherwise",
            args.name
        ));
    }
    if cx.output.json() {
        cx.output.value(&serde_json::json!({
            "name": args.name, "id": token.id(), "token": token.reveal(),
            "scopes": new.scopes, "expires_at": expires_at,
        }));
    } else {
        cx.output.data(&token.reveal());
        let until = utc(expires_at);
        cx.output.note(&format!(
            "good until {until} for `{}`; it is shown only now, keep it where secrets are kept",
            args.scope
        ));
    }
    Ok(Exit::Done)
}

async fn list(cx: &Context) -> anyhow::Result<Exit> {
    let session = cx.open_to_look().await?;
    let now = cx.now();
    let rows = session.store.tokens(LISTED_MAX).await?;
    let rows: Vec<TokenView> = rows.into_iter().map(|row| TokenView::new(row, now)).collect();
    if cx.output.json() {
        cx.output.value(&rows);
        return Ok(Exit::Done);
    }
    let table = rows.iter().map(|row| {
        vec![
            Field::from(row.name.clone()),
            Field::from(row.id.clone()),
            Field::from(row.scopes.join(" ")),
            Field::from(row.place()),
            Field::from(row.state),
            Field::from(utc(row.expires_at)),
            Field::from(row.last_used_at.map(utc).unwrap_or_default()),
            Field::from(row.created_by.clone()),
        ]
    });
    let header = ["name", "id", "scope", "folders", "state", "expires", "last used", "made by"];
    cx.output.table(&header, table.collect(), "no tokens yet; make one with `trunkline token create NAME`");
    Ok(Exit::Done)
}

async fn revoke(cx: &Context, args: &RevokeArgs) -> anyhow::Result<Exit> {
    let session = cx.open_to_look().await?;
    if !session.store.revoke_token(&args.name, &cx.actor()).await? {
        return refuse(format!("there is no token `{}` in use; `trunkline token list` has them", args.name));
    }
    cx.output.data(&format!("token {} is revoked", args.name));
    Ok(Exit::Done)
}
