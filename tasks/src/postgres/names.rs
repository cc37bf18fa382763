//! Names of tables and columns as pipelines write them, and as SQL takes them.

use crate::operator::{ErrorClass, Failure};

/// The longest name that Postgres keeps (`NAMEDATALEN` - 1).
const NAME_BYTES_MAX: usize = 63;

/// A table, `schema.name` or a name that the search path finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    schema: Option<String>,
    name: String,
}

impl Table {
    /// Reads a table's name. `setting` is named in the complaint.
    pub(crate) fn read(text: &str, setting: &str) -> Result<Self, Failure> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if !is_name(name) || !schema.is_none_or(is_name) {
            let text = format!("{setting}: `{text}` names no table: write name or schema.name");
            return Err(Failure::new(ErrorClass::Config, text));
        }
        Ok(Self { schema: schema.map(str::to_owned), name: name.to_owned() })
    }

    /// Without its schema.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As SQL takes it.
    pub(crate) fn sql(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.name)),
            None => quoted(&self.name),
        }
    }
}

/// Whether a name can be one of a column or table: no quoting makes a control character or a dot readable.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && !text.chars().any(|c| c.is_control() || matches!(c, '.' | '"' | '\''))
}

/// Refuses what cannot be the name of a column.
pub(crate) fn check_column(setting: &str, text: &str) -> Result<(), Failure> {
    if is_name(text) {
        return Ok(());
    }
    Err(Failure::new(ErrorClass::Config, format!("{setting}: `{text}` names no column")))
}

/// A name in double quotes: exactly this one, whatever word it is.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names in double quotes, with commas between them.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// A text as SQL takes it. Only where no value can be bound, as in COPY.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_and_written() {
        assert_eq!(Table::read("public.sales_order", "table").unwrap().sql(), "\"public\".\"sales_order\"");
        assert_eq!(Table::read("Order", "table").unwrap().sql(), "\"Order\"");
        for wrong in ["", "a.b.c", "a.", "a\"b", "x\ny", &"n".repeat(64)] {
            let refused = Table::read(wrong, "tables").unwrap_err();
            assert!(refused.message.starts_with("tables: "), "{}", refused.message);
        }
        assert_eq!(literal("it's \\ here"), "E'it''s \\\\ here'");
    }
}
