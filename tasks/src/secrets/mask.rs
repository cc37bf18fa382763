//! Finding secrets in what comes back: in texts, and in streams that come in pieces.
//!
//! A secret is looked for as it is, and as it looks when it was escaped for JSON,
//! percent-encoded or put into base64, at whatever place of the encoded text. What a program
//! does to it beyond that (encryption, printing one half of it) is not found.

use std::fmt::Write as _;

use base64::engine::general_purpose;
use serde_json::Value;

/// Shorter values are not looked for: every `a` and every `12` of a log would be masked. No
/// secret that deserves the name is as short.
pub const VALUE_BYTES_MIN: usize = 4;

/// Lines of a secret of several lines (a private key) are looked for one by one from this
/// length on: programs print line by line.
const LINE_BYTES_MIN: usize = 12;

/// Shorter encoded forms say nothing of a secret and are found everywhere.
const ENCODED_BYTES_MIN: usize = 6;

/// What encoded secrets become.
const STARS: &str = "***";

/// Texts to look for, and what each becomes.
#[derive(Clone, Default)]
pub struct Mask {
    /// Longest first, so that a secret inside another leaves nothing of the longer one.
    patterns: Vec<(Vec<u8>, String)>,
    /// Which bytes begin a pattern.
    begins: Vec<bool>,
}

/// Without the values.
impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mask").field("patterns", &self.patterns.len()).finish_non_exhaustive()
    }
}

impl Mask {
    /// A mask for values whose names nobody needs.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a String>) -> Self {
        let mut mask = Self::default();
        for value in values {
            mask.add(value, STARS);
        }
        mask
    }

    /// Whether it masks nothing.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Looks for one more value, which becomes `name` where it stands as it is.
    pub fn add(&mut self, value: &str, name: &str) {
        self.add_pattern(value.as_bytes(), name);
        for line in value.lines().map(str::trim).filter(|line| line.len() >= LINE_BYTES_MIN) {
            if line.len() < value.len() {
                self.add_pattern(line.as_bytes(), STARS);
            }
        }
        for encoded in encodings(value) {
            self.add_pattern(encoded.as_bytes(), STARS);
        }
        self.patterns.sort_by(|one, other| other.0.len().cmp(&one.0.len()).then_with(|| one.0.cmp(&other.0)));
        self.begins = vec![false; 256];
        for (pattern, _) in &self.patterns {
            self.begins[usize::from(pattern[0])] = true;
        }
    }

    fn add_pattern(&mut self, pattern: &[u8], becomes: &str) {
        if pattern.len() >= VALUE_BYTES_MIN && !self.patterns.iter().any(|(known, _)| known == pattern) {
            self.patterns.push((pattern.to_vec(), becomes.to_owned()));
        }
    }

    /// The masked text; `None` if there was nothing to mask.
    pub fn apply(&self, text: &str) -> Option<String> {
        if self.is_empty() {
            return None;
        }
        let mut masked = Vec::new();
        self.pass(text.as_bytes(), true, &mut masked);
        (masked != text.as_bytes()).then(|| String::from_utf8_lossy(&masked).into_owned())
    }

    /// Writes what is certain of `bytes` masked, and gives how many of them that were: the rest
    /// may be the beginning of a secret whose end is still to come. At the end all are certain.
    fn pass(&self, bytes: &[u8], is_end: bool, out: &mut Vec<u8>) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if !self.begins[usize::from(rest[0])] {
                out.push(rest[0]);
                at += 1;
                continue;
            }
            // A longer secret that begins here may still come to its end: wait for it.
            if !is_end
                && self
                    .patterns
                    .iter()
                    .any(|(pattern, _)| rest.len() < pattern.len() && pattern.starts_with(rest))
            {
                return at;
            }
            if let Some((pattern, becomes)) =
                self.patterns.iter().find(|(pattern, _)| rest.starts_with(pattern))
            {
                out.extend_from_slice(becomes.as_bytes());
                at += pattern.len();
            } else {
                out.push(rest[0]);
                at += 1;
            }
        }
        at
    }
}

/// Masks what comes in pieces, wherever the pieces are cut.
#[derive(Debug)]
pub struct Stream {
    mask: Mask,
    held: Vec<u8>,
}

impl Stream {
    /// A stream from its beginning.
    pub fn new(mask: Mask) -> Self {
        Self { mask, held: Vec::new() }
    }

    /// The next piece, as far as it is certain.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.mask.is_empty() {
            return piece.to_vec();
        }
        self.held.extend_from_slice(piece);
        let mut out = Vec::with_capacity(self.held.len());
        let certain = self.mask.pass(&self.held, false, &mut out);
        self.held.drain(..certain);
        out
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.mask.is_empty() {
            self.mask.pass(&std::mem::take(&mut self.held), true, &mut out);
        }
        out
    }
}

/// What a value looks like in JSON, in an address or form, and in base64.
fn encodings(value: &str) -> Vec<String> {
    let quoted = Value::from(value).to_string();
    let mut found = vec![quoted[1..quoted.len() - 1].to_owned()];
    // Twice: JSON inside a text of JSON, as answers of Lambda come.
    let twice = Value::from(found[0].as_str()).to_string();
    found.push(twice[1..twice.len() - 1].to_owned());
    let percent = percent_encoded(value);
    found.push(percent.replace("%20", "+"));
    found.push(small_escapes(&percent));
    found.push(percent);
    for engine in [general_purpose::STANDARD_NO_PAD, general_purpose::URL_SAFE_NO_PAD] {
        for before in 0..3 {
            found.push(base64_inside(&engine, value.as_bytes(), before));
        }
    }
    found.retain(|encoded| encoded != value && encoded.len() >= ENCODED_BYTES_MIN);
    found
}

/// The characters of base64 that depend on the value alone, if so many bytes (modulo 3) stand
/// before it.
fn base64_inside(engine: &impl base64::Engine, value: &[u8], before: usize) -> String {
    let padded: Vec<u8> = std::iter::repeat_n(0, before).chain(value.iter().copied()).collect();
    let encoded = engine.encode(&padded);
    // A character holds 6 bits: those that also hold bits of the neighbours are left out.
    let start = (before * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    encoded.get(start..end).unwrap_or_default().to_owned()
}

fn percent_encoded(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Escapes with small letters, which some programs write.
fn small_escapes(percent: &str) -> String {
    let mut parts = percent.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escape, rest) = part.split_at(2);
        text.push('%');
        text.push_str(&escape.to_ascii_lowercase());
        text.push_str(rest);
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    const SECRET: &str = "p@ss \"w\u{f6}rd\" 4711/+x";

    fn mask() -> Mask {
        let mut mask = Mask::default();
        mask.add(SECRET, "<token>");
        mask
    }

    #[test]
    fn a_secret_is_found_in_every_dress() {
        let mask = mask();
        assert_eq!(mask.apply(&format!("x{SECRET}y")).unwrap(), "x<token>y");
        let json = Value::from(SECRET).to_string();
        assert_eq!(mask.apply(&json).unwrap(), "\"***\"");
        assert_eq!(mask.apply(&percent_encoded(SECRET)).unwrap(), "***");
        assert_eq!(mask.apply(&percent_encoded(SECRET).replace("%20", "+")).unwrap(), "***");
        for before in ["", "a", "ab", "user:"] {
            let encoded = general_purpose::STANDARD.encode(format!("{before}{SECRET}tail"));
            let masked = mask.apply(&encoded).unwrap();
            // What is left of the secret are at most two characters on each side.
            let left = encoded.len() - masked.replace("***", "").len();
            assert!(left * 6 / 8 >= SECRET.len() - 2, "{before}: {masked}");
        }
        assert_eq!(mask.apply("nothing of it"), None);
    }

    #[test]
    fn pieces_may_be_cut_anywhere() {
        let text = format!("a{SECRET}b{}p@ss", &SECRET[..7]);
        for size in 1..text.len() {
            let mut stream = Stream::new(mask());
            let mut out: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|piece| stream.push(piece)).collect();
            out.extend(stream.finish());
            assert_eq!(String::from_utf8(out).unwrap(), format!("a<token>b{}p@ss", &SECRET[..7]), "{size}");
        }
    }

    #[test]
    fn the_longer_of_two_secrets_is_masked_whole() {
        let mask = Mask::of(&["abcd".to_owned(), "abcdefgh".to_owned()]);
        assert_eq!(mask.apply("abcdefgh abcdef").unwrap(), "*** ***ef");
        let mut stream = Stream::new(mask);
        let mut out = stream.push(b"abcd");
        assert!(out.is_empty(), "it may become the longer one");
        out.extend(stream.push(b"efgh"));
        out.extend(stream.finish());
        assert_eq!(out, b"***");
    }

    #[test]
    fn lines_of_a_key_are_found_alone_and_short_values_are_not_looked_for() {
        let mut mask = Mask::of(&["-----BEGIN KEY-----\nMIIEowIBAAKCAQEA\n".to_owned()]);
        assert_eq!(mask.apply("got MIIEowIBAAKCAQEA.").unwrap(), "got ***.");
        mask.add("abc", "x");
        assert_eq!(mask.apply("abc"), None);
    }
}
