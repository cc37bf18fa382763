//! `on_success` and `on_failure`, in a pipeline and in the project file.

use std::ops::Range;

use trunkline_state::pipeline::Notice;

use super::{
    common::CONNECTION,
    reader::{Keys, Reader},
    settings::Site,
    template::is_template,
    tree::{Entry, Kind, Node},
};

/// The keys of a notice.
pub(crate) const NOTICE_KEYS: [&str; 4] = ["sns", "subject", "message", "connection"];
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
}

/// Reads a list of notices, or one.
pub(crate) fn notices(reader: &mut Reader, entry: &Entry, connection: Option<&str>) -> Vec<ReadNotice> {
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
        if let Some(scalar) = entry.value.as_scalar().filter(|scalar| is_template(&scalar.text)) {
            sites.push(Site {
                source: reader.source,
                span: entry.value.span.clone(),
                scalar: Some(scalar.clone()),
                text: text.clone(),
                secrets: false,
            });
        }
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
    Some(ReadNotice { notice: Notice { sns: sns?, connection, subject, message }, place, sites })
}
