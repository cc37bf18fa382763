//! A check as SQL that gives two columns: how many rows it is about, and an example as text. Pure.

use super::{Check, DataCheckConfig, Fresh, Rows, Severity, Wanted, wrong};
use crate::{
    operator::Failure,
    postgres::names::{Table, check_column, listed, literal, quoted},
};

/// A check in words and as SQL, its `:names` still in it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) sql: String,
    pub(super) wanted: Wanted,
    pub(super) severity: Severity,
}

/// All checks of a task, in their order.
pub(super) fn asked(table: &Table, config: &DataCheckConfig) -> Result<Vec<Asked>, Failure> {
    let from = match &config.condition {
        Some(condition) => format!("{} where (\n{condition}\n)", table.sql()),
        None => format!("{} where true", table.sql()),
    };
    let mut all = Vec::with_capacity(config.checks.len());
    for (place, check) in config.checks.iter().enumerate() {
        let setting = format!("checks[{place}]");
        for column in
            check.unique.iter().chain(&check.not_null).chain(check.fresh.as_ref().map(|fresh| &fresh.column))
        {
            check_column(&setting, column)?;
        }
        let mut asked = question(check, table, &from).ok_or_else(|| {
            wrong(format!("{setting}: say exactly one of rows, fresh, unique, not_null and sql"))
        })?;
        if let Some(Rows { min, max }) = check.rows
            && min.zip(max).map_or(min.or(max).is_none(), |(min, max)| min > max)
        {
            return Err(wrong(format!("{setting}.rows: say `min`, `max`, or both, the smaller one first")));
        }
        asked.name = check.name.clone().unwrap_or(asked.name);
        all.push(asked);
    }
    Ok(all)
}

fn question(check: &Check, table: &Table, from: &str) -> Option<Asked> {
    let severity = check.severity;
    let asked = |name: String, sql: String, wanted| Asked { name, sql, wanted, severity };
    match check {
        Check { rows: Some(rows), fresh: None, sql: None, unique, not_null, .. }
            if unique.is_empty() && not_null.is_empty() =>
        {
            let Rows { min, max } = *rows;
            Some(asked(
                "rows".into(),
                format!("select count(*), null from {from}"),
                Wanted::Between { min, max },
            ))
        }
        Check { rows: None, fresh: Some(fresh), sql: None, unique, not_null, .. }
            if unique.is_empty() && not_null.is_empty() =>
        {
            let Fresh { column, within, at } = fresh;
            let at =
                at.as_ref().map_or_else(|| "now()".to_owned(), |at| format!("{}::timestamptz", literal(at)));
            let (name, seconds) = (quoted(column), within.0.as_secs());
            let sql = format!(
                "select (coalesce(max({name}) < {at} - interval '{seconds} seconds', true))::int::bigint,
                        'the newest is of ' || coalesce(max({name})::text, 'no time: there is no row') from {from}"
            );
            Some(asked(format!("fresh {column}"), sql, Wanted::None))
        }
        Check { rows: None, fresh: None, sql: None, unique, not_null, .. }
            if !unique.is_empty() && not_null.is_empty() =>
        {
            let key = listed(unique.iter().map(String::as_str));
            let sql = format!(
                "select count(*), min(example) from (select row({key})::text as example from {from} group by {key}
                   having count(*) > 1) as twice"
            );
            Some(asked(format!("unique {}", unique.join(", ")), sql, Wanted::None))
        }
        Check { rows: None, fresh: None, sql: None, unique, not_null, .. }
            if unique.is_empty() && !not_null.is_empty() =>
        {
            let is_null: Vec<String> =
                not_null.iter().map(|name| format!("{} is null", quoted(name))).collect();
            let sql = format!(
                "select count(*), min(example) from (select row({}.*)::text as example from {from} and ({})) as lacking",
                quoted(table.name()),
                is_null.join(" or ")
            );
            Some(asked(format!("not_null {}", not_null.join(", ")), sql, Wanted::None))
        }
        Check { rows: None, fresh: None, sql: Some(sql), unique, not_null, .. }
            if unique.is_empty() && not_null.is_empty() =>
        {
            let sql = sql.trim().trim_end_matches(';');
            let sql = format!("select count(*), min(row(r.*)::text) from (\n{sql}\n) r");
            Some(asked("sql".into(), sql, Wanted::None))
        }
        _ => None,
    }
}
