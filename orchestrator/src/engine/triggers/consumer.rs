//! One queue: its messages into rows and runs, then deleted.
//!
//! A message is deleted after the commit that recorded what it told, never before. A crash in between lets it
//! come again, and it is known again. A message that cannot be read is left to the queue.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use trunkline_state::{
    run::Definition,
    store::{Arrivals, NewEvent, PoisonMessage, QueueAsked, QueueReport, StoreError},
    triggers::{EventSource, ObjectEvent, TriggerEvent},
};
use trunkline_tasks::{
    clients::Clients,
    operator::{ErrorClass, Failure},
    queue::{
        MESSAGES_MAX, Message, Queue, WAIT_MAX, name_of,
        notification::{self, ObjectTold, Told},
        without_redrive,
    },
};

use super::{QueueName, Shared, Versions, chain, pace, take};
use crate::engine::crash;

/// Further receives that follow a full one at once: a hundred messages share a commit.
const RECEIVES_AT_ONCE: usize = 9;
/// How often a queue is asked about itself.
const ASK_EVERY: Duration = Duration::from_secs(60);
/// The first pause after a queue could not be read; doubles up to the next one.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Messages that wait for the store are hidden from others for so long, again and again.
const HELD: Duration = Duration::from_secs(60);

/// Reads one queue.
pub(super) struct Consumer {
    shared: Arc<Shared>,
    name: QueueName,
    clients: Arc<Clients>,
    stop: CancellationToken,
    versions: Versions,
    /// The same for all replicas, in the store and for people.
    label: String,
    asked_at: Option<Timestamp>,
    /// What was told of the queue last, so that it is told once.
    told: Option<String>,
}

/// What some messages came to.
#[derive(Default)]
struct Sorted {
    arrivals: Arrivals,
    /// Those to be deleted once the rest is recorded.
    read: Vec<Message>,
}

/// Why messages were not recorded.
enum Refused {
    /// The store is away, or cannot be understood: they wait.
    Later(StoreError),
    /// For what they say.
    These(StoreError),
}

impl Consumer {
    pub(super) fn new(
        shared: Arc<Shared>,
        name: QueueName,
        definition: &Arc<Definition>,
        stop: CancellationToken,
    ) -> Self {
        let clients = shared.connections_of(definition);
        let label = format!("{}/{}", name.connection, name_of(&name.queue));
        Self { shared, name, clients, stop, versions: Versions::default(), label, asked_at: None, told: None }
    }

    /// Reads until nobody wants it any more.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let mut queue = None;
        let mut pause = RETRY_MIN;
        while !stop.is_cancelled() {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look(&mut queue) => looked,
            };
            match looked {
                // What was received is seen to its end, also when the engine ends meanwhile.
                Ok(messages) => {
                    pause = RETRY_MIN;
                    if let Some(queue) = queue.as_ref().filter(|_| !messages.is_empty()) {
                        self.handle(queue, messages).await;
                    }
                }
                Err(failure) => {
                    self.note(QueueAsked { trouble: Some(failure.message.clone()), ..QueueAsked::default() })
                        .await;
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = pace::pause(pause) => {}
                    }
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Receives once, or several times at once where there is much.
    async fn look(&mut self, known: &mut Option<Queue>) -> Result<Vec<Message>, Failure> {
        let queue = match known {
            Some(queue) => queue.clone(),
            None => Queue::find(&self.clients, &self.name.connection, &self.name.queue).await?,
        };
        *known = Some(queue.clone());
        self.ask(&queue).await?;
        // What could not be recorded is better not received: each time counts.
        if let Err(error) = self.versions.current(&self.shared).await {
            let message = format!("nothing is received while the store is away: {}", chain(&error));
            return Err(Failure::new(ErrorClass::System, message));
        }
        let mut messages = queue.receive(&self.clients, WAIT_MAX).await?;
        if messages.len() == MESSAGES_MAX {
            let more = (0..RECEIVES_AT_ONCE).map(|_| queue.receive(&self.clients, Duration::ZERO));
            // One that failed is found out by the next look.
            messages.extend(join_all(more).await.into_iter().flatten().flatten());
        }
        Ok(messages)
    }

    /// Asks the queue about itself, unless that was done lately.
    async fn ask(&mut self, queue: &Queue) -> Result<(), Failure> {
        let now = self.shared.now();
        let lately =
            |at: Timestamp| Duration::try_from(now.duration_since(at)).is_ok_and(|age| age < ASK_EVERY);
        if self.asked_at.is_some_and(lately) {
            return Ok(());
        }
        let about = queue.about(&self.clients).await?;
        let mut asked = QueueAsked {
            messages: Some(about.messages),
            dead_letter_queue: about.dead_letter_queue,
            ..QueueAsked::default()
        };
        match &asked.dead_letter_queue {
            // Who may read the queue need not be allowed to look into the other one.
            Some(arn) => asked.dead_letters = Queue::depth(&self.clients, &queue.connection, arn).await.ok(),
            None => asked.trouble = Some(without_redrive(queue.name())),
        }
        self.asked_at = Some(now);
        self.note(asked).await;
        Ok(())
    }

    /// Writes down how the queue stands, and tells of trouble once.
    async fn note(&mut self, asked: QueueAsked) {
        if asked.trouble != self.told {
            if let Some(trouble) = &asked.trouble {
                tracing::warn!("{}: {trouble}", self.label);
            } else {
                tracing::info!("{} can be read", self.label);
            }
            self.told.clone_from(&asked.trouble);
        }
        if let Err(error) = self.shared.store.note_queue(&self.label, &asked).await {
            tracing::debug!("cannot note how {} stands: {}", self.label, chain(&error));
        }
    }

    /// Sees messages to their end: recorded, then deleted. As long as the store is away they are held, so that
    /// the queue does not take them for messages that nobody can read. What the store refuses is tried message
    /// by message, and the one that is to blame is left to the queue.
    async fn handle(&mut self, queue: &Queue, messages: Vec<Message>) {
        let mut left = VecDeque::from([messages]);
        while let Some(messages) = left.pop_front() {
            let recorded = match self.versions.current(&self.shared).await {
                Ok(known) => self.record(&messages, known, None).await,
                // Without knowing what pipelines want, nothing can be said of any message.
                Err(error) => Err(Refused::Later(error)),
            };
            match recorded {
                Ok(read) => self.delete(queue, &read).await,
                Err(Refused::Later(error)) => {
                    tracing::warn!("messages of {} wait for the store: {}", self.label, chain(&error));
                    if let Err(failure) = queue.hold(&self.clients, &messages, HELD).await {
                        tracing::debug!("{}: messages cannot be held: {}", self.label, failure.message);
                    }
                    if self.stop.is_cancelled() {
                        return;
                    }
                    pace::pause(self.shared.timing.store_retry.max(RETRY_MIN)).await;
                    left.push_front(messages);
                }
                Err(Refused::These(_)) if messages.len() > 1 => {
                    left.extend(messages.into_iter().map(|message| vec![message]));
                }
                Err(Refused::These(error)) => self.blame(&messages, &error).await,
            }
        }
    }

    /// Counts a message that the store refuses as one that cannot be read.
    async fn blame(&self, messages: &[Message], error: &StoreError) {
        let reason = chain(error);
        let noted = self.record(messages, Vec::new(), Some(&reason)).await;
        if let Err(Refused::These(error) | Refused::Later(error)) = noted {
            tracing::error!("a message of {} cannot be recorded: {}", self.label, chain(&error));
        }
    }

    async fn delete(&self, queue: &Queue, read: &[Message]) {
        crash::point("before_delete", "");
        if let Err(failure) = queue.delete(&self.clients, read).await {
            // They come again, and are known again.
            tracing::warn!("{}: messages could not be deleted: {}", self.label, failure.message);
        }
    }

    /// Records what messages tell, in one transaction. Those that may be deleted then.
    async fn record(
        &self,
        messages: &[Message],
        known: Vec<Arc<Definition>>,
        blame: Option<&str>,
    ) -> Result<Vec<Message>, Refused> {
        let mut sorted = self.sorted(messages, &known, blame);
        sorted.arrivals.known = known;
        match take(&self.shared, sorted.arrivals).await {
            Ok(_) => Ok(sorted.read),
            Err(error) if error.is_unreachable() => Err(Refused::Later(error)),
            Err(error) => Err(Refused::These(error)),
        }
    }

    fn sorted(&self, messages: &[Message], known: &[Arc<Definition>], blame: Option<&str>) -> Sorted {
        let mut sorted = Sorted::default();
        let mut report =
            QueueReport { queue: self.label.clone(), received: messages.len(), ..QueueReport::default() };
        for message in messages {
            let told = match blame {
                Some(reason) => Err(format!("the store refuses it: {reason}")),
                None => notification::read(&message.body),
            };
            match told {
                Ok(Told::Test) => sorted.read.push(message.clone()),
                Ok(Told::Objects(objects)) => {
                    for object in objects.into_iter().map(event) {
                        let events = self.wanted(known, &object);
                        report.unmatched += usize::from(events.is_empty());
                        sorted.arrivals.events.extend(events);
                    }
                    sorted.read.push(message.clone());
                }
                Err(reason) => {
                    tracing::warn!(
                        "message {} of {} cannot be read, for the {}. time, and is left to the queue: {reason}",
                        message.id,
                        self.label,
                        message.times
                    );
                    report.poison.push(PoisonMessage { id: message.id.clone(), reason });
                }
            }
        }
        sorted.arrivals.queue = Some(report);
        sorted
    }

    /// An event for each pipeline one of whose triggers reads this queue and takes the object.
    fn wanted(&self, known: &[Arc<Definition>], object: &ObjectEvent) -> Vec<NewEvent> {
        let told = TriggerEvent::Object(object.clone());
        let takes = |definition: &&Arc<Definition>| {
            definition.pipeline.triggers.iter().any(|trigger| {
                trigger.takes(&told) && QueueName::of(definition, trigger).as_ref() == Some(&self.name)
            })
        };
        let event = |definition: &Arc<Definition>| NewEvent {
            pipeline: definition.pipeline.name.to_string(),
            source: EventSource::S3,
            dedupe_key: object.dedupe_key(),
            body: serde_json::to_value(object).unwrap_or_default(),
        };
        known.iter().filter(takes).map(event).collect()
    }
}

fn event(told: ObjectTold) -> ObjectEvent {
    let ObjectTold { bucket, key, event, size, etag, version, sequencer, event_time } = told;
    ObjectEvent { bucket, key, event, size, etag, version, sequencer, event_time }
}
