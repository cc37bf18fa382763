//! Hive types of the catalog and Arrow types of the engine.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, TimeUnit};

use super::EngineError;

/// Deepest nesting of a Hive type; deeper ones are refused instead of exhausting the stack.
const DEPTH_MAX: usize = 32;

/// The Arrow type in which the engine holds a Hive type.
pub fn arrow_type(hive: &str) -> Result<DataType, EngineError> {
    let mut parser = Parser { text: hive, rest: hive };
    let found = parser.data_type(0)?;
    if parser.rest.trim().is_empty() { Ok(found) } else { Err(parser.unknown()) }
}

/// The Hive type of an Arrow type, as a crawler or CTAS writes it into the catalog.
pub fn hive_type(arrow: &DataType) -> Result<String, EngineError> {
    Ok(match arrow {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "int".to_owned(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".to_owned(),
        DataType::Float16 | DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "binary".to_owned()
        }
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(_, _) => "timestamp".to_owned(),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) => {
            format!("decimal({p},{s})")
        }
        DataType::Dictionary(_, value) => hive_type(value)?,
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::FixedSizeList(item, _) => {
            format!("array<{}>", hive_type(item.data_type())?)
        }
        DataType::Struct(fields) => {
            let parts = fields
                .iter()
                .map(|field| Ok(format!("{}:{}", field.name().to_lowercase(), hive_type(field.data_type())?)))
                .collect::<Result<Vec<_>, EngineError>>()?;
            format!("struct<{}>", parts.join(","))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                format!("map<{},{}>", hive_type(fields[0].data_type())?, hive_type(fields[1].data_type())?)
            }
            _ => return Err(EngineError::Unsupported("this map type".to_owned())),
        },
        other => return Err(EngineError::Unsupported(format!("columns of type {other}"))),
    })
}

/// The Arrow type of a Hive `map`.
fn map_type(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn data_type(&mut self, depth: usize) -> Result<DataType, EngineError> {
        if depth > DEPTH_MAX {
            return Err(EngineError::Unsupported(format!("types nested deeper than {DEPTH_MAX}")));
        }
        let name = self.word();
        Ok(match name.as_str() {
            "string" | "varchar" | "char" => {
                self.numbers()?;
                DataType::Utf8
            }
            "tinyint" => DataType::Int8,
            "smallint" => DataType::Int16,
            "int" | "integer" => DataType::Int32,
            "bigint" | "long" => DataType::Int64,
            "float" | "real" => DataType::Float32,
            "double" => DataType::Float64,
            "boolean" => DataType::Boolean,
            "binary" | "varbinary" => DataType::Binary,
            "date" => DataType::Date32,
            "timestamp" => {
                self.numbers()?;
                DataType::Timestamp(TimeUnit::Millisecond, None)
            }
            "decimal" => {
                let numbers = self.numbers()?;
                let precision = numbers.first().copied().unwrap_or(10);
                let scale = numbers.get(1).copied().unwrap_or(0);
                match (u8::try_from(precision), i8::try_from(scale)) {
                    (Ok(precision @ 1..=38), Ok(scale)) if scale.unsigned_abs() <= precision => {
                        DataType::Decimal128(precision, scale)
                    }
                    _ => return Err(self.unknown()),
                }
            }
            "array" => {
                self.expect('<')?;
                let item = self.data_type(depth + 1)?;
                self.expect('>')?;
                DataType::List(Arc::new(Field::new_list_field(item, true)))
            }
            "map" => {
                self.expect('<')?;
                let key = self.data_type(depth + 1)?;
                self.expect(',')?;
                let value = self.data_type(depth + 1)?;
                self.expect('>')?;
                map_type(key, value)
            }
            "struct" => self.structure(depth)?,
            _ => return Err(self.unknown()),
        })
    }

    fn structure(&mut self, depth: usize) -> Result<DataType, EngineError> {
        self.expect('<')?;
        let mut fields = Vec::new();
        while !self.accept('>') {
            if !fields.is_empty() {
                self.expect(',')?;
            }
            let name = self.field_name()?;
            fields.push(Field::new(name, self.data_type(depth + 1)?, true));
        }
        Ok(DataType::Struct(Fields::from(fields)))
    }

    fn field_name(&mut self) -> Result<String, EngineError> {
        let Some((name, rest)) = self.rest.split_once(':') else { return Err(self.unknown()) };
        self.rest = rest;
        Ok(name.trim().trim_matches('`').to_lowercase())
    }

    fn word(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_lowercase()
    }

    /// The numbers in `(10,2)`, none if there is no parenthesis.
    fn numbers(&mut self) -> Result<Vec<u32>, EngineError> {
        let mut numbers = Vec::new();
        if self.accept('(') {
            while !self.accept(')') {
                self.accept(',');
                numbers.push(self.word().parse().map_err(|_| self.unknown())?);
            }
        }
        Ok(numbers)
    }

    fn accept(&mut self, wanted: char) -> bool {
        match self.rest.trim_start().strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), EngineError> {
        if self.accept(wanted) { Ok(()) } else { Err(self.unknown()) }
    }

    fn unknown(&self) -> EngineError {
        EngineError::Unsupported(format!("the column type `{}`", self.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_go_there_and_back() {
        for text in [
            "string",
            "tinyint",
            "smallint",
            "int",
            "bigint",
            "float",
            "double",
            "boolean",
            "binary",
            "date",
            "timestamp",
            "decimal(12,2)",
            "array<struct<a:string,b:array<bigint>>>",
            "map<string,double>",
        ] {
            assert_eq!(hive_type(&arrow_type(text).unwrap()).unwrap(), text);
        }
        assert_eq!(arrow_type("varchar(20)").unwrap(), DataType::Utf8);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in ["", "uuid", "array<int", "decimal(50,2)", "struct<a>", "int int", "decimal(x)"] {
            let error = arrow_type(text).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        let deep = "array<".repeat(100_000);
        assert!(arrow_type(&deep).is_err());
    }
}
