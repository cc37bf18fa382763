//! Mails of the sandbox's mailbox. Those of all pipelines lie in one box, so that only who may look everywhere
//! may look there.

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::{
    Api,
    pages::{self, bad_cursor},
    problem::{Kind, Problem},
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{
    find,
    mails::{MailDetail, MailList, Mailbox, NO_MAILBOX, WantedMails, is_name},
    token::Scope,
};

pub(super) fn add(routes: Routes) -> Routes {
    let all = outline(Scope::Read, "/mails", "list_mails", "Mails of the sandbox, the newest first");
    let one = outline(Scope::Read, "/mails/{mail}", "show_mail", "One mail, as its receiver sees it");
    routes.get(all.everywhere(), list).get(one.everywhere(), show)
}

/// A mail in a path.
#[derive(Deserialize, JsonSchema)]
pub(super) struct MailPath {
    /// Its name in the mailbox.
    #[schemars(length(min = 1))]
    pub(super) mail: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MailsQuery {
    /// About this run only: its id, `pipeline@date` or `pipeline@latest`.
    pub(super) run: Option<String>,
    /// `next` of the page before.
    pub(super) cursor: Option<String>,
    /// At most so many.
    #[schemars(range(min = 1, max = 200))]
    pub(super) limit: Option<u32>,
}

pub(super) async fn list(call: Call<Nothing, MailsQuery, Nothing>) -> Result<MailList, Problem> {
    let mailbox = mailbox(&call.api)?;
    let MailsQuery { run, cursor, limit } = call.query;
    let limit = usize::try_from(pages::limit(limit)?).unwrap_or_default();
    if cursor.as_ref().is_some_and(|cursor| !is_name(cursor)) {
        return Err(bad_cursor());
    }
    let run = match run {
        Some(run) => Some(find::run(&call.store, &run).await?.0),
        None => None,
    };
    let wanted = WantedMails { run, after: cursor, limit };
    looked(spawn_blocking(move || mailbox.list(&wanted)).await)
}

pub(super) async fn show(call: Call<MailPath, Nothing, Nothing>) -> Result<MailDetail, Problem> {
    let mailbox = mailbox(&call.api)?;
    let name = call.path.mail;
    let wanted = name.clone();
    let found = looked(spawn_blocking(move || mailbox.mail(&wanted)).await)?;
    let shown: String = name.chars().take(200).collect();
    found.ok_or_else(|| Problem::not_found(format!("there is no mail `{shown}` in the mailbox")))
}

fn mailbox(api: &Api) -> Result<Mailbox, Problem> {
    api.mailbox.clone().ok_or_else(|| Problem::not_found(NO_MAILBOX))
}

fn looked<T>(answer: Result<std::io::Result<T>, tokio::task::JoinError>) -> Result<T, Problem> {
    let answer = answer.map_err(std::io::Error::other).flatten();
    answer.map_err(|error| Problem::new(Kind::Internal, format!("the mailbox cannot be read: {error}")))
}
