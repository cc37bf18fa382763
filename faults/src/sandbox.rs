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
pub struct Sandbox {
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
    /// When it was accepted.
    #[serde(default)]
    pub at: Option<jiff::Timestamp>,
}

impl Sandbox {
    /// The accepted starts after a line.
    pub async fn ledger(&self, after: u64) -> anyhow::Result<Vec<Start>> {
        let answer = self.call("GET", &format!("/_sandbox/ledger?after={after}"), None).await?;
        serde_json::from_value(answer).context("the ledger is not what it was")
    }

    /// Replaces the fault script.
    pub async fn script(&self, rules: &Value) -> anyhow::Result<()> {
        self.call("PUT", "/_sandbox/faults", Some(rules)).await.map(drop)
    }

    /// Makes what a template describes; scripts are files below `folder`.
    pub async fn provision(&self, template: &str, folder: &std::path::Path) -> anyhow::Result<()> {
        let wish = json!({ "template": template, "folder": folder, "stack": "faults" });
        self.call("POST", "/_sandbox/provision", Some(&wish)).await.map(drop)
    }

    /// How often the rules of the fault script did harm, by what they do.
    pub(crate) async fn harm(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let report = self.call("GET", "/_sandbox/faults", None).await?;
        let told = report.as_array().into_iter().flatten().map(|installed| {
            let rule = &installed["rule"];
            let word = |name: &str| rule[name].as_str().unwrap_or("*").to_owned();
            let what = format!("{}:{} {}", word("service"), word("operation"), word("kind"));
            (what, installed["harmed"].as_u64().unwrap_or(0))
        });
        Ok(told.collect())
    }

    /// The ids and states of a job's newest runs.
    pub(crate) async fn job_runs(&self, job: &str) -> anyhow::Result<Vec<(String, String)>> {
        let body = json!({ "JobName": job, "MaxResults": 200 }).to_string();
        let head = "x-amz-target: AWSGlue.GetJobRuns\r\ncontent-type: application/x-amz-json-1.1\r\n\
             authorization: AWS4-HMAC-SHA256 Credential=rig/20260101/us-east-1/glue/aws4_request, \
             SignedHeaders=host, Signature=00\r\n";
        let answer = self.told("POST", "/", head, &body).await?;
        let runs = answer["JobRuns"].as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(runs.iter().map(|run| (word(&run["Id"]), word(&run["JobRunState"]))).collect())
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        self.told(method, path, "", &body).await
    }

    async fn told(&self, method: &str, path: &str, head: &str, body: &str) -> anyhow::Result<Value> {
        let exchanged = timeout(CALL_TIMEOUT, self.exchange(method, path, head, body)).await;
        let answer =
            exchanged.with_context(|| format!("the sandbox did not answer {method} {path} in time"))??;
        let (head, body) = answer.split_once("\r\n\r\n").context("the sandbox's answer is not HTTP")?;
        if head.split(' ').nth(1) != Some("200") {
            bail!("the sandbox refused {method} {path}: {body}");
        }
        serde_json::from_str(body).with_context(|| format!("the sandbox's answer to {path} is not JSON"))
    }

    async fn exchange(&self, method: &str, path: &str, head: &str, body: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(&self.authority).await.context("the sandbox does not listen")?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{head}content-length: {}\r\n\r\n{body}",
            self.authority,
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        Ok(answer)
    }
}
