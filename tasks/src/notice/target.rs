//! Where a notice goes, and its way there: a topic of SNS, any server over HTTP, a chat that takes
//! what Slack's incoming webhooks take.
//!
//! Addresses, headers and keys may hold marks of secrets; their values stand in memory for the
//! time of one call, and never in what comes back ([`crate::secrets`]). The client and the rules
//! about addresses are those of the operator `http`.

use std::time::Duration;

use indexmap::IndexMap;
use jiff::{Timestamp, fmt::rfc2822};
use serde_json::{Value, json};
use url::Url;

use super::{fit, publish};
use crate::{
    clients::Clients,
    http::exchange::{ANSWER_BYTES_MAX, Answer, Outgoing, Silence, exchange},
    http::settings::check_url,
    operator::Failure,
};

/// How long the answer to a notice is waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// The longest pause that a server may ask for; a notice that is older helps nobody.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest text of a notice over HTTP: what SNS takes.
const TEXT_BYTES_MAX: usize = super::MESSAGE_BYTES_MAX - 16 * 1024;
/// The most characters of a block's text in Slack.
const SLACK_TEXT_MAX: usize = 2_900;
/// The most characters of a header block in Slack.
const SLACK_HEADER_MAX: usize = 150;
/// The version of the JSON that webhooks get: raised when a field changes its meaning.
const BODY_VERSION: u32 = 1;

/// Where a notice goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A topic of SNS, by its ARN.
    Topic(String),
    /// A server that takes a POST of JSON.
    Webhook {
        /// Where.
        url: String,
        /// Further headers.
        headers: IndexMap<String, String>,
        /// What the body is signed with.
        key: Option<String>,
    },
    /// A chat that takes what Slack's incoming webhooks take.
    Slack(String),
}

impl Target {
    /// The target as people may read it: an ARN, or a URL with the names of secrets in it.
    pub fn shown(&self) -> String {
        let (Self::Topic(text) | Self::Webhook { url: text, .. } | Self::Slack(text)) = self;
        let mut shown = Value::from(text.as_str());
        crate::secrets::mark::neutralise(&mut shown);
        shown.as_str().unwrap_or_default().to_owned()
    }
}

/// A notice, whatever way it goes.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// Tells a repetition; the same for every try.
    pub id: &'a str,
    /// What happened: the list's word, such as `failure`.
    pub event: &'a str,
    /// The run as people name it, where it is about one.
    pub run: Option<&'a str>,
    /// The subject.
    pub subject: &'a str,
    /// The text.
    pub text: &'a str,
    /// `pipeline`, `env`, `owner`, `severity`.
    pub attributes: &'a IndexMap<String, String>,
    /// Labels with addresses.
    pub links: &'a [(String, String)],
}

/// Why a notice did not arrive, or perhaps not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// In the other side's words.
    pub reason: String,
    /// Sending it again cannot help.
    pub is_final: bool,
    /// The other side wants to be left alone for so long.
    pub again_after: Option<Duration>,
}

impl From<Failure> for NotTaken {
    fn from(failure: Failure) -> Self {
        Self { reason: failure.message, is_final: false, again_after: None }
    }
}

/// Sends a notice once and gives what the other side calls it.
pub async fn deliver(
    clients: &Clients,
    connection: &str,
    target: &Target,
    message: &Message<'_>,
    now: Timestamp,
) -> Result<String, NotTaken> {
    let (url, headers, key, body) = match target {
        Target::Topic(topic) => {
            let subject = Some(message.subject);
            let (text, attributes) = (message.text, message.attributes);
            let sent = publish(clients, connection, topic, subject, text, attributes, message.id).await;
            return sent.map_err(NotTaken::from);
        }
        Target::Webhook { url, headers, key } => {
            (url, headers.clone(), key.as_deref(), webhook_body(message))
        }
        Target::Slack(url) => (url, IndexMap::new(), None, slack_body(message)),
    };
    let wanted = json!({ "url": url, "headers": headers, "key": key });
    let revealed = clients.secrets().reveal(clients, &wanted).await?;
    let sent = post(clients, &revealed, &body.to_string(), message.id, now).await;
    sent.map_err(|not_taken| {
        let reason = clients.secrets().conceal(&not_taken.reason).unwrap_or(not_taken.reason);
        NotTaken { reason, ..not_taken }
    })
}

async fn post(
    clients: &Clients,
    revealed: &Value,
    body: &str,
    id: &str,
    now: Timestamp,
) -> Result<String, NotTaken> {
    let url = revealed["url"].as_str().unwrap_or_default();
    // The address itself may be a secret: it is not repeated in a message.
    if check_url(url, "url").is_err() {
        return Err(final_reason("its address is no http:// or https:// URL without user and password"));
    }
    let mut headers: IndexMap<String, Value> = IndexMap::new();
    for (name, value) in revealed["headers"].as_object().into_iter().flatten() {
        headers.insert(name.to_ascii_lowercase(), value.clone());
    }
    headers.insert("content-type".to_owned(), json!("application/json"));
    headers.insert("idempotency-key".to_owned(), json!(id));
    if let Some(key) = revealed["key"].as_str() {
        let second = now.as_second().to_string();
        headers.insert("x-trunkline-signature".to_owned(), json!(signature(key, &second, body)));
        headers.insert("x-trunkline-timestamp".to_owned(), json!(second));
    }
    let outgoing = Outgoing {
        method: "POST",
        url,
        headers: &headers,
        body: Some(body.as_bytes()),
        answer_max: ANSWER_BYTES_MAX,
    };
    let host = host_of(url);
    match exchange(clients, outgoing, ANSWER_WITHIN).await {
        Ok(answer) if answer.is_success() => {
            Ok(answer.request_id().unwrap_or_else(|| format!("status {}", answer.status)))
        }
        Ok(answer) => Err(refused(&host, &answer, now)),
        Err(silence) => Err(unanswered(&host, silence)),
    }
}

/// `sha256=` and the HMAC-SHA256, in hexadecimal digits, of the time, a full stop and the body.
fn signature(key: &str, second: &str, body: &str) -> String {
    // The last step of signing for AWS is this very function.
    let digits = aws_sigv4::sign::v4::calculate_signature(key, format!("{second}.{body}").as_bytes());
    format!("sha256={digits}")
}

fn final_reason(reason: &str) -> NotTaken {
    NotTaken { reason: reason.to_owned(), is_final: true, again_after: None }
}

/// What an answer means that is no success.
fn refused(host: &str, answer: &Answer, now: Timestamp) -> NotTaken {
    let status = answer.status;
    // "Later" and what is the server's own trouble may pass; everything else says no to this
    // very message, and a redirect is not followed with a body and secrets in the headers.
    let is_final = !matches!(status, 408 | 429 | 500..=599);
    let after = answer.headers.get("retry-after").and_then(|text| retry_after(text, now));
    let again_after = after.filter(|_| !is_final).map(|pause| pause.min(RETRY_AFTER_MAX));
    let given_up = if is_final { "; it is not sent again" } else { "" };
    let shown: String = answer.shown().chars().take(300).collect();
    let reason = format!("{host} answered with status {status}{given_up}: {shown}");
    NotTaken { reason, is_final, again_after }
}

fn unanswered(host: &str, silence: Silence) -> NotTaken {
    let (reason, is_final) = match silence {
        Silence::NotSent(reason) => (format!("{host} cannot be reached: {reason}"), false),
        Silence::Unanswered(reason) => (format!("{host}: {reason}"), false),
        Silence::Wrong(reason) => (format!("{host}: {reason}"), true),
        // It took the message and talks too much about it.
        Silence::TooLong(status) => {
            let taken = (200..300).contains(&status);
            (format!("{host} answered with status {status} and more than is read"), taken)
        }
    };
    NotTaken { reason, is_final, again_after: None }
}

/// Seconds, or a date.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// Scheme, host and port: a path may be a secret, as it is in chats.
fn host_of(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "the receiver".to_owned() };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

/// What a webhook gets; documented in `docs/notices.md`.
fn webhook_body(message: &Message<'_>) -> Value {
    let links: Vec<Value> =
        message.links.iter().map(|(label, url)| json!({ "label": label, "url": url })).collect();
    json!({
        "version": BODY_VERSION,
        "id": message.id,
        "event": message.event,
        "run": message.run,
        "subject": message.subject,
        "text": fit(message.text, TEXT_BYTES_MAX),
        "attributes": message.attributes,
        "links": links,
    })
}

/// A header, the text as it is, the links. `text` is what receivers show that know no blocks.
fn slack_body(message: &Message<'_>) -> Value {
    let subject = escaped(message.subject);
    let text = cut(&escaped(&message.text.replace("```", "'''")), SLACK_TEXT_MAX);
    let mut blocks = vec![
        json!({ "type": "header", "text": { "type": "plain_text", "text": cut(message.subject, SLACK_HEADER_MAX) } }),
        json!({ "type": "section", "text": { "type": "mrkdwn", "text": format!("```\n{}\n```", text.trim_end()) } }),
    ];
    let links: Vec<String> =
        message.links.iter().map(|(label, url)| format!("<{}|{}>", escaped(url), escaped(label))).collect();
    if !links.is_empty() {
        let text = cut(&links.join("  "), SLACK_TEXT_MAX);
        blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } }));
    }
    json!({ "text": format!("*{subject}*\n```\n{}\n```", text.trim_end()), "blocks": blocks })
}

/// The three characters that mean something to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::double::{Answer as Scripted, Double};

    fn message<'a>(attributes: &'a IndexMap<String, String>, links: &'a [(String, String)]) -> Message<'a> {
        Message {
            id: "run:1:failure:0",
            event: "failure",
            run: Some("daily@2026-11-19"),
            subject: "[prod] FAILED daily <1>",
            text: "a & b\n```c```\n",
            attributes,
            links,
        }
    }

    fn none() -> IndexMap<String, String> {
        IndexMap::new()
    }

    async fn send(double: &Double, url: &str) -> Result<String, NotTaken> {
        let target = Target::Webhook {
            url: url.to_owned(),
            headers: IndexMap::from([("X-Team".to_owned(), "data".to_owned())]),
            key: Some("key".to_owned()),
        };
        let (attributes, now) = (none(), Timestamp::from_second(1_800_000_000).unwrap());
        deliver(&double.clients, "aws", &target, &message(&attributes, &[]), now).await
    }

    #[tokio::test]
    async fn each_answer_means_what_it_must() {
        let double = Double::start([
            Scripted::Text(200, "{}"),
            Scripted::Text(404, "no such hook"),
            Scripted::Text(408, ""),
            Scripted::Text(429, "slow down"),
            Scripted::Text(503, "down"),
            Scripted::Text(302, ""),
            Scripted::HangUp,
        ])
        .await;
        let url = format!("{}/hooks/very-secret", double.endpoint);
        let mut answers = Vec::new();
        for _ in 0..7 {
            answers.push(send(&double, &url).await);
        }
        assert!(answers[0].is_ok(), "{:?}", answers[0]);
        let finals: Vec<Option<bool>> =
            answers.iter().map(|answer| answer.as_ref().err().map(|not_taken| not_taken.is_final)).collect();
        let wanted = [None, Some(true), Some(false), Some(false), Some(false), Some(true), Some(false)];
        assert_eq!(finals, wanted, "{answers:?}");
        for not_taken in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            assert!(not_taken.reason.contains("127.0.0.1"), "{not_taken:?}");
            assert!(!not_taken.reason.contains("very-secret"), "{not_taken:?}");
        }
        let received = &double.received()[0];
        let text = received.head.to_lowercase();
        for header in
            ["idempotency-key: run:1:failure:0", "x-team: data", "x-trunkline-timestamp: 1800000000"]
        {
            assert!(text.contains(header), "{header}: {text}");
        }
        let signed = signature("key", "1800000000", &webhook_body(&message(&none(), &[])).to_string());
        assert!(text.contains(&format!("x-trunkline-signature: {signed}")), "{text}");
    }

    #[test]
    fn a_signature_is_hmac_sha256_of_time_and_body() {
        // echo -n '1.{}' | openssl dgst -sha256 -hmac key
        assert_eq!(
            signature("key", "1", "{}"),
            "sha256=1ba6b8171186efc613e8bcc0cbdab2748f24984d7c5a84faa2637afa0e40d224"
        );
    }

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-19T09:00:00Z".parse().unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Thu, 19 Nov 2026 09:01:30 GMT", now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after("Thu, 19 Nov 2026 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn a_chat_gets_text_that_means_nothing_to_it() {
        let links = [("Logs".to_owned(), "https://a/?b=1&c=2".to_owned())];
        let body = slack_body(&message(&none(), &links));
        assert_eq!(body["text"], "*[prod] FAILED daily &lt;1&gt;*\n```\na &amp; b\n'''c'''\n```");
        assert_eq!(body["blocks"][0]["text"]["text"], "[prod] FAILED daily <1>");
        assert_eq!(body["blocks"][2]["text"]["text"], "<https://a/?b=1&amp;c=2|Logs>");
        let long = "x".repeat(10_000);
        let cut = slack_body(&Message { text: &long, subject: &long, ..message(&none(), &[]) });
        let length = |pointer: &str| cut.pointer(pointer).unwrap().as_str().unwrap().chars().count();
        assert!(length("/blocks/0/text/text") <= 150 && length("/blocks/1/text/text") <= 3_000);
    }

    #[test]
    fn a_target_is_shown_without_the_sign_of_marks() {
        let mark = crate::secrets::mark::Mark::of("hook").to_string();
        assert_eq!(Target::Slack(mark).shown(), "secret(hook)");
    }
}
