//! Messages of a queue that triggers read: what S3 tells of objects, and the events that are made of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trunkline_state::triggers::{EventSource, ObjectEvent, ObjectSource, TriggerEvent, batch_key};
use trunkline_tasks::queue::notification::{Told, read};

fuzz_target!(|body: &str| {
    let objects = match read(body) {
        Ok(Told::Objects(objects)) => objects,
        Ok(Told::Test) => return,
        // What is wrong is written into the store and on pages.
        Err(why) => return assert!(!why.is_empty() && why.len() < 2_000, "{why}"),
    };
    let source = ObjectSource { prefix: "in/".into(), suffix: ".json".into(), ..ObjectSource::default() };
    let events: Vec<ObjectEvent> = objects
        .into_iter()
        .map(|told| ObjectEvent {
            bucket: told.bucket,
            key: told.key,
            event: told.event,
            size: told.size,
            etag: told.etag,
            version: told.version,
            sequencer: told.sequencer,
            event_time: told.event_time,
        })
        .collect();
    assert!(!events.is_empty());
    for event in &events {
        assert!(!event.bucket.is_empty() && !event.key.is_empty());
        let row = serde_json::to_value(event).expect("an event is stored");
        let texts = [Some(&event.bucket), Some(&event.key), event.etag.as_ref(), event.version.as_ref()];
        assert!(!texts.into_iter().flatten().any(|text| text.contains('\0')), "the store keeps no NUL");
        let Some(TriggerEvent::Object(again)) = EventSource::S3.read(&row) else { panic!("{row} is read") };
        assert_eq!((&again, again.dedupe_key()), (event, event.dedupe_key()));
        assert!(!source.takes(event) || event.is_created() && event.key.starts_with("in/"));
        let _ = event.value();
    }
    let mut sorted = events.clone();
    sorted.sort_by(ObjectEvent::order);
    assert!(sorted.is_sorted_by(|one, other| one.order(other).is_le()), "an order is one");
    let keys: Vec<String> = events.iter().map(ObjectEvent::dedupe_key).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let backwards: Vec<&str> = keys.iter().rev().copied().collect();
    assert_eq!(batch_key(&keys), batch_key(&backwards));
});
