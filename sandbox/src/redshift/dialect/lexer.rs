//! Redshift's SQL as pieces: where texts, comments and words begin and end. Nothing here knows what a statement
//! means.
//!
//! Differs from the lexer of the other engines in what Redshift inherited from an old `PostgreSQL`: a backslash
//! in a text escapes, comments nest, and `$tag$…$tag$` quotes the bodies of procedures.

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// White space and comments.
    Blank,
    /// A bare word or number.
    Word,
    /// `'…'`.
    Text,
    /// `"…"`.
    Quoted,
    /// `$tag$…$tag$`.
    Body,
    /// `:name`.
    Parameter,
    /// One other character, or `::`.
    Symbol,
}

/// A piece, owned so that rewriting can put others in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// What it is.
    pub kind: Kind,
    /// Its text as written.
    pub text: String,
}

impl Piece {
    /// Whether it is this word, whatever its case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is one of these words.
    pub(crate) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    /// Whether it is this symbol.
    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// SQL that was made, not read.
    pub(crate) fn made(text: impl Into<String>) -> Self {
        Self { kind: Kind::Word, text: text.into() }
    }
}

/// Cuts SQL into pieces; together they are the whole text.
pub(crate) fn pieces(sql: &str) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut rest = sql;
    while !rest.is_empty() {
        let (kind, length) = first(rest);
        found.push(Piece { kind, text: rest[..length].to_owned() });
        rest = &rest[length..];
    }
    found
}

/// The text of pieces.
pub(crate) fn text_of(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

/// The statements of a text, each without its semicolon; empty ones are left out.
pub(crate) fn statements(sql: &str) -> Vec<Vec<Piece>> {
    let mut found: Vec<Vec<Piece>> = vec![Vec::new()];
    for piece in pieces(sql) {
        if piece.is_symbol(";") {
            found.push(Vec::new());
        } else if let Some(last) = found.last_mut() {
            last.push(piece);
        }
    }
    found.retain(|pieces| pieces.iter().any(|piece| piece.kind != Kind::Blank));
    found
}

fn first(rest: &str) -> (Kind, usize) {
    let Some(c) = rest.chars().next() else { return (Kind::Blank, 0) };
    if c.is_whitespace() {
        return (Kind::Blank, while_true(rest, char::is_whitespace));
    }
    if rest.starts_with("--") {
        return (Kind::Blank, rest.find('\n').map_or(rest.len(), |end| end + 1));
    }
    if rest.starts_with("/*") {
        return (Kind::Blank, comment(rest));
    }
    match c {
        '\'' => (Kind::Text, quoted(rest, b'\'', true)),
        '"' => (Kind::Quoted, quoted(rest, b'"', false)),
        ':' if rest.starts_with("::") => (Kind::Symbol, 2),
        ':' if rest[1..].starts_with(word_character) => {
            (Kind::Parameter, 1 + while_true(&rest[1..], word_character))
        }
        '$' => body(rest).map_or((Kind::Symbol, 1), |length| (Kind::Body, length)),
        c if word_character(c) => (Kind::Word, while_true(rest, |c| word_character(c) || c == '$')),
        c => (Kind::Symbol, c.len_utf8()),
    }
}

fn word_character(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn while_true(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|c| !accept(c)).unwrap_or(text.len())
}

/// The length of a comment; an unclosed one goes to the end.
fn comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The length of `$tag$…$tag$`; `None` if it is not one.
fn body(rest: &str) -> Option<usize> {
    let tag = 1 + while_true(&rest[1..], word_character);
    if !rest[tag..].starts_with('$') {
        return None;
    }
    let quote = &rest[..=tag];
    let end = rest[quote.len()..].find(quote)?;
    Some(quote.len() + end + quote.len())
}

/// The length of a quoted piece; a doubled quote stands for itself, an unclosed one goes to the end.
fn quoted(rest: &str, quote: u8, escapes: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == b'\\' && escapes {
            at += 1;
        } else if bytes[at] == quote {
            if bytes.get(at + 1) == Some(&quote) {
                at += 1;
            } else {
                return at + 1;
            }
        }
        at += 1;
    }
    // The last character may have been an escape for nothing.
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_up_the_whole() {
        let sql = "SELECT 'a\\'b;', \"c;\" -- x;\n, :p::int /* ; /* ; */ */ FROM t$1 $x$ ; ' $x$ ü";
        let found = pieces(sql);
        assert_eq!(text_of(&found), sql);
        let kinds: Vec<_> = found
            .iter()
            .filter(|piece| piece.kind != Kind::Blank)
            .map(|piece| (piece.kind, piece.text.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [
                (Kind::Word, "SELECT"),
                (Kind::Text, "'a\\'b;'"),
                (Kind::Symbol, ","),
                (Kind::Quoted, "\"c;\""),
                (Kind::Symbol, ","),
                (Kind::Parameter, ":p"),
                (Kind::Symbol, "::"),
                (Kind::Word, "int"),
                (Kind::Word, "FROM"),
                (Kind::Word, "t$1"),
                (Kind::Body, "$x$ ; ' $x$"),
                (Kind::Word, "ü"),
            ]
        );
    }

    #[test]
    fn statements_end_at_semicolons_of_their_own() {
        let texts: Vec<_> = statements("-- one\nSELECT ';';; SELECT $$;$$ ; /* ; */")
            .iter()
            .map(|one| text_of(one))
            .collect();
        assert_eq!(texts, ["-- one\nSELECT ';'", " SELECT $$;$$ "]);
    }

    #[test]
    fn odd_texts_do_not_panic() {
        for text in ["'", "\"", "/*", "$", "$a", "$$", "$a$ü", ":", "'\\", "'ü\\ü", "--", "*/", "::", ":ü"]
        {
            assert_eq!(text_of(&pieces(text)), text);
        }
    }
}
