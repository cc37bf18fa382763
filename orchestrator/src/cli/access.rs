//! `check` and `iam-policy`: what pipelines need of their accounts.

use super::{
    context::Context,
    exit::{Exit, refuse},
    output::bold,
};
use crate::{
    definition::LoadedPipeline,
    engine,
    project::Project,
    service::{access, request::wanted},
};
use trunkline_tasks::{access::Verdict, clients::Clients};

/// What `check` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Pipelines; without any, all of the project
    pipelines: Vec<String>,
}

/// What `iam-policy` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct IamPolicyArgs {
    /// The pipeline
    pipeline: String,
    /// The connection whose role the policy is for; needed where the pipeline uses several
    #[arg(long, value_name = "NAME")]
    connection: Option<String>,
}

/// Looks whether everything that pipelines name exists and may be used; starts nothing.
pub(crate) async fn check(cx: &Context, args: &CheckArgs) -> anyhow::Result<Exit> {
    let (project, loaded, registry) = cx.pipelines()?;
    let chosen: Vec<&LoadedPipeline> = if args.pipelines.is_empty() {
        cx.report(&loaded.diagnostics)?;
        loaded.pipelines.iter().collect()
    } else {
        args.pipelines.iter().map(|name| cx.pipeline(&loaded, name)).collect::<anyhow::Result<_>>()?
    };
    let mut all = Vec::new();
    for entry in chosen {
        let clients = clients(cx, &project, entry).await?;
        let now = cx.now();
        let wanted = wanted(&entry.pipeline, None, &[], now)?;
        let checked = access::check(&entry.pipeline, &wanted, &registry, &clients, now).await;
        if !cx.output.json() {
            let mut text = format!("{}\n", bold(entry.pipeline.name.as_str()));
            for one in &checked {
                let verdict = match one.verdict {
                    Verdict::Fine => "ok",
                    Verdict::Wrong => "wrong",
                    Verdict::NotChecked => "not checked",
                };
                text.push_str(&format!("  {verdict:<12} {}: {}\n", one.part, one.text));
            }
            cx.output.data(&text);
        }
        all.extend(checked);
    }
    let count = |verdict| all.iter().filter(|one| one.verdict == verdict).count();
    let wrong = count(Verdict::Wrong);
    if cx.output.json() {
        cx.output.value(&all);
    } else {
        let (fine, open) = (count(Verdict::Fine), count(Verdict::NotChecked));
        cx.output.data(&format!("{fine} ok, {wrong} wrong, {open} not checked"));
    }
    Ok(if wrong > 0 { Exit::Invalid } else { Exit::Done })
}

/// Prints the least policy that a pipeline needs.
pub(crate) async fn iam_policy(cx: &Context, args: &IamPolicyArgs) -> anyhow::Result<Exit> {
    let (project, loaded, registry) = cx.pipelines()?;
    let entry = cx.pipeline(&loaded, &args.pipeline)?;
    let used = access::connections(&entry.pipeline);
    let connection = match (&args.connection, used.as_slice()) {
        (Some(name), _) if used.contains(name) => name,
        (None, [only]) => only,
        (None, []) => {
            return refuse(format!("{} uses no connection: it needs no policy", entry.pipeline.name));
        }
        _ => {
            let names = used.join(", ");
            return refuse(format!(
                "{} uses the connections {names}; each has a role and a policy of its own: choose one with --connection",
                entry.pipeline.name
            ));
        }
    };
    let clients = clients(cx, &project, entry).await?;
    let now = cx.now();
    let wanted = wanted(&entry.pipeline, None, &[], now)?;
    let policy = access::policy(&entry.pipeline, &wanted, &registry, &clients, connection, now).await;
    let policy = policy.map_err(anyhow::Error::msg)?;
    cx.output.value(&policy.document);
    for note in &policy.notes {
        cx.output.warn(note);
    }
    Ok(Exit::Done)
}

/// The connections of a pipeline; of a sandbox, with everything that the pipeline's template makes.
pub(super) async fn clients(
    cx: &Context,
    project: &Project,
    entry: &LoadedPipeline,
) -> anyhow::Result<Clients> {
    let (mut endpoint, mut private) = (None, None);
    if cfg!(feature = "sandbox") && project.environment.uses_sandbox() {
        let session = cx.open(project).await?;
        session.provision(cx, project, entry).await?;
        endpoint = session.sandbox_endpoint();
        private = session.private_postgres();
    }
    Ok(engine::clients_of(&entry.pipeline, endpoint.as_deref()).with_private_postgres(private))
}
