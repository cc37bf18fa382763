//! `on_success`, `on_failure` and the other lists of notices, in a pipeline and in the project file.

use std::{ops::Range, time::Duration};

use indexmap::IndexMap;
use trunkline_state::{
    machine::NoticeOutcome,
    pipeline::{Notice, NoticeLink, NoticeTarget},
};

use trunkline_tasks::notice::{LINK_LIFE_MAX, check_object};

use super::{
    common::CONNECTION,
    reader::{Keys, Reader, shorten},
    settings::Site,
    template::{is_template, vocabulary::Place},
    tree::{Entry, Kind, Mapping, Node},
};

/// The keys of a notice.
pub(crate) const NOTICE_KEYS: [&str; 10] = [
    "sns",
    "webhook",
    "slack",
    "subject",
    "message",
    "connection",
    "links",
    "headers",
    "signed_with",
    "min_count",
];
/// The keys of a link.
const LINK_KEYS: [&str; 3] = ["label", "s3", "expires"];
/// Links of one notice: more belong into a page that one of them leads to.
const LINKS_MAX: usize = 5;
/// The longest label: it stands at the beginning of a line.
const LABEL_LENGTH_MAX: usize = 40;
/// Those of them that say where it goes.
const TARGETS: [&str; 3] = ["sns", "webhook", "slack"];
/// Those that only go with one target.
const OF_TARGET: [(&str, &str); 3] =
    [("connection", "sns"), ("headers", "webhook"), ("signed_with", "webhook")];
/// Headers of a webhook: a token, a route, a tenant.
const HEADERS_MAX: usize = 20;
/// Headers that are Trunkline's own, or the client's.
const OWN_HEADERS: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "idempotency-key",
    "x-trunkline-signature",
    "x-trunkline-timestamp",
];
/// More warnings than these nobody waits for.
const MIN_COUNT_MAX: u32 = 1_000_000;
/// Other channels that are planned.
const LATER_KEYS: [&str; 2] = ["email", "when"];
/// More notices of one kind are a list of subscribers, which is the topic's business.
const NOTICES_MAX: usize = 10;

/// A notice with the places that later checks need.
#[derive(Clone, Debug)]
pub(crate) struct ReadNotice {
    /// The notice.
    pub(crate) notice: Notice,
    /// Where its connection is to blame; `None` where a default, checked elsewhere, names it.
    pub(crate) place: Option<Range<usize>>,
    /// Its templates.
    pub(crate) sites: Vec<Site>,
    /// Where it asks for so many warnings.
    min_count_place: Option<Range<usize>>,
}

impl ReadNotice {
    /// The names under which its own templates may read its links.
    pub(crate) fn link_names(&self) -> Vec<String> {
        let names = self.notice.links.iter().map(NoticeLink::name);
        names.flat_map(|name| [format!("{name}_until"), name]).collect()
    }
}

/// A value for each list of notices.
#[derive(Clone, Debug, Default)]
pub struct Lists<T>([T; NoticeOutcome::ALL.len()]);

impl<T> Lists<T> {
    /// Makes each list's value.
    pub(crate) fn of(make: impl FnMut(NoticeOutcome) -> T) -> Self {
        Self(NoticeOutcome::ALL.map(make))
    }

    /// The value of one list.
    pub fn get(&self, outcome: NoticeOutcome) -> &T {
        &self.0[outcome as usize]
    }

    /// Every list.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NoticeOutcome, &T)> {
        NoticeOutcome::ALL.into_iter().zip(&self.0)
    }
}

/// The lists of a pipeline file; none where it does not name one.
pub(crate) type ReadNotices = Lists<Option<Vec<ReadNotice>>>;

/// Reads every list of a file.
pub(crate) fn all_notices(reader: &mut Reader, top: &Mapping, connection: Option<&str>) -> ReadNotices {
    Lists::of(|outcome| {
        let entry = top.get(&outcome.key())?;
        let read = notices(reader, entry, connection);
        for notice in read.iter().filter(|_| outcome != NoticeOutcome::Warning) {
            if let Some(span) = &notice.min_count_place {
                let message = format!("`min_count` counts warnings, and `{}` is not about any", entry.key);
                let diagnostic = reader.error(span, message).label("only in `on_warning`");
                reader.report(diagnostic);
            }
        }
        Some(read)
    })
}

/// What a template of this list may read.
pub(crate) fn place_of(outcome: NoticeOutcome) -> Place {
    match outcome {
        NoticeOutcome::Success | NoticeOutcome::Warning | NoticeOutcome::Recovery => Place::OnSuccess,
        NoticeOutcome::Failure | NoticeOutcome::Retry => Place::OnFailure,
        NoticeOutcome::Late => Place::OnLate,
    }
}

impl ReadNotices {
    /// The pipeline's own lists, else the project's. Where there is a deadline, who hears of failures
    /// hears of late runs too, and who hears of those hears when they are done.
    pub(crate) fn or(self, project: &Lists<Vec<Notice>>, has_deadline: bool) -> Lists<Vec<Notice>> {
        let own = |outcome: NoticeOutcome| match self.get(outcome) {
            Some(own) => Some(own.iter().map(|read| read.notice.clone()).collect()),
            None => Some(project.get(outcome).clone()).filter(|list| !list.is_empty()),
        };
        let failure: Vec<Notice> = own(NoticeOutcome::Failure).unwrap_or_default();
        let standard = |list: &[Notice]| -> Vec<Notice> {
            let plain = |notice: &Notice| Notice { subject: None, message: None, ..notice.clone() };
            if has_deadline { list.iter().map(plain).collect() } else { Vec::new() }
        };
        let late = own(NoticeOutcome::Late).unwrap_or_else(|| standard(&failure));
        Lists::of(|outcome| match outcome {
            NoticeOutcome::Failure => failure.clone(),
            NoticeOutcome::Late => late.clone(),
            NoticeOutcome::Recovery => own(outcome).unwrap_or_else(|| standard(&late)),
            _ => own(outcome).unwrap_or_default(),
        })
    }
}

/// Reads a list of notices, or one.
fn notices(reader: &mut Reader, entry: &Entry, connection: Option<&str>) -> Vec<ReadNotice> {
    let nodes = match &entry.value.kind {
        Kind::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    if let Some(extra) = nodes.get(NOTICES_MAX) {
        let message = format!("`{}` has more than {NOTICES_MAX} notices", entry.key);
        let diagnostic =
            reader.error(&extra.span, message).label("one too many").help("subscribe them to one topic");
        reader.report(diagnostic);
    }
    nodes.iter().take(NOTICES_MAX).filter_map(|node| notice(reader, node, &entry.key, connection)).collect()
}

fn notice(reader: &mut Reader, node: &Node, of: &str, connection: Option<&str>) -> Option<ReadNotice> {
    let mapping = reader.mapping(node, of)?;
    reader.check_keys(mapping, Keys { of: "a notice", known: &NOTICE_KEYS, later: &LATER_KEYS });
    let mut sites = Vec::new();
    let mut text = |reader: &mut Reader, entry: &Entry, secrets: bool| {
        let text = reader.template(entry)?;
        sites.extend(Site::of(reader.source, &entry.value).map(|site| Site { secrets, ..site }));
        Some(text)
    };
    let has_links = mapping.get("links").is_some();
    let target = target_entry(reader, mapping, node);
    let target = target.and_then(|entry| {
        let to = text(reader, entry, entry.key != "sns")?;
        check_address(reader, entry, &to)?;
        Some(match entry.key.as_str() {
            "webhook" => NoticeTarget::Webhook(to),
            "slack" => NoticeTarget::Slack(to),
            _ => NoticeTarget::Sns(to),
        })
    });
    let subject = mapping.get("subject").and_then(|entry| text(reader, entry, false));
    let message = mapping.get("message").and_then(|entry| text(reader, entry, false));
    let signed_with = mapping.get("signed_with").and_then(|entry| text(reader, entry, true));
    let mut headers = IndexMap::new();
    for entry in header_entries(reader, mapping) {
        if let Some(value) = text(reader, entry, true) {
            headers.insert(entry.key.clone(), value);
        }
    }
    let mut links = Vec::new();
    for (label, s3, expires) in link_entries(reader, mapping) {
        let object = text(reader, s3, false).filter(|object| check_link(reader, s3, object));
        links.extend(object.map(|s3| NoticeLink { label, s3, expires }));
    }
    let named = mapping.get("connection");
    let to_topic = has_links || matches!(target, None | Some(NoticeTarget::Sns(_)));
    let place = match (named, connection) {
        (Some(entry), _) => Some(entry.value.span.clone()),
        (None, None) if to_topic => Some(node.span.clone()),
        (None, _) => None,
    };
    let connection = named
        .and_then(|entry| reader.text(entry))
        .or_else(|| connection.map(ToOwned::to_owned))
        .unwrap_or_else(|| CONNECTION.to_owned());
    let count = mapping.get("min_count");
    let min_count = count.and_then(|entry| reader.integer(entry, 1..=MIN_COUNT_MAX));
    let min_count_place = count.map(|entry| entry.value.span.clone());
    let notice =
        Notice { target: target?, connection, subject, message, min_count, headers, signed_with, links };
    Some(ReadNotice { notice, place, sites, min_count_place })
}

/// Where a notice goes: one of the targets, and nothing that belongs to another one.
fn target_entry<'n>(reader: &mut Reader, mapping: &'n Mapping, node: &Node) -> Option<&'n Entry> {
    let mut named = mapping.entries.iter().filter(|entry| TARGETS.contains(&entry.key.as_str()));
    let Some(target) = named.next() else {
        let diagnostic = reader
            .error(&node.span, "a notice needs `sns`, `webhook` or `slack`")
            .label("where does it go?")
            .help("name the topic's ARN, e.g. sns: \"{{ vars.topic }}\"");
        reader.report(diagnostic);
        return None;
    };
    if let Some(second) = named.next() {
        let message = format!("a notice goes to one place: it has `{}` and `{}`", target.key, second.key);
        let help = "write a second notice: - { … }";
        let diagnostic = reader.error(&second.key_span, message).label("second place").help(help);
        reader.report(diagnostic);
    }
    for (key, of) in OF_TARGET {
        // Links are signed through a connection, wherever they are sent.
        let signs = key == "connection" && mapping.get("links").is_some();
        if let Some(entry) = mapping.get(key).filter(|_| of != target.key && !signs) {
            let message = format!("`{key}` belongs to `{of}`, and the notice goes to `{}`", target.key);
            let diagnostic = reader.error(&entry.key_span, message).label("not here").help("leave it out");
            reader.report(diagnostic);
        }
    }
    Some(target)
}

/// What can be seen of an address before it is rendered.
fn check_address(reader: &mut Reader, entry: &Entry, to: &str) -> Option<()> {
    if entry.key == "sns" || is_template(to) {
        return Some(());
    }
    if !to.starts_with("https://") && !to.starts_with("http://") {
        let message = format!("`{}` must be a URL, not `{}`", entry.key, shorten(to));
        let help = "write https://…, or name the secret that holds it: \"{{ secrets.hook }}\"";
        let diagnostic = reader.error(&entry.value.span, message).label("expected https://…").help(help);
        reader.report(diagnostic);
        return None;
    }
    if entry.key == "slack" {
        let help = "keep it as a secret and write \"{{ secrets.chat }}\" (docs/secrets.md)";
        let diagnostic = reader
            .error(&entry.value.span, "the address of a chat is a secret: whoever has it can write there")
            .label("stored with the pipeline")
            .help(help)
            .warning();
        reader.report(diagnostic);
    }
    Some(())
}

fn header_entries<'n>(reader: &mut Reader, mapping: &'n Mapping) -> Vec<&'n Entry> {
    let Some(entry) = mapping.get("headers") else { return Vec::new() };
    let Some(headers) = reader.mapping(&entry.value, "headers") else { return Vec::new() };
    if let Some(extra) = headers.entries.get(HEADERS_MAX) {
        let message = format!("there are more than {HEADERS_MAX} headers");
        let diagnostic = reader.error(&extra.key_span, message).label("one too many");
        reader.report(diagnostic);
    }
    let sound = |name: &str| {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        !name.is_empty() && name.chars().all(is_token)
    };
    let mut kept = Vec::new();
    for entry in headers.entries.iter().take(HEADERS_MAX) {
        let lower = entry.key.to_ascii_lowercase();
        let message = match (sound(&entry.key), OWN_HEADERS.contains(&lower.as_str())) {
            (false, _) => format!("`{}` cannot be the name of a header", shorten(&entry.key)),
            (true, true) => format!("header `{}` is set by Trunkline itself", entry.key),
            (true, false) => {
                kept.push(entry);
                continue;
            }
        };
        let diagnostic = reader.error(&entry.key_span, message).label("header");
        reader.report(diagnostic);
    }
    kept
}

/// The links of a notice: label, object and life of each.
fn link_entries<'n>(reader: &mut Reader, mapping: &'n Mapping) -> Vec<(String, &'n Entry, Duration)> {
    let Some(entry) = mapping.get("links") else { return Vec::new() };
    let Kind::Sequence(nodes) = &entry.value.kind else {
        reader.mismatch(&entry.value, "links", "a list");
        return Vec::new();
    };
    if let Some(extra) = nodes.get(LINKS_MAX) {
        let message = format!("there are more than {LINKS_MAX} links");
        let diagnostic = reader.error(&extra.span, message).label("one too many");
        reader.report(diagnostic);
    }
    let mut links: Vec<(String, &Entry, Duration)> = Vec::new();
    for node in nodes.iter().take(LINKS_MAX) {
        let Some(link) = reader.mapping(node, "links") else { continue };
        reader.check_keys(link, Keys { of: "a link", known: &LINK_KEYS, later: &[] });
        let missing = ["label", "s3"].into_iter().find(|key| link.get(key).is_none());
        if let Some(key) = missing {
            let help = "write { label: Report, s3: s3://bucket/key }";
            let diagnostic = reader
                .error(&node.span, format!("a link needs `{key}`"))
                .label(format!("`{key}` is missing"))
                .help(help);
            reader.report(diagnostic);
        }
        let expires = match link.get("expires") {
            Some(entry) => life(reader, entry),
            None => Some(LINK_LIFE_MAX),
        };
        let label = link.get("label").and_then(|entry| label(reader, entry, &links));
        if let (Some(label), Some(s3), Some(expires)) = (label, link.get("s3"), expires) {
            links.push((label, s3, expires));
        }
    }
    links
}

fn life(reader: &mut Reader, entry: &Entry) -> Option<Duration> {
    let life = reader.positive_duration(entry)?;
    if life > LINK_LIFE_MAX {
        let diagnostic = reader
            .error(&entry.value.span, "a link is good for at most 7d")
            .label("longer than S3 takes")
            .help("write 7d or less; credentials of a session end it earlier");
        reader.report(diagnostic);
        return None;
    }
    Some(life)
}

fn label(reader: &mut Reader, entry: &Entry, known: &[(String, &Entry, Duration)]) -> Option<String> {
    let label = reader.text(entry)?;
    let sound = label.starts_with(|c: char| c.is_ascii_alphabetic())
        && label.len() <= LABEL_LENGTH_MAX
        && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-'));
    let name = |label: &str| {
        NoticeLink { label: label.to_owned(), s3: String::new(), expires: Duration::ZERO }.name()
    };
    let taken = name(&label) == "console" || known.iter().any(|(other, ..)| name(other) == name(&label));
    let message = match (sound, taken) {
        (false, _) => format!(
            "a label has 1 to {LABEL_LENGTH_MAX} letters, digits, blanks, - or _, not `{}`",
            shorten(&label)
        ),
        (true, true) => format!("there is a link `{}` already", name(&label)),
        (true, false) => return Some(label),
    };
    let diagnostic = reader.error(&entry.value.span, message).label("label");
    reader.report(diagnostic);
    None
}

fn check_link(reader: &mut Reader, entry: &Entry, object: &str) -> bool {
    let sound = is_template(object) || check_object(object).is_ok();
    if !sound {
        let message = format!("`{}` is no address of an object", shorten(object));
        let diagnostic =
            reader.error(&entry.value.span, message).label("object").help("write s3://bucket/key");
        reader.report(diagnostic);
    }
    sound
}
