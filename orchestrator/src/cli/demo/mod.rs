//! `demo`: the tour on sample data, in a temporary folder, without an account.
//!
//! Everything that a person would type is typed here into the same program, as processes of
//! their own; so what is shown is what happens.

mod all;
mod stage;

use std::path::PathBuf;

use anyhow::Context as _;
use jiff::civil::date;

use self::stage::Stage;
use super::{
    context::Context,
    exit::Exit,
    generate::upload_to,
    output::{bold, dim},
    scaffold,
};
use crate::{
    config::Config,
    generate::cdr::{CdrSpec, cdr},
};

/// The report's pipeline, beside the shipped one.
const REPORT: scaffold::Entry = ("pipelines/cdr_report/pipeline.yaml", include_str!("cdr_report.yaml"));

/// The script that the demo breaks, and how.
const SCRIPT: &str = "pipelines/daily_cdr_etl/sql/cdr_etl.sql";
const SCRIPT_RIGHT: &str = "partition_2 = substring";
const SCRIPT_WRONG: &str = "partition_year = substring";

/// The first of three days; in the past, so that no interval is unfinished.
const DAYS: [&str; 3] = ["2026-10-05", "2026-10-06", "2026-10-07"];

/// Every time-like setting of the demo's processes is scaled: a dead process is noticed after
/// three seconds rather than thirty.
const TIME_RATIO: &str = "0.1";

/// Where the raw records go; the bucket that the template reads from.
const RAW_BUCKET: &str = "cdr-raw";

/// What `demo` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Where to make the project [default: a new folder among the temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// All shipped pipelines on generated data, one after the other
    #[arg(long)]
    all: bool,
    /// Calls to generate, over three days
    #[arg(long, default_value_t = 300)]
    count: u64,
}

/// Shows everything once.
pub(crate) async fn demo(cx: &Context, args: &DemoArgs) -> anyhow::Result<Exit> {
    let folder = args.folder.clone().unwrap_or_else(|| {
        let id = cx.ids.replica_id().0.simple().to_string();
        std::env::temp_dir().join(format!("trunkline-demo-{}", &id[..8]))
    });
    make_project(&folder, args.all)
        .with_context(|| format!("the project cannot be made in {}", folder.display()))?;
    let folder = folder.canonicalize().with_context(|| format!("{} cannot be read", folder.display()))?;
    let config = Config {
        environment: crate::project::LOCAL.to_owned(),
        project: folder.clone(),
        project_named: true,
        store: None,
        time_ratio: 0.1,
        server: None,
        ..cx.config.clone()
    };
    let inner = Context { config, ..cx.clone() };
    title(cx, 1, "A project in a folder, and a local AWS that really executes");
    let pipelines = if args.all { scaffold::SHIPPED.len() } else { 2 };
    say(
        cx,
        &format!(
            "{pipelines} pipelines in {}. Nothing else is needed: no account, no server.",
            folder.display()
        ),
    );
    let stage = Stage::open(&inner, &folder).await?;
    let shown = if args.all {
        all::tour(&inner, &stage, args.count).await
    } else {
        tour(&inner, &stage, args.count).await
    };
    let stopped = stage.close().await;
    shown?;
    stopped?;
    farewell(cx, &folder, if args.all { all::LAST } else { 7 });
    Ok(Exit::Done)
}

async fn tour(cx: &Context, stage: &Stage, count: u64) -> anyhow::Result<()> {
    let spec = CdrSpec { seed: 1, count, from: date(2026, 10, 5), days: 3 };
    spec.check()?;
    let written = upload_to(cx, &stage.endpoint, RAW_BUCKET, "", cdr(&spec)).await?;
    say(cx, &format!("{} call detail records of three days are in s3://{RAW_BUCKET}.", written.objects));

    title(cx, 2, "A day: crawl, convert to Parquet, crawl");
    stage.succeed(cx, &["run", "daily_cdr_etl", "--date", DAYS[0]]).await?;

    title(cx, 3, "Something fails: somebody broke the job's script");
    stage.replace(SCRIPT, SCRIPT_RIGHT, SCRIPT_WRONG)?;
    stage.fail(cx, &["run", "daily_cdr_etl", "--date", DAYS[1]]).await?;
    say(cx, "\nThis mail went out through SNS:");
    quote(cx, &stage.newest_mail()?);

    title(cx, 4, "Fix the script, and run again what failed");
    stage.replace(SCRIPT, SCRIPT_WRONG, SCRIPT_RIGHT)?;
    stage.succeed(cx, &["clear", &format!("daily_cdr_etl@{}", DAYS[1]), "--failed", "--yes"]).await?;

    title(cx, 5, "kill -9 in mid-job");
    stage.kill_in_mid_job(cx, "daily_cdr_etl", DAYS[2]).await?;
    say(cx, "The job went on without us. The same command finds it again:");
    stage.succeed(cx, &["run", "daily_cdr_etl", "--date", DAYS[2]]).await?;
    ledger(cx, stage).await?;

    title(cx, 6, "The result, asked of Athena over the wire");
    stage.succeed(cx, &["run", "cdr_report"]).await?;
    quote(cx, &stage.report().await?);
    Ok(())
}

/// What the service accepted, against what the store says.
async fn ledger(cx: &Context, stage: &Stage) -> anyhow::Result<()> {
    let comparison = stage.compare("daily_cdr_etl").await?;
    say(cx, "\nThe local AWS keeps a ledger of every start that it accepted; the store, of every attempt:");
    for (label, started, attempts) in &comparison.rows {
        cx.output.note(&format!("  {label:32} {started} accepted  {attempts} attempts"));
    }
    if comparison.repeated.is_empty() {
        say(cx, &bold("No start was accepted twice."));
        return Ok(());
    }
    anyhow::bail!("these starts were accepted twice: {}", comparison.repeated.join(", "))
}

fn make_project(folder: &std::path::Path, all: bool) -> std::io::Result<()> {
    if all {
        scaffold::write(folder, &scaffold::everything())?;
        return Ok(());
    }
    let mut entries = vec![scaffold::PROJECT, REPORT];
    entries.extend(scaffold::files_of("daily_cdr_etl"));
    scaffold::write(folder, &entries)?;
    // Nobody wants to wait a minute for the second try in a tour.
    let file = folder.join("pipelines/daily_cdr_etl/pipeline.yaml");
    let text = std::fs::read_to_string(&file)?.replace("retry_delay: 1m", "retry_delay: 1s");
    std::fs::write(file, text)
}

fn farewell(cx: &Context, folder: &std::path::Path, number: u32) {
    title(cx, number, "Where everything lies");
    let folder = folder.display();
    say(cx, &format!("project   {folder}"));
    say(cx, &format!("results   {folder}/.trunkline/sandbox/s3/cdr-processed"));
    say(cx, &format!("mails     {folder}/.trunkline/sandbox/mailbox"));
    say(cx, &format!("look on   cd {folder} && trunkline runs"));
    say(cx, &format!("remove    rm -r {folder}"));
}

fn title(cx: &Context, number: u32, text: &str) {
    cx.output.note(&format!("\n{}", bold(&format!("{number}  {text}"))));
}

fn say(cx: &Context, text: &str) {
    cx.output.note(text);
}

fn quote(cx: &Context, text: &str) {
    for line in text.lines() {
        cx.output.note(&format!("{} {line}", dim("│")));
    }
}
