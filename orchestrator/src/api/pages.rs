//! Pages: how long they may be, and the cursor that says where the next one begins. A cursor is opaque to
//! clients; what stands in it may change.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::problem::{Kind, Problem};

/// The longest page.
pub(crate) const LIMIT_MAX: i64 = 200;
/// A page where nobody says how long.
const LIMIT_DEFAULT: i64 = 50;

/// A page of a list.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// What is on it.
    pub(crate) items: Vec<T>,
    /// Where the next page begins; none on the last one.
    pub(crate) next: Option<String>,
}

/// A list that is never long.
#[derive(Serialize, JsonSchema)]
pub(super) struct Items<T> {
    /// What is in it.
    pub(super) items: Vec<T>,
}

/// How long a page may be.
pub(super) fn limit(wanted: Option<u32>) -> Result<i64, Problem> {
    let limit = wanted.map_or(LIMIT_DEFAULT, i64::from);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid(format!("limit must be from 1 to {LIMIT_MAX}, it is {limit}")))
}

/// A page of rows of which one more than fits was read; `cursor` is of the last one that fits.
pub(super) fn page<R, T>(
    mut rows: Vec<R>,
    limit: i64,
    cursor: impl Fn(&R) -> String,
    view: impl Fn(R) -> T,
) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor);
    Page { items: rows.into_iter().map(view).collect(), next }
}

/// The cursor of a list by a moment, and by id where moments are the same.
pub(super) fn moment_cursor(moment: Timestamp, id: Uuid) -> String {
    format!("{}.{}", moment.as_microsecond(), id.simple())
}

/// What such a cursor says.
pub(super) fn read_moment_cursor(text: &str) -> Result<(Timestamp, Uuid), Problem> {
    let read = || {
        let (moment, id) = text.split_once('.')?;
        Some((Timestamp::from_microsecond(moment.parse().ok()?).ok()?, id.parse().ok()?))
    };
    read().ok_or_else(bad_cursor)
}

/// What a cursor that is a number says.
pub(super) fn read_number<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>, Problem> {
    text.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()
}

pub(super) fn bad_cursor() -> Problem {
    Problem::new(Kind::Invalid, "the cursor is not one of this list; take `next` of the page before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let at = Timestamp::constant(1_800_000_000, 123_456_000);
        let id = Uuid::from_u128(9);
        assert_eq!(read_moment_cursor(&moment_cursor(at, id)).unwrap(), (at, id));
        for wrong in ["", "1", "x.y", "99999999999999999999.0", "1.2.3"] {
            assert!(read_moment_cursor(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_full_page_says_where_the_next_begins() {
        let made = page(vec![1, 2, 3], 2, |row| row.to_string(), |row| row * 10);
        assert_eq!((made.items, made.next.as_deref()), (vec![10, 20], Some("2")));
        let last = page(vec![1, 2], 2, |row: &i32| row.to_string(), |row| row);
        assert_eq!((last.items.len(), last.next), (2, None));
    }
}
