//! What is wrong with a definition, where, and how to repair it.
//!
//! Here live the value, its order and its two forms: text for people (rendered by miette) and
//! rows for programs. What counts as wrong is decided elsewhere.

use std::{fmt::Write as _, ops::Range, path::PathBuf, sync::Arc};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// So many are shown; a broken file seldom needs more than the first ten.
pub const SHOWN_MAX: usize = 100;
/// So many bytes of rendered text are enough: each mistake on a line of a megabyte brings the whole line.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Columns of the rendered text: fits a terminal beside an editor.
const WIDTH: usize = 100;

/// Position of a file in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(usize);

/// A file that diagnostics point into.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The path as people know it: relative to the project's root where it lies inside.
    pub name: String,
    /// Where it was read from.
    pub path: PathBuf,
    /// Its text; bytes that are not UTF-8 replaced.
    pub text: Arc<str>,
}

/// All files that were read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The definition cannot be used.
    Error,
    /// It can, but somebody should look.
    Warning,
}

/// A second place that explains the first, in the same or in another file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// The file.
    pub source: SourceId,
    /// The bytes.
    pub span: Range<usize>,
    /// The words under it.
    pub label: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file and the bytes; `None` where no file is to blame.
    pub place: Option<(SourceId, Range<usize>)>,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// The words under the underlined text.
    pub label: String,
    /// How to repair it.
    pub help: Option<String>,
    /// Further places.
    pub related: Vec<Related>,
}

/// Everything that was found, with the files that it points into.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The files.
    pub sources: Sources,
    /// What was found; in the order of files and places after [`Diagnostics::sort`].
    pub items: Vec<Diagnostic>,
}

/// One diagnostic as a row, for `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Located<'a> {
    /// The file's name.
    pub file: Option<&'a str>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column in characters, from 1.
    pub column: Option<usize>,
    /// How bad.
    pub severity: Severity,
    /// What is wrong.
    pub message: &'a str,
    /// How to repair it.
    pub help: Option<&'a str>,
}

impl Sources {
    /// Keeps a file.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        path: impl Into<PathBuf>,
        text: impl Into<Arc<str>>,
    ) -> SourceId {
        self.files.push(SourceFile { name: name.into(), path: path.into(), text: text.into() });
        SourceId(self.files.len() - 1)
    }

    /// The file.
    pub fn get(&self, id: SourceId) -> &SourceFile {
        &self.files[id.0]
    }

    /// The files in the order of reading.
    pub fn iter(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// Line and column, both from 1, the column in characters.
    pub fn position(&self, id: SourceId, offset: usize) -> (usize, usize) {
        let text = &self.get(id).text;
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |found| found + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(source: SourceId, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            place: Some((source, span)),
            severity: Severity::Error,
            message: message.into(),
            label: "here".to_owned(),
            help: None,
            related: Vec::new(),
        }
    }

    /// An error that no place in a file explains.
    pub fn general(message: impl Into<String>) -> Self {
        Self {
            place: None,
            severity: Severity::Error,
            message: message.into(),
            label: String::new(),
            help: None,
            related: Vec::new(),
        }
    }

    /// The same with words under the underlined text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// The same with a way to repair it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with a way to repair it, if there is one.
    #[must_use]
    pub fn help_maybe(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// The same with a further place.
    #[must_use]
    pub fn related(mut self, source: SourceId, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related.push(Related { source, span, label: label.into() });
        self
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl Diagnostics {
    /// Whether anything forbids the use of a definition.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// How many errors and how many warnings.
    pub fn counts(&self) -> (usize, usize) {
        let errors = self.items.iter().filter(|item| item.severity == Severity::Error).count();
        (errors, self.items.len() - errors)
    }

    /// Orders by file, then by place; what has no place comes first. Doubles are removed.
    pub fn sort(&mut self) {
        let sources = &self.sources;
        self.items.sort_by(|one, other| key(sources, one).cmp(&key(sources, other)));
        self.items.dedup();
    }

    /// Takes over what another reading found, with its files.
    pub fn absorb(&mut self, other: Self) {
        let shift = self.sources.files.len();
        self.sources.files.extend(other.sources.files);
        for mut item in other.items {
            if let Some((source, _)) = &mut item.place {
                source.0 += shift;
            }
            for related in &mut item.related {
                related.source.0 += shift;
            }
            self.items.push(item);
        }
    }

    /// Everything as text: place, underlined text, suggestion. `color` only on a terminal.
    pub fn render(&self, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(WIDTH)
            .with_links(false)
            .with_context_lines(1)
            .without_cause_chain();
        let (mut text, mut shown) = (String::new(), 0);
        for item in self.items.iter().take(SHOWN_MAX) {
            if text.len() > TEXT_BYTES_MAX {
                break;
            }
            shown += 1;
            for report in self.reports(item) {
                if handler.render_report(&mut text, &report).is_err() {
                    let _ = writeln!(text, "{}", item.message);
                }
            }
        }
        if self.items.len() > shown {
            let _ = writeln!(text, "and {} more", self.items.len() - shown);
        }
        text
    }

    /// Everything as rows. Each place is looked for as its row is taken.
    pub fn rows(&self) -> impl Iterator<Item = Located<'_>> {
        self.items.iter().map(|item| {
            let place = item.place.as_ref().map(|(source, span)| {
                let (line, column) = self.sources.position(*source, span.start);
                (self.sources.get(*source).name.as_str(), line, column)
            });
            Located {
                file: place.map(|(file, ..)| file),
                line: place.map(|(_, line, _)| line),
                column: place.map(|(.., column)| column),
                severity: item.severity,
                message: &item.message,
                help: item.help.as_deref(),
            }
        })
    }

    /// A diagnostic and its places in other files as miette understands them.
    fn reports(&self, item: &Diagnostic) -> Vec<Report> {
        let home = item.place.as_ref().map(|(source, _)| *source);
        let mut first = Report {
            message: item.message.clone(),
            help: item.help.clone(),
            severity: match item.severity {
                Severity::Error => miette::Severity::Error,
                Severity::Warning => miette::Severity::Warning,
            },
            source: home.map(|source| self.named(source)),
            labels: Vec::new(),
        };
        if let Some((source, span)) = &item.place {
            let label = (!item.label.is_empty()).then(|| item.label.clone());
            first.labels.push(LabeledSpan::new_primary_with_span(label, self.visible(*source, span)));
        }
        let mut elsewhere = Vec::new();
        for related in &item.related {
            let span = self.visible(related.source, &related.span);
            let label = LabeledSpan::new_with_span(Some(related.label.clone()), span);
            if Some(related.source) == home {
                first.labels.push(label);
            } else {
                elsewhere.push(Report {
                    message: related.label.clone(),
                    help: None,
                    severity: miette::Severity::Advice,
                    source: Some(self.named(related.source)),
                    labels: vec![label],
                });
            }
        }
        std::iter::once(first).chain(elsewhere).collect()
    }

    fn named(&self, source: SourceId) -> NamedSource<Arc<str>> {
        let file = self.sources.get(source);
        NamedSource::new(&file.name, file.text.clone())
    }

    /// The first line of the span: what spans lines is drawn badly and says no more.
    fn visible(&self, source: SourceId, span: &Range<usize>) -> (usize, usize) {
        let text = &self.sources.get(source).text;
        let start = span.start.min(text.len());
        let end = span.end.clamp(start, text.len());
        let first_line = text.get(start..end).map_or(0, |piece| piece.lines().next().map_or(0, str::len));
        (start, first_line)
    }
}

fn key<'a>(sources: &'a Sources, item: &'a Diagnostic) -> (Option<&'a str>, usize, &'a str) {
    match &item.place {
        Some((source, span)) => (Some(sources.get(*source).name.as_str()), span.start, &item.message),
        None => (None, 0, &item.message),
    }
}

#[derive(Debug)]
struct Report {
    message: String,
    help: Option<String>,
    severity: miette::Severity,
    source: Option<NamedSource<Arc<str>>>,
    labels: Vec<LabeledSpan>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}
