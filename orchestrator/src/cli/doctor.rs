//! `doctor`: what is wrong with this machine or project, and what was repaired.

use trunkline_postgres::{BinaryChoice, settings::Environment};

use super::{
    context::{Context, LOCAL_FOLDER},
    exit::Exit,
    output::{bold, dim},
    validate::counted,
};
use crate::{
    config::variable,
    engine::chain,
    keeper,
    project::{Project, load_pipelines},
    service::sandbox,
    trace::Settings,
};

/// What became of one check.
enum Finding {
    Good(String),
    Bad { what: String, cure: String },
}

/// Checks, repairs what can be repaired, says the rest.
pub(crate) async fn doctor(cx: &Context) -> anyhow::Result<Exit> {
    let root = cx.root()?;
    let mut findings = vec![
        ("project", project(cx, &root)),
        ("postgres", binaries(cx)),
        ("folder", writable(&root)),
        ("traces", traces()),
    ];
    let (loaded, diagnostics) = Project::load(&root, &cx.config.environment, &variable);
    if !diagnostics.has_errors() {
        findings.push(("keeper", left_behind(&root).await));
        match cx.open(&loaded).await {
            Ok(session) => {
                findings.push(("store", Finding::Good("answers; its schema is up to date".to_owned())));
                if let Some(endpoint) = session.sandbox_endpoint() {
                    findings.push(("sandbox", sandbox_health(&endpoint).await));
                }
                session.store.forget_dead_replicas().await?;
                findings.push(("clock", clock(cx, &session.store).await));
            }
            Err(error) => {
                let text: Vec<String> = error.chain().map(ToString::to_string).collect();
                let cure = "see .trunkline/keeper.log, or name a server with DATABASE_URL".to_owned();
                findings.push(("store", Finding::Bad { what: text.join(": "), cure }));
            }
        }
    }
    let mut healthy = true;
    for (name, finding) in &findings {
        match finding {
            Finding::Good(what) => cx.output.data(&format!("ok   {name:9} {what}")),
            Finding::Bad { what, cure } => {
                healthy = false;
                cx.output.data(&format!("{}  {name:9} {what}\n               {}", bold("bad"), dim(cure)));
            }
        }
    }
    Ok(if healthy { Exit::Done } else { Exit::Invalid })
}

fn project(cx: &Context, root: &std::path::Path) -> Finding {
    let (project, mut diagnostics) = Project::load(root, &cx.config.environment, &variable);
    let Ok(registry) = cx.registry(root) else {
        return bad("the path of this program is not known", "start it by its full path");
    };
    let loaded = load_pipelines(&project, &registry);
    let count = loaded.pipelines.len();
    diagnostics.absorb(loaded.diagnostics);
    if diagnostics.has_errors() {
        let (errors, _) = diagnostics.counts();
        return bad(
            &format!("{} in {}", counted(errors, "error"), root.display()),
            "`trunkline validate` shows them",
        );
    }
    if count == 0 {
        return bad(
            &format!("{} has no pipelines", root.display()),
            "`trunkline init DIR` makes a project that runs",
        );
    }
    Finding::Good(format!("{} valid in {}", counted(count, "pipeline"), root.display()))
}

fn binaries(cx: &Context) -> Finding {
    if cx.config.store.is_some() {
        return Finding::Good("not needed: a store is named".to_owned());
    }
    // Looking is enough here: nothing is downloaded before it is needed.
    let is_root = rustix::process::geteuid().is_root();
    let environment = Environment { may_download: false, ..Environment::of_process() };
    match trunkline_postgres::find_binaries(&BinaryChoice::Any, None, &environment, is_root) {
        Ok(found) => Finding::Good(format!("PostgreSQL {} in {}", found.major, found.bin.display())),
        Err(error) => {
            bad(&chain(&error), "install PostgreSQL 14 or newer, or name a server with DATABASE_URL")
        }
    }
}

fn writable(root: &std::path::Path) -> Finding {
    let folder = root.join(LOCAL_FOLDER);
    let probe = folder.join(".doctor");
    let tried = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(&probe, ""))
        .and_then(|()| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => Finding::Good(format!("{} can be written", folder.display())),
        Err(error) => {
            bad(&format!("{} cannot be written: {error}", folder.display()), "check its owner and the disk")
        }
    }
}

/// Whether this program has OpenTelemetry, and what it does with it. Never bad: runs do without.
fn traces() -> Finding {
    let settings = Settings::read(&variable);
    Finding::Good(match (&settings, settings.shown()) {
        (_, Some(address)) => format!("go to {address}"),
        (Settings::Refused(why), _) => why.clone(),
        _ if cfg!(feature = "otel") => "off: OTEL_EXPORTER_OTLP_ENDPOINT names no receiver".to_owned(),
        _ => "none: this program was built without OpenTelemetry".to_owned(),
    })
}

/// A Postgres whose keeper was killed is harmless, but nobody ends it: repaired here.
async fn left_behind(root: &std::path::Path) -> Finding {
    let folder = root.join(LOCAL_FOLDER);
    match keeper::status(&folder) {
        Ok(status) if status.kept.is_some() => Finding::Good("runs".to_owned()),
        Ok(status) if status.in_use => Finding::Good("is about to start".to_owned()),
        Ok(_) => match keeper::stop(&folder, false).await {
            Ok(keeper::Stopped::LeftBehind) => {
                Finding::Good("repaired: ended a Postgres that a killed keeper had left behind".to_owned())
            }
            Ok(_) => Finding::Good("not running; it starts when it is needed".to_owned()),
            Err(error) => bad(&chain(&error), "see .trunkline/keeper.log"),
        },
        Err(error) => bad(&chain(&error), "see .trunkline/keeper.log"),
    }
}

async fn sandbox_health(endpoint: &str) -> Finding {
    match sandbox::call(endpoint, "GET", "/_sandbox/health", None).await {
        Ok(_) => Finding::Good(format!("answers on {endpoint}")),
        Err(error) => bad(&chain(&error), "`trunkline stop --force`, then try again"),
    }
}

/// Clocks affect when, not whether; a large difference still confuses people.
async fn clock(cx: &Context, store: &trunkline_state::store::Store) -> Finding {
    match store.now().await {
        Ok(theirs) => {
            let apart = cx.now().duration_since(theirs).abs();
            if apart.as_secs() < 5 {
                Finding::Good("agrees with the database's".to_owned())
            } else {
                bad(
                    &format!("differs from the database's by {} s", apart.as_secs()),
                    "synchronise this machine's clock",
                )
            }
        }
        Err(error) => bad(&chain(&error), "see the store above"),
    }
}

fn bad(what: &str, cure: &str) -> Finding {
    Finding::Bad { what: what.to_owned(), cure: cure.to_owned() }
}
