//! What the fuzzers in `fuzz/` reach of this crate that nobody else calls from outside. Each hands on, and decides
//! nothing.

use crate::{cli::output, graph::svg, message::lines};

pub use crate::api::fuzzing as api;

/// A text as a terminal may have it.
pub fn harmless(text: &str) -> String {
    output::harmless(text).into_owned()
}

/// JSON as a terminal may have it.
pub fn escaped_json(json: &str) -> String {
    output::escaped(json)
}

/// A text as a log in a file may have it: without colours.
pub fn plain(text: &str) -> String {
    output::plain(text)
}

/// A text inside a picture.
pub fn in_svg(text: &str) -> String {
    svg::escaped(text)
}

/// What a job said, as lines of a mail.
pub fn mail_lines(text: &str, room: usize) -> Vec<String> {
    lines::trimmed(text, room, "trunkline logs")
}
