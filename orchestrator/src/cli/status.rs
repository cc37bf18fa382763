//! `status` and `stop`: what runs for this project.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;
use trunkline_state::{
    store::{BudgetRow, RunFilter, Store},
    words::RunState,
};

use super::{
    context::{Context, LOCAL_FOLDER},
    exit::Exit,
    output::Field,
    validate::counted,
};
use crate::{
    keeper::{self, Stopped},
    service::views::ReplicaView,
};

/// Live runs that are counted.
const COUNT_MAX: i64 = 10_000;

/// What `stop` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct StopArgs {
    /// Even while other commands use it
    #[arg(long)]
    force: bool,
}

/// What `status --json` prints.
#[derive(Debug, Serialize)]
struct StatusView {
    environment: String,
    project: PathBuf,
    store: StoreView,
    sandbox: SandboxView,
    keeper_pid: Option<i32>,
    replicas: Vec<ReplicaView>,
    pipelines: usize,
    runs: RunCounts,
}

#[derive(Debug, Serialize)]
struct StoreView {
    /// For psql; a password in it is replaced by `***`.
    url: Option<String>,
    /// Whether it is the project's own.
    private: bool,
    reachable: bool,
}

#[derive(Debug, Serialize)]
struct SandboxView {
    endpoint: Option<String>,
    mailbox: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize)]
struct RunCounts {
    queued: usize,
    running: usize,
    paused: usize,
    cancelling: usize,
}

/// Shows store, sandbox, mailbox, replicas, counts. Starts the private Postgres if it has to.
pub(crate) async fn status(cx: &Context) -> anyhow::Result<Exit> {
    let project = cx.project()?;
    let session = cx.open(&project).await?;
    let named = cx.config.store.clone().or_else(|| project.environment.store.clone());
    let private = named.is_none();
    let url = named.or_else(|| session.attached.as_ref().and_then(|attached| attached.database_url.clone()));
    let kept = session.attached.as_ref().map(|attached| attached.kept.clone());
    let replicas: Vec<ReplicaView> =
        session.store.live_replicas().await?.into_iter().map(ReplicaView::from).collect();
    let view = StatusView {
        environment: cx.config.environment.clone(),
        project: project.root.clone(),
        store: StoreView { url: url.as_deref().map(without_password), private, reachable: true },
        sandbox: SandboxView {
            endpoint: session.sandbox_endpoint(),
            mailbox: session.attached.as_ref().and_then(|attached| attached.mailbox.clone()),
        },
        keeper_pid: kept.map(|kept| kept.pid),
        replicas,
        pipelines: session.store.pipelines().await?.iter().filter(|row| !row.removed).count(),
        runs: counts(&session.store).await?,
    };
    if cx.output.json() {
        cx.output.value(&view);
    } else {
        print(cx, view);
    }
    Ok(Exit::Done)
}

fn print(cx: &Context, view: StatusView) {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let private = if view.store.private { " (private)" } else { "" };
    let runs = &view.runs;
    let lines = [
        format!("environment  {}", view.environment),
        format!("project      {}", view.project.display()),
        format!("store        {}{private}", or_none(view.store.url)),
        format!("sandbox      {}", or_none(view.sandbox.endpoint)),
        format!("mailbox      {}", or_none(view.sandbox.mailbox.map(|path| path.display().to_string()))),
        format!("pipelines    {}", view.pipelines),
        format!(
            "runs         {} running, {} queued, {} paused, {} cancelling",
            runs.running, runs.queued, runs.paused, runs.cancelling
        ),
        format!("replicas     {}", counted(view.replicas.len(), "live replica")),
    ];
    cx.output.data(&lines.join("\n"));
    let budgets = budgets(&view.replicas);
    if !view.replicas.is_empty() {
        let rows = view.replicas.into_iter().map(|replica| {
            vec![
                Field::from(replica.role),
                Field::from(replica.host),
                Field::from(replica.pid.to_string()),
                Field::from(replica.runs.to_string()),
                Field::from(replica.id.to_string()),
            ]
        });
        cx.output.table(&["role", "host", "pid", "runs", "id"], rows.collect(), "");
    }
    if !budgets.is_empty() {
        cx.output.data("");
        let head = ["connection", "api", "calls/s", "calls", "throttled", "stretched"];
        cx.output.table(&head, budgets, "");
    }
}

/// The budgets of all replicas together, one line per connection, region and API.
fn budgets(replicas: &[ReplicaView]) -> Vec<Vec<Field>> {
    let mut sums: BTreeMap<(&str, &str), BudgetRow> = BTreeMap::new();
    for row in replicas.iter().flat_map(|replica| &replica.budgets) {
        sums.entry((&row.scope, &row.api))
            .and_modify(|sum| {
                sum.allowed_per_second += row.allowed_per_second;
                sum.calls += row.calls;
                sum.throttles += row.throttles;
                sum.stretch_seconds = sum.stretch_seconds.max(row.stretch_seconds);
            })
            .or_insert_with(|| row.clone());
    }
    let line = |row: BudgetRow| {
        let stretched = match row.stretch_seconds {
            seconds if seconds > 0.0 => format!("{seconds:.1} s"),
            _ => String::new(),
        };
        vec![
            Field::from(row.scope),
            Field::from(row.api),
            Field::from(format!("{:.1} of {:.1}", row.allowed_per_second, row.nominal_per_second)),
            Field::from(row.calls.to_string()),
            Field::from(row.throttles.to_string()),
            Field::from(stretched),
        ]
    };
    sums.into_values().map(line).collect()
}

async fn counts(store: &Store) -> anyhow::Result<RunCounts> {
    let mut counts = RunCounts::default();
    let places = [
        (RunState::Queued, &mut counts.queued),
        (RunState::Running, &mut counts.running),
        (RunState::Paused, &mut counts.paused),
        (RunState::Cancelling, &mut counts.cancelling),
    ];
    for (state, count) in places {
        let filter = RunFilter { pipeline: None, state: Some(state.word().to_owned()), limit: COUNT_MAX };
        *count = store.runs(&filter).await?.len();
    }
    Ok(counts)
}

/// A URL as it may be shown: `postgres://user:***@host/db`.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => authority.to_owned(),
        },
        None => authority.to_owned(),
    };
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let query: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.starts_with("password=") { "password=***".to_owned() } else { pair.to_owned() })
        .collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    format!("{scheme}://{authority}{path}{query}")
}

/// Ends the project's keeper, and with it Postgres and the sandbox.
pub(crate) async fn stop(cx: &Context, args: &StopArgs) -> anyhow::Result<Exit> {
    let stopped = keeper::stop(&cx.root()?.join(LOCAL_FOLDER), args.force).await?;
    cx.output.data(match stopped {
        Stopped::NothingRan => "nothing ran",
        Stopped::Keeper => "stopped the private Postgres and the sandbox; their data is kept",
        Stopped::LeftBehind => "stopped a Postgres that a killed keeper had left behind; its data is kept",
    });
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        for (url, shown) in [
            (
                "postgres://u:secret@host:5432/db?sslmode=require",
                "postgres://u:***@host:5432/db?sslmode=require",
            ),
            ("postgres://u@host/db", "postgres://u@host/db"),
            ("postgres://u:p@ss@host/db", "postgres://u:***@host/db"),
            (
                "postgresql:///trunkline?host=/tmp/x&user=u&password=secret",
                "postgresql:///trunkline?host=/tmp/x&user=u&password=***",
            ),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
