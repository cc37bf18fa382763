//! The run's arguments in a script: `:name` as a value, `${name}` inside texts and as names.

use std::collections::BTreeMap;

use trunkline_query::sql_text::{Kind, literal, tokens};

/// The values by the names that a script may use.
pub(super) fn values(arguments: &BTreeMap<String, String>, job: &str, run: &str) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> =
        arguments.iter().map(|(name, value)| (normal(name.trim_start_matches('-')), value.clone())).collect();
    values.insert("job_name".to_owned(), job.to_owned());
    values.insert("job_run_id".to_owned(), run.to_owned());
    values
}

/// Replaces the parameters of a statement.
pub(super) fn expand(statement: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(statement.len());
    for token in tokens(statement) {
        match token.kind {
            Kind::Parameter => out.push_str(&literal(value(values, &token.text[1..])?)),
            Kind::Text => out.push_str(&literal(&substitute(&token.content(), values, false)?)),
            Kind::Word if token.text.contains("${") => out.push_str(&substitute(token.text, values, true)?),
            Kind::Quoted if token.text.contains("${") => {
                return Err(format!("a parameter cannot stand in the quoted name {}", token.text));
            }
            _ => out.push_str(token.text),
        }
    }
    Ok(out)
}

/// Replaces each `${name}` of a text.
fn substitute(text: &str, values: &BTreeMap<String, String>, as_name: bool) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("${") {
        out.push_str(&rest[..begin]);
        let (name, after) = rest[begin + 2..]
            .split_once('}')
            .ok_or_else(|| format!("`{text}`: a }} is missing after ${{"))?;
        let found = value(values, name)?;
        if as_name && !is_identifier(found) {
            return Err(format!(
                "the argument --{name} stands as a name, and `{found}` is not one: use letters, digits and _"
            ));
        }
        out.push_str(found);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn value<'a>(values: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, String> {
    values.get(&normal(name)).map(String::as_str).ok_or_else(|| {
        let known: Vec<_> = values.keys().map(String::as_str).collect();
        format!("the run has no argument --{name}; it has {}", known.join(", "))
    })
}

fn normal(name: &str) -> String {
    name.trim().to_lowercase().replace('-', "_")
}

fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let arguments = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        values(&arguments, "etl", "jr_1")
    }

    #[test]
    fn values_are_never_text() {
        let values = given(&[("--date", "2026-11-19'; DROP"), ("--DEST-BUCKET", "b"), ("--table", "cdrs")]);
        assert_eq!(expand("SELECT :date, :job_name", &values).unwrap(), "SELECT '2026-11-19''; DROP', 'etl'");
        assert_eq!(expand("'s3://${dest_bucket}/${date}'", &values).unwrap(), "'s3://b/2026-11-19''; DROP'");
        assert_eq!(expand("FROM db.raw_${table} -- :x", &values).unwrap(), "FROM db.raw_cdrs -- :x");
    }

    #[test]
    fn refuses_what_would_be_read_as_sql() {
        let values = given(&[("--table", "a; DROP")]);
        assert!(expand("FROM ${table}", &values).unwrap_err().contains("is not one"));
        assert!(expand("FROM \"${table}\"", &values).is_err());
        assert!(expand("'${table'", &values).is_err());
        let unknown = expand("SELECT :dat", &values).unwrap_err();
        assert_eq!(unknown, "the run has no argument --dat; it has job_name, job_run_id, table");
    }
}
