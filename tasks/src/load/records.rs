//! Bytes of JSON objects, one after the other, as rows of Postgres's COPY.
//!
//! Objects may stand in lines, over several lines, or with nothing between them, as Firehose writes them. Numbers
//! are handed on as they are written: no digit is lost on the way.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The longest record: more is a file, not a record.
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Unknown keys that are told by name.
const UNKNOWN_MAX: usize = 20;

/// Reads objects and writes rows.
#[derive(Debug)]
pub(crate) struct Records<'c> {
    /// Columns with their places in a row.
    columns: &'c IndexMap<String, String>,
    rest: Vec<u8>,
    /// How many were read of this object of S3.
    pub(crate) count: u64,
    /// Which columns any record had.
    pub(super) seen: Vec<bool>,
    /// Keys that no column has.
    pub(super) unknown: BTreeSet<String>,
}

impl<'c> Records<'c> {
    /// Rows of these columns.
    pub(crate) fn new(columns: &'c IndexMap<String, String>) -> Self {
        let seen = vec![false; columns.len()];
        Self { columns, rest: Vec::new(), count: 0, seen, unknown: BTreeSet::new() }
    }

    /// Takes some bytes; appends the rows that are whole.
    pub(crate) fn push(&mut self, bytes: &[u8], rows: &mut Vec<u8>) -> Result<(), String> {
        let mut buffer = std::mem::take(&mut self.rest);
        buffer.extend_from_slice(bytes);
        let mut stream = serde_json::Deserializer::from_slice(&buffer).into_iter::<Record<'_>>();
        let used = loop {
            let before = stream.byte_offset();
            match stream.next() {
                Some(Ok(record)) => {
                    self.count += 1;
                    row(self.columns, &record, &mut self.seen, &mut self.unknown, rows);
                }
                Some(Err(error)) if error.is_eof() || is_at_end(&buffer, &error) => break before,
                Some(Err(error)) => return Err(format!("record {}: {}", self.count + 1, plain(&error))),
                None => break buffer.len(),
            }
        };
        self.rest = buffer.split_off(used);
        if self.rest.len() > RECORD_BYTES_MAX {
            return Err(format!("record {} has more than {RECORD_BYTES_MAX} bytes", self.count + 1));
        }
        Ok(())
    }

    /// The object is read to its end.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        let rest = std::mem::take(&mut self.rest);
        let count = std::mem::take(&mut self.count);
        if rest.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        Err(format!("record {} is cut off, or no JSON object: the file ends with it", count + 1))
    }
}

/// Whether an error is about the last byte that is there: a number that is cut behind its point is no number yet.
fn is_at_end(buffer: &[u8], error: &serde_json::Error) -> bool {
    let lines = buffer.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    before + error.column() >= buffer.len()
}

/// The parser's words without its place: lines are counted from wherever the bytes began.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    format!("{}: a JSON object is wanted", &text[..end])
}

fn row(
    columns: &IndexMap<String, String>,
    record: &Record<'_>,
    seen: &mut [bool],
    unknown: &mut BTreeSet<String>,
    rows: &mut Vec<u8>,
) {
    let mut cells: Vec<Option<&RawValue>> = vec![None; columns.len()];
    for (key, value) in &record.0 {
        match columns.get_index_of(key.0.as_ref()) {
            Some(place) => {
                cells[place] = Some(value);
                seen[place] = true;
            }
            None if unknown.len() < UNKNOWN_MAX => {
                unknown.insert(key.0.clone().into_owned());
            }
            None => {}
        }
    }
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            rows.push(b'\t');
        }
        match cell.map(RawValue::get) {
            None | Some("null") => rows.extend_from_slice(b"\\N"),
            Some(text) if text.starts_with('"') => {
                let text: Text<'_> = serde_json::from_str(text).unwrap_or(Text(Cow::Borrowed(text)));
                escaped(&text.0, rows);
            }
            Some(text) => escaped(text, rows),
        }
    }
    rows.push(b'\n');
}

/// A value in COPY's text format (Postgres's documentation, "COPY", "Text Format").
pub(super) fn escaped(text: &str, rows: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'\\' => rows.extend_from_slice(b"\\\\"),
            b'\n' => rows.extend_from_slice(b"\\n"),
            b'\r' => rows.extend_from_slice(b"\\r"),
            b'\t' => rows.extend_from_slice(b"\\t"),
            other => rows.push(other),
        }
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// One object, its values as they are written.
struct Record<'a>(Vec<(Text<'a>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Record<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Record<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record<'de>, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(24));
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Record(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> IndexMap<String, String> {
        ["id", "note"].into_iter().map(|name| (name.to_owned(), "text".to_owned())).collect()
    }

    #[test]
    fn wherever_the_bytes_are_cut_the_rows_are_the_same() {
        let text = "{\"id\":1,\"note\":\"a}{b\\n\\u00e9\\\\\"}{\"note\":null,\"more\":[1]}\n\n{\n \"id\": 12345678901234567890.50,\
                    \"note\": {\"x\": \"y\\t\"}\n}"
            .as_bytes();
        let expected = "1\ta}{b\\né\\\\\n\\N\t\\N\n12345678901234567890.50\t{\"x\": \"y\\\\t\"}\n";
        for cut in 0..text.len() {
            let columns = columns();
            let mut records = Records::new(&columns);
            let mut rows = Vec::new();
            records.push(&text[..cut], &mut rows).unwrap();
            records.push(&text[cut..], &mut rows).unwrap();
            assert_eq!(records.count, 3);
            records.end().unwrap();
            assert_eq!(String::from_utf8(rows).unwrap(), expected, "cut at {cut}");
            assert_eq!(records.unknown, BTreeSet::from(["more".to_owned()]));
        }
    }

    #[test]
    fn a_mistake_that_is_not_at_the_end_is_not_waited_with() {
        let columns = columns();
        let mut records = Records::new(&columns);
        records.push(b"{\"id\": 1}\n{\"id\": -", &mut Vec::new()).unwrap();
        let refused = records.push(b"x}\n", &mut Vec::new()).unwrap_err();
        assert_eq!(refused, "record 2: invalid number: a JSON object is wanted");
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_number() {
        for (text, expected) in [
            ("{\"id\":1}\n[2]", "record 2: invalid type: sequence, expected a JSON object"),
            ("{\"id\":1} xyz", "record 2: expected value: a JSON object is wanted"),
        ] {
            let columns = columns();
            let refused = Records::new(&columns).push(text.as_bytes(), &mut Vec::new()).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}");
        }
        let columns = columns();
        let mut records = Records::new(&columns);
        records.push(b"{\"id\":1}{\"id\":", &mut Vec::new()).unwrap();
        assert_eq!(
            records.end().unwrap_err(),
            "record 2 is cut off, or no JSON object: the file ends with it"
        );
    }
}
