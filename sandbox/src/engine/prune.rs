//! Choosing partitions: predicates over partition keys, evaluated on the partitions' values.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionContext;
use trunkline_query::EngineError;
use trunkline_query::context::bare_context;
use trunkline_query::types::arrow_type;

use crate::catalog::Column;

/// For each row of values whether the expression holds; null counts as no.
pub(crate) fn partitions_matching(
    expression: &str,
    keys: &[Column],
    values: &[Vec<String>],
) -> Result<Vec<bool>, EngineError> {
    let keys = keys
        .iter()
        .map(|key| Ok((key.name.clone(), arrow_type(&key.hive_type)?)))
        .collect::<Result<Vec<_>, EngineError>>()?;
    let rows: Vec<Vec<Option<String>>> =
        values.iter().map(|row| row.iter().cloned().map(Some).collect()).collect();
    matching(&bare_context(), expression, &keys, &rows)
}

/// The same with an existing context, whose functions the expression may use.
pub(super) fn matching(
    context: &SessionContext,
    expression: &str,
    keys: &[(String, DataType)],
    rows: &[Vec<Option<String>>],
) -> Result<Vec<bool>, EngineError> {
    let batch = batch_of(keys, rows)?;
    let schema = DFSchema::try_from(batch.schema().as_ref().clone())?;
    let parsed = context.parse_sql_expr(expression, &schema)?;
    let physical = context.create_physical_expr(parsed, &schema)?;
    Ok(evaluate(&*physical, &batch)?)
}

/// For each row of values whether all filters hold.
pub(super) fn matching_filters(
    filters: &[Expr],
    create: impl Fn(Expr, &DFSchema) -> Result<Arc<dyn PhysicalExpr>, DataFusionError>,
    keys: &[(String, DataType)],
    rows: &[Vec<Option<String>>],
) -> Result<Vec<bool>, DataFusionError> {
    let batch = batch_of(keys, rows)?;
    let schema = DFSchema::try_from(batch.schema().as_ref().clone())?;
    let mut kept = vec![true; rows.len()];
    for filter in filters {
        // A filter names columns by the table's alias; here there is only one table.
        let physical = create(unqualified(filter)?, &schema)?;
        for (kept, holds) in kept.iter_mut().zip(evaluate(&*physical, &batch)?) {
            *kept &= holds;
        }
    }
    Ok(kept)
}

fn unqualified(filter: &Expr) -> Result<Expr, DataFusionError> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let rewritten = filter.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(datafusion::common::Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(rewritten.data)
}

fn batch_of(
    keys: &[(String, DataType)],
    rows: &[Vec<Option<String>>],
) -> Result<RecordBatch, DataFusionError> {
    let fields: Vec<_> =
        keys.iter().map(|(name, data_type)| Field::new(name, data_type.clone(), true)).collect();
    let arrays = keys
        .iter()
        .enumerate()
        .map(|(at, (_, data_type))| {
            let texts: StringArray = rows.iter().map(|row| row.get(at).cloned().flatten()).collect();
            cast(&texts, data_type).map_err(DataFusionError::from)
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?)
}

fn evaluate(expression: &dyn PhysicalExpr, batch: &RecordBatch) -> Result<Vec<bool>, DataFusionError> {
    let result = expression.evaluate(batch)?.into_array(batch.num_rows())?;
    let result = cast(&result, &DataType::Boolean)?;
    let result = result.as_boolean();
    Ok((0..result.len()).map(|at| result.is_valid(at) && result.value(at)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluates_push_down_predicates() {
        let keys = [Column::new("year", "string"), Column::new("n", "int")];
        let values: Vec<Vec<String>> = [["2025", "9"], ["2026", "10"], ["2026", "x"]]
            .iter()
            .map(|row| row.map(str::to_owned).to_vec())
            .collect();
        let ask = |expression: &str| partitions_matching(expression, &keys, &values);
        assert_eq!(ask("year == '2026' and n == 10").unwrap(), [false, true, false]);
        assert_eq!(ask("n > 9").unwrap(), [false, true, false]);
        assert_eq!(ask("year IN ('2025')").unwrap(), [true, false, false]);
        assert_eq!(ask("year = substr('2026-11-19', 1, 4)").unwrap(), [false, true, true]);
        assert!(ask("nonsense = 1").is_err());
        assert!(ask("year = ").is_err());
    }
}
