//! Functions that Athena has not: those of `transform` alone.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::prelude::SessionContext;
use uuid::Uuid;

use super::Plain;

/// Their names.
pub(crate) const NAMES: [&str; 1] = ["uuid5"];

pub(super) fn register(context: &SessionContext) {
    let two = [DataType::Utf8, DataType::Utf8];
    context.register_udf(Plain::fixed("uuid5", &[&two], DataType::Utf8, uuid5));
}

/// `uuid5(namespace, name)`: the UUID that a name always has in a namespace (RFC 9562, section 5.5). The namespace is
/// `dns`, `url`, `oid`, `x500` or a UUID.
fn uuid5(arguments: &[ArrayRef]) -> Result<ArrayRef> {
    let (namespaces, names) = (arguments[0].as_string::<i32>(), arguments[1].as_string::<i32>());
    let ids = namespaces
        .iter()
        .zip(names)
        .map(|(namespace, name)| {
            let (Some(namespace), Some(name)) = (namespace, name) else { return Ok(None) };
            let namespace = match namespace {
                "dns" => Uuid::NAMESPACE_DNS,
                "url" => Uuid::NAMESPACE_URL,
                "oid" => Uuid::NAMESPACE_OID,
                "x500" => Uuid::NAMESPACE_X500,
                other => Uuid::parse_str(other).map_err(|_| {
                    DataFusionError::Execution(format!(
                        "uuid5: `{other}` is no namespace: write 'dns', 'url', 'oid', 'x500' or a UUID"
                    ))
                })?,
            };
            Ok(Some(Uuid::new_v5(&namespace, name.as_bytes()).to_string()))
        })
        .collect::<Result<StringArray>>()?;
    Ok(Arc::new(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(values.iter().copied().collect::<StringArray>())
    }

    #[test]
    fn a_name_has_one_uuid() {
        let url = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";
        let ids = uuid5(&[
            text(&[Some("url"), Some(url), Some("dns"), None]),
            text(&[
                Some("TELEPHONE_NUMBER+15555550100"),
                Some("TELEPHONE_NUMBER+15555550100"),
                None,
                Some("x"),
            ]),
        ]);
        let expected = Some("60fb89cc-d0a6-5580-bbc2-abef334b9f2a");
        assert_eq!(
            ids.unwrap().as_string::<i32>().iter().collect::<Vec<_>>(),
            [expected, expected, None, None]
        );
        let refused = uuid5(&[text(&[Some("web")]), text(&[Some("x")])]).unwrap_err().to_string();
        assert!(refused.contains("`web` is no namespace"), "{refused}");
    }
}
