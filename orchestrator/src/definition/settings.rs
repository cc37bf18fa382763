//! A task's own settings: checked against the operator's JSON Schema, with every mistake at its
//! place, and turned into JSON with templates unrendered.
//!
//! The schema is what `schemars` writes for a serde struct; [`convert`] reads that much of JSON
//! Schema and no more. A text with a template fits every type: its value is known later.

use std::ops::Range;

use serde_json::{Map, Value};

use super::{
    diagnostic::SourceId,
    reader::{Reader, shorten},
    scalar::Core,
    suggest::did_you_mean,
    template::is_template,
    tree::{Kind, Mapping, Node, Scalar},
};

/// A text with templates and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The file.
    pub(crate) source: SourceId,
    /// The place in it.
    pub(crate) span: Range<usize>,
    /// The scalar, for the way back from the text to the place; `None` for a file's whole text.
    pub(crate) scalar: Option<Scalar>,
    /// The text, if it is a file's.
    pub(crate) text: String,
    /// Whether a secret may stand here.
    pub(crate) secrets: bool,
    /// Whether it is rendered for each element of a mapped task.
    pub(crate) element: bool,
}

impl Site {
    /// The site of a scalar, if its text holds a template.
    pub(crate) fn of(source: SourceId, node: &Node) -> Option<Self> {
        let scalar = node.as_scalar().filter(|scalar| is_template(&scalar.text))?;
        let (span, text) = (node.span.clone(), scalar.text.clone());
        Some(Self { source, span, scalar: Some(scalar.clone()), text, secrets: false, element: false })
    }
}

/// Reads settings.
pub(crate) struct Settings<'a> {
    /// Where mistakes go.
    pub(crate) reader: &'a mut Reader,
    /// The root schema, for references inside it.
    pub(crate) schema: &'a Value,
    /// The texts with templates so far.
    pub(crate) sites: Vec<Site>,
}

/// The schema of values that nothing is said about.
static ANY: Value = Value::Bool(true);

impl<'a> Settings<'a> {
    /// Checks the mapping, leaving out `skipped` keys, and turns it into JSON. `owner` is what
    /// the settings belong to, for messages.
    pub(crate) fn object(
        &mut self,
        mapping: &Mapping,
        schema: &'a Value,
        owner: (&str, &Range<usize>),
        skipped: &dyn Fn(&str) -> bool,
    ) -> Value {
        let schema = self.resolve(schema);
        let properties = schema.get("properties").and_then(Value::as_object);
        let extra = schema.get("additionalProperties");
        let mut object = Map::new();
        for entry in mapping.entries.iter().filter(|entry| !skipped(&entry.key)) {
            if is_template(&entry.key) {
                let diagnostic = self
                    .reader
                    .error(&entry.key_span, "a name cannot be a template")
                    .label("name")
                    .help("only values are rendered");
                self.reader.report(diagnostic);
                continue;
            }
            let inner = match properties.and_then(|all| all.get(&entry.key)).or(extra) {
                Some(Value::Bool(false)) => {
                    self.unknown(&entry.key, &entry.key_span, properties, owner.0);
                    continue;
                }
                Some(inner) => inner,
                None => &ANY,
            };
            let value = self.value(&entry.value, inner, &entry.key);
            object.insert(entry.key.clone(), value);
        }
        self.required(schema, mapping, owner);
        Value::Object(object)
    }

    fn required(&mut self, schema: &Value, mapping: &Mapping, owner: (&str, &Range<usize>)) {
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        for key in required.filter_map(Value::as_str) {
            if mapping.get(key).is_none() {
                let about = schema
                    .pointer(&format!("/properties/{key}/description"))
                    .and_then(Value::as_str)
                    .map(|text| format!("`{key}`: {}", text.lines().next().unwrap_or_default()));
                let diagnostic = self
                    .reader
                    .error(owner.1, format!("{} needs `{key}`", owner.0))
                    .label(format!("`{key}` is missing"))
                    .help_maybe(about);
                self.reader.report(diagnostic);
            }
        }
    }

    fn unknown(
        &mut self,
        key: &str,
        span: &Range<usize>,
        properties: Option<&Map<String, Value>>,
        owner: &str,
    ) {
        let names: Vec<&str> =
            properties.map(|all| all.keys().map(String::as_str).collect()).unwrap_or_default();
        let later = super::common::LATER_TASK_KEYS.contains(&key);
        let diagnostic = if later {
            self.reader
                .error(span, format!("`{key}` is not supported yet"))
                .label("not yet")
                .help("leave it out")
        } else {
            let common = trunkline_tasks::COMMON_KEYS;
            let close = super::suggest::nearest(key, names.iter().copied().chain(common));
            let help = close.map(|name| format!("did you mean `{name}`?"));
            let help = help.or_else(|| did_you_mean(key, names, &format!("{owner} takes")));
            self.reader
                .error(span, format!("{owner} has no setting `{key}`"))
                .label("unknown setting")
                .help_maybe(help)
        };
        self.reader.report(diagnostic);
    }

    /// Checks one value.
    pub(crate) fn value(&mut self, node: &Node, schema: &'a Value, name: &str) -> Value {
        let schema = self.resolve(schema);
        if let Kind::Scalar(scalar) = &node.kind
            && is_template(&scalar.text)
        {
            self.sites.extend(Site::of(self.reader.source, node));
            return Value::from(scalar.text.as_str());
        }
        if let Some(choices) = alternatives(schema) {
            return self.choice(node, choices, name);
        }
        match &node.kind {
            Kind::Scalar(scalar) => self.scalar(node, scalar, schema, name),
            Kind::Sequence(items) => {
                if !allows(schema, "array") {
                    return self.mismatch(node, schema, name);
                }
                let inner = schema.get("items").unwrap_or(&ANY);
                Value::Array(items.iter().map(|item| self.value(item, inner, name)).collect())
            }
            Kind::Mapping(mapping) => {
                if !allows(schema, "object") {
                    return self.mismatch(node, schema, name);
                }
                let owner = format!("`{name}`");
                self.object(mapping, schema, (&owner, &node.span), &|_| false)
            }
        }
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar, schema: &Value, name: &str) -> Value {
        let core = scalar.core.to_json(&scalar.text);
        if let Some(allowed) = constants(schema) {
            let text = Value::from(scalar.text.as_str());
            if let Some(found) = allowed.iter().find(|value| **value == core || **value == text) {
                return found.clone();
            }
            return self.not_allowed(node, scalar, &allowed, name);
        }
        let fitting = fit(scalar, &core, schema);
        let Some(value) = fitting else { return self.mismatch(node, schema, name) };
        if let Some(message) = outside(&value, schema) {
            let diagnostic =
                self.reader.error(&node.span, format!("`{name}` {message}")).label("out of bounds");
            self.reader.report(diagnostic);
        }
        value
    }

    fn not_allowed(&mut self, node: &Node, scalar: &Scalar, allowed: &[Value], name: &str) -> Value {
        let words: Vec<String> = allowed
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned))
            .collect();
        let help = did_you_mean(&scalar.text, words.iter().map(String::as_str), "it is one of");
        let message = format!("`{name}` cannot be `{}`", shorten(&scalar.text));
        let diagnostic = self.reader.error(&node.span, message).label("unknown word").help_maybe(help);
        self.reader.report(diagnostic);
        Value::Null
    }

    fn mismatch(&mut self, node: &Node, schema: &Value, name: &str) -> Value {
        self.reader.mismatch(node, name, &expected(schema));
        Value::Null
    }

    /// `anyOf`: the first that fits; else the mistakes of the only one of the same shape.
    fn choice(&mut self, node: &Node, choices: &'a [Value], name: &str) -> Value {
        let resolved: Vec<&'a Value> = choices.iter().map(|choice| self.resolve(choice)).collect();
        let kept = self.reader.found.len();
        let sites = self.sites.len();
        for &choice in &resolved {
            let value = self.value(node, choice, name);
            if self.reader.found.len() == kept {
                return value;
            }
            self.reader.found.truncate(kept);
            self.sites.truncate(sites);
        }
        let word = match node.kind {
            Kind::Scalar(_) => "",
            Kind::Sequence(_) => "array",
            Kind::Mapping(_) => "object",
        };
        let mut same = resolved.iter().copied().filter(|choice| !word.is_empty() && allows(choice, word));
        if let (Some(choice), None) = (same.next(), same.next()) {
            return self.value(node, choice, name);
        }
        let listed: Vec<String> =
            resolved.iter().copied().map(expected).filter(|text| text != "nothing").collect();
        self.reader.mismatch(node, name, &listed.join(" or "));
        Value::Null
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.schema.pointer(reference.strip_prefix('#')?))
            .unwrap_or(schema)
    }
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    let choices = schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()?;
    // Documented words of an enum come as `oneOf` of `const`s; `constants` reads those.
    if constants(schema).is_some() { None } else { Some(choices) }
}

/// The values that an `enum`, a `const` or a list of them allows.
fn constants(schema: &Value) -> Option<Vec<Value>> {
    if let Some(value) = schema.get("const") {
        return Some(vec![value.clone()]);
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.clone());
    }
    let choices = schema.get("oneOf").and_then(Value::as_array)?;
    let nested: Option<Vec<Vec<Value>>> = choices.iter().map(constants).collect();
    nested.map(|values| values.into_iter().flatten().collect())
}

/// Whether the schema's `type` admits this word; without one everything is admitted.
fn allows(schema: &Value, word: &str) -> bool {
    match schema.get("type") {
        None => schema.as_bool() != Some(false),
        Some(Value::String(one)) => one == word,
        Some(Value::Array(several)) => several.iter().any(|one| one == word),
        Some(_) => false,
    }
}

/// The scalar as the schema wants it: text as written where text is wanted.
fn fit(scalar: &Scalar, core: &Value, schema: &Value) -> Option<Value> {
    if schema.get("type").is_none() {
        return Some(core.clone());
    }
    let whole = matches!(scalar.core, Core::Integer(_) | Core::Unsigned(_));
    // Where text is as welcome as a number, `1.10` stays what was written.
    let canonical = core.to_string();
    if allows(schema, "string") && scalar.core != Core::Null && canonical != scalar.text {
        return Some(Value::from(scalar.text.as_str()));
    }
    match scalar.core {
        Core::Null if allows(schema, "null") => Some(Value::Null),
        Core::Null => None,
        Core::Bool(_) if allows(schema, "boolean") => Some(core.clone()),
        _ if whole && (allows(schema, "integer") || allows(schema, "number")) => Some(core.clone()),
        Core::Float(_) if allows(schema, "number") => Some(core.clone()),
        _ if allows(schema, "string") => Some(Value::from(scalar.text.as_str())),
        _ => None,
    }
}

fn outside(value: &Value, schema: &Value) -> Option<String> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    if let Some(number) = value.as_f64() {
        if let Some(minimum) = bound("minimum").filter(|minimum| number < *minimum) {
            return Some(format!("must be at least {minimum}, not {number}"));
        }
        if let Some(maximum) = bound("maximum").filter(|maximum| number > *maximum) {
            return Some(format!("must be at most {maximum}, not {number}"));
        }
    }
    let text = value.as_str()?;
    let length = text.chars().count();
    let limit =
        |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
    if limit("minLength").is_some_and(|least| length < least) {
        return Some("cannot be empty".to_owned());
    }
    limit("maxLength")
        .filter(|most| length > *most)
        .map(|most| format!("has {length} characters; at most {most} are taken"))
}

/// What a schema wants, for a message.
fn expected(schema: &Value) -> String {
    let word = |word: &str| match word {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "names with values",
        _ => "nothing",
    };
    match schema.get("type") {
        Some(Value::String(one)) => word(one).to_owned(),
        Some(Value::Array(several)) => {
            let words: Vec<&str> =
                several.iter().filter_map(Value::as_str).filter(|one| *one != "null").map(word).collect();
            words.join(" or ")
        }
        _ => match constants(schema) {
            Some(values) => {
                let words: Vec<String> =
                    values.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
                format!("one of {}", words.join(", "))
            }
            None => "a value".to_owned(),
        },
    }
}
