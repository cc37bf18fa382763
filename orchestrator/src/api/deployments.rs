//! Deployments: what was deployed when, a deployment of files that a client sends, and the way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_state::store::StoreError;

use super::{
    Api,
    pages::{self, Page},
    pipelines::PageQuery,
    problem::{Kind, Problem},
    routes::{Call, Nothing, Routes, outline},
};
use crate::{
    definition::Loaded,
    project::is_sandbox,
    service::{
        deploy::{PipelineChange, compare, foresee_rollback, put},
        receive::ReceiveError,
        rights::Rights,
        token::Scope,
        views::{DeploymentView, DiagnosticView, VersionChange},
    },
};

/// The longest body of a deployment: 5,000 pipelines, the most that a project may have, of 3 KiB each. It is
/// read only for whoever may deploy, and one deployment at a time is made of what was read.
pub(crate) const DEPLOYMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(outline(Scope::Read, "/deployments", "list_deployments", "Deployments, newest first"), list)
        .post(
            outline(
                Scope::Deploy,
                "/deployments",
                "deploy",
                "Make the pipelines of these files current, all or none, in the server's environment",
            )
            .with_body(DEPLOYMENT_BYTES_MAX),
            deploy,
        )
        .post(
            outline(
                Scope::Deploy,
                "/deployments/rollback",
                "roll_back",
                "Make the versions of the deployment before the last one current again",
            )
            .everywhere(),
            roll_back,
        )
}

/// What is to be deployed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployBody {
    /// Texts by path below the pipelines folder (`daily/pipeline.yaml`): every pipeline file, and what their
    /// `file:` settings name. Others are not read.
    #[schemars(extend("minProperties" = 1))]
    files: BTreeMap<String, String>,
    /// Whether pipelines that are not among the files are removed: they fire no more and keep their history.
    prune: bool,
    /// Refuse unless this is the server's environment.
    #[schemars(length(max = 200))]
    environment: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What a deployment changes.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct DeployDone {
    /// Whether this was only a preview.
    pub(crate) dry_run: bool,
    /// What happens to each pipeline.
    pub(crate) changes: Vec<PipelineChange>,
    /// The version of each pipeline, before and now; none in a preview.
    pub(crate) deployed: Vec<VersionChange>,
    /// Pipelines with a connection to the server's sandbox, where nothing was made for them.
    pub(crate) sandbox: Vec<String>,
    /// What somebody should look at, though it forbids nothing.
    pub(crate) diagnostics: Vec<DiagnosticView>,
    /// The same as text, as the commands print it.
    pub(crate) rendered: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RollbackBody {
    /// Refuse unless this is the server's environment.
    #[schemars(length(max = 200))]
    environment: Option<String>,
    /// Only say what would happen.
    #[serde(default)]
    dry_run: bool,
}

/// What a rollback changes.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct RolledBack {
    /// Whether this was only a preview.
    pub(crate) dry_run: bool,
    /// The pipelines whose version changes.
    pub(crate) changes: Vec<VersionChange>,
}

pub(super) async fn list(call: Call<Nothing, PageQuery, Nothing>) -> Result<Page<DeploymentView>, Problem> {
    let limit = pages::limit(call.query.limit)?;
    let below = pages::read_number(call.query.cursor.as_deref())?;
    let rows = call.store.deployments(below, limit + 1).await?;
    Ok(pages::page(rows, limit, |row| row.id.to_string(), DeploymentView::from))
}

async fn deploy(call: Call<Nothing, Nothing, DeployBody>) -> Result<DeployDone, Problem> {
    let (api, store, body) = (call.api, call.store, call.body);
    check_environment(&api, body.environment.as_deref())?;
    // One at a time: what is shown is what is then changed, and only one set of files is being resolved.
    let _turn = api.deploying.lock().await;
    let others = neighbours(&api, &call.visitor.rights).await?;
    let loaded = resolve(&api, body.files, others).await?;
    let found = &loaded.diagnostics;
    if found.has_errors() {
        return Err(Problem::mistakes(found));
    }
    check_folders(&loaded, &call.visitor.rights)?;
    let pipelines: Vec<_> = loaded.pipelines.iter().map(|entry| &entry.pipeline).collect();
    let changes = compare(&store, &pipelines, body.prune).await?;
    let deployed = if body.dry_run {
        Vec::new()
    } else {
        put(&store, &loaded, body.prune, &call.visitor.actor, api.clock.now()).await?
    };
    let in_sandbox = pipelines.iter().filter(|pipeline| pipeline.connections.values().any(is_sandbox));
    Ok(DeployDone {
        dry_run: body.dry_run,
        changes,
        deployed: deployed.into_iter().map(VersionChange::from).collect(),
        sandbox: in_sandbox.map(|pipeline| pipeline.name.to_string()).collect(),
        diagnostics: DiagnosticView::rows(found),
        rendered: found.render(false),
    })
}

/// The files as this server's project has them; on a thread of its own, since thousands of files take long.
async fn resolve(
    api: &Arc<Api>,
    files: BTreeMap<String, String>,
    others: BTreeSet<String>,
) -> Result<Loaded, Problem> {
    let (project, registry) = (api.project.clone(), Arc::clone(&api.registry));
    let resolved = tokio::task::spawn_blocking(move || project.resolve(files, &others, &registry)).await;
    let resolved = resolved.map_err(|error| {
        tracing::error!("definitions that were sent could not be read: {error}");
        Problem::new(Kind::Internal, "the definitions could not be read; the server's log says more")
    })?;
    resolved.map_err(|error| match error {
        ReceiveError::Project(_) => Problem::refused(error.to_string()),
        ReceiveError::Files(_) | ReceiveError::NoPipelines => Problem::invalid(error.to_string()),
    })
}

/// Pipelines that those of some folders may name although they are not among the files: whoever deploys a part
/// of them must be allowed to run what it runs.
async fn neighbours(api: &Api, rights: &Rights) -> Result<BTreeSet<String>, Problem> {
    if rights.hold_everywhere(Scope::Deploy) {
        return Ok(BTreeSet::new());
    }
    let rows = api.whole.seen_by(rights.folders(Scope::Operate)).pipelines().await?;
    Ok(rows.into_iter().filter(|row| !row.removed).map(|row| row.name).collect())
}

/// Refuses files of folders that whoever asks may not deploy to.
fn check_folders(loaded: &Loaded, rights: &Rights) -> Result<(), Problem> {
    let mut outside = loaded.pipelines.iter().filter(|one| !rights.hold_in(&one.below, Scope::Deploy));
    let Some(first) = outside.next() else { return Ok(()) };
    let folders: Vec<_> = rights.folders(Scope::Deploy).into_iter().flatten().collect();
    Err(Problem::new(
        Kind::Forbidden,
        format!(
            "you may deploy to {}, and `{}` lies in `{}`{}; nothing was deployed",
            folders.join(", "),
            first.pipeline.name,
            first.below,
            match outside.count() {
                0 => String::new(),
                more => format!(", and {more} more elsewhere"),
            }
        ),
    ))
}

fn check_environment(api: &Api, wanted: Option<&str>) -> Result<(), Problem> {
    let own = api.environment.as_str();
    match wanted {
        Some(wanted) if wanted != own => Err(Problem::refused(format!(
            "this server's environment is `{own}`, and this is for `{wanted}`: name the server of `{wanted}`, \
             or the environment `{own}`"
        ))),
        _ => Ok(()),
    }
}

async fn roll_back(call: Call<Nothing, Nothing, RollbackBody>) -> Result<RolledBack, Problem> {
    let (api, dry_run) = (call.api, call.body.dry_run);
    check_environment(&api, call.body.environment.as_deref())?;
    let no_way_back = |error| match error {
        StoreError::NotFound { .. } => Problem::refused(error.to_string()),
        other => other.into(),
    };
    let changes = if dry_run {
        foresee_rollback(&call.store).await.map_err(no_way_back)?
    } else {
        let deployed =
            call.store.roll_back(&call.visitor.actor, api.clock.now()).await.map_err(no_way_back)?;
        call.store.hint().await?;
        deployed.into_iter().filter(|change| change.before != change.after).collect()
    };
    Ok(RolledBack { dry_run, changes: changes.into_iter().map(VersionChange::from).collect() })
}
