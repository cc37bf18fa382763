//! Evaluates references, intrinsic functions and conditions.
//!
//! Names of resources follow from the template alone, so nothing needs to be made before it is referred to.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::resources;
use super::template::{Resource, Template};
use super::yaml::{Content, Node};
use super::{Problem, shape};
use crate::wire::CallContext;

/// Evaluates the nodes of one template.
pub(super) struct Evaluator<'a> {
    template: &'a Template,
    parameters: BTreeMap<String, Node>,
    stack: &'a str,
    cx: &'a CallContext,
    /// Names being worked out, to find circles.
    open: RefCell<Vec<String>>,
}

type Evaluated = Result<Node, Problem>;

impl<'a> Evaluator<'a> {
    /// An evaluator with the values of all parameters.
    pub(super) fn new(
        template: &'a Template,
        parameters: BTreeMap<String, Node>,
        stack: &'a str,
        cx: &'a CallContext,
    ) -> Self {
        Self { template, parameters, stack, cx, open: RefCell::new(Vec::new()) }
    }

    /// The stack's name.
    pub(super) fn stack(&self) -> &str {
        self.stack
    }

    /// The region in which things are made.
    pub(super) fn region(&self) -> &str {
        &self.cx.region
    }

    /// The account in which things are made.
    pub(super) fn account(&self) -> &str {
        &self.cx.account
    }

    /// A node with all functions in it replaced by their values.
    pub(super) fn evaluate(&self, node: &Node) -> Evaluated {
        let content = match &node.content {
            Content::Text { .. } | Content::Nothing => return Ok(node.clone()),
            Content::List(items) => {
                let items = items.iter().map(|item| self.evaluate(item)).collect::<Result<Vec<_>, _>>()?;
                Content::List(items.into_iter().filter(|item| item.content != Content::Nothing).collect())
            }
            Content::Map(pairs) => {
                if let [(name, argument)] = pairs.as_slice()
                    && (name == "Ref" || name.starts_with("Fn::"))
                {
                    return self.call(name, argument);
                }
                let mut evaluated = Vec::with_capacity(pairs.len());
                for (name, value) in pairs {
                    let value = self.evaluate(value)?;
                    if value.content != Content::Nothing {
                        evaluated.push((name.clone(), value));
                    }
                }
                Content::Map(evaluated)
            }
        };
        Ok(Node { line: node.line, content })
    }

    /// A node that must evaluate to a text.
    pub(super) fn text(&self, node: &Node) -> Result<String, Problem> {
        let value = self.evaluate(node)?;
        let text = value.as_text().map(str::to_owned);
        text.ok_or_else(|| Problem::new(node.line, "a text is wanted here"))
    }

    /// Whether a resource or output is wanted, by its `Condition`.
    pub(super) fn is_wanted(&self, node: &Node) -> Result<bool, Problem> {
        match node.get("Condition") {
            Some(name) => self.named_condition(name),
            None => Ok(true),
        }
    }

    /// The values of the outputs.
    pub(super) fn outputs(&self) -> Result<Map<String, Value>, Vec<Problem>> {
        let mut outputs = Map::new();
        let mut problems = Vec::new();
        for (name, node) in self.template.section("Outputs").map_err(|problem| vec![problem])? {
            match self.output(node) {
                Ok(Some(value)) => {
                    outputs.insert(name.clone(), value);
                }
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(outputs) } else { Err(problems) }
    }

    fn output(&self, node: &Node) -> Result<Option<Value>, Problem> {
        if !self.is_wanted(node)? {
            return Ok(None);
        }
        let value = node.get("Value").ok_or_else(|| Problem::new(node.line, "an output without a Value"))?;
        Ok(Some(shape::untyped(&self.evaluate(value)?)))
    }

    fn call(&self, name: &str, argument: &Node) -> Evaluated {
        match name {
            "Ref" => self.reference(argument),
            "Fn::GetAtt" => self.attribute_of(argument),
            "Fn::Sub" => self.substitute(argument),
            "Fn::Join" => self.join(argument),
            "Fn::Split" => self.split(argument),
            "Fn::Select" => self.select(argument),
            "Fn::If" => self.choose(argument),
            _ => Err(Problem::new(argument.line, format!("function {name} is not supported by the sandbox"))),
        }
    }

    fn reference(&self, argument: &Node) -> Evaluated {
        let name = argument.as_text().ok_or_else(|| Problem::new(argument.line, "Ref takes a name"))?;
        self.value_of(name, argument.line)
    }

    fn value_of(&self, name: &str, line: usize) -> Evaluated {
        if let Some(pseudo) = name.strip_prefix("AWS::") {
            return self.pseudo(pseudo, line);
        }
        if let Some(value) = self.parameters.get(name) {
            return Ok(Node { line, content: value.content.clone() });
        }
        let resource = self.resource(name, line)?;
        self.once(name, line, || resources::reference(self, &resource)).map(|text| Node::text(line, text))
    }

    fn pseudo(&self, name: &str, line: usize) -> Evaluated {
        let text = match name {
            "NoValue" => return Ok(Node { line, content: Content::Nothing }),
            "AccountId" => self.account(),
            "Region" => self.region(),
            "Partition" => "aws",
            "URLSuffix" => "amazonaws.com",
            "StackName" => self.stack,
            "StackId" => {
                let (region, account, stack) = (self.region(), self.account(), self.stack);
                let arn = format!("arn:aws:cloudformation:{region}:{account}:stack/{stack}/sandbox");
                return Ok(Node::text(line, arn));
            }
            _ => return Err(Problem::new(line, format!("AWS::{name} is not supported by the sandbox"))),
        };
        Ok(Node::text(line, text))
    }

    fn attribute_of(&self, argument: &Node) -> Evaluated {
        let line = argument.line;
        let parts = match &argument.content {
            Content::Text { text, .. } => {
                text.split_once('.').map(|(id, name)| (id.to_owned(), name.to_owned()))
            }
            Content::List(parts) => match parts.as_slice() {
                [id, name] => Some((id.as_text().unwrap_or_default().to_owned(), self.text(name)?)),
                _ => None,
            },
            _ => None,
        };
        let (id, name) =
            parts.ok_or_else(|| Problem::new(line, "Fn::GetAtt takes a resource and an attribute"))?;
        self.attribute(&id, &name, line)
    }

    fn attribute(&self, id: &str, name: &str, line: usize) -> Evaluated {
        let resource = self.resource(id, line)?;
        let value = self.once(id, line, || resources::attribute(self, &resource, name))?;
        value.map(|text| Node::text(line, text)).ok_or_else(|| {
            Problem::new(
                line,
                format!("attribute {name} of {} is not supported by the sandbox", resource.kind),
            )
        })
    }

    fn substitute(&self, argument: &Node) -> Evaluated {
        let line = argument.line;
        let (pattern, values) = match &argument.content {
            Content::Text { text, .. } => (text, None),
            Content::List(parts) => match parts.as_slice() {
                [pattern, values] => {
                    let Content::Text { text, .. } = &pattern.content else {
                        return Err(Problem::new(line, "Fn::Sub takes a text"));
                    };
                    (text, Some(values))
                }
                _ => return Err(Problem::new(line, "Fn::Sub takes a text, or a text and a mapping")),
            },
            _ => return Err(Problem::new(line, "Fn::Sub takes a text, or a text and a mapping")),
        };
        let mut result = String::new();
        let mut rest = pattern.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            result.push_str(before);
            let (name, tail) =
                after.split_once('}').ok_or_else(|| Problem::new(line, "a ${ without its }"))?;
            rest = tail;
            if let Some(literal) = name.strip_prefix('!') {
                result.push_str("${");
                result.push_str(literal);
                result.push('}');
                continue;
            }
            result.push_str(&self.substitution(name.trim(), values, line)?);
        }
        result.push_str(rest);
        Ok(Node::text(line, result))
    }

    fn substitution(&self, name: &str, values: Option<&Node>, line: usize) -> Result<String, Problem> {
        if let Some(value) = values.and_then(|values| values.get(name)) {
            return self.text(value);
        }
        let value = match name.split_once('.') {
            Some((id, attribute)) => self.attribute(id, attribute, line)?,
            None => self.value_of(name, line)?,
        };
        let text = value.as_text().map(str::to_owned);
        text.ok_or_else(|| Problem::new(line, format!("${{{name}}} is not a text")))
    }

    fn join(&self, argument: &Node) -> Evaluated {
        let wrong = || Problem::new(argument.line, "Fn::Join takes a separator and a list of texts");
        let Content::List(parts) = &argument.content else { return Err(wrong()) };
        let [separator, list] = parts.as_slice() else { return Err(wrong()) };
        let separator = self.text(separator)?;
        let Content::List(items) = self.evaluate(list)?.content else { return Err(wrong()) };
        let texts: Option<Vec<&str>> = items.iter().map(Node::as_text).collect();
        Ok(Node::text(argument.line, texts.ok_or_else(wrong)?.join(&separator)))
    }

    fn split(&self, argument: &Node) -> Evaluated {
        let wrong = || Problem::new(argument.line, "Fn::Split takes a separator and a text");
        let Content::List(parts) = &argument.content else { return Err(wrong()) };
        let [separator, text] = parts.as_slice() else { return Err(wrong()) };
        let (separator, text) = (self.text(separator)?, self.text(text)?);
        let items = text.split(&separator).map(|item| Node::text(argument.line, item)).collect();
        Ok(Node { line: argument.line, content: Content::List(items) })
    }

    fn select(&self, argument: &Node) -> Evaluated {
        let wrong =
            || Problem::new(argument.line, "Fn::Select takes an index and a list that is long enough");
        let Content::List(parts) = &argument.content else { return Err(wrong()) };
        let [index, list] = parts.as_slice() else { return Err(wrong()) };
        let index: usize = self.text(index)?.parse().map_err(|_| wrong())?;
        let Content::List(mut items) = self.evaluate(list)?.content else { return Err(wrong()) };
        if index < items.len() { Ok(items.swap_remove(index)) } else { Err(wrong()) }
    }

    fn choose(&self, argument: &Node) -> Evaluated {
        let wrong = || Problem::new(argument.line, "Fn::If takes a condition and two values");
        let Content::List(parts) = &argument.content else { return Err(wrong()) };
        let [name, yes, no] = parts.as_slice() else { return Err(wrong()) };
        let chosen = if self.named_condition(name)? { yes } else { no };
        self.evaluate(chosen)
    }

    fn named_condition(&self, name: &Node) -> Result<bool, Problem> {
        let text =
            name.as_text().ok_or_else(|| Problem::new(name.line, "a condition's name is wanted here"))?;
        let conditions = self.template.section("Conditions")?;
        let found = conditions.iter().find(|(known, _)| known == text);
        let (_, condition) =
            found.ok_or_else(|| Problem::new(name.line, format!("there is no condition {text}")))?;
        self.once(&format!("condition {text}"), name.line, || self.condition(condition))
    }

    fn condition(&self, node: &Node) -> Result<bool, Problem> {
        let wrong = || {
            Problem::new(
                node.line,
                "a condition is one of Fn::Equals, Fn::And, Fn::Or, Fn::Not and Condition",
            )
        };
        let Content::Map(pairs) = &node.content else { return Err(wrong()) };
        let [(function, argument)] = pairs.as_slice() else { return Err(wrong()) };
        if function == "Condition" {
            return self.named_condition(argument);
        }
        let Content::List(arguments) = &argument.content else { return Err(wrong()) };
        match (function.as_str(), arguments.as_slice()) {
            ("Fn::Equals", [one, other]) => Ok(self.text(one)? == self.text(other)?),
            ("Fn::Not", [one]) => Ok(!self.condition(one)?),
            ("Fn::And", all) => all.iter().try_fold(true, |sum, one| Ok(self.condition(one)? && sum)),
            ("Fn::Or", all) => all.iter().try_fold(false, |sum, one| Ok(self.condition(one)? || sum)),
            _ => Err(wrong()),
        }
    }

    fn resource(&self, id: &str, line: usize) -> Result<Resource<'a>, Problem> {
        let section = self.template.section("Resources")?;
        let found = section.iter().find(|(known, _)| known == id);
        let (logical_id, node) =
            found.ok_or_else(|| Problem::new(line, format!("there is no parameter or resource {id}")))?;
        let kind = node.get("Type").and_then(Node::as_text).unwrap_or_default();
        Ok(Resource { logical_id, kind, node })
    }

    /// Works something out, unless it is being worked out already.
    fn once<T>(
        &self,
        what: &str,
        line: usize,
        work: impl FnOnce() -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        if self.open.borrow().iter().any(|open| open == what) {
            return Err(Problem::new(line, format!("{what} refers to itself")));
        }
        self.open.borrow_mut().push(what.to_owned());
        let result = work();
        self.open.borrow_mut().pop();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(text: &str, key: &str) -> Result<Value, Problem> {
        let full = format!(
            "{text}\nResources:\n  B: {{Type: 'AWS::S3::Bucket', Properties: {{BucketName: !Sub '${{P}}-raw'}}}}\n  T: {{Type: 'AWS::SNS::Topic'}}\n"
        );
        let template = Template::parse(&full).unwrap();
        let parameters = template.parameters(&BTreeMap::new()).unwrap();
        let cx = CallContext::for_tests("", "");
        let evaluator = Evaluator::new(&template, parameters, "stack", &cx);
        let node =
            template.section("Metadata").unwrap().iter().find(|(name, _)| name == key).unwrap().1.clone();
        evaluator.evaluate(&node).map(|node| shape::untyped(&node))
    }

    const PARAMETERS: &str = "Parameters: {P: {Type: String, Default: cdr}, L: {Type: CommaDelimitedList, Default: 'a,b'}}\nConditions: {Yes: !Equals [!Ref P, cdr], No: !Not [!Condition Yes], Loop: !Not [!Condition Loop]}\n";

    #[test]
    fn functions_give_their_values() {
        let cases = [
            ("!Ref P", Value::from("cdr")),
            ("!Ref B", Value::from("cdr-raw")),
            ("!Ref T", Value::from("arn:aws:sns:us-east-1:000000000000:stack-T")),
            ("!GetAtt B.Arn", Value::from("arn:aws:s3:::cdr-raw")),
            ("!Sub 's3://${B}/x/${AWS::Region}/${!Kept}'", Value::from("s3://cdr-raw/x/us-east-1/${Kept}")),
            ("!Sub ['${A}-${P}', {A: !Ref B}]", Value::from("cdr-raw-cdr")),
            ("!Join ['/', [a, !Ref P]]", Value::from("a/cdr")),
            ("!Select [1, !Ref L]", Value::from("b")),
            ("!Select [0, !Split ['-', x-y]]", Value::from("x")),
            ("!If [No, 1, !Ref P]", Value::from("cdr")),
        ];
        for (text, expected) in cases {
            assert_eq!(
                evaluate(&format!("{PARAMETERS}Metadata: {{M: {text}}}"), "M"),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn no_value_removes_what_holds_it() {
        let value = evaluate(&format!("{PARAMETERS}Metadata: {{M: {{a: !Ref 'AWS::NoValue', b: 1}}}}"), "M");
        assert_eq!(value.unwrap(), serde_json::json!({ "b": 1 }));
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("!Ref Nope", "there is no parameter or resource Nope"),
            ("!GetAtt B.Size", "attribute Size of AWS::S3::Bucket"),
            ("!FindInMap [a, b, c]", "function Fn::FindInMap is not supported"),
            ("!If [Loop, a, b]", "condition Loop refers to itself"),
            ("!Sub '${P'", "a ${ without its }"),
            ("!Select [7, [a]]", "long enough"),
        ];
        for (text, expected) in cases {
            let problem = evaluate(&format!("{PARAMETERS}Metadata: {{M: {text}}}"), "M").unwrap_err();
            assert!(problem.message.contains(expected), "{text}: {}", problem.message);
        }
    }
}
