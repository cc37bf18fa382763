//! Reading and checking a large pipeline file.

use std::{fmt::Write as _, fs};

use anyhow::{Result, ensure};
use trunkline::project;

use crate::{
    stage::{now, operators},
    table::Table,
};

/// As many tasks as a pipeline may have.
const TASKS: usize = 5_000;
/// The best of so many readings: the rest is the machine's noise.
const READINGS: usize = 5;

/// Validates one pipeline of 5,000 tasks.
pub fn measure(table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("pipelines/large");
    fs::create_dir_all(&home)?;
    let mut text = String::from("name: large\ndata_interval: none\ntasks:\n");
    for position in 0..TASKS {
        let _ = write!(text, "  t{position}:\n    type: command\n    command: [echo, \"{{{{ ds }}}}\"]\n");
        if position > 0 {
            let _ = writeln!(text, "    depends_on: t{}", position - 1);
        }
    }
    fs::write(home.join("pipeline.yaml"), text)?;
    let registry = operators();
    let mut best = f64::INFINITY;
    for _ in 0..READINGS {
        let begin = now();
        let (_, loaded) = project::load(folder.path(), "local", &|_| None, &registry);
        best = best.min(now().duration_since(begin).as_secs_f64());
        ensure!(loaded.pipelines.len() == 1, "the large pipeline is not valid: {:?}", loaded.diagnostics);
    }
    table.add("validate 5,000 tasks", format!("{best:.2} s"), "≤ 0.3 s", Some(best <= 0.3));
    Ok(())
}
