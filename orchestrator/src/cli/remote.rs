//! Commands that ask a server over its API: the same words, previews, questions and exit codes as where
//! they open the store themselves. What a server does not offer is refused before anything happens.
//!
//! | file | what |
//! |---|---|
//! | `begin` | `run` |
//! | `change` | `clear`, `mark`, `cancel` and the other words to a run |
//! | `deploy` | `deploy` |
//! | `range` | `backfill`, `backfills` |
//! | `watch` | a run until it ends, what a task printed |

mod begin;
mod change;
mod deploy;
mod range;
mod watch;

use serde_json::{Value, json};

use super::{
    Command, audit,
    context::Context,
    deployments,
    exit::{Exit, refuse},
    mails,
    output::Field,
    pipelines, pools, runs, show, source, triggers, why,
};
use crate::{api::answers::StatusView, cli::server::Server, config::NamedServer};

/// What a command works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Runs and what is deployed: a server can be asked.
    Server,
    /// Files and this machine: no server is needed.
    Files,
    /// The store itself, and what belongs to it.
    Store,
}

impl Reach {
    /// What this command works with.
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::Pipelines(_)
            | Command::Source(_)
            | Command::Deployments(_)
            | Command::Audit(_)
            | Command::Run(_)
            | Command::Runs(_)
            | Command::Show(_)
            | Command::Logs(_)
            | Command::Why(_)
            | Command::Clear(_)
            | Command::Mark(_)
            | Command::Cancel(_)
            | Command::RetryNow(_)
            | Command::Resolve(_)
            | Command::Approve(_)
            | Command::Pause(_)
            | Command::Resume(_)
            | Command::Backfill(_)
            | Command::Backfills(_)
            | Command::Pools(_)
            | Command::Triggers(_)
            | Command::Mails(_)
            | Command::Deploy(_)
            | Command::Status => Self::Server,
            Command::Init(_)
            | Command::Demo(_)
            | Command::Generate(_)
            | Command::Validate(_)
            | Command::Plan(_)
            | Command::Test(_)
            | Command::IamPolicy(_)
            | Command::Graph(_)
            | Command::Schema(_)
            | Command::Healthy(_)
            | Command::Open(_)
            | Command::Completions(_)
            | Command::Sandbox(_)
            | Command::Keeper(_)
            | Command::Supervise(_)
            | Command::HiddenSandbox(_) => Self::Files,
            Command::Check(_)
            | Command::Subscribe(_)
            | Command::Serve(_)
            | Command::Token(_)
            | Command::Account(_)
            | Command::Stop(_)
            | Command::Purge(_)
            | Command::Doctor
            | Command::Db(_) => Self::Store,
        }
    }
}

/// Says that a command does not go through a server.
pub(crate) fn refuse_here(server: &NamedServer) -> anyhow::Result<Exit> {
    refuse(match server {
        NamedServer::Flag(_) => {
            "this command works with the project's files and its store, not through a server: leave out --server"
        }
        NamedServer::Variable(_) => {
            "this command works with the project's store, not through a server, and TRUNKLINE_SERVER names one: \
             name the store with --store, or unset TRUNKLINE_SERVER"
        }
    })
}

/// Carries a command out through the server.
pub(crate) async fn execute(cx: &Context, command: Command) -> anyhow::Result<Exit> {
    let (Some(named), Some(server)) = (&cx.config.server, &cx.server()?) else {
        return refuse("no server is named");
    };
    match command {
        Command::Pipelines(args) => pipelines::pipelines(cx, &args).await,
        Command::Source(args) => source::source(cx, &args).await,
        Command::Deployments(args) => deployments::deployments(cx, &args).await,
        Command::Audit(args) => audit::audit(cx, &args).await,
        Command::Runs(args) => runs::runs(cx, &args).await,
        Command::Show(args) => show::show(cx, &args).await,
        Command::Why(args) => why::why(cx, &args).await,
        Command::Logs(args) => watch::logs(cx, server, &args).await,
        Command::Run(args) => begin::run(cx, server, &args).await,
        Command::Clear(args) => change::clear(cx, server, &args).await,
        Command::Mark(args) => change::mark(cx, server, &args).await,
        Command::Cancel(args) => change::cancel(cx, server, &args).await,
        Command::RetryNow(args) => change::retry_now(cx, server, &args).await,
        Command::Resolve(args) => change::resolve(cx, server, &args).await,
        Command::Approve(args) => change::approve(cx, server, &args).await,
        Command::Pause(args) => change::pause(cx, server, &args, "pause").await,
        Command::Resume(args) => change::pause(cx, server, &args, "resume").await,
        Command::Backfill(args) => range::backfill(cx, server, &args).await,
        Command::Backfills(args) => range::backfills(cx, server, &args).await,
        Command::Deploy(args) => deploy::deploy(cx, server, &args).await,
        Command::Pools(args) => pools::pools(cx, &args).await,
        Command::Triggers(args) => triggers::triggers(cx, &args).await,
        Command::Mails(args) => mails::mails(cx, &args).await,
        Command::Status => status(cx, server).await,
        _ => refuse_here(named),
    }
}

async fn status(cx: &Context, server: &Server) -> anyhow::Result<Exit> {
    let status: StatusView = server.get(&["status"], &[]).await?;
    if cx.output.json() {
        cx.output.value(&status);
        return Ok(Exit::Done);
    }
    let runs: Vec<String> = status.runs.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let runs = if runs.is_empty() { "none live".to_owned() } else { runs.join(", ") };
    cx.output.data(&format!(
        "server       {}, version {}\nenvironment  {}\npipelines    {}\nruns         {runs}",
        server.place(),
        status.version,
        status.environment,
        status.pipelines,
    ));
    let rows = status.replicas.into_iter().map(|replica| {
        vec![
            Field::from(replica.id.to_string()),
            Field::from(format!("{} {}", replica.host, replica.pid)),
            Field::from(replica.role),
            Field::from(replica.runs.to_string()),
        ]
    });
    cx.output.data("");
    cx.output.table(&["replica", "process", "role", "runs"], rows.collect(), "no live replica");
    Ok(Exit::Done)
}

/// The body of a request with those fields that say something.
fn body(fields: &[(&str, Value)]) -> Value {
    let said = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    let fields = fields.iter().filter(|(_, value)| said(value));
    json!(fields.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<serde_json::Map<_, _>>())
}
