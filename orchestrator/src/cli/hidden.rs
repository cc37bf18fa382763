//! Processes of ours that people do not start by hand: the keeper, the supervisor of a
//! `command` task. And the sandbox alone, which they may.

use std::{path::PathBuf, process::ExitCode};

use super::{context::Context, exit::Exit};
use crate::keeper::{KeepOptions, SandboxStart, keep};

/// What `__keeper` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct KeeperArgs {
    /// The project's `.trunkline` folder
    #[arg(long)]
    dir: PathBuf,
}

/// What `__supervise` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct SuperviseArgs {
    /// The attempt's folder
    dir: PathBuf,
}

/// What `sandbox` without a further word and `__sandbox` take.
#[derive(Debug, clap::Args)]
pub(crate) struct SandboxServeArgs {
    /// Folder that holds everything it knows [default: .trunkline/sandbox of the project]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// File that the port is written to once it answers
    #[arg(long, value_name = "FILE")]
    port_file: Option<PathBuf>,
    /// Port [default: the one of last time, or any free one]
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Real time of simulated waits, 1 for the ordinary pace
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    time_scale: f64,
    /// Age at which signed requests are refused, in milliseconds
    #[arg(long, value_name = "MS")]
    signature_age_max_ms: Option<u64>,
}

/// Is the keeper of a project until it is needed no more.
pub(crate) async fn keeper(args: &KeeperArgs) -> anyhow::Result<Exit> {
    let ended = keep(KeepOptions::for_dir(&args.dir, sandbox_start())).await?;
    tracing::info!(?ended, "the keeper ends");
    Ok(Exit::Done)
}

/// Runs one attempt of a `command` task and keeps its output; ends with the attempt.
pub(crate) fn supervise(args: &SuperviseArgs) -> ExitCode {
    let code = trunkline_tasks::command::supervise(&args.dir);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// How the keeper starts the sandbox, in a program that has one.
#[cfg(feature = "sandbox")]
#[expect(clippy::unnecessary_wraps, reason = "a program without a sandbox has none")]
fn sandbox_start() -> Option<SandboxStart> {
    use std::sync::Arc;

    use crate::keeper::SandboxRunning;

    let ratio = crate::config::variable("TRUNKLINE_TIME_RATIO").and_then(|text| text.parse::<f64>().ok());
    let ratio = ratio.filter(|ratio| (0.000_1..=1.0).contains(ratio)).unwrap_or(1.0);
    Some(Arc::new(move |root: PathBuf, port: Option<u16>| {
        Box::pin(async move {
            let mut options = trunkline_sandbox::Options::new(root);
            options.port = port;
            options.time_scale = ratio;
            options.signature_age_max = options.signature_age_max.mul_f64(ratio);
            let sandbox = trunkline_sandbox::start(options).await?;
            Ok(SandboxRunning {
                endpoint: sandbox.endpoint(),
                mailbox: sandbox.mailbox(),
                stop: Box::new(move || Box::pin(sandbox.shutdown())),
            })
        })
    }))
}

#[cfg(not(feature = "sandbox"))]
fn sandbox_start() -> Option<SandboxStart> {
    None
}

/// Runs a sandbox in the foreground until it is told to end.
#[cfg(feature = "sandbox")]
pub(crate) async fn sandbox(cx: &Context, args: &SandboxServeArgs) -> anyhow::Result<Exit> {
    use anyhow::Context as _;

    let root = match &args.root {
        Some(root) => root.clone(),
        None => cx.local_folder()?.join("sandbox"),
    };
    let mut options = trunkline_sandbox::Options::new(root);
    options.port = args.port;
    options.time_scale = args.time_scale;
    if let Some(age) = args.signature_age_max_ms {
        options.signature_age_max = std::time::Duration::from_millis(age);
    }
    let sandbox = trunkline_sandbox::start(options).await?;
    let endpoint = sandbox.endpoint();
    cx.output.note(&format!("sandbox on {endpoint}, mail in {}", sandbox.mailbox().display()));
    cx.output.data(&format!("AWS_ENDPOINT_URL={endpoint}"));
    if let Some(path) = &args.port_file {
        let port = endpoint.rsplit(':').next().unwrap_or_default();
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, port)
            .and_then(|()| std::fs::rename(&unfinished, path))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    super::serve::told_to_end().await?;
    sandbox.shutdown().await;
    Ok(Exit::Done)
}

/// This program has none.
#[cfg(not(feature = "sandbox"))]
pub(crate) async fn sandbox(_cx: &Context, _args: &SandboxServeArgs) -> anyhow::Result<Exit> {
    super::exit::refuse("this program was built without the sandbox (feature `sandbox`)")
}
