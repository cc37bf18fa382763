//! What becomes of staged rows in their table, as SQL. Pure: texts from names.

use crate::postgres::names::{listed, literal, quoted};

use super::{Mode, Partition};
use crate::scalar::Parameter;

/// The order in which rows came, in a staging table.
pub(super) const ORDER: &str = "trunkline_order";

/// A column of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// As `format_type` writes it.
    pub(super) kind: String,
}

/// How staged rows go into a table.
#[derive(Debug)]
pub(super) struct Merge<'a> {
    /// The table, as SQL takes it.
    pub(super) table: &'a str,
    /// The staging table, likewise.
    pub(super) stage: &'a str,
    /// The columns that the data has, in the table's order; without those of the partition.
    pub(super) columns: &'a [Column],
    /// Columns of the partition, with the type of each.
    pub(super) partition: &'a [(Column, Parameter)],
    pub(super) key: &'a [String],
    pub(super) newest: Option<&'a str>,
}

/// One statement, and what its row count is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) counts: Counts,
    pub(super) sql: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    Deleted,
    Updated,
    Inserted,
}

impl Merge<'_> {
    /// The statements of a mode, in their order.
    pub(super) fn parts(&self, mode: Mode, by: &Partition) -> Vec<Part> {
        let deleted = |sql: String| Part { counts: Counts::Deleted, sql };
        let (table, stage) = (self.table, self.stage);
        match mode {
            Mode::Append => vec![self.insert("")],
            Mode::Replace => vec![deleted(format!("delete from {table}")), self.insert("")],
            Mode::InsertMissing => vec![self.insert(&self.missing())],
            Mode::Upsert | Mode::Merge => vec![self.update(), self.insert(&self.missing())],
            Mode::ReplacePartition => {
                let condition = match by {
                    Partition::Columns(columns) => {
                        let same = |name: &String| format!("t.{0} is not distinct from s.{0}", quoted(name));
                        let same = columns.iter().map(same).collect::<Vec<_>>().join(" and ");
                        format!("exists (select from {stage} s where {same})")
                    }
                    Partition::Values(_) => {
                        let same = |(column, value): &(Column, Parameter)| {
                            format!(
                                "t.{} is not distinct from {}",
                                quoted(&column.name),
                                constant(column, value)
                            )
                        };
                        self.partition.iter().map(same).collect::<Vec<_>>().join(" and ")
                    }
                };
                vec![deleted(format!("delete from {table} t where {condition}")), self.insert("")]
            }
        }
    }

    /// Counts rows that lack a value of the key.
    pub(super) fn without_key(&self) -> String {
        let is_null = |name: &String| format!("{} is null", quoted(name));
        let is_null = self.key.iter().map(is_null).collect::<Vec<_>>().join(" or ");
        format!("select count(*) from {} where {is_null}", self.stage)
    }

    /// The staged rows that count: of several with one key the newest, or the last.
    fn source(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        if self.key.is_empty() {
            return format!("(select {}, {ORDER} from {})", listed(names), self.stage);
        }
        let key = listed(self.key.iter().map(String::as_str));
        let newest =
            self.newest.map(|name| format!("{} desc nulls last, ", quoted(name))).unwrap_or_default();
        format!(
            "(select distinct on ({key}) {}, {ORDER} from {} order by {key}, {newest}{ORDER} desc)",
            listed(names),
            self.stage
        )
    }

    fn insert(&self, condition: &str) -> Part {
        let columns = self.columns.iter().map(|column| column.name.as_str());
        let constants = self.partition.iter();
        let names = listed(columns.clone().chain(constants.clone().map(|(column, _)| column.name.as_str())));
        let values: Vec<String> = columns
            .map(|name| format!("s.{}", quoted(name)))
            .chain(constants.map(|(column, value)| constant(column, value)))
            .collect();
        let sql = format!(
            "insert into {} ({names}) select {} from {} s{condition} order by s.{ORDER}",
            self.table,
            values.join(", "),
            self.source()
        );
        Part { counts: Counts::Inserted, sql }
    }

    fn missing(&self) -> String {
        format!(" where not exists (select from {} t where {})", self.table, self.same_key())
    }

    fn same_key(&self) -> String {
        let same = |name: &String| format!("t.{0} = s.{0}", quoted(name));
        self.key.iter().map(same).collect::<Vec<_>>().join(" and ")
    }

    /// Rows that would stay as they are, are not written.
    fn update(&self) -> Part {
        let set = self.columns.iter().filter(|column| !self.key.contains(&column.name));
        let assigned: Vec<String> =
            set.clone().map(|column| format!("{0} = s.{0}", quoted(&column.name))).collect();
        if assigned.is_empty() {
            // Nothing but the key: there is nothing that could differ. The column takes no other value.
            let sql = format!("update {} set {ORDER} = default where false", self.stage);
            return Part { counts: Counts::Updated, sql };
        }
        let compared = |side: &str| {
            let each = set.clone().map(|column| comparable(side, column));
            each.collect::<Vec<_>>().join(", ")
        };
        let newer = self.newest.map(|name| format!(" and (t.{0} is null or s.{0} > t.{0})", quoted(name)));
        let sql = format!(
            "update {} t set {} from {} s where {} and ({}) is distinct from ({}){}",
            self.table,
            assigned.join(", "),
            self.source(),
            self.same_key(),
            compared("t"),
            compared("s"),
            newer.unwrap_or_default()
        );
        Part { counts: Counts::Updated, sql }
    }
}

/// Values of `json` and `xml` cannot be compared; their texts can.
fn comparable(side: &str, column: &Column) -> String {
    let name = quoted(&column.name);
    match column.kind.as_str() {
        "json" | "xml" | "point" => format!("{side}.{name}::text"),
        _ => format!("{side}.{name}"),
    }
}

fn constant(column: &Column, value: &Parameter) -> String {
    let text = match value {
        Parameter::Boolean(value) => value.to_string(),
        Parameter::Integer(value) => value.to_string(),
        Parameter::Number(value) => value.to_string(),
        Parameter::Text(value) => value.clone(),
        Parameter::Null => return format!("null::{}", column.kind),
    };
    format!("{}::{}", literal(&text), column.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.into(), kind: kind.into() }
    }

    fn sql(mode: Mode, by: &Partition) -> String {
        let columns = [column("id", "integer"), column("note", "json"), column("seen", "timestamp")];
        let day = (column("day", "date"), Parameter::Text("2026-11-19".into()));
        let merge = Merge {
            table: "\"sale\"",
            stage: "stage",
            columns: &columns,
            partition: if matches!(by, Partition::Values(values) if !values.is_empty()) {
                &[day]
            } else {
                &[]
            },
            key: &["id".to_owned()],
            newest: (mode == Mode::Merge).then_some("seen"),
        };
        merge.parts(mode, by).into_iter().map(|part| part.sql).collect::<Vec<_>>().join(";\n")
    }

    #[test]
    fn only_the_newest_of_a_key_goes_in_and_only_over_what_is_older() {
        insta::assert_snapshot!(sql(Mode::Merge, &Partition::default()));
    }

    #[test]
    fn a_partition_is_emptied_and_filled() {
        let values = Partition::Values([("day".to_owned(), Parameter::Text("2026-11-19".into()))].into());
        let columns = Partition::Columns(vec!["id".into()]);
        let both =
            [sql(Mode::ReplacePartition, &values), sql(Mode::ReplacePartition, &columns)].join(";\n\n");
        insta::assert_snapshot!(both);
    }
}
