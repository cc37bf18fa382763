//! A case that really executes: a sandbox and a private Postgres of its own, in a temporary folder
//! that goes with them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use trunkline_state::{
    ids::RunId,
    store::{Created, Role},
};
use trunkline_tasks::{operator::Failure, postgres};

use super::mailbox;
use crate::{
    cli::{
        context::{Context, LOCAL_FOLDER, Session},
        output::Output,
        run::deploy_with_others,
    },
    config::Config,
    definition::{
        Loaded, LoadedPipeline,
        cases::{Case, Content, Given, PRIVATE, Place},
    },
    engine::{RunRequest, clients_of},
    keeper,
    project::{Project, is_sandbox},
    service::{
        Snapshot,
        cases::{
            Seen,
            ask::{RESULTS_BUCKET, private_rows, rows},
        },
        sandbox::SandboxCaller,
    },
};

/// The longest that the run of a case may take: what takes longer is no test.
const CASE_LIMIT: Duration = Duration::from_mins(10);
/// A test does not wait for a retry as long as an operation does.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(1);
/// Files of one case: more are a load test.
const OBJECTS_MAX: usize = 100_000;

/// Runs a case and says what came of it. Nothing is left behind.
pub(super) async fn run_case(
    cx: &Context,
    project: &Project,
    loaded: &Loaded,
    entry: &LoadedPipeline,
    case: &Case,
) -> anyhow::Result<Seen> {
    anyhow::ensure!(cfg!(feature = "sandbox"), "this program was built without the sandbox");
    anyhow::ensure!(
        entry.pipeline.connections.values().any(is_sandbox),
        "environment `{}` connects the pipeline to no sandbox; a case with `sandbox: true` needs a connection \
         {{ sandbox: true }}",
        project.environment.name
    );
    let id = cx.ids.replica_id().0.simple().to_string();
    let folder = std::env::temp_dir().join(format!("trunkline-test-{}", &id[..12]));
    fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let seen = on_stage(cx, &folder, project, loaded, entry, case).await;
    let local = folder.join(LOCAL_FOLDER);
    let stopped = keeper::stop(&local, true).await;
    keeper::forget(&local);
    let removed = fs::remove_dir_all(&folder);
    let seen = seen?;
    stopped?;
    removed.with_context(|| format!("{} cannot be removed", folder.display()))?;
    Ok(seen)
}

async fn on_stage(
    cx: &Context,
    folder: &Path,
    project: &Project,
    loaded: &Loaded,
    entry: &LoadedPipeline,
    case: &Case,
) -> anyhow::Result<Seen> {
    let folder = folder.canonicalize()?;
    let config = Config {
        project: folder.clone(),
        project_named: true,
        store: None,
        server: None,
        ..cx.config.clone()
    };
    let inner = Context { config, output: Output::silent(), ..cx.clone() };
    let mut project = project.clone();
    project.root = folder;
    project.environment.store = None;
    let entry = prepared(entry, case);
    let session = inner.open(&project).await?;
    let seen = play(&inner, &session, &project, loaded, &entry, case).await;
    session.store.close().await;
    seen
}

/// The pipeline with the case's vars, and with short pauses between tries.
fn prepared(entry: &LoadedPipeline, case: &Case) -> LoadedPipeline {
    let mut entry = entry.clone();
    entry.pipeline.vars.extend(case.vars.clone());
    for task in &mut entry.pipeline.tasks {
        task.retry.delay = task.retry.delay.min(RETRY_DELAY_MAX);
        task.retry.delay_max = task.retry.delay_max.min(RETRY_DELAY_MAX);
    }
    entry
}

async fn play(
    cx: &Context,
    session: &Session,
    project: &Project,
    loaded: &Loaded,
    entry: &LoadedPipeline,
    case: &Case,
) -> anyhow::Result<Seen> {
    let endpoint = session.sandbox_endpoint().context("the keeper started no sandbox")?;
    let definition = deploy_with_others(cx, session, project, loaded, entry).await?;
    put_files(cx, session, &endpoint, &case.files).await?;
    let engine = session.engine(cx, Role::Command, None).await?;
    let handle = engine.handle();
    let (run, created) = handle.create(request(cx, definition, case)).await?;
    anyhow::ensure!(created != Created::Refused, "the run could not be made");
    handle.adopt(run).await?;
    let ended = tokio::time::timeout(CASE_LIMIT, handle.ended(run)).await;
    handle.send_notices().await;
    engine.shutdown().await?;
    let mut seen = read(session, entry, run).await?;
    if ended.is_err() {
        seen.stuck = Some(format!("it is {} after {} min", seen.run, CASE_LIMIT.as_secs() / 60));
    }
    let mails = session.attached.as_ref().and_then(|attached| attached.mailbox.clone());
    seen.notices = mailbox::notices(&mails.context("the sandbox has no mailbox")?)?;
    ask(cx, session, entry, case, &endpoint, &mut seen).await?;
    Ok(seen)
}

fn request(
    cx: &Context,
    definition: std::sync::Arc<trunkline_state::run::Definition>,
    case: &Case,
) -> RunRequest {
    RunRequest {
        definition,
        key: case.selected.key.clone(),
        logical_date: case.selected.logical_date,
        interval: case.selected.interval,
        fire_at: case.selected.fire,
        params: case.params.clone(),
        trigger: case.trigger,
        actor: cx.actor(),
    }
}

async fn read(session: &Session, entry: &LoadedPipeline, run: RunId) -> anyhow::Result<Seen> {
    let snapshot = Snapshot::read(&session.store, run).await?;
    Ok(Seen::of_rows(&entry.pipeline, &snapshot.run, &snapshot.tasks, &snapshot.attempts))
}

async fn ask(
    cx: &Context,
    session: &Session,
    entry: &LoadedPipeline,
    case: &Case,
    endpoint: &str,
    seen: &mut Seen,
) -> anyhow::Result<()> {
    if case.expect.queries.is_empty() {
        return Ok(());
    }
    let sandboxed = entry.pipeline.connections.iter().find(|(_, settings)| is_sandbox(settings));
    let (connection, _) = sandboxed.context("the pipeline has no connection to a sandbox")?;
    SandboxCaller::connect(endpoint).await?.make_bucket(RESULTS_BUCKET, cx.now()).await?;
    let clients = clients_of(&entry.pipeline, Some(endpoint));
    for (number, query) in case.expect.queries.iter().enumerate() {
        let private = query.database.as_deref().and_then(|database| database.strip_prefix(PRIVATE));
        seen.rows.push(match private.zip(session.private_postgres()) {
            Some((name, own)) => private_rows(&own, name, query).await,
            None => rows(&session.registry, &clients, connection, query, (number, cx.now())).await,
        });
    }
    Ok(())
}

async fn put_files(cx: &Context, session: &Session, endpoint: &str, files: &[Given]) -> anyhow::Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let mut caller = SandboxCaller::connect(endpoint).await?;
    for given in files {
        match &given.place {
            Place::Bucket { bucket, key } => {
                caller.make_bucket(bucket, cx.now()).await?;
                for (key, body) in objects(key, &given.content)? {
                    caller.put(bucket, &key, &body, cx.now()).await?;
                }
            }
            Place::Database(name) => {
                let own = session.private_postgres().context("the keeper gave no private Postgres")?;
                let pieces = objects("", &given.content)?.into_iter();
                let pieces = pieces.map(|(_, body)| String::from_utf8_lossy(&body).into_owned());
                fill(&own, name, pieces)
                    .await
                    .map_err(|failure| anyhow::anyhow!("{PRIVATE}{name}: {}", failure.message))?;
            }
        }
    }
    Ok(())
}

async fn fill(own: &str, name: &str, pieces: impl Iterator<Item = String> + Send) -> Result<(), Failure> {
    postgres::script(&postgres::private_database(own, name).await?, pieces).await
}

/// The objects that an entry means: one, or those of a folder.
fn objects(key: &str, content: &Content) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let path = match content {
        Content::Text(text) => return Ok(vec![(key.to_owned(), text.clone().into_bytes())]),
        Content::Path(path) => path,
    };
    let cannot = |path: &Path| format!("{} cannot be read", path.display());
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let key = if key.is_empty() || key.ends_with('/') { format!("{key}{name}") } else { key.to_owned() };
        return Ok(vec![(key, fs::read(path).with_context(|| cannot(path))?)]);
    }
    let prefix = key.trim_end_matches('/');
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = vec![path.clone()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| cannot(&next))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let file = entry.path();
                let relative = file.strip_prefix(path).unwrap_or(&file).to_string_lossy().into_owned();
                found.push((format!("{prefix}{relative}"), fs::read(&file).with_context(|| cannot(&file))?));
            }
            anyhow::ensure!(
                found.len() <= OBJECTS_MAX,
                "{} holds more than {OBJECTS_MAX} files",
                path.display()
            );
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &str, content: Content) -> Vec<String> {
        objects(key, &content).unwrap().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_folder_is_its_files_and_a_file_keeps_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        fs::create_dir(path.join("day")).unwrap();
        fs::write(path.join("day/b.json"), "b").unwrap();
        fs::write(path.join("a.json"), "a").unwrap();
        assert_eq!(keys("", Content::Path(path.clone())), ["a.json", "day/b.json"]);
        assert_eq!(keys("in/", Content::Path(path.clone())), ["in/a.json", "in/day/b.json"]);
        assert_eq!(keys("in/", Content::Path(path.join("a.json"))), ["in/a.json"]);
        assert_eq!(keys("in/x", Content::Path(path.join("a.json"))), ["in/x"]);
        assert_eq!(keys("in/x", Content::Text("t".to_owned())), ["in/x"]);
    }
}
