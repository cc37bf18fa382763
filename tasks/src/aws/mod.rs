//! What all AWS operators share: error classes, requests sent exactly as stored, times.
//!
//! Nothing here knows one service's calls; those stand in the operators' files.

use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::{DateTime, body::SdkBody};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    operator::{Failure, Found, Intent},
    registry::QUARANTINE,
};

pub(crate) mod address;
pub(crate) mod error;
pub(crate) mod log_lines;

#[cfg(test)]
pub(crate) mod double;

/// A clock that stands at the time of an intent. AWS refuses a signature that is older than 15
/// minutes, so a start that was delayed for longer can no longer be accepted, whoever sends it
/// and however late.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedAt(pub(crate) Timestamp);

impl TimeSource for SignedAt {
    fn now(&self) -> SystemTime {
        SystemTime::from(self.0)
    }
}

/// Puts the stored body in place of the one that the SDK made, before signing: what was
/// committed is what is sent, and a setting that the SDK has no word for goes through.
pub(crate) fn exact_body(body: &Value) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
    let bytes = body.to_string().into_bytes();
    move |request| {
        request.headers_mut().insert("content-length", bytes.len().to_string());
        *request.body_mut() = SdkBody::from(bytes.clone());
    }
}

/// Lays `over` on `base`: maps are merged key by key, everything else is replaced.
pub(crate) fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// A time of the SDK as one of ours; `None` outside of what can be counted.
pub(crate) fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// A time of the full scale on the scale of this quarantine: fault trials shrink both alike.
pub(crate) fn scaled(span: Duration, quarantine: Duration) -> Duration {
    span.mul_f64(quarantine.as_secs_f64() / QUARANTINE.as_secs_f64())
}

/// `moment` plus `span`, or the end of time.
pub(crate) fn later(moment: Timestamp, span: Duration) -> Timestamp {
    moment.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// `moment` minus `span`, or the beginning of time.
pub(crate) fn earlier(moment: Timestamp, span: Duration) -> Timestamp {
    moment.checked_sub(span).unwrap_or(Timestamp::MIN)
}

/// When to look again for a start that nobody has seen yet: 5, 15 and 60 seconds after the
/// intent, and then when the quarantine is over. `None` when it is over.
pub(crate) fn next_look(intent: &Intent<'_>, quarantine: Duration) -> Option<Timestamp> {
    if intent.now >= later(intent.intent_at, quarantine) {
        return None;
    }
    let looks = [5, 15, 60].map(|seconds| scaled(Duration::from_secs(seconds), quarantine));
    looks
        .into_iter()
        .chain([quarantine])
        .map(|span| later(intent.intent_at, span))
        .find(|at| *at > intent.now)
}

/// "Ask again" for a look that gave no answer.
pub(crate) fn ask_again(intent: &Intent<'_>, quarantine: Duration, failure: &Failure) -> Found {
    let pause = scaled(Duration::from_secs(10), quarantine);
    let code = failure.code.as_deref().map(|code| format!("{code}: ")).unwrap_or_default();
    Found::NotYetKnown {
        again_at: later(intent.now, pause),
        reason: format!("the look for it failed: {code}{}", failure.message),
    }
}

/// How long after its intent an interrupted call is repeated at the earliest.
const REPEAT_PAUSE: Duration = Duration::from_secs(2);

/// "Do it again" for a call whose effect may be repeated; but not at once, so that a service in
/// trouble, which answers every call with a 500, is not called without end.
pub(crate) fn repeat(intent: &Intent<'_>, quarantine: Duration) -> Found {
    let again_at = later(intent.intent_at, scaled(REPEAT_PAUSE, quarantine));
    if intent.now >= again_at {
        return Found::SafeToRepeat;
    }
    Found::NotYetKnown { again_at, reason: "its answer was lost; it is about to be repeated".to_owned() }
}

/// A percent-encoded part of a console link's path or query.
pub(crate) fn url_part(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The console's host of a region; China and the government clouds have their own.
pub(crate) fn console_host(region: &str) -> String {
    if region.starts_with("cn-") {
        format!("{region}.console.amazonaws.cn")
    } else if region.starts_with("us-gov-") {
        format!("{region}.console.amazonaws-us-gov.com")
    } else {
        format!("{region}.console.aws.amazon.com")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merging_goes_into_maps_and_replaces_the_rest() {
        let mut base = json!({ "a": { "b": 1, "c": [1] }, "d": 2 });
        merge(&mut base, &json!({ "a": { "c": [2], "e": 3 }, "f": { "g": 4 } }));
        assert_eq!(base, json!({ "a": { "b": 1, "c": [2], "e": 3 }, "d": 2, "f": { "g": 4 } }));
    }

    #[test]
    fn link_parts_are_encoded() {
        assert_eq!(url_part("a/b c&d"), "a%2Fb%20c%26d");
    }
}
