//! SNS: topics, subscriptions, and messages that end as mails in the mailbox.
//!
//! Email subscriptions are confirmed as soon as they are made, because nobody would read the question; queues
//! of the sandbox are, as on AWS within one account. Other protocols are refused by name until something
//! receives them; filter policies are refused, never ignored.

mod publish;
mod state;

use std::sync::{Arc, Mutex, PoisonError};

use self::state::{State, Subscription, Topic};
use crate::sqs::{self, Sqs};
use crate::wire::query::{Form, Xml};
use crate::wire::{ApiError, CallContext};
use crate::world::World;
use crate::{SandboxError, files};

/// Entries on a page of a list, as on AWS.
const PAGE: usize = 100;

/// Topics of an account; AWS's own limit is 100,000 and no laptop needs it.
const TOPICS_MAX: usize = 10_000;

/// Attributes of a topic that can be set.
const TOPIC_ATTRIBUTES: [&str; 8] = [
    "ContentBasedDeduplication",
    "DeliveryPolicy",
    "DisplayName",
    "FifoThroughputScope",
    "FifoTopic",
    "KmsMasterKeyId",
    "Policy",
    "TracingConfig",
];

/// The service.
#[derive(Debug)]
pub(crate) struct Sns {
    world: Arc<World>,
    sqs: Arc<Sqs>,
    state: Mutex<State>,
}

impl Sns {
    /// Reads topics and subscriptions.
    pub(crate) fn open(world: Arc<World>, sqs: Arc<Sqs>) -> Result<Self, SandboxError> {
        let state = files::read_json(&world.root.join("sns/topics.json"))?.unwrap_or_default();
        Ok(Self { world, sqs, state: Mutex::new(state) })
    }

    /// Answers one call.
    pub(crate) fn call(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        match cx.operation.as_str() {
            "CreateTopic" => self.create_topic(cx, form),
            "DeleteTopic" => self.delete_topic(form),
            "ListTopics" => self.list_topics(form),
            "GetTopicAttributes" => self.get_topic_attributes(form),
            "SetTopicAttributes" => self.set_topic_attributes(form),
            "Subscribe" => self.subscribe(cx, form),
            "Unsubscribe" => self.unsubscribe(form),
            "ListSubscriptions" => self.list_subscriptions(form, None),
            "ListSubscriptionsByTopic" => {
                let arn = form.required("TopicArn")?;
                self.list_subscriptions(form, Some(arn))
            }
            "GetSubscriptionAttributes" => self.get_subscription_attributes(form),
            "Publish" => self.publish(cx, form),
            "PublishBatch" => self.publish_batch(cx, form),
            other => Err(ApiError::new(
                400,
                "InvalidAction",
                format!("Could not find operation {other} for version 2010-03-31 in the sandbox"),
            )),
        }
    }

    fn create_topic(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        let name = form.required("Name")?;
        let attributes = form.map("Attributes");
        if let Some((unknown, _)) =
            attributes.iter().find(|(name, _)| !TOPIC_ATTRIBUTES.contains(&name.as_str()))
        {
            return Err(invalid(format!("Attributes Reason: {unknown} is not supported by the sandbox")));
        }
        let fifo = attributes.iter().any(|(name, value)| name == "FifoTopic" && value == "true");
        check_topic_name(name, fifo)?;
        let arn = format!("arn:aws:sns:{}:{}:{name}", cx.region, cx.account);
        self.change(|state| {
            if let Some(topic) = state.topics.get(&arn) {
                let differs =
                    attributes.iter().any(|(name, value)| topic.attributes.get(name) != Some(value));
                if differs {
                    return Err(invalid("Attributes Reason: Topic already exists with different attributes"));
                }
                return Ok(());
            }
            if state.topics.len() >= TOPICS_MAX {
                return Err(ApiError::new(403, "TopicLimitExceeded", "too many topics in the sandbox"));
            }
            state.topics.insert(
                arn.clone(),
                Topic { attributes: attributes.into_iter().collect(), ..Topic::default() },
            );
            Ok(())
        })?;
        let mut xml = Xml::default();
        xml.leaf("TopicArn", &arn);
        Ok(xml)
    }

    fn delete_topic(&self, form: &Form) -> Result<Xml, ApiError> {
        let arn = form.required("TopicArn")?.to_owned();
        // Deleting a topic that is not there is no error.
        self.change(|state| {
            state.topics.remove(&arn);
            Ok(Xml::default())
        })
    }

    fn list_topics(&self, form: &Form) -> Result<Xml, ApiError> {
        self.read(|state| {
            let arns: Vec<&String> = state.topics.keys().collect();
            let (page, next) = page(&arns, form.get("NextToken"))?;
            let mut xml = Xml::default();
            xml.nest("Topics", |xml| {
                for arn in page {
                    xml.nest("member", |xml| xml.leaf("TopicArn", arn));
                }
            });
            if let Some(next) = next {
                xml.leaf("NextToken", &next);
            }
            Ok(xml)
        })
    }

    fn get_topic_attributes(&self, form: &Form) -> Result<Xml, ApiError> {
        let arn = form.required("TopicArn")?;
        self.read(|state| {
            let topic = state.topic(arn)?;
            let mut pairs: Vec<(&str, String)> = vec![
                ("TopicArn", arn.to_owned()),
                ("Owner", arn.split(':').nth(4).unwrap_or_default().to_owned()),
                ("SubscriptionsConfirmed", topic.subscriptions.len().to_string()),
                ("SubscriptionsPending", "0".to_owned()),
                ("SubscriptionsDeleted", "0".to_owned()),
            ];
            if !topic.attributes.contains_key("DisplayName") {
                pairs.push(("DisplayName", String::new()));
            }
            pairs.extend(topic.attributes.iter().map(|(name, value)| (name.as_str(), value.clone())));
            let mut xml = Xml::default();
            xml.map("Attributes", pairs);
            Ok(xml)
        })
    }

    fn set_topic_attributes(&self, form: &Form) -> Result<Xml, ApiError> {
        let arn = form.required("TopicArn")?;
        let name = form.required("AttributeName")?;
        if name == "FifoTopic" || !TOPIC_ATTRIBUTES.contains(&name) {
            return Err(invalid("AttributeName"));
        }
        let value = form.get("AttributeValue").unwrap_or_default();
        self.change(|state| {
            state.topic_mut(arn)?.attributes.insert(name.to_owned(), value.to_owned());
            Ok(Xml::default())
        })
    }

    fn subscribe(&self, cx: &CallContext, form: &Form) -> Result<Xml, ApiError> {
        let topic_arn = form.required("TopicArn")?;
        let protocol = form.required("Protocol")?;
        let endpoint = form.get("Endpoint").unwrap_or_default();
        self.check_endpoint(protocol, endpoint)?;
        let mut raw = false;
        for (name, value) in form.map("Attributes") {
            if name != "RawMessageDelivery" {
                return Err(invalid(format!("Attributes Reason: {name} is not supported by the sandbox")));
            }
            raw = value == "true";
        }
        let fresh = format!("{topic_arn}:{}", self.world.new_uuid());
        let arn = self.change(|state| {
            let topic = state.topic_mut(topic_arn)?;
            let same = |known: &&Subscription| known.protocol == protocol && known.endpoint == endpoint;
            if let Some(known) = topic.subscriptions.iter().find(same) {
                return Ok(known.arn.clone());
            }
            topic.subscriptions.push(Subscription {
                arn: fresh.clone(),
                protocol: protocol.to_owned(),
                endpoint: endpoint.to_owned(),
                owner: cx.account.to_string(),
                raw,
            });
            Ok(fresh)
        })?;
        let mut xml = Xml::default();
        xml.leaf("SubscriptionArn", &arn);
        Ok(xml)
    }

    fn check_endpoint(&self, protocol: &str, endpoint: &str) -> Result<(), ApiError> {
        match protocol {
            "email" | "email-json" => {
                let is_address =
                    endpoint.contains('@') && !endpoint.chars().any(|c| c.is_whitespace() || c.is_control());
                if is_address { Ok(()) } else { Err(invalid("Email address")) }
            }
            "sqs" => match sqs::name_of_arn(endpoint) {
                Some(queue) if self.sqs.has(queue) => Ok(()),
                Some(queue) => Err(invalid(format!("SQS endpoint ARN Reason: there is no queue {queue}"))),
                None => Err(invalid("SQS endpoint ARN")),
            },
            _ => Err(invalid(format!(
                "Protocol Reason: {protocol} is not supported by the sandbox; email, email-json and sqs are"
            ))),
        }
    }

    fn unsubscribe(&self, form: &Form) -> Result<Xml, ApiError> {
        let arn = form.required("SubscriptionArn")?;
        self.change(|state| {
            for topic in state.topics.values_mut() {
                topic.subscriptions.retain(|subscription| subscription.arn != arn);
            }
            Ok(Xml::default())
        })
    }

    fn list_subscriptions(&self, form: &Form, of_topic: Option<&str>) -> Result<Xml, ApiError> {
        self.read(|state| {
            if let Some(arn) = of_topic {
                state.topic(arn)?;
            }
            let topics = state.topics.iter().filter(|(arn, _)| of_topic.is_none_or(|wanted| wanted == *arn));
            let all: Vec<(&String, &Subscription)> = topics
                .flat_map(|(arn, topic)| {
                    topic.subscriptions.iter().map(move |subscription| (arn, subscription))
                })
                .collect();
            let (page, next) = page(&all, form.get("NextToken"))?;
            let mut xml = Xml::default();
            xml.nest("Subscriptions", |xml| {
                for (topic_arn, subscription) in page {
                    xml.nest("member", |xml| {
                        xml.leaf("SubscriptionArn", &subscription.arn);
                        xml.leaf("Owner", &subscription.owner);
                        xml.leaf("Protocol", &subscription.protocol);
                        xml.leaf("Endpoint", &subscription.endpoint);
                        xml.leaf("TopicArn", topic_arn);
                    });
                }
            });
            if let Some(next) = next {
                xml.leaf("NextToken", &next);
            }
            Ok(xml)
        })
    }

    fn get_subscription_attributes(&self, form: &Form) -> Result<Xml, ApiError> {
        let arn = form.required("SubscriptionArn")?;
        self.read(|state| {
            let found = state.topics.iter().find_map(|(topic_arn, topic)| {
                let known = topic.subscriptions.iter().find(|subscription| subscription.arn == arn)?;
                Some((topic_arn, known))
            });
            let (topic_arn, subscription) =
                found.ok_or_else(|| ApiError::new(404, "NotFound", "Subscription does not exist"))?;
            let mut xml = Xml::default();
            xml.map(
                "Attributes",
                [
                    ("SubscriptionArn", subscription.arn.clone()),
                    ("TopicArn", topic_arn.clone()),
                    ("Protocol", subscription.protocol.clone()),
                    ("Endpoint", subscription.endpoint.clone()),
                    ("Owner", subscription.owner.clone()),
                    ("PendingConfirmation", "false".to_owned()),
                    ("ConfirmationWasAuthenticated", "true".to_owned()),
                    ("RawMessageDelivery", subscription.raw.to_string()),
                ],
            );
            Ok(xml)
        })
    }

    fn read<T>(&self, act: impl FnOnce(&State) -> Result<T, ApiError>) -> Result<T, ApiError> {
        act(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the state and makes the change durable before anyone sees it.
    fn change<T>(&self, act: impl FnOnce(&mut State) -> Result<T, ApiError>) -> Result<T, ApiError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = state.clone();
        let result = act(&mut changed)?;
        if changed != *state {
            files::replace_json(&self.world.root.join("sns/topics.json"), &changed)
                .map_err(ApiError::internal)?;
            *state = changed;
        }
        Ok(result)
    }
}

/// AWS's general refusal of a parameter.
fn invalid(what: impl std::fmt::Display) -> ApiError {
    ApiError::new(400, "InvalidParameter", format!("Invalid parameter: {what}"))
}

fn check_topic_name(name: &str, fifo: bool) -> Result<(), ApiError> {
    let stem = name.strip_suffix(".fifo");
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let well_formed =
        (1..=256).contains(&name.len()) && stem.unwrap_or(name).chars().all(legal) && stem != Some("");
    match (fifo, stem) {
        _ if !well_formed => Err(invalid("Topic Name")),
        (true, None) => Err(invalid(
            "Fifo Topic names must end with .fifo and must be made up of only uppercase and lowercase ASCII letters, numbers, underscores, and hyphens, and must be between 1 and 256 characters long.",
        )),
        (false, Some(_)) => Err(invalid("Topic Name")),
        _ => Ok(()),
    }
}

/// One page of a list and the token of the next.
fn page<'a, T>(all: &'a [T], token: Option<&str>) -> Result<(&'a [T], Option<String>), ApiError> {
    let start = match token.filter(|token| !token.is_empty()) {
        Some(token) => token.parse::<usize>().map_err(|_| invalid("NextToken"))?,
        None => 0,
    };
    let start = start.min(all.len());
    let end = (start + PAGE).min(all.len());
    let next = (end < all.len()).then(|| end.to_string());
    Ok((&all[start..end], next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names() {
        assert!(check_topic_name("cdr-notices_1", false).is_ok());
        assert!(check_topic_name("cdr.fifo", true).is_ok());
        assert!(check_topic_name("cdr", true).is_err());
        assert!(check_topic_name("cdr.fifo", false).is_err());
        assert!(check_topic_name("a b", false).is_err());
        assert!(check_topic_name(".fifo", true).is_err());
        assert!(check_topic_name("", false).is_err());
    }

    #[test]
    fn pages_end() {
        let all: Vec<usize> = (0..250).collect();
        let (first, next) = page(&all, None).unwrap();
        assert_eq!((first.len(), next.as_deref()), (100, Some("100")));
        let (last, next) = page(&all, Some("200")).unwrap();
        assert_eq!((last.len(), next), (50, None));
        assert!(page(&all, Some("x")).is_err());
    }
}
