//! Talking to the sandbox on this machine: its own paths, and objects for its S3.
//!
//! A hundred lines of HTTP/1.1 instead of a client library: the other side is ours, on
//! loopback, and answers with a length. AWS is never spoken to from here.

use std::{io, time::Duration};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

/// The longest that one call may take: provisioning writes a few small files.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read: a ledger of 100,000 starts.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The longest line of a header.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Why a call did not give what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum SandboxCallError {
    /// Nobody answers there.
    #[error("the sandbox at {endpoint} does not answer: {source}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// The system's words.
        source: io::Error,
    },
    /// The sandbox said no.
    #[error("the sandbox refused {what}: {message}")]
    Refused {
        /// The call.
        what: String,
        /// Its words.
        message: String,
        /// Its code.
        code: Option<String>,
    },
    /// A file for the call could not be read.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Which.
        path: String,
        /// The system's words.
        source: io::Error,
    },
}

impl SandboxCallError {
    /// Whether nobody answered.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

/// One connection to the sandbox, used for one call after the other.
#[derive(Debug)]
pub struct SandboxCaller {
    endpoint: String,
    stream: BufReader<TcpStream>,
}

impl SandboxCaller {
    /// Connects to `http://127.0.0.1:<port>`.
    pub async fn connect(endpoint: &str) -> Result<Self, SandboxCallError> {
        let authority = endpoint.trim_start_matches("http://").trim_end_matches('/');
        let connected = timeout(CALL_TIMEOUT, TcpStream::connect(authority)).await;
        let stream = connected
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .flatten()
            .map_err(|source| SandboxCallError::Unreachable { endpoint: endpoint.to_owned(), source })?;
        let _ = stream.set_nodelay(true);
        Ok(Self { endpoint: endpoint.to_owned(), stream: BufReader::new(stream) })
    }

    /// A call to one of the sandbox's own paths.
    pub async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, SandboxCallError> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let (status, answer) = self.send(method, path, "", body.as_bytes()).await?;
        let value: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(value);
        }
        let message = value.pointer("/error/message").and_then(Value::as_str);
        let message = message.map_or_else(|| format!("HTTP status {status}"), ToOwned::to_owned);
        let code = value.pointer("/error/code").and_then(Value::as_str).map(ToOwned::to_owned);
        Err(SandboxCallError::Refused { what: format!("{method} {path}"), message, code })
    }

    /// Makes a bucket; one that is there already is left as it is.
    pub async fn make_bucket(&mut self, bucket: &str, now: Timestamp) -> Result<(), SandboxCallError> {
        match self.put_path(&format!("/{bucket}"), &[], now).await {
            Err(SandboxCallError::Refused { code: Some(code), .. }) if code.starts_with("BucketAlready") => {
                Ok(())
            }
            other => other,
        }
    }

    /// Puts an object into a bucket.
    pub async fn put(
        &mut self,
        bucket: &str,
        key: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), SandboxCallError> {
        self.put_path(&format!("/{bucket}/{}", escaped(key)), body, now).await
    }

    /// A PUT to S3, signed in the sandbox's sense: with a name and a time.
    async fn put_path(&mut self, path: &str, body: &[u8], now: Timestamp) -> Result<(), SandboxCallError> {
        let (day, moment) = (now.strftime("%Y%m%d"), now.strftime("%Y%m%dT%H%M%SZ"));
        let headers = format!(
            "x-amz-date: {moment}\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential=sandbox/{day}/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00\r\n"
        );
        let (status, answer) = self.send("PUT", path, &headers, body).await?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&answer);
        let message = between(&text, "<Message>", "</Message>").unwrap_or("no reason given");
        let code = between(&text, "<Code>", "</Code>").map(ToOwned::to_owned);
        Err(SandboxCallError::Refused { what: format!("PUT {path}"), message: message.to_owned(), code })
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>), SandboxCallError> {
        let exchanged = timeout(CALL_TIMEOUT, self.exchange(method, path, headers, body)).await;
        exchanged
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
            .flatten()
            .map_err(|source| SandboxCallError::Unreachable { endpoint: self.endpoint.clone(), source })
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<(u16, Vec<u8>)> {
        let authority = self.endpoint.trim_start_matches("http://").trim_end_matches('/');
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {authority}\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).await?;
        self.answer().await
    }

    async fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP with a length");
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let mut length: Option<u64> = None;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        let length = length.filter(|length| *length <= ANSWER_BYTES_MAX).ok_or_else(wrong)?;
        let mut body = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut body).await?;
        Ok((status, body))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(LINE_BYTES_MAX).read_line(&mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One call on a connection of its own.
pub async fn call(
    endpoint: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, SandboxCallError> {
    SandboxCaller::connect(endpoint).await?.call(method, path, body).await
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let rest = text.split_once(start)?.1;
    Some(rest.split_once(end)?.0)
}

/// A key as a path: everything but unreserved characters and `/` is escaped.
fn escaped(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn double(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = String::new();
            for answer in answers {
                let mut buffer = vec![0; 4096];
                let count = stream.read(&mut buffer).await.unwrap();
                seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            seen
        });
        (endpoint, serving)
    }

    #[tokio::test]
    async fn several_calls_share_a_connection() {
        let answers = vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 31\r\n\r\n{\"error\":{\"message\":\"too much\"}}",
        ];
        let (endpoint, serving) = double(answers).await;
        let mut caller = SandboxCaller::connect(&endpoint).await.unwrap();
        assert_eq!(caller.call("GET", "/_sandbox/health", None).await.unwrap()["a"], 1);
        let refused = caller.call("PUT", "/_sandbox/faults", Some(&Value::Null)).await.unwrap_err();
        assert!(!refused.is_unreachable());
        assert!(serving.await.unwrap().contains("PUT /_sandbox/faults HTTP/1.1"));
    }

    #[tokio::test]
    async fn an_end_in_the_middle_is_unreachable() {
        let (endpoint, _serving) = double(vec!["HTTP/1.1 200 OK\r\n"]).await;
        assert!(call(&endpoint, "GET", "/", None).await.unwrap_err().is_unreachable());
    }

    #[test]
    fn keys_become_paths() {
        assert_eq!(escaped("a b/ü=+.json"), "a%20b/%C3%BC%3D%2B.json");
    }
}
