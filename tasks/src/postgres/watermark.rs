//! How far a source was read, kept in the target database and moved in the transaction that loads what was read: one
//! row for each table of a source in `trunkline_watermark`.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sqlx::{Error, PgConnection};

use super::has_table;

const NAME: &str = "trunkline_watermark";
const TABLE: &str = "create table if not exists trunkline_watermark (
    name text, source text, value text not null, recent bigint not null, run text not null,
    moved_at timestamptz not null default clock_timestamp(), primary key (name, source))";

/// How far one table was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Mark {
    /// The largest value of its column that was read, as Postgres writes it.
    pub(crate) value: String,
    /// How many rows the next look reads again, as nothing may have changed: those within the overlap.
    pub(crate) recent: i64,
}

/// A step from one mark to the next, as `extract` hands it over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Step {
    /// Where the look began; none for the first.
    pub(crate) from: Option<String>,
    /// Where it ended.
    #[serde(flatten)]
    pub(crate) to: Mark,
}

/// The marks under a name, by table. None where nothing was loaded yet.
pub(crate) async fn read(connection: &mut PgConnection, name: &str) -> Result<IndexMap<String, Mark>, Error> {
    if !has_table(connection, NAME).await? {
        return Ok(IndexMap::new());
    }
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "select source, value, recent from trunkline_watermark where name = $1 order by source",
    )
    .bind(name)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(source, value, recent)| (source, Mark { value, recent })).collect())
}

/// Moves the marks; what stands elsewhere than where a step begins was moved by somebody else and stays, and is told.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    name: &str,
    steps: &IndexMap<String, Step>,
    run: &str,
) -> Result<Vec<String>, Error> {
    if !has_table(connection, NAME).await? {
        sqlx::raw_sql(TABLE).execute(&mut *connection).await?;
    }
    let mut warnings = Vec::new();
    for (source, step) in steps {
        let moved = sqlx::query(
            "insert into trunkline_watermark as mark (name, source, value, recent, run) values ($1, $2, $3, $4, $5)
             on conflict (name, source) do update
               set value = excluded.value, recent = excluded.recent, run = excluded.run, moved_at = clock_timestamp()
             where mark.value is not distinct from $6",
        )
        .bind(name)
        .bind(source)
        .bind(&step.to.value)
        .bind(step.to.recent)
        .bind(run)
        .bind(&step.from)
        .execute(&mut *connection)
        .await?;
        if moved.rows_affected() == 0 {
            warnings.push(format!(
                "the watermark {name} of {source} was moved since this was read: it stays where it is, and the next \
                 run reads on from there"
            ));
        }
    }
    Ok(warnings)
}
