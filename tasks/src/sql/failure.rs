//! What Postgres refused, in its own words and as a class.

use sqlx::{Error, postgres::PgDatabaseError};

use crate::operator::{ErrorClass, Failure};

/// The failure that an error is.
pub(super) fn of(error: &Error) -> Failure {
    let Some(found) = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    else {
        return match error {
            Error::Configuration(_) => {
                // It may hold the whole address, with its password.
                Failure::new(
                    ErrorClass::Config,
                    "url: it is no address such as postgresql://user:password@host/name",
                )
            }
            other => Failure::new(ErrorClass::System, format!("the database does not answer: {other}")),
        };
    };
    let mut message = format!("{}: {}", found.severity_word(), found.message());
    for (word, part) in [("", found.detail()), ("hint: ", found.hint()), ("in ", found.r#where())] {
        if let Some(part) = part {
            message.push_str(&format!("\n{word}{part}"));
        }
    }
    Failure::new(class(found.code()), message).with_code(found.code())
}

/// Whether the server certainly said no, so that nothing of the transaction was committed.
pub(super) fn is_refusal(error: &Error) -> bool {
    error.as_database_error().is_some()
}

/// The class of an SQLSTATE (Postgres's documentation, appendix A).
fn class(code: &str) -> ErrorClass {
    match code {
        "57014" => ErrorClass::Timeout,
        "55P03" | "40001" | "40P01" => ErrorClass::System,
        _ => match code.get(..2).unwrap_or_default() {
            "08" | "57" | "58" | "XX" => ErrorClass::System,
            "53" => ErrorClass::Capacity,
            // No such table, wrong syntax, not allowed, no such database.
            "28" | "3D" | "3F" | "42" | "0A" => ErrorClass::Config,
            _ => ErrorClass::Failed,
        },
    }
}

trait Severity {
    fn severity_word(&self) -> &'static str;
}

impl Severity for PgDatabaseError {
    fn severity_word(&self) -> &'static str {
        match self.severity() {
            sqlx::postgres::PgSeverity::Panic => "PANIC",
            sqlx::postgres::PgSeverity::Fatal => "FATAL",
            _ => "ERROR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_refusal_has_its_class() {
        for (code, expected) in [
            ("42P01", ErrorClass::Config),
            ("42501", ErrorClass::Config),
            ("28P01", ErrorClass::Config),
            ("23505", ErrorClass::Failed),
            ("22012", ErrorClass::Failed),
            ("40P01", ErrorClass::System),
            ("57P01", ErrorClass::System),
            ("57014", ErrorClass::Timeout),
            ("53300", ErrorClass::Capacity),
            ("P0001", ErrorClass::Failed),
        ] {
            assert_eq!(class(code), expected, "{code}");
        }
    }
}
