//! The command line: what people type. One file per command; what they do stands in
//! [`crate::service`], how it looks in [`output`].
//!
//! The only place of the product that uses `anyhow`: here every error ends as text and a
//! number ([`exit`]). Nothing here decides anything about runs.

mod access;
mod account;
mod audit;
mod backfill;
mod carry;
mod choice;
mod clear;
mod context;
mod control;
mod database;
mod demo;
mod deploy;
mod deployments;
mod doctor;
mod exit;
mod generate;
mod graph;
mod healthy;
mod hidden;
mod init;
mod listen;
mod logs;
mod mails;
mod many;
mod mark;
mod open;
pub(crate) mod output;
mod pipelines;
mod plan;
mod pools;
mod progress;
mod purge;
mod remote;
mod run;
mod runs;
mod sandbox;
mod scaffold;
mod serve;
mod server;
mod show;
mod source;
mod status;
mod subscribe;
mod summary;
mod test;
mod token;
mod triggers;
mod validate;
mod why;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand, error::ErrorKind};

use self::{context::Context, exit::Exit, remote::Reach};
use crate::config::{Config, Flags, NamedServer, variable};

/// Runs data pipelines on AWS, and on this machine without an account.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 the run failed, 2 invalid usage or definition, 3 cannot reach the store."
)]
struct Cli {
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        help = "Environment of trunkline.yaml [default: local, or TRUNKLINE_ENV]"
    )]
    env: Option<String>,
    /// Folder of the project [default: the nearest one upwards]
    #[arg(long, global = true, value_name = "DIR")]
    project: Option<PathBuf>,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help = "Postgres that holds the runs [default: DATABASE_URL, trunkline.yaml, a private one]"
    )]
    store: Option<String>,
    #[arg(
        long,
        global = true,
        value_name = "URL",
        conflicts_with = "store",
        help = "Ask this server over its API, with the token in TRUNKLINE_TOKEN [default: TRUNKLINE_SERVER]"
    )]
    server: Option<String>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Scaffold a project that runs at once
    Init(init::InitArgs),
    /// The tour on sample data, in a temporary folder, without an account
    Demo(demo::DemoArgs),
    /// Generate sample data
    #[command(subcommand)]
    Generate(generate::GenerateCommand),
    /// Check every pipeline, or the named files; exit 2 if anything is wrong
    Validate(validate::ValidateArgs),
    /// Show what a run would do: interval, tasks, the exact requests; starts nothing
    Plan(plan::PlanArgs),
    /// Run the cases of tests.yaml beside pipelines; exit 1 if one fails
    Test(test::TestArgs),
    /// Look whether everything that pipelines name exists, and their roles may use it; exit 2 if not
    Check(access::CheckArgs),
    /// Subscribe an address to the topics that pipelines' notices go to
    Subscribe(subscribe::SubscribeArgs),
    /// Print the least IAM policy that a pipeline needs
    IamPolicy(access::IamPolicyArgs),
    /// Draw a pipeline
    Graph(graph::GraphArgs),
    /// List what is deployed: how its last runs went, when it fires next; show one
    Pipelines(pipelines::PipelinesArgs),
    /// Print the YAML of what is deployed, or the lines of a task and why it failed
    Source(source::SourceArgs),
    /// Run a pipeline for one date and watch it
    Run(run::RunArgs),
    /// List runs, newest first
    Runs(runs::RunsArgs),
    /// Show one run: tasks, attempts, history
    Show(show::ShowArgs),
    /// Show what a task printed
    Logs(logs::LogsArgs),
    /// Say in one sentence why a run or a task is not further
    Why(why::WhyArgs),
    /// Run tasks of a run again
    Clear(clear::ClearArgs),
    /// Count tasks as succeeded or failed, whatever they did, and go on from there
    Mark(mark::MarkArgs),
    /// Stop a run or a task
    Cancel(control::CancelArgs),
    /// Do not wait for the next try of a task
    RetryNow(control::RetryNowArgs),
    /// Say what became of an unconfirmed start
    Resolve(control::ResolveArgs),
    /// Say yes or no where a task waits for a person
    Approve(control::ApproveArgs),
    /// Start nothing more of a pipeline or a run until resumed
    Pause(control::PauseArgs),
    /// Go on with a paused pipeline or run
    Resume(control::PauseArgs),
    /// Run a range of dates, some at a time
    Backfill(backfill::BackfillArgs),
    /// List backfills; show, follow or cancel one
    Backfills(backfill::BackfillsArgs),
    /// Make the project's pipelines current in the store
    Deploy(deploy::DeployArgs),
    /// List deployments: when, by whom, what they changed
    Deployments(deployments::DeploymentsArgs),
    /// List what people and programs asked for
    Audit(audit::AuditArgs),
    /// Run schedules and runs until stopped
    Serve(serve::ServeArgs),
    /// Open the pages of this project's server in a browser, signed in
    Open(open::OpenArgs),
    /// Make, list and revoke tokens of the API
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make, list and change accounts: people who sign in to the pages with a password
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Ask a server on this machine whether it is ready; exit 0 if it is
    Healthy(healthy::HealthyArgs),
    /// Run the local AWS alone, or look into it
    Sandbox(sandbox::SandboxArgs),
    /// Show pools: how many slots are taken, by whom, and who waits
    Pools(pools::PoolsArgs),
    /// Show which pipelines events make runs of, what waits, and the queues that tell of it
    Triggers(triggers::TriggersArgs),
    /// List the mails that the sandbox delivered; show one
    Mails(mails::MailsArgs),
    /// Show store, sandbox, mailbox and live replicas
    Status,
    /// Stop the project's private Postgres and sandbox
    Stop(status::StopArgs),
    /// Print the JSON Schema of pipeline files, for editors
    Schema(validate::SchemaArgs),
    /// Remove ended runs that are older than the pipelines' retention
    Purge(purge::PurgeArgs),
    /// Check this machine and project, and fix what can be fixed
    Doctor,
    /// Print a completion script
    Completions(CompletionsArgs),
    /// Look after the store
    #[command(subcommand)]
    Db(database::DbCommand),
    #[command(name = "__keeper", hide = true)]
    Keeper(hidden::KeeperArgs),
    #[command(name = "__supervise", hide = true)]
    Supervise(hidden::SuperviseArgs),
    #[command(name = "__sandbox", hide = true)]
    HiddenSandbox(hidden::SandboxServeArgs),
}

/// Which shell.
#[derive(Debug, clap::Args)]
struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Reads the arguments. A server has one environment; to name it is of use only where something is made for it.
fn read(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse_from(arguments)?;
    if cli.server.is_some() && cli.env.is_some() && !matches!(cli.command, Command::Deploy(_)) {
        let message =
            "--env cannot be used with --server but for `deploy`: a server has an environment of its own";
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
    }
    Ok(cli)
}

/// The program: reads the arguments, does what they say, ends with a code.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match read(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors and go to stdout with code 0.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    // Before any thread exists: the supervisor of a command leads a process group of its own.
    if let Command::Supervise(args) = &cli.command {
        return hidden::supervise(args);
    }
    let log_format = match &cli.command {
        Command::Serve(args) => args.log_format,
        _ => LogFormat::Text,
    };
    start_log(matches!(cli.command, Command::Serve(_) | Command::Keeper(_)), log_format);
    let flags = Flags {
        environment: cli.env.clone(),
        project: cli.project.clone(),
        store: cli.store.clone(),
        server: cli.server.clone(),
        json: cli.json,
    };
    let output = output::Output::new(cli.json).in_log(log_format == LogFormat::Json);
    let ended = Config::from_process(flags).map_err(anyhow::Error::from).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(execute(&Context::new(config, output), cli.command));
        // Threads that still block (a question on the terminal) must not hold the process.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.is::<exit::Reported>() {
                output.error(&error);
            }
            ExitCode::from(exit::code_of(&error))
        }
    }
}

async fn execute(cx: &Context, command: Command) -> anyhow::Result<Exit> {
    if let Some(server) = &cx.config.server {
        match (Reach::of(&command), server) {
            (Reach::Server, _) => return Box::pin(remote::execute(cx, command)).await,
            // Who always works with a server goes on checking files beside it.
            (Reach::Files, NamedServer::Variable(_)) => {}
            (Reach::Files | Reach::Store, _) => return remote::refuse_here(server),
        }
    }
    match command {
        Command::Init(args) => init::init(cx, &args),
        Command::Demo(args) => Box::pin(demo::demo(cx, &args)).await,
        Command::Generate(command) => generate::generate(cx, command).await,
        Command::Validate(args) => validate::validate(cx, &args),
        Command::Plan(args) => plan::plan(cx, &args),
        Command::Test(args) => Box::pin(test::test(cx, &args)).await,
        Command::Check(args) => Box::pin(access::check(cx, &args)).await,
        Command::Subscribe(args) => Box::pin(subscribe::subscribe(cx, &args)).await,
        Command::IamPolicy(args) => Box::pin(access::iam_policy(cx, &args)).await,
        Command::Graph(args) => graph::graph(cx, &args),
        Command::Pipelines(args) => pipelines::pipelines(cx, &args).await,
        Command::Source(args) => source::source(cx, &args).await,
        Command::Run(args) => Box::pin(run::run(cx, &args)).await,
        Command::Runs(args) => runs::runs(cx, &args).await,
        Command::Show(args) => show::show(cx, &args).await,
        Command::Logs(args) => logs::logs(cx, &args).await,
        Command::Why(args) => why::why(cx, &args).await,
        Command::Clear(args) => Box::pin(clear::clear(cx, &args)).await,
        Command::Mark(args) => Box::pin(mark::mark(cx, &args)).await,
        Command::Cancel(args) => Box::pin(control::cancel(cx, &args)).await,
        Command::RetryNow(args) => Box::pin(control::retry_now(cx, &args)).await,
        Command::Resolve(args) => Box::pin(control::resolve(cx, &args)).await,
        Command::Approve(args) => Box::pin(control::approve(cx, &args)).await,
        Command::Pause(args) => Box::pin(control::pause(cx, &args, true)).await,
        Command::Resume(args) => Box::pin(control::pause(cx, &args, false)).await,
        Command::Backfill(args) => Box::pin(backfill::backfill(cx, &args)).await,
        Command::Backfills(args) => Box::pin(backfill::backfills(cx, &args)).await,
        Command::Deploy(args) => deploy::deploy(cx, &args).await,
        Command::Deployments(args) => deployments::deployments(cx, &args).await,
        Command::Audit(args) => audit::audit(cx, &args).await,
        Command::Serve(args) => Box::pin(serve::serve(cx, &args)).await,
        Command::Open(args) => open::open(cx, &args),
        Command::Token(command) => token::token(cx, &command).await,
        Command::Account(command) => account::account(cx, &command).await,
        Command::Healthy(args) => healthy::healthy(cx, &args).await,
        Command::Sandbox(args) => sandbox::sandbox(cx, &args).await,
        Command::HiddenSandbox(args) => hidden::sandbox(cx, &args).await,
        Command::Pools(args) => pools::pools(cx, &args).await,
        Command::Triggers(args) => triggers::triggers(cx, &args).await,
        Command::Mails(args) => mails::mails(cx, &args).await,
        Command::Status => status::status(cx).await,
        Command::Stop(args) => status::stop(cx, &args).await,
        Command::Schema(args) => validate::schema(cx, &args),
        Command::Purge(args) => purge::purge(cx, &args).await,
        Command::Doctor => doctor::doctor(cx).await,
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "trunkline", &mut script);
            cx.output.raw(&String::from_utf8_lossy(&script));
            Ok(Exit::Done)
        }
        Command::Db(command) => database::database(cx, &command).await,
        Command::Keeper(args) => hidden::keeper(&args).await,
        Command::Supervise(_) => Ok(Exit::Done),
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for whatever collects them.
    Json,
}

/// Log lines go to stderr: little for commands, the course of things for what runs for long.
fn start_log(long_lived: bool, format: LogFormat) {
    let default = if long_lived { "warn,trunkline=info" } else { "error" };
    let filter = variable("TRUNKLINE_LOG").unwrap_or_else(|| default.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::Output::new(false).color())
        .with_writer(std::io::stderr);
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verify_cli() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_a_deploy_may_say_which_environment_a_server_must_have() {
        let read = |command| {
            read(["trunkline", "--server", "u", "--env", "prod", command].map(OsString::from).to_vec())
        };
        assert!(read("deploy").is_ok());
        assert!(read("runs").unwrap_err().to_string().contains("an environment of its own"));
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli = Cli::try_parse_from(["trunkline", "runs", "--env", "prod", "--json"]).unwrap();
        assert_eq!((cli.env.as_deref(), cli.json), (Some("prod"), true));
    }
}
