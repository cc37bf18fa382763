//! Athena's functions that the engine lacks or understands otherwise.

mod dates;
mod json;
mod nested;
mod texts;
mod urls;

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use super::Plain;

pub(super) fn register(context: &SessionContext) {
    context.register_udf(Plain::variadic("concat", DataType::Utf8, DataType::Utf8, concat));
    dates::register(context);
    json::register(context);
    nested::register(context);
    texts::register(context);
    urls::register(context);
}

/// Unlike the engine's own, null if any argument is null.
#[expect(clippy::unnecessary_wraps, reason = "the engine calls all functions alike")]
fn concat(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let columns: Vec<&StringArray> = arguments.iter().map(|argument| argument.as_string::<i32>()).collect();
    let rows = columns.first().map_or(0, |column| column.len());
    let texts: StringArray = (0..rows)
        .map(|row| {
            columns
                .iter()
                .all(|column| column.is_valid(row))
                .then(|| columns.iter().map(|column| column.value(row)).collect::<String>())
        })
        .collect();
    Ok(Arc::new(texts))
}
