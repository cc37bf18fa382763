//! Call detail records of voice connectors, as the telephony service writes them into a
//! bucket: one JSON object per file, no file extension, the folder named by the UTC date of
//! the call's start.
//!
//! The peculiarities of the real files are all here ([`Quirk`]), because a pipeline that was
//! only tried on well-behaved records is not tried. Numbers are from the ranges reserved for
//! fiction, so nobody's phone number is in a test.

use jiff::{ToSpan, civil::Date, tz::TimeZone};
use serde_json::{Map, Value, json};

use super::{GenerateError, Object, Random};

/// The prefix of the records that the pipeline reads.
pub const CDR_PREFIX: &str = "Amazon-Chime-Voice-Connector-CDRs/json";
/// The prefix of streaming records, which stand in the same bucket and must be ignored.
pub const SDR_PREFIX: &str = "Amazon-Chime-Voice-Connector-SDRs/json";
/// The voice connectors whose calls are made up.
pub const CONNECTORS: [&str; 2] = ["abcd1efgh2ijkl3mnop4qr", "zyxw9vuts8rqpo7nmlk6ji"];
/// Records per call of the generator: a file each, so ten million already fill the inodes of
/// an ordinary disk.
pub const COUNT_MAX: u64 = 10_000_000;
/// Days per call of the generator: ten years.
pub const DAYS_MAX: u32 = 3_660;

/// One streaming record stands beside this many calls.
const CALLS_PER_STREAM: u64 = 20;
/// After the first round, one record in `QUIRK_RARITY / QUIRKS.len()` is peculiar.
const QUIRK_RARITY: u64 = 160;
/// After the first round, a corrupt file survives one of so many draws: about one file in
/// 3,200, so that 60,000 hold some twenty.
const CORRUPT_RARITY: u64 = 20;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrSpec {
    /// Same seed, same bytes.
    pub seed: u64,
    /// How many calls in all, spread evenly over the days. From 40 on every quirk occurs.
    pub count: u64,
    /// The first day, UTC.
    pub from: Date,
    /// How many days.
    pub days: u32,
}

/// What is peculiar about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quirk {
    /// Nothing.
    None,
    /// Starts in hour 00, at midnight sharp.
    FirstHour,
    /// Starts in hour 23.
    LastHour,
    /// Starts at 23:58:40 and ends on the next day; belongs to the day of its start.
    OverMidnight,
    /// Failed with no length; minutes are the integer `0`.
    ZeroLength,
    /// Failed before a number was dialled: no destination at all.
    NoDestination,
    /// Four seconds, billed as six: minutes are `0.1`.
    Billed6,
    /// Eleven minutes and some: minutes are `11.4`.
    Billed684,
    /// `CallId` as SIP writes it.
    SipCallId,
    /// The destination lacks its `+`.
    NoPlus,
    /// The destination is in the United Kingdom.
    UnitedKingdom,
    /// An older record without `IsProxyCall`.
    NoProxyField,
    /// A newer record with fields that the pipeline does not know.
    ExtraFields,
    /// Has the optional `SipAuthUser`.
    SipAuthUser,
    /// Written over several lines.
    PrettyPrinted,
    /// Cut off in the middle, or not text at all.
    Corrupt,
}

/// Each quirk once, in the order in which the first records have them.
const QUIRKS: [Quirk; 15] = [
    Quirk::FirstHour,
    Quirk::LastHour,
    Quirk::OverMidnight,
    Quirk::ZeroLength,
    Quirk::Billed6,
    Quirk::Billed684,
    Quirk::SipCallId,
    Quirk::NoPlus,
    Quirk::UnitedKingdom,
    Quirk::NoProxyField,
    Quirk::ExtraFields,
    Quirk::PrettyPrinted,
    Quirk::Corrupt,
    Quirk::SipAuthUser,
    Quirk::NoDestination,
];

impl CdrSpec {
    /// Refuses what is outside the limits, in words for people.
    pub fn check(&self) -> Result<(), GenerateError> {
        if self.count == 0 || self.count > COUNT_MAX {
            return Err(GenerateError::Spec(format!(
                "count {} is outside 1 to {COUNT_MAX}; generate several ranges of days instead",
                self.count
            )));
        }
        if self.days == 0 || self.days > DAYS_MAX {
            return Err(GenerateError::Spec(format!("days {} is outside 1 to {DAYS_MAX}", self.days)));
        }
        if self.from.year() < 1970 || self.from.checked_add(i64::from(self.days).days()).is_err() {
            return Err(GenerateError::Spec(format!(
                "from {} with {} days leaves the calendar; start in 1970 or later",
                self.from, self.days
            )));
        }
        Ok(())
    }
}

/// The objects of a spec that passed [`CdrSpec::check`], in a fixed order. Neighbours are on
/// different days, so that a shorter count still touches every day.
pub fn cdr(spec: &CdrSpec) -> impl Iterator<Item = Object> + use<> {
    let spec = spec.clone();
    (0..spec.count).flat_map(move |number| {
        let mut random = Random::new(spec.seed, number);
        let call = Call::draw(&spec, number, &mut random);
        let stream = (number % CALLS_PER_STREAM == 5).then(|| call.stream(&mut random));
        std::iter::once(call.object(&mut random)).chain(stream)
    })
}

/// A call before it is written down.
struct Call {
    quirk: Quirk,
    day: Date,
    connector: &'static str,
    transaction: String,
    /// Seconds after the start of the day, UTC.
    second_of_day: u64,
    millisecond: u64,
    seconds: u64,
    outbound: bool,
}

impl Call {
    fn draw(spec: &CdrSpec, number: u64, random: &mut Random) -> Self {
        let quirk = draw_quirk(number, random);
        let offset = i64::try_from(number % u64::from(spec.days.max(1))).unwrap_or(0);
        // `check` proved that the last day exists; a caller who skipped it stays on the first.
        let day = spec.from.checked_add(offset.days()).unwrap_or(spec.from);
        let connector = if random.below(3) == 0 { CONNECTORS[1] } else { CONNECTORS[0] };
        let drawn_second = random.below(86_400);
        let drawn_length = random.between(1, 900);
        Self {
            quirk,
            day,
            connector,
            transaction: random.uuid(),
            second_of_day: match quirk {
                Quirk::FirstHour => 0,
                Quirk::LastHour => 23 * 3_600 + drawn_second % 3_600,
                Quirk::OverMidnight => 23 * 3_600 + 58 * 60 + 40,
                _ => drawn_second,
            },
            millisecond: random.below(1_000),
            seconds: match quirk {
                Quirk::ZeroLength | Quirk::NoDestination => 0,
                Quirk::OverMidnight => 81 + drawn_length,
                Quirk::Billed6 => 4,
                Quirk::Billed684 => 679 + drawn_length % 6,
                _ => drawn_length,
            },
            outbound: quirk == Quirk::UnitedKingdom || random.below(2) == 0,
        }
    }

    fn key(&self, prefix: &str) -> String {
        let (minutes, second) = (self.second_of_day / 60, self.second_of_day % 60);
        let (hour, minute) = (minutes / 60, minutes % 60);
        format!(
            "{prefix}/{}/{:04}/{:02}/{:02}/{hour:02}.{minute:02}.{second:02}.{:03}_{}",
            self.connector,
            self.day.year(),
            self.day.month(),
            self.day.day(),
            self.millisecond,
            self.transaction,
        )
    }

    fn start(&self) -> i64 {
        let midnight = self.day.to_zoned(TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_second());
        midnight + i64::try_from(self.second_of_day).unwrap_or(0)
    }

    fn object(&self, random: &mut Random) -> Object {
        let record = Value::Object(self.record(random));
        let mut body = match self.quirk {
            Quirk::PrettyPrinted => format!("{record:#}").into_bytes(),
            _ => record.to_string().into_bytes(),
        };
        if self.quirk == Quirk::Corrupt {
            if random.below(2) == 0 {
                body.truncate(body.len() / 2);
            } else {
                body = random.bits().to_le_bytes().iter().chain(&[0xff, 0x00]).copied().collect();
            }
        }
        Object { key: self.key(CDR_PREFIX), body }
    }

    fn record(&self, random: &mut Random) -> Map<String, Value> {
        let billed = self.seconds.div_ceil(6) * 6;
        let failed = self.seconds == 0;
        let start = self.start();
        let mut record = Map::new();
        let mut put = |name: &str, value: Value| record.insert(name.to_owned(), value);
        put("AwsAccountId", json!("111122223333"));
        put("TransactionId", json!(self.transaction));
        put("CallId", json!(self.call_id(random)));
        put("VoiceConnectorId", json!(self.connector));
        put("Status", json!(if failed { "Failed" } else { "Completed" }));
        put("StatusMessage", json!(if random.below(4) == 0 { "OK" } else { "Normal Call Clearing" }));
        if self.quirk == Quirk::SipAuthUser {
            put("SipAuthUser", json!("desk-phone-17"));
        }
        put("BillableDurationSeconds", json!(billed));
        put("BillableDurationMinutes", minutes(billed));
        put("SchemaVersion", json!("2.0"));
        put("SourcePhoneNumber", json!(us_number(random)));
        put("SourceCountry", json!("US"));
        if self.quirk == Quirk::ExtraFields {
            put("SourcePhoneNumberName", json!("Front desk \"north\", Zürich"));
            put("RoutingHints", json!({"carrier": "a", "hops": [1, 2]}));
        }
        if self.quirk != Quirk::NoDestination {
            let (number, country) = self.destination(random);
            put("DestinationPhoneNumber", json!(number));
            put("DestinationCountry", json!(country));
        }
        let usage = if self.outbound { "USE1-US-US-outbound-minutes" } else { "USE1-US-inbound-minutes" };
        put("UsageType", json!(usage));
        put("ServiceCode", json!("AmazonChimeVoiceConnector"));
        put("Direction", json!(if self.outbound { "Outbound" } else { "Inbound" }));
        put("StartTimeEpochSeconds", json!(start));
        put("EndTimeEpochSeconds", json!(start + i64::try_from(self.seconds).unwrap_or(0)));
        put("Region", json!("us-east-1"));
        put("Streaming", json!(random.below(10) == 0));
        if self.quirk != Quirk::NoProxyField {
            put("IsProxyCall", json!(random.below(12) == 0));
        }
        record
    }

    fn call_id(&self, random: &mut Random) -> String {
        match self.quirk {
            Quirk::SipCallId => {
                let (left, host, port) =
                    (random.bits(), random.between(1, 254), random.between(1024, 65_535));
                format!("{left:016x}@192.0.2.{host}:{port}")
            }
            _ => random.uuid(),
        }
    }

    fn destination(&self, random: &mut Random) -> (String, &'static str) {
        match self.quirk {
            Quirk::UnitedKingdom => (format!("+442079460{:03}", random.below(1_000)), "GB"),
            Quirk::NoPlus => (us_number(random).split_off(1), "US"),
            _ => (us_number(random), "US"),
        }
    }

    /// The streaming record that stands beside the call.
    fn stream(&self, random: &mut Random) -> Object {
        let body = json!({
            "SchemaVersion": "1.0",
            "AwsAccountId": "111122223333",
            "TransactionId": self.transaction,
            "CallId": random.uuid(),
            "VoiceConnectorId": self.connector,
            "StartTimeEpochSeconds": self.start(),
            "UsageType": "VoiceConnectorStreaming",
        });
        Object { key: self.key(SDR_PREFIX), body: body.to_string().into_bytes() }
    }
}

/// The first records have one quirk each, in order; later ones now and then.
fn draw_quirk(number: u64, random: &mut Random) -> Quirk {
    let drawn = random.below(QUIRK_RARITY);
    let keep_corrupt = random.below(CORRUPT_RARITY) == 0;
    let round = QUIRKS.len() as u64;
    let position = if number < round { number } else { drawn };
    let quirk = usize::try_from(position).ok().and_then(|at| QUIRKS.get(at)).copied().unwrap_or(Quirk::None);
    if quirk == Quirk::Corrupt && number >= round && !keep_corrupt { Quirk::None } else { quirk }
}

/// Billed minutes as the service writes them: the integer `0`, or a number with a point.
fn minutes(billed: u64) -> Value {
    match u32::try_from(billed) {
        Ok(0) | Err(_) => json!(0),
        Ok(seconds) => json!(f64::from(seconds) / 60.0),
    }
}

/// A number in North America: any area code, exchange 555, last four digits 0100 to 0199.
fn us_number(random: &mut Random) -> String {
    format!("+1{}55501{:02}", random.between(200, 999), random.below(100))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::civil::date;

    use super::*;

    fn spec(count: u64, days: u32) -> CdrSpec {
        CdrSpec { seed: 42, count, from: date(2026, 10, 31), days }
    }

    fn calls(count: u64, days: u32) -> Vec<Object> {
        cdr(&spec(count, days)).filter(|object| object.key.starts_with(CDR_PREFIX)).collect()
    }

    fn parsed(objects: &[Object]) -> Vec<Map<String, Value>> {
        objects.iter().filter_map(|object| serde_json::from_slice(&object.body).ok()).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let once: Vec<Object> = cdr(&spec(200, 3)).collect();
        let again: Vec<Object> = cdr(&spec(200, 3)).collect();
        assert_eq!(once, again);
        let other = CdrSpec { seed: 43, ..spec(200, 3) };
        assert_ne!(once, cdr(&other).collect::<Vec<_>>());
    }

    #[test]
    fn a_larger_count_only_adds() {
        let few = calls(50, 3);
        assert_eq!(calls(80, 3)[..50], few[..]);
    }

    #[test]
    fn the_first_record_looks_as_documented() {
        let object = calls(1, 1).remove(0);
        insta::assert_snapshot!(format!("{}\n{}", object.key, String::from_utf8_lossy(&object.body)));
    }

    #[test]
    fn count_is_calls_and_keys_are_unique() {
        let objects = calls(500, 3);
        assert_eq!(objects.len(), 500);
        assert_eq!(objects.iter().map(|object| &object.key).collect::<BTreeSet<_>>().len(), 500);
    }

    #[test]
    fn folder_and_name_are_the_utc_start() {
        for object in calls(300, 3) {
            let Ok(record) = serde_json::from_slice::<Map<String, Value>>(&object.body) else { continue };
            let start = record["StartTimeEpochSeconds"].as_i64().unwrap();
            let stamp =
                jiff::Timestamp::from_second(start).unwrap().strftime("%Y/%m/%d/%H.%M.%S").to_string();
            let path = format!("{CDR_PREFIX}/{}/{stamp}.", record["VoiceConnectorId"].as_str().unwrap());
            assert!(object.key.starts_with(&path), "{} does not start with {path}", object.key);
            assert!(object.key.ends_with(record["TransactionId"].as_str().unwrap()));
        }
    }

    #[test]
    fn forty_records_have_every_quirk() {
        let all: Vec<Object> = cdr(&spec(40, 3)).collect();
        let objects = calls(40, 3);
        let records = parsed(&objects);
        let any = |test: &dyn Fn(&Map<String, Value>) -> bool| records.iter().any(test);
        let text = |record: &Map<String, Value>, name: &str| {
            record.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        assert!(all.iter().any(|object| object.key.starts_with(SDR_PREFIX)));
        assert!(records.len() < objects.len(), "a corrupt file");
        assert!(objects.iter().any(|object| object.body.contains(&b'\n')), "pretty-printed");
        for connector in CONNECTORS {
            assert!(any(&|record| record["VoiceConnectorId"] == connector));
        }
        for hour in ["/00.00.00.", "/23."] {
            assert!(objects.iter().any(|object| object.key.contains(hour)));
        }
        for minutes in [json!(0), json!(0.1), json!(11.4)] {
            assert!(any(&|record| record["BillableDurationMinutes"] == minutes), "{minutes}");
        }
        assert!(any(&|record| text(record, "CallId").contains('@')));
        assert!(any(&|record| text(record, "DestinationPhoneNumber").starts_with('1')));
        assert!(any(&|record| text(record, "DestinationPhoneNumber").starts_with("+44")));
        assert!(any(&|record| !record.contains_key("DestinationPhoneNumber")));
        assert!(any(&|record| !record.contains_key("IsProxyCall")));
        assert!(any(&|record| record.contains_key("RoutingHints")));
        assert!(any(&|record| record.contains_key("SipAuthUser")));
        assert!(any(&|record| {
            let second = |name: &str| record[name].as_i64().unwrap();
            let (start, end) = (second("StartTimeEpochSeconds"), second("EndTimeEpochSeconds"));
            start / 86_400 != end / 86_400
        }));
    }

    #[test]
    fn billing_is_in_steps_of_six_seconds() {
        for record in parsed(&calls(300, 2)) {
            let number = |name: &str| record[name].as_i64().unwrap();
            let length = number("EndTimeEpochSeconds") - number("StartTimeEpochSeconds");
            assert_eq!(number("BillableDurationSeconds"), (length + 5) / 6 * 6);
            let zero =
                record["BillableDurationMinutes"].is_i64() || record["BillableDurationMinutes"].is_u64();
            assert_eq!(zero, length == 0, "the integer 0 exactly for calls without length");
        }
    }

    #[test]
    fn corrupt_files_stay_rare() {
        let objects = calls(10_000, 3);
        let corrupt = objects.len() - parsed(&objects).len();
        assert!((1..=10).contains(&corrupt), "{corrupt}");
    }

    #[test]
    fn the_committed_sample_is_what_its_readme_says() {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/daily_cdr_etl/sample");
        let spec = CdrSpec { seed: 1, count: 84, from: date(2026, 10, 31), days: 2 };
        let objects: Vec<Object> = cdr(&spec).collect();
        assert_eq!(objects.len(), 88);
        for object in objects {
            let committed = std::fs::read(folder.join(&object.key)).unwrap_or_default();
            assert_eq!(committed, object.body, "{}", object.key);
        }
    }

    #[test]
    fn limits_are_said_in_words() {
        let wrong = [
            spec(0, 1),
            spec(COUNT_MAX + 1, 1),
            spec(1, 0),
            spec(1, DAYS_MAX + 1),
            CdrSpec { from: date(1969, 12, 31), ..spec(1, 1) },
            CdrSpec { from: date(9999, 12, 30), ..spec(1, 5) },
        ];
        let said: Vec<String> = wrong.iter().map(|spec| spec.check().unwrap_err().to_string()).collect();
        insta::assert_snapshot!(said.join("\n"));
        assert!(spec(40, 3).check().is_ok());
    }
}
