//! The settings of this process: what flags and environment variables say.
//!
//! The only place of this crate that reads the process environment. Precedence: flag,
//! environment variable, `trunkline.yaml`, default. Secrets are never printed from here.

use std::{path::PathBuf, time::Duration};

use jiff::SignedDuration;

/// The smallest factor by which time-like settings may be scaled: below it the fault trials'
/// pauses would be shorter than what a scheduler of an operating system can tell apart.
const TIME_RATIO_MIN: f64 = 0.001;

/// What the command line says for every command.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--env`.
    pub environment: Option<String>,
    /// `--project`.
    pub project: Option<PathBuf>,
    /// `--store`.
    pub store: Option<String>,
    /// `--server`.
    pub server: Option<String>,
    /// `--json`.
    pub json: bool,
}

/// The settings of this process.
#[derive(Clone, Debug)]
pub struct Config {
    /// The environment, by default `local`.
    pub environment: String,
    /// The environment, where a flag or a variable named it.
    pub named_environment: Option<String>,
    /// Where to look for the project, by default the working directory.
    pub project: PathBuf,
    /// Whether the project was named by a person.
    pub project_named: bool,
    /// The store from a flag or `DATABASE_URL`; above the one of `trunkline.yaml`.
    pub store: Option<String>,
    /// The server that commands ask over its API instead of opening the store themselves.
    pub server: Option<NamedServer>,
    /// Whether machines read the output.
    pub json: bool,
    /// The factor for every time-like setting of the engine, `1` outside of trials.
    pub time_ratio: f64,
    /// How far the clock of a trial jumps, and after how long; only beside a time ratio.
    pub clock_jump: Option<(SignedDuration, SignedDuration)>,
    /// Whether a server with `fsync` off is accepted: tests and benches of other things.
    pub lax_durability: bool,
    /// Who asks: the user's name, for the history.
    pub actor: String,
    /// This machine's name, for the history.
    pub host: String,
}

/// The URL of a server, and where it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedServer {
    /// By a flag: the command must be for it.
    Flag(String),
    /// By the environment of the shell: commands that need no server go on without.
    Variable(String),
}

impl NamedServer {
    /// The URL, as it was typed.
    pub fn url(&self) -> &str {
        match self {
            Self::Flag(url) | Self::Variable(url) => url,
        }
    }
}

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The working directory is gone.
    #[error("the working directory cannot be read ({0}); name the project with --project")]
    WorkingDirectory(std::io::Error),
    /// A ratio that is not one.
    #[error("TRUNKLINE_TIME_RATIO is `{0}`; it must be a number from {TIME_RATIO_MIN} to 1")]
    TimeRatio(String),
    /// A jump that is none, or outside of a trial.
    #[error(
        "TRUNKLINE_CLOCK_JUMP is `{0}`; it must be MILLISECONDS@AFTER_MILLISECONDS, beside TRUNKLINE_TIME_RATIO"
    )]
    ClockJump(String),
}

impl Config {
    /// Reads the process environment and puts the flags above it.
    pub fn from_process(flags: Flags) -> Result<Self, ConfigError> {
        Self::read(flags, variable)
    }

    fn read(flags: Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let project_named = flags.project.is_some();
        let project = match flags.project {
            Some(project) => project,
            None => std::env::current_dir().map_err(ConfigError::WorkingDirectory)?,
        };
        let time_ratio = match variable("TRUNKLINE_TIME_RATIO") {
            None => 1.0,
            Some(text) => match text.parse::<f64>() {
                Ok(ratio) if (TIME_RATIO_MIN..=1.0).contains(&ratio) => ratio,
                _ => return Err(ConfigError::TimeRatio(text)),
            },
        };
        let clock_jump = match variable("TRUNKLINE_CLOCK_JUMP") {
            None => None,
            // A clock that lies has no place outside of trials, whose time is scaled.
            Some(text) => match clock_jump(&text) {
                Some(jump) if time_ratio < 1.0 => Some(jump),
                _ => return Err(ConfigError::ClockJump(text)),
            },
        };
        let store_named = flags.store.is_some();
        let environment = flags.environment.or_else(|| variable("TRUNKLINE_ENV"));
        Ok(Self {
            named_environment: environment.clone(),
            environment: environment.unwrap_or_else(|| "local".to_owned()),
            project,
            project_named,
            store: flags.store.or_else(|| variable("DATABASE_URL")),
            // A store that was named is meant, whatever the environment of the shell says.
            server: flags
                .server
                .map(NamedServer::Flag)
                .or_else(|| variable("TRUNKLINE_SERVER").filter(|_| !store_named).map(NamedServer::Variable)),
            json: flags.json,
            time_ratio,
            clock_jump,
            lax_durability: variable("TRUNKLINE_LAX_DURABILITY").is_some_and(|text| text == "1"),
            actor: variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(user_id),
            host: host_name(),
        })
    }

    /// A time-like setting, scaled for trials.
    pub fn scaled(&self, nominal: Duration) -> Duration {
        nominal.mul_f64(self.time_ratio)
    }
}

fn clock_jump(text: &str) -> Option<(SignedDuration, SignedDuration)> {
    let (by, after) = text.split_once('@')?;
    let after = after.parse::<u32>().ok()?;
    Some((SignedDuration::from_millis(by.parse().ok()?), SignedDuration::from_millis(after.into())))
}

/// A variable of the process environment, for `${VAR}` in `trunkline.yaml`. Empty and unset
/// are the same; so are unset and not Unicode.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that reads the process environment"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// For people without a name: containers, services.
fn user_id() -> String {
    format!("uid-{}", rustix::process::getuid().as_raw())
}

/// The kernel's own word where it shows one in a file, else what the shell says.
fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    name.or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: Flags, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Config::read(flags, find)
    }

    #[test]
    fn a_flag_stands_above_a_variable() {
        let variables = [("DATABASE_URL", "postgres://v"), ("TRUNKLINE_ENV", "dev")];
        let config = read(Flags::default(), &variables).unwrap();
        assert_eq!((config.environment.as_str(), config.store.as_deref()), ("dev", Some("postgres://v")));
        let flags = Flags {
            environment: Some("prod".to_owned()),
            store: Some("postgres://f".to_owned()),
            ..Flags::default()
        };
        let config = read(flags, &variables).unwrap();
        assert_eq!((config.environment.as_str(), config.store.as_deref()), ("prod", Some("postgres://f")));
    }

    #[test]
    fn a_server_of_the_shell_gives_way_to_a_store_that_was_named() {
        let variables = [("TRUNKLINE_SERVER", "https://v")];
        let server = |flags| read(flags, &variables).unwrap().server;
        assert_eq!(server(Flags::default()), Some(NamedServer::Variable("https://v".to_owned())));
        let flag = Flags { server: Some("https://f".to_owned()), ..Flags::default() };
        assert_eq!(server(flag), Some(NamedServer::Flag("https://f".to_owned())));
        assert_eq!(server(Flags { store: Some("postgres://f".to_owned()), ..Flags::default() }), None);
    }

    #[test]
    fn a_clock_jumps_in_trials_only() {
        let jump = ("TRUNKLINE_CLOCK_JUMP", "-1500@200");
        let config = read(Flags::default(), &[jump, ("TRUNKLINE_TIME_RATIO", "0.1")]).unwrap();
        let millis = SignedDuration::from_millis;
        assert_eq!(config.clock_jump, Some((millis(-1500), millis(200))));
        assert!(matches!(read(Flags::default(), &[jump]), Err(ConfigError::ClockJump(_))));
        let wrong = [("TRUNKLINE_CLOCK_JUMP", "soon"), ("TRUNKLINE_TIME_RATIO", "0.1")];
        assert!(matches!(read(Flags::default(), &wrong), Err(ConfigError::ClockJump(_))));
    }

    #[test]
    fn a_ratio_is_a_fraction() {
        assert!(read(Flags::default(), &[("TRUNKLINE_TIME_RATIO", "0.02")]).is_ok());
        for wrong in ["0", "2", "fast", "NaN", "-1"] {
            let refused = read(Flags::default(), &[("TRUNKLINE_TIME_RATIO", wrong)]).unwrap_err();
            assert!(refused.to_string().contains(wrong), "{refused}");
        }
    }
}
