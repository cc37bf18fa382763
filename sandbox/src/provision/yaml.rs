//! YAML (and so JSON) to a tree whose every node knows its line.
//!
//! `CloudFormation`'s short forms (`!Ref x`) become their long forms (`{Ref: x}`) here. Scalars keep their text:
//! whether `10` is a number or a name is for the property to say.

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::Problem;

/// The most nodes of a template.
const NODES_MAX: usize = 50_000;

/// The deepest nesting.
const DEPTH_MAX: usize = 64;

/// A node with its line, counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// Where it begins.
    pub line: usize,
    /// What it is.
    pub content: Content,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// A scalar's text; `plain` if it was written without quotes.
    Text {
        /// The text.
        text: String,
        /// Without quotes.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written.
    Map(Vec<(String, Node)>),
    /// A value that is to be treated as not written (`AWS::NoValue`, or a plain null).
    Nothing,
}

impl Node {
    /// A text that was not written but made.
    pub(super) fn text(line: usize, text: impl Into<String>) -> Self {
        Self { line, content: Content::Text { text: text.into(), plain: false } }
    }

    /// The value of a key of a mapping.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(pairs) => pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The value along several keys.
    pub(super) fn path(&self, keys: &[&str]) -> Option<&Node> {
        keys.iter().try_fold(self, |node, key| node.get(key))
    }

    /// A scalar's text.
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.content {
            Content::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// A mapping's pairs; the problem names what should have been one.
    pub(super) fn pairs(&self, what: &str) -> Result<&[(String, Node)], Problem> {
        match &self.content {
            Content::Map(pairs) => Ok(pairs),
            Content::Nothing => Ok(&[]),
            _ => Err(Problem::new(self.line, format!("{what} must be a mapping"))),
        }
    }
}

/// Parses one document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut reader = Reader { parser: Parser::new_from_str(text), nodes: 0 };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, span) => {
                return Err(Problem::new(span.start.line().max(1), "the template is empty"));
            }
            (event, span) => return reader.node(event, &span, 0),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(error)) => Err(Problem::new(error.marker().line(), error.info())),
            None => Err(Problem::new(1, "the template ends too early")),
        }
    }

    fn node(&mut self, event: Event<'a>, span: &Span, depth: usize) -> Result<Node, Problem> {
        let line = span.start.line();
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            return Err(Problem::new(
                line,
                format!("the template has more than {NODES_MAX} nodes or {DEPTH_MAX} levels"),
            ));
        }
        let (content, tag) = match event {
            Event::Scalar(text, style, _, tag) => (scalar(&text, style, tag.is_some()), tag),
            Event::SequenceStart(_, _, tag) => (self.list(depth)?, tag),
            Event::MappingStart(_, _, tag) => (self.map(depth)?, tag),
            Event::Alias(_) => {
                return Err(Problem::new(line, "YAML aliases are not allowed in CloudFormation templates"));
            }
            other => return Err(Problem::new(line, format!("unexpected {other:?}"))),
        };
        let node = Node { line, content };
        match tag {
            Some(tag) => long_form(&tag, node),
            None => Ok(node),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Content, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::List(items)),
                (event, span) => items.push(self.node(event, &span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Content, Problem> {
        let mut pairs: Vec<(String, Node)> = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Content::Map(pairs)),
                (event, span) => self.node(event, &span, depth + 1)?,
            };
            let Some(name) = key.as_text() else {
                return Err(Problem::new(key.line, "a key must be a text"));
            };
            if pairs.iter().any(|(known, _)| known == name) {
                return Err(Problem::new(key.line, format!("key {name} is here twice")));
            }
            let (event, span) = self.next()?;
            let mut value = self.node(event, &span, depth + 1)?;
            // Problems with a whole block are best shown at its key.
            if matches!(value.content, Content::Map(_) | Content::List(_)) {
                value.line = key.line;
            }
            pairs.push((name.to_owned(), value));
        }
    }
}

fn scalar(text: &str, style: ScalarStyle, is_tagged: bool) -> Content {
    let plain = style == ScalarStyle::Plain;
    if plain && !is_tagged && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Content::Nothing;
    }
    Content::Text { text: text.to_owned(), plain }
}

fn long_form(tag: &Tag, node: Node) -> Result<Node, Problem> {
    if tag.core_suffix().is_some() {
        return Ok(node);
    }
    let line = node.line;
    let name = match (tag.handle(), tag.suffix()) {
        ("!", name @ ("Ref" | "Condition")) => name.to_owned(),
        ("!", name) => format!("Fn::{name}"),
        (handle, name) => return Err(Problem::new(line, format!("unknown tag {handle}{name}"))),
    };
    Ok(Node { line, content: Content::Map(vec![(name, node)]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_become_long_forms() {
        let node = parse("a: !Ref B\nc: !GetAtt D.Arn\ne: !Join ['-', [x, !Sub \"${Y}\"]]\n").unwrap();
        assert_eq!(node.path(&["a", "Ref"]).unwrap().as_text(), Some("B"));
        assert_eq!(node.path(&["c", "Fn::GetAtt"]).unwrap().as_text(), Some("D.Arn"));
        let Content::List(items) = &node.path(&["e", "Fn::Join"]).unwrap().content else { panic!() };
        assert_eq!(items[0].as_text(), Some("-"));
    }

    #[test]
    fn lines_are_kept() {
        let node = parse("# first\na:\n  b: 1\n  c:\n    - x\n").unwrap();
        assert_eq!(node.get("a").unwrap().line, 2);
        assert_eq!(node.path(&["a", "b"]).unwrap().line, 3);
        assert_eq!(node.path(&["a", "c"]).unwrap().line, 4);
    }

    #[test]
    fn json_is_yaml() {
        let node = parse("{\"Resources\": {\"A\": {\"Type\": \"T\", \"N\": 5}}}").unwrap();
        assert_eq!(node.path(&["Resources", "A", "N"]).unwrap().as_text(), Some("5"));
    }

    #[test]
    fn what_cloudformation_refuses_is_refused() {
        assert!(parse("a: &x 1\nb: *x\n").unwrap_err().message.contains("aliases"));
        assert_eq!(parse("a: 1\na: 2\n").unwrap_err(), Problem::new(2, "key a is here twice"));
        assert!(parse("").is_err());
        assert!(parse("a: [1\nb: 2").is_err());
        assert!(parse(&"[".repeat(1000)).is_err());
    }
}
