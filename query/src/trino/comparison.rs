//! Comparisons of unlike types, which Athena refuses and the engine would convert.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};

use crate::EngineError;

/// Refuses a plan that compares values of unlike types. To be called before types are brought together.
pub(crate) fn check_types(plan: &LogicalPlan) -> Result<(), EngineError> {
    plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        if let LogicalPlan::TableScan(scan) = node {
            schema.merge(&scan.projected_schema);
        }
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                compared(expression, &schema)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn compared(expression: &Expr, schema: &DFSchema) -> Result<(), DataFusionError> {
    let type_of = |expression: &Expr| expression.get_type(schema).ok();
    match expression {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            like(type_of(&binary.left), binary.op, type_of(&binary.right))
        }
        Expr::InList(list) => {
            let left = type_of(&list.expr);
            list.list.iter().try_for_each(|item| like(left.clone(), Operator::Eq, type_of(item)))
        }
        Expr::Between(between) => {
            let left = type_of(&between.expr);
            like(left.clone(), Operator::GtEq, type_of(&between.low))?;
            like(left, Operator::LtEq, type_of(&between.high))
        }
        _ => Ok(()),
    }
}

fn is_comparison(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    )
}

#[derive(PartialEq)]
enum Class {
    Text,
    Number,
    Time,
    Boolean,
    Other,
}

fn like(left: Option<DataType>, operator: Operator, right: Option<DataType>) -> Result<(), DataFusionError> {
    let (Some(left), Some(right)) = (left, right) else { return Ok(()) };
    let (one, other) = (class_of(&left), class_of(&right));
    if one == other || one == Class::Other || other == Class::Other {
        return Ok(());
    }
    Err(DataFusionError::Plan(format!(
        "TYPE_MISMATCH: Cannot apply operator: {} {operator} {}",
        athena_name(&left),
        athena_name(&right)
    )))
}

fn class_of(data_type: &DataType) -> Class {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Class::Text,
        DataType::Boolean => Class::Boolean,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Class::Time,
        other if other.is_numeric() => Class::Number,
        _ => Class::Other,
    }
}

fn athena_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        other => crate::types::hive_type(other).unwrap_or_else(|_| other.to_string()),
    }
}
