//! Who may do what: accounts and tokens, for admins; whoever is signed in, for everybody.

use axum::response::Response;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    super::{
        accounts,
        problem::{Kind, Problem},
        routes::Nothing,
        tokens,
    },
    Visit, assets,
    shell::{self, Nav},
    words,
};
use crate::service::{
    account::{Roles, told},
    token::Scope,
    views::{AccountView, TokenView},
};

#[derive(Deserialize)]
pub(super) struct NoQuery {}

/// Accounts and tokens.
pub(super) async fn accounts(visit: Visit<(), NoQuery>) -> Result<Response, Problem> {
    if !visit.visitor.rights.hold_everywhere(Scope::Admin) {
        return Err(Problem::new(Kind::Forbidden, "only admins see accounts and tokens"));
    }
    let people = accounts::list(visit.ask(Nothing {}, Nothing {})).await?.items;
    let tokens = tokens::list(visit.ask(Nothing {}, Nothing {})).await?.items;
    let body = html! {
        div.head { h1 { "Accounts" } }
        div.shown #shown aria-live="polite" {}
        @if people.is_empty() { p.empty { "Nobody has a password yet." } } @else { (people_table(&people)) }
        (new_account())
        h2 { "Tokens" }
        p.muted { "For programs. People need none." }
        @if tokens.is_empty() { p.empty { "No tokens yet." } } @else { (token_table(&tokens)) }
        (new_token())
        script type="module" src=(assets::address("people.js")) {}
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Accounts", Nav::Accounts, None, &body))
}

/// Roles as they are typed: `viewer finance=operator`.
fn typed(roles: &Roles) -> String {
    let one = |(folder, role): (&String, &String)| {
        if folder.is_empty() { role.clone() } else { format!("{folder}={role}") }
    };
    roles.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn people_table(people: &[AccountView]) -> Markup {
    html! {
        div.wide { table #accounts data-live="" {
            thead { tr {
                th scope="col" { "Account" } th scope="col" { "Roles" } th scope="col" { "State" }
                th scope="col" { "Changed" } th scope="col" { span.unseen { "Actions" } }
            } }
            tbody { @for one in people {
                tr data-name=(one.account) {
                    th scope="row" { (one.account) }
                    td { @if let Some(provider) = &one.provider {
                        (told(&one.roles)) div.none { "signs in at " (provider) }
                    } @else {
                        form.inline data-ask=(format!("/accounts/{}", one.account)) data-title=(format!("Set the roles of {}", one.account)) {
                            label { span.unseen { "Roles of " (one.account) } input name="roles" value=(typed(&one.roles)) autocomplete="off" spellcheck="false"; }
                            button type="submit" { "Set" }
                        }
                    } }
                    td { @if one.disabled { "shut" } @else { "open" } }
                    td { (words::moment_or_none(Some(one.changed_at), &TimeZone::UTC)) span.none { " · " (one.changed_by) } }
                    td { div.actions {
                        @if one.provider.is_none() { button type="button" data-ask=(format!("/accounts/{}", one.account)) data-body="{\"reset_password\":true}" data-title=(format!("Give {} a new password", one.account)) { "New password" } }
                        (shutter(one))
                    } }
                }
            } }
        } }
    }
}

fn shutter(of: &AccountView) -> Markup {
    let (word, body) =
        if of.disabled { ("Open", r#"{"disabled":false}"#) } else { ("Shut", r#"{"disabled":true}"#) };
    html! {
        button type="button" data-do=(format!("/accounts/{}", of.account)) data-body=(body) data-no-reason=""
            data-title=(format!("{word} the account {}", of.account)) { (word) }
    }
}

fn new_account() -> Markup {
    html! {
        form.row-form data-ask="/accounts" {
            label { "Account" input name="account" required pattern="[a-z0-9][a-z0-9@+._\\-]{0,127}" autocomplete="off" spellcheck="false" placeholder="ana"; }
            label { "Roles" input name="roles" required autocomplete="off" spellcheck="false" placeholder="viewer finance=operator"; }
            button.primary type="submit" { "Make an account" }
        }
        p.muted { "viewer, operator, editor or admin; in one folder of pipelines as " code { "folder=role" } "." }
    }
}

fn token_table(tokens: &[TokenView]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Tokens" { table #tokens data-live="" {
            thead { tr {
                th scope="col" { "Token" } th scope="col" { "Scope" } th scope="col" { "State" }
                th scope="col" { "Good until" } th scope="col" { "Last used" } th scope="col" { span.unseen { "Actions" } }
            } }
            tbody { @for token in tokens { tr {
                th scope="row" { (token.name) }
                td { (token.scopes.join(" ")) span.none { " · " (token.place()) } }
                td { (token.state) }
                td { (words::moment_or_none(Some(token.expires_at), &TimeZone::UTC)) }
                td { (words::moment_or_none(token.last_used_at, &TimeZone::UTC)) }
                td { @if token.state == "good" { div.actions {
                    button type="button" data-do=(format!("/tokens/{}/revoke", token.id)) data-no-reason=""
                        data-title=(format!("Take back the token {}", token.name)) { "Take back" }
                } } }
            } } }
        } }
    }
}

fn new_token() -> Markup {
    html! {
        form.row-form data-ask="/tokens" {
            label { "Token" input name="name" required pattern="[A-Za-z0-9_.\\-]{1,64}" autocomplete="off" spellcheck="false" placeholder="deployer"; }
            label { "Scope" select name="scope" { @for scope in Scope::ALL { option value=(scope.word()) { (scope.word()) } } } }
            label { "Folders" input name="folders" autocomplete="off" spellcheck="false" placeholder="all"; }
            label { "Days" input name="days" inputmode="numeric" value="90" autocomplete="off"; }
            button.primary type="submit" { "Make a token" }
        }
    }
}

/// Whoever is signed in.
pub(super) async fn me(visit: Visit<(), NoQuery>) -> Result<Response, Problem> {
    let me = accounts::me(visit.ask(Nothing {}, Nothing {})).await?;
    let has_password = match &visit.visitor.account {
        Some(account) => visit.store.password_of(account).await?.is_some(),
        None => false,
    };
    let body = html! {
        div.head { h1 { (me.actor) } }
        p { "You are " (told(&me.roles)) "." }
        div.shown #shown aria-live="polite" {}
        @if has_password {
            h2 { "Password" }
            form.start data-ask="/me/password" {
                div.field { label for="old" { "Present password" } input #old name="old" type="password" autocomplete="current-password" required; }
                div.field { label for="new" { "New password" } input #new name="new" type="password" autocomplete="new-password" minlength="12" required; }
                div.actions { button.primary type="submit" { "Change it" } }
            }
        } @else if visit.visitor.account.is_some() {
            p.muted { "You sign in at a provider: there is no password here." }
        } @else {
            p.muted { "You came with a token: there is no password to change." }
        }
        script type="module" src=(assets::address("people.js")) {}
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), &me.actor, Nav::None, None, &body))
}
