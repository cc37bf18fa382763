//! Athena's `element_at`, for arrays and maps.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, MapArray, UInt32Array, make_comparator,
};
use datafusion::arrow::compute::{SortOptions, cast, take};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;

pub(super) fn register(context: &SessionContext) {
    let signature = Signature::any(2, Volatility::Immutable);
    context.register_udf(ScalarUDF::new_from_impl(ElementAt { signature }));
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ElementAt {
    signature: Signature,
}

impl ScalarUDFImpl for ElementAt {
    fn name(&self) -> &'static str {
        "element_at"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match &arguments[0] {
            DataType::List(item) => Ok(item.data_type().clone()),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Ok(fields[1].data_type().clone()),
                other => Err(DataFusionError::Plan(format!("element_at: a map of {other}"))),
            },
            other => Err(DataFusionError::Plan(format!(
                "Unexpected parameters ({other}, {}) for function element_at. Expected: an array or a map",
                arguments[1]
            ))),
        }
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let whole = arguments.args[0].to_array(rows)?;
        let wanted = arguments.args[1].to_array(rows)?;
        let found = match whole.data_type() {
            DataType::Map(..) => of_maps(whole.as_map(), &wanted)?,
            _ => of_lists(whole.as_list::<i32>(), &wanted)?,
        };
        Ok(ColumnarValue::Array(found))
    }
}

/// Counts from 1, from the end where the index is negative; nothing beyond the ends.
fn of_lists(lists: &GenericListArray<i32>, wanted: &ArrayRef) -> Result<ArrayRef> {
    let wanted = cast(wanted, &DataType::Int64)?;
    let wanted = wanted.as_primitive::<Int64Type>();
    let places = (0..lists.len()).map(|row| {
        if lists.is_null(row) || wanted.is_null(row) {
            return Ok(None);
        }
        let length = i64::from(lists.value_length(row));
        let at = match wanted.value(row) {
            0 => {
                let text = "INVALID_FUNCTION_ARGUMENT: SQL array indices start at 1";
                return Err(DataFusionError::Execution(text.to_owned()));
            }
            index if index > 0 => index - 1,
            index => length + index,
        };
        let inside = (0..length).contains(&at);
        Ok(inside.then(|| u32::try_from(i64::from(lists.value_offsets()[row]) + at).unwrap_or_default()))
    });
    let places = places.collect::<Result<UInt32Array>>()?;
    Ok(take(lists.values(), &places, None)?)
}

/// The value of a key; nothing where the map has no such key.
fn of_maps(maps: &MapArray, wanted: &ArrayRef) -> Result<ArrayRef> {
    let wanted = cast(wanted, maps.keys().data_type())?;
    let compare = make_comparator(maps.keys(), &wanted, SortOptions::default())?;
    let offsets = maps.value_offsets();
    let places: UInt32Array = (0..maps.len())
        .map(|row| {
            if maps.is_null(row) || wanted.is_null(row) {
                return None;
            }
            let entries = usize::try_from(offsets[row]).ok()?..usize::try_from(offsets[row + 1]).ok()?;
            let found = entries.into_iter().find(|at| compare(*at, row).is_eq())?;
            u32::try_from(found).ok()
        })
        .collect();
    Ok(take(maps.values(), &places, None)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, ListArray};

    use super::*;

    #[test]
    fn indexes_count_from_both_ends() {
        let three = || Some(vec![Some(1), Some(2), Some(3)]);
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([three(), three(), three(), None]);
        let wanted: ArrayRef = Arc::new(Int64Array::from(vec![1, -1, 4, 1]));
        let found = of_lists(&lists, &wanted).unwrap();
        let found: Vec<_> = found.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(found, [Some(1), Some(3), None, None]);
        let zero: ArrayRef = Arc::new(Int64Array::from(vec![0, 1, 1, 1]));
        assert!(of_lists(&lists, &zero).is_err());
    }
}
