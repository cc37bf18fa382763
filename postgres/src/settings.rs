//! What a caller may choose about a private server. The process environment is read here and
//! nowhere else in this crate; below this file everything is an argument.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Connections the server accepts. Covers the pools of a `serve`, several commands and psql; a
/// backend costs about 2 MB only when used.
pub const CONNECTIONS: u16 = 100;

/// The database and the superuser's name: one word, so that the URL explains itself.
pub const DATABASE: &str = "trunkline";

/// As root, where data folders are made. The server's account can go there.
pub const ROOT_BASE: &str = "/var/lib/trunkline";

/// What happens to committed data when the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// `fsync` on: what was committed stays committed. The only choice for data anybody wants.
    Full,
    /// `fsync` off: a power failure may destroy the folder; a crash of the server may not. For tests.
    TestsOnly,
}

/// Whose binaries may be used for a new data folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BinaryChoice {
    /// The machine's own, else the pinned package.
    Any,
    /// Only the machine's own.
    Installed,
    /// Only the pinned package.
    Wheel,
    /// Those in this `bin` folder.
    Folder(PathBuf),
}

/// What the user said through environment variables.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `TRUNKLINE_POSTGRES_BIN`: use the binaries of this folder, or, for the word `wheel`, the pinned
    /// package's even where others are installed.
    pub bin: Option<PathBuf>,
    /// `TRUNKLINE_POSTGRES_USER`: as root, run the server as this account.
    pub user: Option<String>,
    /// `TRUNKLINE_POSTGRES_DOWNLOAD` is anything but `never` (or unset).
    pub may_download: bool,
    /// `TRUNKLINE_POSTGRES_BASE`: as root, where data folders are made, instead of [`ROOT_BASE`].
    pub base: Option<PathBuf>,
    /// `XDG_CACHE_HOME`, else `HOME/.cache`.
    pub cache: Option<PathBuf>,
    /// `PATH`, handed on to the server's own programs.
    pub path: Option<OsString>,
}

impl Environment {
    /// Reads the variables of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place of this crate that reads settings")]
    pub fn of_process() -> Self {
        Self::of(|name| std::env::var_os(name))
    }

    /// Reads variables by `look_up`.
    pub fn of(look_up: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| look_up(name).filter(|value| !value.is_empty());
        let absolute = |name: &str| text(name).map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            bin: text("TRUNKLINE_POSTGRES_BIN").map(PathBuf::from),
            user: text("TRUNKLINE_POSTGRES_USER").and_then(|value| value.into_string().ok()),
            may_download: text("TRUNKLINE_POSTGRES_DOWNLOAD").is_none_or(|value| value != "never"),
            base: absolute("TRUNKLINE_POSTGRES_BASE"),
            cache: absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache"))),
            path: text("PATH"),
        }
    }
}

/// Everything [`crate::start`] needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The project's `.trunkline` folder (or, for a test, any folder of its own). It is created if
    /// it is missing; the server's files lie in it or, as root, where it points to.
    pub folder: PathBuf,
    /// What a power failure may cost.
    pub durability: Durability,
    /// `max_connections`.
    pub connections: u16,
    /// Whose binaries a new data folder is made with.
    pub binaries: BinaryChoice,
    /// What the user said.
    pub environment: Environment,
    /// As root, where data folders are made: each project gets a folder in it.
    pub root_base: PathBuf,
}

impl Options {
    /// The ordinary choice for a project, with the user's environment variables.
    pub fn for_folder(folder: &Path) -> Self {
        Self::with(folder, Environment::of_process())
    }

    /// The ordinary choice for a project.
    pub fn with(folder: &Path, environment: Environment) -> Self {
        let binaries = match environment.bin.clone() {
            None => BinaryChoice::Any,
            Some(word) if word.as_os_str() == "wheel" => BinaryChoice::Wheel,
            Some(folder) => BinaryChoice::Folder(folder),
        };
        Self {
            folder: folder.to_owned(),
            durability: Durability::Full,
            connections: CONNECTIONS,
            binaries,
            root_base: environment.base.clone().unwrap_or_else(|| PathBuf::from(ROOT_BASE)),
            environment,
        }
    }
}
