//! What keeps the engine honest about Athena: SQL that Athena refuses, or that means something else there, is
//! refused by name.
//!
//! The engine's SQL is wider than Athena's. Here lie the lists of what both understand alike, the rewriting
//! of what Athena spells otherwise, and the names that Athena gives to a result's columns.

mod comparison;
mod rewrite;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, Distinct, Expr, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, UnaryOperator, Visit, Visitor, WildcardAdditionalOptions,
};

pub(super) use self::comparison::check_types;
pub(super) use self::rewrite::rewrite;
use super::EngineError;

/// Functions that mean the same in Athena and in the engine, after [`rewrite`].
const FUNCTIONS: [&str; 84] = [
    "abs",
    "acos",
    "approx_distinct",
    "arbitrary",
    "array_agg",
    "array_distinct",
    "array_max",
    "array_min",
    "array_sort",
    "asin",
    "atan",
    "avg",
    "bool_and",
    "bool_or",
    "cardinality",
    "cbrt",
    "ceil",
    "ceiling",
    "chr",
    "coalesce",
    "concat",
    "corr",
    "cos",
    "count",
    "count_if",
    "cume_dist",
    "current_date",
    "date",
    "date_add",
    "date_diff",
    "date_format",
    "date_parse",
    "date_trunc",
    "day",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "degrees",
    "dense_rank",
    "element_at",
    "exp",
    "first_value",
    "floor",
    "from_unixtime",
    "hour",
    "if",
    "lag",
    "last_value",
    "lead",
    "length",
    "ln",
    "log10",
    "log2",
    "lower",
    "lpad",
    "ltrim",
    "max",
    "min",
    "minute",
    "mod",
    "month",
    "nth_value",
    "ntile",
    "nullif",
    "percent_rank",
    "power",
    "quarter",
    "radians",
    "rank",
    "regexp_like",
    "replace",
    "reverse",
    "round",
    "row_number",
    "rpad",
    "rtrim",
    "second",
    "sign",
    "sin",
    "split_part",
    "sqrt",
    "starts_with",
    "stddev",
    "strpos",
];
/// The list above, continued.
const MORE_FUNCTIONS: [&str; 43] = [
    "array_join",
    "flatten",
    "from_iso8601_date",
    "from_iso8601_timestamp",
    "json_array_length",
    "json_extract",
    "json_extract_scalar",
    "json_format",
    "last_day_of_month",
    "map",
    "map_keys",
    "map_values",
    "regexp_count",
    "regexp_extract",
    "regexp_extract_all",
    "regexp_replace",
    "regexp_split",
    "split",
    "url_decode",
    "url_encode",
    "url_extract_fragment",
    "url_extract_host",
    "url_extract_parameter",
    "url_extract_path",
    "url_extract_port",
    "url_extract_protocol",
    "url_extract_query",
    "substr",
    "substring",
    "sum",
    "tan",
    "to_unixtime",
    "trim",
    "try",
    "upper",
    "var_pop",
    "var_samp",
    "stddev_pop",
    "stddev_samp",
    "variance",
    "week",
    "year",
    "every",
];

/// Refuses a query that Athena would not understand in the same way; `own` are functions besides Athena's.
pub(super) fn check(statement: &Parsed, own: &'static [&'static str]) -> Result<(), EngineError> {
    let Parsed::Statement(statement) = statement else {
        return Err(EngineError::Unsupported("statements other than queries here".to_owned()));
    };
    if !matches!(**statement, Statement::Query(_)) {
        return Err(EngineError::Unsupported(format!("this statement where a query is wanted: {statement}")));
    }
    match statement.visit(&mut Check { own }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The names of a query's columns as Athena shows them: aliases as they are written, `_col0` for nameless
/// expressions. `planned` are the engine's own names.
pub(super) fn names(statement: &Parsed, planned: &[String]) -> Vec<String> {
    let items = match statement {
        Parsed::Statement(statement) => match &**statement {
            Statement::Query(query) => projection(&query.body),
            _ => None,
        },
        _ => None,
    };
    let Some(items) = items else { return planned.to_vec() };
    let named = items.iter().filter(|item| !is_wildcard(item)).count();
    let wildcards = items.len() - named;
    // With several wildcards it cannot be told which columns come from which.
    if wildcards > 1 || (wildcards == 0 && named != planned.len()) || named > planned.len() {
        return planned.to_vec();
    }
    let mut names = Vec::with_capacity(planned.len());
    for item in items {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => names.push(alias.value.clone()),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => names.push(name.value.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                names.push(parts.last().map_or_else(String::new, |name| name.value.clone()));
            }
            item if is_wildcard(item) => {
                let expanded = planned.len() - named;
                names.extend(planned.iter().skip(names.len()).take(expanded).cloned());
            }
            _ => names.push(format!("_col{}", names.len())),
        }
    }
    names
}

fn is_wildcard(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

fn projection(body: &SetExpr) -> Option<&[SelectItem]> {
    match body {
        SetExpr::Select(select) => Some(&select.projection),
        SetExpr::Query(query) => projection(&query.body),
        SetExpr::SetOperation { left, .. } => projection(left),
        _ => None,
    }
}

struct Check {
    own: &'static [&'static str],
}

fn refuse(what: impl Into<String>) -> ControlFlow<EngineError> {
    ControlFlow::Break(EngineError::Unsupported(format!(
        "{}, which Athena does not know or takes otherwise",
        what.into()
    )))
}

impl Visitor for Check {
    type Break = EngineError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<EngineError> {
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return refuse("this clause after the query");
        }
        if !query.locks.is_empty() {
            return refuse("FOR UPDATE");
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<EngineError> {
        let odd = [
            (select.qualify.is_some(), "QUALIFY"),
            (select.top.is_some(), "TOP"),
            (select.into.is_some(), "SELECT INTO"),
            (select.exclude.is_some(), "EXCLUDE"),
            (select.prewhere.is_some(), "PREWHERE"),
            (!select.lateral_views.is_empty(), "LATERAL VIEW"),
            (!select.connect_by.is_empty(), "CONNECT BY"),
            (!select.cluster_by.is_empty(), "CLUSTER BY"),
            (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
            (!select.sort_by.is_empty(), "SORT BY"),
            (matches!(select.distinct, Some(Distinct::On(_))), "DISTINCT ON"),
            (matches!(select.group_by, GroupByExpr::All(_)), "GROUP BY ALL"),
            (select.projection.is_empty(), "SELECT without columns"),
        ];
        if let Some((_, name)) = odd.iter().find(|(found, _)| *found) {
            return refuse(*name);
        }
        for item in &select.projection {
            let options = match item {
                SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => Some(options),
                _ => None,
            };
            if options.is_some_and(changes_columns) {
                return refuse("SELECT * with EXCEPT, EXCLUDE, REPLACE or RENAME");
            }
        }
        grouped_by_alias(select)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<EngineError> {
        match factor {
            TableFactor::Table { args: Some(_), name, .. } => refuse(format!("the table function {name}")),
            TableFactor::Table { .. }
            | TableFactor::Derived { lateral: false, .. }
            | TableFactor::UNNEST { .. }
            | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            other => refuse(format!("`{other}` in FROM")),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<EngineError> {
        match expr {
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                let name = name.as_str();
                if FUNCTIONS.contains(&name) || MORE_FUNCTIONS.contains(&name) || self.own.contains(&name) {
                    return ControlFlow::Continue(());
                }
                ControlFlow::Break(EngineError::Unsupported(format!("the function {name} in Athena's SQL")))
            }
            // Athena takes the text out of a JSON value, where the engine would keep its quotes.
            Expr::Cast { expr, .. } if gives_json(expr) => {
                refuse("CAST of a JSON value; use json_extract_scalar")
            }
            Expr::Cast { kind: CastKind::DoubleColon, .. } => refuse("the cast `::`; write CAST(… AS …)"),
            Expr::Cast { kind: CastKind::SafeCast, .. } => refuse("SAFE_CAST; write TRY_CAST"),
            Expr::ILike { .. } => refuse("ILIKE"),
            Expr::SimilarTo { .. } => refuse("SIMILAR TO"),
            Expr::RLike { .. } => refuse("RLIKE; write regexp_like"),
            Expr::BinaryOp { op, .. } if !is_known(op) => refuse(format!("the operator {op}")),
            Expr::UnaryOp { op, .. }
                if !matches!(op, UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not) =>
            {
                refuse(format!("the operator {op}"))
            }
            Expr::Dictionary(_) | Expr::Map(_) => refuse("a map literal"),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn gives_json(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("json_extract"))
}

fn is_known(operator: &BinaryOperator) -> bool {
    matches!(
        operator,
        BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo
            | BinaryOperator::StringConcat
            | BinaryOperator::Gt
            | BinaryOperator::Lt
            | BinaryOperator::GtEq
            | BinaryOperator::LtEq
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::And
            | BinaryOperator::Or
    )
}

fn changes_columns(options: &WildcardAdditionalOptions) -> bool {
    options.opt_ilike.is_some()
        || options.opt_exclude.is_some()
        || options.opt_except.is_some()
        || options.opt_replace.is_some()
        || options.opt_rename.is_some()
}

/// Athena takes a name in GROUP BY for a column of the tables only, the engine also for an alias.
fn grouped_by_alias(select: &Select) -> ControlFlow<EngineError> {
    let GroupByExpr::Expressions(expressions, _) = &select.group_by else { return ControlFlow::Continue(()) };
    for grouped in expressions {
        let Expr::Identifier(name) = grouped else { continue };
        for item in &select.projection {
            let SelectItem::ExprWithAlias { expr, alias } = item else { continue };
            let same = alias.value.eq_ignore_ascii_case(&name.value);
            let itself = match expr {
                Expr::Identifier(column) => column.value.eq_ignore_ascii_case(&name.value),
                Expr::CompoundIdentifier(parts) => {
                    parts.last().is_some_and(|column| column.value.eq_ignore_ascii_case(&name.value))
                }
                _ => false,
            };
            if same && !itself {
                return refuse(format!(
                    "GROUP BY the alias {name}; repeat the expression or give its number"
                ));
            }
        }
    }
    ControlFlow::Continue(())
}
