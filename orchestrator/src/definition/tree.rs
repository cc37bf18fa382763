//! YAML text → a tree in which every key and every value knows where it stands.
//!
//! Here lives the only use of the YAML parser. It reads events, not typed values: only the
//! events tell a quoted `"012"` from a plain one and where an anchor or a tag was written.
//! What the keys mean is decided in [`super::lower`], never here. No input panics.

use std::{collections::HashMap, ops::Range};

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StructureStyle, options};
use serde_json::Value;
use trunkline_state::document::RAW_KEY;

use super::{
    reader::shorten,
    scalar::{Core, core_value},
};

/// The longest file: the text of 5,000 tasks fits several times.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// The deepest nesting: a task's settings need about eight levels.
pub const DEPTH_MAX: usize = 32;
/// The most values and keys of one file: 5,000 tasks with 20 settings each.
pub const NODES_MAX: usize = 250_000;
/// Up to so many entries are compared one by one to find a name that is given twice.
const SMALL_MAPPING: usize = 16;
/// After so many mistakes of one file the rest says nothing new.
const PROBLEMS_MAX: usize = 100;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Byte range of the value in the file; of its key, where the value is not written at all.
    pub span: Range<usize>,
    /// The value.
    pub kind: Kind,
}

/// The three shapes of YAML.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// One value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// Named values.
    Mapping(Mapping),
}

/// One value: as written and as YAML 1.2 reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scalar {
    /// The text, unquoted and unfolded; the digits as written, zeros included.
    pub text: String,
    /// How it was written.
    pub style: Style,
    /// What a reader without a schema takes it for.
    pub core: Core,
}

/// How a scalar was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|` or `>`
    Block,
}

/// Named values in the order of the file. Names are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapping {
    /// The entries.
    pub entries: Vec<Entry>,
}

/// One name with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name as written.
    pub key: String,
    /// Where the name stands.
    pub key_span: Range<usize>,
    /// The value.
    pub value: Node,
}

/// A mistake in the YAML itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// The words under the underlined text.
    pub label: String,
    /// How to repair it.
    pub help: Option<String>,
    /// A second place that explains the first.
    pub related: Option<(Range<usize>, String)>,
}

/// What [`parse`] found: a tree where one could be built, and every mistake.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The document's value; `None` for an empty or unreadable file.
    pub root: Option<Node>,
    /// The mistakes in the order of the file.
    pub problems: Vec<Problem>,
}

impl Mapping {
    /// The entry of this name.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

impl Node {
    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The mapping, if it is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            Kind::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// Whether nothing is written, or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(scalar) if scalar.core == Core::Null)
    }

    /// The plain values, as an editor's schema sees them.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.core.to_json(&scalar.text),
            Kind::Sequence(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Mapping(mapping) => {
                let entries = mapping.entries.iter();
                Value::Object(entries.map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }

    /// What it is, for a message.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Sequence(_) => "a list".to_owned(),
            Kind::Mapping(_) => "a mapping".to_owned(),
            Kind::Scalar(scalar) if scalar.core == Core::Null => "nothing".to_owned(),
            Kind::Scalar(scalar) => format!("`{}`", shorten(&scalar.text)),
        }
    }
}

/// Reads a file's bytes.
pub fn parse(bytes: &[u8]) -> Parsed {
    if bytes.len() > FILE_BYTES_MAX {
        return refused(
            0..0,
            format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", bytes.len()),
            "split it into several pipelines",
        );
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Builder::new(text).run(),
        Err(error) => {
            let at = error.valid_up_to();
            refused(at..at, "the file is not UTF-8 text".to_owned(), "save it as UTF-8")
        }
    }
}

fn refused(span: Range<usize>, message: String, help: &str) -> Parsed {
    let problem =
        Problem { span, message, label: "here".to_owned(), help: Some(help.to_owned()), related: None };
    Parsed { root: None, problems: vec![problem] }
}

/// A collection whose end has not been read.
enum Open {
    Sequence { span: Range<usize>, flow: bool, items: Vec<Node> },
    Mapping { span: Range<usize>, flow: bool, entries: Vec<Entry>, seen: HashMap<String, usize>, key: Key },
}

/// What a mapping expects next.
enum Key {
    /// A name.
    Awaited,
    /// The value of this name.
    Read(String, Range<usize>),
    /// The value of something that cannot be a name; dropped.
    Unusable,
}

struct Builder<'a> {
    text: &'a str,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
    /// Where the last event ended: what the parser chokes on begins after it.
    consumed: usize,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, open: Vec::new(), root: None, nodes: 0, documents: 0, consumed: 0, problems: Vec::new() }
    }

    fn run(mut self) -> Parsed {
        let options = options! {
            disallow_directives: true,
            emit_unresolved_aliases: true,
            emit_anchor_events: true,
            emit_comments: false,
            simple_key_max_lookahead: 1024,
            // Two more than ours, so that our message comes first.
            flow_nesting_limit: DEPTH_MAX + 2,
            block_nesting_limit: DEPTH_MAX + 2,
        };
        for next in Parser::new_from_str_with_options(self.text, options) {
            let step = match next {
                Ok((event, span)) => self.event(event, &span),
                Err(error) => {
                    self.syntax(&error);
                    Err(())
                }
            };
            if step.is_err() {
                // Whatever was built is cut off in the middle: checking it would blame the
                // reader for keys that the parser never reached.
                return Parsed { root: None, problems: self.problems };
            }
        }
        Parsed { root: self.root, problems: self.problems }
    }

    /// `Err` ends the reading of this file.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), ()> {
        let range = self.range(span);
        self.consumed = self.consumed.max(range.end);
        if let Some(tag) = span.tag_span() {
            let tag = self.range(&tag);
            self.problem(tag, "tags are not used in this file", "tag", "write the value without it")?;
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problem(
                        range,
                        "a file holds one document",
                        "second document",
                        "give it its own file",
                    )?;
                    return Err(());
                }
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style, range)?,
            Event::SequenceStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                self.enter(Open::Sequence { span: range, flow, items: Vec::new() })?;
            }
            Event::MappingStart(style, ..) => {
                let flow = style == StructureStyle::Flow;
                self.enter(Open::Mapping {
                    span: range,
                    flow,
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    key: Key::Awaited,
                })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(range.end)?,
            Event::Anchor(..) => self.problem(
                range,
                "anchors are not used in this file",
                "anchor",
                "write the value where it is needed; `defaults` holds what all tasks share",
            )?,
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.problem(
                    range.clone(),
                    "aliases are not used in this file",
                    "alias",
                    "write the value here; quote the text if the `*` belongs to it",
                )?;
                self.scalar("", ScalarStyle::Plain, range)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Range<usize>) -> Result<(), ()> {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        let core = if style == Style::Plain { core_value(text) } else { Core::Text };
        self.add(Node { span, kind: Kind::Scalar(Scalar { text: text.to_owned(), style, core }) })
    }

    fn enter(&mut self, open: Open) -> Result<(), ()> {
        if self.open.len() >= DEPTH_MAX {
            let (Open::Sequence { span, .. } | Open::Mapping { span, .. }) = &open;
            let span = span.clone();
            let message = format!("values are nested deeper than {DEPTH_MAX} levels");
            self.problem(span, &message, "one level too many", "flatten the value")?;
            return Err(());
        }
        self.open.push(open);
        Ok(())
    }

    fn leave(&mut self, end: usize) -> Result<(), ()> {
        let node = match self.open.pop() {
            Some(Open::Sequence { span, flow, items }) => {
                let last = items.last().map_or(span.end, |item| item.span.end);
                Node { span: collection_span(&span, flow, last, end), kind: Kind::Sequence(items) }
            }
            Some(Open::Mapping { span, flow, entries, .. }) => {
                let last = entries.last().map_or(span.end, |entry| entry.value.span.end);
                let span = collection_span(&span, flow, last, end);
                Node { span, kind: Kind::Mapping(Mapping { entries }) }
            }
            None => return Ok(()),
        };
        self.add(node)
    }

    /// Puts a finished value where it belongs.
    fn add(&mut self, mut node: Node) -> Result<(), ()> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message = format!("the file holds more than {NODES_MAX} values");
            self.problem(node.span, &message, "one too many", "split it into several pipelines")?;
            return Err(());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let (entries, seen, key) = match open {
            Open::Sequence { items, .. } => {
                items.push(node);
                return Ok(());
            }
            Open::Mapping { entries, seen, key, .. } => (entries, seen, key),
        };
        match std::mem::replace(key, Key::Awaited) {
            Key::Unusable => Ok(()),
            Key::Read(name, key_span) => {
                if node.span.is_empty() {
                    node.span = key_span.clone();
                }
                if let Some(first) = earlier(entries, seen, &name) {
                    let first = entries[first].key_span.clone();
                    return self.duplicate(&name, key_span, first);
                }
                if entries.len() >= SMALL_MAPPING {
                    seen.insert(name.clone(), entries.len());
                }
                entries.push(Entry { key: name, key_span, value: node });
                Ok(())
            }
            Key::Awaited => {
                let span = node.span.clone();
                let unusable = match node.kind {
                    Kind::Scalar(scalar) if scalar.text == RAW_KEY => {
                        *key = Key::Unusable;
                        return self.problem(
                            span,
                            &format!("`{RAW_KEY}` cannot be a key"),
                            "means something else in JSON",
                            "give it another name",
                        );
                    }
                    Kind::Scalar(Scalar { text, style: Style::Plain, .. }) if text == "<<" => true,
                    Kind::Scalar(scalar) => {
                        *key = Key::Read(scalar.text, span);
                        return Ok(());
                    }
                    _ => false,
                };
                *key = Key::Unusable;
                self.unusable_key(span, unusable)
            }
        }
    }

    fn duplicate(&mut self, name: &str, span: Range<usize>, first: Range<usize>) -> Result<(), ()> {
        self.problem(
            span,
            &format!("`{name}` is given twice"),
            "second time",
            "keep one of them; neither wins over the other",
        )?;
        if let Some(problem) = self.problems.last_mut() {
            problem.related = Some((first, "first time".to_owned()));
        }
        Ok(())
    }

    fn unusable_key(&mut self, span: Range<usize>, merge: bool) -> Result<(), ()> {
        if merge {
            return self.problem(
                span,
                "merge keys are not used in this file",
                "merge key",
                "write the values out; `defaults` holds what all tasks share",
            );
        }
        let template = self.text[..span.start].ends_with('{') || self.text[span.start..].starts_with("{{");
        if template {
            let help = "put the value in quotes: \"{{ … }}\"";
            return self.problem(span, "a template outside quotes is read as a mapping", "template", help);
        }
        self.problem(
            span,
            "a name must be text, not a list or a mapping",
            "not a name",
            "name it in one word",
        )
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = self.boundary(error.marker().byte_offset().unwrap_or(0));
        let line_start = self.text[..at].rfind('\n').map_or(0, |found| found + 1);
        let line_end = self.text[at..].find('\n').map_or(self.text.len(), |found| at + found);
        let end =
            self.text[at..].chars().next().filter(|c| !c.is_control()).map_or(at, |c| at + c.len_utf8());
        let line = &self.text[line_start..line_end];
        let (label, help) = advice(error, line);
        let related = self.opening(error.kind(), at);
        let _ = self.problem(at..end, &syntax_message(error), label, help);
        if let Some(problem) = self.problems.last_mut() {
            problem.related = related.filter(|(span, _)| span.start != at);
        }
    }

    /// The quote or bracket that is still open where the parser gives up: the mistake is more
    /// often there than here.
    fn opening(&self, kind: &ErrorKind, at: usize) -> Option<(Range<usize>, String)> {
        let from = self.boundary(self.consumed.min(at));
        let quoted = matches!(
            kind,
            ErrorKind::UnclosedQuotedScalar
                | ErrorKind::InvalidQuotedScalarIndent
                | ErrorKind::InvalidTrailingDoubleQuotedScalar
                | ErrorKind::InvalidTrailingSingleQuotedScalar
                | ErrorKind::DocumentIndicatorInQuotedScalar
                | ErrorKind::UnknownQuotedScalarEscape
                | ErrorKind::TabInIndentation
        );
        let quote = self.text[from..at].find(['"', '\'']).filter(|_| quoted).map(|found| from + found);
        let flow = self.open.iter().rev().find_map(|open| match open {
            Open::Sequence { span, flow: true, .. } | Open::Mapping { span, flow: true, .. } => {
                Some(span.start)
            }
            _ => None,
        });
        // A bracket that was read but not yet reported as an event.
        let flow = flow.or_else(|| self.text[from..at].find(['[', '{']).map(|found| from + found));
        // What stands behind a whole text is rather wrong because of a bracket that a line above left open.
        let trails = matches!(
            kind,
            ErrorKind::InvalidTrailingDoubleQuotedScalar | ErrorKind::InvalidTrailingSingleQuotedScalar
        );
        let is_above =
            |quote: usize| flow.is_some_and(|start| start < quote && self.text[start..quote].contains('\n'));
        if let Some(quote) = quote.filter(|quote| !(trails && is_above(*quote))) {
            return Some((quote..quote + 1, "the quoted text begins here".to_owned()));
        }
        if let Some(start) = flow {
            return Some((start..start + 1, "this bracket is still open".to_owned()));
        }
        self.outer_line(at).map(|line| (line, "read as part of what begins here".to_owned()))
    }

    /// The nearest line above that is less indented: the block that the line at `at` is read
    /// as a part of. A wrong indentation shows only where the block goes on.
    fn outer_line(&self, at: usize) -> Option<Range<usize>> {
        let start = self.text[..at].rfind('\n').map_or(0, |found| found + 1);
        let indent = |line: &str| line.len() - line.trim_start().len();
        let own = at - start - self.text[start..at].trim_start().len();
        let mut end = start;
        while end > 0 {
            let from = self.text[..end - 1].rfind('\n').map_or(0, |found| found + 1);
            let line = self.text[from..end].trim_end();
            let content = line.trim_start();
            if !content.is_empty() && !content.starts_with('#') && indent(line) < own {
                return Some(from + indent(line)..from + line.len());
            }
            end = from;
        }
        None
    }

    fn problem(&mut self, span: Range<usize>, message: &str, label: &str, help: &str) -> Result<(), ()> {
        let span = self.boundary(span.start)..self.boundary(span.end);
        self.problems.push(Problem {
            span,
            message: message.to_owned(),
            label: label.to_owned(),
            help: (!help.is_empty()).then(|| help.to_owned()),
            related: None,
        });
        if self.problems.len() >= PROBLEMS_MAX { Err(()) } else { Ok(()) }
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let Some(range) = span.byte_range() else { return 0..0 };
        let start = self.boundary(range.start);
        let mut end = self.boundary(range.end).max(start);
        // Block scalars end after their last line break; what is underlined ends before it.
        while end > start && self.text.as_bytes()[end - 1].is_ascii_whitespace() {
            end -= 1;
        }
        start..end
    }

    fn boundary(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// The position of an entry with this name. The first few are compared one by one, the rest
/// stand in the index.
fn earlier(entries: &[Entry], index: &HashMap<String, usize>, name: &str) -> Option<usize> {
    let few = entries.iter().take(SMALL_MAPPING).position(|entry| entry.key == name);
    few.or_else(|| index.get(name).copied())
}

fn collection_span(start: &Range<usize>, flow: bool, last: usize, end: usize) -> Range<usize> {
    let end = if flow { end } else { last };
    start.start..end.max(start.start)
}

fn syntax_message(error: &ScanError) -> String {
    if *error.kind() == ErrorKind::RecursionLimitExceeded {
        return format!("values are nested deeper than {DEPTH_MAX} levels");
    }
    let info = error.info();
    let info = info.trim();
    if info.is_empty() {
        "the YAML cannot be read".to_owned()
    } else {
        format!("the YAML cannot be read: {info}")
    }
}

/// What people most often mean where the parser gives up.
fn advice(error: &ScanError, line: &str) -> (&'static str, &'static str) {
    use ErrorKind as K;
    let value = line.split_once(": ").map_or(line, |(_, value)| value).trim_start();
    if value.starts_with("{{") || value.starts_with("{%") {
        return ("read as far as here", "put a value that holds a template in quotes: \"{{ … }}\"");
    }
    match error.kind() {
        K::TabNotAllowed | K::TabInBlockIndentation | K::TabInIndentation | K::TabAtBlockScalarStart => {
            ("tab", "indent with spaces")
        }
        K::UnclosedQuotedScalar | K::InvalidQuotedScalarIndent => {
            ("a quote is still open here", "close the quote")
        }
        K::MappingValueNotAllowed | K::InvalidColonPlacement => {
            ("this colon does not fit", "put text that holds `: ` in quotes, or check the indentation")
        }
        K::ExpectedBlockMappingKey | K::InvalidIndentation | K::SimpleKeyExpected => (
            "read as far as here",
            "check the indentation of this line and the one before; a name ends with `:`",
        ),
        K::UnexpectedCharacter { .. } => ("this character", "put the text in quotes"),
        K::DirectiveDisallowed => ("directive", "leave out lines that start with `%`"),
        _ => ("read as far as here", "check the indentation, quotes and brackets up to here"),
    }
}
