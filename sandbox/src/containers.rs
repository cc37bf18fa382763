//! Containers as programs of this machine, by rules that can be said in three lines:
//!
//! 1. If provisioning gave a script (`Metadata.Trunkline.Sandbox.Script` of the task or job definition), it runs in
//!    place of the image: `python3 script ARGUMENTS` (or `sh script ARGUMENTS` for `.sh`), with the command for arguments.
//! 2. Otherwise the entry point and the command are run as they are, with this machine's programs; `python` is
//!    `python3`. The image is not looked at.
//! 3. Without a script and without a command the container cannot start: the sandbox pulls no images.
//!
//! A container runs in an empty folder of its own, with its variables, and with the sandbox for its AWS.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::path::Path;

use serde_json::Value;

use crate::process::{self, Program, Script};
use crate::world::World;

/// The most containers that run at once, over all services: each is a process, and a laptop has few cores.
pub(crate) const RUNNING_MAX: usize = 32;

/// A container to be run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Container {
    pub image: String,
    pub entry_point: Vec<String>,
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub script: Option<Script>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ended {
    /// With this code.
    Exited(i32),
    /// It could not be started, for this reason.
    NotStarted(String),
}

/// Runs a container to its end, its output appended to a file. Dropping the future kills it.
pub(crate) async fn run(world: &World, container: &Container, folder: &Path, log: &Path) -> Ended {
    let root = folder.join("root");
    match prepared(container, folder, &root, log) {
        Err(reason) => Ended::NotStarted(reason),
        Ok(program) => match process::run(world, program).await {
            Ok(status) => Ended::Exited(process::exit_code(status)),
            Err(error) => {
                let what = container.entry_point.first().or(container.command.first());
                let what = what.map_or("the script", String::as_str);
                Ended::NotStarted(format!("CannotStartContainerError: {what}: {error}"))
            }
        },
    }
}

fn prepared(container: &Container, folder: &Path, root: &Path, log: &Path) -> Result<Program, String> {
    let command = command_of(container, folder)?;
    let fail = |error: std::io::Error| format!("CannotCreateContainerError: {error}");
    fs::create_dir_all(root).map_err(fail)?;
    if let Some(script) = &container.script {
        fs::write(folder.join(script.file_name()), &script.content).map_err(fail)?;
    }
    if let Some(above) = log.parent() {
        fs::create_dir_all(above).map_err(fail)?;
    }
    let stdout = OpenOptions::new().create(true).append(true).open(log).map_err(fail)?;
    let stderr = stdout.try_clone().map_err(fail)?;
    let mut environment = container.environment.clone();
    environment.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
    Ok(Program { command, current: root.to_owned(), folder: folder.to_owned(), environment, stdout, stderr })
}

fn command_of(container: &Container, folder: &Path) -> Result<Vec<OsString>, String> {
    let own = container.entry_point.iter().chain(&container.command);
    if let Some(script) = &container.script {
        let mut command = script.command(&folder.join(script.file_name()));
        command.extend(container.command.iter().map(OsString::from));
        return Ok(command);
    }
    let mut command: Vec<OsString> = own.map(OsString::from).collect();
    match command.first_mut() {
        Some(first) if first == "python" => *first = "python3".into(),
        Some(_) => {}
        None => {
            return Err(format!(
                "CannotPullContainerError: the sandbox pulls no images and `{}` has no command here: give one, or a \
                 script in Metadata.Trunkline.Sandbox.Script of the definition",
                container.image
            ));
        }
    }
    Ok(command)
}

/// The texts of a list member.
pub(crate) fn texts(value: &Value, member: &str) -> Vec<String> {
    let list = value.get(member).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The pairs of an `environment` member: `[{name, value}]`.
pub(crate) fn environment(value: &Value) -> Vec<(String, String)> {
    let list = value.get("environment").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|pair| {
            Some((pair.get("name")?.as_str()?.to_owned(), pair.get("value")?.as_str()?.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules() {
        let folder = Path::new("/f");
        let words = |container: &Container| -> Result<Vec<String>, String> {
            let command = command_of(container, folder)?;
            Ok(command.into_iter().map(|word| word.to_string_lossy().into_owned()).collect())
        };
        let mut container = Container { image: "repo/etl:3".into(), ..Container::default() };
        assert!(words(&container).unwrap_err().contains("`repo/etl:3` has no command"));
        container.entry_point = vec!["python".into(), "-m".into()];
        container.command = vec!["etl".into()];
        assert_eq!(words(&container).unwrap(), ["python3", "-m", "etl"]);
        container.script = Some(Script { name: "jobs/etl.py".into(), content: String::new() });
        assert_eq!(words(&container).unwrap(), ["python3", "/f/etl.py", "etl"]);
        container.script = Some(Script { name: "etl.sh".into(), content: String::new() });
        assert_eq!(words(&container).unwrap(), ["sh", "/f/etl.sh", "etl"]);
    }

    #[test]
    fn variables_are_pairs() {
        let value = serde_json::json!({"environment": [{"name": "A", "value": "1"}, {"name": "B"}]});
        assert_eq!(environment(&value), [("A".to_owned(), "1".to_owned())]);
    }
}
