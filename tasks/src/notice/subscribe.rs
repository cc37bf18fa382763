//! Subscribing an address to a topic. Who agrees is the owner of the address: SNS sends a mail with
//! a link, and nothing else before somebody followed it.

use super::check_topic;
use crate::{
    aws::error::Trouble,
    clients::Clients,
    operator::{ErrorClass, Failure},
};

/// The longest address of a mail.
const ADDRESS_LENGTH_MAX: usize = 320;
/// What SNS calls a subscription whose owner has not agreed yet.
const PENDING: &str = "pending confirmation";

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// Its owner was sent a mail and must follow the link in it.
    Pending,
    /// Messages are delivered.
    Active,
}

/// Whether a text can be the address of a mail; what is wrong with it otherwise.
pub fn check_address(address: &str) -> Result<(), Failure> {
    let parts: Vec<&str> = address.split('@').collect();
    let sound = address.len() <= ADDRESS_LENGTH_MAX
        && !address.chars().any(|c| c.is_whitespace() || c.is_control() || "<>\",;".contains(c))
        && matches!(parts[..], [name, domain] if !name.is_empty() && domain.contains('.') && !domain.starts_with('.'));
    if sound {
        return Ok(());
    }
    let message = "that is no address of a mail; write name@example.com";
    Err(Failure::new(ErrorClass::Config, message))
}

/// Subscribes an address of a mail to a topic. Doing so twice makes one subscription; one that is
/// not confirmed yet is asked for again.
pub async fn subscribe(
    clients: &Clients,
    connection: &str,
    topic: &str,
    address: &str,
) -> Result<Subscribed, Failure> {
    check_topic(topic)?;
    check_address(address)?;
    let sns = clients.sns(connection).await?;
    let call = sns.subscribe().topic_arn(topic).protocol("email").endpoint(address);
    let answer = call.send().await.map_err(|error| Trouble::from(error).into_failure())?;
    let arn = answer.subscription_arn.unwrap_or_default();
    let pending = arn.is_empty() || arn.eq_ignore_ascii_case(PENDING);
    Ok(if pending { Subscribed::Pending } else { Subscribed::Active })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::double::{Answer, Double};

    const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:etl";

    fn answer(arn: &'static str) -> Answer {
        let text = format!(
            "<SubscribeResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><SubscribeResult>\
             <SubscriptionArn>{arn}</SubscriptionArn></SubscribeResult></SubscribeResponse>"
        );
        Answer::Text(200, Box::leak(text.into_boxed_str()))
    }

    #[tokio::test]
    async fn somebody_must_confirm_unless_it_is_confirmed() {
        let double = Double::start([
            answer("pending confirmation"),
            answer("arn:aws:sns:us-east-1:000000000000:etl:1"),
        ])
        .await;
        let subscribed = async || subscribe(&double.clients, "aws", TOPIC, "a@example.com").await;
        assert_eq!(subscribed().await, Ok(Subscribed::Pending));
        assert_eq!(subscribed().await, Ok(Subscribed::Active));
        let sent = &double.received()[0].text;
        assert!(sent.contains("Protocol=email") && sent.contains("Endpoint=a%40example.com"), "{sent}");
    }

    #[test]
    fn addresses_are_looked_at_before_anything_is_sent() {
        assert!(check_address("data-team+etl@mail.example.com").is_ok());
        for wrong in ["", "a", "a@b", "a b@c.d", "a@b.c, d@e.f", "@b.c", "a@.c", "a@b.c\r\nBcc: x@y.z"] {
            assert!(check_address(wrong).is_err(), "{wrong}");
        }
    }
}
