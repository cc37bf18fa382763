//! `generate`: made-up source data, into a folder or the sandbox's S3.

use std::path::PathBuf;

use anyhow::Context as _;
use jiff::civil::Date;
use serde_json::json;
use trunkline_tasks::{postgres, secrets::source::check_database};

use super::{
    context::Context,
    exit::{Exit, Refused, refuse},
    status::without_password,
};
use crate::{
    definition::cases::PRIVATE,
    generate::{
        Object, Written,
        cdr::{CdrSpec, cdr},
        contacts::{ContactsSpec, contacts},
        events::{EventsSpec, events},
        facility::{FacilitySpec, facility},
        orders::{OrdersSpec, orders},
        write_to_folder,
    },
    keeper::{Needs, attach},
    service::sandbox::SandboxCaller,
};

/// Connections to the sandbox that are used at once.
const UPLOADS_AT_ONCE: usize = 4;

/// Objects that wait for an upload: bounds the memory, whatever the count.
const UPLOADS_WAITING: usize = 256;

/// What can be generated.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum GenerateCommand {
    /// Call detail records as the telephony service writes them
    Cdr(CdrArgs),
    /// Exports about child care facilities, with cells that slid out of their columns
    Facility(FacilityArgs),
    /// User events and clicks of campaigns, an hour in each folder, as Firehose writes them
    Events(EventsArgs),
    /// Contact trace records of a call center, an hour in each folder, as Firehose writes them
    Contacts(ContactsArgs),
    /// The database of a shop: eleven tables with orders and payments, and what changes in them
    Orders(OrdersArgs),
}

/// What `generate cdr` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CdrArgs {
    /// Same seed, same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Calls in all, spread over the days; from 40 on every quirk occurs
    #[arg(long, default_value_t = 400)]
    count: u64,
    /// First day, UTC
    #[arg(long, value_name = "DATE")]
    from: Date,
    /// How many days
    #[arg(long, default_value_t = 1)]
    days: u32,
    /// Where to: a folder, or <s3://bucket>[/prefix] of the sandbox
    #[arg(long, value_name = "DIR|s3://BUCKET")]
    out: String,
}

/// What `generate facility` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct FacilityArgs {
    /// Same seed, same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rows of each of the four files; from 40 on every quirk occurs
    #[arg(long, default_value_t = 60)]
    count: u64,
    /// First day on which leads are created
    #[arg(long, value_name = "DATE")]
    from: Date,
    /// Over how many days leads are created
    #[arg(long, default_value_t = 60)]
    days: u32,
    /// Where to: a folder, or <s3://bucket>[/prefix] of the sandbox
    #[arg(long, value_name = "DIR|s3://BUCKET")]
    out: String,
}

/// What `generate events` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsArgs {
    /// Same seed, same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Events of each hour; from 40 on every quirk occurs
    #[arg(long, default_value_t = 400)]
    count: u64,
    /// First hour, as 2026-11-20T08:00:00Z
    #[arg(long, value_name = "TIME")]
    from: jiff::Timestamp,
    /// How many hours; each fourth of five is empty
    #[arg(long, default_value_t = 1)]
    hours: u32,
    /// Where to: a folder, or <s3://bucket>[/prefix] of the sandbox
    #[arg(long, value_name = "DIR|s3://BUCKET")]
    out: String,
}

/// What `generate contacts` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ContactsArgs {
    /// Same seed, same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Contacts of each hour; from 40 on every quirk occurs
    #[arg(long, default_value_t = 400)]
    count: u64,
    /// First hour, as 2026-11-20T08:00:00Z
    #[arg(long, value_name = "TIME")]
    from: jiff::Timestamp,
    /// How many hours
    #[arg(long, default_value_t = 1)]
    hours: u32,
    /// Where to: a folder, or <s3://bucket>[/prefix] of the sandbox
    #[arg(long, value_name = "DIR|s3://BUCKET")]
    out: String,
}

/// What `generate orders` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct OrdersArgs {
    /// Same seed, same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sales orders; from 40 on every quirk occurs
    #[arg(long, default_value_t = 400)]
    count: u64,
    /// 0 fills an empty database, each later round is what happens afterwards
    #[arg(long, default_value_t = 0)]
    round: u64,
    /// First day
    #[arg(long, value_name = "DATE")]
    from: Date,
    /// How many days
    #[arg(long, default_value_t = 1)]
    days: u32,
    /// Where to: a folder for a script, a database of the project's private Postgres, or any database
    #[arg(long, value_name = "DIR|private:NAME|postgresql://…")]
    out: String,
}

/// Generates data and says how much.
pub(crate) async fn generate(cx: &Context, command: GenerateCommand) -> anyhow::Result<Exit> {
    match command {
        GenerateCommand::Cdr(args) => {
            let CdrArgs { seed, count, from, days, out } = args;
            let spec = CdrSpec { seed, count, from, days };
            spec.check()?;
            put(cx, &out, cdr(&spec)).await
        }
        GenerateCommand::Facility(args) => {
            let FacilityArgs { seed, count, from, days, out } = args;
            let spec = FacilitySpec { seed, count, from, days };
            spec.check()?;
            put(cx, &out, facility(&spec)).await
        }
        GenerateCommand::Events(args) => {
            let EventsArgs { seed, count, from, hours, out } = args;
            let spec = EventsSpec { seed, count, from, hours };
            spec.check()?;
            put(cx, &out, events(&spec)).await
        }
        GenerateCommand::Contacts(args) => {
            let ContactsArgs { seed, count, from, hours, out } = args;
            let spec = ContactsSpec { seed, count, from, hours };
            spec.check()?;
            put(cx, &out, contacts(&spec)).await
        }
        GenerateCommand::Orders(args) => generate_orders(cx, args).await,
    }
}

async fn generate_orders(cx: &Context, args: OrdersArgs) -> anyhow::Result<Exit> {
    let OrdersArgs { seed, count, round, from, days, out } = args;
    let spec = OrdersSpec { seed, count, round, from, days };
    spec.check()?;
    let url = if let Some(name) = out.strip_prefix(PRIVATE) {
        let attached = attach(&cx.local_folder()?, Needs { postgres: true, sandbox: false }).await?;
        let own = attached.database_url.clone().context("the keeper gave no private Postgres")?;
        if let Err((wrong, fix)) = check_database(name) {
            return refuse(format!("--out {wrong}: {fix}"));
        }
        // Attached until it is filled.
        let url = postgres::private_database(&own, name).await.map_err(|failure| Refused(failure.message))?;
        postgres::script(&url, orders(&spec)).await.map_err(|failure| Refused(failure.message))?;
        url
    } else if ["postgres://", "postgresql://"].iter().any(|scheme| out.starts_with(scheme)) {
        postgres::script(&out, orders(&spec)).await.map_err(|failure| Refused(failure.message))?;
        without_password(&out)
    } else {
        let body = orders(&spec).collect::<String>().into_bytes();
        let object = Object { key: format!("orders-{round}.sql"), body };
        write_to_folder(std::iter::once(object), &PathBuf::from(&out))?;
        out
    };
    if cx.output.json() {
        cx.output.value(&json!({ "orders": count, "round": round, "out": url }));
    } else {
        cx.output.data(&format!("{count} orders of round {round} in {url}"));
    }
    Ok(Exit::Done)
}

/// Puts objects where `--out` says, and says how much that was.
async fn put(cx: &Context, out: &str, objects: impl Iterator<Item = Object>) -> anyhow::Result<Exit> {
    let written = match out.strip_prefix("s3://") {
        Some(place) => upload(cx, place, objects).await?,
        None => write_to_folder(objects, &PathBuf::from(out))?,
    };
    if cx.output.json() {
        cx.output.value(&json!({ "objects": written.objects, "bytes": written.bytes, "out": out }));
    } else {
        cx.output.data(&format!("{} objects, {} bytes in {out}", written.objects, written.bytes));
    }
    Ok(Exit::Done)
}

async fn upload(cx: &Context, place: &str, objects: impl Iterator<Item = Object>) -> anyhow::Result<Written> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return refuse("--out names no bucket; write s3://bucket or s3://bucket/prefix");
    }
    let attached = attach(&cx.local_folder()?, Needs { postgres: false, sandbox: true }).await?;
    let endpoint = attached.sandbox_endpoint.clone().context("the keeper started no sandbox")?;
    upload_to(cx, &endpoint, bucket, prefix, objects).await
}

/// Puts objects into a bucket of the sandbox, which is made if it is missing.
pub(crate) async fn upload_to(
    cx: &Context,
    endpoint: &str,
    bucket: &str,
    prefix: &str,
    objects: impl Iterator<Item = Object>,
) -> anyhow::Result<Written> {
    SandboxCaller::connect(endpoint).await?.make_bucket(bucket, cx.now()).await?;
    let prefix = if prefix.is_empty() { String::new() } else { format!("{}/", prefix.trim_end_matches('/')) };
    let mut lanes = Vec::new();
    let mut uploads = tokio::task::JoinSet::new();
    for _ in 0..UPLOADS_AT_ONCE {
        let (lane, mut inbox) = tokio::sync::mpsc::channel::<Object>(UPLOADS_WAITING / UPLOADS_AT_ONCE);
        lanes.push(lane);
        let mut caller = SandboxCaller::connect(endpoint).await?;
        let (clock, bucket, prefix) = (cx.clock.clone(), bucket.to_owned(), prefix.clone());
        uploads.spawn(async move {
            let mut written = Written::default();
            while let Some(object) = inbox.recv().await {
                let key = format!("{prefix}{}", object.key);
                caller.put(&bucket, &key, &object.body, clock.now()).await?;
                written.objects += 1;
                written.bytes += object.body.len() as u64;
            }
            Ok::<Written, crate::service::SandboxCallError>(written)
        });
    }
    for (number, object) in objects.enumerate() {
        // A closed lane has failed; its error comes with its result.
        if lanes[number % UPLOADS_AT_ONCE].send(object).await.is_err() {
            break;
        }
    }
    drop(lanes);
    let mut all = Written::default();
    while let Some(joined) = uploads.join_next().await {
        let written = joined.context("an upload ended unexpectedly")??;
        all.objects += written.objects;
        all.bytes += written.bytes;
    }
    Ok(all)
}
