//! Calls in HTTP/1.1, as the AWS SDK and the `aws` tools make them.

use super::{
    Call, Control, Moment,
    link::{Read, Sent},
};

/// The longest head that is waited for; longer ones pass unread.
const HEAD_MAX: usize = 64 * 1024;
/// The longest body that is kept and looked at; longer ones pass unread.
const BODY_MAX: usize = 1024 * 1024;

/// Reads one connection.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The beginning of a request that is not complete.
    held: Vec<u8>,
    /// Something that this reader does not understand came by: the rest passes as it is.
    blind: bool,
}

impl Read for Reader {
    fn sent(&mut self, bytes: &[u8], control: &Control) -> Sent {
        if self.blind {
            return Sent { forward: bytes.to_vec(), cut: None };
        }
        self.held.extend_from_slice(bytes);
        let mut sent = Sent::default();
        loop {
            match next(&self.held) {
                Next::Incomplete => return sent,
                Next::Strange => {
                    self.blind = true;
                    sent.forward.append(&mut self.held);
                    return sent;
                }
                Next::Request(length, call) => {
                    let request: Vec<u8> = self.held.drain(..length).collect();
                    let operation = call.operation.clone();
                    sent.cut = control.judge(|wanted| operation == wanted);
                    // What never arrives was not sent, as far as the other side is concerned.
                    if sent.cut != Some(Moment::BeforeAccept) {
                        control.note(call);
                        sent.forward.extend(request);
                    }
                    if sent.cut.is_some() {
                        return sent;
                    }
                }
            }
        }
    }

    /// A service answers when it has acted: its first byte is enough.
    fn is_answered(&mut self, _bytes: &[u8]) -> bool {
        true
    }
}

enum Next {
    Incomplete,
    Strange,
    Request(usize, Call),
}

fn next(held: &[u8]) -> Next {
    let Some(end) = held.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if held.len() > HEAD_MAX { Next::Strange } else { Next::Incomplete };
    };
    let head = String::from_utf8_lossy(&held[..end]);
    let header = |wanted: &str| {
        head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    if header("transfer-encoding").is_some() || header("expect").is_some() {
        return Next::Strange;
    }
    let length = header("content-length").map_or(Some(0), |text| text.parse::<usize>().ok());
    let Some(length) = length.filter(|length| *length <= BODY_MAX) else { return Next::Strange };
    let whole = end + 4 + length;
    if held.len() < whole {
        return Next::Incomplete;
    }
    let body = String::from_utf8_lossy(&held[end + 4..whole]).into_owned();
    let operation = match header("x-amz-target") {
        Some(target) => target.rsplit('.').next().unwrap_or_default().to_owned(),
        // The query protocol names its operation in the form.
        None => body
            .split('&')
            .find_map(|pair| pair.strip_prefix("Action="))
            .map_or_else(|| head.lines().next().unwrap_or_default().to_owned(), str::to_owned),
    };
    Next::Request(whole, Call { operation, body })
}
