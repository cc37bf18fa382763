//! What the fuzzers in `fuzz/` reach of this crate that nobody else calls from outside: readers of texts and
//! bytes that people, programs and services write. Each hands on, and decides nothing.

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    aws::address::Address, command::output, load::records::Records, postgres::names, secrets::mark,
    sql::placeholders, step_function,
};

/// Bucket and key of an object's address.
pub fn object_address(text: &str) -> Option<(&str, &str)> {
    Address::object(text, "at").ok().map(|address| (address.bucket, address.key))
}

/// Bucket and beginning of keys.
pub fn prefix_address(text: &str) -> Option<(&str, &str)> {
    Address::prefix(text, "at").ok().map(|address| (address.bucket, address.key))
}

/// The ARN of an execution of the machine with this ARN, if it is one.
pub fn execution_of(machine: &str, name: &str) -> Option<String> {
    step_function::address::check_machine(machine).ok()?;
    step_function::address::execution(machine, name)
}

/// A table's name as SQL.
pub fn table(text: &str) -> Option<String> {
    names::Table::read(text, "table").ok().map(|table| table.sql())
}

/// A statement with numbers for its `:names`, and the names.
pub fn numbered(sql: &str) -> (String, Vec<String>) {
    placeholders::numbered(sql)
}

/// The marks of secrets in a value, as they are written.
pub fn marks(value: &Value) -> Vec<String> {
    mark::marks(value).iter().map(ToString::to_string).collect()
}

/// Puts a secret in the place of each mark.
pub fn replace_marks(value: &mut Value, secret: &str) {
    mark::replace(value, &|_| Some(secret.to_owned()));
}

/// What a program printed, as text, and how many of the bytes that were.
pub fn printed(bytes: &[u8]) -> (String, usize) {
    output::decode(bytes)
}

/// Rows of Postgres's COPY for records of JSON that come in two pieces.
pub fn copied(columns: &[&str], pieces: [&[u8]; 2]) -> Result<(Vec<u8>, u64), String> {
    let columns: IndexMap<_, _> =
        columns.iter().map(|name| ((*name).to_owned(), "text".to_owned())).collect();
    let mut records = Records::new(&columns);
    let mut rows = Vec::new();
    for piece in pieces {
        records.push(piece, &mut rows)?;
    }
    let count = records.count;
    records.end()?;
    Ok((rows, count))
}
