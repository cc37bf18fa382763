//! Paths into JSON as COPY knows them: names and numbers one below the other, nothing else.

use serde_json::Value;

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Name(String),
    Element(usize),
}

/// Reads a file of paths, one for each column.
pub(crate) fn read(content: &[u8], columns: usize) -> Result<Vec<Path>, String> {
    let file: Value = serde_json::from_slice(content).map_err(|error| format!("it is no JSON: {error}"))?;
    let paths = file["jsonpaths"].as_array().ok_or("it has no `jsonpaths`")?;
    if paths.len() != columns {
        return Err(format!(
            "Number of jsonpaths and the number of columns should match. JSONPath size: {}, Number of columns in table or column list: {columns}",
            paths.len()
        ));
    }
    paths
        .iter()
        .map(|path| {
            let text = path.as_str().unwrap_or_default();
            parse(text).ok_or_else(|| format!("Invalid JSONPath format: {text}"))
        })
        .collect()
}

fn parse(text: &str) -> Option<Path> {
    let mut rest = text.trim().strip_prefix('$')?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            parts.push(Part::Name(
                after.get(..end).filter(|name| !name.is_empty() && *name != "*")?.to_owned(),
            ));
            rest = &after[end..];
            continue;
        }
        let (inner, after) = rest.strip_prefix('[')?.split_once(']')?;
        let name = ['\'', '"'].iter().find_map(|quote| inner.strip_prefix(*quote)?.strip_suffix(*quote));
        parts.push(match name {
            Some(name) => Part::Name(name.to_owned()),
            None => Part::Element(inner.parse().ok()?),
        });
        rest = after;
    }
    (!parts.is_empty()).then_some(Path(parts))
}

impl Path {
    /// What it leads to in a record.
    pub(super) fn follow<'v>(&self, record: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(record, |value, part| match part {
            Part::Name(name) => value.get(name),
            Part::Element(at) => value.get(at),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let record = json!({ "Agent": { "Name s": [1, { "x": 2 }] } });
        for (path, expected) in [
            ("$.Agent['Name s'][0]", Some(json!(1))),
            ("$['Agent'][\"Name s\"][1].x", Some(json!(2))),
            ("$.Agent.Missing.Deeper", None),
        ] {
            assert_eq!(parse(path).unwrap().follow(&record).cloned(), expected, "{path}");
        }
        for wrong in ["", "$", "Agent", "$.", "$.*", "$[x]", "$.a[", "$..a"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let error = read(br#"{"jsonpaths":["$.a"]}"#, 2).unwrap_err();
        assert!(error.contains("JSONPath size: 1, Number of columns in table or column list: 2"), "{error}");
    }
}
