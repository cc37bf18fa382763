//! What the fuzzers in `fuzz/` reach of the sandbox without a server: texts that pipelines and templates hold.

use crate::redshift::dialect;

/// The statements that a text of Redshift holds.
pub fn redshift_statements(sql: &str) -> usize {
    dialect::count(sql)
}

/// A statement of Redshift as Postgres runs it.
pub fn redshift(sql: &str) -> Result<String, String> {
    dialect::translate(sql, &[], "dev").map(|translated| translated.sql)
}
