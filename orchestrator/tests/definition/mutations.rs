//! Ten thousand random mutations of the shipped files: no panic, and every message points into
//! the mutated lines or at what refers to them.
//!
//! A message is at home if one of these holds:
//! 1. a place of it (the first or a further one) lies on a mutated line, or on the nearest line
//!    with content before or after the mutation;
//! 2. it names, or underlines, a word that stands on a mutated line, before or after: what was
//!    renamed or removed is missed elsewhere;
//! 3. it underlines a key above the mutation in whose value the mutation lies: a setting that is
//!    missing now is missed by its owner;
//! 4. it underlines a line whose owners (the less indented lines above it) are others than
//!    before: the mutation moved it to another place of the definition.

use std::{collections::HashSet, fmt::Write as _, fs, ops::Range};

use trunkline::{
    definition::{Diagnostics, Operators, Scope, load::find_files, load_text},
    project::{LOCAL, Project},
};

use crate::fixture;

const MUTATIONS: u64 = 10_000;
const SEED: u64 = 0x7472_756e_6b6c_696e;
/// So many strays are printed.
const PRINTED: usize = 25;

/// splitmix64: the same mutations on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }
}

/// A mutated file.
struct Mutant {
    bytes: Vec<u8>,
    /// The mutated bytes of the new file; empty where something was removed.
    span: Range<usize>,
    /// The text of the mutated lines before the mutation.
    before: String,
    /// The whole text before the mutation.
    old: String,
    kind: &'static str,
}

#[test]
fn mutants_are_blamed_where_they_were_mutated() {
    let root = fixture::repository();
    let lookup = |_: &str| Some("value".to_owned());
    let (project, _) = Project::load(&root, LOCAL, &lookup);
    let registry = fixture::registry();
    let operators = Operators::new(&registry);
    let mut files: Vec<_> = find_files(&root.join("pipelines")).expect("pipelines");
    files.push(root.join("trunkline.yaml"));
    let texts: Vec<(String, bool)> = files
        .iter()
        .map(|file| (fs::read_to_string(file).expect("text"), file.ends_with("trunkline.yaml")))
        .collect();
    let mut random = Random(SEED);
    let mut strays = Vec::new();
    let mut messages = 0;
    for number in 0..MUTATIONS {
        let (text, is_project) = &texts[random.below(texts.len())];
        let mutant = mutate(text, &mut random);
        let found = load(&mutant.bytes, *is_project, &project.scope, &operators);
        let new = String::from_utf8_lossy(&mutant.bytes).into_owned();
        // Rendering must not panic either, whatever the bytes.
        if number % 10 == 0 {
            found.render(false);
        }
        messages += found.items.len();
        for item in 0..found.items.len() {
            if !at_home(&mutant, &new, &found, item) {
                strays.push(describe(number, &mutant, &new, &found, item));
            }
        }
    }
    assert!(messages > 5_000, "only {messages} messages: the mutations are too tame");
    let shown: Vec<&str> = strays.iter().take(PRINTED).map(String::as_str).collect();
    assert!(strays.is_empty(), "{} of {messages} messages stray:\n{}", strays.len(), shown.join("\n"));
}

fn load(bytes: &[u8], is_project: bool, scope: &Scope, operators: &Operators<'_>) -> Diagnostics {
    if is_project {
        let lookup = |_: &str| Some("value".to_owned());
        return Project::load_text(&fixture::repository(), bytes, "prod", &lookup).1;
    }
    load_text("pipeline.yaml", bytes, scope, operators).diagnostics
}

fn mutate(text: &str, random: &mut Random) -> Mutant {
    let lines: Vec<Range<usize>> = line_ranges(text);
    let line = lines[random.below(lines.len())].clone();
    match random.below(8) {
        0 => replace_byte(text, random),
        1 => splice(text, line.clone(), "", "line removed"),
        2 => {
            let twice = text[line.clone()].repeat(2);
            splice(text, line, &twice, "line doubled")
        }
        3 => swap(text, &lines, random),
        4 => replace_word(text, &line, random),
        5 => {
            let at = random.below(text.len());
            let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            splice(text, at..text.len(), "", "truncated")
        }
        6 => indent(text, &line, random),
        _ => insert(text, random),
    }
}

fn splice(text: &str, range: Range<usize>, with: &str, kind: &'static str) -> Mutant {
    let before = touched_lines(text, &range);
    let mut new = text.to_owned();
    new.replace_range(range.clone(), with);
    Mutant {
        bytes: new.into_bytes(),
        span: range.start..range.start + with.len(),
        before,
        old: text.to_owned(),
        kind,
    }
}

fn replace_byte(text: &str, random: &mut Random) -> Mutant {
    let at = random.below(text.len());
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] ^= 1 << random.below(8);
    let before = touched_lines(text, &(at..at + 1));
    Mutant { bytes, span: at..at + 1, before, old: text.to_owned(), kind: "bit flipped" }
}

fn swap(text: &str, lines: &[Range<usize>], random: &mut Random) -> Mutant {
    let first = random.below(lines.len().saturating_sub(1));
    let (one, other) = (lines[first].clone(), lines[first + 1].clone());
    let swapped = format!("{}{}", &text[other.clone()], &text[one.clone()]);
    splice(text, one.start..other.end, &swapped, "lines swapped")
}

fn replace_word(text: &str, line: &Range<usize>, random: &mut Random) -> Mutant {
    const WORDS: [&str; 16] = [
        "null",
        "true",
        "-1",
        "[]",
        "{}",
        "x y",
        "{{ nope }}",
        "{{",
        "}}",
        "\"",
        "'",
        "&a",
        "*a",
        "!tag",
        "1e999",
        "day",
    ];
    let words = words_of(&text[line.clone()]);
    let with = WORDS[random.below(WORDS.len())];
    match words.get(random.below(words.len())) {
        Some(word) => splice(text, line.start + word.start..line.start + word.end, with, "word replaced"),
        None => splice(text, line.start..line.start, with, "word added"),
    }
}

fn indent(text: &str, line: &Range<usize>, random: &mut Random) -> Mutant {
    let spaces = text[line.clone()].bytes().take_while(|byte| *byte == b' ').count();
    if random.below(2) == 0 && spaces > 0 {
        let less = 1 + random.below(spaces);
        return splice(text, line.start..line.start + less, "", "indented less");
    }
    let more = [" ", "  ", "    ", "\t"][random.below(4)];
    splice(text, line.start..line.start, more, "indented more")
}

fn insert(text: &str, random: &mut Random) -> Mutant {
    const PIECES: [&str; 18] =
        ["\"", "'", "[", "]", "{", "}", ":", ": ", ",", "#", " #", "|", ">", "- ", "? ", "\n", "%", "\u{e9}"];
    let at = random.below(text.len());
    let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    splice(text, at..at, PIECES[random.below(PIECES.len())], "piece inserted")
}

fn line_ranges(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    text.split_inclusive('\n')
        .map(|line| {
            let range = start..start + line.len();
            start = range.end;
            range
        })
        .collect()
}

fn touched_lines(text: &str, range: &Range<usize>) -> String {
    line_ranges(text)
        .into_iter()
        .filter(|line| line.start <= range.end && range.start <= line.end)
        .map(|line| &text[line])
        .collect()
}

/// Words in which names are compared.
fn words_of(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in text.char_indices().chain([(text.len(), ' ')]) {
        let inside = character.is_alphanumeric() || character == '_';
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    words
}

fn at_home(mutant: &Mutant, new: &str, found: &Diagnostics, item: usize) -> bool {
    let item = &found.items[item];
    let Some((source, span)) = &item.place else { return false };
    let lines = line_ranges(new);
    let home = home_lines(mutant, new, &lines);
    let near = |span: &Range<usize>| {
        let (first, last) = (line_at(&lines, span.start), line_at(&lines, span.end.max(span.start + 1) - 1));
        first <= home.end && home.start <= last
    };
    if near(span) || item.related.iter().any(|related| related.source == *source && near(&related.span)) {
        return true;
    }
    let mut mutated: HashSet<&str> =
        words_of(&mutant.before).into_iter().map(|word| &mutant.before[word]).collect();
    let after = &new[lines[home.start].start.min(new.len())..lines[home.end].end];
    mutated.extend(words_of(after).into_iter().map(|word| &after[word]));
    let underlined = new.get(span.clone()).unwrap_or_default();
    let said = format!("{} {} {}", item.message, item.label, item.help.as_deref().unwrap_or_default());
    let quoted = said.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
    let refers = |text: &str| words_of(text).into_iter().any(|word| mutated.contains(&text[word]));
    refers(underlined.lines().next().unwrap_or_default())
        || refers(&quoted)
        || encloses(new, &lines, span, home.start)
        || moved(mutant, new, span)
}

/// The mutated lines and the nearest lines with content around them.
fn home_lines(mutant: &Mutant, new: &str, lines: &[Range<usize>]) -> Range<usize> {
    let content = |line: usize| {
        let text = new.get(lines[line].clone()).unwrap_or_default().trim();
        !text.is_empty() && !text.starts_with('#')
    };
    let span = mutant.span.clone();
    let first = line_at(lines, span.start);
    let last = line_at(lines, span.end);
    let before = (0..first).rev().find(|line| content(*line)).unwrap_or(0);
    let after = (last + 1..lines.len()).find(|line| content(*line)).unwrap_or(lines.len().saturating_sub(1));
    before.min(first)..after.max(last)
}

fn line_at(lines: &[Range<usize>], offset: usize) -> usize {
    lines.iter().position(|line| offset < line.end).unwrap_or(lines.len().saturating_sub(1))
}

/// Whether the span is on a line above, less indented, with nothing less indented in between.
fn encloses(new: &str, lines: &[Range<usize>], span: &Range<usize>, home: usize) -> bool {
    let indent = |line: usize| {
        let text = &new[lines[line].clone()];
        (!text.trim().is_empty()).then(|| text.len() - text.trim_start().len())
    };
    let above = line_at(lines, span.start);
    let Some(outer) = indent(above) else { return false };
    above < home && (above + 1..=home).all(|line| indent(line).is_none_or(|inner| inner > outer))
}

/// Whether the line of the span has other owners than the same line had before.
fn moved(mutant: &Mutant, new: &str, span: &Range<usize>) -> bool {
    if span.start < mutant.span.end {
        return false;
    }
    let from_end = mutant.bytes.len() - span.start;
    let Some(old) = mutant.old.len().checked_sub(from_end) else { return false };
    owners(new, span.start) != owners(&mutant.old, old)
}

/// The less indented lines above, from the nearest outwards.
fn owners(text: &str, offset: usize) -> Vec<&str> {
    let end = text[offset..].find('\n').map_or(text.len(), |found| offset + found);
    let mut least = usize::MAX;
    let mut owners = Vec::new();
    for line in text[..end].lines().rev() {
        let content = line.trim_start();
        if !content.is_empty() && !content.starts_with('#') && line.len() - content.len() < least {
            least = line.len() - content.len();
            owners.push(content);
        }
    }
    owners.split_off(1.min(owners.len()))
}

fn describe(number: u64, mutant: &Mutant, new: &str, found: &Diagnostics, item: usize) -> String {
    let item = &found.items[item];
    let span = item.place.as_ref().map(|(_, span)| span.clone()).unwrap_or_default();
    let mut text = format!("#{number} {}: {} at {span:?}\n", mutant.kind, item.message);
    let from = new[..mutant.span.start.min(new.len())].rfind('\n').map_or(0, |found| found + 1);
    let to =
        new[mutant.span.end.min(new.len())..].find('\n').map_or(new.len(), |found| mutant.span.end + found);
    let _ = writeln!(text, "   was {:?}\n   is  {:?}", mutant.before, new.get(from..to).unwrap_or_default());
    let _ = writeln!(text, "   underlined {:?}", new.get(span).unwrap_or_default());
    text
}
