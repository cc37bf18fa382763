//! A template's sections and parameters.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Problem;
use super::yaml::{self, Content, Node};

/// Sections that are understood, or say nothing about what to make.
const SECTIONS: [&str; 7] = [
    "AWSTemplateFormatVersion",
    "Description",
    "Metadata",
    "Parameters",
    "Conditions",
    "Resources",
    "Outputs",
];

/// Attributes of a resource beside `Type` and `Properties` that are understood or have no effect here.
const ATTRIBUTES: [&str; 7] =
    ["Type", "Properties", "Condition", "DependsOn", "DeletionPolicy", "UpdateReplacePolicy", "Metadata"];

/// A parsed template.
#[derive(Debug)]
pub(super) struct Template {
    root: Node,
}

/// A resource as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resource<'a> {
    /// Its name in the template.
    pub logical_id: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// The whole of it.
    pub node: &'a Node,
}

impl Template {
    /// Parses a template and refuses sections that would be ignored.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let root = yaml::parse(text).map_err(|problem| vec![problem])?;
        let pairs = root.pairs("a template").map_err(|problem| vec![problem])?;
        let mut problems: Vec<Problem> = pairs
            .iter()
            .filter(|(name, _)| !SECTIONS.contains(&name.as_str()))
            .map(|(name, node)| {
                Problem::new(node.line, format!("section {name} is not supported by the sandbox"))
            })
            .collect();
        if !pairs.iter().any(|(name, _)| name == "Resources") {
            problems.push(Problem::new(1, "the template has no Resources"));
        }
        if problems.is_empty() { Ok(Self { root }) } else { Err(problems) }
    }

    /// The resources, in the order written.
    pub(super) fn resources(&self) -> Result<Vec<Resource<'_>>, Vec<Problem>> {
        let mut resources = Vec::new();
        let mut problems = Vec::new();
        for (logical_id, node) in self.section("Resources").map_err(|problem| vec![problem])? {
            match node.get("Type").and_then(Node::as_text) {
                Some(kind) => resources.push(Resource { logical_id, kind, node }),
                None => problems.push(Problem::new(node.line, format!("resource {logical_id} has no Type"))),
            }
            for (name, attribute) in node.pairs(logical_id).unwrap_or_default() {
                if !ATTRIBUTES.contains(&name.as_str()) {
                    problems.push(Problem::new(
                        attribute.line,
                        format!("resource {logical_id}: attribute {name} is not supported by the sandbox"),
                    ));
                }
            }
        }
        if problems.is_empty() { Ok(resources) } else { Err(problems) }
    }

    /// A section's entries; none if the section is not there.
    pub(super) fn section(&self, name: &str) -> Result<&[(String, Node)], Problem> {
        self.root.get(name).map_or(Ok(&[]), |section| section.pairs(name))
    }

    /// Each parameter's value: the given one, else the default.
    pub(super) fn parameters(
        &self,
        given: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Node>, Vec<Problem>> {
        let declared = self.section("Parameters").map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut values = BTreeMap::new();
        for (name, node) in declared {
            match parameter(name, node, given.get(name)) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let known: Vec<&str> = declared.iter().map(|(name, _)| name.as_str()).collect();
        for name in given.keys().filter(|name| !known.contains(&name.as_str())) {
            let known = known.join(", ");
            problems
                .push(Problem::new(1, format!("there is no parameter {name}; the template has: {known}")));
        }
        if problems.is_empty() { Ok(values) } else { Err(problems) }
    }
}

fn parameter(name: &str, node: &Node, given: Option<&Value>) -> Result<Node, Problem> {
    let kind = node.get("Type").and_then(Node::as_text).unwrap_or_default();
    let is_list = kind == "CommaDelimitedList" || kind.starts_with("List<");
    if !is_list && !matches!(kind, "String" | "Number") {
        return Err(Problem::new(
            node.line,
            format!(
                "parameter {name}: type {kind} is not supported by the sandbox; String, Number and CommaDelimitedList are"
            ),
        ));
    }
    let text = match given {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        Some(_) => {
            return Err(Problem::new(node.line, format!("parameter {name} must be a text or a number")));
        }
        None => match node.get("Default").map(|default| &default.content) {
            Some(Content::Text { text, .. }) => text.clone(),
            Some(Content::Nothing) => String::new(),
            _ => {
                return Err(Problem::new(node.line, format!("parameter {name} has no default and no value")));
            }
        },
    };
    if kind == "Number" && text.parse::<f64>().is_err() {
        return Err(Problem::new(node.line, format!("parameter {name}: {text:?} is not a number")));
    }
    if let Some(Content::List(allowed)) = node.get("AllowedValues").map(|allowed| &allowed.content) {
        let allowed: Vec<&str> = allowed.iter().filter_map(Node::as_text).collect();
        if !allowed.contains(&text.as_str()) {
            let allowed = allowed.join(", ");
            return Err(Problem::new(
                node.line,
                format!("parameter {name}: {text:?} is not one of {allowed}"),
            ));
        }
    }
    if is_list {
        let items = text.split(',').map(|item| Node::text(node.line, item.trim())).collect();
        return Ok(Node { line: node.line, content: Content::List(items) });
    }
    Ok(Node::text(node.line, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Parameters:\n  A: {Type: String, Default: x, AllowedValues: [x, y]}\n  N: {Type: Number}\nResources: {}\n";

    fn with(pairs: &[(&str, Value)]) -> Result<BTreeMap<String, Node>, Vec<Problem>> {
        let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Template::parse(TEXT).unwrap().parameters(&given)
    }

    #[test]
    fn parameters_take_given_values_or_defaults() {
        let values = with(&[("N", Value::from(5))]).unwrap();
        assert_eq!(values["A"].as_text(), Some("x"));
        assert_eq!(values["N"].as_text(), Some("5"));
    }

    #[test]
    fn all_problems_with_parameters_are_told() {
        let problems = with(&[("A", Value::from("z")), ("B", Value::from(1))]).unwrap_err();
        let text = format!("{problems:?}");
        assert!(text.contains("not one of x, y"), "{text}");
        assert!(text.contains("parameter N has no default"), "{text}");
        assert!(text.contains("there is no parameter B"), "{text}");
    }

    #[test]
    fn unknown_sections_are_refused() {
        let problems = Template::parse("Transform: AWS::Serverless\nResources: {}\n").unwrap_err();
        assert_eq!(problems[0], Problem::new(1, "section Transform is not supported by the sandbox"));
    }
}
