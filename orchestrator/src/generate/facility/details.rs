//! `source_2`: homes and centers of another state, with their hours. Hardly a row whose cells are in their places.

use serde_json::{Value, json};

use super::{FacilitySpec, draw, slid, words};
use crate::generate::Random;

pub(super) const HEADER: [&str; 30] = [
    "Type License",
    "Company",
    "Accepts Subsidy",
    "Year Round",
    "Daytime Hours",
    "Star Level",
    "Mon",
    "Tues",
    "Wed",
    "Thurs",
    "Friday",
    "Saturday",
    "Sunday",
    "Primary Caregiver",
    "Phone",
    "Email",
    "Address1",
    "Address2",
    "City",
    "State",
    "Zip",
    "Subsidy Contract Number",
    "Total Cap",
    "Ages Accepted 1",
    "AA2",
    "AA3",
    "AA4",
    "License Monitoring Since",
    "School Year Only",
    "Evening Hours",
];

const BANDS: [&str; 4] = [
    "Infants (0-11 months)",
    "Toddlers (12-23 months; 1yr.)",
    "Preschool (24-48 months; 2-4 yrs.)",
    "School-age (5 years-older)",
];

/// What is peculiar about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quirk {
    /// No second line of the address: one to the left from there on.
    NoAddress2,
    /// No subsidy either: one to the left from there on, two from the address on.
    NoSubsidy,
    /// The same, where the place is closed for a part of the year.
    NoYearRound,
    /// All cells in their places.
    Complete,
    /// A second line of the address, but no subsidy.
    NoSubsidyButAddress2,
    /// Open day and night.
    DayAndNight,
    /// Fits nothing: neither subsidy nor year round.
    NoSubsidyNoYearRound,
    /// Fits nothing: hours one to the left although subsidy and year round are there.
    NoStars,
    /// Fits nothing: no mail.
    NoEmail,
}

const FIRST: [Quirk; 9] = [
    Quirk::NoAddress2,
    Quirk::NoSubsidy,
    Quirk::NoYearRound,
    Quirk::Complete,
    Quirk::NoSubsidyButAddress2,
    Quirk::DayAndNight,
    Quirk::NoSubsidyNoYearRound,
    Quirk::NoStars,
    Quirk::NoEmail,
];
const USUAL: [Quirk; 7] = [
    Quirk::NoAddress2,
    Quirk::NoAddress2,
    Quirk::NoAddress2,
    Quirk::NoSubsidy,
    Quirk::NoYearRound,
    Quirk::NoYearRound,
    Quirk::DayAndNight,
];
const MISFITS: [Quirk; 3] = [Quirk::NoSubsidyNoYearRound, Quirk::NoStars, Quirk::NoEmail];

/// The cells of one row.
pub(super) fn row(_: &FacilitySpec, number: u64, random: &mut Random) -> Vec<Value> {
    let quirk = draw(&FIRST, &USUAL, &MISFITS, number, random);
    let company = format!("{}, {}", words::last_name(random), words::first_name(random)).to_uppercase();
    let dba = words::facility_name(random).to_uppercase();
    let mut cells = vec![
        json!(format!("CHILD CARE FAMILY - K8200{:05}", random.below(100_000))),
        json!(if words::once_in(2, random) { format!("{company} DBA {dba}") } else { company }),
        json!("Accepts Subsidy"),
        json!("Year Round"),
        json!("Daytime Hours"),
        json!(words::one(&["One Star", "Two Star", "Three Star"], random)),
    ];
    cells.extend(hours(quirk, random));
    cells.extend(reach(random));
    let places: Vec<usize> = empty(quirk).to_vec();
    let (ages, missing) = ages(random);
    cells.extend(ages);
    // Ages that are not accepted slid away in some rows, and are null in others.
    let gone: Vec<usize> = places.into_iter().chain(missing).collect();
    slid(cells, &gone)
}

/// The places that slid away, but for the ages.
fn empty(quirk: Quirk) -> &'static [usize] {
    match quirk {
        Quirk::NoAddress2 | Quirk::DayAndNight => &[18],
        Quirk::NoSubsidy => &[3, 18],
        Quirk::NoYearRound => &[4, 18],
        Quirk::Complete => &[],
        Quirk::NoSubsidyButAddress2 => &[3],
        Quirk::NoSubsidyNoYearRound => &[3, 4, 18],
        Quirk::NoStars => &[6, 18],
        Quirk::NoEmail => &[16, 18],
    }
}

/// The seven days.
fn hours(quirk: Quirk, random: &mut Random) -> Vec<Value> {
    let usual = words::one(&["7:30AM - 5:30PM", "6:00AM - 6:00PM", "12:00PM - 11:30PM"], random);
    let weekend = words::once_in(4, random);
    (1..=7)
        .map(|day| match quirk {
            Quirk::DayAndNight => json!("12:00AM - 12:00AM"),
            _ if day <= 5 || (day == 6 && weekend) => json!(usual),
            _ => json!("CLOSED"),
        })
        .collect()
}

/// From the caregiver to the postal code.
fn reach(random: &mut Random) -> Vec<Value> {
    let name = format!("{} {}", words::first_name(random), words::last_name(random));
    let role = words::one(&["Primary Caregiver", "Director"], random);
    vec![
        json!(format!("{name}\n\n{role}")),
        json!(words::phone("brackets", random)),
        json!(words::email(random)),
        json!(words::street(random)),
        json!(format!("Apt {}", random.between(1, 40))),
        json!(words::city(random)),
        json!("OK"),
        json!(words::zip(73_000, random).to_string()),
    ]
}

/// From the contract to the end, and which of the places of ages slid away.
fn ages(random: &mut Random) -> (Vec<Value>, Vec<usize>) {
    let contract = if words::once_in(3, random) {
        "None".to_owned()
    } else {
        random.between(10_000, 99_999).to_string()
    };
    let (first, accepted) = (random.below(4), random.between(1, 4));
    let mut bands: Vec<Value> =
        BANDS.iter().zip(0..).filter(|(_, place)| *place >= first).map(|(band, _)| json!(band)).collect();
    bands.truncate(usize::try_from(accepted).unwrap_or(1));
    let missing = if words::once_in(2, random) { (24 + bands.len()..=27).collect() } else { Vec::new() };
    bands.resize(4, Value::Null);
    let month = random.between(1, 12);
    let mut cells =
        vec![json!(format!("Subsidy Contract Number: {contract}")), json!(random.between(5, 120))];
    cells.extend(bands);
    cells.push(json!(format!(
        "Monitoring since 20{:02}-{month:02}-{:02}",
        random.between(5, 24),
        random.between(1, 28)
    )));
    cells.push(Value::Null);
    cells.push(words::sometimes("Evening Hours", 6, random));
    (cells, missing)
}
