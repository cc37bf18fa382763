//! Results of statements: kept as files, given out page by page.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::{INVALID, invalid};
use super::database::{Column, column_shape};
use crate::files::read_json;
use crate::glue::request::{insert_some, page};
use crate::wire::ApiError;

/// Most rows of a page; the service cuts by size and gives no number.
const PAGE_ROWS_MAX: usize = 1_000;

/// A kept result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each field as the API shows it.
    pub rows: Vec<Vec<Value>>,
}

/// Where the result of a statement (from 0) of a call is kept.
pub(super) fn file(root: &Path, id: &str, at: usize) -> PathBuf {
    root.join("redshift").join("results").join(format!("{id}-{}.json", at + 1))
}

/// One page of a result.
pub(super) fn answer(path: &Path, token: Option<&str>) -> Result<Value, ApiError> {
    let kept: Option<Kept> = read_json(path).map_err(ApiError::internal)?;
    let kept = kept.ok_or_else(|| invalid("the result is gone"))?;
    let total = kept.rows.len();
    let (rows, next) = page(kept.rows, token, None, PAGE_ROWS_MAX, INVALID)?;
    let mut answer = Map::new();
    answer.insert("ColumnMetadata".to_owned(), kept.columns.iter().map(column_shape).collect());
    answer.insert("Records".to_owned(), json!(rows));
    answer.insert("TotalNumRows".to_owned(), total.into());
    insert_some(&mut answer, "NextToken", next);
    Ok(Value::Object(answer))
}
