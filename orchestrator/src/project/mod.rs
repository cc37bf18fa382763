//! The project: its root, `trunkline.yaml`, and the environment that a command works in.
//!
//! Here live the keys of the project file and the way from a folder to loaded pipelines. What
//! the keys of a pipeline mean stands in [`crate::definition`]; who connects to what, in
//! `tasks`. The process environment is never read here: a lookup function is passed in.

mod environment;
mod interpolate;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use trunkline_state::pipeline::Notice;
use trunkline_tasks::Registry;

pub use environment::{ENVIRONMENT_KEYS, Environment, SignIn, account_of_role, is_sandbox};

use crate::definition::{
    Diagnostic, Diagnostics, EnvironmentNames, Loaded, Operators, Scope,
    check_names::report_faults,
    common::Common,
    diagnostic::SourceId,
    gather::{Gathered, gather},
    load::{self, find_files, load_all, load_files, parse_text, read_tree, shown},
    lower::check_connection,
    notices::{Lists, ReadNotice, all_notices, place_of},
    reader::{Keys, Reader},
    sent::SentFiles,
    template::{
        check::{Names, check},
        vocabulary::Place,
    },
    timing::retention,
    tree::{Mapping, Node},
};

/// The project file's name.
pub const PROJECT_FILE: &str = "trunkline.yaml";
/// Where pipelines lie when the project file does not say.
pub const PIPELINES_FOLDER: &str = "pipelines";
/// The environment of those who name none.
pub const LOCAL: &str = "local";
/// The keys of the project file.
pub const PROJECT_KEYS: [&str; 12] = [
    "pipelines",
    "pools",
    "defaults",
    "retention",
    "on_success",
    "on_failure",
    "on_late",
    "on_recovery",
    "on_warning",
    "on_retry",
    "environments",
    "$schema",
];
/// Keys that are planned.
const LATER_KEYS: [&str; 1] = ["name"];
/// A project lies at most so many folders above the one that a command is called in.
const PARENTS_MAX: usize = 64;

/// Looks up a variable of the process environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A project in one of its environments.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its folder.
    pub root: PathBuf,
    /// Its project file, if it has one.
    pub file: Option<PathBuf>,
    /// The folder with its pipelines.
    pub pipelines: PathBuf,
    /// The environment.
    pub environment: Environment,
    /// What it says to every pipeline.
    pub scope: Scope,
}

/// The project's root for a command called in `start`: the nearest folder upwards with a
/// project file; without one the nearest with a `pipelines` folder; else `start` itself.
pub fn find_root(start: &Path) -> PathBuf {
    let upwards = || start.ancestors().take(PARENTS_MAX);
    upwards()
        .find(|folder| folder.join(PROJECT_FILE).is_file())
        .or_else(|| upwards().find(|folder| folder.join(PIPELINES_FOLDER).is_dir()))
        .unwrap_or(start)
        .to_owned()
}

impl Project {
    /// Reads the project at `root` for an environment. There is always a project: without a
    /// project file it is the built-in local one. What is wrong stands in the diagnostics.
    pub fn load(root: &Path, environment: &str, lookup: Lookup<'_>) -> (Self, Diagnostics) {
        let mut out = Diagnostics::default();
        let file = root.join(PROJECT_FILE);
        let mut project = Self::built_in(root, environment);
        match fs::symlink_metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if environment != LOCAL {
                    let message =
                        format!("there is no environment `{environment}`: the project has no {PROJECT_FILE}");
                    let help = format!("write {PROJECT_FILE} with `environments: {{ {environment}: … }}`");
                    out.items.push(Diagnostic::general(message).help(help));
                }
            }
            _ => {
                project.file = Some(file.clone());
                match read_tree(&file, root, &mut out) {
                    Some((source, tree)) => project.read(source, &tree, lookup, &mut out),
                    // Nothing is known of vars and connections: pipelines are not blamed.
                    None => project.scope.environments.clear(),
                }
            }
        }
        out.sort();
        (project, out)
    }

    /// Reads a project file from text that was never a file.
    pub fn load_text(root: &Path, text: &[u8], environment: &str, lookup: Lookup<'_>) -> (Self, Diagnostics) {
        let mut out = Diagnostics::default();
        let mut project = Self::built_in(root, environment);
        match parse_text(PROJECT_FILE, &root.join(PROJECT_FILE), text, &mut out) {
            Some((source, tree)) => project.read(source, &tree, lookup, &mut out),
            None => project.scope.environments.clear(),
        }
        out.sort();
        (project, out)
    }

    fn built_in(root: &Path, environment: &str) -> Self {
        let environment = Environment::built_in(environment);
        let names = environment.names();
        let scope = Scope { environments: vec![names], ..environment.scope() };
        let pipelines = root.join(PIPELINES_FOLDER);
        Self { root: root.to_owned(), file: None, pipelines, environment, scope }
    }

    fn read(&mut self, source: SourceId, tree: &Node, lookup: Lookup<'_>, out: &mut Diagnostics) {
        let mut reader = Reader::new(source);
        if let Some(top) = reader.mapping(tree, PROJECT_FILE) {
            reader.check_keys(top, Keys { of: PROJECT_FILE, known: &PROJECT_KEYS, later: &LATER_KEYS });
            self.folder(&mut reader, top);
            let environments =
                environment::environments(&mut reader, top, &self.environment.name.clone(), lookup, out);
            self.environment = environments.chosen;
            let defaults = top
                .get("defaults")
                .map(|entry| Common::defaults(&mut reader, &entry.value))
                .unwrap_or_default();
            if let Some((name, span)) = &defaults.connection {
                check_connection(&mut reader, name, span, &environments.names, "");
            }
            let connection = defaults.connection.as_ref().map(|(name, _)| name.clone());
            let read = all_notices(&mut reader, top, connection.as_deref());
            let notices = Lists::of(|outcome| {
                let list = read.get(outcome).as_deref().unwrap_or_default();
                check_notices(&mut reader, list, place_of(outcome), &environments.names, out)
            });
            let environments = environments.names;
            let retention = top.get("retention").and_then(|entry| retention(&mut reader, entry));
            self.scope = Scope { environments, defaults, retention, notices, ..self.environment.scope() };
        }
        out.items.extend(reader.found);
    }

    fn folder(&mut self, reader: &mut Reader, top: &Mapping) {
        let Some(entry) = top.get("pipelines") else { return };
        let Some(text) = reader.text(entry) else { return };
        let folder = self.root.join(&text);
        if !folder.is_dir() {
            let diagnostic = reader
                .error(&entry.value.span, format!("there is no folder `{text}`"))
                .label("folder of the pipelines")
                .help("name a folder relative to the project file");
            reader.report(diagnostic);
        }
        self.pipelines = folder;
    }
}

/// Loads every pipeline of the project.
pub fn load_pipelines(project: &Project, registry: &Registry) -> Loaded {
    match find_files(&project.pipelines) {
        Ok(files) => load_all(&files, &project.root, &project.scope, &Operators::new(registry))
            .below(&project.pipelines),
        Err(error) => unreadable(&project.pipelines, &project.root, &error),
    }
}

/// Loads the pipelines that a client sent, as if they were this project's.
pub fn load_sent(
    project: &Project,
    sent: &SentFiles,
    others: &BTreeSet<String>,
    registry: &Registry,
) -> Loaded {
    load::load_sent(sent, others, &project.root, &project.scope, &Operators::new(registry))
        .unwrap_or_else(|error| unreadable(&project.pipelines, &project.root, &error))
        .below(&project.pipelines)
}

/// A pipelines folder that nothing can be loaded from.
fn unreadable(pipelines: &Path, root: &Path, error: &io::Error) -> Loaded {
    let folder = shown(pipelines, root);
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        _ => error.to_string(),
    };
    let message = format!("the pipelines folder `{folder}` cannot be read: {reason}");
    let mut loaded = Loaded::default();
    loaded.diagnostics.items.push(Diagnostic::general(message).help("`trunkline init` makes a project"));
    loaded
}

/// The files of a project that make its pipelines, to be sent to a server. Of its project file only
/// the folder counts: everything else there is for the server's own to say.
pub fn gather_pipelines(root: &Path) -> (Gathered, Diagnostics) {
    let mut out = Diagnostics::default();
    let mut project = Project::built_in(root, LOCAL);
    let file = root.join(PROJECT_FILE);
    if fs::symlink_metadata(&file).is_ok()
        && let Some((source, tree)) = read_tree(&file, root, &mut out)
    {
        let mut reader = Reader::new(source);
        if let Some(top) = reader.mapping(&tree, PROJECT_FILE) {
            project.folder(&mut reader, top);
        }
        out.items.extend(reader.found);
    }
    let mut gathered = Gathered::default();
    if !out.has_errors() {
        match find_files(&project.pipelines) {
            Ok(files) => gathered = gather(&files, &project.pipelines, root, &mut out),
            Err(error) => out.absorb(unreadable(&project.pipelines, root, &error).diagnostics),
        }
    }
    out.sort();
    (gathered, out)
}

/// The project and all its pipelines, with everything that is wrong in one place.
pub fn load(root: &Path, environment: &str, lookup: Lookup<'_>, registry: &Registry) -> (Project, Loaded) {
    let (project, found) = Project::load(root, environment, lookup);
    let mut loaded = load_pipelines(&project, registry);
    loaded.diagnostics.absorb(found);
    loaded.diagnostics.sort();
    (project, loaded)
}

/// Loads pipeline files, and the pipeline files of folders, as `validate PATH…` names them.
pub fn load_paths(project: &Project, paths: &[PathBuf], registry: &Registry) -> Loaded {
    let mut files = Vec::new();
    let mut missing = Vec::new();
    for path in paths {
        if path.is_dir() {
            match find_files(path) {
                Ok(found) if found.is_empty() => {
                    missing.push(format!("there is no pipeline.yaml in {}", shown(path, &project.root)));
                }
                Ok(found) => files.extend(found),
                Err(error) => missing.push(format!("{} cannot be read: {error}", shown(path, &project.root))),
            }
        } else {
            files.push(path.clone());
        }
    }
    let mut loaded = load_files(&files, &project.root, &project.scope, &Operators::new(registry));
    loaded.diagnostics.items.extend(missing.into_iter().map(Diagnostic::general));
    loaded.diagnostics.sort();
    loaded
}

/// The project's notices, their templates checked against what every pipeline has.
fn check_notices(
    reader: &mut Reader,
    read: &[ReadNotice],
    place: Place,
    environments: &[EnvironmentNames],
    out: &Diagnostics,
) -> Vec<Notice> {
    let vars: Vec<(&str, Vec<&str>)> = environments
        .iter()
        .map(|one| (one.name.as_str(), one.vars.iter().map(String::as_str).collect()))
        .collect();
    let secrets: Vec<(&str, Vec<&str>)> = environments
        .iter()
        .map(|one| (one.name.as_str(), one.secrets.iter().map(String::as_str).collect()))
        .collect();
    let names = |may_name_secrets: bool| Names {
        data_interval: true,
        params: &[],
        environments: &vars,
        secrets: may_name_secrets.then_some(secrets.as_slice()),
        place,
        links: &[],
        trigger: &[],
        shared: true,
    };
    for one in read {
        for site in &one.sites {
            let links = one.link_names();
            let checked = check(&site.text, &Names { links: &links, ..names(site.secrets) });
            report_faults(reader, &out.sources, site, checked.faults);
        }
        if let Some(place) = &one.place {
            check_connection(reader, &one.notice.connection, place, environments, "notice: ");
        }
    }
    read.iter().map(|one| one.notice.clone()).collect()
}

#[cfg(test)]
mod tests;
