//! Mails of the sandbox as the cases of a pipeline see them.

use std::{collections::BTreeSet, io, path::Path};

use crate::service::{
    cases::SeenNotice,
    mails::{Mailbox, Message},
};

/// Every message in a mailbox, oldest first; one that went to several addresses once.
pub(super) fn notices(folder: &Path) -> io::Result<Vec<SeenNotice>> {
    let mut known = BTreeSet::new();
    let header = |mail: &Message, name| mail.header(name).unwrap_or_default().to_owned();
    let mails = Mailbox::new(folder).messages()?.into_iter();
    let first = mails.filter(|mail| known.insert(header(mail, "Message-ID")));
    Ok(first
        .map(|mail| SeenNotice {
            on: None,
            to: header(&mail, "X-Sns-Topic-Arn"),
            subject: header(&mail, "Subject"),
            body: mail.text,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
