//! Functions that Athena spells otherwise than the engine, rewritten in the parsed statement.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    CaseWhen, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, VisitMut, VisitorMut,
};

use crate::EngineError;

/// Rewrites a checked statement.
pub(crate) fn rewrite(statement: &mut Parsed) -> Result<(), EngineError> {
    let Parsed::Statement(statement) = statement else { return Ok(()) };
    match statement.visit(&mut Rewrite) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewrite;

impl VisitorMut for Rewrite {
    type Break = EngineError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<EngineError> {
        if let Some(called) = substring(expr) {
            *expr = called;
        }
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.to_string().to_lowercase();
        let arguments = plain_arguments(function);
        let replaced = match (name.as_str(), arguments) {
            ("if", Some(arguments)) => match <[Expr; 3]>::try_from(arguments) {
                Ok([condition, yes, no]) => Some(case(condition, yes, Some(no))),
                Err(arguments) => match <[Expr; 2]>::try_from(arguments) {
                    Ok([condition, yes]) => Some(case(condition, yes, None)),
                    Err(_) => None,
                },
            },
            ("date", Some(arguments)) => one(arguments).map(|value| cast(CastKind::Cast, value)),
            ("try", Some(arguments)) => match one(arguments) {
                Some(Expr::Cast { expr, data_type, format, array, .. }) => {
                    Some(Expr::Cast { kind: CastKind::TryCast, expr, data_type, format, array })
                }
                _ => None,
            },
            _ => {
                rename(function, &name);
                return ControlFlow::Continue(());
            }
        };
        match replaced {
            Some(replaced) => {
                *expr = replaced;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(EngineError::Unsupported(format!(
                "{name} with these arguments in Athena's SQL"
            ))),
        }
    }
}

/// Functions that only have another name in the engine.
fn rename(function: &mut Function, name: &str) {
    let engine = match name {
        "array_join" => "array_to_string",
        "arbitrary" => "first_value",
        "every" => "bool_and",
        "count_if" => {
            // count_if(x) counts the rows for which x is true.
            if let Some([condition]) = plain_arguments(function).as_deref() {
                let one = Expr::value(datafusion::sql::sqlparser::ast::Value::Number("1".to_owned(), false));
                set_arguments(function, vec![case(condition.clone(), one, None)]);
            }
            "count"
        }
        _ => return,
    };
    function.name = ObjectName::from(vec![Ident::new(engine)]);
}

/// `substr` has a node of its own, for which the engine takes its own function, not the one
/// that counts as Trino does.
fn substring(expr: &Expr) -> Option<Expr> {
    let Expr::Substring { expr: text, substring_from: Some(from), substring_for, .. } = expr else {
        return None;
    };
    let arguments = [Some(text), Some(from), substring_for.as_ref()];
    let args = arguments
        .into_iter()
        .flatten()
        .map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr((**argument).clone())));
    let list = FunctionArgumentList { duplicate_treatment: None, args: args.collect(), clauses: Vec::new() };
    Some(Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new("substr")]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(list),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }))
}

fn one(arguments: Vec<Expr>) -> Option<Expr> {
    <[Expr; 1]>::try_from(arguments).ok().map(|[only]| only)
}

fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    list.args
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

fn set_arguments(function: &mut Function, arguments: Vec<Expr>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args =
            arguments.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    }
}

fn case(condition: Expr, yes: Expr, no: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: yes }],
        else_result: no.map(Box::new),
    }
}

fn cast(kind: CastKind, value: Expr) -> Expr {
    Expr::Cast { kind, expr: Box::new(value), data_type: DataType::Date, format: None, array: false }
}
