//! `source`: the YAML of what is deployed, and the lines of a task of a run with what is said of them.

use super::{
    context::{Context, Session},
    exit::Exit,
    output::{Field, dim, utc},
    server::Server,
};
use crate::{
    definition::Severity,
    service::{
        find, source,
        views::{DiagnosticView, PipelineDetail, RunWithTasks, TaskSourceView, VersionDetail, VersionView},
    },
};

/// Versions that are listed.
const VERSIONS_MAX: u16 = 200;

/// What `source` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct SourceArgs {
    /// A pipeline; or a run, for the version that it uses: an id, pipeline@date or pipeline@latest
    of: String,
    /// Only the lines of this task of the run, with why it failed and what it warned of
    task: Option<String>,
    /// This version of the pipeline rather than its current one
    #[arg(long, value_name = "N", conflicts_with = "task", value_parser = clap::value_parser!(i32).range(1..))]
    version: Option<i32>,
    /// List the versions of the pipeline instead
    #[arg(long, conflicts_with_all = ["task", "version"])]
    versions: bool,
}

/// Prints what was deployed.
pub(crate) async fn source(cx: &Context, args: &SourceArgs) -> anyhow::Result<Exit> {
    let origin = match cx.server()? {
        Some(server) => Origin::Server(server),
        None => Origin::Store(cx.open_to_look().await?),
    };
    match &args.task {
        Some(task) => lines(cx, &origin, &args.of, task).await?,
        None if args.versions => versions(cx, &origin.versions(&args.of).await?),
        None => whole(cx, &origin, args).await?,
    }
    Ok(Exit::Done)
}

/// Whom the command asks.
enum Origin {
    Server(Server),
    Store(Session),
}

impl Origin {
    async fn version(&self, pipeline: &str, version: Option<i32>) -> anyhow::Result<VersionDetail> {
        match self {
            Self::Store(Session { store, registry, .. }) => {
                Ok(source::version(store, registry, pipeline, version).await?)
            }
            Self::Server(server) => {
                let version = if let Some(version) = version {
                    version
                } else {
                    let now: PipelineDetail = server.get(&["pipelines", pipeline], &[]).await?;
                    now.pipeline.version
                };
                Ok(server.get(&["pipelines", pipeline, "versions", &version.to_string()], &[]).await?)
            }
        }
    }

    async fn versions(&self, pipeline: &str) -> anyhow::Result<Vec<VersionView>> {
        match self {
            Self::Store(Session { store, .. }) => {
                let row = find::pipeline(store, pipeline).await?;
                let rows = store.versions(&row.name, None, VERSIONS_MAX.into()).await?;
                Ok(rows.into_iter().map(VersionView::from).collect())
            }
            Self::Server(server) => {
                Ok(server.list(&["pipelines", pipeline, "versions"], &[], VERSIONS_MAX.into()).await?)
            }
        }
    }

    /// The pipeline of a run, and the version that it uses.
    async fn of_run(&self, run: &str) -> anyhow::Result<(String, i32)> {
        match self {
            Self::Store(Session { store, .. }) => {
                let row = store.run(find::run(store, run).await?).await?;
                Ok((row.pipeline, row.version))
            }
            Self::Server(server) => {
                let RunWithTasks { run, .. } = server.get(&["runs", run], &[]).await?;
                Ok((run.pipeline, run.version))
            }
        }
    }

    async fn task(&self, run: &str, task: &str) -> anyhow::Result<TaskSourceView> {
        match self {
            Self::Store(Session { store, .. }) => Ok(source::of_task(store, run, task).await?),
            Self::Server(server) => Ok(server.get(&["runs", run, "tasks", task, "source"], &[]).await?),
        }
    }
}

async fn whole(cx: &Context, origin: &Origin, args: &SourceArgs) -> anyhow::Result<()> {
    let (pipeline, version) = if find::names_run(&args.of) {
        let (pipeline, version) = origin.of_run(&args.of).await?;
        (pipeline, Some(args.version.unwrap_or(version)))
    } else {
        (args.of.clone(), args.version)
    };
    let shown = origin.version(&pipeline, version).await?;
    if cx.output.json() {
        cx.output.value(&shown);
        return Ok(());
    }
    cx.output.note(&dim(&format!(
        "version {} of {}, deployed {} by {}",
        shown.version,
        pipeline,
        utc(shown.created_at),
        shown.created_by
    )));
    cx.output.raw(&shown.source);
    for warning in &shown.warnings {
        let line = warning.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        cx.output.warn(&format!("{line}{}", warning.message));
    }
    Ok(())
}

fn versions(cx: &Context, versions: &[VersionView]) {
    if cx.output.json() {
        return cx.output.value(&versions);
    }
    let rows = versions.iter().map(|one| {
        vec![
            Field::from(one.version.to_string()),
            Field::from(utc(one.created_at)),
            Field::from(one.created_by.clone()),
        ]
    });
    cx.output.table(&["version", "deployed", "by"], rows.collect(), "it has no versions");
}

async fn lines(cx: &Context, origin: &Origin, run: &str, task: &str) -> anyhow::Result<()> {
    let of = origin.task(run, task).await?;
    if cx.output.json() {
        cx.output.value(&of);
        return Ok(());
    }
    let shown = origin.version(&of.pipeline, Some(of.version)).await?;
    let field = of.field.as_ref().map(|field| format!("; it failed over {field}")).unwrap_or_default();
    cx.output.note(&dim(&format!("{} of {}, version {}{field}", of.task, of.run, of.version)));
    // What has no line of its own comes first.
    said(cx, of.said.iter().filter(|one| one.line.is_none()));
    for (number, line) in (1..).zip(shown.source.lines()).filter(|(number, _)| of.holds(*number)) {
        cx.output.data(&format!("{} {line}", dim(&format!("{number:>4}"))));
        said(cx, of.said.iter().filter(|one| one.line == Some(number)));
    }
    if of.first_line.is_none() {
        cx.output.note("it does not stand in this version");
    }
    Ok(())
}

fn said<'a>(cx: &Context, of: impl Iterator<Item = &'a DiagnosticView>) {
    for one in of {
        let word = match one.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let message = one.message.trim_end().replace('\n', "\n       ");
        cx.output.data(&format!("     {} {message}", dim(&format!("^ {word}:"))));
    }
}
