//! The budgets of the engine, measured as ratios against the same database's own rate in the
//! same run, and printed as one table. Never a timed assertion: a bad ratio is a finding, not
//! a failing test.
//!
//! `scripts/bench` builds the program and runs this: it starts a private Postgres with full durability in a
//! temporary folder (or uses `--store URL`), measures, and prints Markdown.

mod api;
mod backfill;
mod baseline;
mod clear;
mod flows;
mod grid;
mod lists;
mod process;
mod serve;
mod set_based;
mod stage;
mod table;
mod validate;
mod waiting;

use anyhow::Result;
use clap::Parser;

use crate::{
    stage::{Flush, Stage},
    table::Table,
};

/// Measures the budgets and prints them as one table.
#[derive(Debug, Parser)]
struct Arguments {
    /// A Postgres of your own, as a superuser: `trunkline_bench` is made in it, and settings of the
    /// server are changed while it is measured, and reset.
    #[arg(long)]
    store: Option<String>,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// How many times longer (or shorter) each measurement takes than usual.
    #[arg(long, default_value_t = 1.0)]
    effort: f64,
    /// Measures waiting jobs in this very process and prints JSON.
    #[arg(long, hide = true)]
    inside_waiting: bool,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let stage = Stage::new(arguments.store.as_deref()).await?;
    if arguments.inside_waiting {
        println!("{}", waiting::inside(&stage, arguments.effort).await?);
        return Ok(());
    }
    let mut table = Table::default();
    let wanted = |name: &str| name.contains(&arguments.only);
    for flush in [Flush::AsMeant, Flush::AsItIs] {
        let base = baseline::measure(&stage, flush, arguments.effort).await?;
        base.describe(&mut table);
        if wanted("flow") {
            flows::three_tasks(&stage, &base, arguments.effort, &mut table).await?;
        }
        if wanted("chain") {
            flows::chain_of_forty(&stage, &base, arguments.effort, &mut table).await?;
        }
    }
    if wanted("fan-out") {
        flows::fan_out(&stage, &mut table).await?;
    }
    if wanted("serve") {
        serve::measure(&stage, arguments.effort, &mut table).await?;
    }
    if wanted("backfill") {
        backfill::measure(&stage, &mut table).await?;
    }
    if wanted("api") {
        api::measure(&stage, &mut table).await?;
    }
    if wanted("clear") {
        clear::one_run(&stage, &mut table).await?;
        clear::many_runs(&stage, &mut table).await?;
        clear::live_runs(&stage, &mut table).await?;
    }
    if wanted("waiting") {
        waiting::measure(&stage, arguments.effort, &mut table).await?;
    }
    if wanted("validate") {
        validate::measure(&mut table)?;
    }
    // Last: nothing else is measured in a store of a million rows.
    if wanted("lists") {
        lists::measure(&stage, &mut table).await?;
    }
    if wanted("grid") {
        grid::measure(&stage, &mut table).await?;
    }
    println!("{table}");
    stage.end().await
}
