//! SQL as text: where strings, comments and words begin and end. Nothing here knows what a statement means.

/// A piece of SQL text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// White space and comments.
    Blank,
    /// A bare word: letters, digits, `_`, and `$` with what stands in `${…}`.
    Word,
    /// `'…'` with doubled quotes.
    Text,
    /// `"…"` or `` `…` ``.
    Quoted,
    /// `:name`.
    Parameter,
    /// One other character.
    Symbol,
}

/// A piece with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// The text as written.
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub at: usize,
}

impl Token<'_> {
    /// Whether it is this word, whatever its case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is this character.
    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// The content of a text or quoted name without its quotes; other pieces as they are.
    pub fn content(&self) -> String {
        match self.kind {
            Kind::Text | Kind::Quoted => {
                let quote = &self.text[..1];
                let inner = self.text[1..].strip_suffix(quote).unwrap_or(&self.text[1..]);
                inner.replace(&quote.repeat(2), quote)
            }
            _ => self.text.to_owned(),
        }
    }
}

/// Cuts SQL into pieces; together they are the whole text.
pub fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < sql.len() {
        let rest = &sql[at..];
        let (kind, length) = first(rest);
        found.push(Token { kind, text: &rest[..length], at });
        at += length;
    }
    found
}

/// The pieces that mean something.
pub fn meaningful(sql: &str) -> Vec<Token<'_>> {
    tokens(sql).into_iter().filter(|token| token.kind != Kind::Blank).collect()
}

/// A statement of a script and the place of its first meaningful piece in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The text without the semicolon.
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub at: usize,
}

/// Cuts a script at its semicolons; empty statements are left out.
pub fn statements(script: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::new();
    let mut begin: Option<usize> = None;
    for token in tokens(script) {
        if token.is_symbol(";") {
            if let Some(at) = begin.take() {
                found.push(Statement { text: script[at..token.at].trim_end(), at });
            }
        } else if token.kind != Kind::Blank && begin.is_none() {
            begin = Some(token.at);
        }
    }
    if let Some(at) = begin {
        found.push(Statement { text: script[at..].trim_end(), at });
    }
    found
}

/// The line (from 1) of a place in a text.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// A value as an SQL text literal.
pub fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn first(rest: &str) -> (Kind, usize) {
    let Some(c) = rest.chars().next() else { return (Kind::Blank, 0) };
    if c.is_whitespace() {
        return (Kind::Blank, while_true(rest, char::is_whitespace));
    }
    if rest.starts_with("--") {
        return (Kind::Blank, rest.find('\n').map_or(rest.len(), |end| end + 1));
    }
    if let Some(comment) = rest.strip_prefix("/*") {
        return (Kind::Blank, comment.find("*/").map_or(rest.len(), |end| end + 4));
    }
    match c {
        '\'' => (Kind::Text, quoted(rest, b'\'')),
        '"' => (Kind::Quoted, quoted(rest, b'"')),
        '`' => (Kind::Quoted, quoted(rest, b'`')),
        // A cast `::type` is not a parameter.
        ':' if rest.starts_with("::") => (Kind::Symbol, 2),
        ':' if rest[1..].starts_with(|c: char| c.is_alphabetic() || c == '_') => {
            (Kind::Parameter, 1 + while_true(&rest[1..], word_character))
        }
        '$' if rest.starts_with("${") => {
            let end = rest.find('}').map_or(rest.len(), |end| end + 1);
            (Kind::Word, end + word_length(&rest[end..]))
        }
        c if word_character(c) => (Kind::Word, word_length(rest)),
        c => (Kind::Symbol, c.len_utf8()),
    }
}

/// The length of a word that may hold `${…}` in its middle.
fn word_length(rest: &str) -> usize {
    let mut length = while_true(rest, word_character);
    while rest[length..].starts_with("${") {
        length += rest[length..].find('}').map_or(rest.len() - length, |end| end + 1);
        length += while_true(&rest[length..], word_character);
    }
    length
}

fn word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn while_true(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|c| !accept(c)).unwrap_or(text.len())
}

/// The length of a quoted piece; a doubled quote stands for itself, an unclosed one goes to the end.
fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) == Some(&quote) {
                at += 1;
            } else {
                return at + 1;
            }
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_whole() {
        let sql = "SELECT 'a''b;', \"c;\" -- x;\n, :p::int /* ; */ FROM ${db}.t_${x}_2 ü";
        let pieces = tokens(sql);
        assert_eq!(pieces.iter().map(|token| token.text).collect::<String>(), sql);
        let kinds: Vec<_> =
            meaningful(sql).iter().map(|token| format!("{:?} {}", token.kind, token.text)).collect();
        insta::assert_snapshot!(kinds.join("\n"));
    }

    #[test]
    fn cuts_at_semicolons_only() {
        let script = "-- first\nSET a = ';';\n\n;SELECT 1 /* ; */\n;  ";
        let cut = statements(script);
        let texts: Vec<_> = cut.iter().map(|statement| statement.text).collect();
        assert_eq!(texts, ["SET a = ';'", "SELECT 1 /* ; */"]);
        assert_eq!(line_of(script, cut[1].at), 4);
    }

    #[test]
    fn odd_texts_do_not_panic() {
        for text in ["'", "\"", "`", "/*", "${", ":", "$", "a${", "'ü", "::", ":ü"] {
            assert_eq!(tokens(text).iter().map(|token| token.text).collect::<String>(), text);
            let _ = tokens(text).iter().map(Token::content).count();
        }
        assert_eq!(literal("o'hara"), "'o''hara'");
    }
}
