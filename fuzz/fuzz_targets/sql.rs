//! SQL of pipelines on the sandbox: Redshift's as Postgres runs it, Athena's as the engine plans it.
#![no_main]

use std::sync::{Arc, LazyLock};

use datafusion::{execution::runtime_env::RuntimeEnv, prelude::SessionContext};
use libfuzzer_sys::fuzz_target;
use trunkline_query::{
    context::{AthenaQuery, Dialect, context},
    sql_text::{line_of, literal, statements, tokens},
};
use trunkline_sandbox::fuzzing::{redshift, redshift_statements};

static ATHENA: LazyLock<SessionContext> =
    LazyLock::new(|| context(Dialect::Trino, Arc::new(RuntimeEnv::default())));

fuzz_target!(|sql: &str| {
    let pieces = tokens(sql);
    assert_eq!(pieces.iter().map(|token| token.text).collect::<String>(), sql, "pieces are the whole");
    pieces.iter().for_each(|token| drop(token.content()));
    for statement in statements(sql) {
        assert!(!statement.text.is_empty() && sql[statement.at..].starts_with(statement.text));
        assert!(line_of(sql, statement.at) >= 1);
    }
    assert_eq!(tokens(&literal(sql)).len(), 1, "a text is one piece");
    redshift_sql(sql);
    let _ = AthenaQuery::read(&ATHENA, Dialect::Trino, sql);
});

/// One statement stays one, for the parser that cut it.
fn redshift_sql(sql: &str) {
    let count = redshift_statements(sql);
    match redshift(sql) {
        Ok(translated) => assert!(count > 0 && !translated.is_empty(), "{translated}"),
        Err(reason) => assert!(reason.starts_with("ERROR: "), "{reason}"),
    }
}
