//! Undoes `aws-chunked`, the framing in which SDKs send bodies whose checksum or signature follows them.
//!
//! Chunk signatures are skipped over, like all signatures here; the checksum trailers are kept for whoever
//! checks the body.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use s3s::Body;

/// The longest chunk header or trailer line. Signatures and checksums are far shorter.
const LINE_MAX: usize = 4096;

/// The most trailers of one body.
const TRAILERS_MAX: usize = 16;

/// Trailers of a body, filled in when its end has been read.
#[derive(Debug, Clone, Default)]
pub(super) struct Trailers(Arc<Mutex<Vec<(String, String)>>>);

impl Trailers {
    /// What has been read so far: nothing before the end of the body.
    pub(super) fn values(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A body without its framing.
pub(super) fn decoded(body: Body, trailers: Trailers) -> Body {
    let state = (body, Decoder { trailers, ..Decoder::default() });
    let frames = stream::try_unfold(state, |(mut body, mut decoder)| async move {
        loop {
            if let Some(data) = decoder.next()? {
                return Ok::<_, io::Error>(Some((Frame::data(data), (body, decoder))));
            }
            match body.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(io::Error::other)?;
                    if let Ok(data) = frame.into_data() {
                        decoder.buffer.extend_from_slice(&data);
                    }
                }
                None if decoder.state == State::Done => return Ok(None),
                None => return Err(broken("the body ends inside its aws-chunked framing")),
            }
        }
    });
    Body::http_body_unsync(StreamBody::new(frames))
}

#[derive(Debug, Default)]
struct Decoder {
    buffer: BytesMut,
    state: State,
    trailers: Trailers,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    #[default]
    Header,
    Data(usize),
    DataEnd,
    Trailer,
    Done,
}

impl Decoder {
    /// The next piece of data, or `None` if more input is needed (or the end was reached).
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.state {
                State::Header => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let size = usize::from_str_radix(size, 16).map_err(|_| broken("a chunk has no size"))?;
                    self.state = if size == 0 { State::Trailer } else { State::Data(size) };
                }
                State::Data(left) => {
                    if self.buffer.is_empty() {
                        return Ok(None);
                    }
                    let taken = left.min(self.buffer.len());
                    self.state = if taken == left { State::DataEnd } else { State::Data(left - taken) };
                    return Ok(Some(self.buffer.split_to(taken).freeze()));
                }
                State::DataEnd => {
                    let Some(line) = self.line()? else { return Ok(None) };
                    if !line.is_empty() {
                        return Err(broken("a chunk is longer than its size says"));
                    }
                    self.state = State::Header;
                }
                State::Trailer => {
                    // Some SDKs leave the last empty line away, so the end of input ends the trailers too.
                    let Some(line) = self.line()? else { return Ok(None) };
                    self.trailer(&line)?;
                }
                State::Done => {
                    self.buffer.clear();
                    return Ok(None);
                }
            }
        }
    }

    fn trailer(&mut self, line: &str) -> io::Result<()> {
        let Some((name, value)) = line.split_once(':') else {
            self.state = State::Done;
            return Ok(());
        };
        let mut trailers = self.trailers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if trailers.len() == TRAILERS_MAX {
            return Err(broken("too many trailers"));
        }
        trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        Ok(())
    }

    /// Takes a line, without its end, if it is there in whole.
    fn line(&mut self) -> io::Result<Option<String>> {
        let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") else {
            if self.buffer.len() > LINE_MAX {
                return Err(broken("a chunk header is too long"));
            }
            return Ok(None);
        };
        let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        self.buffer.advance(end + 2);
        Ok(Some(line))
    }
}

fn broken(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = (Vec<u8>, Vec<(String, String)>);

    fn decode(input: &[u8], step: usize) -> io::Result<Decoded> {
        let mut decoder = Decoder::default();
        let mut output = Vec::new();
        for piece in input.chunks(step) {
            decoder.buffer.extend_from_slice(piece);
            while let Some(data) = decoder.next()? {
                output.extend_from_slice(&data);
            }
        }
        if decoder.state != State::Done {
            return Err(broken("unfinished"));
        }
        Ok((output, decoder.trailers.values()))
    }

    #[test]
    fn decodes_however_it_is_cut() {
        let input =
            b"5\r\nhello\r\n6;chunk-signature=ab12\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
        for step in 1..input.len() {
            let (data, trailers) = decode(input, step).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "DUoRhQ==".to_owned())]);
        }
    }

    #[test]
    fn an_empty_body_is_one_empty_chunk() {
        assert_eq!(decode(b"0\r\n\r\n", 5).unwrap().0, b"");
    }

    #[test]
    fn broken_framing_is_refused() {
        assert!(decode(b"zz\r\n", 9).is_err());
        assert!(decode(b"1\r\nab\r\n0\r\n\r\n", 99).is_err());
        assert!(decode(b"5\r\nhel", 99).is_err());
        assert!(decode(&[b'a'; 5000], 5000).is_err());
    }
}
