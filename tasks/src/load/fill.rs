//! Files of each format into a staging table, by COPY.

use aws_sdk_s3::Client;
use sqlx::{AssertSqlSafe, PgConnection};
#[cfg(feature = "transform")]
use tokio::sync::mpsc;

#[cfg(feature = "transform")]
use super::parquet;
use super::{
    Format,
    files::File,
    records::Records,
    stage::{Loading, Stage, bad},
};
#[cfg(feature = "transform")]
use crate::scratch::bring;
use crate::{
    operator::{ErrorClass, Failure},
    postgres::{
        names::{listed, quoted},
        transaction::Stop,
    },
};

/// Rows are handed to Postgres in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces of Parquet's rows that wait for Postgres.
#[cfg(feature = "transform")]
const PIECES_AHEAD: usize = 2;
/// The name of an object that is being brought.
#[cfg(feature = "transform")]
const OBJECT: &str = "object";

impl Stage {
    /// Copies a file's records; how many they are.
    pub(super) async fn fill(
        &mut self,
        connection: &mut PgConnection,
        loading: &Loading<'_>,
        file: &File,
        format: Format,
    ) -> Result<u64, Stop> {
        let copied = match format {
            Format::Json => self.fill_json(connection, loading.s3, file).await,
            Format::Csv => self.fill_csv(connection, loading.s3, file).await,
            #[cfg(feature = "transform")]
            Format::Parquet => self.fill_parquet(connection, loading, file).await,
            #[cfg(not(feature = "transform"))]
            Format::Parquet => crate::parquet::is_known("format").map(|()| 0).map_err(Stop::from),
        };
        copied.map_err(|stop| match stop {
            Stop::Refused(refused) => {
                // Postgres counts the rows of a COPY, which are the file's records.
                let bare = self.name.trim_start_matches("pg_temp.");
                let message = refused.message.replace(&format!("COPY {bare}, line "), "record ");
                let is_named = message.starts_with(&file.address());
                let refused = Failure { message, ..refused };
                Stop::Refused(if is_named { refused } else { file.named(refused) })
            }
            other => other,
        })
    }

    async fn fill_json(
        &mut self,
        connection: &mut PgConnection,
        s3: &Client,
        file: &File,
    ) -> Result<u64, Stop> {
        let mut body = file.open(s3).await?;
        let names = listed(self.columns.keys().map(String::as_str));
        let copy = format!("copy {} ({names}) from stdin", self.name);
        let mut copy = connection.copy_in_raw(&copy).await?;
        let columns = self.columns.clone();
        let mut records = Records::new(&columns);
        let mut rows: Vec<u8> = Vec::with_capacity(PIECE_BYTES);
        let read = async {
            while let Some(bytes) = body.next().await {
                let bytes = bytes.map_err(|error| broken(&error))?;
                records.push(&bytes, &mut rows).map_err(bad)?;
                if rows.len() >= PIECE_BYTES {
                    copy.send(rows.as_slice()).await?;
                    rows.clear();
                }
            }
            copy.send(rows.as_slice()).await?;
            let count = records.count;
            records.end().map_err(bad)?;
            Ok::<u64, Stop>(count)
        };
        let count = match read.await {
            Ok(count) => count,
            Err(stop) => {
                drop(copy.abort("the file could not be read").await);
                return Err(stop);
            }
        };
        copy.finish().await?;
        for (place, seen) in records.seen.iter().enumerate() {
            self.seen[place] |= seen;
        }
        self.unknown.extend(records.unknown);
        Ok(count)
    }

    async fn fill_csv(
        &mut self,
        connection: &mut PgConnection,
        s3: &Client,
        file: &File,
    ) -> Result<u64, Stop> {
        let mut body = file.open(s3).await?;
        let mut first: Vec<u8> = Vec::new();
        let end = loop {
            if let Some(end) = first.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            match body.next().await {
                Some(bytes) => first.extend_from_slice(&bytes.map_err(|error| broken(&error))?),
                None if first.is_empty() => return Ok(0),
                None => break first.len(),
            }
            if first.len() > PIECE_BYTES {
                return Err(bad("its first line names no columns".into()).into());
            }
        };
        let names = self.named_by(&first[..end], connection).await?;
        let copy = format!(
            "copy {} ({}) from stdin with (format csv)",
            self.name,
            listed(names.iter().map(String::as_str))
        );
        let mut copy = connection.copy_in_raw(&copy).await?;
        copy.send(first.get(end + 1..).unwrap_or_default()).await?;
        while let Some(bytes) = body.next().await {
            match bytes {
                Ok(bytes) => copy.send(bytes.as_ref()).await.map(drop)?,
                Err(error) => {
                    drop(copy.abort("the file could not be read").await);
                    return Err(broken(&error).into());
                }
            }
        }
        Ok(copy.finish().await?)
    }

    #[cfg(feature = "transform")]
    async fn fill_parquet(
        &mut self,
        connection: &mut PgConnection,
        loading: &Loading<'_>,
        file: &File,
    ) -> Result<u64, Stop> {
        let Some(scratch) = &loading.scratch else {
            return Err(broken(&"there is no folder to bring it into").into());
        };
        let content = bring(loading.s3, file, &scratch.path.join(OBJECT)).await?;
        let (tx, mut rx) = mpsc::channel::<Vec<u8>>(PIECES_AHEAD);
        let columns = self.columns.clone();
        // When nobody takes its rows any more, it ends with the next piece.
        let reading = tokio::task::spawn_blocking(move || {
            parquet::rows(content, &columns, &mut |piece| tx.blocking_send(piece).is_ok())
        });
        let names = listed(self.columns.keys().map(String::as_str));
        let copy = format!("copy {} ({names}) from stdin", self.name);
        let mut copy = connection.copy_in_raw(&copy).await?;
        while let Some(piece) = rx.recv().await {
            copy.send(piece).await?;
        }
        let found = match reading.await {
            Ok(Ok(found)) => found,
            Ok(Err(reason)) => {
                drop(copy.abort("the file could not be read").await);
                return Err(bad(reason).into());
            }
            Err(error) => {
                drop(copy.abort("the file could not be read").await);
                return Err(broken(&error).into());
            }
        };
        copy.finish().await?;
        for (name, seen) in self.columns.keys().zip(&mut self.seen) {
            *seen |= found.seen.contains(name);
        }
        self.unknown.extend(found.unknown);
        Ok(found.rows)
    }

    /// The columns of a CSV's first line; those that the table lacks get a place that nobody reads.
    async fn named_by(&mut self, line: &[u8], connection: &mut PgConnection) -> Result<Vec<String>, Stop> {
        let line = String::from_utf8_lossy(line);
        let mut names = Vec::new();
        for name in header(line.trim_start_matches('\u{feff}').trim_end_matches('\r')) {
            if names.contains(&name) {
                return Err(bad(format!("two columns are named `{name}`")).into());
            }
            match self.columns.get_index_of(&name) {
                Some(place) => self.seen[place] = true,
                None => {
                    if self.unknown.insert(name.clone()) {
                        let add = format!("alter table {} add column {} text", self.name, quoted(&name));
                        sqlx::raw_sql(AssertSqlSafe(add)).execute(&mut *connection).await?;
                    }
                }
            }
            names.push(name);
        }
        Ok(names)
    }
}

/// The names in the first line of a CSV file; a comma within quotes belongs to its name.
fn header(line: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut quoted = false;
    for character in line.chars() {
        match (character, names.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => names.push(String::new()),
            (other, Some(name)) => name.push(other),
            (_, None) => {}
        }
    }
    names.into_iter().map(|name| name.trim().to_owned()).collect()
}

fn broken(error: &impl std::fmt::Display) -> Failure {
    Failure::new(ErrorClass::System, format!("it could not be read to its end: {error}"))
}
