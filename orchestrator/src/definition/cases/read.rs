//! A file into cases: its keys, and the run that each case is about.

use std::{
    io,
    ops::Range,
    path::{Component, Path},
};

use indexmap::IndexMap;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Map, Value};
use trunkline_state::{
    pipeline::Pipeline,
    run::Trigger,
    schedule::{Selected, describe_instant, interval_of_fire, run_key, select},
};
use trunkline_tasks::secrets::source::check_database;

use super::{Case, Content, Expectation, Given, PRIVATE, Place, Placed, answers, expect};
use crate::definition::{
    LoadedPipeline,
    diagnostic::{Diagnostics, Severity, SourceId},
    load::{parse_text, read_tree},
    params::{self, Given as GivenParam},
    reader::{Keys, Reader, shorten},
    suggest::did_you_mean,
    tree::{Entry, Kind, Mapping, Node},
};

/// The name of the file with a pipeline's cases, beside it.
pub const CASES_FILE: &str = "tests.yaml";
/// The keys of the file.
pub(super) const FILE_KEYS: [&str; 2] = ["cases", "$schema"];
/// The keys of a case.
pub(super) const CASE_KEYS: [&str; 9] =
    ["description", "date", "fire", "params", "vars", "sandbox", "files", "answers", "expect"];
/// The most cases of a file: a pipeline has a handful, a generator may write hundreds.
pub(super) const CASES_MAX: usize = 1_000;
/// The longest name of a case: it stands in one line of the output.
const NAME_CHARS_MAX: usize = 120;
/// The most entries of `files`: more lie in a folder.
const FILES_MAX: usize = 1_000;
/// The present when a date is read. No date depends on it; mistakes show an example of that time.
const EXAMPLE_NOW: &str = "2026-11-20T12:00:00Z";

/// The cases beside a pipeline; none where it has no such file. What is wrong goes to `out`.
pub fn load_cases(loaded: &LoadedPipeline, root: &Path, out: &mut Diagnostics) -> Vec<Case> {
    let file = loaded.folder.join(CASES_FILE);
    if !file.is_file() {
        return Vec::new();
    }
    match read_tree(&file, root, out) {
        Some((source, tree)) => cases(&loaded.pipeline, Some(&loaded.folder), source, &tree, out),
        None => Vec::new(),
    }
}

/// Reads cases from text that was never a file.
pub fn load_cases_text(pipeline: &Pipeline, name: &str, text: &[u8], out: &mut Diagnostics) -> Vec<Case> {
    match parse_text(name, Path::new(name), text, out) {
        Some((source, tree)) => cases(pipeline, None, source, &tree, out),
        None => Vec::new(),
    }
}

fn cases(
    pipeline: &Pipeline,
    folder: Option<&Path>,
    source: SourceId,
    tree: &Node,
    out: &mut Diagnostics,
) -> Vec<Case> {
    let mut reading = Reading { reader: Reader::new(source), pipeline, folder };
    let cases = reading.file(tree);
    let sound = !reading.reader.found.iter().any(|item| item.severity == Severity::Error);
    out.items.extend(reading.reader.found);
    if sound { cases } else { Vec::new() }
}

/// One file being read.
pub(super) struct Reading<'a> {
    pub(super) reader: Reader,
    pub(super) pipeline: &'a Pipeline,
    folder: Option<&'a Path>,
}

impl Reading<'_> {
    fn file(&mut self, tree: &Node) -> Vec<Case> {
        let Some(top) = self.reader.mapping(tree, CASES_FILE) else { return Vec::new() };
        self.reader.check_keys(top, Keys { of: "a file of tests", known: &FILE_KEYS, later: &[] });
        let Some(entry) = top.get("cases") else {
            let start = tree.span.start..tree.span.start;
            self.wrong(
                &start,
                "the file needs `cases`",
                "`cases` is missing",
                "begin with cases: { a day goes through: { … } }",
            );
            return Vec::new();
        };
        let Some(mapping) = self.reader.mapping(&entry.value, "cases") else { return Vec::new() };
        if let Some(extra) = mapping.entries.get(CASES_MAX) {
            let message = format!("there are more than {CASES_MAX} cases");
            self.wrong(&extra.key_span, &message, "one too many", "remove some");
        }
        mapping.entries.iter().take(CASES_MAX).filter_map(|entry| self.case(entry)).collect()
    }

    fn case(&mut self, entry: &Entry) -> Option<Case> {
        let name = entry.key.trim();
        if name.is_empty() || name.lines().count() > 1 || name.chars().count() > NAME_CHARS_MAX {
            let message = format!("a case has a name of one line, of 1 to {NAME_CHARS_MAX} characters");
            self.wrong(&entry.key_span, &message, "name", "say in a few words what the case shows");
        }
        let mapping = self.reader.mapping(&entry.value, &entry.key)?;
        self.reader.check_keys(mapping, Keys { of: "a case", known: &CASE_KEYS, later: &[] });
        if let Some(description) = mapping.get("description") {
            self.reader.text(description);
        }
        let sandbox = mapping.get("sandbox").and_then(|entry| self.flag(entry)).unwrap_or(false);
        self.check_kind(mapping, sandbox);
        let moment = self.moment(mapping, entry);
        let params = self.params(mapping, &entry.key_span);
        let vars = self.vars(mapping);
        let files = mapping.get("files").map(|entry| self.files(entry)).unwrap_or_default();
        let answers = mapping.get("answers").map(|entry| answers::scripts(self, entry)).unwrap_or_default();
        let expect = self.expectation(mapping, entry, sandbox);
        let (selected, trigger, now) = moment?;
        Some(Case {
            name: Placed::new(name.to_owned(), &entry.key_span),
            source: self.reader.source,
            selected,
            trigger,
            now,
            params: params?,
            vars,
            sandbox,
            files,
            answers,
            expect: expect?,
        })
    }

    fn expectation(&mut self, mapping: &Mapping, case: &Entry, sandbox: bool) -> Option<Expectation> {
        let Some(entry) = mapping.get("expect") else {
            let help = "add expect: { run: succeeded }";
            self.wrong(&case.key_span, "a case needs `expect`", "`expect` is missing", help);
            return None;
        };
        expect::expectation(self, entry, sandbox)
    }

    /// What goes with a sandbox, and what with scripted answers.
    fn check_kind(&mut self, mapping: &Mapping, sandbox: bool) {
        let (wrong, message, help) = if sandbox {
            (
                "answers",
                "a case on the sandbox really executes: its services answer themselves",
                "leave `answers` out, or `sandbox`",
            )
        } else {
            ("files", "nothing reads files where the answers are scripted", "add sandbox: true")
        };
        if let Some(entry) = mapping.get(wrong) {
            self.wrong(&entry.key_span, message, "not here", help);
        }
    }

    /// The run that a case is about.
    fn moment(&mut self, mapping: &Mapping, case: &Entry) -> Option<(Selected, Trigger, Timestamp)> {
        let (selected, trigger, span) = match (mapping.get("date"), mapping.get("fire")) {
            (Some(_), Some(fire)) => {
                let help = "`date` is a person's choice, `fire` the schedule's";
                self.wrong(&fire.key_span, "a case has `date` or `fire`, not both", "second one", help);
                return None;
            }
            (None, None) => {
                let help = "add date: 2026-11-19, or fire: \"2026-11-20 09:00\" for a run of the schedule";
                self.wrong(&case.key_span, "a case needs `date` or `fire`", "which run is meant?", help);
                return None;
            }
            (Some(date), None) => (self.dated(date)?, Trigger::Manual, &date.value.span),
            (None, Some(fire)) => (self.fired(fire)?, Trigger::Schedule, &fire.value.span),
        };
        if self.pipeline.starts_after(selected.logical_date) {
            let start = self.pipeline.start_date.map(|date| date.to_string()).unwrap_or_default();
            let message = format!("{} lies before the pipeline's start_date {start}", selected.key);
            self.wrong(span, &message, "too early", "name a later date");
            return None;
        }
        let end = selected.interval.map_or(selected.logical_date, |interval| interval.end);
        let now = selected.fire.map_or(end, |fire| fire.max(end));
        Some((selected, trigger, now))
    }

    fn zone(&self) -> TimeZone {
        TimeZone::get(&self.pipeline.timezone).unwrap_or(TimeZone::UTC)
    }

    fn dated(&mut self, entry: &Entry) -> Option<Selected> {
        let text = self.reader.text(entry)?;
        let now = EXAMPLE_NOW.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        let (zone, calendar) = (self.zone(), self.pipeline.calendar.as_ref());
        match select(self.pipeline.data_interval, &zone, calendar, Some(&text), now) {
            Ok(selected) => Some(selected),
            Err(error) => {
                self.wrong(
                    &entry.value.span,
                    &error.to_string(),
                    "date",
                    "write it as for `trunkline run --date`",
                );
                None
            }
        }
    }

    fn fired(&mut self, entry: &Entry) -> Option<Selected> {
        let text = self.reader.text(entry)?;
        let span = &entry.value.span;
        let Some(calendar) = &self.pipeline.calendar else {
            self.wrong(span, "the pipeline has no schedule that could fire", "fire", "name a `date` instead");
            return None;
        };
        let zone = self.zone();
        let local = || zone.to_timestamp(text.replacen(' ', "T", 1).parse::<DateTime>().ok()?).ok();
        let Some(fire) = text.parse::<Timestamp>().ok().or_else(local) else {
            let message = format!("`{}` is no moment", shorten(&text));
            self.wrong(
                span,
                &message,
                "fire",
                "write \"2026-11-20 09:00\" in the pipeline's zone, or with an offset",
            );
            return None;
        };
        let before = fire.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(fire);
        let next = calendar.next_after(before);
        if next != Some(fire) {
            let next = next.map(|next| format!("the next fire is at {}", describe_instant(&zone, next)));
            let help = next.unwrap_or_else(|| "it never fires after that".to_owned());
            self.wrong(span, "the schedule does not fire at this moment", "no fire", &help);
            return None;
        }
        let kind = self.pipeline.data_interval;
        let interval = interval_of_fire(kind, &zone, fire);
        let logical_date = interval.map_or(fire, |interval| interval.start);
        let key = run_key(kind, &zone, interval, logical_date);
        Some(Selected { interval, fire: Some(fire), logical_date, finished: true, key })
    }

    fn params(&mut self, mapping: &Mapping, case: &Range<usize>) -> Option<Map<String, Value>> {
        let entry = mapping.get("params");
        let span = entry.map_or(case, |entry| &entry.value.span);
        let given = match entry {
            Some(entry) => self.reader.mapping(&entry.value, "params")?.entries.as_slice(),
            None => &[],
        };
        let given = given.iter().map(|one| (one.key.clone(), GivenParam::Json(one.value.to_json())));
        match params::resolve(self.pipeline, given) {
            Ok(params) => Some(params),
            Err(error) => {
                for problem in error.0 {
                    let diagnostic = self.reader.error(span, problem).label("params of the run");
                    self.reader.report(diagnostic);
                }
                None
            }
        }
    }

    fn vars(&mut self, mapping: &Mapping) -> IndexMap<String, Value> {
        let mut vars = IndexMap::new();
        let Some(entry) = mapping.get("vars") else { return vars };
        let Some(given) = self.reader.mapping(&entry.value, "vars") else { return vars };
        for one in &given.entries {
            if !self.pipeline.vars.contains_key(&one.key) {
                let known = self.pipeline.vars.keys().map(String::as_str);
                let help = did_you_mean(&one.key, known, "its vars are");
                let message =
                    format!("environment `{}` has no var `{}`", self.pipeline.environment, shorten(&one.key));
                let diagnostic = self.reader.error(&one.key_span, message).label("unknown").help_maybe(help);
                self.reader.report(diagnostic);
            }
            vars.insert(one.key.clone(), one.value.to_json());
        }
        vars
    }

    fn files(&mut self, entry: &Entry) -> Vec<Given> {
        let Some(mapping) = self.reader.mapping(&entry.value, "files") else { return Vec::new() };
        if let Some(extra) = mapping.entries.get(FILES_MAX) {
            let message = format!("there are more than {FILES_MAX} files");
            self.wrong(&extra.key_span, &message, "one too many", "put them into a folder and name that");
        }
        mapping.entries.iter().take(FILES_MAX).filter_map(|entry| self.given(entry)).collect()
    }

    fn given(&mut self, entry: &Entry) -> Option<Given> {
        if let Some(name) = entry.key.strip_prefix(PRIVATE) {
            if let Err((wrong, fix)) = check_database(name) {
                self.wrong(&entry.key_span, &format!("the case {wrong}"), "database", &fix);
                return None;
            }
            return Some(Given { place: Place::Database(name.to_owned()), content: self.content(entry)? });
        }
        let place = entry.key.strip_prefix("s3://").map(|place| place.split_once('/').unwrap_or((place, "")));
        let Some((bucket, key)) = place.filter(|(bucket, _)| is_bucket(bucket)) else {
            let message = format!("`{}` is no place in S3", shorten(&entry.key));
            let help = "write s3://bucket/key for one object, s3://bucket/prefix/ for the files of a folder, private:name for a database";
            self.wrong(&entry.key_span, &message, "place", help);
            return None;
        };
        let content = self.content(entry)?;
        if key.is_empty() && matches!(content, Content::Text(_)) {
            self.wrong(&entry.key_span, "one object needs a key", "bucket only", "write s3://bucket/key");
            return None;
        }
        Some(Given { place: Place::Bucket { bucket: bucket.to_owned(), key: key.to_owned() }, content })
    }

    /// A text, or a path.
    fn content(&mut self, entry: &Entry) -> Option<Content> {
        let Kind::Mapping(mapping) = &entry.value.kind else { return self.path(entry) };
        self.reader.check_keys(mapping, Keys { of: "a file", known: &["text"], later: &[] });
        let text = mapping.get("text").and_then(|entry| self.reader.template(entry));
        if mapping.get("text").is_none() {
            let help = "write { text: \"…\" }, or the path of a file beside tests.yaml";
            self.wrong(&entry.value.span, "a file needs `text`", "`text` is missing", help);
        }
        text.map(Content::Text)
    }

    /// A file or a folder below the pipeline's own.
    fn path(&mut self, entry: &Entry) -> Option<Content> {
        let text = self.reader.text(entry)?;
        let path = Path::new(&text);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let span = &entry.value.span;
        if !inside {
            let message = format!("`{}` leads out of the pipeline's folder", shorten(&text));
            self.wrong(span, &message, "path", "name a file or folder beside tests.yaml");
            return None;
        }
        let folder = self.folder?;
        let found = folder.join(path);
        let real = found.canonicalize().and_then(|real| Ok((real, folder.canonicalize()?)));
        let message = match real {
            Ok((real, folder)) if real.starts_with(&folder) => return Some(Content::Path(found)),
            Ok(_) => format!("`{}` leads out of the pipeline's folder", shorten(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("there is no file or folder `{}`", shorten(&text))
            }
            Err(error) => format!("`{}` cannot be read: {error}", shorten(&text)),
        };
        self.wrong(span, &message, "path", "name a file or folder beside tests.yaml");
        None
    }

    pub(super) fn flag(&mut self, entry: &Entry) -> Option<bool> {
        self.reader.word(entry, &[("true", true), ("false", false)])
    }

    /// The position of a task that is named.
    pub(super) fn task(&mut self, name: &str, span: &Range<usize>) -> Option<usize> {
        let found = self.pipeline.task(name).map(|(position, _)| position);
        if found.is_none() {
            let known = self.pipeline.tasks.iter().map(|task| task.name.as_str());
            let help = did_you_mean(name, known.collect::<Vec<_>>(), "its tasks are");
            let message = format!("{} has no task `{}`", self.pipeline.name, shorten(name));
            let diagnostic = self.reader.error(span, message).label("unknown task").help_maybe(help);
            self.reader.report(diagnostic);
        }
        found
    }

    pub(super) fn wrong(&mut self, span: &Range<usize>, message: &str, label: &str, help: &str) {
        let diagnostic = self.reader.error(span, message).label(label).help(help);
        self.reader.report(diagnostic);
    }

    /// Texts: one, or a list of them.
    pub(super) fn texts(&mut self, entry: &Entry) -> Vec<String> {
        self.reader.texts(entry).into_iter().map(|(text, _)| text).collect()
    }
}

/// What S3 takes for a bucket's name, as far as a slip of the finger goes.
fn is_bucket(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
}
