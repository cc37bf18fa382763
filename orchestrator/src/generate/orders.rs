//! The database of a shop that sells in bulk: eleven tables as a SQL script, which psql takes as it is.
//!
//! Round 0 makes the tables and fills them; each later round is what happens in a time after that: new orders, orders
//! that change, payments that arrive, an address that moves, a department that is renamed. Every peculiarity that the
//! pipeline must survive is in it, because one that was only tried on well-behaved rows is not tried: members of staff
//! without a department, a date that the calendar does not have, texts with apostrophes, postal codes with leading
//! zeros, two rows changed in the same millisecond, a currency that nobody planned for.

use std::fmt::Write as _;

use jiff::{
    Span,
    civil::{Date, DateTime},
};

use super::{GenerateError, Random};

/// Orders of one round: what the ids of the next round begin after.
pub const COUNT_MAX: u64 = 1_000_000;
/// Rounds: the ids of the last one are still integers of Postgres.
pub const ROUND_MAX: u64 = 2_000;
/// Days of a round.
pub const DAYS_MAX: u32 = 3_660;

/// Rows of one INSERT: a statement stays readable, and the server's memory small.
const ROWS_PER_INSERT: usize = 1_000;
const DEPARTMENTS: [(&str, &str, &str); 8] = [
    ("Sales", "Manchester", "Ada O'Hara"),
    ("Purchasing", "Manchester", "Bo Lind"),
    ("Production", "Leeds", "Chi Nwosu"),
    ("Dispatch", "Leds", "Dana Fox"),
    ("Finance", "Manchester", "Eli Moss"),
    ("Facilities", "Manchester", "Fay Reed"),
    ("Communications", "Leeds", "Gus Hart"),
    ("HR", "Leeds", "Hana Bell"),
];
const SURNAMES: [&str; 10] =
    ["O'Hara", "Lind", "Nwosu", "Fox", "Moss", "Reed", "Hart", "Bell", "Müller", "D'Arcy-Lowe"];
const FIRST_NAMES: [&str; 10] = ["Ada", "Bo", "Chi", "Dana", "Eli", "Fay", "Gus", "Hana", "Ivo", "June"];
const COUNTRIES: [&str; 6] = [
    "Bouvet Island (Bouvetoya)",
    "Cote d'Ivoire",
    "Norway",
    "United Kingdom",
    "Falkland Islands (Malvinas)",
    "Peru",
];
const DESIGNS: [&str; 12] = [
    "Wooden", "Bronze", "Soft", "Rubber", "Cotton", "Steel", "Granite", "Plastic", "Fresh", "Frozen",
    "Metal", "Concrete",
];
const PAYMENT_TYPES: [&str; 4] = ["SALES_RECEIPT", "SALES_REFUND", "PURCHASE_PAYMENT", "PURCHASE_REFUND"];

/// The tables, with the names and types that the pipeline's source has.
const TABLES: &str = include_str!("orders.sql");

/// What to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrdersSpec {
    /// Same seed, same bytes.
    pub seed: u64,
    /// Sales orders of the round; from 40 on every quirk occurs.
    pub count: u64,
    /// 0 fills an empty database, later ones change it.
    pub round: u64,
    /// The first day of the round.
    pub from: Date,
    /// How many days.
    pub days: u32,
}

impl OrdersSpec {
    /// Refuses what is outside the limits.
    pub fn check(&self) -> Result<(), GenerateError> {
        let wrong = |text: String| Err(GenerateError::Spec(text));
        if !(1..=COUNT_MAX).contains(&self.count) {
            return wrong(format!("--count {} is not between 1 and {COUNT_MAX}", self.count));
        }
        if self.round > ROUND_MAX {
            return wrong(format!("--round {} is more than {ROUND_MAX}", self.round));
        }
        if !(1..=DAYS_MAX).contains(&self.days) {
            return wrong(format!("--days {} is not between 1 and {DAYS_MAX}", self.days));
        }
        Ok(())
    }

    /// A moment of the round: the later the number among `of`, the later.
    fn moment(&self, number: u64, of: u64, random: &mut Random) -> DateTime {
        let milliseconds = u64::from(self.days) * 86_400_000;
        let slot = (milliseconds / of.max(1)).max(1);
        let at = (slot * number + random.below(slot)).min(milliseconds - 1);
        self.from
            .to_datetime(jiff::civil::time(0, 0, 0, 0))
            .saturating_add(Span::new().milliseconds(at.cast_signed()))
    }

    /// The first id of the round's orders.
    fn base(&self) -> u64 {
        self.round * COUNT_MAX
    }

    fn designs(&self) -> u64 {
        (self.count / 20).clamp(12, 250)
    }

    fn purchases(&self) -> u64 {
        self.count * 4 / 9
    }
}

/// The script, piece by piece: each is one or more whole statements.
pub fn orders(spec: &OrdersSpec) -> impl Iterator<Item = String> {
    let first = if spec.round == 0 { setting(spec) } else { changes(spec) };
    let start = spec.clone();
    let chunks = spec.count.div_ceil(ROWS_PER_INSERT as u64);
    std::iter::once(first).chain((0..chunks).map(move |chunk| {
        let first = chunk * ROWS_PER_INSERT as u64;
        business(&start, first, (first + ROWS_PER_INSERT as u64).min(start.count))
    }))
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn stamp(at: DateTime) -> String {
    format!("'{}'", at.strftime("%Y-%m-%d %H:%M:%S%.3f"))
}

fn insert(out: &mut String, table: &str, rows: &[String]) {
    for rows in rows.chunks(ROWS_PER_INSERT) {
        let _ = writeln!(out, "INSERT INTO {table} VALUES\n{}\nON CONFLICT DO NOTHING;", rows.join(",\n"));
    }
}

/// Tables, and what is there before the first order.
fn setting(spec: &OrdersSpec) -> String {
    let mut random = Random::new(spec.seed, 0);
    let mut out = TABLES.to_owned();
    // Rows of the beginning share one moment, as those of a bulk import do.
    let at = stamp(spec.from.to_datetime(jiff::civil::time(0, 0, 0, 0)));
    let times = format!("{at}, {at}");
    let rows =
        ["GBP", "USD", "EUR"].iter().enumerate().map(|(n, code)| format!("({}, '{code}', {times})", n + 1));
    insert(&mut out, "currency", &rows.collect::<Vec<_>>());
    let rows = DEPARTMENTS.iter().enumerate().map(|(n, (name, location, boss))| {
        format!("({}, {}, {}, {}, {times})", n + 1, text(name), text(location), text(boss))
    });
    insert(&mut out, "department", &rows.collect::<Vec<_>>());
    insert(&mut out, "address", &(1..=30).map(|id| address(id, &times, &mut random)).collect::<Vec<_>>());
    let rows = (1..=20).map(|id| {
        let (first, last) = (FIRST_NAMES[(id - 1) % 10], SURNAMES[(id * 7 + id / 10) % 10]);
        // Department 1 has nobody; the last member of staff is in none that there is.
        let department = if id == 20 { 99 } else { random.between(2, 8) };
        let mail = format!("{first}.{last}@example.com").to_lowercase();
        format!("({id}, {}, {}, {department}, {}, {times})", text(first), text(last), text(&mail))
    });
    insert(&mut out, "staff", &rows.collect::<Vec<_>>());
    let rows = (1..=20).map(|id| {
        let name = format!(
            "{}, {} and {}",
            SURNAMES[id % 10],
            SURNAMES[(id + 3) % 10],
            if id % 3 == 0 { "Sons" } else { "Co" }
        );
        let contact = if id % 4 == 0 { "NULL".to_owned() } else { text(FIRST_NAMES[id % 10]) };
        format!("({id}, {}, {}, {contact}, NULL, {times})", text(&name), random.between(1, 30))
    });
    insert(&mut out, "counterparty", &rows.collect::<Vec<_>>());
    let rows = (1..=spec.designs()).map(|id| {
        let name = DESIGNS[usize::try_from(random.below(12)).unwrap_or(0)];
        let file = format!(
            "{}-{}-{:04x}.json",
            name.to_lowercase(),
            spec.from.strftime("%Y%m%d"),
            random.below(65_536)
        );
        format!("({id}, {}, '/usr/share/designs/{id}', {}, {times})", text(name), text(&file))
    });
    insert(&mut out, "design", &rows.collect::<Vec<_>>());
    let rows = PAYMENT_TYPES.iter().enumerate().map(|(n, name)| format!("({}, '{name}', {times})", n + 1));
    insert(&mut out, "payment_type", &rows.collect::<Vec<_>>());
    out
}

fn address(id: u64, times: &str, random: &mut Random) -> String {
    let line_2 =
        if random.below(3) == 0 { text(&format!("Flat {}", random.between(1, 99))) } else { "NULL".into() };
    let district = if random.below(2) == 0 { text("Avon") } else { "NULL".into() };
    // Some begin with a zero, and some have a second part.
    let code = format!("{:05}", random.below(if id.is_multiple_of(7) { 9_999 } else { 99_999 }));
    let code = if id.is_multiple_of(3) { format!("{code}-{:04}", random.below(9_999)) } else { code };
    let country = COUNTRIES[usize::try_from(random.below(6)).unwrap_or(0)];
    format!(
        "({id}, {}, {line_2}, {district}, {}, '{code}', {}, '{} {:06}', {times})",
        text(&format!("{} St John's Road", random.between(1, 400))),
        text(&format!("Port {}", SURNAMES[usize::try_from(id % 10).unwrap_or(0)])),
        text(country),
        random.between(1_000, 1_999),
        random.below(999_999),
    )
}

/// What a round changes of what was there.
fn changes(spec: &OrdersSpec) -> String {
    let mut random = Random::new(spec.seed, spec.round);
    let mut out = String::new();
    let mut change = |statement: String| {
        let at = stamp(spec.moment(random.below(100), 100, &mut random.clone()));
        let pick = random.bits();
        let _ = writeln!(
            out,
            "{};",
            statement.replace("{at}", &at).replace("{pick}", &(pick % 19 + 1).to_string())
        );
    };
    change("UPDATE address SET address_line_1 = 'Round house', address_line_2 = NULL, last_updated = {at} WHERE address_id = {pick}".into());
    change(format!(
        "UPDATE department SET location = 'Leeds {}', last_updated = {{at}} WHERE department_id = {{pick}} % 8 + 1",
        spec.round
    ));
    change("UPDATE staff SET department_id = 2, last_updated = {at} WHERE staff_id = {pick}".into());
    change(format!(
        "UPDATE design SET design_name = 'Round {}', last_updated = {{at}} WHERE design_id = {{pick}} % 12 + 1",
        spec.round
    ));
    // A currency that the upstream of this shop did not plan for.
    change("INSERT INTO currency VALUES (4, 'JPY', {at}, {at}) ON CONFLICT DO NOTHING".into());
    // Orders change: more units; and two of them in the same millisecond.
    change("UPDATE sales_order SET units_sold = units_sold + 1, last_updated = {at} WHERE sales_order_id % 17 = {pick} % 17 AND sales_order_id % 1000000 < 200".into());
    change("UPDATE payment SET paid = true, last_updated = {at} WHERE NOT paid AND payment_id % 3 = {pick} % 3 AND payment_id % 1000000 < 200".into());
    if spec.round.is_multiple_of(2) {
        // Who had no department gets one: what was held back can come in.
        change("UPDATE staff SET department_id = 3, last_updated = {at} WHERE department_id = 99".into());
    }
    out
}

/// Orders from one number to another, with what belongs to them.
fn business(spec: &OrdersSpec, first: u64, end: u64) -> String {
    let (mut sales, mut purchases, mut transactions, mut payments) = (vec![], vec![], vec![], vec![]);
    for number in first..end {
        let mut random = Random::new(spec.seed ^ spec.round.rotate_left(32), 1_000 + number);
        let id = spec.base() + number + 1;
        // Ties: two orders of one millisecond.
        let at = spec.moment(
            number - u64::from(number % 97 == 96),
            spec.count,
            &mut Random::new(spec.seed, number / 97),
        );
        sales.push(sale(spec, number, id, at, &mut random));
        let moment = stamp(at);
        transactions.push(format!("({}, 'SALE', {id}, NULL, {moment}, {moment})", transaction(id, true)));
        payments.push(payment(spec, id, true, at, &mut random));
        if number < spec.purchases() {
            purchases.push(purchase(id, at, &mut random));
            transactions
                .push(format!("({}, 'PURCHASE', NULL, {id}, {moment}, {moment})", transaction(id, false)));
            payments.push(payment(spec, id, false, at, &mut random));
        }
    }
    let mut out = String::new();
    for (table, rows) in [
        ("sales_order", sales),
        ("purchase_order", purchases),
        ("transaction", transactions),
        ("payment", payments),
    ] {
        insert(&mut out, table, &rows);
    }
    out
}

/// Sales and purchases share one row of numbers: sales are the odd ones.
fn transaction(order: u64, is_sale: bool) -> u64 {
    order * 2 + u64::from(is_sale)
}

fn date_after(at: DateTime, days: u64) -> String {
    at.date().saturating_add(Span::new().days(days.cast_signed())).to_string()
}

fn sale(spec: &OrdersSpec, number: u64, id: u64, at: DateTime, random: &mut Random) -> String {
    let staff = if number % 40 == 9 { 20 } else { random.between(1, 19) };
    let delivery = date_after(at, random.between(1, 7));
    // A date that the calendar does not have.
    let delivery = if number % 400 == 23 { "2026-02-30".to_owned() } else { delivery };
    let currency = if spec.round > 0 && number % 40 == 11 { 4 } else { random.between(1, 3) };
    format!(
        "({id}, {0}, {0}, {1}, {staff}, {2}, {3}, {4}.{5:02}, {currency}, '{delivery}', '{6}', {7})",
        stamp(at),
        random.between(1, spec.designs().min(12)),
        random.between(1, 20),
        random.between(1_000, 99_999),
        random.between(2, 3),
        random.below(100),
        date_after(at, random.between(1, 7)),
        random.between(1, 30),
    )
}

fn purchase(id: u64, at: DateTime, random: &mut Random) -> String {
    format!(
        "({id}, {0}, {0}, {1}, {2}, 'ITEM{3:04}', {4}, {5}.{6:02}, {7}, '{8}', '{9}', {10})",
        stamp(at),
        random.between(1, 19),
        random.between(1, 20),
        random.below(10_000),
        random.between(1, 1_000),
        random.between(10, 900),
        random.below(100),
        random.between(1, 3),
        date_after(at, random.between(1, 7)),
        date_after(at, random.between(1, 7)),
        random.between(1, 30),
    )
}

fn payment(spec: &OrdersSpec, order: u64, is_sale: bool, at: DateTime, random: &mut Random) -> String {
    let paid = spec.round == 0 && random.below(10) < 6;
    // Exactly those that are paid were changed after they were made.
    let last = if paid { at.saturating_add(Span::new().seconds(1)) } else { at };
    let id = transaction(order, is_sale);
    format!(
        "({id}, {}, {}, {id}, {}, {}.{:02}, {}, {}, {paid}, '{}', {}, {})",
        stamp(at),
        stamp(last),
        random.between(1, 20),
        random.between(1, 300_000),
        random.below(100),
        random.between(1, 3),
        if is_sale { 1 } else { 3 },
        date_after(at, random.between(1, 7)),
        random.between(10_000_000, 99_999_999),
        random.between(10_000_000, 99_999_999),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(round: u64) -> OrdersSpec {
        OrdersSpec { seed: 7, count: 40, round, from: jiff::civil::date(2026, 11, 1), days: 2 }
    }

    #[test]
    fn the_same_seed_gives_the_same_script() {
        let script = |round| orders(&spec(round)).collect::<String>();
        assert_eq!(script(0), script(0));
        let shown: String = script(1).lines().take(14).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn the_committed_sample_is_what_is_generated() {
        let spec = OrdersSpec { seed: 1, days: 1, ..spec(0) };
        let sample = include_str!("../../../pipelines/warehouse_refresh/sample/orders-0.sql");
        assert_eq!(orders(&spec).collect::<String>(), sample);
    }

    #[test]
    fn what_is_outside_the_limits_is_refused() {
        for wrong in [
            OrdersSpec { count: 0, ..spec(0) },
            OrdersSpec { days: 0, ..spec(0) },
            OrdersSpec { round: ROUND_MAX + 1, ..spec(0) },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        spec(3).check().unwrap();
    }
}
