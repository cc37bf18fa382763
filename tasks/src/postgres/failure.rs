//! What Postgres refused, in its own words and as a class.

use sqlx::{
    Error,
    postgres::{PgDatabaseError, PgSeverity},
};

use crate::operator::{ErrorClass, Failure};

/// The failure that an error is.
pub(crate) fn of(error: &Error) -> Failure {
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
    let mut message = format!("{}: {}", severity(found), found.message());
    for (word, part) in [("", found.detail()), ("hint: ", found.hint()), ("in ", found.r#where())] {
        if let Some(part) = part {
            message.push_str(&format!("\n{word}{part}"));
        }
    }
    Failure::new(class(found.code()), message).with_code(found.code())
}

/// Too many connections, or S3 that asks us to slow down: that passes by itself. A full disk or a limit of memory does
/// not, and asking again without end would hide it.
pub(crate) fn passes(failure: &Failure) -> bool {
    failure.class == ErrorClass::Throttled || failure.code.as_deref() == Some("53300")
}

/// Whether the answer to COMMIT says that nothing was committed. A server that shuts down says its word also after
/// the commit, while it waits for a synchronous standby: that says nothing.
pub(crate) fn refuses_commit(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| says_no(&code))
}

fn says_no(code: &str) -> bool {
    matches!(code, "40001" | "40P01") || class(code) != ErrorClass::System
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

fn severity(error: &PgDatabaseError) -> &'static str {
    match error.severity() {
        PgSeverity::Panic => "PANIC",
        PgSeverity::Fatal => "FATAL",
        _ => "ERROR",
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

    #[test]
    fn a_server_that_goes_away_has_not_refused_a_commit() {
        for (code, expected) in
            [("57P01", false), ("58030", false), ("XX000", false), ("40001", true), ("23505", true)]
        {
            assert_eq!(says_no(code), expected, "{code}");
        }
    }

    #[test]
    fn only_too_many_connections_pass_by_themselves() {
        for (code, expected) in [("53300", true), ("53100", false), ("53200", false), ("42P01", false)] {
            let failure = Failure::new(class(code), "").with_code(code);
            assert_eq!(passes(&failure), expected, "{code}");
        }
    }
}
