//! What the same database does by itself: single-row commits.

use std::time::Duration;

use anyhow::Result;
use futures::future::try_join_all;
use sqlx::{Connection, PgConnection};

use crate::{
    stage::{Flush, Stage, now},
    table::Table,
};

/// Single-row commits of the database that everything else is compared with.
#[derive(Debug)]
pub struct Baseline {
    /// How the flush of these commits was.
    pub flush: Flush,
    /// Median time of one commit with one client.
    pub commit: Duration,
    /// Commits per second with eight clients.
    pub commits_per_second: f64,
}

impl Baseline {
    /// Puts it at the head of the table.
    pub fn describe(&self, table: &mut Table) {
        let measured = format!(
            "{:.2} ms each with 1 client, {:.0}/s with 8",
            self.commit.as_secs_f64() * 1e3,
            self.commits_per_second
        );
        table.add(&self.flush.of("single-row commits of this Postgres"), measured, "the yardstick", None);
    }

    /// Adds a row of commits; it counts against its budget only where a flush takes its time
    /// (docs/decisions/0014-budgets-and-the-disk.md).
    pub fn add(&self, what: &str, measured: String, budget: &str, met: bool, table: &mut Table) {
        match self.flush {
            Flush::AsMeant => table.add(&self.flush.of(what), measured, budget, Some(met)),
            Flush::AsItIs => table.add(&self.flush.of(what), measured, "for comparison", None),
        }
    }
}

/// Measures for some seconds.
pub async fn measure(stage: &Stage, flush: Flush, effort: f64) -> Result<Baseline> {
    stage.set_flush(flush).await?;
    let mut first = PgConnection::connect(&stage.url).await?;
    sqlx::raw_sql("create table if not exists trunkline_bench (id int primary key, v bigint not null) with (fillfactor = 50); truncate trunkline_bench; insert into trunkline_bench select n, 0 from generate_series(1, 1000) n")
        .execute(&mut first)
        .await?;
    let span = Duration::from_secs_f64(3.0 * effort);
    let mut alone = client(first, 1, span).await?;
    alone.sort_unstable();
    let mut others = Vec::new();
    for number in 0..8 {
        others.push(client(PgConnection::connect(&stage.url).await?, number * 100 + 1, span));
    }
    let commits: usize = try_join_all(others).await?.iter().map(Vec::len).sum();
    #[expect(clippy::cast_precision_loss, reason = "a count of commits")]
    let commits_per_second = commits as f64 / span.as_secs_f64();
    Ok(Baseline { flush, commit: alone[alone.len() / 2], commits_per_second })
}

async fn client(mut connection: PgConnection, first_id: i32, span: Duration) -> Result<Vec<Duration>> {
    let begin = now();
    let mut times = Vec::new();
    let mut id = first_id;
    loop {
        let sent = now();
        if Duration::try_from(sent.duration_since(begin))? > span {
            return Ok(times);
        }
        sqlx::query("update trunkline_bench set v = v + 1 where id = $1")
            .bind(id)
            .execute(&mut connection)
            .await?;
        times.push(Duration::try_from(now().duration_since(sent))?);
        id = first_id + (id - first_id + 1) % 100;
    }
}
