//! Mails of the sandbox as a person reads them.

use std::{collections::BTreeSet, fs, io, path::Path};

use crate::service::cases::SeenNotice;

/// Every message in a mailbox, oldest first; one that went to several addresses once.
pub(super) fn notices(folder: &Path) -> io::Result<Vec<SeenNotice>> {
    // Names begin with the time of publishing.
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "eml") {
            names.insert(path);
        }
    }
    let mut known = BTreeSet::new();
    let mut notices = Vec::new();
    for path in names {
        let text = String::from_utf8_lossy(&fs::read(&path)?).replace("\r\n", "\n");
        let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
        if known.insert(header(head, "Message-ID")) {
            notices.push(SeenNotice {
                on: None,
                to: header(head, "X-Sns-Topic-Arn"),
                subject: header(head, "Subject"),
                body: body.to_owned(),
            });
        }
    }
    Ok(notices)
}

/// The value of a header; lines that go on are joined.
fn header(head: &str, name: &str) -> String {
    let unfolded = head.replace("\n ", " ");
    let found = unfolded.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    });
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_to_two_addresses_is_one_notice() {
        let folder = tempfile::tempdir().unwrap();
        let mail = |to: &str, id: &str, subject: &str| {
            format!(
                "To: {to}\r\nSubject: {subject}\r\nMessage-ID: <{id}>\r\nX-Sns-Topic-Arn: arn:t\r\n\r\nHello\r\nyou\r\n"
            )
        };
        for (name, text) in [
            ("1-a.eml", mail("a@b", "1", "first")),
            ("1-c.eml", mail("c@d", "1", "first")),
            ("2-a.eml", mail("a@b", "2", "second\r\n of two lines")),
            ("note.txt", "no mail".to_owned()),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = notices(folder.path()).unwrap();
        let shown: Vec<_> =
            found.iter().map(|one| (one.to.as_str(), one.subject.as_str(), one.body.as_str())).collect();
        assert_eq!(
            shown,
            [("arn:t", "first", "Hello\nyou\n"), ("arn:t", "second of two lines", "Hello\nyou\n")]
        );
    }
}
