//! The sandbox's mailbox: what was sent, as its receivers see it.

use axum::response::Response;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;

use super::{
    super::{
        mails::{self, MailPath, MailsQuery},
        problem::{Kind, Problem},
        routes::Nothing,
    },
    Visit,
    shell::{self, Nav},
    words,
};
use crate::{
    message::IN_PATH,
    service::{
        mails::{MailList, MailView},
        token::Scope,
    },
};

#[derive(Deserialize)]
pub(super) struct ListQuery {
    run: Option<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct NamePath {
    mail: String,
}

#[derive(Deserialize)]
pub(super) struct NoQuery {}

/// The page of a mail.
pub(super) fn mail_page(mail: &str) -> String {
    format!("/mails/{}", utf8_percent_encode(mail, IN_PATH))
}

/// Mails of all pipelines lie in one box.
fn check<P, Q>(visit: &Visit<P, Q>) -> Result<(), Problem> {
    if visit.visitor.rights.hold_everywhere(Scope::Read) {
        return Ok(());
    }
    Err(Problem::new(Kind::Forbidden, "mails are of all pipelines, and you may look at some only"))
}

/// The mails about a run, for who may see them, where there is a mailbox.
pub(super) async fn of_run<P, Q>(visit: &Visit<P, Q>, run: &str) -> Result<Vec<MailView>, Problem> {
    if visit.api.mailbox.is_none() || check(visit).is_err() {
        return Ok(Vec::new());
    }
    let query = MailsQuery { run: Some(run.to_owned()), cursor: None, limit: Some(200) };
    Ok(mails::list(visit.ask(Nothing {}, query)).await?.items)
}

/// The list.
pub(super) async fn list(visit: Visit<(), ListQuery>) -> Result<Response, Problem> {
    check(&visit)?;
    let ListQuery { run, cursor } = &visit.query;
    let query = MailsQuery { run: run.clone(), cursor: cursor.clone(), limit: None };
    let found = mails::list(visit.ask(Nothing {}, query)).await?;
    let older = found.next.as_ref().map(|next| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(run.as_ref().map(|run| ("run", run))).append_pair("cursor", next);
        format!("/mails?{}", query.finish())
    });
    let body = html! {
        div.head { div {
            h1 { "Mails" @if let Some(run) = run { " about " a href=(words::run_page(run)) { (run) } } }
            p.muted { "What the sandbox's SNS delivered. In AWS these go to their receivers." }
        } }
        div #mails-found data-live="" { (table(&found)) }
        @if let Some(older) = older { p { a href=(older) { "Older" } } }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), "Mails", Nav::Mails, Some("/api/v1/events"), &body))
}

fn table(found: &MailList) -> Markup {
    html! {
        @if found.items.is_empty() { p.empty { "No mails." } } @else {
            div.wide tabindex="0" role="region" aria-label="Mails" { table #mails {
                thead { tr { th scope="col" { "Subject" } th scope="col" { "To" } th scope="col" { "Published" } } }
                tbody { @for mail in &found.items { tr {
                    td.said { a href=(mail_page(&mail.mail)) { @if mail.subject.is_empty() { "(no subject)" } @else { (mail.subject) } } }
                    td { (mail.to) }
                    td { (words::moment_or_none(mail.at, &TimeZone::UTC)) }
                } } }
            } }
        }
        @for one in &found.left_out { p.muted { code { (one.file) } " in the mailbox is no mail: " (one.reason) "." } }
    }
}

/// One mail.
pub(super) async fn show(visit: Visit<NamePath, NoQuery>) -> Result<Response, Problem> {
    check(&visit)?;
    let path = MailPath { mail: visit.path.mail.clone() };
    let found = mails::show(visit.ask(path, Nothing {})).await?;
    let mail = &found.mail;
    let title = if mail.subject.is_empty() { "(no subject)" } else { mail.subject.as_str() };
    let body = html! {
        div.head { div {
            p.trail { a href="/mails" { "Mails" } }
            h1 { (title) }
        } }
        dl.facts #facts {
            div { dt { "From" } dd { (mail.from) } }
            div { dt { "To" } dd { (mail.to) } }
            div { dt { "Published" } dd { (words::moment_or_none(mail.at, &TimeZone::UTC)) } }
            @if let Some(topic) = &mail.topic { div { dt { "Topic" } dd { code { (topic) } } } }
            @if let Some(run) = &mail.run { div { dt { "About" } dd { a href=(words::run_page(run)) { "its run" } } } }
        }
        pre.mail tabindex="0" role="region" aria-label="Text" { (found.text) }
        @if found.cut { p.muted { "It goes on; the mail's file has all of it." } }
    };
    let Visit { api, visitor, .. } = &visit;
    Ok(shell::response(api, Some(visitor), title, Nav::Mails, None, &body))
}
