//! The sandbox's own paths over a few lines of HTTP/1.1: ledger, fault script, provisioning.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// The longest that one call may take; provisioning writes a few small files.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer that is read: the ledger of some ten thousand starts.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where a sandbox answers.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    /// `127.0.0.1:<port>`.
    pub authority: String,
}

/// One line of the ledger: an accepted start.
#[derive(Clone, Debug, Deserialize)]
pub struct Start {
    /// Counts the lines.
    pub sequence: u64,
    /// The operation, e.g. `StartJobRun`.
    pub operation: String,
    /// The job, crawler, workgroup or topic.
    pub subject: String,
    /// The client's token or marker.
    pub marker: Option<String>,
    /// The id that the service gave.
    pub id: String,
}

impl Sandbox {
    /// The URL for clients.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// The accepted starts after a line.
    pub(crate) async fn ledger(&self, after: u64) -> anyhow::Result<Vec<Start>> {
        let answer = self.call("GET", &format!("/_sandbox/ledger?after={after}"), None).await?;
        serde_json::from_value(answer).context("the ledger is not what it was")
    }

    /// Replaces the fault script.
    pub(crate) async fn script(&self, rules: &Value) -> anyhow::Result<()> {
        self.call("PUT", "/_sandbox/faults", Some(rules)).await.map(drop)
    }

    /// Makes what a template describes; scripts are files below `folder`.
    pub(crate) async fn provision(&self, template: &str, folder: &std::path::Path) -> anyhow::Result<()> {
        let wish = json!({ "template": template, "folder": folder, "stack": "faults" });
        self.call("POST", "/_sandbox/provision", Some(&wish)).await.map(drop)
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let exchanged = timeout(CALL_TIMEOUT, self.exchange(method, path, &body)).await;
        let answer =
            exchanged.with_context(|| format!("the sandbox did not answer {method} {path} in time"))??;
        let (head, body) = answer.split_once("\r\n\r\n").context("the sandbox's answer is not HTTP")?;
        if head.split(' ').nth(1) != Some("200") {
            bail!("the sandbox refused {method} {path}: {body}");
        }
        serde_json::from_str(body).with_context(|| format!("the sandbox's answer to {path} is not JSON"))
    }

    async fn exchange(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.authority).await.context("the sandbox does not listen")?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
