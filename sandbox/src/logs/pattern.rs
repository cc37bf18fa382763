//! Filter patterns of words: `ERROR`, `"two words"`, `?this ?that`, `-without`.
//!
//! Patterns over JSON members and over columns are refused by name, never approximated.

/// Which events are wanted.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pattern {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Pattern {
    /// Reads a pattern; an error says what cannot be read.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('{') || text.starts_with('[') || text.starts_with('%') {
            return Err(format!("the sandbox reads filter patterns of words only, not `{text}`"));
        }
        let mut pattern = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (list, behind) = match rest.as_bytes().first() {
                Some(b'?') => (&mut pattern.any, &rest[1..]),
                Some(b'-') => (&mut pattern.none, &rest[1..]),
                _ => (&mut pattern.all, rest),
            };
            let (word, behind) = match behind.strip_prefix('"') {
                Some(quoted) => quoted
                    .split_once('"')
                    .ok_or_else(|| format!("`{text}`: a quotation mark is not closed"))?,
                None => behind.split_once(char::is_whitespace).unwrap_or((behind, "")),
            };
            if !word.is_empty() {
                list.push(word.to_owned());
            }
            rest = behind.trim_start();
        }
        Ok(pattern)
    }

    /// Whether an event is wanted.
    pub(super) fn fits(&self, message: &str) -> bool {
        let holds = |word: &String| message.contains(word.as_str());
        self.all.iter().all(holds)
            && (self.any.is_empty() || self.any.iter().any(holds))
            && !self.none.iter().any(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_looked_for() {
        let fits = |pattern: &str, message: &str| Pattern::parse(pattern).unwrap().fits(message);
        assert!(fits("", "anything"));
        assert!(fits("ERROR \"no column\"", "ERROR: no column x"));
        assert!(!fits("ERROR \"no column\"", "ERROR: column no"));
        assert!(fits("?WARN ?ERROR", "ERROR x") && !fits("?WARN ?ERROR", "INFO"));
        assert!(!fits("ERROR -test", "ERROR in test"));
    }

    #[test]
    fn what_it_cannot_read_is_refused() {
        for pattern in ["{ $.a = 1 }", "[a, b]", "%x%", "\"open"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
