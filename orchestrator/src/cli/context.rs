//! What commands work with: the settings, the project, the store and the sandbox behind it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value;
use trunkline_state::{
    pipeline::Pipeline,
    store::{Role, Store},
};
use trunkline_tasks::{Registry, registry::QUARANTINE};

use super::{
    exit::{Reported, refuse},
    listen::TOKEN_FILE,
    output::Output,
    server::Server,
    status::without_password,
};
use crate::{
    clock::{JumpingClock, RandomIds, SharedClock, SharedIds, SystemClock, for_operators},
    config::{Config, variable},
    definition::{Diagnostics, Loaded, LoadedPipeline},
    engine::{
        Engine, EngineOptions, Timing,
        crash::{self, Blow},
        mutant,
    },
    keeper::{Attached, Needs, attach},
    project::{Project, account_of_role, find_root, is_sandbox, load_pipelines},
    service::{
        find::unknown_pipeline,
        mails::Mailbox,
        provision::{Provisioned, Template, provision},
    },
    trace::Settings,
};

/// The folder of a project that holds what belongs to this machine.
pub(crate) const LOCAL_FOLDER: &str = ".trunkline";

/// The environment whose store is brought up to date without being asked.
const LOCAL_ENVIRONMENT: &str = crate::project::LOCAL;

/// What every command gets.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The settings of the process.
    pub(crate) config: Config,
    /// Where words go.
    pub(crate) output: Output,
    /// The present.
    pub(crate) clock: SharedClock,
    /// Fresh ids.
    pub(crate) ids: SharedIds,
}

/// A store, with whatever was started for it; ends its hold on the keeper when dropped.
#[derive(Debug)]
pub(crate) struct Session {
    /// The store.
    pub(crate) store: Store,
    /// The hold on the keeper, if one was needed.
    pub(crate) attached: Option<Attached>,
    pub(crate) registry: Arc<Registry>,
}

impl Context {
    /// The context of this process.
    pub(crate) fn new(config: Config, output: Output) -> Self {
        let clock: SharedClock = match config.clock_jump {
            Some((by, after)) => Arc::new(JumpingClock::new(by, after)),
            None => Arc::new(SystemClock),
        };
        Self { config, output, clock, ids: Arc::new(RandomIds) }
    }

    /// The present.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Who asks, for the history.
    pub(crate) fn actor(&self) -> String {
        format!("user:{}", self.config.actor)
    }

    /// The project's folder.
    pub(crate) fn root(&self) -> anyhow::Result<PathBuf> {
        let named = &self.config.project;
        if !named.is_dir() {
            return refuse(format!(
                "there is no folder {}; name the project with --project",
                named.display()
            ));
        }
        let folder = named.canonicalize().with_context(|| format!("{} cannot be read", named.display()))?;
        Ok(if self.config.project_named { folder } else { find_root(&folder) })
    }

    /// The folder of this machine's own things.
    pub(crate) fn local_folder(&self) -> anyhow::Result<PathBuf> {
        Ok(self.root()?.join(LOCAL_FOLDER))
    }

    /// The project file, in the chosen environment. What is wrong with it ends the command.
    pub(crate) fn project(&self) -> anyhow::Result<Project> {
        let (project, diagnostics) = Project::load(&self.root()?, &self.config.environment, &variable);
        self.report(&diagnostics)?;
        Ok(project)
    }

    /// The operators, ready to start things from this machine.
    pub(crate) fn registry(&self, root: &Path) -> anyhow::Result<Arc<Registry>> {
        let supervisor = std::env::current_exe().context("the path of this program is not known")?;
        Ok(Arc::new(Registry::standard(&trunkline_tasks::Options {
            clock: for_operators(&self.clock),
            quarantine: self.config.scaled(QUARANTINE),
            command_folder: root.join(LOCAL_FOLDER).join("command"),
            scratch_folder: root.join(LOCAL_FOLDER).join("transform"),
            supervisor,
        })))
    }

    /// The project and all its pipelines; what is wrong is in the answer.
    pub(crate) fn pipelines(&self) -> anyhow::Result<(Project, Loaded, Arc<Registry>)> {
        let project = self.project()?;
        let registry = self.registry(&project.root)?;
        let loaded = load_pipelines(&project, &registry);
        Ok((project, loaded, registry))
    }

    /// One pipeline of the project. Mistakes in other files do not matter; if it is not there
    /// and any file has a mistake, those are shown, since it may be in one of them.
    pub(crate) fn pipeline<'a>(&self, loaded: &'a Loaded, name: &str) -> anyhow::Result<&'a LoadedPipeline> {
        if let Some(found) = loaded.get(name) {
            return Ok(found);
        }
        self.report(&loaded.diagnostics)?;
        let known = loaded.pipelines.iter().map(|entry| entry.pipeline.name.as_str());
        Err(unknown_pipeline(name, known, "the project has").into())
    }

    /// Asks a person; where nobody can be asked, refuses.
    pub(crate) async fn agreed(&self, question: &str) -> anyhow::Result<bool> {
        if !self.output.can_ask() {
            return refuse("nobody can be asked here; say it with --yes");
        }
        let question = question.to_owned();
        let asked =
            tokio::task::spawn_blocking(move || inquire::Confirm::new(&question).with_default(true).prompt());
        Ok(matches!(asked.await, Ok(Ok(true))))
    }

    /// The server to ask instead of opening the store, if one is named.
    pub(crate) fn server(&self) -> anyhow::Result<Option<Server>> {
        let Some(named) = &self.config.server else { return Ok(None) };
        let of_project = || {
            let file = self.local_folder().ok()?.join(TOKEN_FILE);
            Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
        };
        Server::new(named.url(), variable("TRUNKLINE_TOKEN"), of_project).map(Some)
    }

    /// Shows diagnostics; errors among them end the command.
    pub(crate) fn report(&self, diagnostics: &Diagnostics) -> anyhow::Result<()> {
        if diagnostics.items.is_empty() {
            return Ok(());
        }
        self.output.note(diagnostics.render(self.output.color()).trim_end());
        if diagnostics.has_errors() { Err(Reported.into()) } else { Ok(()) }
    }

    /// The store of the project's environment, and the sandbox if the environment has one:
    /// the named server, else the private one through the keeper.
    pub(crate) async fn open(&self, project: &Project) -> anyhow::Result<Session> {
        let sandbox = cfg!(feature = "sandbox") && project.environment.uses_sandbox();
        self.open_with(project, sandbox).await
    }

    /// The store alone, for commands that only look.
    pub(crate) async fn open_to_look(&self) -> anyhow::Result<Session> {
        self.open_with(&self.project()?, false).await
    }

    async fn open_with(&self, project: &Project, sandbox: bool) -> anyhow::Result<Session> {
        let named = self.config.store.clone().or_else(|| project.environment.store.clone());
        let needs = Needs { postgres: named.is_none(), sandbox };
        let attached = if needs == Needs::default() {
            None
        } else {
            Some(attach(&project.root.join(LOCAL_FOLDER), needs).await?)
        };
        let private = attached.as_ref().and_then(|attached| attached.database_url.clone());
        let is_private = named.is_none();
        let Some(url) = named.or(private) else {
            return refuse("the keeper gave no private Postgres; name a server with DATABASE_URL or --store");
        };
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return refuse("the store is not a Postgres URL; write postgresql://user@host/database");
        }
        let connected = Store::connect(&url, self.ids.replica_id(), self.config.lax_durability).await;
        let store = connected.with_context(|| format!("cannot open the store {}", without_password(&url)))?;
        let store = store.with_dead_after(self.timing().dead_after);
        if is_private || self.config.environment == LOCAL_ENVIRONMENT {
            store.migrate().await?;
        } else {
            store.check_schema().await?;
        }
        Ok(Session { store, attached, registry: self.registry(&project.root)? })
    }

    /// Every time-like setting of the engine.
    pub(crate) fn timing(&self) -> Timing {
        Timing::default().scaled(self.config.time_ratio)
    }
}

impl Session {
    /// Where connections with `sandbox: true` lead.
    pub(crate) fn sandbox_endpoint(&self) -> Option<String> {
        self.attached.as_ref().and_then(|attached| attached.sandbox_endpoint.clone())
    }

    /// The address of the private Postgres, where that is the store.
    pub(crate) fn private_postgres(&self) -> Option<String> {
        self.attached.as_ref().and_then(|attached| attached.database_url.clone())
    }

    /// Makes this process a replica.
    pub(crate) async fn engine(
        &self,
        cx: &Context,
        role: Role,
        pages: Option<String>,
    ) -> anyhow::Result<Engine> {
        let options = EngineOptions {
            role,
            registry: Arc::clone(&self.registry),
            clock: Arc::clone(&cx.clock),
            ids: Arc::clone(&cx.ids),
            sandbox_endpoint: self.sandbox_endpoint(),
            private_postgres: self.private_postgres(),
            timing: cx.timing(),
            host: cx.config.host.clone(),
            pages,
            traces: Settings::read(&variable).open(),
        };
        crash::arm(Blow::Kill, variable("TRUNKLINE_CRASH_AT").as_deref())?;
        crash::arm(Blow::Stop, variable("TRUNKLINE_STOP_AT").as_deref())?;
        mutant::plant(variable("TRUNKLINE_MUTANT").as_deref())?;
        Ok(Engine::start(self.store.clone(), options).await?)
    }

    /// Whether a `serve` is alive on this store.
    pub(crate) async fn is_served(&self) -> anyhow::Result<bool> {
        Ok(self.store.live_replicas().await?.iter().any(|replica| replica.role == "serve"))
    }

    /// Sees to it that the sandbox has what a pipeline needs.
    pub(crate) async fn provision(
        &self,
        cx: &Context,
        project: &Project,
        pipeline: &LoadedPipeline,
    ) -> anyhow::Result<()> {
        let Some(endpoint) = self.sandbox_endpoint() else { return Ok(()) };
        if !pipeline.pipeline.connections.values().any(is_sandbox) {
            return Ok(());
        }
        let records = project.root.join(LOCAL_FOLDER).join("sandbox").join("provisioned");
        let name = &pipeline.pipeline.name;
        for template in templates(&pipeline.pipeline) {
            let parameters = &project.environment.parameters;
            let done = provision(&endpoint, &pipeline.folder, &template, parameters, &records).await;
            let done = done.with_context(|| format!("{name} could not be provisioned"))?;
            if done == Provisioned::Applied {
                cx.output.note(&format!("sandbox: applied {name}'s {}", template.file()));
            }
        }
        Ok(())
    }
}

/// The sandbox's mailbox, where the environment has a sandbox; whether that runs or not.
pub(crate) fn mailbox(project: &Project) -> Option<Mailbox> {
    let has_sandbox = cfg!(feature = "sandbox") && project.environment.uses_sandbox();
    has_sandbox.then(|| Mailbox::new(project.root.join(LOCAL_FOLDER).join("sandbox").join("mailbox")))
}

/// The templates that a pipeline may have: its own, and one for each connection to the sandbox.
fn templates(pipeline: &Pipeline) -> Vec<Template> {
    let of_connection = |(name, config): (&String, &Value)| {
        let account = config.get("role_arn").and_then(Value::as_str).and_then(account_of_role);
        is_sandbox(config)
            .then(|| Template { connection: Some(name.clone()), account: account.map(str::to_owned) })
    };
    let mut templates = vec![Template::default()];
    templates.extend(pipeline.connections.iter().filter_map(of_connection));
    templates
}
