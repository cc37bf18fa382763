//! Reading a statement piece by piece, for the statements that the engine's own parser does not know.

use super::sql_text::{Kind, Token, meaningful};

/// A place in a statement.
#[derive(Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a statement.
    pub fn new(text: &'a str) -> Self {
        Self { text, tokens: meaningful(text), at: 0 }
    }

    /// The next piece.
    pub fn peek(&self) -> Option<&Token<'a>> {
        self.tokens.get(self.at)
    }

    /// Passes over a word if it is next.
    pub fn accept_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_word(word));
        self.at += usize::from(found);
        found
    }

    /// Passes over a character if it is next.
    pub fn accept_symbol(&mut self, symbol: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_symbol(symbol));
        self.at += usize::from(found);
        found
    }

    /// Passes over a word that must be next.
    pub fn word(&mut self, word: &str) -> Result<(), String> {
        if self.accept_word(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    /// Passes over a character that must be next.
    pub fn symbol(&mut self, symbol: &str) -> Result<(), String> {
        if self.accept_symbol(symbol) { Ok(()) } else { Err(self.expected(symbol)) }
    }

    /// Takes a name, bare or quoted.
    pub fn name(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(token) if matches!(token.kind, Kind::Word | Kind::Quoted) => {
                let name = token.content();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.expected("a name")),
        }
    }

    /// Takes a text in single quotes.
    pub fn text(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(token) if token.kind == Kind::Text => {
                let text = token.content();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.expected("a text in single quotes")),
        }
    }

    /// A type: everything up to a comma or closing parenthesis that is not inside brackets.
    pub fn type_text(&mut self) -> Result<String, String> {
        let begin = self.peek().map_or(self.text.len(), |token| token.at);
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token.text {
                "(" | "<" => depth += 1,
                ")" | "," if depth == 0 => break,
                ")" | ">" => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
        let end = self.peek().map_or(self.text.len(), |token| token.at);
        let text = self.text[begin..end].trim();
        if text.is_empty() { Err(self.expected("a type")) } else { Ok(text.to_lowercase()) }
    }

    /// An expression: everything up to the query that follows.
    pub fn until_query(&mut self) -> Result<String, String> {
        let begin = self.peek().map_or(self.text.len(), |token| token.at);
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token.text {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ if depth == 0 && (token.is_word("SELECT") || token.is_word("WITH")) => {
                    return Ok(self.text[begin..token.at].trim().to_owned());
                }
                _ => {}
            }
            self.at += 1;
        }
        Err(self.expected("SELECT"))
    }

    /// Passes over several words if they are all next.
    pub fn accept_words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(offset, word)| self.tokens.get(self.at + offset).is_some_and(|token| token.is_word(word)));
        if found {
            self.at += words.len();
        }
        found
    }

    /// The rest of the statement, which must be a query.
    pub fn query(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(token) if token.is_word("SELECT") || token.is_word("WITH") || token.is_symbol("(") => {
                Ok(self.text[token.at..].to_owned())
            }
            _ => Err(self.expected("SELECT")),
        }
    }

    /// The statement must end here.
    pub fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            Some(token) => Err(format!("unexpected `{}` after the end of the statement", token.text)),
        }
    }

    /// The error for something else being next.
    pub fn expected(&self, what: &str) -> String {
        match self.peek() {
            Some(token) => format!("expected {what}, found `{}`", token.text),
            None => format!("expected {what} at the end of the statement"),
        }
    }
}
