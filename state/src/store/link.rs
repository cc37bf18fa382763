//! The way to the server: a pool of connections, on which no statement is waited for longer than
//! a limit. Behind a firewall that forgot a connection, or in front of a server that stands still,
//! there is nothing but silence, which the kernel bears for a quarter of an hour or for ever.

use std::{io, time::Duration};

use futures::{
    StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Describe, Either, Execute, Executor, PgPool, Postgres, SqlStr,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

/// A pool, and how long its server may say nothing.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) pool: PgPool,
    silence: Duration,
}

impl Link {
    pub(super) fn new(pool: PgPool, silence: Duration) -> Self {
        Self { pool, silence }
    }

    /// Does something with a connection. A server that says nothing for the limit is taken for
    /// gone: whether the statement was carried out is unknown then.
    pub(super) async fn with<T>(
        &self,
        connection: &mut PoolConnection<Postgres>,
        statement: impl AsyncFnOnce(&mut PoolConnection<Postgres>) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        if let Ok(answer) = tokio::time::timeout(self.silence, statement(connection)).await {
            return answer;
        }
        // Not into the pool again, which would wait for what the server has to say.
        connection.close_on_drop();
        let text = format!("the server has said nothing for {} s", self.silence.as_secs_f64());
        Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
    }
}

impl<'c> Executor<'c> for &'c Link {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let link = self.clone();
        stream::once(async move {
            let mut connection = link.pool.acquire().await?;
            let mut rows = Vec::new();
            let reading = async |connection: &mut PoolConnection<Postgres>| {
                let mut answer = connection.fetch_many(query);
                while let Some(row) = answer.try_next().await? {
                    rows.push(Ok(row));
                }
                Ok(())
            };
            link.with(&mut connection, reading).await?;
            Ok::<_, sqlx::Error>(stream::iter(rows))
        })
        .try_flatten()
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let link = self.clone();
        Box::pin(async move {
            let mut connection = link.pool.acquire().await?;
            link.with(&mut connection, async |connection| connection.fetch_optional(query).await).await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        let link = self.clone();
        Box::pin(async move {
            let mut connection = link.pool.acquire().await?;
            link.with(&mut connection, async |connection| connection.prepare_with(sql, parameters).await)
                .await
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        let link = self.clone();
        Box::pin(async move {
            let mut connection = link.pool.acquire().await?;
            link.with(&mut connection, async |connection| connection.describe(sql).await).await
        })
    }
}
