//! `db`: looking after the store.

use trunkline_state::store::Store;

use super::{context::Context, exit::Exit, status::without_password};

/// What can be done.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum DbCommand {
    /// Bring the store's schema up to date
    Migrate,
    /// Print the store's URL, for psql
    Url,
}

/// Looks after the store.
pub(crate) async fn database(cx: &Context, command: &DbCommand) -> anyhow::Result<Exit> {
    let project = cx.project()?;
    let named = cx.config.store.clone().or_else(|| project.environment.store.clone());
    match (command, named) {
        (DbCommand::Migrate, Some(url)) => {
            // Not `open`: it refuses a schema that is out of date, which is what is repaired here.
            let store = Store::connect(&url, cx.ids.replica_id(), cx.config.lax_durability).await?;
            store.migrate().await?;
            cx.output.data("the schema is up to date");
        }
        (DbCommand::Migrate, None) => {
            cx.open(&project).await?;
            cx.output.data("the schema is up to date");
        }
        (DbCommand::Url, Some(url)) => cx.output.data(&without_password(&url)),
        (DbCommand::Url, None) => {
            let session = cx.open(&project).await?;
            let url = session.attached.as_ref().and_then(|attached| attached.database_url.clone());
            cx.output.data(&url.unwrap_or_default());
        }
    }
    Ok(Exit::Done)
}
