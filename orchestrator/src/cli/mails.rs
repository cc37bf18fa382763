//! `mails`: what the sandbox's mailbox holds.

use super::{
    context::{Context, mailbox},
    exit::{Exit, refuse},
    output::{Field, utc},
    server::Server,
};
use crate::service::{
    find,
    mails::{MailDetail, MailList, NO_MAILBOX, WantedMails},
};

/// Mails where nobody says how many.
const LIMIT_DEFAULT: i64 = 20;
/// Mails at most: a page of the API.
const LIMIT_MAX: i64 = crate::api::answers::LIMIT_MAX;

/// What `mails` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct MailsArgs {
    /// Show this one
    mail: Option<String>,
    /// About this run only: an id, pipeline@date or pipeline@latest
    #[arg(long, value_name = "RUN", conflicts_with = "mail")]
    run: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = LIMIT_DEFAULT, value_parser = clap::value_parser!(i64).range(1..=LIMIT_MAX))]
    limit: i64,
}

/// Lists mails, newest first, or shows one.
pub(crate) async fn mails(cx: &Context, args: &MailsArgs) -> anyhow::Result<Exit> {
    let server = cx.server()?;
    match &args.mail {
        Some(name) => show(cx, &one(cx, server.as_ref(), name).await?),
        None => list(cx, &all(cx, server.as_ref(), args).await?),
    }
    Ok(Exit::Done)
}

async fn all(cx: &Context, server: Option<&Server>, args: &MailsArgs) -> anyhow::Result<MailList> {
    if let Some(server) = server {
        let limit = args.limit.to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(args.run.as_deref().map(|run| ("run", run)));
        return Ok(server.get(&["mails"], &query).await?);
    }
    let Some(mailbox) = mailbox(&cx.project()?) else { return refuse(NO_MAILBOX) };
    let run = match &args.run {
        Some(run) => Some(find::run(&cx.open_to_look().await?.store, run).await?.0),
        None => None,
    };
    let limit = usize::try_from(args.limit).unwrap_or_default();
    Ok(mailbox.list(&WantedMails { run, after: None, limit })?)
}

async fn one(cx: &Context, server: Option<&Server>, name: &str) -> anyhow::Result<MailDetail> {
    if let Some(server) = server {
        return Ok(server.get(&["mails", name], &[]).await?);
    }
    let Some(mailbox) = mailbox(&cx.project()?) else { return refuse(NO_MAILBOX) };
    match mailbox.mail(name)? {
        Some(mail) => Ok(mail),
        None => refuse(format!("there is no mail `{name}` in the mailbox; list them with `trunkline mails`")),
    }
}

fn list(cx: &Context, list: &MailList) {
    for left_out in &list.left_out {
        cx.output.warn(&format!("{} in the mailbox is no mail: {}", left_out.file, left_out.reason));
    }
    if cx.output.json() {
        return cx.output.value(&list.items);
    }
    let rows = list.items.iter().map(|mail| {
        vec![
            Field::from(mail.at.map(utc).unwrap_or_default()),
            Field::from(mail.to.clone()),
            Field::from(mail.subject.clone()),
            Field::from(mail.mail.clone()),
        ]
    });
    cx.output.table(&["published", "to", "subject", "mail"], rows.collect(), "no mails");
}

fn show(cx: &Context, mail: &MailDetail) {
    if cx.output.json() {
        return cx.output.value(mail);
    }
    let of = &mail.mail;
    let published = of.at.map(utc).unwrap_or_default();
    cx.output.data(&format!(
        "From     {}\nTo       {}\nDate     {published}\nSubject  {}\n",
        of.from, of.to, of.subject
    ));
    cx.output.data(mail.text.trim_end());
    if mail.cut {
        cx.output.note("the mail goes on; its file has all of it");
    }
}
