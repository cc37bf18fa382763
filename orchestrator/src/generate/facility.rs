//! Exports about child care facilities, as sales and three public registers deliver them: one file of JSON lines
//! each, in a folder of its own.
//!
//! The exports were spreadsheets whose cells slid left where a cell was empty, so header and value disagree from
//! row to row. Every known way of sliding is made here, and rows that slid in ways that nobody knows. Names are
//! invented, telephone numbers are from the ranges reserved for fiction, addresses of mail end in `example.com`.

mod credentials;
mod details;
mod leads;
mod operations;
mod words;

use jiff::{ToSpan, civil::Date};
use serde_json::{Map, Value};

use super::{GenerateError, Object, Random};

/// Rows of each file: a file of that many is some 100 MB, and is held in memory as a whole.
pub const COUNT_MAX: u64 = 100_000;
/// Days over which leads are created: ten years.
pub const DAYS_MAX: u32 = 3_660;

/// After the first round, one row in so many fits no layout; as often as in real exports, and a little more.
const MISFIT_RARITY: u64 = 40;

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FacilitySpec {
    /// Same seed, same bytes.
    pub seed: u64,
    /// How many rows each of the four files has. From 40 on every quirk occurs.
    pub count: u64,
    /// The first day on which a lead is created.
    pub from: Date,
    /// Over how many days leads are created.
    pub days: u32,
}

impl FacilitySpec {
    /// Refuses what is outside the limits, in words for people.
    pub fn check(&self) -> Result<(), GenerateError> {
        if self.count == 0 || self.count > COUNT_MAX {
            return Err(GenerateError::Spec(format!(
                "count {} is outside 1 to {COUNT_MAX}; each file is made in memory; give less",
                self.count
            )));
        }
        if self.days == 0 || self.days > DAYS_MAX {
            return Err(GenerateError::Spec(format!("days {} is outside 1 to {DAYS_MAX}", self.days)));
        }
        let end = self.from.checked_add(i64::from(self.days).days());
        if self.from.year() < 2000 || end.map_or(2_100, |end| end.year()) > 2_098 {
            return Err(GenerateError::Spec(format!(
                "from {} with {} days leaves 2000 to 2098; the files write years with two digits",
                self.from, self.days
            )));
        }
        Ok(())
    }

    /// A day on which a lead may be created.
    fn day(&self, random: &mut Random) -> Date {
        let offset = i64::try_from(random.below(u64::from(self.days))).unwrap_or(0);
        // `check` proved that the last day exists; a caller who skipped it stays on the first.
        self.from.checked_add(offset.days()).unwrap_or(self.from)
    }
}

/// How a row of one file is made from its number.
type MakeRow = fn(&FacilitySpec, u64, &mut Random) -> Vec<Value>;

/// A file: its folder, its header, how a row is made.
struct Export {
    folder: &'static str,
    header: &'static [&'static str],
    row: MakeRow,
}

const EXPORTS: [Export; 4] = [
    Export { folder: "salesforce_leads", header: &leads::HEADER, row: leads::row },
    Export { folder: "source_1", header: &credentials::HEADER, row: credentials::row },
    Export { folder: "source_2", header: &details::HEADER, row: details::row },
    Export { folder: "source_3", header: &operations::HEADER, row: operations::row },
];

/// The four files of a spec that passed [`FacilitySpec::check`], in a fixed order. A larger `count` only adds rows.
pub fn facility(spec: &FacilitySpec) -> impl Iterator<Item = Object> + use<> {
    let spec = spec.clone();
    EXPORTS.iter().zip(0..).map(move |(export, place)| {
        let mut body = String::new();
        for number in 0..spec.count {
            let mut random = Random::new(spec.seed, number * EXPORTS.len() as u64 + place);
            body.push_str(&line(export.header, (export.row)(&spec, number, &mut random)));
        }
        Object { key: format!("{0}/{0}.json", export.folder), body: body.into_bytes() }
    })
}

/// One row as a line. The exporter escapes slashes, which occur nowhere but in texts.
fn line(header: &[&str], cells: Vec<Value>) -> String {
    let row: Map<String, Value> = header.iter().map(|name| (*name).to_owned()).zip(cells).collect();
    format!("{}\n", Value::Object(row).to_string().replace('/', "\\/"))
}

/// The cells after those at `empty` (counted from 1, as in a spreadsheet) are gone and all behind them slid left.
fn slid(cells: Vec<Value>, empty: &[usize]) -> Vec<Value> {
    let width = cells.len();
    let kept = cells.into_iter().zip(1..).filter(|(_, place)| !empty.contains(place)).map(|(cell, _)| cell);
    kept.chain(std::iter::repeat(Value::Null)).take(width).collect()
}

/// What is peculiar about a row: each quirk once, in order, in the first rows; later one of the layouts that are
/// known (`usual`), and now and then one of those that fit nothing (`misfits`).
fn draw<Q: Copy>(first: &[Q], usual: &[Q], misfits: &[Q], number: u64, random: &mut Random) -> Q {
    let (common, odd, is_odd) = (random.bits(), random.bits(), random.below(MISFIT_RARITY) == 0);
    let pick = |from: &[Q], drawn: u64| {
        let place = usize::try_from(drawn % from.len().max(1) as u64).unwrap_or(0);
        from.get(place).copied()
    };
    let later = if is_odd { pick(misfits, odd) } else { pick(usual, common) };
    let early = usize::try_from(number).ok().and_then(|place| first.get(place)).copied();
    early.or(later).unwrap_or(first[0])
}

#[cfg(test)]
mod tests;
