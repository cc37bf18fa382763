//! Definitions that a client sent, as the server's own project has them.
//!
//! What a definition means follows from the environment: its vars, connections, pools and defaults. Those are
//! the server's alone, read again from its project file each time, as every command reads them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use trunkline_tasks::Registry;

use crate::{
    definition::{
        Loaded,
        sent::{SentError, SentFiles},
    },
    project::{PROJECT_FILE, Project, load_sent},
};

/// The project of a server.
#[derive(Clone, Debug)]
pub struct OwnProject {
    /// Its folder.
    pub root: PathBuf,
    /// The environment that it serves.
    pub environment: String,
    /// Whether it had a project file when it began.
    pub has_file: bool,
    /// Where `${…}` of the project file is looked up.
    pub lookup: fn(&str) -> Option<String>,
}

/// Why nothing could be made of what was sent.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The files themselves.
    #[error(transparent)]
    Files(#[from] SentError),
    /// No definition at all: with pruning, that would remove every pipeline.
    #[error("there is no pipeline.yaml among the files; send those below the pipelines folder")]
    NoPipelines,
    /// The server's own project cannot be used at this moment.
    #[error("{0}; nothing is deployed until that is repaired on the server")]
    Project(String),
}

impl OwnProject {
    /// Resolves files by their path below the pipelines folder. Mistakes in them are in the answer. They may name
    /// `others` too, which are not among them.
    pub fn resolve(
        &self,
        files: BTreeMap<String, String>,
        others: &BTreeSet<String>,
        registry: &Registry,
    ) -> Result<Loaded, ReceiveError> {
        let project = self.read()?;
        let sent = SentFiles::below(&project.pipelines, files)?;
        if sent.has_no_pipeline() {
            return Err(ReceiveError::NoPipelines);
        }
        Ok(load_sent(&project, &sent, others, registry))
    }

    /// The project as it is now. Its mistakes are not shown to clients: a line of it may hold a password.
    fn read(&self) -> Result<Project, ReceiveError> {
        let (project, found) = Project::load(&self.root, &self.environment, &self.lookup);
        if self.has_file && project.file.is_none() {
            return Err(ReceiveError::Project(format!("the server's {PROJECT_FILE} is gone")));
        }
        if !found.has_errors() {
            return Ok(project);
        }
        for row in found.rows() {
            tracing::warn!("{PROJECT_FILE}, line {}: {}", row.line.unwrap_or_default(), row.message);
        }
        Err(ReceiveError::Project(format!(
            "the server's {PROJECT_FILE} has mistakes for environment `{}`, and its log says which",
            self.environment
        )))
    }
}

#[cfg(test)]
mod tests {
    use trunkline_tasks::Options;

    use super::*;

    const PROJECT: &str = "
environments:
  local: {}
  prod:
    store: \"postgres://u:hunter2@h/${NAME}\"
    connections: { aws: { type: aws, region: us-east-1 } }
    vars: { topic: p }
";

    fn own(root: &std::path::Path, lookup: fn(&str) -> Option<String>) -> OwnProject {
        OwnProject { root: root.to_owned(), environment: "prod".to_owned(), has_file: true, lookup }
    }

    fn sent(files: &[(&str, &str)]) -> BTreeMap<String, String> {
        files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn what_is_sent_is_what_the_same_folder_is() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(PROJECT_FILE), PROJECT).unwrap();
        let registry = Registry::standard(&Options::for_looking());
        let prod: fn(&str) -> Option<String> = |_| Some("d".to_owned());
        let files = [
            ("a/pipeline.yaml", "name: a\ntasks:\n  x: { type: athena_query, query: 'file:x.sql' }\n"),
            ("a/x.sql", "select '{{ vars.topik }}'"),
            ("a/y.sql", "select 1"),
            ("b/pipeline.yaml", "name: b\ntasks:\n  x: { type: athena_query, query: 'file:z.sql' }\n"),
            ("b/y.sql", "select 1"),
            ("c/pipeline.yaml", "name: c\ntasks:\n  x: { type: noop, command: '{{ vars.topic }}' }\n"),
        ];
        let there = own(root.path(), prod).resolve(sent(&files), &BTreeSet::new(), &registry).unwrap();
        for (path, text) in files {
            let file = root.path().join("pipelines").join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let (_, here) = crate::project::load(root.path(), "prod", &prod, &registry);
        let text = here.diagnostics.render(false);
        assert!(text.contains("pipelines/a/x.sql") && text.contains("y.sql"), "{text}");
        assert_eq!(there.diagnostics.render(false), text);
        let named = |loaded: &Loaded| -> Vec<_> {
            loaded.pipelines.iter().map(|entry| (entry.pipeline.content_hash(), entry.file.clone())).collect()
        };
        assert_eq!(named(&there), named(&here));
    }

    #[test]
    fn mistakes_of_the_server_s_own_project_are_not_shown_to_clients() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(PROJECT_FILE), PROJECT).unwrap();
        let registry = Registry::standard(&Options::for_looking());
        let files = || sent(&[("a/pipeline.yaml", "name: a\ntasks: { x: { type: noop } }\n")]);
        let refused =
            own(root.path(), |_| None).resolve(files(), &BTreeSet::new(), &registry).unwrap_err().to_string();
        assert!(refused.contains("environment `prod`") && !refused.contains("hunter2"), "{refused}");
        std::fs::remove_file(root.path().join(PROJECT_FILE)).unwrap();
        let gone =
            own(root.path(), |_| None).resolve(files(), &BTreeSet::new(), &registry).unwrap_err().to_string();
        assert!(gone.contains("is gone"), "{gone}");
        let local =
            OwnProject { environment: "local".to_owned(), has_file: false, ..own(root.path(), |_| None) };
        assert_eq!(local.resolve(files(), &BTreeSet::new(), &registry).unwrap().pipelines.len(), 1);
        let none = local.resolve(sent(&[("a/x.sql", "")]), &BTreeSet::new(), &registry).unwrap_err();
        assert!(matches!(none, ReceiveError::NoPipelines));
    }
}
