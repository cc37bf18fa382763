//! Making a data folder with `initdb`: in a scratch folder first, then by rename, so that a data
//! folder is either whole or not there.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::account::{Account, any_known_uid};
use crate::binaries::Binaries;
use crate::error::PostgresError;
use crate::home::Home;
use crate::settings::{DATABASE, Durability, Environment};

/// Makes the data folder. The caller holds the home's lock.
pub async fn create(
    home: &Home,
    binaries: &Binaries,
    durability: Durability,
    environment: &Environment,
) -> Result<(), PostgresError> {
    let scratch = home.root.join("data.new");
    let first = initdb(home, binaries, durability, environment, &scratch, None).await;
    let result = match first {
        // initdb insists on a name for its user, the server does not: in a user namespace where this
        // user is called otherwise, it runs.
        Err(PostgresError::Program { ref cause, .. }) if cause.contains("effective user ID") => {
            match any_known_uid() {
                Some(uid) => {
                    initdb(home, binaries, durability, environment, &scratch, Some(uid)).await.or(first)
                }
                None => first,
            }
        }
        other => other,
    };
    result.map_err(explained)?;
    std::fs::rename(&scratch, &home.data).map_err(PostgresError::file("creating", &home.data))
}

/// Adds what to do about the one failure that a user can only mend outside.
fn explained(error: PostgresError) -> PostgresError {
    match error {
        PostgresError::Program { program, place, cause } if cause.contains("effective user ID") => {
            let fix = "this user id has no name on this system: give it an entry in /etc/passwd, allow user namespaces, or \
                       set DATABASE_URL";
            PostgresError::Program { program, place, cause: format!("{cause}; {fix}") }
        }
        other => other,
    }
}

async fn initdb(
    home: &Home,
    binaries: &Binaries,
    durability: Durability,
    environment: &Environment,
    scratch: &Path,
    renamed: Option<u32>,
) -> Result<(), PostgresError> {
    match std::fs::remove_dir_all(scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(PostgresError::File { action: "removing", path: scratch.to_owned(), source: error });
        }
        _ => {}
    }
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(scratch)
        .map_err(PostgresError::file("creating", scratch))?;
    home.account.own_path(scratch)?;
    let program = binaries.program("initdb");
    let mut command = match renamed {
        None => command_as(&program, binaries, home.account, environment),
        Some(uid) => {
            let mut command = command_as(Path::new("unshare"), binaries, home.account, environment);
            command
                .arg("--user")
                .arg(format!("--map-user={uid}"))
                .arg(format!("--map-group={uid}"))
                .arg(&program);
            command
        }
    };
    command.arg("-D").arg(scratch).args(["-U", DATABASE, "--auth=trust", "--encoding=UTF8", "--locale=C"]);
    if durability == Durability::TestsOnly {
        command.arg("--no-sync");
    }
    let failed =
        |cause: String| PostgresError::Program { program: "initdb", place: home.root.clone(), cause };
    let output = command
        .output()
        .await
        .map_err(|error| failed(format!("{} could not be run: {error}", program.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> =
        words.lines().filter(|line| line.contains("error") || line.contains("FATAL")).collect();
    let cause = if last.is_empty() { words.trim().to_owned() } else { last.join("; ") };
    Err(failed(format!("{cause} ({})", output.status)))
}

/// A command that runs as the server's account, in a folder that it can enter, with nothing of this
/// process's environment but the path.
pub(crate) fn command_as(
    program: &Path,
    binaries: &Binaries,
    account: Account,
    environment: &Environment,
) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").stdin(Stdio::null());
    if let Some(path) = &environment.path {
        command.env("PATH", path);
    }
    if let Some(libraries) = &binaries.libraries {
        command
            .env(if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" }, libraries);
    }
    if account.switch {
        command.uid(account.uid).gid(account.gid);
    }
    // Ctrl-C in a terminal is for the program, not for the database behind it.
    command.process_group(0);
    command
}
