//! Leads of the sales system. Most have no website, so that everything from there on slid one to the left.

use jiff::ToSpan;
use serde_json::{Value, json};

use super::{FacilitySpec, draw, slid, words};
use crate::generate::Random;

pub(super) const HEADER: [&str; 30] = [
    "id",
    "is_deleted",
    "last_name",
    "first_name",
    "title",
    "company",
    "street",
    "city",
    "state",
    "postal_code",
    "country",
    "phone",
    "mobile_phone",
    "email",
    "website",
    "lead_source",
    "status",
    "is_converted",
    "created_date",
    "last_modified_date",
    "last_activity_date",
    "last_viewed_date",
    "last_referenced_date",
    "email_bounced_reason",
    "email_bounced_date",
    "outreach_stage_c",
    "current_enrollment_c",
    "capacity_c",
    "lead_source_last_updated_c",
    "brightwheel_school_uuid_c",
];

/// The first lead's id; the others follow.
const FIRST_ID: u64 = 4_001;

/// What is peculiar about a lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quirk {
    /// No website: one to the left from there on.
    NoWebsite,
    /// A website, and all cells in their places.
    Website,
    /// No country and no website.
    NoCountry,
    /// No title and no website.
    NoTitle,
    /// No website, and the lead source is null.
    NullSource,
    /// Deleted by somebody.
    Deleted,
    /// A Canadian address.
    Canadian,
    /// Became a customer.
    Converted,
    /// Created at a day without a time.
    PlainDate,
    /// A date where the number of enrolled children should be.
    DateAsEnrollment,
    /// An address of mail that nobody can write to.
    InvalidEmail,
    /// A remark instead of a mobile number.
    NoNumber,
    /// A status that the models do not know.
    OtherStatus,
    /// Fits nothing: the day of creation is none.
    ImpossibleDate,
    /// Fits nothing: a website but no lead source, or a lead source but no status; nobody can tell.
    WebsiteWithoutSource,
    /// Fits nothing: no phone and no mail, so three cells slid.
    NoPhoneNoEmail,
    /// Fits nothing: the id is a text.
    TextAsId,
}

const FIRST: [Quirk; 17] = [
    Quirk::NoWebsite,
    Quirk::Website,
    Quirk::NoCountry,
    Quirk::NoTitle,
    Quirk::NullSource,
    Quirk::Deleted,
    Quirk::Canadian,
    Quirk::Converted,
    Quirk::PlainDate,
    Quirk::DateAsEnrollment,
    Quirk::InvalidEmail,
    Quirk::NoNumber,
    Quirk::OtherStatus,
    Quirk::ImpossibleDate,
    Quirk::WebsiteWithoutSource,
    Quirk::NoPhoneNoEmail,
    Quirk::TextAsId,
];
const USUAL: [Quirk; 16] = [
    Quirk::NoWebsite,
    Quirk::NoWebsite,
    Quirk::NoWebsite,
    Quirk::NoWebsite,
    Quirk::NoWebsite,
    Quirk::NoWebsite,
    Quirk::NoWebsite,
    Quirk::Converted,
    Quirk::Converted,
    Quirk::Website,
    Quirk::Website,
    Quirk::NoCountry,
    Quirk::NoTitle,
    Quirk::Canadian,
    Quirk::PlainDate,
    Quirk::OtherStatus,
];
const MISFITS: [Quirk; 4] =
    [Quirk::ImpossibleDate, Quirk::WebsiteWithoutSource, Quirk::NoPhoneNoEmail, Quirk::TextAsId];

/// The cells of one lead.
pub(super) fn row(spec: &FacilitySpec, number: u64, random: &mut Random) -> Vec<Value> {
    let quirk = draw(&FIRST, &USUAL, &MISFITS, number, random);
    let mut cells = person(quirk, number, random);
    cells.extend(address(quirk, random));
    cells.extend(reach(quirk, random));
    cells.extend(course(spec, quirk, random));
    slid(cells, empty(quirk))
}

/// The places that slid away.
fn empty(quirk: Quirk) -> &'static [usize] {
    match quirk {
        Quirk::Website => &[],
        Quirk::NoCountry => &[11, 15],
        Quirk::NoTitle => &[5, 15],
        Quirk::WebsiteWithoutSource => &[16],
        Quirk::NoPhoneNoEmail => &[12, 14, 15],
        _ => &[15],
    }
}

/// From `id` to `company`.
fn person(quirk: Quirk, number: u64, random: &mut Random) -> Vec<Value> {
    let id = FIRST_ID + number;
    let first_name = words::first_name(random);
    vec![
        if quirk == Quirk::TextAsId { json!(format!("L-{id}")) } else { json!(id) },
        json!(quirk == Quirk::Deleted || words::once_in(39, random)),
        json!(words::last_name(random)),
        if words::once_in(5, random) { Value::Null } else { json!(first_name) },
        words::sometimes("Director", 6, random),
        json!(words::facility_name(random)),
    ]
}

/// From `street` to `country`.
fn address(quirk: Quirk, random: &mut Random) -> Vec<Value> {
    let street = json!(words::street(random));
    let city = json!(words::city(random));
    let zip = words::zip(46_000, random);
    if quirk == Quirk::Canadian {
        return vec![street, city, json!("Ontario"), json!("A2N 2Z6"), json!("Canada")];
    }
    let state = words::one(&["Indiana", "IN", "TX", "Texas", "Other", "46342"], random);
    let zip = if words::once_in(4, random) { format!("{zip}-4210") } else { zip.to_string() };
    vec![street, city, json!(state), json!(zip), json!(words::one(&["US", "United States"], random))]
}

/// From `phone` to `website`.
fn reach(quirk: Quirk, random: &mut Random) -> Vec<Value> {
    let pattern = words::one(&["brackets", "dashes", "dots", "plus", "short"], random);
    let mobile = words::phone(pattern, random);
    let mobile = match quirk {
        Quirk::NoNumber => json!("call after 5 pm"),
        _ if words::once_in(3, random) => Value::Null,
        _ => json!(mobile),
    };
    let email = words::email(random);
    let email =
        if quirk == Quirk::InvalidEmail { json!(email.trim_end_matches(".com")) } else { json!(email) };
    let host = words::one(&["https://www.little-oaks.example.com", "tinyharbor.example.com/visit"], random);
    vec![json!(words::phone_number(random)), mobile, email, json!(host)]
}

/// From `lead_source` to the end: what became of the lead.
fn course(spec: &FacilitySpec, quirk: Quirk, random: &mut Random) -> Vec<Value> {
    let source = words::one(&["TAM", "Web", "Proactive Trial", "Marketing Research"], random);
    let status =
        words::one(&["Working", "Working", "Assigned", "Unqualified", "Connected", "Recycled"], random);
    let created = spec.day(random);
    let (hour, minute) = (random.below(24), random.below(60));
    let later = |days: u64| created.checked_add(i64::try_from(days).unwrap_or(0).days()).unwrap_or(created);
    let time = format!("{hour}:{minute:02}");
    let created_date = match quirk {
        Quirk::PlainDate => words::date(created),
        Quirk::ImpossibleDate => format!("13/45/21 {time}"),
        _ => format!("{} {time}", words::date(created)),
    };
    let modified = later(random.below(40));
    let activity = words::date(later(random.below(60)));
    let enrolled = random.between(5, 90).to_string();
    vec![
        if quirk == Quirk::NullSource { Value::Null } else { json!(source) },
        json!(if quirk == Quirk::OtherStatus { "Nurture" } else { status }),
        json!(if quirk == Quirk::Converted { "TRUE" } else { "FALSE" }),
        json!(created_date),
        json!(format!("{} {time}", words::date(modified))),
        words::sometimes(&activity, 2, random),
        Value::Null,
        words::sometimes(&activity, 9, random),
        Value::Null,
        Value::Null,
        words::sometimes("Stage 2", 4, random),
        json!(if quirk == Quirk::DateAsEnrollment { words::date(created) } else { enrolled }),
        words::sometimes("120", 3, random),
        Value::Null,
        Value::Null,
    ]
}
