//! A double of AWS for tests: an HTTP server on loopback that answers from a script and keeps
//! what it was sent. It knows no service; a test writes the JSON itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use indexmap::IndexMap;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use uuid::Uuid;

use crate::{
    clients::{AwsConnection, Clients},
    operator::PrepareContext,
};

/// What a test's operator may know of its attempt.
pub(crate) fn context(attempt_id: Uuid, timeout: Duration) -> PrepareContext<'static> {
    PrepareContext {
        attempt_id,
        pipeline: "p",
        run: "p@1",
        task: "t",
        environment: "local",
        connection: "aws",
        timeout,
        previous: None,
        generation: 1,
    }
}

/// One scripted answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status and a JSON body.
    Json(u16, Value),
    /// A status and a body as it stands.
    Text(u16, &'static str),
    /// A status, headers and a body.
    Headed(u16, Vec<(&'static str, String)>, String),
    /// The request is read, then the connection is closed.
    HangUp,
}

/// What the double was sent.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The operation in `X-Amz-Target`, without the service; the path where there is none.
    pub(crate) operation: String,
    /// `X-Amz-Date`.
    pub(crate) signed_at: String,
    /// The request line and the headers as they came.
    pub(crate) head: String,
    /// The body as it came.
    pub(crate) text: String,
}

impl Received {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

type Shared = Arc<Mutex<State>>;

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    received: Vec<Received>,
}

/// The running double; it ends when dropped.
pub(crate) struct Double {
    state: Shared,
    pub(crate) clients: Clients,
    pub(crate) endpoint: String,
    server: JoinHandle<()>,
}

impl Double {
    /// Starts a double that gives these answers one after the other, then 500s.
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let state: Shared = Arc::default();
        state.lock().unwrap().answers.extend(answers);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                tokio::spawn(async move { while serve_one(&state, &mut stream).await.is_some() {} });
            }
        });
        Self { state, clients: clients_of(&endpoint), endpoint, server }
    }

    /// Adds answers to the script.
    pub(crate) fn then(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.lock().unwrap().answers.extend(answers);
    }

    /// Everything that was sent so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// The operations that were called so far.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.operation).collect()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Clients with one connection, `aws`, to this endpoint.
pub(crate) fn clients_of(endpoint: &str) -> Clients {
    let config = AwsConnection {
        region: Some("us-east-1".into()),
        endpoint: Some(endpoint.into()),
        ..AwsConnection::default()
    };
    Clients::new(IndexMap::from([("aws".to_owned(), config)]))
}

/// AWS's JSON form of an error.
pub(crate) fn service_error(status: u16, code: &str, message: &str) -> Answer {
    Answer::Json(status, serde_json::json!({ "__type": code, "message": message }))
}

async fn serve_one(state: &Shared, stream: &mut TcpStream) -> Option<()> {
    let received = read_request(stream).await?;
    // A date far off, as a service has whose clock is not ours: no start may be signed by it.
    // Questions may: the SDK would repeat those that are denied, with the time corrected.
    let is_head = received.head.starts_with("HEAD ");
    let date =
        if received.operation.starts_with("Start") { "date: Mon, 01 Jan 2001 00:00:00 GMT\r\n" } else { "" };
    let answer = {
        let mut state = state.lock().unwrap();
        state.received.push(received);
        state.answers.pop_front().unwrap_or(Answer::Text(500, ""))
    };
    let (status, headers, body) = match answer {
        Answer::HangUp => return None,
        Answer::Json(status, body) => (status, Vec::new(), body.to_string()),
        Answer::Text(status, body) => (status, Vec::new(), body.to_owned()),
        Answer::Headed(status, headers, body) => (status, headers, body),
    };
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nx-amzn-requestid: request-1\r\n\
         {headers}{date}content-length: {length}\r\n\r\n"
    );
    let body = if is_head { String::new() } else { body };
    stream.write_all((head + &body).as_bytes()).await.ok()
}

async fn read_request(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let operation = header("x-amz-target").and_then(|target| Some(target.split_once('.')?.1.to_owned()));
    Some(Received {
        operation: operation.unwrap_or(path),
        signed_at: header("x-amz-date").unwrap_or_default(),
        text: String::from_utf8_lossy(&bytes[end..end + length]).into_owned(),
        head,
    })
}
