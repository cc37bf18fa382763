//! One file for each kind of mistake, and the text that its author reads.

use std::fs;

use trunkline::definition::{Operators, load_files};

use crate::fixture;

#[test]
fn every_broken_file_says_what_is_wrong_and_where() {
    let folder = fixture::repository().join("orchestrator/tests/definition/broken");
    let registry = fixture::registry();
    let operators = Operators::new(&registry);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{} files", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder.join("messages"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let loaded = load_files(std::slice::from_ref(&file), &folder, &fixture::scope(), &operators);
        assert!(!loaded.diagnostics.items.is_empty(), "{name} is not broken");
        settings.bind(|| insta::assert_snapshot!(name.as_str(), loaded.diagnostics.render(false)));
    }
}

#[test]
fn a_mistake_in_one_file_hides_no_other_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    };
    let files = [
        write("a.yaml", "name: a\ntasks: [\n"),
        write("b.yaml", "name: b\ntasks: { x: { type: nope } }\n"),
        write("c.yaml", "name: c\ntasks: { x: { type: noop } }\n"),
        folder.path().join("missing.yaml"),
    ];
    let registry = fixture::registry();
    let loaded = load_files(&files, folder.path(), &fixture::scope(), &Operators::new(&registry));
    assert_eq!(loaded.pipelines.len(), 1);
    let places: Vec<_> = loaded.diagnostics.rows().map(|row| row.file).collect();
    assert_eq!(places, [None, Some("a.yaml"), Some("b.yaml")]);
}

#[test]
fn two_pipelines_of_one_name_are_refused_with_both_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, "name: twin\ntasks: { x: { type: noop } }\n").expect("written");
        path
    };
    let registry = fixture::registry();
    let files = [write("a.yaml"), write("b.yaml")];
    let loaded = load_files(&files, folder.path(), &fixture::scope(), &Operators::new(&registry));
    insta::assert_snapshot!(loaded.diagnostics.render(false));
}

#[test]
fn pipelines_that_can_never_end_together_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, group: &str, tasks: &str| {
        let path = folder.path().join(format!("{name}.yaml"));
        fs::write(&path, format!("name: {name}\n{group}tasks: {{ {tasks} }}\n")).expect("written");
        path
    };
    let group = "concurrency_group: cdr\n";
    let files = [
        write("a", "", "x: { type: run_pipeline, pipeline: b }"),
        write("b", "", "x: { type: run_pipeline, pipeline: c, wait: false }"),
        write(
            "c",
            "",
            "x: { type: run_pipeline, pipeline: a }, y: { type: pipeline_wait, pipeline: c, date: '1' }",
        ),
        write("d", group, "x: { type: run_pipeline, pipeline: e }"),
        write("e", group, "x: { type: noop }"),
        write("f", group, "x: { type: run_pipeline, pipeline: e, wait: false }"),
    ];
    let registry = fixture::registry();
    let loaded = load_files(&files, folder.path(), &fixture::scope(), &Operators::new(&registry));
    insta::assert_snapshot!(loaded.diagnostics.render(false));
    let led_to: Vec<_> = loaded.run_by("a").iter().map(|other| other.pipeline.name.to_string()).collect();
    assert_eq!(led_to, ["b", "c"]);
}
