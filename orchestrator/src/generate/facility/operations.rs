//! `source_3`: licensed operations of a third state.

use serde_json::{Value, json};

use super::{FacilitySpec, draw, slid, words};
use crate::generate::Random;

pub(super) const HEADER: [&str; 20] = [
    "Operation",
    "Agency Number",
    "Operation Name",
    "Address",
    "City",
    "State",
    "Zip",
    "County",
    "Phone",
    "Type",
    "Status",
    "Issue Date",
    "Capacity",
    "Email Address",
    "Facility ID",
    "Monitoring Frequency",
    "Infant",
    "Toddler",
    "Preschool",
    "School",
];

/// What is peculiar about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quirk {
    /// Nothing.
    None,
    /// Neither status nor date of issue, nor capacity and mail: two to the left from there on.
    TwoLeft,
    /// No address of mail.
    NoEmail,
    /// An address of mail that nobody can write to.
    InvalidEmail,
    /// A name with quotes that were never closed.
    StrayQuotes,
    /// Licensed in the last century.
    OldLicence,
    /// Takes nobody at the moment.
    NoAges,
    /// Fits nothing: no county, so everything behind it slid one left.
    NoCounty,
    /// Fits nothing: a word instead of the capacity.
    TextAsCapacity,
    /// Fits nothing: neither yes nor no.
    OddFlag,
}

const FIRST: [Quirk; 10] = [
    Quirk::None,
    Quirk::TwoLeft,
    Quirk::NoEmail,
    Quirk::InvalidEmail,
    Quirk::StrayQuotes,
    Quirk::OldLicence,
    Quirk::NoAges,
    Quirk::NoCounty,
    Quirk::TextAsCapacity,
    Quirk::OddFlag,
];
const USUAL: [Quirk; 10] = [
    Quirk::None,
    Quirk::None,
    Quirk::None,
    Quirk::None,
    Quirk::None,
    Quirk::NoEmail,
    Quirk::NoEmail,
    Quirk::OldLicence,
    Quirk::NoAges,
    Quirk::TwoLeft,
];
const MISFITS: [Quirk; 3] = [Quirk::NoCounty, Quirk::TextAsCapacity, Quirk::OddFlag];

/// The cells of one operation.
pub(super) fn row(_: &FacilitySpec, number: u64, random: &mut Random) -> Vec<Value> {
    let quirk = draw(&FIRST, &USUAL, &MISFITS, number, random);
    let name = match quirk {
        Quirk::StrayQuotes => "K\" Street Kites LLC\"".to_owned(),
        _ => words::facility_name(random),
    };
    let year = if quirk == Quirk::OldLicence { random.between(78, 99) } else { random.between(0, 24) };
    let mut cells = vec![
        json!(800_000 + number),
        Value::Null,
        json!(name),
        json!(words::street(random)),
        json!(words::city(random)),
        json!("TX"),
        json!(words::zip(75_000, random)),
        json!(words::county(random)),
        json!(words::phone("dashes", random)),
        json!(words::one(&["Licensed Center - Child Care Program", "Licensed Child-Care Home"], random)),
        json!("Full Permit"),
        json!(format!("{}/{}/{year:02}", random.between(1, 12), random.between(1, 28))),
        json!(random.between(6, 240)),
        json!(words::email(random)),
        json!((1_400_000 + number).to_string()),
        Value::Null,
    ];
    let flags: Vec<bool> = (0..4).map(|_| quirk != Quirk::NoAges && words::once_in(2, random)).collect();
    cells.extend(flags.into_iter().map(|yes| json!(if yes { "Y" } else { "N" })));
    match quirk {
        Quirk::TwoLeft => (cells[12], cells[13]) = (Value::Null, Value::Null),
        Quirk::NoEmail => cells[13] = Value::Null,
        Quirk::InvalidEmail => cells[13] = json!("nobody at example"),
        Quirk::TextAsCapacity => cells[12] = json!("unknown"),
        Quirk::OddFlag => cells[17] = json!("X"),
        _ => {}
    }
    slid(
        cells,
        match quirk {
            Quirk::TwoLeft => &[11, 12],
            Quirk::NoCounty => &[8],
            _ => &[],
        },
    )
}
