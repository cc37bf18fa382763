//! `cancel`, `retry-now`, `resolve`, `approve`, `pause`, `resume`: a person's word to a run.

use jiff::Timestamp;
use trunkline_state::{ids::RunId, machine::Command, store::StoreError};

use super::{
    carry::{carry_if_needed, command_engine},
    context::{Context, Session},
    exit::{Exit, refuse},
};
use crate::service::{
    Snapshot,
    elements::named,
    find,
    foresee::{ForeseeError, foresee},
    resolve::{self, Fact},
    why::Situation,
};

/// What `cancel` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CancelArgs {
    /// The run: an id, pipeline@date or pipeline@latest
    pub(crate) run: String,
    /// Only this task
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Only show what would be stopped
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What goes with a word that is not asked about: why, and whether only to say what would happen.
#[derive(Debug, clap::Args)]
pub(crate) struct WordArgs {
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Only say what would happen
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `retry-now` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RetryNowArgs {
    /// The run: an id, pipeline@date or pipeline@latest
    pub(crate) run: String,
    /// The task
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) word: WordArgs,
}

/// What `resolve` takes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("fact").required(true))]
pub(crate) struct ResolveArgs {
    /// The run: an id, pipeline@date or pipeline@latest
    pub(crate) run: String,
    /// The task
    pub(crate) task: String,
    /// The job exists and has this id at the service
    #[arg(long, value_name = "ID", group = "fact")]
    pub(crate) handle: Option<String>,
    /// No job exists: it may be started again
    #[arg(long, group = "fact")]
    pub(crate) not_started: bool,
    /// It cannot be found out: the attempt ends as lost
    #[arg(long, group = "fact")]
    pub(crate) lost: bool,
    /// The attempt that you looked at: refused if there is another one by now
    #[arg(long, value_name = "N")]
    pub(crate) attempt: Option<u32>,
    /// When the start that you looked at was sent, as `why` shows it: refused if another was sent since
    #[arg(long, value_name = "TIME")]
    pub(crate) sent: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) word: WordArgs,
}

/// What `approve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ApproveArgs {
    /// The run: an id, pipeline@date or pipeline@latest
    pub(crate) run: String,
    /// The task that waits for a person
    pub(crate) task: String,
    /// Say no instead of yes: the task fails
    #[arg(long)]
    pub(crate) reject: bool,
    /// Why, for the history
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: Option<String>,
    /// Only show what is asked
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `pause` and `resume` take.
#[derive(Debug, clap::Args)]
pub(crate) struct PauseArgs {
    /// A pipeline, or a run: an id or pipeline@date
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) word: WordArgs,
}

/// Stops a run or a task, and waits until that is confirmed.
pub(crate) async fn cancel(cx: &Context, args: &CancelArgs) -> anyhow::Result<Exit> {
    let session = cx.open(&cx.project()?).await?;
    let run = find::run(&session.store, &args.run).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let task = args.task.as_deref().map(|name| find::task(&snapshot.as_run(), name)).transpose()?;
    if args.dry_run {
        let model = snapshot.as_run();
        let concerned = |position: &usize| {
            task.is_none_or(|task| task == *position || task == model.home(*position))
                && !model.tasks[*position].state.is_terminal()
        };
        let open: Vec<usize> = model.present().filter(concerned).collect();
        let words = if open.is_empty() { "nothing".to_owned() } else { named(&model, &open).words };
        cx.output.data(&format!("would be cancelled: {words}"));
        return Ok(Exit::Done);
    }
    let command = Command::Cancel { task, reason: args.reason.clone() };
    ask(cx, &session, run, command).await
}

/// Ends the waiting for a task's next try.
pub(crate) async fn retry_now(cx: &Context, args: &RetryNowArgs) -> anyhow::Result<Exit> {
    let session = cx.open(&cx.project()?).await?;
    let run = find::run(&session.store, &args.run).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let task = find::task(&snapshot.as_run(), &args.task)?;
    say(cx, &session, run, Command::RetryNow { task, reason: args.word.reason.clone() }, args.word.dry_run)
        .await
}

/// Tells what a person knows about an unconfirmed start.
pub(crate) async fn resolve(cx: &Context, args: &ResolveArgs) -> anyhow::Result<Exit> {
    let session = cx.open(&cx.project()?).await?;
    let run = find::run(&session.store, &args.run).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let task = find::task(&snapshot.as_run(), &args.task)?;
    let seen = resolve::seen(&snapshot, task, args.attempt, args.sent);
    let fact = match (&args.handle, args.not_started) {
        (Some(id), _) => Fact::Handle(id.clone()),
        (None, true) => Fact::NotStarted,
        (None, false) => Fact::Lost,
    };
    let Some(resolution) = resolve::resolution(&session.registry, &snapshot, task, fact, cx.now()) else {
        return refuse(format!(
            "a job of {} cannot be named by an id; say --not-started or --lost",
            args.task
        ));
    };
    let reason = args.word.reason.clone();
    say(cx, &session, run, Command::Resolve { task, seen, resolution, reason }, args.word.dry_run).await
}

/// Gives the word that a task waits for.
pub(crate) async fn approve(cx: &Context, args: &ApproveArgs) -> anyhow::Result<Exit> {
    let session = cx.open(&cx.project()?).await?;
    let run = find::run(&session.store, &args.run).await?;
    let snapshot = Snapshot::read(&session.store, run).await?;
    let task = find::task(&snapshot.as_run(), &args.task)?;
    if args.dry_run {
        let word = if args.reject { "rejected" } else { "approved" };
        let situation = Situation::read(&session.store, snapshot, cx.now()).await?;
        cx.output.data(&format!("would be {word}: {}", situation.task(task)));
        return Ok(Exit::Done);
    }
    let command = Command::Decide { task, approved: !args.reject, comment: args.comment.clone() };
    ask(cx, &session, run, command).await
}

/// Pauses or resumes a pipeline (no new run gets a place) or a run (nothing new starts).
pub(crate) async fn pause(cx: &Context, args: &PauseArgs, paused: bool) -> anyhow::Result<Exit> {
    let session = cx.open(&cx.project()?).await?;
    let reason = args.word.reason.clone();
    if args.is_run() {
        let run = find::run(&session.store, &args.name).await?;
        let command = if paused { Command::Pause { reason } } else { Command::Resume { reason } };
        return say(cx, &session, run, command, args.word.dry_run).await;
    }
    let row = find::pipeline(&session.store, &args.name).await?;
    let changed = if args.word.dry_run {
        row.paused != paused
    } else {
        let changed = session.store.set_paused(&row.name, paused, &cx.actor(), reason.as_deref()).await?;
        session.store.hint().await?;
        changed
    };
    args.told(cx, &row.name, paused, changed);
    Ok(Exit::Done)
}

impl PauseArgs {
    /// Whether the name is a run's, not a pipeline's.
    pub(crate) fn is_run(&self) -> bool {
        self.name.contains('@') || self.name.contains('-')
    }

    /// Says how a pipeline stands now, or would.
    pub(crate) fn told(&self, cx: &Context, pipeline: &str, paused: bool, changed: bool) {
        let verb = if self.word.dry_run { "would be" } else { "is" };
        let already = if changed { "" } else { " already" };
        let word = if paused { "paused" } else { "active" };
        cx.output.data(&format!("{pipeline} {verb}{already} {word}"));
        if paused && changed {
            cx.output.note("it fires no more and its queued runs wait; live runs go on");
        }
    }
}

/// A word to a run, or what would come of it.
async fn say(
    cx: &Context,
    session: &Session,
    run: RunId,
    command: Command,
    dry_run: bool,
) -> anyhow::Result<Exit> {
    if !dry_run {
        return ask(cx, session, run, command).await;
    }
    let changes = match foresee(&session.store, run, &cx.actor(), &command, cx.now()).await {
        Ok(changes) => changes,
        Err(ForeseeError::Refused(reason)) => return refuse(reason),
        Err(ForeseeError::Store(error)) => return Err(error.into()),
    };
    if cx.output.json() {
        cx.output.value(&serde_json::json!({ "changes": changes }));
    } else {
        cx.output.data(&changes.join("\n"));
    }
    Ok(Exit::Done)
}

async fn ask(cx: &Context, session: &Session, run: RunId, command: Command) -> anyhow::Result<Exit> {
    let engine = command_engine(cx, session).await?;
    if let Err(error) = engine.handle().ask(run, command, &cx.actor()).await {
        engine.shutdown().await?;
        return match error {
            crate::engine::AskError::Refused(reason) => refuse(reason),
            crate::engine::AskError::Store(StoreError::NotFound { what }) => {
                refuse(format!("there is no {what}"))
            }
            other => Err(other.into()),
        };
    }
    carry_if_needed(cx, session, engine, run).await
}
