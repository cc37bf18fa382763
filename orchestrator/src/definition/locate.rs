//! From a task, and a field of it, back to the lines of the file that say so: for a version's YAML, long after
//! it was read.
//!
//! The tree knows where everything stands; nothing is looked for in the text.

use std::ops::{Range, RangeInclusive};

use super::{
    template::RenderError,
    tree::{self, Kind, Mapping, Node},
};

/// Where a task stands in its file. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskPlace {
    /// All lines of the task, its name's among them.
    pub lines: RangeInclusive<usize>,
    /// The field that was asked for, as far as the file says it.
    pub field: Option<FieldPlace>,
}

/// Where a field of a task stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPlace {
    /// Its names from the task on: `arguments.--date`. Fewer than asked for, where the file says no more: the
    /// rest stands in another file, or in a connection.
    pub path: String,
    /// The line of its name.
    pub line: usize,
    /// The column of its name in characters, from 1.
    pub column: usize,
}

/// Finds a task in a pipeline's YAML. `words` are those of an objection to its settings, which names the field.
pub fn task(source: &str, name: &str, words: Option<&str>) -> Option<TaskPlace> {
    let root = tree::parse(source.as_bytes()).root?;
    let entry = root.as_mapping()?.get("tasks")?.value.as_mapping()?.get(name)?;
    let (first, _) = position(source, entry.key_span.start);
    let (last, _) = position(source, last_byte(source, &entry.value.span, entry.key_span.start));
    let field = words.zip(entry.value.as_mapping()).and_then(|(words, task)| {
        let (path, span) = field(task, words)?;
        let (line, column) = position(source, span.start);
        Some(FieldPlace { path, line, column })
    });
    Some(TaskPlace { lines: first..=last.max(first), field })
}

/// The field that an objection names: with its whole path, or the first key of the task that it quotes.
fn field(task: &Mapping, words: &str) -> Option<(String, Range<usize>)> {
    if let Some(path) = RenderError::path_in(words)
        && let Some(found) = descend(task, path)
    {
        return Some(found);
    }
    let blamed = blamed(task, words)?;
    Some((blamed.key.clone(), blamed.key_span.clone()))
}

/// The entry of a task that an operator's words name, if they name one.
pub(super) fn blamed<'m>(task: &'m Mapping, words: &str) -> Option<&'m tree::Entry> {
    task.entries.iter().find(|entry| words.contains(&format!("`{}`", entry.key)))
}

/// Follows a path as far as the file goes. Names may hold dots themselves: the longest that fits is meant.
fn descend(task: &Mapping, path: &str) -> Option<(String, Range<usize>)> {
    let mut found: Option<(usize, Range<usize>)> = None;
    let mut rest = path;
    let whole = Node { span: 0..0, kind: Kind::Mapping(task.clone()) };
    let mut node = &whole;
    loop {
        let (next, span, length) = match &node.kind {
            Kind::Mapping(mapping) => {
                let fits = |key: &str| {
                    rest.strip_prefix(key).is_some_and(|after| after.is_empty() || after.starts_with('.'))
                };
                let entries = mapping.entries.iter().filter(|entry| fits(&entry.key));
                let Some(entry) = entries.max_by_key(|entry| entry.key.len()) else { break };
                (&entry.value, entry.key_span.clone(), entry.key.len())
            }
            Kind::Sequence(items) => {
                let word = rest.split('.').next().unwrap_or_default();
                let Some(item) = word.parse::<usize>().ok().and_then(|index| items.get(index)) else { break };
                (item, item.span.clone(), word.len())
            }
            Kind::Scalar(_) => break,
        };
        let taken = path.len() - rest.len() + length;
        found = Some((taken, span));
        rest = rest[length..].strip_prefix('.').unwrap_or_default();
        node = next;
        if rest.is_empty() {
            break;
        }
    }
    found.map(|(taken, span)| (path[..taken].to_owned(), span))
}

/// The last byte that belongs to a value: not the line break behind a block of text.
fn last_byte(source: &str, span: &Range<usize>, least: usize) -> usize {
    let text = source.get(span.clone()).unwrap_or_default();
    (span.start + text.trim_end().len()).saturating_sub(1).max(least)
}

/// Line and column, both from 1.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |found| found + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "name: a
tasks:
  first: { type: noop }
  # Converts a day.
  convert:
    type: glue_job
    arguments:
      --date: \"{{ ds }}\"
      spark.sql.x: y
    list:
      - a
      - query: |
          select 1
          from t

  last: { type: noop, depends_on: convert }
";

    #[test]
    fn a_task_has_its_lines() {
        let lines = |name| task(SOURCE, name, None).map(|found| found.lines);
        assert_eq!(lines("first"), Some(3..=3));
        assert_eq!(lines("convert"), Some(5..=14));
        assert_eq!(lines("last"), Some(16..=16));
        assert_eq!((lines("nothing"), lines("tasks")), (None, None));
        assert_eq!(task("no: [yaml", "first", None), None);
    }

    #[test]
    fn an_objection_names_its_field() {
        let field = |words| {
            task(SOURCE, "convert", Some(words)).unwrap().field.map(|of| (of.path, of.line, of.column))
        };
        let at = |path: &str, line, column| Some((path.to_owned(), line, column));
        for (words, wanted) in [
            ("setting `arguments.--date`: `{{ ds }}` has no value", at("arguments.--date", 8, 7)),
            ("setting `arguments.spark.sql.x`: no", at("arguments.spark.sql.x", 9, 7)),
            ("setting `arguments.--day`: no", at("arguments", 7, 5)),
            ("setting `list.1.query`: no", at("list.1.query", 12, 9)),
            ("setting `list.0`: no", at("list.0", 11, 9)),
            ("setting `list.7`: no", at("list", 10, 5)),
            ("setting `list` of type glue_job: it is too long", at("list", 10, 5)),
            ("`type` has to be another one", at("type", 6, 5)),
            ("setting `secret`: said by the connection", None),
            ("java.lang.OutOfMemoryError: Java heap space", None),
            ("setting `", None),
        ] {
            assert_eq!(field(words), wanted, "{words}");
        }
    }

    #[test]
    fn letters_of_many_bytes_do_no_harm() {
        let source = "name: ü\ntasks:\n  größe: { type: sleep, for: \"{{ x }}\" }\n";
        let found = task(source, "größe", Some("setting `for`: ü")).unwrap().field.unwrap();
        assert_eq!((found.line, found.column), (3, 25));
    }
}
