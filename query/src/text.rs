//! Delimited text as rows of cells, as Hive's two text `SerDes` read it. Types are not known here.

/// How cells and rows are separated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimited {
    /// Between two cells.
    pub delimiter: u8,
    /// Around cells that hold delimiters; `None` if quotes are ordinary characters.
    pub quote: Option<u8>,
    /// Takes the meaning from the next character, inside and outside quotes.
    pub escape: Option<u8>,
    /// Lines at the start of every object that are no rows.
    pub skipped_lines: usize,
}

/// Calls `row` with the cells of each row. Empty lines are no rows.
pub fn rows(content: &[u8], format: Delimited, mut row: impl FnMut(&[String])) {
    let mut rest = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    for _ in 0..format.skipped_lines {
        let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        rest = &rest[end..];
    }
    let mut cells = Vec::new();
    while !rest.is_empty() {
        cells.clear();
        rest = one_row(rest, format, &mut cells);
        if !(cells.len() == 1 && cells[0].is_empty()) {
            row(&cells);
        }
    }
}

/// Reads one row and returns what follows it.
fn one_row<'a>(content: &'a [u8], format: Delimited, cells: &mut Vec<String>) -> &'a [u8] {
    let mut cell = Vec::new();
    let mut quoted = false;
    let mut at = 0;
    while at < content.len() {
        let byte = content[at];
        at += 1;
        if Some(byte) == format.escape && at < content.len() && (Some(byte) != format.quote || quoted) {
            cell.push(content[at]);
            at += 1;
        } else if Some(byte) == format.quote {
            if quoted && content.get(at) == format.quote.as_ref() {
                cell.push(byte);
                at += 1;
            } else {
                quoted = !quoted;
            }
        } else if byte == format.delimiter && !quoted {
            push(cells, &mut cell);
        } else if byte == b'\n' && !quoted {
            if cell.last() == Some(&b'\r') {
                cell.pop();
            }
            push(cells, &mut cell);
            return &content[at..];
        } else {
            cell.push(byte);
        }
    }
    if cell.last() == Some(&b'\r') {
        cell.pop();
    }
    push(cells, &mut cell);
    &[]
}

fn push(cells: &mut Vec<String>, cell: &mut Vec<u8>) {
    cells.push(String::from_utf8_lossy(cell).into_owned());
    cell.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Delimited = Delimited { delimiter: b',', quote: None, escape: None, skipped_lines: 0 };
    const QUOTED: Delimited = Delimited { quote: Some(b'"'), ..PLAIN };

    fn read(content: &str, format: Delimited) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        rows(content.as_bytes(), format, |cells| all.push(cells.to_vec()));
        all
    }

    #[test]
    fn reads_plain_rows() {
        assert_eq!(read("a,b\r\n\n1,\"2\"\n,", PLAIN), [vec!["a", "b"], vec!["1", "\"2\""], vec!["", ""]]);
        let skipping = Delimited { skipped_lines: 1, ..PLAIN };
        assert_eq!(read("a,b\n1,2", skipping), [["1", "2"]]);
    }

    #[test]
    fn reads_quoted_rows() {
        assert_eq!(
            read("\"a,b\",\"say \"\"x\"\"\"\n\"two\nlines\",", QUOTED),
            [["a,b", "say \"x\""], ["two\nlines", ""]]
        );
        let escaping = Delimited { escape: Some(b'\\'), ..QUOTED };
        assert_eq!(read("\"a\\\"b\",c\\,d", escaping), [["a\"b", "c,d"]]);
        assert_eq!(read("\"never closed", QUOTED), [["never closed"]]);
    }
}
