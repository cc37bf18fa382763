//! Invented names, places and numbers that the four files share.

use jiff::civil::Date;
use serde_json::{Value, json};

use crate::generate::Random;

const LAST_NAMES: [&str; 12] = [
    "Abernall",
    "Brookfen",
    "Castleby",
    "Dunmarrow",
    "Elverson",
    "Farrowick",
    "Glenhollow",
    "Hartsby",
    "Ibáñara",
    "Jorrow",
    "Kestrand",
    "Löwenau",
];
const FIRST_NAMES: [&str; 10] =
    ["Ada", "Bruno", "Clara", "Dario", "Esme", "Fitz", "Greta", "Hugo", "Inés", "Jonas"];
const FACILITIES: [&str; 10] = [
    "Little Oaks",
    "Bright Pebbles",
    "Tiny Harbor",
    "Maple Nest",
    "Sunny Meadow",
    "Blue Kite",
    "Acorn Hill",
    "Paper Boats",
    "First Lantern",
    "O'Hara's Garden",
];
const STREETS: [&str; 8] = [
    "Willow Bend Rd",
    "N Quarry St",
    "Old Mill Ln",
    "Fern Ct",
    "1/2 Harbor Ave",
    "Juniper Way",
    "SE 4th St",
    "Lantern Blvd Ste 3",
];
const CITIES: [&str; 8] = [
    "Harrow Falls",
    "Eastmere",
    "Pinewick",
    "Sable Creek",
    "North Alder",
    "Millbrae Point",
    "Dunhaven",
    "Otterford",
];
const COUNTIES: [&str; 5] = ["Alder", "Brightwater", "Cinder", "Dover", "Elk Hollow"];

/// One of the texts.
pub(super) fn one<'a>(of: &[&'a str], random: &mut Random) -> &'a str {
    let place = usize::try_from(random.below(of.len() as u64)).unwrap_or(0);
    of[place]
}

/// `true` once in so many.
pub(super) fn once_in(rarity: u64, random: &mut Random) -> bool {
    random.below(rarity) == 0
}

pub(super) fn last_name(random: &mut Random) -> &'static str {
    one(&LAST_NAMES, random)
}

pub(super) fn first_name(random: &mut Random) -> &'static str {
    one(&FIRST_NAMES, random)
}

pub(super) fn facility_name(random: &mut Random) -> String {
    format!("{} {}", one(&FACILITIES, random), one(&["Academy", "Child Care", "Learning Center"], random))
}

pub(super) fn street(random: &mut Random) -> String {
    format!("{} {}", random.between(1, 9_999), one(&STREETS, random))
}

pub(super) fn city(random: &mut Random) -> &'static str {
    one(&CITIES, random)
}

pub(super) fn county(random: &mut Random) -> &'static str {
    one(&COUNTIES, random)
}

/// A postal code of so many digits from `low` on.
pub(super) fn zip(low: u64, random: &mut Random) -> u64 {
    low + random.below(900)
}

/// The last four digits that are reserved for fiction, behind the exchange 555.
fn line_number(random: &mut Random) -> u64 {
    100 + random.below(100)
}

/// `(555) 555-0123` in one of the ways in which people write it.
pub(super) fn phone(pattern: &str, random: &mut Random) -> String {
    let (area, line) = (random.between(200, 999), line_number(random));
    match pattern {
        "dashes" => format!("{area}-555-{line:04}"),
        "dots" => format!("{area}.555.{line:04}"),
        "short" => format!("555-{line:04}"),
        "plus" => format!("+1{area}555{line:04}"),
        _ => format!("({area}) 555-{line:04}"),
    }
}

/// The same as a number of ten digits.
pub(super) fn phone_number(random: &mut Random) -> u64 {
    random.between(200, 999) * 10_000_000 + 5_550_000 + line_number(random)
}

/// An address that nobody has.
pub(super) fn email(random: &mut Random) -> String {
    format!("{}.{}@example.com", first_name(random).to_lowercase().replace('é', "e"), random.below(10_000))
}

/// `9/4/21`.
pub(super) fn date(day: Date) -> String {
    format!("{}/{}/{:02}", day.month(), day.day(), day.year().rem_euclid(100))
}

/// The text in one row of `rarity`, else null.
pub(super) fn sometimes(text: &str, rarity: u64, random: &mut Random) -> Value {
    if once_in(rarity, random) { json!(text) } else { Value::Null }
}
