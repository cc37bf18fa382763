//! The sandbox's mailbox as people read it: a folder with a file for every mail that SNS delivered. The only
//! reader of these files.
//!
//! A mail's name is its file's, which begins with the time of publishing: names sort as mails came. A name that
//! somebody gives never leads out of the folder.

mod message;

use std::{
    collections::BTreeSet,
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

use jiff::{Timestamp, fmt::rfc2822};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::message::Message;

/// The ending of a mail's file.
const ENDING: &str = ".eml";
/// The longest name of a mail.
const NAME_MAX: usize = 200;
/// Names of one folder that are read: a mailbox with more is no mailbox of a person.
const NAMES_MAX: usize = 100_000;
/// Files that one question opens.
const FILES_MAX: usize = 2_000;
/// The longest file that is read: SNS takes 256 KiB, and quoting makes three letters of one.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The longest text that is shown.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Files that are no mails and are named.
const LEFT_OUT_MAX: usize = 20;
/// What every notice carries: which one it is. It begins with the run that it is about.
const NOTICE_HEADER: &str = "X-Sns-Attribute-trunkline-notice-id";
/// Where there is none.
pub const NO_MAILBOX: &str =
    "there is no mailbox: this environment has no sandbox, and its mails go to their receivers";

/// A mailbox.
#[derive(Clone, Debug)]
pub struct Mailbox {
    folder: PathBuf,
}

/// A mail in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailView {
    /// Its name in the mailbox.
    pub mail: String,
    /// From whom.
    pub from: String,
    /// To whom.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// When it was published.
    pub at: Option<Timestamp>,
    /// The topic of SNS that it was published to.
    pub topic: Option<String>,
    /// The notice that it is, as `id` of a run's notices names it.
    pub notice: Option<String>,
    /// The id of the run that the notice is about, if it is about one.
    pub run: Option<String>,
}

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailDetail {
    /// What a list says of it.
    #[serde(flatten)]
    pub mail: MailView,
    /// The text as its receiver sees it.
    pub text: String,
    /// Whether the text goes on.
    pub cut: bool,
}

/// Mails, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailList {
    /// The mails of this page.
    pub items: Vec<MailView>,
    /// Where the next page begins; none on the last one.
    pub next: Option<String>,
    /// Files among them that are no mails.
    pub left_out: Vec<LeftOut>,
}

/// A file of the mailbox that is no mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The file's name.
    pub file: String,
    /// Why it is none.
    pub reason: String,
}

/// Which mails are wanted.
#[derive(Clone, Debug, Default)]
pub struct WantedMails {
    /// About this run only.
    pub run: Option<Uuid>,
    /// Behind this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Mailbox {
    /// The mailbox in a folder, which may not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Mails, newest first.
    pub fn list(&self, wanted: &WantedMails) -> io::Result<MailList> {
        let (names, mut left_out) = self.names()?;
        if wanted.after.is_some() {
            // Said with the first page.
            left_out.clear();
        }
        let (mut items, mut next) = (Vec::new(), None);
        let behind =
            names.into_iter().rev().filter(|name| wanted.after.as_ref().is_none_or(|after| name < after));
        let mut last: Option<String> = None;
        for (looked_at, name) in behind.enumerate() {
            if looked_at >= FILES_MAX || items.len() >= wanted.limit {
                next = last;
                break;
            }
            match self.read(&name) {
                Ok(Some(message)) => {
                    let view = view(&name, &message);
                    let run = view.run.as_deref().and_then(|run| run.parse::<Uuid>().ok());
                    if wanted.run.is_none_or(|wanted| Some(wanted) == run) {
                        items.push(view);
                    }
                }
                Ok(None) => {
                    leave_out(&mut left_out, name.clone() + ENDING, "it does not begin as a mail does");
                }
                Err(error) => leave_out(&mut left_out, name.clone() + ENDING, &error.to_string()),
            }
            last = Some(name);
        }
        Ok(MailList { items, next, left_out })
    }

    /// One mail; none where no mail has this name.
    pub fn mail(&self, name: &str) -> io::Result<Option<MailDetail>> {
        if !is_name(name) {
            return Ok(None);
        }
        let Some(message) = self.read(name)? else { return Ok(None) };
        let mail = view(name, &message);
        let Message { mut text, .. } = message;
        let cut = text.len() > TEXT_BYTES_MAX;
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        Ok(Some(MailDetail { mail, text, cut }))
    }

    /// Every mail, oldest first: of a mailbox that a test or a tour has for itself.
    pub fn messages(&self) -> io::Result<Vec<Message>> {
        let (names, _) = self.names()?;
        let read = names.iter().map(|name| self.read(name)).collect::<io::Result<Vec<_>>>()?;
        Ok(read.into_iter().flatten().collect())
    }

    /// The names of what may be mails, and which other files there are.
    fn names(&self) -> io::Result<(BTreeSet<String>, Vec<LeftOut>)> {
        let (mut names, mut left_out) = (BTreeSet::new(), Vec::new());
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((names, left_out)),
            entries => entries?,
        };
        for entry in entries.take(NAMES_MAX) {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            match file.strip_suffix(ENDING) {
                // A mail that is being written.
                _ if file.starts_with('.') => {}
                Some(name) if is_name(name) && entry.file_type()?.is_file() => {
                    names.insert(name.to_owned());
                }
                Some(_) => leave_out(&mut left_out, file, "mails of the sandbox have other names"),
                None => leave_out(&mut left_out, file, "its name does not end in .eml"),
            }
        }
        Ok((names, left_out))
    }

    fn read(&self, name: &str) -> io::Result<Option<Message>> {
        let path = self.folder.join(format!("{name}{ENDING}"));
        match read_file(&path) {
            // Somebody tidies up meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(read?.as_deref().and_then(Message::parse)),
        }
    }
}

/// The bytes of a plain file, as many as are read of one. Links are not followed.
fn read_file(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Whether a text can be the name of a mail. One that is none is nobody's: nothing is looked for under it.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn leave_out(left_out: &mut Vec<LeftOut>, file: String, reason: &str) {
    if left_out.len() < LEFT_OUT_MAX {
        left_out.push(LeftOut { file, reason: reason.to_owned() });
    }
}

fn view(name: &str, message: &Message) -> MailView {
    let header = |name| message.header(name).unwrap_or_default().to_owned();
    let notice = message.header(NOTICE_HEADER).map(str::to_owned);
    let run = notice.as_deref().and_then(|notice| notice.split(':').next()?.parse::<Uuid>().ok());
    MailView {
        mail: name.to_owned(),
        from: header("From"),
        to: header("To"),
        subject: header("Subject"),
        at: message.header("Date").and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp()),
        topic: message.header("X-Sns-Topic-Arn").map(str::to_owned),
        notice,
        run: run.map(|run| run.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0198a1b2-0000-7000-8000-000000000001";

    fn mailbox(files: &[(&str, &str)]) -> (tempfile::TempDir, Mailbox) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let mailbox = Mailbox::new(folder.path());
        (folder, mailbox)
    }

    fn names(list: &MailList) -> Vec<&str> {
        list.items.iter().map(|one| one.mail.as_str()).collect()
    }

    #[test]
    fn mails_are_listed_newest_first_and_page_by_page() {
        let about = format!("To: a@b\nX-Sns-Attribute-trunkline-notice-id: {RUN}:g1:failure:0\n\n");
        let (_folder, mailbox) = mailbox(&[
            (
                "20261120T094800.000Z-1-a.eml",
                "To: a@b\nSubject: first\nDate: Fri, 20 Nov 2026 09:48:00 +0000\n\nx",
            ),
            ("20261121T094800.000Z-2-a.eml", &about),
            ("20261122T094800.000Z-3-a.eml", "To: a@b\n\nx"),
            ("20261123T094800.000Z-4-a.eml", "no mail"),
            (".20261123T094800.000Z-5-a.eml.1.tmp", "To: a@b\n\n"),
            ("a b.eml", "To: a@b\n\n"),
            ("note.txt", "x"),
        ]);
        let all = mailbox.list(&WantedMails { limit: 10, ..WantedMails::default() }).unwrap();
        let [three, two, one] =
            ["3", "2", "1"].map(|id| format!("2026112{}T094800.000Z-{id}-a", id.parse::<u8>().unwrap() - 1));
        assert_eq!(names(&all), [&three, &two, &one]);
        assert_eq!((all.next.as_deref(), all.left_out.len()), (None, 3));
        assert_eq!(all.items[2].at, Some("2026-11-20T09:48:00Z".parse().unwrap()));
        assert_eq!(all.items[1].run.as_deref(), Some(RUN));
        let page = mailbox.list(&WantedMails { limit: 2, ..WantedMails::default() }).unwrap();
        assert_eq!((names(&page), page.next.as_ref()), (vec![three.as_str(), two.as_str()], Some(&two)));
        let rest = mailbox.list(&WantedMails { limit: 2, after: page.next, run: None }).unwrap();
        assert_eq!((names(&rest), rest.next.as_ref(), rest.left_out.len()), (vec![one.as_str()], None, 0));
        let of_run = WantedMails { run: RUN.parse().ok(), limit: 10, after: None };
        assert_eq!(names(&mailbox.list(&of_run).unwrap()), [two]);
        assert_eq!(mailbox.messages().unwrap().len(), 3);
    }

    #[test]
    fn a_name_never_leads_out_of_the_folder() {
        let (folder, _) = mailbox(&[("secret.eml", "To: a@b\n\nsecret")]);
        let inner = folder.path().join("box");
        fs::create_dir(&inner).unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.eml"), inner.join("link.eml")).unwrap();
        fs::create_dir(inner.join("folder.eml")).unwrap();
        let mailbox = Mailbox::new(&inner);
        for name in [
            "../secret",
            "..",
            ".",
            "",
            "/etc/passwd",
            "a/../../secret",
            "link",
            "folder",
            "gone",
            "é",
            "a\0",
            "a\n",
        ] {
            assert_eq!(mailbox.mail(name).unwrap(), None, "{name}");
        }
        assert!(!is_name(&"a".repeat(NAME_MAX + 1)));
        let list = mailbox.list(&WantedMails { limit: 10, ..WantedMails::default() }).unwrap();
        assert_eq!((list.items.len(), list.left_out.len()), (0, 2));
        let nowhere = Mailbox::new(inner.join("nowhere"));
        assert!(nowhere.list(&WantedMails { limit: 10, ..WantedMails::default() }).unwrap().items.is_empty());
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = format!("To: a@b\n\n{}", "é".repeat(TEXT_BYTES_MAX));
        let (_folder, mailbox) = mailbox(&[("a.eml", &long), ("b.eml", "To: a@b\n\nshort\n")]);
        let cut = mailbox.mail("a").unwrap().unwrap();
        assert!(cut.cut && cut.text.len() <= TEXT_BYTES_MAX && cut.text.len() > TEXT_BYTES_MAX - 4);
        let whole = mailbox.mail("b").unwrap().unwrap();
        assert_eq!((whole.text.as_str(), whole.cut), ("short\n", false));
    }
}
