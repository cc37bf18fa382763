//! One mail as a person reads it: headers and text, decoded. It knows the forms that the sandbox's SNS writes; of
//! others, what it does not know stays as it is written.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    headers: Vec<(String, String)>,
    /// The text as its receiver sees it.
    pub text: String,
}

impl Message {
    /// Reads a file's bytes. `None` where they are no mail: without a head, or with one that names no receiver.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let whole = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
        let (head, body) = whole.split_once("\n\n").unwrap_or((whole.as_str(), ""));
        // A line that begins with a space goes on with the one before.
        let unfolded = head.replace("\n ", " ").replace("\n\t", " ");
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            let legal = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
            legal.then(|| (name.to_owned(), decode_words(value.trim())))
        };
        let headers: Option<Vec<(String, String)>> = unfolded.lines().map(header).collect();
        let message = Self { headers: headers?, text: String::new() };
        message.header("To")?;
        let text = match message.header("Content-Transfer-Encoding").map(str::to_ascii_lowercase).as_deref() {
            Some("quoted-printable") => unquoted(body),
            Some("base64") => match STANDARD.decode(body.replace('\n', "")) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(_) => body.to_owned(),
            },
            _ => body.to_owned(),
        };
        Some(Self { text, ..message })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A header's value with its encoded words (RFC 2047) decoded; the space between two of them is none.
fn decode_words(value: &str) -> String {
    let mut text = String::new();
    let (mut rest, mut joined) = (value, false);
    while let Some(start) = rest.find("=?") {
        let (before, word) = rest.split_at(start);
        let Some((decoded, after)) = decode_word(word) else { break };
        if !(joined && before.trim().is_empty()) {
            text.push_str(before);
        }
        text.push_str(&decoded);
        (rest, joined) = (after, true);
    }
    text + rest
}

/// The word that a text begins with, and what follows it.
fn decode_word(text: &str) -> Option<(String, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    let (kind, rest) = rest.split_once('?')?;
    let (coded, rest) = rest.split_once("?=")?;
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let decoded = match kind {
        "B" | "b" => String::from_utf8_lossy(&STANDARD.decode(coded).ok()?).into_owned(),
        "Q" | "q" => unquoted(&coded.replace('_', " ")),
        _ => return None,
    };
    Some((decoded, rest))
}

/// Quoted-printable as text: bytes in hex, lines that go on.
fn unquoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find('=') {
        bytes.extend_from_slice(&rest.as_bytes()[..found]);
        rest = &rest[found + 1..];
        if let Some(next) = rest.strip_prefix('\n') {
            rest = next;
        } else if let Some(byte) = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            bytes.push(byte);
            rest = &rest[2..];
        } else {
            bytes.push(b'=');
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Message {
        Message::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn words_and_texts_are_decoded() {
        let mail = parsed(
            "To: a@b\r\nSubject: =?utf-8?B?RkFJTEVEIMO8?=\r\n =?utf-8?B?IGI=?= c =?utf-8?Q?d_=C3=A9?=\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\none =C3=BC=\r\n two =3D 3, a=b\r\n",
        );
        assert_eq!(mail.header("subject"), Some("FAILED ü b c d é"));
        assert_eq!(mail.text, "one ü two = 3, a=b\n");
        let plain = parsed("To: a@b\nSubject: of\n two lines =?latin-1?B?eA==?=\n\nHello – you\n");
        assert_eq!(plain.header("Subject"), Some("of two lines =?latin-1?B?eA==?="));
        assert_eq!(plain.text, "Hello – you\n");
        assert_eq!(parsed("To: a\nContent-Transfer-Encoding: base64\n\naGkg\neW91\n").text, "hi you");
        assert_eq!(parsed("To: a\nContent-Transfer-Encoding: base64\n\n!\n").text, "!\n");
    }

    #[test]
    fn what_is_no_mail_is_none() {
        for text in [
            "",
            "no mail",
            "Subject: without receiver\n\nx",
            "To: a\nno header\n\nx",
            ": x\nTo: a\n\n",
            "\n\nTo: a",
        ] {
            assert_eq!(Message::parse(text.as_bytes()), None, "{text}");
        }
        assert!(Message::parse(&[0xff, 0xfe, b'\n', b'\n']).is_none());
        assert_eq!(parsed("To: a").text, "");
    }

    #[test]
    fn half_a_code_is_text() {
        assert_eq!(unquoted("=é =4 =zz ="), "=é =4 =zz =");
        assert_eq!(decode_words("=?utf-8?B?x =?="), "=?utf-8?B?x =?=");
    }
}
