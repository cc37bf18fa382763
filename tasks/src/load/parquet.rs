//! Rows of a Parquet file as rows of Postgres's COPY.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use trunkline_query::{
    cells::{self, Cells},
    transform::Content,
};

use super::records::escaped;

/// Rows are handed on in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;

/// What a file has.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: u64,
    /// Columns that the table lacks.
    pub(super) unknown: BTreeSet<String>,
    /// Columns that it has.
    pub(super) seen: BTreeSet<String>,
}

/// Reads a file into rows of all the table's columns, with their types; `send` returns whether to go on. It computes and
/// reads the disk: not for a thread that others wait for.
pub(super) fn rows(
    content: Content,
    columns: &IndexMap<String, String>,
    send: &mut dyn FnMut(Vec<u8>) -> bool,
) -> Result<Found, String> {
    let mut found = Found::default();
    let mut piece = Vec::with_capacity(PIECE_BYTES);
    let mut each = |cells: &mut Cells<'_>| {
        let names: Vec<String> = cells.names().map(str::to_owned).collect();
        let places: Vec<Option<usize>> =
            columns.keys().map(|column| names.iter().position(|name| name == column)).collect();
        for row in 0..cells.rows {
            found.rows += 1;
            append(cells, row, &places, &mut piece)
                .map_err(|error| format!("record {}, {error}", found.rows))?;
            if piece.len() >= PIECE_BYTES && !send(std::mem::take(&mut piece)) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let names = cells::read(content, &|_, name| columns.get(name).cloned(), &mut each)?;
    send(piece);
    (found.seen, found.unknown) = names.into_iter().partition(|name| columns.contains_key(name));
    Ok(found)
}

fn append(
    cells: &mut Cells<'_>,
    row: usize,
    places: &[Option<usize>],
    piece: &mut Vec<u8>,
) -> Result<(), String> {
    let mut text = String::new();
    for (at, place) in places.iter().enumerate() {
        if at > 0 {
            piece.push(b'\t');
        }
        text.clear();
        let has_value = place.map(|place| cells.append(row, place, &mut text)).transpose()?;
        if has_value == Some(true) {
            escaped(&text, piece);
        } else {
            piece.extend_from_slice(b"\\N");
        }
    }
    piece.push(b'\n');
    Ok(())
}
