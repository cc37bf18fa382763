//! `on_success`, `on_failure` and the other lists of notices, in a pipeline and in the project file.

use std::ops::Range;

use trunkline_state::{machine::NoticeOutcome, pipeline::Notice};

use super::{
    common::CONNECTION,
    reader::{Keys, Reader},
    settings::Site,
    template::vocabulary::Place,
    tree::{Entry, Kind, Mapping, Node},
};

/// The keys of a notice.
pub(crate) const NOTICE_KEYS: [&str; 5] = ["sns", "subject", "message", "connection", "min_count"];
/// More warnings than these nobody waits for.
const MIN_COUNT_MAX: u32 = 1_000_000;
/// Other channels that are planned.
const LATER_KEYS: [&str; 4] = ["email", "slack", "webhook", "when"];
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
    let mut text = |reader: &mut Reader, key: &str| {
        let entry = mapping.get(key)?;
        let text = reader.template(entry)?;
        sites.extend(Site::of(reader.source, &entry.value));
        Some(text)
    };
    let sns = text(reader, "sns");
    let subject = text(reader, "subject");
    let message = text(reader, "message");
    let named = mapping.get("connection");
    let place = match (named, connection) {
        (Some(entry), _) => Some(entry.value.span.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(node.span.clone()),
    };
    let connection = named
        .and_then(|entry| reader.text(entry))
        .or_else(|| connection.map(ToOwned::to_owned))
        .unwrap_or_else(|| CONNECTION.to_owned());
    if mapping.get("sns").is_none() {
        let diagnostic = reader
            .error(&node.span, "a notice needs `sns`")
            .label("`sns` is missing")
            .help("name the topic's ARN, e.g. sns: \"{{ vars.topic }}\"");
        reader.report(diagnostic);
    }
    let count = mapping.get("min_count");
    let min_count = count.and_then(|entry| reader.integer(entry, 1..=MIN_COUNT_MAX));
    let min_count_place = count.map(|entry| entry.value.span.clone());
    let notice = Notice { sns: sns?, connection, subject, message, min_count };
    Some(ReadNotice { notice, place, sites, min_count_place })
}
