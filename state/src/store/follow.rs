//! Reading along: what was committed of all runs since a place, in an order that never changes.
//!
//! Rows become visible out of order, because transactions end out of order. Here only rows are read
//! whose transaction is older than every one that still runs: what follows a place is then complete,
//! and no row of before it appears later.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use uuid::Uuid;

use super::{Store, StoreError, rows::read_option};
use crate::{ids::RunId, machine::Transition};

/// A place in the history of all runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FollowPlace {
    /// The transaction.
    pub xid: u64,
    /// The run.
    pub run: Uuid,
    /// The history row's number in it.
    pub seq: i32,
}

/// One commit of one run, as a reader of all runs sees it.
#[derive(Clone, Debug)]
pub struct FollowRow {
    /// Where it stands.
    pub place: FollowPlace,
    /// The run.
    pub run: RunId,
    /// Its pipeline.
    pub pipeline: String,
    /// Where that one's file lies, for whoever may see some folders only.
    pub folder: String,
    /// Its key.
    pub key: String,
    /// When.
    pub at: Timestamp,
    /// Who made it happen.
    pub actor: String,
    /// What changed.
    pub changes: Vec<Transition>,
}

impl fmt::Display for FollowPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.xid, self.run.simple(), self.seq)
    }
}

impl FromStr for FollowPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let (Some(xid), Some(run), Some(seq), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        Ok(Self {
            xid: xid.parse().map_err(|_| ())?,
            run: run.parse().map_err(|_| ())?,
            seq: seq.parse().map_err(|_| ())?,
        })
    }
}

impl Store {
    /// The place after which everything comes that is committed from now on.
    pub async fn follow_from_now(&self) -> Result<FollowPlace, StoreError> {
        let xid = sqlx::query_scalar!(r#"select pg_snapshot_xmin(pg_current_snapshot())::text as "xid!""#)
            .fetch_one(&self.link)
            .await?;
        // Before the first row of that transaction.
        Ok(FollowPlace { xid: parsed(&xid)?, run: Uuid::nil(), seq: 0 })
    }

    /// What was committed after a place, at most `limit` rows.
    pub async fn follow(&self, after: FollowPlace, limit: i64) -> Result<Vec<FollowRow>, StoreError> {
        let rows =
            sqlx::query_file!("queries/follow.sql", after.xid.to_string(), after.run, after.seq, limit)
                .fetch_all(&self.link)
                .await?;
        rows.into_iter()
            .map(|row| {
                Ok(FollowRow {
                    place: FollowPlace { xid: parsed(&row.xid)?, run: row.run_id, seq: row.seq },
                    run: RunId(row.run_id),
                    pipeline: row.pipeline,
                    folder: row.folder,
                    key: row.run_key,
                    at: read_option(Some(row.at)).unwrap_or_default(),
                    actor: row.actor,
                    changes: serde_json::from_value(row.changes).unwrap_or_default(),
                })
            })
            .collect()
    }
}

fn parsed(xid: &str) -> Result<u64, StoreError> {
    xid.parse().map_err(|_| StoreError::Broken { message: format!("`{xid}` is no transaction number") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back() {
        let place = FollowPlace { xid: u64::MAX, run: Uuid::from_u128(7), seq: 3 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in ["", "1.2", "1.zz.3", "1.00000000000000000000000000000007.3.4", "-1.0.0"] {
            assert_eq!(wrong.parse::<FollowPlace>(), Err(()), "{wrong}");
        }
    }
}
