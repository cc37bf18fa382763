//! What people and scripts see: the only writer to stdout and stderr of the commands.
//!
//! Data goes to stdout, everything else to stderr. Colours and moving lines appear only on a
//! terminal and never where `NO_COLOR` is set. A closed pipe ends the output, not the command.

use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write as _},
};

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use trunkline_state::schedule::describe_instant;

/// How the output looks. Cheap to copy; holds no stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    live: bool,
    notes: Notes,
}

/// Where notes and warnings for people go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notes {
    Stderr,
    Log,
    Nowhere,
}

/// One column's text and whether it is a state, to be coloured as one.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    /// Plain text.
    Text(String),
    /// A word of `state::words`, in its colour.
    State(String),
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[expect(clippy::unused_self, reason = "writing is a right: only who holds an Output writes")]
impl Output {
    /// For this process: moving lines only where stderr is a terminal and a person reads.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, live: !json && std::io::stderr().is_terminal(), notes: Notes::Stderr }
    }

    /// For what a command does on the way and nobody asked about: notes and warnings are dropped.
    pub(crate) fn silent() -> Self {
        Self { json: false, live: false, notes: Notes::Nowhere }
    }

    /// The same, with everything for people as lines of the log: who collects JSON wants nothing else.
    pub(crate) fn in_log(self, in_log: bool) -> Self {
        if in_log { Self { notes: Notes::Log, live: false, ..self } } else { self }
    }

    /// Whether machines read stdout.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// Whether moving lines are welcome on stderr.
    pub(crate) fn live(self) -> bool {
        self.live
    }

    /// Whether a question can be asked.
    pub(crate) fn can_ask(self) -> bool {
        self.live && std::io::stdin().is_terminal()
    }

    /// Whether stderr shows colours.
    pub(crate) fn color(self) -> bool {
        let choice = anstream::AutoStream::choice(&std::io::stderr());
        !matches!(choice, anstream::ColorChoice::Never)
    }

    /// Data, for stdout, with a line break.
    pub(crate) fn data(self, text: &str) {
        let mut stdout = anstream::stdout().lock();
        let _ = writeln!(stdout, "{}", harmless(text.strip_suffix('\n').unwrap_or(text)));
    }

    /// Data, for stdout, exactly as it is.
    pub(crate) fn raw(self, text: &str) {
        let mut stdout = anstream::stdout().lock();
        let _ = stdout.write_all(harmless(text).as_bytes());
        let _ = stdout.flush();
    }

    /// A value as JSON, for stdout.
    pub(crate) fn value(self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.data(&escaped(&text)),
            Err(error) => self.warn(&format!("the answer cannot be written as JSON: {error}")),
        }
    }

    /// A table for stdout; without rows, `empty` on stderr.
    pub(crate) fn table(self, header: &[&str], rows: Vec<Vec<Field>>, empty: &str) {
        if rows.is_empty() {
            self.note(empty);
            return;
        }
        let color = !matches!(anstream::AutoStream::choice(&std::io::stdout()), anstream::ColorChoice::Never);
        self.data(&table(header, rows, std::io::stdout().is_terminal(), color));
    }

    /// Something a person may want to know, for stderr.
    pub(crate) fn note(self, text: &str) {
        match self.notes {
            Notes::Stderr => {}
            Notes::Log => return tracing::info!("{}", plain(text)),
            Notes::Nowhere => return,
        }
        let mut stderr = anstream::stderr().lock();
        let _ = writeln!(stderr, "{}", harmless(text));
    }

    /// Something a person should know, for stderr.
    pub(crate) fn warn(self, text: &str) {
        if self.notes == Notes::Log {
            tracing::warn!("{}", plain(text));
            return;
        }
        let style = AnsiColor::Yellow.on_default().bold();
        self.note(&format!("{style}warning:{style:#} {text}"));
    }

    /// What went wrong, with every cause, once.
    pub(crate) fn error(self, error: &anyhow::Error) {
        let style = AnsiColor::Red.on_default().bold();
        let mut lines = vec![error.to_string()];
        for cause in error.chain().skip(1) {
            let text = cause.to_string();
            // Many errors repeat their cause's words in their own.
            if !lines.iter().any(|line| line.contains(&text)) {
                lines.push(text);
            }
        }
        let mut text = format!("{style}error:{style:#} {}", lines.remove(0));
        for line in lines {
            text.push_str(&format!("\n  caused by: {line}"));
        }
        if self.notes == Notes::Log {
            tracing::error!("{}", plain(&text));
            return;
        }
        self.note(&text);
    }
}

/// Whether a terminal obeys this character, or shows what stands around it in another order: controls but line
/// breaks and tabs, among them those of one byte (U+009B begins what ESC [ begins), and changes of direction.
fn commands(character: char) -> bool {
    let direction =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    direction || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// A text as a terminal may have it: names, reasons, params and what jobs printed hold anything. Colours stay.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(commands) {
        kept.push_str(&rest[..at]);
        rest = &rest[at..];
        let color = color_length(rest);
        kept.push_str(&rest[..color]);
        // A line break of two characters stays one; of other commands the words stay, for what they are.
        let skipped = if color > 0 { color } else { rest.chars().next().map_or(0, char::len_utf8) };
        rest = &rest[skipped..];
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// How long the colour is that a text begins with: `ESC [`, digits and semicolons, `m`.
fn color_length(text: &str) -> usize {
    let Some(inner) = text.strip_prefix("\u{1b}[") else { return 0 };
    let digits = inner.find(|character: char| !character.is_ascii_digit() && character != ';');
    digits.filter(|&at| inner[at..].starts_with('m')).map_or(0, |at| at + 3)
}

/// JSON in which nothing commands a terminal, and which says the same.
pub(crate) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if commands(character) {
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("\\u{:04x}", u32::from(character)));
        } else {
            text.push(character);
        }
    }
    text
}

/// A text without colours.
pub(crate) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text.trim()).to_string()
}

/// A table without borders. `width`: cut to the terminal's; `color`: states in their colours.
fn table(header: &[&str], rows: Vec<Vec<Field>>, width: bool, color: bool) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(if width {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    if !color {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase())).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row.into_iter().map(cell).collect::<Vec<_>>());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

fn cell(field: Field) -> Cell {
    match field {
        Field::Text(text) => Cell::new(text),
        Field::State(word) => match color_of(&word) {
            Some(color) => Cell::new(word).fg(color),
            None => Cell::new(word),
        },
    }
}

fn color_of(word: &str) -> Option<Color> {
    Some(match word {
        "succeeded" => Color::Green,
        "failed" | "timed_out" | "lost" => Color::Red,
        "running" | "starting" | "cancelling" => Color::Cyan,
        "retrying" | "unknown" | "paused" | "queued" | "awaiting_approval" => Color::Yellow,
        "upstream_failed" | "skipped" | "cancelled" | "waiting" => Color::DarkGrey,
        _ => return None,
    })
}

/// The style of a state on a terminal.
pub(crate) fn state_style(word: &str) -> Style {
    match color_of(word) {
        Some(Color::Green) => AnsiColor::Green.on_default(),
        Some(Color::Red) => AnsiColor::Red.on_default(),
        Some(Color::Cyan) => AnsiColor::Cyan.on_default(),
        Some(Color::Yellow) => AnsiColor::Yellow.on_default(),
        Some(_) => AnsiColor::BrightBlack.on_default(),
        None => Style::new(),
    }
}

/// A state in its colour.
pub(crate) fn state(word: &str) -> String {
    let style = state_style(word);
    format!("{style}{word}{style:#}")
}

/// Important words.
pub(crate) fn bold(text: &str) -> String {
    let style = Style::new().bold();
    format!("{style}{text}{style:#}")
}

/// A moment of what belongs to no pipeline, and so to no zone.
pub(crate) fn utc(at: Timestamp) -> String {
    describe_instant(&TimeZone::UTC, at)
}

/// Words that step back.
pub(crate) fn dim(text: &str) -> String {
    let style = Style::new().dimmed();
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_commands_a_terminal() {
        for (text, printed) in [
            ("plain ✓\tand\nlines", "plain ✓\tand\nlines"),
            ("\u{1b}[1;31mred\u{1b}[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            ("\u{1b}]52;c;eA==\u{7}x", "]52;c;eA==x"),
            ("\u{1b}[2Jx\u{9b}2J\u{9d}0;y\u{9c}", "[2Jx2J0;y"),
            ("a\r\nb\rc", "a\nbc"),
            ("\u{202e}gnissap\u{2066}", "gnissap"),
            ("\u{1b}", ""),
            ("\u{1b}[12", "[12"),
        ] {
            assert_eq!(harmless(text), printed, "{text:?}");
        }
        let value = serde_json::json!({"reason": "\u{9b}2J\u{202e}\u{1b}[2J\n"});
        let printed = escaped(&value.to_string());
        assert!(!printed.contains(commands), "{printed:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn a_table_has_no_borders_and_no_trailing_blanks() {
        let rows = vec![
            vec![Field::from("daily@2026-11-19"), Field::State("failed".to_owned())],
            vec![Field::from("a"), Field::from("b")],
        ];
        assert_eq!(
            table(&["run", "state"], rows, false, false),
            "RUN               STATE\ndaily@2026-11-19  failed\na                 b"
        );
    }
}
