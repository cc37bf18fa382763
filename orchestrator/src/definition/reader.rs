//! Reading typed values from the tree, with every mistake kept and none in the way of the next.
//!
//! A method that returns `None` has already said why.

use std::{
    fmt::Display,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use trunkline_tasks::duration::HumanDuration;

use super::{
    diagnostic::{Diagnostic, SourceId},
    scalar::Core,
    suggest::{did_you_mean, nearest},
    template::is_template,
    tree::{Entry, Kind, Mapping, Node, Scalar},
};

/// The longest text of a name, a label or a description.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// A key that a mapping may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    /// What the mapping is, e.g. "a pipeline".
    pub(crate) of: &'a str,
    /// The keys that are read.
    pub(crate) known: &'a [&'a str],
    /// Keys that are planned and do nothing yet.
    pub(crate) later: &'a [&'a str],
}

/// Reads one file's values.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The file.
    pub(crate) source: SourceId,
    /// The mistakes so far.
    pub(crate) found: Vec<Diagnostic>,
}

impl Reader {
    /// A reader of this file.
    pub(crate) fn new(source: SourceId) -> Self {
        Self { source, found: Vec::new() }
    }

    /// An error at a place of this file.
    pub(crate) fn error(&self, span: &Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(self.source, span.clone(), message)
    }

    /// Keeps a mistake.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    /// The mapping that must stand here.
    pub(crate) fn mapping<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Mapping> {
        if let Kind::Mapping(mapping) = &node.kind {
            return Some(mapping);
        }
        self.mismatch(node, what, "names with values");
        None
    }

    /// Reports every key that is not known.
    pub(crate) fn check_keys(&mut self, mapping: &Mapping, keys: Keys<'_>) {
        for entry in &mapping.entries {
            if !keys.known.contains(&entry.key.as_str()) {
                self.unknown_key(entry, keys);
            }
        }
    }

    /// Says that a key is unknown, or planned.
    pub(crate) fn unknown_key(&mut self, entry: &Entry, keys: Keys<'_>) {
        let key = &entry.key;
        let Keys { of, known, later } = keys;
        let diagnostic = if later.contains(&key.as_str()) {
            self.error(&entry.key_span, format!("`{key}` is not supported yet"))
                .label("not yet")
                .help(format!("leave it out; this version reads: {}", known.join(", ")))
        } else {
            let help = did_you_mean(key, known.iter().copied(), &format!("{of} has"));
            self.error(&entry.key_span, format!("{of} has no key `{key}`"))
                .label("unknown key")
                .help_maybe(help)
        };
        self.report(diagnostic);
    }

    /// Says that a value has the wrong shape.
    pub(crate) fn mismatch(&mut self, node: &Node, what: &str, expected: &str) {
        let is = node.describe();
        let message = match node.as_scalar() {
            Some(scalar) if is_template(&scalar.text) => format!("`{what}` cannot be a template"),
            _ => format!("`{what}` must be {expected}, not {is}"),
        };
        let help = match node.as_scalar() {
            Some(scalar) if is_template(&scalar.text) => {
                Some(format!("write {expected}; templates are read in a task's own settings and in notices"))
            }
            _ if node.is_null() => Some(format!("give it a value, or leave `{what}` out")),
            _ => None,
        };
        let diagnostic =
            self.error(&node.span, message).label(format!("expected {expected}")).help_maybe(help);
        self.report(diagnostic);
    }

    fn plain<'n>(&mut self, entry: &'n Entry, expected: &str) -> Option<&'n Scalar> {
        match &entry.value.kind {
            Kind::Scalar(scalar) if scalar.core != Core::Null && !is_template(&scalar.text) => Some(scalar),
            _ => {
                self.mismatch(&entry.value, &entry.key, expected);
                None
            }
        }
    }

    /// Text; numbers and words as written.
    pub(crate) fn text(&mut self, entry: &Entry) -> Option<String> {
        let scalar = self.plain(entry, "text")?;
        if scalar.text.len() > TEXT_BYTES_MAX {
            let message = format!("`{}` is longer than {TEXT_BYTES_MAX} bytes", entry.key);
            let diagnostic = self.error(&entry.value.span, message).label("too long");
            self.report(diagnostic);
            return None;
        }
        Some(scalar.text.clone())
    }

    /// Text that may hold templates.
    pub(crate) fn template(&mut self, entry: &Entry) -> Option<String> {
        match &entry.value.kind {
            Kind::Scalar(scalar) if scalar.core != Core::Null && !scalar.text.is_empty() => {
                Some(scalar.text.clone())
            }
            _ => {
                self.mismatch(&entry.value, &entry.key, "text");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn integer<Number>(&mut self, entry: &Entry, bounds: RangeInclusive<Number>) -> Option<Number>
    where
        Number: TryFrom<i64> + PartialOrd + Display,
    {
        let expected = format!("a whole number from {} to {}", bounds.start(), bounds.end());
        let scalar = self.plain(entry, &expected)?;
        if let Core::Integer(value) = scalar.core
            && let Ok(value) = Number::try_from(value)
            && bounds.contains(&value)
        {
            return Some(value);
        }
        let message = format!("`{}` must be {expected}, not `{}`", entry.key, shorten(&scalar.text));
        let diagnostic = self.error(&entry.value.span, message).label(format!("expected {expected}"));
        self.report(diagnostic);
        None
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, entry: &Entry) -> Option<bool> {
        let scalar = self.plain(entry, "true or false")?;
        if let Core::Bool(value) = scalar.core {
            return Some(value);
        }
        let message = format!("`{}` must be true or false, not `{}`", entry.key, shorten(&scalar.text));
        let diagnostic = self.error(&entry.value.span, message).label("expected true or false");
        self.report(diagnostic);
        None
    }

    /// A number, as written.
    pub(crate) fn number(&mut self, entry: &Entry) -> Option<f64> {
        let scalar = self.plain(entry, "a number")?;
        match scalar.core {
            #[expect(clippy::cast_precision_loss, reason = "bounds and factors are small numbers")]
            Core::Integer(value) => Some(value as f64),
            Core::Float(value) => Some(value),
            _ => {
                let message = format!("`{}` must be a number, not `{}`", entry.key, shorten(&scalar.text));
                let diagnostic = self.error(&entry.value.span, message).label("expected a number");
                self.report(diagnostic);
                None
            }
        }
    }

    /// A duration.
    pub(crate) fn duration(&mut self, entry: &Entry) -> Option<Duration> {
        let scalar = self.plain(entry, "a duration")?;
        match scalar.text.parse::<HumanDuration>() {
            Ok(duration) => Some(duration.0),
            Err(error) => {
                let diagnostic = self
                    .error(&entry.value.span, format!("`{}`: {error}", entry.key))
                    .label("expected a duration")
                    .help("write 90s, 5m, 2h, 1d or ISO 8601 such as PT1H30M");
                self.report(diagnostic);
                None
            }
        }
    }

    /// A duration that is not zero.
    pub(crate) fn positive_duration(&mut self, entry: &Entry) -> Option<Duration> {
        let duration = self.duration(entry)?;
        if duration.is_zero() {
            let message = format!("`{}` must be longer than zero", entry.key);
            let diagnostic = self.error(&entry.value.span, message).label("nothing could happen in no time");
            self.report(diagnostic);
            return None;
        }
        Some(duration)
    }

    /// One of several words.
    pub(crate) fn word<T: Copy>(&mut self, entry: &Entry, words: &[(&str, T)]) -> Option<T> {
        let listed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let scalar = self.plain(entry, &format!("one of {}", listed.join(", ")))?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == scalar.text) {
            return Some(*value);
        }
        let help =
            nearest(&scalar.text, listed.iter().copied()).map(|word| format!("did you mean `{word}`?"));
        let message = format!("`{}` cannot be `{}`", entry.key, shorten(&scalar.text));
        let diagnostic = self
            .error(&entry.value.span, message)
            .label("unknown word")
            .help(help.unwrap_or_else(|| format!("it is one of {}", listed.join(", "))));
        self.report(diagnostic);
        None
    }

    /// One text or a list of them, each with its place.
    pub(crate) fn texts(&mut self, entry: &Entry) -> Vec<(String, Range<usize>)> {
        let nodes = match &entry.value.kind {
            Kind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        let mut texts = Vec::with_capacity(nodes.len());
        for node in nodes {
            match node.as_scalar() {
                Some(scalar) if scalar.core != Core::Null && !is_template(&scalar.text) => {
                    texts.push((scalar.text.clone(), node.span.clone()));
                }
                _ => self.mismatch(node, &entry.key, "a name or a list of names"),
            }
        }
        texts
    }
}

/// A text short enough for a message.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown.replace(['\n', '\r'], " ")
}
