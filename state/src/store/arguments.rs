//! The rows that the functions of the migrations take, as Postgres composite types: one array of
//! rows for each kind.

use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef, types::Oid},
    types::Json,
};
use uuid::Uuid;

use crate::document::{Document, RAW_KEY};

/// JSON that was written out when the row was made: rows are sent again after a conflict.
pub(super) type Written = Json<Box<RawValue>>;

/// A value as it goes into a `jsonb` field; our own types always can be.
pub(super) fn written(value: &impl Serialize) -> Option<Written> {
    let mut text = serde_json::to_string(value).ok()?;
    if text.contains(NUL) {
        text = without_nul(&text);
    }
    if text.contains(RAW_KEY) {
        // Where it is a key: inside a text its quotes would be escaped.
        text = text.replace(&format!("\"{RAW_KEY}\":"), &format!("\"{RAW_KEY}\u{FFFD}\":"));
    }
    RawValue::from_string(text).ok().map(Json)
}

/// How JSON writes the one character that Postgres keeps neither in `text` nor in `jsonb`.
/// Jobs and services can put it into their words; a commit must not fail for it.
const NUL: &str = "\\u0000";

fn without_nul(json: &str) -> String {
    let mut clean = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        clean.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix(NUL) {
            clean.push(char::REPLACEMENT_CHARACTER);
            rest = after;
        } else {
            // Whatever is escaped is one ASCII letter, or four digits that follow it.
            clean.push_str(&rest[..2]);
            rest = &rest[2..];
        }
    }
    clean + rest
}

/// A text as it goes into a `text` field.
pub(super) fn text(words: &str) -> String {
    words.replace('\0', "\u{FFFD}")
}

/// A struct whose fields are those of a composite type, in order.
macro_rules! composite {
    ($(#[$meta:meta])* $name:ident = $sql:literal { $($field:ident: $kind:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Encode)]
        pub(super) struct $name {
            $(pub(super) $field: $kind,)*
        }

        impl Type<Postgres> for $name {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($sql)
            }
        }

        impl PgHasArrayType for $name {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::array_of($sql)
            }
        }
    };
}

type Moment = jiff_sqlx::Timestamp;

composite! {
    /// A run to be created.
    NewRunRow = "new_run" {
        run_id: Uuid,
        pipeline: String,
        version: i32,
        run_key: String,
        logical_date: Moment,
        interval_start: Option<Moment>,
        interval_end: Option<Moment>,
        fire_at: Option<Moment>,
        params: Option<Written>,
        trigger: &'static str,
        created_at: Moment,
        created_by: String,
        placed_states: Vec<u8>,
        waiting_states: Vec<u8>,
        changes: Option<Written>,
        changes_if_queued: Option<Written>,
        ordinal: i32,
        left_to_others: bool,
    }
}

composite! {
    /// A task run of a run to be created, as it stands if the run gets its place.
    NewTaskRow = "new_task" {
        run_id: Uuid,
        task_position: i32,
        task: String,
        state: &'static str,
        attempts: i32,
        started_at: Option<Moment>,
    }
}

composite! {
    /// A run as it stands, and its line of history.
    RunChange = "run_change" {
        run_id: Uuid,
        fence: i64,
        state: &'static str,
        generation: i32,
        started_at: Option<Moment>,
        ended_at: Option<Moment>,
        cancel_reason: Option<String>,
        task_states: Vec<u8>,
        at: Option<Moment>,
        actor: String,
        changes: Option<Written>,
    }
}

composite! {
    /// A task run as it stands.
    TaskChange = "task_change" {
        run_id: Uuid,
        task_position: i32,
        state: &'static str,
        generation: i32,
        attempts: i32,
        tries: i32,
        retry_at: Option<Moment>,
        outputs: Option<Written>,
        warnings: Option<Written>,
        failure: Option<Written>,
        started_at: Option<Moment>,
        ended_at: Option<Moment>,
    }
}

composite! {
    /// An attempt as it stands. What its intent fixed is given for new ones only.
    AttemptChange = "attempt_change" {
        run_id: Uuid,
        task_position: i32,
        number: i32,
        attempt_id: Option<Uuid>,
        generation: i32,
        operator: Option<String>,
        request: Option<Document>,
        baseline: Option<Document>,
        state: &'static str,
        intent_at: Moment,
        deferred_until: Option<Moment>,
        handle: Option<Document>,
        external_id: Option<String>,
        reattached: bool,
        deadline_at: Moment,
        stop_reason: Option<&'static str>,
        note: Option<String>,
        started_at: Option<Moment>,
        ended_at: Option<Moment>,
        failure: Option<Written>,
        result: Option<Written>,
    }
}

composite! {
    /// An element of a mapped task that is new, or stands for something else now.
    ElementRow = "new_element" {
        run_id: Uuid,
        task_position: i32,
        task: String,
        element_of: i32,
        element_index: i32,
        item: Option<Written>,
    }
}

composite! {
    /// How many elements a mapped task has.
    ExpansionRow = "expansion" {
        run_id: Uuid,
        task_position: i32,
        elements: Option<i32>,
    }
}

composite! {
    /// A notice that the end of a run asks for.
    NoticeRow = "notice_request" {
        run_id: Uuid,
        dedupe_key: String,
        payload: Option<Written>,
    }
}

composite! {
    /// A letter that the commit carries out.
    LetterRow = "letter_answer" {
        run_id: Uuid,
        inbox_id: i64,
    }
}

composite! {
    /// The turn of an attempt that is to come.
    TurnWantRow = "turn_want" {
        run_id: Uuid,
        task_position: i32,
        generation: i32,
        number: i32,
        round: i32,
        pool: Option<String>,
        slots: i32,
        priority: i32,
        after_past: bool,
    }
}

/// The type `json`, whose number is part of Postgres's stable catalog.
const JSON: PgTypeInfo = PgTypeInfo::with_oid(Oid(114));

impl Type<Postgres> for Document {
    fn type_info() -> PgTypeInfo {
        JSON
    }

    fn compatible(found: &PgTypeInfo) -> bool {
        <serde_json::Value as Type<Postgres>>::compatible(found)
    }
}

impl Encode<'_, Postgres> for Document {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.text().as_bytes());
        Ok(IsNull::No)
    }
}

impl<'r> Decode<'r, Postgres> for Document {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(<Json<Box<RawValue>> as Decode<Postgres>>::decode(value)?.0.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_postgres_cannot_keep_is_replaced_and_nothing_else() {
        let kept = |value| written(&value).unwrap().0.get().to_owned();
        assert_eq!(kept(json!("a\0b\0")), "\"a\u{FFFD}b\u{FFFD}\"");
        assert_eq!(kept(json!({"a\0": 1})), "{\"a\u{FFFD}\":1}");
        // A backslash and five letters are not that character.
        assert_eq!(kept(json!("\\u0000 \\\0")), "\"\\\\u0000 \\\\\u{FFFD}\"");
        assert_eq!(kept(json!("\u{1}\n\"")), r#""\u0001\n\"""#);
        assert_eq!(text("a\0b"), "a\u{FFFD}b");
    }

    #[test]
    fn whatever_is_kept_can_be_read() {
        let read = |value: Value| serde_json::from_str::<Value>(written(&value).unwrap().0.get()).unwrap();
        let kept = format!("{RAW_KEY}\u{FFFD}");
        assert_eq!(read(json!({ "a": [{ RAW_KEY: "no JSON" }] })), json!({ "a": [{ kept: "no JSON" }] }));
        let said = json!({ "a": format!("{{\"{RAW_KEY}\":1}}") });
        assert_eq!(read(said.clone()), said, "a text that tells of it is left alone");
    }
}
