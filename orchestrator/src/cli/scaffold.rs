//! The files of a new project: embedded at build time, so that a binary alone is enough.

mod shipped;

use std::{fs, io, path::Path};

pub(crate) use shipped::{SHIPPED, files_of};

/// A file of a scaffold: its path in the project and its text.
pub(crate) type Entry = (&'static str, &'static str);

/// The project file of the shipped pipelines.
pub(crate) const PROJECT: Entry = ("trunkline.yaml", include_str!("../../../trunkline.yaml"));

/// The smallest project: one pipeline that needs nothing but this machine.
pub(crate) const HELLO: [Entry; 4] = [
    (
        "trunkline.yaml",
        "# The project: where the pipelines are, and what they are connected to in each environment.\n\
         pipelines: pipelines\n\
         \n\
         environments:\n  \
           # The default: everything on this machine, with a local AWS that really executes.\n  \
           local:\n    \
             connections:\n      \
               aws: { sandbox: true }\n    \
             vars: {}\n",
    ),
    (
        "pipelines/hello/pipeline.yaml",
        "name: hello\n\
         description: Two commands, one after the other.\n\
         schedule: \"0 6 * * *\"        # every day at six, for the day before\n\
         timezone: UTC\n\
         data_interval: day\n\
         catchup: last\n\
         \n\
         params:\n  \
           greeting: { type: string, default: Hello }\n\
         \n\
         defaults: { connection: aws, retries: 1, retry_delay: 10s }\n\
         \n\
         tasks:\n  \
           greet:\n    \
             type: command\n    \
             command: [echo, \"{{ params.greeting }}, this run covers {{ ds }}\"]\n  \
           count:\n    \
             type: command\n    \
             depends_on: greet\n    \
             # The last line of output, if it is a JSON object, becomes the task's outputs.\n    \
             command: [echo, '{\"rows\": 42}']\n",
    ),
    (
        "pipelines/hello/tests.yaml",
        "# What hello does, tried without starting anything: trunkline test\n\
         cases:\n  \
           a day is greeted and counted:\n    \
             date: 2026-11-19\n    \
             answers:\n      \
               count: { outputs: { rows: 42 } }\n    \
             expect:\n      \
               run: succeeded\n      \
               tasks:\n        \
                 greet: { state: succeeded, request: { argv: [echo, \"Hello, this run covers 2026-11-19\"] } }\n        \
                 count: { state: succeeded, outputs: { rows: 42 } }\n\
         \n  \
           a greeting that fails is tried once more:\n    \
             date: 2026-11-19\n    \
             params: { greeting: Good morning }\n    \
             answers:\n      \
               greet: { fails: \"exit code 1\" }\n    \
             expect:\n      \
               run: failed\n      \
               tasks: { greet: { state: failed, attempts: 2 }, count: upstream_failed }\n",
    ),
    (".gitignore", ".trunkline/\n"),
];

/// A project with every shipped pipeline.
pub(crate) fn everything() -> Vec<Entry> {
    std::iter::once(PROJECT).chain(SHIPPED.iter().flat_map(|(_, files)| files.iter().copied())).collect()
}

/// Writes files below a folder; none that exists is touched. Says which were written.
pub(crate) fn write(folder: &Path, entries: &[Entry]) -> io::Result<Vec<&'static str>> {
    let mut written = Vec::new();
    for (name, text) in entries {
        let path = folder.join(name);
        if path.exists() {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        written.push(*name);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        definition::Operators,
        project::{Project, load_pipelines},
    };

    #[test]
    fn every_scaffold_validates() {
        let registry = trunkline_tasks::Registry::standard(&trunkline_tasks::Options::for_looking());
        assert!(Operators::new(&registry).get("command").is_some());
        let alone = |name| ([&[PROJECT], files_of(name)].concat(), name);
        for (entries, name) in [
            (HELLO.to_vec(), "hello"),
            alone("daily_cdr_etl"),
            alone("warehouse_refresh"),
            (everything(), "facility_models"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &entries).unwrap();
            let (project, diagnostics) = Project::load(folder.path(), "local", &|_| None);
            assert!(diagnostics.items.is_empty(), "{}", diagnostics.render(false));
            let loaded = load_pipelines(&project, &registry);
            assert!(loaded.diagnostics.items.is_empty(), "{}", loaded.diagnostics.render(false));
            assert!(loaded.get(name).is_some());
        }
    }

    #[test]
    fn nothing_of_the_shipped_folder_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut folders = vec![root.join("pipelines")];
        let mut count = 0;
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let wanted = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    // The sample of call detail records is hundreds of files.
                    if wanted != "pipelines/daily_cdr_etl/sample" && !wanted.contains("__pycache__") {
                        folders.push(path);
                    }
                    continue;
                }
                count += 1;
                let mut files = SHIPPED.iter().flat_map(|(_, files)| *files);
                assert!(files.any(|(known, _)| *known == wanted), "{wanted} is not in the scaffold");
            }
        }
        assert_eq!(count, SHIPPED.iter().map(|(_, files)| files.len()).sum::<usize>());
    }

    #[test]
    fn files_that_exist_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("trunkline.yaml"), "mine").unwrap();
        let written = write(folder.path(), &HELLO).unwrap();
        assert!(!written.contains(&"trunkline.yaml"));
        assert_eq!(fs::read_to_string(folder.path().join("trunkline.yaml")).unwrap(), "mine");
    }
}
