//! `account`: people with a password, what they may do where. It asks the store itself: whoever may run it on the
//! server's machine needs no account, and makes the first one.

use std::io::Read as _;

use serde_json::json;
use trunkline_state::store::AccountChange;

use super::{
    context::Context,
    exit::{Exit, refuse},
    output::Field,
};
use crate::service::{
    account::{Roles, check_change, check_name, check_roles, told},
    password::Password,
    views::AccountView,
};

/// What is read of a password on standard input, more than any may have.
const INPUT_MAX: u64 = 4_096;

/// What `account` does.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account, and print its password, this once
    Create(CreateArgs),
    /// List accounts and their roles
    List,
    /// Give it other roles instead of those that it has
    Roles(RolesArgs),
    /// Give it a new password, and print it, this once
    ResetPassword(PasswordArgs),
    /// Let nobody sign in with it; whoever is signed in is not any more
    Disable(NameArgs),
    /// Let people sign in with it again
    Enable(NameArgs),
}

/// What `account create` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Its name: the history says `account:NAME`
    #[arg(value_parser = name)]
    name: String,
    /// What it may do: `viewer`, `operator`, `editor` or `admin`, in a folder of pipelines as `finance=operator`; may be
    /// repeated
    #[arg(long = "role", value_name = "[FOLDER=]ROLE", required = true)]
    roles: Vec<String>,
    /// Take the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

/// What `account roles` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RolesArgs {
    /// Its name
    #[arg(value_parser = name)]
    name: String,
    /// All that it may do from now on, as with `account create`
    #[arg(value_name = "[FOLDER=]ROLE", required = true)]
    roles: Vec<String>,
}

/// What `account reset-password` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct PasswordArgs {
    /// Its name
    #[arg(value_parser = name)]
    name: String,
    /// Take the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
}

/// An account.
#[derive(Debug, clap::Args)]
pub(crate) struct NameArgs {
    /// Its name
    #[arg(value_parser = name)]
    name: String,
}

fn name(text: &str) -> Result<String, String> {
    check_name(text).map_err(|error| error.to_string())
}

/// Makes, lists and changes accounts.
pub(crate) async fn account(cx: &Context, command: &AccountCommand) -> anyhow::Result<Exit> {
    let changed = |disabled| AccountChange { disabled: Some(disabled), ..AccountChange::default() };
    match command {
        AccountCommand::Create(args) => create(cx, args).await,
        AccountCommand::List => list(cx).await,
        AccountCommand::Roles(args) => {
            let change = AccountChange { roles: Some(roles(&args.roles)?), ..AccountChange::default() };
            change_it(cx, &args.name, &change, "has these roles from now on, and is signed out").await
        }
        AccountCommand::ResetPassword(args) => reset(cx, args).await,
        AccountCommand::Disable(args) => {
            change_it(cx, &args.name, &changed(true), "is shut, and signed out everywhere").await
        }
        AccountCommand::Enable(args) => change_it(cx, &args.name, &changed(false), "is open again").await,
    }
}

/// `finance=operator` and `viewer`, as they are kept.
fn roles(words: &[String]) -> anyhow::Result<Roles> {
    let mut roles = Roles::new();
    for word in words {
        let (folder, role) = word.rsplit_once('=').unwrap_or(("", word));
        if roles.insert(folder.to_owned(), role.to_owned()).is_some() {
            return refuse(format!("two roles are given for the folder `{folder}`; name one"));
        }
    }
    Ok(check_roles(roles)?)
}

/// The password, and whether somebody has to be told it.
fn password(cx: &Context, from_input: bool) -> anyhow::Result<(Password, bool)> {
    if !from_input {
        return Ok((Password::drawn(cx.ids.secret()), true));
    }
    let mut text = String::new();
    std::io::stdin().take(INPUT_MAX).read_to_string(&mut text)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok((Password::chosen(line.to_owned())?, false))
}

fn show(cx: &Context, name: &str, password: &Password) {
    if cx.output.json() {
        cx.output.value(&json!({ "account": name, "password": password.reveal() }));
    } else {
        cx.output.data(password.reveal());
        cx.output.note(&format!(
            "the password of {name}, shown only now; they change it under their name on any page"
        ));
    }
}

async fn create(cx: &Context, args: &CreateArgs) -> anyhow::Result<Exit> {
    let roles = roles(&args.roles)?;
    let (password, shown) = password(cx, args.password_stdin)?;
    let session = cx.open_to_look().await?;
    let hash = password.hash(cx.ids.secret());
    if !session.store.create_account(&args.name, &hash, &roles, &cx.actor()).await? {
        return refuse(format!("there is an account `{}`; `trunkline account list` has it", args.name));
    }
    if shown {
        show(cx, &args.name, &password);
    }
    cx.output.note(&format!("{} is {}", args.name, told(&roles)));
    Ok(Exit::Done)
}

async fn reset(cx: &Context, args: &PasswordArgs) -> anyhow::Result<Exit> {
    let (password, shown) = password(cx, args.password_stdin)?;
    let change = AccountChange { password: Some(password.hash(cx.ids.secret())), ..AccountChange::default() };
    let exit = change_it(cx, &args.name, &change, "has a new password, and is signed out everywhere").await?;
    if shown {
        show(cx, &args.name, &password);
    }
    Ok(exit)
}

async fn change_it(cx: &Context, name: &str, change: &AccountChange, done: &str) -> anyhow::Result<Exit> {
    let session = cx.open_to_look().await?;
    let rows = session.store.accounts().await?;
    if let Some(row) = rows.iter().find(|row| row.name == name) {
        check_change(name, row.issuer.as_deref(), change)?;
    }
    if !session.store.change_account(name, change, &cx.actor(), None).await? {
        return refuse(format!("there is no account `{name}`; `trunkline account list` has them"));
    }
    cx.output.note(&format!("{name} {done}"));
    Ok(Exit::Done)
}

async fn list(cx: &Context) -> anyhow::Result<Exit> {
    let rows = cx.open_to_look().await?.store.accounts().await?;
    let rows: Vec<AccountView> = rows.into_iter().map(AccountView::from).collect();
    if cx.output.json() {
        cx.output.value(&rows);
        return Ok(Exit::Done);
    }
    let table = rows.iter().map(|row| {
        vec![
            Field::from(row.account.clone()),
            Field::from(told(&row.roles)),
            Field::from(if row.disabled { "shut" } else { "open" }),
            Field::from(row.provider.clone().unwrap_or_else(|| "password".to_owned())),
            Field::from(row.created_by.clone()),
        ]
    });
    let empty = "no accounts yet; make one with `trunkline account create NAME --role admin`";
    cx.output.table(&["name", "roles", "state", "signs in with", "made by"], table.collect(), empty);
    Ok(Exit::Done)
}
