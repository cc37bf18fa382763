//! `source_1`: the register of licences of one state. The only file whose cells stay in their places.

use jiff::civil::{Date, date};
use serde_json::{Value, json};

use super::{FacilitySpec, draw, slid, words};
use crate::generate::Random;

pub(super) const HEADER: [&str; 13] = [
    "Name",
    "Credential Type",
    "Credential Number",
    "Status",
    "Expiration Date",
    "Disciplinary Action",
    "Address",
    "State",
    "County",
    "Phone",
    "First Issue Date",
    "Primary Contact Name",
    "Primary Contact Role",
];

/// What is peculiar about a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quirk {
    /// Nothing.
    None,
    /// A number that begins with zeros.
    LeadingZeros,
    /// A number of three digits and two.
    ShortNumber,
    /// Two people in one cell.
    TwoContacts,
    /// No telephone.
    NoPhone,
    /// Fits nothing: no number, so everything behind it slid.
    NoNumber,
    /// Fits nothing: a day that is none.
    ImpossibleDate,
}

const FIRST: [Quirk; 7] = [
    Quirk::None,
    Quirk::LeadingZeros,
    Quirk::ShortNumber,
    Quirk::TwoContacts,
    Quirk::NoPhone,
    Quirk::NoNumber,
    Quirk::ImpossibleDate,
];
const USUAL: [Quirk; 7] = [
    Quirk::None,
    Quirk::None,
    Quirk::None,
    Quirk::None,
    Quirk::ShortNumber,
    Quirk::TwoContacts,
    Quirk::NoPhone,
];
const MISFITS: [Quirk; 2] = [Quirk::NoNumber, Quirk::ImpossibleDate];

/// The cells of one licence.
pub(super) fn row(_: &FacilitySpec, number: u64, random: &mut Random) -> Vec<Value> {
    let quirk = draw(&FIRST, &USUAL, &MISFITS, number, random);
    let kinds = [
        "CENTER",
        "CENTER",
        "CENTER",
        "GROUP CARE",
        "FAMILY CARE",
        "CENTER (PROVISIONAL)",
        "ACCOMMODATION",
        "PERMITS",
    ];
    let credential = match quirk {
        Quirk::LeadingZeros => format!("00{}-23", random.between(1, 9)),
        Quirk::ShortNumber => format!("{}-{:02}", random.between(100, 999), random.between(13, 23)),
        _ => format!("{}-{:02}", random.between(1_000, 3_646), random.between(13, 23)),
    };
    let expiry = day(date(2027, 1, 1), random);
    let issued = day(date(2013 + i16::try_from(random.below(11)).unwrap_or(0), 1, 1), random);
    let contact = format!("{} {}", words::first_name(random), words::last_name(random));
    let other = format!("{} {}", words::first_name(random), words::last_name(random));
    let cells = vec![
        json!(words::facility_name(random).to_uppercase()),
        json!(words::one(&kinds, random)),
        json!(credential),
        json!("Active"),
        json!(if quirk == Quirk::ImpossibleDate { "31/12/26".to_owned() } else { words::date(expiry) }),
        json!("N"),
        json!(format!("{} {} NV {}", words::street(random), words::city(random), words::zip(89_000, random))),
        json!("NV"),
        json!(words::county(random)),
        if quirk == Quirk::NoPhone { Value::Null } else { json!(words::phone("dashes", random)) },
        json!(words::date(issued)),
        json!(if quirk == Quirk::TwoContacts {
            format!("{contact} & {other}, Co-Directors")
        } else {
            contact
        }),
        json!(words::one(&["Director", "Owner", "Person in Charge", "Other"], random)),
    ];
    slid(cells, if quirk == Quirk::NoNumber { &[3] } else { &[] })
}

/// A day of the year that begins on `first`.
fn day(first: Date, random: &mut Random) -> Date {
    let month = i8::try_from(random.between(1, 12)).unwrap_or(1);
    Date::new(first.year(), month, i8::try_from(random.between(1, 28)).unwrap_or(1)).unwrap_or(first)
}
