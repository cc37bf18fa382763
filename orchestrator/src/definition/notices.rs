//! `on_success`, `on_failure` and the other lists of notices, in a pipeline and in the project file.

use std::ops::Range;

use indexmap::IndexMap;
use trunkline_state::{
    machine::NoticeOutcome,
    pipeline::{Notice, NoticeTarget},
};

use super::{
    common::CONNECTION,
    reader::{Keys, Reader, shorten},
    settings::Site,
    template::{is_template, vocabulary::Place},
    tree::{Entry, Kind, Mapping, Node},
};

/// The keys of a notice.
pub(crate) const NOTICE_KEYS: [&str; 9] =
    ["sns", "webhook", "slack", "subject", "message", "connection", "headers", "signed_with", "min_count"];
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
    let named = mapping.get("connection");
    let to_topic = matches!(target, None | Some(NoticeTarget::Sns(_)));
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
    let notice = Notice { target: target?, connection, subject, message, min_count, headers, signed_with };
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
        if let Some(entry) = mapping.get(key).filter(|_| of != target.key) {
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
