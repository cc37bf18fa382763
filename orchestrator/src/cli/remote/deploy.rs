//! `deploy` through a server: it gets the files, and resolves them with its own project.

use std::path::Path;

use serde_json::{Value, json};
use trunkline_state::store::Deployed;

use super::body;
use crate::{
    api::answers::{DEPLOYMENT_BYTES_MAX, DeployDone, RolledBack},
    cli::{
        context::Context,
        deploy::{DeployArgs, say, show, would_roll_back},
        exit::{Exit, Reported, refuse},
        server::{Server, ServerError},
    },
    definition::sent::SENT_FILES_MAX,
    project::gather_pipelines,
};

/// Sends the project's pipelines, and says what that changed.
pub(super) async fn deploy(cx: &Context, server: &Server, args: &DeployArgs) -> anyhow::Result<Exit> {
    if args.rollback {
        return roll_back(cx, server, args.dry_run).await;
    }
    let (gathered, found) = gather_pipelines(&cx.root()?);
    cx.report(&found)?;
    for reason in &gathered.left_out {
        cx.output.warn(&format!("not sent: {reason}"));
    }
    if gathered.files.len() > SENT_FILES_MAX {
        return refuse(format!(
            "there are {} files; at most {SENT_FILES_MAX} are sent",
            gathered.files.len()
        ));
    }
    let mut request =
        body(&[("files", json!(gathered.files)), environment(cx), ("dry_run", json!(args.dry_run))]);
    request["prune"] = json!(!args.keep);
    let bytes = request.to_string().len();
    if bytes > DEPLOYMENT_BYTES_MAX {
        return refuse(format!(
            "the pipelines have {bytes} bytes, and a server takes {DEPLOYMENT_BYTES_MAX}; deploy where its store \
             can be reached"
        ));
    }
    let path = ["deployments"];
    let done: Result<DeployDone, _> = if args.dry_run {
        server.post_repeatable(&path, &request).await
    } else {
        server.post(&path, &request).await
    };
    let done = match done {
        Err(ServerError::Mistakes(rendered)) => {
            cx.output.note(rendered.trim_end());
            return Err(Reported.into());
        }
        other => other?,
    };
    if !done.rendered.is_empty() {
        cx.output.note(done.rendered.trim_end());
    }
    show(cx, &done.changes, args.dry_run);
    if args.dry_run {
        return Ok(Exit::Done);
    }
    say(cx, &done.deployed.into_iter().map(Deployed::from).collect::<Vec<_>>());
    if !done.sandbox.is_empty() && gathered.folders.iter().any(|folder| has_template(folder)) {
        cx.output.warn(
            "nothing was made in the server's sandbox: an aws.yaml is applied by `trunkline deploy` on its machine",
        );
    }
    Ok(Exit::Done)
}

async fn roll_back(cx: &Context, server: &Server, dry_run: bool) -> anyhow::Result<Exit> {
    let path = ["deployments", "rollback"];
    let request = body(&[environment(cx), ("dry_run", json!(dry_run))]);
    let done: RolledBack = server.post(&path, &request).await?;
    let changes: Vec<_> = done.changes.into_iter().map(Deployed::from).collect();
    if dry_run {
        would_roll_back(cx, &changes);
    } else {
        say(cx, &changes);
    }
    Ok(Exit::Done)
}

/// The environment that is meant, if a person named one: a server of another refuses.
fn environment(cx: &Context) -> (&'static str, Value) {
    ("environment", json!(cx.config.named_environment))
}

/// Whether a pipeline's folder says what the sandbox must have.
fn has_template(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("aws.") && name.ends_with(".yaml")
    })
}
