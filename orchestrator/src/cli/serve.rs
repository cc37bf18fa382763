//! `serve`: a long-lived replica: fires schedules, claims runs, advances them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use trunkline_state::store::{PipelineRow, Role};

use super::{
    LogFormat,
    context::{Context, Session},
    deploy,
    exit::{Exit, Reported},
    listen::{ListenArgs, forget_address, pages, serve_api, take_address},
    output::bold,
    validate::counted,
};
use crate::{
    config::variable,
    engine::EngineHandle,
    project::{PROJECT_FILE, Project},
    service::deploy::put,
    trace::Settings,
};

/// How often `--watch` looks at the files: editors write in bursts, people wait for a second.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How often what is owned is looked at, to say what changed.
const OWNED_EVERY: Duration = Duration::from_secs(5);

/// How often the heartbeat is printed: the finest that CloudWatch keeps without charge.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(60);

/// Files that `--watch` looks at; more is a data folder by mistake.
const WATCHED_MAX: usize = 20_000;

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// Deploy changed files from the project's folder, for development
    #[arg(long)]
    watch: bool,
    /// Print a heartbeat every minute that CloudWatch Logs takes for metrics (embedded metric format)
    #[arg(long)]
    emf: bool,
    /// How log lines look
    #[arg(long, value_name = "text|json", default_value = "text", hide_possible_values = true)]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    listen: ListenArgs,
}

/// Is a replica until told to end, then gives its runs back.
pub(crate) async fn serve(cx: &Context, args: &ServeArgs) -> anyhow::Result<Exit> {
    let project = cx.project()?;
    let session = cx.open(&project).await?;
    let entrance = take_address(&args.listen).await?;
    let mut deployed = None;
    if args.watch {
        // Looked at before they are read: what changes from now on is seen, however long the
        // start takes.
        deployed = Some(stamps(&cx.root()?, &cx.config.environment));
        redeploy(cx, &session).await?;
    }
    let pages = entrance.as_ref().and_then(|entrance| pages(entrance, &args.listen));
    let engine = session.engine(cx, Role::Serve, pages).await?;
    let replica = session.store.replica();
    cx.output.note(&format!(
        "{} as replica {replica}, environment {}",
        bold("serving"),
        cx.config.environment
    ));
    if let Some(endpoint) = session.sandbox_endpoint() {
        cx.output.note(&format!("sandbox {endpoint}"));
    }
    say_traces(cx);
    list_schedules(cx, &session).await?;
    let api = match entrance {
        Some(entrance) => Some(serve_api(cx, (&project, &session), engine.handle(), entrance, &args.listen)?),
        None => None,
    };
    let guard = async {
        match &session.attached {
            Some(attached) => attached.guard().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = told_to_end() => ended?,
        () = guard => {}
        watched = watch(cx, &session, deployed) => watched?,
        () = report_owned(cx, engine.handle()) => {}
        () = print_heartbeats(cx, engine.handle(), args.emf) => {}
    }
    cx.output.note("ending: nothing more is started, runs are given back");
    if let Some(api) = api {
        forget_address(cx, &api);
        api.shutdown().await;
    }
    engine.shutdown().await?;
    Ok(Exit::Done)
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn told_to_end() -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("SIGTERM cannot be heard")?;
    tokio::select! {
        _ = terminated.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("Ctrl-C cannot be heard"),
    }
}

/// Says where traces go, or why none do although somebody wants them.
fn say_traces(cx: &Context) {
    let settings = Settings::read(&variable);
    if let Settings::Refused(why) = &settings {
        cx.output.warn(why);
    }
    if let Some(address) = settings.shown() {
        cx.output.note(&format!("traces go to {address}"));
    }
}

async fn list_schedules(cx: &Context, session: &Session) -> anyhow::Result<()> {
    let rows = session.store.pipelines().await?;
    let triggered = session.store.triggered_pipelines().await?;
    let by_events = |row: &PipelineRow| triggered.iter().any(|(name, _)| *name == row.name);
    let mut known = 0;
    for row in rows.iter().filter(|row| !row.removed) {
        known += 1;
        match (row.paused, row.next_fire_at) {
            (true, _) => cx.output.note(&format!("  {}  paused", row.name)),
            (false, Some(at)) => cx.output.note(&format!("  {}  next {at}", row.name)),
            (false, None) if by_events(row) => {
                cx.output.note(&format!("  {}  when its triggers say so", row.name));
            }
            (false, None) => cx.output.note(&format!("  {}  by hand", row.name)),
        }
    }
    if known == 0 {
        cx.output.note("  the store has no pipelines yet: `trunkline deploy`, or `serve --watch`");
    }
    Ok(())
}

/// Says how many runs this replica owns, whenever that changes. Ends never.
async fn report_owned(cx: &Context, handle: EngineHandle) {
    let mut looks = tokio::time::interval(OWNED_EVERY);
    let mut before = 0;
    loop {
        looks.tick().await;
        let own = handle.owned();
        if own != before {
            cx.output.note(&format!("owns {}", counted(own, "live run")));
            before = own;
        }
    }
}

/// Prints, while this replica lives, what CloudWatch makes a metric of: an alarm on its absence tells
/// of a dead server. Ends never.
async fn print_heartbeats(cx: &Context, handle: EngineHandle, wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let mut beats = tokio::time::interval(HEARTBEAT_EVERY);
    loop {
        beats.tick().await;
        // A server whose store is gone is no use to anybody, and says nothing.
        if handle.is_alive() {
            cx.output.data(&heartbeat(cx.now(), &cx.config.environment, handle.owned()).to_string());
        }
    }
}

/// One line in the embedded metric format, as `CloudWatch_Embedded_Metric_Format_Specification` of
/// CloudWatch's user guide has it.
fn heartbeat(now: jiff::Timestamp, environment: &str, live_runs: usize) -> serde_json::Value {
    serde_json::json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": "Trunkline",
                "Dimensions": [["environment"]],
                "Metrics": [{ "Name": "Heartbeat", "Unit": "Count" }, { "Name": "LiveRuns", "Unit": "Count" }],
            }],
        },
        "environment": environment,
        "Heartbeat": 1,
        "LiveRuns": live_runs,
    })
}

/// Deploys the folder whenever it is not as it was `deployed` any more; nothing, if nothing was.
/// Ends never.
async fn watch(cx: &Context, session: &Session, deployed: Option<Stamps>) -> anyhow::Result<()> {
    let Some(mut seen) = deployed else {
        return std::future::pending().await;
    };
    let root = cx.root()?;
    let mut looks = tokio::time::interval(WATCH_EVERY);
    loop {
        looks.tick().await;
        let now = stamps(&root, &cx.config.environment);
        if now == seen {
            continue;
        }
        seen = now;
        if let Err(error) = redeploy(cx, session).await {
            cx.output.error(&error);
        }
    }
}

/// Deploys what is valid; a file that is not keeps its last good version, and that is said.
async fn redeploy(cx: &Context, session: &Session) -> anyhow::Result<()> {
    let (project, mut loaded, _) = match cx.pipelines() {
        Err(error) if error.is::<Reported>() => {
            cx.output.warn(&format!("{PROJECT_FILE} is invalid: every pipeline keeps its last good version"));
            return Ok(());
        }
        other => other?,
    };
    let broken = loaded.diagnostics.has_errors();
    if broken {
        cx.output.note(loaded.diagnostics.render(cx.output.color()).trim_end());
        cx.output.warn("what is invalid keeps its last good version until it is repaired");
    }
    // A broken file's pipeline is not among the loaded ones, and must not count as removed.
    let deployed = put(&session.store, &loaded, !broken, &cx.actor(), cx.now()).await?;
    let changed: Vec<_> = deployed.into_iter().filter(|change| change.before != change.after).collect();
    if !changed.is_empty() {
        deploy::say(cx, &changed);
    }
    for entry in std::mem::take(&mut loaded.pipelines) {
        if let Err(error) = session.provision(cx, &project, &entry).await {
            cx.output.error(&error);
        }
    }
    Ok(())
}

/// How long each file is, and when it was last written.
type Stamps = BTreeMap<PathBuf, (u64, Option<SystemTime>)>;

/// The files of the project as they are now.
fn stamps(root: &Path, environment: &str) -> Stamps {
    let mut found = BTreeMap::new();
    let (project, _) = Project::load(root, environment, &variable);
    let mut folders = vec![project.pipelines];
    let mut note = |path: PathBuf| {
        if let Ok(about) = std::fs::metadata(&path) {
            found.insert(path, (about.len(), about.modified().ok()));
        }
        found.len() < WATCHED_MAX
    };
    note(root.join(PROJECT_FILE));
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !hidden && entry.file_name() != "sample" {
                folders.push(entry.path());
            } else if kind.is_file() && !hidden && !note(entry.path()) {
                return found;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_what_cloudwatch_reads() {
        let line = heartbeat(jiff::Timestamp::constant(1_800_000_000, 0), "prod", 3);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        let named = directive["Metrics"].as_array().unwrap();
        assert!(named.iter().all(|metric| line[metric["Name"].as_str().unwrap()].is_u64()));
        assert_eq!(line[directive["Dimensions"][0][0].as_str().unwrap()], "prod");
        assert_eq!(line["_aws"]["Timestamp"], 1_800_000_000_000_i64);
    }
}
