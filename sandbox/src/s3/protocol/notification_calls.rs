//! Operations on a bucket's notifications.

use s3s::dto::{
    Event, FilterRule, FilterRuleName, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, NotificationConfigurationFilter,
    PutBucketNotificationConfigurationInput, PutBucketNotificationConfigurationOutput, QueueConfiguration,
    S3KeyFilter,
};
use s3s::{S3Request, S3Result, s3_error};

use super::Objects;
use crate::s3::notifications::Listener;

impl Objects {
    pub(super) async fn get_bucket_notification_configuration(
        &self,
        request: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> S3Result<GetBucketNotificationConfigurationOutput> {
        let bucket = request.input.bucket;
        let listeners = self
            .blocking(move |store| {
                store.bucket_folder(&bucket)?;
                Ok(store.notifications().of(&bucket))
            })
            .await?;
        let queues = listeners.into_iter().map(shown).collect::<Vec<_>>();
        Ok(GetBucketNotificationConfigurationOutput {
            queue_configurations: (!queues.is_empty()).then_some(queues),
            ..GetBucketNotificationConfigurationOutput::default()
        })
    }

    pub(super) async fn put_bucket_notification_configuration(
        &self,
        request: S3Request<PutBucketNotificationConfigurationInput>,
    ) -> S3Result<PutBucketNotificationConfigurationOutput> {
        let input = request.input;
        let wanted = input.notification_configuration;
        if wanted.topic_configurations.is_some_and(|list| !list.is_empty())
            || wanted.lambda_function_configurations.is_some_and(|list| !list.is_empty())
            || wanted.event_bridge_configuration.is_some()
        {
            return Err(s3_error!(NotImplemented, "the sandbox tells queues of objects, and nobody else"));
        }
        let queues = wanted.queue_configurations.unwrap_or_default();
        let mut listeners = Vec::with_capacity(queues.len());
        for (place, queue) in queues.into_iter().enumerate() {
            listeners.push(listener(queue, place)?);
        }
        let tries = !input.skip_destination_validation.unwrap_or(false);
        let now = self.world.clock.now();
        let refused = self
            .blocking(move |store| {
                store.bucket_folder(&input.bucket)?;
                Ok(store.notifications().put(&input.bucket, listeners, tries, now))
            })
            .await?;
        match refused {
            Ok(()) => Ok(PutBucketNotificationConfigurationOutput::default()),
            Err(error) if error.status < 500 => Err(s3_error!(InvalidArgument, "{}", error.message)),
            Err(error) => Err(s3_error!(InternalError, "{}", error.message)),
        }
    }
}

fn listener(queue: QueueConfiguration, place: usize) -> S3Result<Listener> {
    let (mut prefix, mut suffix) = (String::new(), String::new());
    let rules = queue.filter.and_then(|filter| filter.key?.filter_rules).unwrap_or_default();
    for rule in rules {
        let value = rule.value.unwrap_or_default();
        match rule.name.as_ref().map(|name| name.as_str().to_ascii_lowercase()).as_deref() {
            Some("prefix") => prefix = value,
            Some("suffix") => suffix = value,
            _ => return Err(s3_error!(InvalidArgument, "filter rule name must be either prefix or suffix")),
        }
    }
    Ok(Listener {
        id: queue.id.unwrap_or_else(|| format!("queue-{place}")),
        queue: queue.queue_arn,
        events: queue.events.iter().map(|event| event.as_ref().to_owned()).collect(),
        prefix,
        suffix,
    })
}

fn shown(listener: Listener) -> QueueConfiguration {
    let rule = |name: &'static str, value: String| {
        let name = Some(FilterRuleName::from_static(name));
        (!value.is_empty()).then_some(FilterRule { name, value: Some(value) })
    };
    let rules: Vec<FilterRule> =
        [rule("prefix", listener.prefix), rule("suffix", listener.suffix)].into_iter().flatten().collect();
    let filter = (!rules.is_empty())
        .then_some(NotificationConfigurationFilter { key: Some(S3KeyFilter { filter_rules: Some(rules) }) });
    QueueConfiguration {
        events: listener.events.into_iter().map(Event::from).collect(),
        filter,
        id: Some(listener.id),
        queue_arn: listener.queue,
    }
}
