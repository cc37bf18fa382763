//! Statements in Postgres' protocol, version 3, without TLS.

use std::collections::HashMap;

use super::{
    Control, Moment,
    link::{Read, Sent},
};

/// The longest message that is waited for; a commit of a trial is far shorter.
const MESSAGE_MAX: usize = 8 * 1024 * 1024;
/// The statements of one connection that are remembered, by name.
const STATEMENTS_MAX: usize = 1_000;

/// Reads one connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    held: Vec<u8>,
    /// The start-up message, which has no type, went by.
    begun: bool,
    statements: HashMap<Vec<u8>, String>,
    /// Cut once the messages up to the next `Sync` went on.
    doomed: bool,
    answer: Vec<u8>,
    blind: bool,
}

impl Read for Reader {
    fn sent(&mut self, bytes: &[u8], control: &Control) -> Sent {
        if self.blind {
            return Sent { forward: bytes.to_vec(), cut: None };
        }
        self.held.extend_from_slice(bytes);
        let mut sent = Sent::default();
        while let Some(length) = self.message_length() {
            if length > MESSAGE_MAX {
                self.blind = true;
                sent.forward.append(&mut self.held);
                return sent;
            }
            if self.held.len() < length {
                break;
            }
            let message: Vec<u8> = self.held.drain(..length).collect();
            match self.read(&message, control) {
                Some(Moment::BeforeAccept) => {
                    sent.cut = Some(Moment::BeforeAccept);
                    return sent;
                }
                Some(Moment::AfterAccept) => self.doomed = true,
                None => {}
            }
            let ends = matches!(message.first(), Some(b'S' | b'Q'));
            sent.forward.extend(message);
            if self.doomed && ends {
                sent.cut = Some(Moment::AfterAccept);
                return sent;
            }
        }
        sent
    }

    /// An implicit transaction is committed when the server is ready for the next query.
    fn is_answered(&mut self, bytes: &[u8]) -> bool {
        self.answer.extend_from_slice(bytes);
        loop {
            let Some(length) = self.answer.get(1..5).and_then(|bytes| bytes.try_into().ok()) else {
                return false;
            };
            let length = 1 + usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if self.answer.len() < length {
                return false;
            }
            if self.answer[0] == b'Z' {
                return true;
            }
            self.answer.drain(..length);
        }
    }
}

impl Reader {
    fn message_length(&self) -> Option<usize> {
        let at = usize::from(self.begun);
        let length: [u8; 4] = self.held.get(at..at + 4)?.try_into().ok()?;
        Some(at + usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
    }

    /// Whether this message is a call to be cut off.
    fn read(&mut self, message: &[u8], control: &Control) -> Option<Moment> {
        if !self.begun {
            self.begun = true;
            return None;
        }
        let mut words = message.get(5..)?.split(|byte| *byte == 0);
        match message[0] {
            b'P' => {
                let name = words.next()?.to_vec();
                let text = String::from_utf8_lossy(words.next()?).into_owned();
                if self.statements.len() < STATEMENTS_MAX {
                    self.statements.insert(name, text);
                }
                None
            }
            b'B' => {
                let text = self.statements.get(words.nth(1)?)?;
                control.judge(|wanted| text.contains(wanted))
            }
            b'Q' => {
                let text = String::from_utf8_lossy(words.next()?).into_owned();
                control.judge(|wanted| text.contains(wanted))
            }
            _ => None,
        }
    }
}
