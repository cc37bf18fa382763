//! The boundaries between the crates, read off their manifests, and the size of files.

use std::{fs, path::Path};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// No file may be longer; most are far shorter.
const LINES_MAX: usize = 800;

fn manifest(member: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(member).join("Cargo.toml")).expect("a member has a manifest")
}

#[test]
fn each_outside_world_has_one_crate() {
    let homes: [(&str, &[&str]); 8] = [
        ("aws-sdk-", &["tasks"]),
        ("axum", &["orchestrator"]),
        ("clap", &["orchestrator", "benches", "faults"]),
        ("datafusion", &["query", "sandbox"]),
        ("opentelemetry", &["orchestrator"]),
        ("s3s", &["sandbox"]),
        // The private Postgres only connects; the sandbox runs Redshift's SQL on a Postgres of its
        // own; the operator `sql` speaks to people's databases; the benches and the trials look from
        // outside.
        ("sqlx", &["state", "tasks", "postgres", "sandbox", "benches", "faults"]),
        ("trunkline-sandbox", &["orchestrator"]),
    ];
    for member in ["state", "tasks", "postgres", "query", "sandbox", "orchestrator", "benches", "faults"] {
        let text = manifest(member);
        let dependencies =
            text.lines().filter(|line| !line.starts_with(['#', '[']) && !line.starts_with("name"));
        for line in dependencies {
            for (crate_name, allowed) in &homes {
                let named = line.starts_with(crate_name);
                assert!(!named || allowed.contains(&member), "{member} must not depend on `{line}`");
            }
        }
    }
}

#[test]
fn the_leaves_do_not_know_each_other() {
    for leaf in ["state", "tasks", "postgres", "query", "sandbox"] {
        let text = manifest(leaf);
        let normal = text.split("[dev-dependencies]").next().unwrap_or_default();
        for other in ["state", "tasks", "postgres", "query", "sandbox"] {
            // A Postgres to run and an engine for SQL are all that is shared.
            let allowed = matches!((leaf, other), ("sandbox", "postgres" | "query") | ("tasks", "query"));
            let named = normal.lines().any(|line| line.starts_with(&format!("trunkline-{other}")));
            assert!(!named || allowed, "{leaf} must not depend on {other}");
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let mut too_long = Vec::new();
    let members = ["state", "tasks", "postgres", "query", "sandbox", "orchestrator", "benches", "faults"];
    let mut folders: Vec<_> = members.map(|member| Path::new(ROOT).join(member)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(&path).expect("a source file is text").lines().count();
                if lines > LINES_MAX {
                    too_long.push(format!("{} ({lines} lines)", path.display()));
                }
            }
        }
    }
    assert!(too_long.is_empty(), "split these: {too_long:#?}");
}

#[test]
fn every_fuzzer_is_built_and_told_of() {
    let fuzz = Path::new(ROOT).join("fuzz");
    let read = |path: &str| fs::read_to_string(Path::new(ROOT).join(path)).expect("a file of the repository");
    let (manifest, told) = (read("fuzz/Cargo.toml"), read("docs/testing.md"));
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).expect("a folder can be listed");
    let mut names: Vec<String> = targets
        .map(|entry| entry.expect("an entry can be read").path())
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in &names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is not built");
        assert!(told.contains(&format!("\n| `{name}` |")), "{name} is missing in docs/testing.md");
        assert!(fuzz.join(format!("dictionaries/{name}.dict")).is_file(), "{name} has no dictionary");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), names.len(), "a target without a file");
}
