//! `init`: a project that validates and runs.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{
    context::Context,
    exit::{Exit, refuse},
    scaffold,
    validate::counted,
};
use crate::{definition::load::PIPELINE_FILE, project::PROJECT_FILE};

/// Files that are named one by one; `--json` names all in any case.
const LISTED_MAX: usize = 20;

/// What `init` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// The folder; made if missing
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Which example it begins with
    #[arg(long, value_enum, default_value_t = Example::Hello)]
    example: Example,
}

/// What a project can begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Example {
    /// Two commands, one after the other
    Hello,
    /// A day of call detail records: crawl, convert to Parquet, crawl
    DailyCdrEtl,
    /// A database into a star schema, every ten minutes
    WarehouseRefresh,
    /// Every pipeline that Trunkline ships
    All,
}

/// Writes a project; files that exist are left alone.
pub(crate) fn init(cx: &Context, args: &InitArgs) -> anyhow::Result<Exit> {
    let here = args.folder.as_os_str() == ".";
    let folder = if here { cx.config.project.clone() } else { cx.config.project.join(&args.folder) };
    if folder.join(PROJECT_FILE).exists() {
        return refuse(format!("{} is a project already: it has a {PROJECT_FILE}", folder.display()));
    }
    let (entries, pipeline) = match args.example {
        Example::Hello => (scaffold::HELLO.to_vec(), "hello"),
        Example::DailyCdrEtl => (shipped("daily_cdr_etl"), "daily_cdr_etl"),
        Example::WarehouseRefresh => (shipped("warehouse_refresh"), "warehouse_refresh"),
        Example::All => (scaffold::everything(), "daily_cdr_etl"),
    };
    let written = scaffold::write(&folder, &entries)
        .with_context(|| format!("the project cannot be written into {}", folder.display()))?;
    if cx.output.json() {
        cx.output.value(&json!({ "folder": folder, "files": written }));
        return Ok(Exit::Done);
    }
    if written.len() > LISTED_MAX {
        cx.output.data(&summary(&folder, &written));
    } else {
        for name in &written {
            cx.output.data(&folder.join(name).display().to_string());
        }
    }
    let enter = if here { String::new() } else { format!("  cd {}\n", args.folder.display()) };
    let mut next = format!("next:\n{enter}  trunkline validate\n  trunkline plan {pipeline}\n");
    next.push_str(match args.example {
        Example::Hello => "  trunkline run hello",
        Example::DailyCdrEtl | Example::All => {
            "  trunkline generate cdr --from 2026-11-19 --out s3://cdr-raw\n  trunkline run daily_cdr_etl --date 2026-11-19"
        }
        Example::WarehouseRefresh => {
            "  trunkline generate orders --from 2026-11-19 --out private:shop\n  trunkline run warehouse_refresh"
        }
    });
    cx.output.note(&next);
    Ok(Exit::Done)
}

/// What a long list of files says to a person.
fn summary(folder: &Path, written: &[&str]) -> String {
    let of_pipeline = |name: &&str| {
        let (path, file) = name.rsplit_once('/')?;
        (file == PIPELINE_FILE).then(|| path.rsplit_once('/').map_or(path, |(_, last)| last).to_owned())
    };
    let pipelines: Vec<String> = written.iter().filter_map(of_pipeline).collect();
    format!(
        "{} files in {}, with {}: {}",
        written.len(),
        folder.display(),
        counted(pipelines.len(), "pipeline"),
        pipelines.join(", ")
    )
}

/// A project with one shipped pipeline.
fn shipped(name: &str) -> Vec<scaffold::Entry> {
    [&[scaffold::PROJECT], scaffold::files_of(name)].concat()
}
