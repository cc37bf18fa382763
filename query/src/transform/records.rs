//! Bytes of JSON as records, one by one: also behind bytes that are no record.
//!
//! Records may stand in lines, over several lines, in arrays, or with nothing between them, as Firehose writes them.
//! Where bytes make no sense, reading goes on at the next line that begins with a brace; what is passed over is one
//! bad record. Nothing else would be safe: within such bytes a brace may be part of a text.

use serde_json::Value;

use crate::json::Record;

/// The longest record: more is a file, not a record.
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How much of a bad record is kept, so that a file of rubbish is not kept a second time.
const BAD_BYTES_KEPT: usize = 64 * 1024;

/// A record, or what stands in the place of one.
pub(super) enum Piece<'a> {
    /// A record with its text.
    Record(&'a [u8], Record),
    /// What is no record, as far as it is kept, and why.
    Bad(&'a [u8], String),
}

/// Splits one object's bytes.
#[derive(Default)]
pub(super) struct Records {
    rest: Vec<u8>,
    begun: bool,
    /// Within a bad record whose beginning was told already.
    skipping: bool,
}

impl Records {
    /// Takes some bytes, the last ones with `end`.
    pub(super) fn push(&mut self, bytes: &[u8], end: bool, each: &mut dyn FnMut(Piece<'_>)) {
        let mut buffer = std::mem::take(&mut self.rest);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        if !self.begun && (buffer.len() >= 3 || end) {
            self.begun = true;
            at = if buffer.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        }
        while let Some(used) = self.next(&buffer[at..], end, each) {
            at += used;
        }
        self.rest = buffer.split_off(at);
    }

    /// Tells what the bytes begin with; how many bytes that is, or `None` if more bytes are wanted.
    fn next(&mut self, bytes: &[u8], end: bool, each: &mut dyn FnMut(Piece<'_>)) -> Option<usize> {
        if !self.begun || bytes.is_empty() {
            return None;
        }
        if self.skipping {
            return self.skip(bytes, end);
        }
        let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if blank > 0 {
            return Some(blank);
        }
        let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
        match stream.next()? {
            Ok(Value::Object(record)) => {
                let used = stream.byte_offset();
                each(Piece::Record(&bytes[..used], record));
                Some(used)
            }
            Ok(Value::Array(items)) => {
                for item in items {
                    from_array(item, each);
                }
                Some(stream.byte_offset())
            }
            // A number or a word at the end of what is there may go on.
            Ok(_) if stream.byte_offset() == bytes.len() && !end => None,
            Ok(other) => {
                let used = stream.byte_offset();
                each(Piece::Bad(&bytes[..used], no_object(&other)));
                Some(used)
            }
            Err(error) => self.bad(bytes, end, &error, each),
        }
    }

    fn bad(
        &mut self,
        bytes: &[u8],
        end: bool,
        error: &serde_json::Error,
        each: &mut dyn FnMut(Piece<'_>),
    ) -> Option<usize> {
        let waits = error.is_eof() || is_at_end(bytes, error);
        if waits && !end && bytes.len() <= RECORD_BYTES_MAX {
            return None;
        }
        let next = line_of_a_record(bytes);
        if next.is_none() && !end && bytes.len() < BAD_BYTES_KEPT {
            return None;
        }
        let length = next.unwrap_or(bytes.len());
        let reason = if waits && !end {
            format!("it has more than {RECORD_BYTES_MAX} bytes")
        } else if error.is_eof() && next.is_none() {
            "it is cut off".to_owned()
        } else {
            plain(error)
        };
        each(Piece::Bad(&bytes[..length.min(BAD_BYTES_KEPT)], reason));
        self.skipping = next.is_none() && !end;
        Some(length)
    }

    /// Passes over the rest of a bad record.
    fn skip(&mut self, bytes: &[u8], end: bool) -> Option<usize> {
        if let Some(next) = line_of_a_record(bytes) {
            self.skipping = false;
            return Some(next);
        }
        // A line break at the very end may be followed by a brace.
        let kept = usize::from(!end && bytes.ends_with(b"\n"));
        Some(bytes.len() - kept).filter(|length| *length > 0)
    }
}

/// Where the next line begins that begins with a brace.
fn line_of_a_record(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|two| two == b"\n{").map(|at| at + 1)
}

fn from_array(item: Value, each: &mut dyn FnMut(Piece<'_>)) {
    let text = item.to_string();
    match item {
        Value::Object(record) => each(Piece::Record(text.as_bytes(), record)),
        other => each(Piece::Bad(text.as_bytes(), no_object(&other))),
    }
}

/// Whether an error is about the last byte that is there: a number that is cut behind its point is no number yet.
fn is_at_end(bytes: &[u8], error: &serde_json::Error) -> bool {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    before + error.column() >= bytes.len()
}

/// The parser's words without its place: lines are counted from wherever the record began.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    format!("it is no JSON: {}", &text[..end])
}

fn no_object(value: &Value) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("it is {kind}, and a record is a JSON object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let mut found = Vec::new();
        let mut records = Records::default();
        for (at, bytes) in pieces.iter().enumerate() {
            records.push(bytes, at + 1 == pieces.len(), &mut |piece| {
                found.push(match piece {
                    Piece::Record(text, record) => {
                        let again: Record = serde_json::from_slice(text).unwrap();
                        assert_eq!(again, record);
                        Value::Object(record).to_string()
                    }
                    Piece::Bad(text, reason) => format!("{reason}: {}", String::from_utf8_lossy(text)),
                });
            });
        }
        found
    }

    #[test]
    fn wherever_the_bytes_are_cut_the_records_are_the_same() {
        for text in [
            "\u{feff}{\"a\":\"}{\"}{\"b\":1.5e3}\n\n {\n \"c\": [1, {}]\n}[{\"d\":1},{\"e\":2}]",
            "{\"a\":1}\n{\"a\": -\n{\"a\":3}\n17\n{\"a\":4}{\"b\n",
            "nonsense\n{\"a\":1}\ntrue\n[1,{\"x\":null}]\n\"\u{e9}\"\n{\"a\":",
        ] {
            let text = text.as_bytes();
            let whole = read(&[text]);
            for cut in 0..=text.len() {
                assert_eq!(read(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
            }
            let single: Vec<&[u8]> = text.chunks(1).collect();
            assert_eq!(read(&single), whole);
        }
    }

    #[test]
    fn goes_on_at_the_next_line_that_begins_a_record() {
        insta::assert_snapshot!(
            read(&[b"{\"a\":1}\n{\"a\": x, {\"b\": 2}\n{\"a\":3}{\"a\":}{\"a\":4}\n  {\"a\":5}\n{\"a\":6}\n[7]{\"a\""]).join("\n"),
            @r#"
        {"a":1}
        it is no JSON: expected value: {"a": x, {"b": 2}

        {"a":3}
        it is no JSON: expected value: {"a":}{"a":4}
          {"a":5}

        {"a":6}
        it is a number, and a record is a JSON object: 7
        it is cut off: {"a"
        "#
        );
    }

    #[test]
    fn a_file_of_rubbish_is_one_bad_record() {
        let mut told = 0;
        let mut records = Records::default();
        for _ in 0..100 {
            records.push(&[b'x'; 10_000], false, &mut |piece| {
                assert!(matches!(piece, Piece::Bad(text, _) if text.len() <= BAD_BYTES_KEPT));
                told += 1;
            });
        }
        records.push(b"\n{}", true, &mut |piece| {
            assert!(matches!(piece, Piece::Record(..)));
            told += 1;
        });
        assert_eq!(told, 2);
    }
}
