//! `sns_publish`: sends one message to an SNS topic.
//!
//! **Safe start**: there is no way to ask SNS whether it took a message, so an interrupted send
//! is repeated: at least once, and once unless an answer was lost. Every message carries the
//! attempt's id as the attribute `trunkline-notice-id`, by which a receiver can tell a
//! repetition; a FIFO topic does so itself for five minutes.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    access::{Finding, Needs, Place},
    aws::repeat,
    clients::Clients,
    notice::{self, Undelivered},
    operator::{
        Call, ErrorClass, Failure, Found, Handle, Intent, Operator, Outcome, PrepareContext, Rate, Request,
        Sent, Status,
    },
    registry::Options,
    scalar::Scalar,
};

mod access;

/// The operator.
#[derive(Clone, Copy, Debug)]
pub struct SnsPublish {
    quarantine: Duration,
}

/// Settings of an `sns_publish` task.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnsPublishConfig {
    /// The ARN of the topic.
    pub topic: String,
    /// The subject of mails; cut to what SNS takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text; past 256 KiB it is cut.
    pub message: String,
    /// Attributes by which subscriptions filter.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub attributes: IndexMap<String, Scalar>,
}

impl SnsPublish {
    /// Takes the scale of time of the options.
    pub fn new(options: &Options) -> Self {
        Self { quarantine: options.quarantine }
    }
}

impl Operator for SnsPublish {
    const TYPE: &'static str = "sns_publish";
    const EXAMPLE: &'static str = "\
type: sns_publish
topic: arn:aws:sns:us-east-1:000000000000:reports
subject: Report of 2026-11-19
message: The report is ready.
attributes: { severity: info }
";
    const GUARANTEE: &'static str = "At least once: SNS cannot be asked, so a send whose answer was lost is \
         repeated. FIFO topics drop a repetition within five minutes.";
    type Config = SnsPublishConfig;

    fn default_timeout(&self) -> Duration {
        // The call is the whole job; throttling may delay it.
        Duration::from_secs(3600)
    }

    fn label(&self, _request: &Request) -> String {
        "SNS notice".to_owned()
    }

    fn prepare(&self, config: &SnsPublishConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
        notice::check_topic(&config.topic)?;
        if config.message.is_empty() {
            return Err(Failure::new(ErrorClass::Config, "message: SNS takes no empty message"));
        }
        if config.attributes.len() >= notice::ATTRIBUTES_MAX {
            let most = notice::ATTRIBUTES_MAX - 1;
            let message = format!("attributes: at most {most}, there are {}", config.attributes.len());
            return Err(Failure::new(ErrorClass::Config, message));
        }
        let body = json!({
            "Publish": {
                "TopicArn": config.topic,
                "Subject": config.subject.as_deref().map(notice::clean_subject),
                "Message": config.message,
                "MessageAttributes": config.attributes,
            }
        });
        Ok(Request { token: cx.attempt_id.to_string(), connection: cx.connection.to_owned(), body })
    }

    async fn send(&self, clients: &Clients, intent: &Intent<'_>) -> Sent {
        let request = intent.request;
        let call = &request.body["Publish"];
        let text = |key: &str| call[key].as_str();
        let attributes: IndexMap<String, String> =
            serde_json::from_value(call["MessageAttributes"].clone()).unwrap_or_default();
        let sent = notice::try_publish(
            clients,
            &request.connection,
            text("TopicArn").unwrap_or_default(),
            text("Subject"),
            text("Message").unwrap_or_default(),
            &attributes,
            &request.token,
        )
        .await;
        match sent {
            Ok(id) => {
                let mut outcome = Outcome::default();
                outcome.outputs.insert("message_id".into(), Value::from(id));
                Sent::Done(outcome)
            }
            Err(Undelivered::Before(failure)) => Sent::Refused(failure),
            Err(Undelivered::Call(trouble)) => trouble.into_sent(),
        }
    }

    async fn find(&self, _: &Clients, intent: &Intent<'_>) -> Found {
        repeat(intent, self.quarantine)
    }

    async fn poll(&self, _: &Clients, handles: &[Handle]) -> Vec<Status> {
        let gone = || Failure::new(ErrorClass::Lost, "a published message cannot be asked about");
        handles.iter().map(|_| Status::Gone(gone())).collect()
    }

    async fn cancel(&self, _: &Clients, _: &Handle) -> Result<(), Failure> {
        Ok(())
    }

    fn rate(&self, call: Call) -> Option<Rate> {
        match call {
            Call::Start => Some(Rate { api: "sns:Publish".into(), per_second: 30.0, burst: 60.0 }),
            Call::Read => None,
        }
    }

    fn needs(&self, request: &Request, _: &Place) -> Option<Needs> {
        Some(access::needs(request))
    }

    async fn check(&self, clients: &Clients, request: &Request, place: &Place) -> Vec<Finding> {
        access::check(clients, request, place).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::double::{Answer, Double};

    fn request() -> Request {
        Request {
            token: "attempt-1".into(),
            connection: "aws".into(),
            body: json!({ "Publish": {
                "TopicArn": "arn:aws:sns:us-east-1:000000000000:etl",
                "Subject": "s", "Message": "m", "MessageAttributes": { "env": "local" },
            } }),
        }
    }

    async fn send(double: &Double) -> Sent {
        let (request, baseline, now) = (request(), Value::Null, jiff::Timestamp::UNIX_EPOCH);
        let intent = Intent { request: &request, baseline: &baseline, intent_at: now, now };
        operator().send(&double.clients, &intent).await
    }

    fn operator() -> SnsPublish {
        SnsPublish::new(&Options::for_looking())
    }

    const ACCEPTED: &str = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\
        <PublishResult><MessageId>m-1</MessageId></PublishResult></PublishResponse>";
    const REFUSED: &str = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>\
        <Type>Sender</Type><Code>NotFound</Code><Message>Topic does not exist</Message></Error>\
        <RequestId>r-1</RequestId></ErrorResponse>";
    const THROTTLED: &str = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error>\
        <Type>Sender</Type><Code>Throttled</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";

    #[tokio::test]
    async fn each_answer_means_what_it_must() {
        let double = Double::start([
            Answer::Text(200, ACCEPTED),
            Answer::Text(404, REFUSED),
            Answer::Text(429, THROTTLED),
            Answer::Text(500, ""),
            Answer::HangUp,
        ])
        .await;
        let Sent::Done(outcome) = send(&double).await else { panic!("not done") };
        assert_eq!(outcome.outputs["message_id"], "m-1");
        let Sent::Refused(failure) = send(&double).await else { panic!("not refused") };
        assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Config, "Topic does not exist"));
        assert!(matches!(send(&double).await, Sent::Throttled(_)));
        assert!(matches!(send(&double).await, Sent::Unknown(_)));
        assert!(matches!(send(&double).await, Sent::Unknown(_)));
        let received = double.received();
        assert_eq!(received.len(), 5, "the SDK must repeat nothing");
        assert!(received[0].text.contains("trunkline-notice-id"), "{}", received[0].text);
    }

    #[tokio::test]
    async fn a_lost_answer_is_repeated_but_not_at_once() {
        let (request, baseline, at) = (request(), Value::Null, jiff::Timestamp::UNIX_EPOCH);
        let seconds = |count: i64| at + jiff::SignedDuration::from_secs(count);
        let clients = Clients::default();
        let intent = |now| Intent { request: &request, baseline: &baseline, intent_at: at, now };
        let soon = operator().find(&clients, &intent(at)).await;
        assert!(matches!(soon, Found::NotYetKnown { again_at, .. } if again_at == seconds(2)), "{soon:?}");
        assert_eq!(operator().find(&clients, &intent(seconds(2))).await, Found::SafeToRepeat);
    }
}
