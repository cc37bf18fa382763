//! One connection through the proxy, both ways, in one task.

use std::sync::{Arc, atomic::Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Control, Mode, Moment};

/// Bytes read at once.
const CHUNK: usize = 16 * 1024;

/// Finds calls in what a client sends, and ends of answers in what a server sends.
pub(super) trait Read: Send {
    /// Takes in what the client sent. The pieces of it that may go on at once, and whether the
    /// last one is a call to be cut off.
    fn sent(&mut self, bytes: &[u8], control: &Control) -> Sent;

    /// Whether the answer that is being swallowed is complete with these bytes.
    fn is_answered(&mut self, bytes: &[u8]) -> bool;
}

/// What to do with what a client sent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sent {
    /// Goes on.
    pub forward: Vec<u8>,
    /// What then happens to the connection.
    pub cut: Option<Moment>,
}

/// Passes on what both sides say until one of them goes, or the link is cut.
pub(super) async fn pass<C, S, R>(mut client: C, mut server: S, mut reader: R, control: Arc<Control>)
where
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: AsyncRead + AsyncWrite + Unpin + Send,
    R: Read,
{
    let mut mode = control.mode.subscribe();
    let connection = control.next.fetch_add(1, Ordering::SeqCst);
    let (mut from_client, mut from_server) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut swallowing = false;
    loop {
        let now = *mode.borrow_and_update();
        if control.is_silent(connection, now) {
            // Neither side hears anything, nor that the other one is gone.
            if mode.changed().await.is_err() || *mode.borrow() == Mode::Closed {
                return;
            }
            continue;
        }
        let closed = tokio::select! {
            changed = mode.changed() => {
                // Cut, even if the link is open again by now.
                changed.is_err() || !control.is_silent(connection, *mode.borrow_and_update())
            }
            read = client.read(&mut from_client) => match read {
                Ok(count) if count > 0 => {
                    let sent = reader.sent(&from_client[..count], &control);
                    swallowing |= sent.cut == Some(Moment::AfterAccept);
                    let broken = server.write_all(&sent.forward).await.is_err();
                    broken || sent.cut == Some(Moment::BeforeAccept)
                }
                _ => true,
            },
            read = server.read(&mut from_server) => match read {
                Ok(count) if count > 0 && swallowing => reader.is_answered(&from_server[..count]),
                Ok(count) if count > 0 => client.write_all(&from_server[..count]).await.is_err(),
                _ => true,
            },
        };
        if closed {
            return;
        }
    }
}
