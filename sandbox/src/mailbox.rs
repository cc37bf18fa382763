//! The mailbox: every mail that SNS delivers is one `.eml` file that any mail program opens.
//!
//! Files appear whole, under names that sort by time. Who gets which mail is not decided here.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use crate::{SandboxError, files};

/// The longest line that mail takes, without its end.
const LINE_MAX: usize = 998;

/// Where quoted-printable lines are broken.
const QUOTED_LINE: usize = 75;

/// One mail to one address.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    /// The address.
    pub to: String,
    /// The subject as it was published, or what SNS puts there.
    pub subject: String,
    /// The text.
    pub body: String,
    /// When it was published.
    pub at: Timestamp,
    /// SNS's id of the message.
    pub message_id: String,
    /// Further headers: the topic, the message attributes.
    pub headers: Vec<(String, String)>,
}

/// The folder of mails.
#[derive(Debug)]
pub(crate) struct Mailbox {
    folder: PathBuf,
}

impl Mailbox {
    /// Opens or makes the folder.
    pub(crate) fn open(folder: &Path) -> Result<Self, SandboxError> {
        fs::create_dir_all(folder).map_err(|error| SandboxError::files("make", folder, error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a mail into the folder.
    pub(crate) fn deliver(&self, mail: &Mail) -> io::Result<()> {
        let address: String =
            mail.to.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(60).collect();
        let at = mail.at.strftime("%Y%m%dT%H%M%S%.3fZ");
        let name = format!("{at}-{}-{address}.eml", mail.message_id);
        files::replace(&self.folder.join(name), mail.to_rfc5322().as_bytes())
    }
}

impl Mail {
    /// The mail as text.
    pub(crate) fn to_rfc5322(&self) -> String {
        let mut text = String::new();
        let mut header = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{name}: {}\r\n", encode_header(value));
        };
        header("From", "AWS Notifications <no-reply@sns.localhost>");
        header("To", &self.to);
        header("Subject", &self.subject);
        header("Date", &self.at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string());
        header("Message-ID", &format!("<{}@sns.localhost>", self.message_id));
        header("MIME-Version", "1.0");
        header("Content-Type", "text/plain; charset=utf-8");
        for (name, value) in &self.headers {
            header(name, value);
        }
        let lines: Vec<&str> = self.body.split('\n').map(|line| line.trim_end_matches('\r')).collect();
        let quoted = lines.iter().any(|line| line.len() > LINE_MAX);
        header("Content-Transfer-Encoding", if quoted { "quoted-printable" } else { "8bit" });
        text.push_str("\r\n");
        for line in lines {
            if quoted {
                push_quoted(&mut text, line);
            } else {
                text.push_str(line);
            }
            text.push_str("\r\n");
        }
        text
    }
}

/// A header's value: as it is, or in RFC 2047's encoding if it is not plain ASCII or would break the header.
fn encode_header(value: &str) -> String {
    if value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && value.len() <= LINE_MAX - 80 {
        return value.to_owned();
    }
    // An encoded word holds 75 characters at most: 45 bytes in base64 and its frame.
    let mut words = Vec::new();
    let mut word = String::new();
    for character in value.chars() {
        if word.len() + character.len_utf8() > 45 {
            words.push(std::mem::take(&mut word));
        }
        word.push(character);
    }
    words.push(word);
    let encoded = words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    encoded.collect::<Vec<_>>().join("\r\n ")
}

fn push_quoted(text: &mut String, line: &str) {
    let mut width = 0;
    for byte in line.bytes() {
        let plain = (0x20..0x7f).contains(&byte) && byte != b'=';
        let piece = if plain { char::from(byte).to_string() } else { format!("={byte:02X}") };
        if width + piece.len() > QUOTED_LINE {
            text.push_str("=\r\n");
            width = 0;
        }
        width += piece.len();
        text.push_str(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(subject: &str, body: &str) -> Mail {
        Mail {
            to: "ops@example.com".into(),
            subject: subject.into(),
            body: body.into(),
            at: "2026-11-20T09:48:00Z".parse().unwrap(),
            message_id: "5f1c".into(),
            headers: vec![("X-Sns-Attribute-pipeline".into(), "daily".into())],
        }
    }

    #[test]
    fn a_plain_mail_reads_as_it_was_written() {
        insta::assert_snapshot!(mail("FAILED daily: convert", "line one\nline two – ü\n").to_rfc5322());
    }

    #[test]
    fn headers_cannot_be_injected() {
        let text = mail("x\r\nBcc: all@example.com", "b").to_rfc5322();
        assert!(!text.contains("\nBcc:"), "{text}");
        assert!(text.contains("Subject: =?utf-8?B?"), "{text}");
    }

    #[test]
    fn long_lines_are_quoted() {
        let text = mail("s", &"é=".repeat(600)).to_rfc5322();
        assert!(text.contains("quoted-printable"));
        assert!(text.lines().all(|line| line.len() <= LINE_MAX));
    }

    #[test]
    fn files_appear_whole_and_sort_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(folder.path()).unwrap();
        mailbox.deliver(&mail("s", "b")).unwrap();
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["20261120T094800.000Z-5f1c-ops-example-com.eml"]);
    }
}
