//! The outbox into notices: at least once, and once in ordinary operation. What a notice says
//! is [`crate::message`]'s; here it is filled with what the store knows at the time of sending.

mod crowd;
mod digest;
mod facts;
mod late;
mod links;

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;
use trunkline_state::{
    ids::RunId,
    machine::{AttemptKey, NoticeOutcome},
    pipeline::{Notice, NoticeTarget, Pipeline},
    store::Parcel,
};
use trunkline_tasks::{
    clients::Clients,
    notice::{self, NotTaken, Target},
};
use uuid::Uuid;

pub(super) use self::{facts::Facts, links::SignedLink};
use super::{Shared, chain, convert, counts::add, crash, prepare};
use crate::message::{Link, Mail};

/// Notices taken at a time.
const PARCELS_MAX: i64 = 20;
/// Notices are given up after so many tries: with the growing pause, a day.
const TRIES_MAX: u32 = 40;

/// Sends every notice that is due: those to topics one after the other, those to servers of other
/// people beside them, because one of these may take its time and all must be answered while their
/// parcels are held.
pub(super) async fn send_due(shared: &Arc<Shared>) {
    let _turn = shared.sending.lock().await;
    // Who leaves runs to a server leaves it what there is to tell of them.
    while !shared.leaves_runs() {
        let parcels = match shared.store.take_parcels(PARCELS_MAX, shared.timing.parcel_hold).await {
            Ok(parcels) => parcels,
            Err(error) => {
                tracing::warn!("could not read the outbox: {}", chain(&error));
                return;
            }
        };
        if parcels.is_empty() {
            return;
        }
        // A command has nobody who would tell later what it puts off.
        let parcels = if shared.is_server { crowd::without_crowds(shared, parcels).await } else { parcels };
        let (mut in_turn, mut beside) = (Vec::new(), Vec::new());
        for parcel in &parcels {
            let written = written(shared, parcel).await;
            match &written {
                Ok(Written::Letter(letter)) if !matches!(letter.target, Target::Topic(_)) => {
                    beside.push(send_one(shared, parcel, written));
                }
                _ => in_turn.push((parcel, written)),
            }
        }
        let in_turn = async {
            for (parcel, written) in in_turn {
                send_one(shared, parcel, written).await;
            }
        };
        futures::future::join(in_turn, futures::future::join_all(beside)).await;
    }
}

/// Sends one and records what became of it. The provider's id, if it was taken.
async fn send_one(shared: &Arc<Shared>, parcel: &Parcel, written: Result<Written, String>) -> Option<String> {
    crash::point("before_notice", "");
    let sent = deliver(shared, parcel, written).await;
    crash::point("after_notice", "");
    let recorded = match &sent {
        Ok(provider_id) => {
            tracing::info!("sent notice {}", parcel.dedupe_key);
            add(&shared.counts.notices_sent, 1);
            shared.store.parcel_sent(parcel, provider_id).await
        }
        Err(NotTaken { reason, is_final, again_after }) => {
            let timing = &shared.timing;
            let pause = timing
                .notice_retry
                .saturating_mul(2_u32.saturating_pow(parcel.tries.min(20)))
                .min(timing.notice_retry_max)
                .max(again_after.unwrap_or_default());
            let again = (!is_final && parcel.tries + 1 < TRIES_MAX).then_some(pause);
            add(&shared.counts.notices_failed, 1);
            tracing::warn!("could not send notice {}: {reason}", parcel.dedupe_key);
            shared.store.parcel_failed(parcel, reason, again).await
        }
    };
    if let Err(error) = recorded {
        tracing::warn!("could not record what became of notice {}: {}", parcel.dedupe_key, chain(&error));
    }
    sent.ok()
}

/// A notice, ready to be sent.
struct Letter {
    target: Target,
    mail: Mail,
    /// The run as people name it, where it is about one.
    run: Option<String>,
    /// Where to look.
    links: Vec<Link>,
    connection: String,
    clients: Arc<Clients>,
}

async fn deliver(
    shared: &Arc<Shared>,
    parcel: &Parcel,
    written: Result<Written, String>,
) -> Result<String, NotTaken> {
    let letter = match written {
        Ok(Written::Letter(letter)) => letter,
        Ok(Written::Nothing(why)) => return Ok(why),
        Err(reason) => return Err(NotTaken { reason, is_final: false, again_after: None }),
    };
    let Letter { target, mail, run, links, connection, clients } = *letter;
    let attributes: IndexMap<String, String> =
        mail.attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let links: Vec<(String, String)> = links.into_iter().map(|link| (link.label, link.url)).collect();
    let message = notice::Message {
        id: &parcel.dedupe_key,
        event: parcel.payload.get("outcome").and_then(Value::as_str).unwrap_or_default(),
        run: run.as_deref(),
        subject: &mail.subject,
        text: &mail.body,
        attributes: &attributes,
        links: &links,
    };
    notice::deliver(&clients, &connection, &target, &message, shared.now()).await
}

/// What becomes of a parcel.
enum Written {
    Letter(Box<Letter>),
    /// Nothing is to be sent, for this reason.
    Nothing(String),
}

/// Where an entry of a pipeline's notices goes, with the names of secrets in it.
pub(super) fn target_of(
    notice: &Notice,
    render: &dyn Fn(&String) -> Result<String, String>,
) -> Result<Target, String> {
    Ok(match &notice.target {
        NoticeTarget::Sns(topic) => Target::Topic(render(topic)?),
        NoticeTarget::Slack(url) => Target::Slack(render(url)?),
        NoticeTarget::Webhook(url) => {
            let mut headers = IndexMap::new();
            for (name, value) in &notice.headers {
                headers.insert(name.clone(), render(value)?);
            }
            let key = notice.signed_with.as_ref().map(render).transpose()?;
            Target::Webhook { url: render(url)?, headers, key }
        }
    })
}

async fn written(shared: &Arc<Shared>, parcel: &Parcel) -> Result<Written, String> {
    let letter = match parcel.run {
        Some(run) => {
            if let Some(backfill) = told_by_digest(shared, run, &parcel.payload).await? {
                let why = format!("told by the digest of backfill {backfill}");
                return Ok(Written::Nothing(why));
            }
            let Some(letter) = about_run(shared, run, &parcel.payload).await? else {
                let why = "nothing to tell: nobody had been told of any trouble";
                return Ok(Written::Nothing(why.to_owned()));
            };
            letter
        }
        None => about_many(shared, &parcel.payload).await?,
    };
    Ok(Written::Letter(Box::new(letter)))
}

/// The backfill whose digest tells of this generation of a run, if one does.
async fn told_by_digest(shared: &Shared, run: RunId, payload: &Value) -> Result<Option<Uuid>, String> {
    let generation = payload.get("generation").and_then(Value::as_u64).unwrap_or_default();
    let generation = u32::try_from(generation).unwrap_or_default();
    shared.store.backfill_of(run.0, generation).await.map_err(|error| chain(&error))
}

async fn about_run(shared: &Arc<Shared>, run: RunId, payload: &Value) -> Result<Option<Letter>, String> {
    let facts = Facts::gather(shared, run).await.map_err(|error| chain(&error))?;
    let outcome = outcome(payload)?;
    if outcome == NoticeOutcome::Recovery {
        let row = &facts.row;
        let (pipeline, key) = (row.pipeline.as_str(), row.key.as_str());
        let trouble = shared.store.was_in_trouble(pipeline, key, row.generation, row.logical_date);
        if !trouble.await.map_err(|error| chain(&error))? {
            return Ok(None);
        }
    }
    let number = |key: &str| payload.get(key).and_then(Value::as_u64);
    let about = number("task").zip(number("attempt")).and_then(|(task, number)| {
        Some(AttemptKey { task: usize::try_from(task).ok()?, number: u32::try_from(number).ok()? })
    });
    let definition = &facts.run.definition;
    let wanted = wanted(&definition.pipeline, payload)?;
    let clients = shared.clients(definition);
    let templates = shared.templates(definition);
    let cx = prepare::render_context(&facts.run, None);
    let render = |text: &String| templates.render_text(text, &cx).map_err(|error| error.to_string());
    let signed = links::sign(wanted, &clients, &render, shared.now()).await;
    let (target, mail) = facts.mail(shared, wanted, outcome, about, &signed)?;
    let mut found = facts.links.clone();
    found.extend(links::named(signed));
    let (run, connection) = (Some(facts.run.label()), wanted.connection.clone());
    Ok(Some(Letter { target, mail, run, links: found, connection, clients }))
}

async fn about_many(shared: &Arc<Shared>, payload: &Value) -> Result<Letter, String> {
    if outcome(payload)? == NoticeOutcome::Late {
        return late::letter(shared, payload).await;
    }
    let backfill = payload.get("backfill").and_then(Value::as_str).and_then(|id| id.parse().ok());
    match backfill {
        Some(id) => digest::letter(shared, id, payload).await,
        None => Err("the notice is about nothing that this binary knows".to_owned()),
    }
}

fn outcome(payload: &Value) -> Result<NoticeOutcome, String> {
    let word = payload.get("outcome").and_then(Value::as_str).unwrap_or_default();
    NoticeOutcome::from_word(word).ok_or_else(|| format!("this binary knows no notice `{word}`"))
}

/// The pipeline's entry that a notice is sent by.
fn wanted<'p>(pipeline: &'p Pipeline, payload: &Value) -> Result<&'p Notice, String> {
    let index = payload.get("index").and_then(Value::as_u64).unwrap_or_default();
    let wanted =
        usize::try_from(index).ok().and_then(|index| pipeline.notices(outcome(payload).ok()?).get(index));
    wanted.ok_or_else(|| format!("the pipeline has no such notice any more: {payload}"))
}
