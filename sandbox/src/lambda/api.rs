//! Functions: made, changed, shown, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::code::Source;
use super::record::Function;
use super::route::{Headers, name_of};
use super::{Lambda, internal, invalid};
use crate::wire::rest::Answer;
use crate::wire::{ApiError, CallContext};

/// Functions of a sandbox; AWS limits only the size of all code together.
const FUNCTIONS_MAX: usize = 1_000;

/// Entries on a page of a list, as on AWS.
const PAGE: usize = 50;

/// AWS's limit for one call.
const TIMEOUT_MAX: u64 = 900;

/// What a function gets that names none.
const TIMEOUT: u64 = 3;
const MEMORY: u64 = 128;

/// Members that change nothing here.
const WITHOUT_EFFECT: [&str; 12] = [
    "Publish",
    "Tags",
    "TracingConfig",
    "Architectures",
    "KMSKeyArn",
    "LoggingConfig",
    "EphemeralStorage",
    "PackageType",
    "RevisionId",
    "SnapStart",
    "CodeSigningConfigArn",
    "VpcConfig",
];

impl Lambda {
    pub(super) async fn create_function(
        self: &Arc<Self>,
        cx: &CallContext,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let wish = parse(body)?;
        let source = self.source(wish.get("Code").unwrap_or(&Value::Null))?;
        self.create(cx, &wish, source).await.map(|shown| Answer::json(201, &shown))
    }

    /// Makes a function; also for provisioning, whose templates may hold the source itself.
    pub(crate) async fn create(
        &self,
        cx: &CallContext,
        wish: &Map<String, Value>,
        source: Source,
    ) -> Result<Value, ApiError> {
        let name = text(wish, "FunctionName").unwrap_or_default();
        let (name, _) = name_of(name);
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=64).contains(&name.len()) || !name.chars().all(legal) {
            return Err(invalid(format!(
                "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9-_]+"
            )));
        }
        if text(wish, "PackageType") == Some("Image") {
            return Err(invalid("the sandbox runs functions of PackageType Zip only"));
        }
        let function = Function {
            name: name.to_owned(),
            region: cx.region.clone(),
            account: cx.account.to_string(),
            runtime: required(wish, "Runtime")?,
            handler: required(wish, "Handler")?,
            role: required(wish, "Role")?,
            description: String::new(),
            timeout: TIMEOUT,
            memory: MEMORY,
            variables: BTreeMap::new(),
            code: self.keep_code(source).await?,
            modified: cx.now,
            revision: self.world.new_uuid().to_string(),
        };
        let function = configured(function, wish, &["FunctionName", "Code"])?;
        self.change(|functions| {
            if functions.contains_key(name) {
                let message = format!("Function already exist: {name}");
                return Err(ApiError::new(409, "ResourceConflictException", message));
            }
            if functions.len() >= FUNCTIONS_MAX {
                return Err(ApiError::new(
                    400,
                    "CodeStorageExceededException",
                    "too many functions in the sandbox",
                ));
            }
            let shown = function.configuration();
            functions.insert(name.to_owned(), function);
            Ok(shown)
        })
    }

    pub(super) async fn update_function_code(
        self: &Arc<Self>,
        cx: &CallContext,
        function: &str,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let wish = parse(body)?;
        self.function(function, None)?;
        let source = self.source(&Value::Object(wish))?;
        self.replace_code(cx, function, source).await.map(|shown| Answer::json(200, &shown))
    }

    /// Gives a function other code.
    pub(crate) async fn replace_code(
        &self,
        cx: &CallContext,
        function: &str,
        source: Source,
    ) -> Result<Value, ApiError> {
        let code = self.keep_code(source).await?;
        self.update(cx, function, |function| {
            function.code = code;
            Ok(())
        })
    }

    pub(super) fn update_function_configuration(
        &self,
        cx: &CallContext,
        function: &str,
        body: &[u8],
    ) -> Result<Answer, ApiError> {
        let wish = parse(body)?;
        self.reconfigure(cx, function, &wish).map(|shown| Answer::json(200, &shown))
    }

    /// Changes everything of a function but its code.
    pub(crate) fn reconfigure(
        &self,
        cx: &CallContext,
        function: &str,
        wish: &Map<String, Value>,
    ) -> Result<Value, ApiError> {
        self.update(cx, function, |known| {
            *known = configured(known.clone(), wish, &["FunctionName"])?;
            Ok(())
        })
    }

    fn update(
        &self,
        cx: &CallContext,
        function: &str,
        act: impl FnOnce(&mut Function) -> Result<(), ApiError>,
    ) -> Result<Value, ApiError> {
        let name = self.function(function, None)?.name;
        let revision = self.world.new_uuid().to_string();
        self.change(|functions| {
            let known =
                functions.get_mut(&name).ok_or_else(|| internal("the function was deleted just now"))?;
            act(known)?;
            known.modified = cx.now;
            known.revision = revision;
            Ok(known.configuration())
        })
    }

    pub(super) fn get_function(&self, function: &str, headers: &Headers) -> Result<Answer, ApiError> {
        let function = self.function(function, headers.qualifier.as_deref())?;
        let location = format!("file://{}", self.code_folder(&function.code).display());
        Ok(Answer::json(
            200,
            &json!({
                "Configuration": function.configuration(),
                "Code": { "RepositoryType": "S3", "Location": location },
            }),
        ))
    }

    pub(super) fn get_function_configuration(
        &self,
        function: &str,
        headers: &Headers,
    ) -> Result<Answer, ApiError> {
        let function = self.function(function, headers.qualifier.as_deref())?;
        Ok(Answer::json(200, &function.configuration()))
    }

    pub(super) fn list_functions(&self, headers: &Headers) -> Answer {
        let functions = self.lock();
        let most = headers.max_items.unwrap_or(PAGE).clamp(1, PAGE);
        let after = headers.marker.as_deref().unwrap_or_default();
        let page: Vec<&Function> =
            functions.values().filter(|function| function.name.as_str() > after).take(most + 1).collect();
        let shown: Vec<Value> = page.iter().take(most).map(|function| function.configuration()).collect();
        let mut answer = json!({ "Functions": shown });
        if page.len() > most {
            answer["NextMarker"] = json!(page[most - 1].name);
        }
        Answer::json(200, &answer)
    }

    pub(super) fn delete_function(&self, function: &str) -> Result<Answer, ApiError> {
        let name = self.function(function, None)?.name;
        self.change(|functions| {
            functions.remove(&name);
            Ok(Answer::empty(204))
        })
    }

    /// Whether a function of this name is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// The code that a request names: in itself, or in a bucket.
    pub(crate) fn source(&self, code: &Value) -> Result<Source, ApiError> {
        let member = |name: &str| code.get(name).and_then(Value::as_str);
        if let Some(encoded) = member("ZipFile") {
            let zip = STANDARD.decode(encoded).map_err(|error| invalid(format!("ZipFile: {error}")))?;
            return Ok(Source::Zip(zip));
        }
        match (member("S3Bucket"), member("S3Key")) {
            (Some(bucket), Some(key)) => {
                let zip = self.world.s3.read(bucket, key).map_err(|error| {
                    invalid(format!(
                        "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: {error}"
                    ))
                })?;
                Ok(Source::Zip(zip))
            }
            _ => Err(invalid("Please provide a source for function code.")),
        }
    }
}

/// A function with what a request says of it; members that the sandbox does not know are refused by name.
fn configured(
    mut function: Function,
    wish: &Map<String, Value>,
    elsewhere: &[&str],
) -> Result<Function, ApiError> {
    for (name, value) in wish {
        let text =
            || value.as_str().map(str::to_owned).ok_or_else(|| invalid(format!("{name} must be a text")));
        let number = || value.as_u64().ok_or_else(|| invalid(format!("{name} must be a number")));
        match name.as_str() {
            "Runtime" => function.runtime = text()?,
            "Handler" => function.handler = text()?,
            "Role" => function.role = text()?,
            "Description" => function.description = text()?,
            "Timeout" => function.timeout = number()?,
            "MemorySize" => function.memory = number()?,
            "Environment" => function.variables = variables(value)?,
            other if elsewhere.contains(&other) || WITHOUT_EFFECT.contains(&other) => {}
            other => return Err(invalid(format!("{other} is not supported by the sandbox"))),
        }
    }
    if !function.runtime.starts_with("python") {
        return Err(invalid(format!("the sandbox runs Python functions only, not {}", function.runtime)));
    }
    if !(1..=TIMEOUT_MAX).contains(&function.timeout) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{}' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to {TIMEOUT_MAX}",
            function.timeout
        )));
    }
    Ok(function)
}

fn variables(environment: &Value) -> Result<BTreeMap<String, String>, ApiError> {
    let Some(pairs) = environment.get("Variables").and_then(Value::as_object) else {
        return Ok(BTreeMap::new());
    };
    pairs
        .iter()
        .map(|(name, value)| {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let begins = name.starts_with(|c: char| c.is_ascii_alphabetic());
            match value.as_str() {
                Some(value) if begins && name.chars().all(legal) => Ok((name.clone(), value.to_owned())),
                _ => Err(invalid(format!("Environment.Variables.{name} is not a legal variable"))),
            }
        })
        .collect()
}

fn text<'a>(wish: &'a Map<String, Value>, member: &str) -> Option<&'a str> {
    wish.get(member)?.as_str()
}

fn required(wish: &Map<String, Value>, member: &str) -> Result<String, ApiError> {
    text(wish, member).map(str::to_owned).ok_or_else(|| invalid(format!("{member} is required")))
}

fn parse(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => {
            Err(ApiError::new(400, "InvalidRequestContentException", "the request body is not a JSON object"))
        }
    }
}
