//! What Postgres's COPY writes, as JSON lines. Pure.

/// Takes the text format of COPY apart (Postgres's documentation, "COPY", "Text Format"), row by row of one column that
/// holds JSON. Bytes may be cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Lines {
    escaped: bool,
    pub(super) count: u64,
}

impl Lines {
    /// Appends what the bytes say.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if self.escaped {
                self.escaped = false;
                // A line break or tab within JSON stands between its values: a blank means the same.
                out.push(if byte == b'\\' { b'\\' } else { b' ' });
            } else if byte == b'\\' {
                self.escaped = true;
            } else {
                self.count += u64::from(byte == b'\n');
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wherever_the_bytes_are_cut_the_lines_are_the_same() {
        // A backslash and a line break within a text, and a line break of a column of type json.
        let copied = b"{\"a\":\"x\\\\\\\\y\\\\n\"}\n{\"b\":{\\n\"c\":1}}\n";
        for cut in 0..copied.len() {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            lines.push(&copied[..cut], &mut out);
            lines.push(&copied[cut..], &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":\"x\\\\y\\n\"}\n{\"b\":{ \"c\":1}}\n");
            assert_eq!(lines.count, 2);
        }
    }
}
