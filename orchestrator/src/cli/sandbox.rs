//! `sandbox`: runs the local AWS alone, or looks into the one that runs.

use jiff::Timestamp;

use super::{
    context::{Context, Session},
    exit::{Exit, refuse},
    hidden::{SandboxServeArgs, sandbox as serve},
    output::Field,
};
use crate::service::{
    ledger::{self, Start},
    sandbox::call,
};

/// Lines for people; the first ones are dropped, `--json` has them all.
const LINES_MAX: usize = 200;

/// What `sandbox` takes.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SandboxArgs {
    #[command(subcommand)]
    command: Option<SandboxCommand>,
    #[command(flatten)]
    serve: SandboxServeArgs,
}

/// What can be looked at.
#[derive(Debug, clap::Subcommand)]
enum SandboxCommand {
    /// Show what the sandbox accepted: jobs started, messages taken
    Ledger(LedgerArgs),
}

/// What `sandbox ledger` takes.
#[derive(Debug, clap::Args)]
struct LedgerArgs {
    /// Only what was accepted more than once for one attempt; exit 1 if there is any
    #[arg(long)]
    duplicates: bool,
    /// Only of this service, e.g. glue
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Of a sandbox elsewhere on this machine [default: the project's]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
}

/// Runs the sandbox, or shows its ledger.
pub(crate) async fn sandbox(cx: &Context, args: &SandboxArgs) -> anyhow::Result<Exit> {
    match &args.command {
        Some(SandboxCommand::Ledger(args)) => ledger(cx, args).await,
        None => serve(cx, &args.serve).await,
    }
}

async fn ledger(cx: &Context, args: &LedgerArgs) -> anyhow::Result<Exit> {
    // The session holds the keeper, and with it the sandbox.
    let (endpoint, _session) = place(cx, args).await?;
    let mut starts: Vec<Start> =
        serde_json::from_value(call(&endpoint, "GET", "/_sandbox/ledger", None).await?)?;
    if let Some(service) = &args.service {
        starts.retain(|start| start.service == *service);
    }
    if args.duplicates {
        let twice = ledger::duplicates(starts);
        let found = !twice.is_empty();
        show(cx, &twice, "nothing was accepted twice for one attempt");
        return Ok(if found { Exit::RunFailed } else { Exit::Done });
    }
    show(cx, &starts, "nothing was accepted yet");
    Ok(Exit::Done)
}

async fn place(cx: &Context, args: &LedgerArgs) -> anyhow::Result<(String, Option<Session>)> {
    if let Some(endpoint) = &args.endpoint {
        return Ok((endpoint.clone(), None));
    }
    let session = cx.open(&cx.project()?).await?;
    if let Some(endpoint) = session.sandbox_endpoint() {
        return Ok((endpoint, Some(session)));
    }
    refuse(format!(
        "environment `{}` has no sandbox: none of its connections says `sandbox: true`; name one with --endpoint",
        cx.config.environment
    ))
}

fn show(cx: &Context, starts: &[Start], empty: &str) {
    if cx.output.json() {
        cx.output.value(&starts);
        return;
    }
    let skipped = starts.len().saturating_sub(LINES_MAX);
    if skipped > 0 {
        cx.output.note(&format!("{skipped} earlier ones are left out; `--json` prints all"));
    }
    let rows = starts.iter().skip(skipped).map(|start| {
        vec![
            Field::from(start.sequence.to_string()),
            Field::from(moment(start.at)),
            Field::from(format!("{}:{}", start.service, start.operation)),
            Field::from(start.subject.clone()),
            Field::from(start.id.clone()),
            Field::from(start.marker.clone().unwrap_or_default()),
        ]
    });
    cx.output.table(&["", "at (UTC)", "call", "what", "id", "token"], rows.collect(), empty);
}

fn moment(at: Timestamp) -> String {
    at.strftime("%m-%d %H:%M:%S").to_string()
}
