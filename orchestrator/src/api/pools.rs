//! Pools: their slots, who has some, who waits.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    pages::Items,
    problem::Problem,
    routes::{Call, Nothing, Routes, outline},
};
use crate::service::{find, token::Scope, views::PoolView};

pub(super) fn add(routes: Routes) -> Routes {
    routes
        .get(
            outline(Scope::Read, "/pools", "list_pools", "Pools, and how many of their slots are taken"),
            list,
        )
        .get(
            outline(Scope::Read, "/pools/{pool}", "show_pool", "One, with who has slots and who waits"),
            show,
        )
}

#[derive(Deserialize, JsonSchema)]
struct PoolPath {
    /// Its name.
    pool: String,
}

pub(super) async fn list(call: Call<Nothing, Nothing, Nothing>) -> Result<Items<PoolView>, Problem> {
    let pools = call.store.pools().await?;
    Ok(Items { items: pools.into_iter().map(|row| PoolView::new(row, None)).collect() })
}

async fn show(call: Call<PoolPath, Nothing, Nothing>) -> Result<PoolView, Problem> {
    Ok(find::pool(&call.store, &call.path.pool).await?)
}
