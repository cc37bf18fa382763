//! Rows of COPY into an object of Parquet, a piece at a time.

use futures::TryStreamExt as _;
use sqlx::PgConnection;
use trunkline_query::{EngineError, copy::ParquetCopy};

use super::{columns, snapshot::Look, upload::Upload};
use crate::{
    operator::{ErrorClass, Failure},
    postgres::failure,
};

/// Rows are taken apart in pieces of about this size, on a thread that may compute.
const PIECE_BYTES: usize = 1024 * 1024;

/// Copies a table's rows into an object; how many they are.
pub(super) async fn copy(
    connection: &mut PgConnection,
    look: &Look<'_>,
    upload: &mut Upload<'_>,
) -> Result<u64, Failure> {
    let failed = |error: sqlx::Error| failure::of(&error);
    let sources = columns::of(connection, &look.table, &look.config.columns).await?;
    let list: Vec<&str> = sources.iter().map(|source| source.sql.as_str()).collect();
    let (list, table) = (list.join(", "), look.table.sql());
    let sql = format!("copy (select {list} from {table}{}) to stdout", look.condition);
    let columns = sources.into_iter().map(|source| source.column).collect();
    let mut file = ParquetCopy::new(columns, "trunkline").map_err(broken)?;
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut rows = connection.copy_out_raw(&sql).await.map_err(failed)?;
    while let Some(bytes) = rows.try_next().await.map_err(failed)? {
        piece.extend_from_slice(&bytes);
        if piece.len() >= PIECE_BYTES {
            file = pushed(file, std::mem::take(&mut piece)).await?;
            upload.buffer.append(&mut file.take());
            upload.flush().await?;
        }
    }
    let file = pushed(file, piece).await?;
    let (rest, count) =
        tokio::task::spawn_blocking(move || file.finish()).await.map_err(stopped)?.map_err(broken)?;
    upload.buffer.extend_from_slice(&rest);
    upload.flush().await?;
    Ok(count)
}

async fn pushed(mut file: ParquetCopy, piece: Vec<u8>) -> Result<ParquetCopy, Failure> {
    let pushing = tokio::task::spawn_blocking(move || file.push(&piece).map(|()| file));
    pushing.await.map_err(stopped)?.map_err(broken)
}

fn stopped(error: tokio::task::JoinError) -> Failure {
    Failure::new(ErrorClass::System, format!("writing Parquet broke: {error}"))
}

fn broken(error: EngineError) -> Failure {
    match error {
        EngineError::BadData(text) => {
            let text =
                format!("{text}; leave such rows or the column out, or read a view that gives another");
            Failure::new(ErrorClass::Failed, text)
        }
        other => Failure::new(ErrorClass::System, other.to_string()),
    }
}
