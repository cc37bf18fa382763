//! The links of a notice: signed when it is sent, and as they stand in its words.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};
use trunkline_state::pipeline::Notice;
use trunkline_tasks::{
    clients::Clients,
    notice::{self, Signed},
};

use crate::message::Link;

/// A link of a notice as it was signed, or why it could not be.
#[derive(Clone, Debug)]
pub(in crate::engine) struct SignedLink {
    pub(in crate::engine) label: String,
    pub(in crate::engine) name: String,
    pub(in crate::engine) signed: Result<Signed, String>,
}

/// Signs the links of a notice. One that cannot be signed keeps nobody from hearing the rest.
pub(super) async fn sign(
    notice: &Notice,
    clients: &Clients,
    render: &(dyn Fn(&String) -> Result<String, String> + Sync),
    now: Timestamp,
) -> Vec<SignedLink> {
    let mut links = Vec::with_capacity(notice.links.len());
    for link in &notice.links {
        let signed = match render(&link.s3) {
            Ok(object) => notice::sign(clients, &notice.connection, &object, link.expires, now)
                .await
                .map_err(|failure| failure.message),
            Err(error) => Err(error),
        };
        links.push(SignedLink { label: link.label.clone(), name: link.name(), signed });
    }
    links
}

/// `links.…` of a notice's own templates: the console's page, and each link with its end. Empty text
/// where there is none: a template may always ask.
pub(super) fn values(console: &str, zone: &TimeZone, links: &[SignedLink]) -> Value {
    let mut values = Map::from_iter([("console".to_owned(), json!(console))]);
    for link in links {
        let (url, until) = match &link.signed {
            Ok(signed) => (signed.url.clone(), until_text(zone, signed.until)),
            Err(_) => (String::new(), String::new()),
        };
        values.insert(format!("{}_until", link.name), json!(until));
        values.insert(link.name.clone(), json!(url));
    }
    values.into()
}

/// Those that could be signed, for receivers that take links by themselves.
pub(super) fn named(links: Vec<SignedLink>) -> Vec<Link> {
    links
        .into_iter()
        .filter_map(|link| Some(Link { label: link.label, url: link.signed.ok()?.url }))
        .collect()
}

/// The links below the standard words, each with the real end of its life.
pub(super) fn lines(zone: &TimeZone, links: &[SignedLink]) -> String {
    let line = |link: &SignedLink| match &link.signed {
        Ok(signed) => {
            let until = until_text(zone, signed.until);
            let why = if signed.shortened { ", when the credentials that signed it end" } else { "" };
            format!("{}  {}\n      good until {until}{why}\n", link.label, signed.url)
        }
        Err(reason) => format!("{}  cannot be linked: {reason}\n", link.label),
    };
    links.iter().map(line).collect()
}

/// A moment in the pipeline's zone: `11-26 09:48 UTC`.
fn until_text(zone: &TimeZone, until: Timestamp) -> String {
    until.to_zoned(zone.clone()).strftime("%m-%d %H:%M %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_end_is_said_and_why_it_is_early() {
        let until: Timestamp = "2026-11-26T09:48:00Z".parse().unwrap();
        let link =
            |label: &str, signed| SignedLink { label: label.to_owned(), name: label.to_lowercase(), signed };
        let good = |shortened| Ok(Signed { url: "https://s3/x".to_owned(), until, shortened });
        let links =
            [link("Report", good(false)), link("Rows", good(true)), link("Log", Err("no role".to_owned()))];
        assert_eq!(
            lines(&TimeZone::UTC, &links),
            "Report  https://s3/x\n      good until 11-26 09:48 UTC\nRows  https://s3/x\n      good until 11-26 09:48 \
             UTC, when the credentials that signed it end\nLog  cannot be linked: no role\n"
        );
        let values = values("", &TimeZone::UTC, &links);
        assert_eq!((values["report"].as_str(), values["log"].as_str()), (Some("https://s3/x"), Some("")));
        assert_eq!(
            (values["rows_until"].as_str(), values["console"].as_str()),
            (Some("11-26 09:48 UTC"), Some(""))
        );
    }
}
