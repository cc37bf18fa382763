//! What settings may say. Pure: nothing outside is looked at, so what Redshift alone knows (tables, columns, types) is left
//! to it.

use super::{CopyFormat, CopyTable, RedshiftCopyConfig, Roles, plan::plain_name, wrong};
use crate::{
    aws::address::Address,
    load::{Partition, addresses, check_addresses, check_mode},
    operator::Failure,
    postgres::names::{Table, check_column},
    redshift,
};

/// The longest path into JSON that is taken: deeper than any record, shorter than a slip of the keyboard.
const PATH_BYTES_MAX: usize = 1_000;

/// Words of COPY that other settings say, or that would let a statement say less than it seems to.
const OWN_WORDS: [&str; 20] = [
    "FROM",
    "IAM_ROLE",
    "CREDENTIALS",
    "ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY",
    "SESSION_TOKEN",
    "REGION",
    "MANIFEST",
    "FORMAT",
    "JSON",
    "CSV",
    "PARQUET",
    "ORC",
    "AVRO",
    "FIXEDWIDTH",
    "SHAPEFILE",
    "IGNOREHEADER",
    "COMPUPDATE",
    "NOLOAD",
    "SSH",
];

/// Refuses settings that cannot be meant.
pub(super) fn check(config: &RedshiftCopyConfig) -> Result<(), Failure> {
    if config.tables.is_empty() {
        return Err(wrong("tables: name at least one".into()));
    }
    if !config.manifests.ends_with('/') {
        return Err(wrong(format!(
            "manifests: `{}` is no folder: write s3://bucket/folder/",
            config.manifests
        )));
    }
    Address::prefix(&config.manifests, "manifests")?;
    roles(&config.role)?;
    if let Some(region) = &config.region
        && !plain_name(region)
    {
        return Err(wrong(format!("region: `{region}` is no region: write it as eu-central-1")));
    }
    for (place, table) in config.tables.iter().enumerate() {
        one(config, table).map_err(|failure| {
            let message = format!("tables[{place}].{}", failure.message);
            Failure { message, ..failure }
        })?;
    }
    let conditions = config.tables.iter().filter(|table| table.condition.is_some()).count();
    if config.statements.is_empty() && conditions == 0 && !config.parameters.is_empty() {
        return Err(wrong("parameters: there are no `statements` and no `where` that could use them".into()));
    }
    if config.statements.is_empty() && config.fetch_rows.is_some() {
        return Err(wrong("fetch_rows: there are no `statements` that could return rows".into()));
    }
    redshift::check_fetch_rows(config.fetch_rows)
}

/// The roles of a chain, first the warehouse's own.
pub(super) fn roles(roles: &Roles) -> Result<Vec<&str>, Failure> {
    let chain: Vec<&str> = match roles {
        Roles::One(text) => text.split(',').map(str::trim).collect(),
        Roles::Chain(list) => list.iter().map(|text| text.trim()).collect(),
    };
    if chain == ["default"] {
        return Ok(chain);
    }
    let is_role = |text: &&str| {
        text.starts_with("arn:")
            && text.contains(":role/")
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || "'\"\\,".contains(c))
    };
    match chain.iter().find(|text| !is_role(text)) {
        Some(text) => Err(wrong(format!(
            "role: `{text}` is no role: write its ARN, as arn:aws:iam::123456789012:role/copy, or `default`"
        ))),
        None if chain.is_empty() => Err(wrong("role: name at least one".into())),
        None => Ok(chain),
    }
}

fn one(config: &RedshiftCopyConfig, table: &CopyTable) -> Result<(), Failure> {
    Table::read(&table.table, "table")?;
    check_addresses(&table.from)?;
    for address in addresses(&table.from).iter().filter(|address| address.ends_with('/')) {
        if config.manifests.starts_with(address.as_str()) {
            return Err(wrong(format!(
                "from: `manifests` lies below {address}: the lists would be read as data; write them elsewhere"
            )));
        }
    }
    check_mode(table.mode, &table.key, table.newest.as_deref(), &table.partition)?;
    if table.format == CopyFormat::Parquet && config.region.is_some() {
        return Err(wrong(
            "format: COPY reads parquet in the warehouse's own region only; leave `region` out, or bring the files there"
                .into(),
        ));
    }
    columns(table)?;
    for option in &table.options {
        check_option(option)?;
    }
    if let Some(condition) = &table.condition {
        check_condition(condition)?;
    }
    Ok(())
}

/// The columns that are named, which other settings rely on.
fn columns(table: &CopyTable) -> Result<(), Failure> {
    let paths = &table.json_paths;
    for (name, path) in paths {
        check_column("json_paths", name)?;
        if !path.starts_with("$.") && !path.starts_with("$[") || path.len() > PATH_BYTES_MAX {
            return Err(wrong(format!("json_paths.{name}: `{path}` is no path: write it as $.agent.id")));
        }
    }
    for (place, name) in table.columns.iter().enumerate() {
        check_column("columns", name)?;
        if table.columns[..place].contains(name) {
            return Err(wrong(format!("columns: `{name}` is there twice")));
        }
    }
    if !paths.is_empty() && table.format != CopyFormat::Json {
        return Err(wrong("json_paths: only `json` has paths; list the columns as `columns`".into()));
    }
    if !paths.is_empty() && !table.columns.is_empty() {
        return Err(wrong("columns: `json_paths` names them; leave `columns` out".into()));
    }
    let has = |name: &String| paths.contains_key(name) || table.columns.contains(name);
    if paths.is_empty() && table.columns.is_empty() {
        let why = if table.format != CopyFormat::Json {
            "columns go by their order in the files"
        } else if table.mode.is_keyed() {
            "one row for each key is chosen by them"
        } else if matches!(table.partition, Partition::Values(_)) && !table.partition.is_empty() {
            "those of `partition` are not among them"
        } else {
            return Ok(());
        };
        return Err(wrong(format!("columns: list them, or give `json_paths`: {why}")));
    }
    if let Some(name) = table.key.iter().chain(&table.newest).find(|name| !has(name)) {
        return Err(wrong(format!("columns: `{name}` is needed and not among them")));
    }
    match &table.partition {
        Partition::Values(values) => match values.keys().find(|name| has(name)) {
            Some(name) => Err(wrong(format!(
                "partition: `{name}` has a value here and is among the columns of the files; leave it out of one of them"
            ))),
            None => Ok(()),
        },
        Partition::Columns(names) => match names.iter().find(|name| !has(name)) {
            Some(name) => Err(wrong(format!("partition: `{name}` is not among the columns of the files"))),
            None => Ok(()),
        },
    }
}

fn check_option(option: &str) -> Result<(), Failure> {
    let bare = bare(option).map_err(|text| wrong(format!("options: `{option}` {text}")))?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = bare.split(|c: char| !is_word(c)).filter(|word| !word.is_empty());
    if bare.trim().is_empty() {
        return Err(wrong("options: one is empty".into()));
    }
    match words.find(|word| OWN_WORDS.contains(&word.to_uppercase().as_str())) {
        Some(word) => Err(wrong(format!(
            "options: `{option}`: {} is written by other settings of the task, or changes what COPY does; leave it out",
            word.to_uppercase()
        ))),
        None => Ok(()),
    }
}

fn check_condition(condition: &str) -> Result<(), Failure> {
    let bare = bare(condition).map_err(|text| wrong(format!("where: `{condition}` {text}")))?;
    let mut depth = 0_i32;
    for character in bare.chars() {
        depth += i32::from(character == '(') - i32::from(character == ')');
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Err(wrong(format!("where: `{condition}` has parentheses that do not belong together")));
    }
    if bare.trim().is_empty() {
        return Err(wrong("where: it is empty; leave it out".into()));
    }
    Ok(())
}

/// What stands outside of quotes, a blank in the place of each quoted text. The error goes on from the text itself.
fn bare(text: &str) -> Result<String, &'static str> {
    let mut bare = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match quote {
            // In Redshift a backslash in a text takes the next character as it is.
            Some('\'') if character == '\\' => drop(characters.next()),
            Some(open) if open == character => quote = None,
            Some(_) => {}
            None if matches!(character, '\'' | '"') => {
                quote = Some(character);
                // A name in quotes is something too.
                bare.push_str(if character == '"' { " x " } else { " 1 " });
            }
            None => bare.push(character),
        }
    }
    if quote.is_some() {
        return Err("has a quote that is not closed");
    }
    if bare.contains(';') {
        return Err("has a `;`: it is part of one statement");
    }
    if bare.contains("--") || bare.contains("/*") {
        return Err("has a comment, which would hide what follows it; leave it out");
    }
    Ok(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_says_one_thing_and_nothing_of_ours() {
        for fine in [
            "TRUNCATECOLUMNS",
            "TIMEFORMAT 'auto'",
            "null as '\\\\N'",
            "DELIMITER ';'",
            "DATEFORMAT AS 'it\\'s; json'",
        ] {
            check_option(fine).unwrap();
        }
        for (option, words) in [
            ("MAXERROR 5; DROP TABLE t", "has a `;`"),
            ("TIMEFORMAT 'auto", "not closed"),
            ("TRUNCATECOLUMNS -- ", "a comment"),
            ("region 'eu-west-1'", "REGION is written by other settings"),
            ("TRUNCATECOLUMNS iam_role default", "IAM_ROLE"),
            ("NOLOAD", "NOLOAD"),
            (" ", "one is empty"),
        ] {
            let failure = check_option(option).unwrap_err();
            assert!(failure.message.contains(words), "{option}: {}", failure.message);
        }
    }

    #[test]
    fn a_condition_stays_one() {
        for fine in ["agentid IS NOT NULL", "(a = ')' OR \"b\" > 1)", "note <> ';--'"] {
            check_condition(fine).unwrap();
        }
        for wrong in ["1 = 1) OR (1 = 1", "a = 'x", "a = 1; DELETE FROM t", "a /* b", "", "(a"] {
            assert!(check_condition(wrong).unwrap_err().message.starts_with("where: "), "{wrong}");
        }
    }
}
