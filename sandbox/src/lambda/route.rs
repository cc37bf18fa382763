//! From method and path to an operation, and what a request says beside its body.

use http::{HeaderMap, Method};

use crate::wire::query::{Form, percent_decode};

/// The version of the API in its paths.
const ROOT: &str = "/2015-03-31/functions";

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The operation in the API's own words, or `Unknown`.
    pub operation: &'static str,
    /// The function as it was named in the path; may be empty.
    pub function: String,
}

/// Members of a request that travel in headers and in the query.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers {
    /// `X-Amz-Invocation-Type`.
    pub invocation_type: Option<String>,
    /// `X-Amz-Log-Type`.
    pub log_type: Option<String>,
    /// `X-Amz-Client-Context`.
    pub client_context: Option<String>,
    /// `X-Amz-Durable-Execution-Name`.
    pub durable_name: Option<String>,
    /// `Qualifier` of the query.
    pub qualifier: Option<String>,
    /// `Marker` of the query.
    pub marker: Option<String>,
    /// `MaxItems` of the query.
    pub max_items: Option<usize>,
}

impl Headers {
    /// Reads what any operation may want.
    pub(crate) fn read(headers: &HeaderMap, query: &Form) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let member = |name: &str| query.get(name).map(str::to_owned);
        Self {
            invocation_type: header("x-amz-invocation-type"),
            log_type: header("x-amz-log-type"),
            client_context: header("x-amz-client-context"),
            durable_name: header("x-amz-durable-execution-name"),
            qualifier: member("Qualifier"),
            marker: member("Marker"),
            max_items: member("MaxItems").and_then(|text| text.parse().ok()),
        }
    }
}

pub(super) fn of(method: &Method, path: &str) -> Route {
    let unknown = Route { operation: "Unknown", function: String::new() };
    let Some(rest) = path.strip_prefix(ROOT) else { return unknown };
    let (function, part) = match rest.trim_start_matches('/').split_once('/') {
        Some((function, part)) => (function, part),
        None => (rest.trim_start_matches('/'), ""),
    };
    let operation = match (method.as_str(), function.is_empty(), part) {
        ("POST", true, _) => "CreateFunction",
        ("GET", true, _) => "ListFunctions",
        ("GET", false, "") => "GetFunction",
        ("DELETE", false, "") => "DeleteFunction",
        ("GET", false, "configuration") => "GetFunctionConfiguration",
        ("PUT", false, "configuration") => "UpdateFunctionConfiguration",
        ("PUT", false, "code") => "UpdateFunctionCode",
        ("POST", false, "invocations") => "Invoke",
        _ => return unknown,
    };
    Route { operation, function: percent_decode(function) }
}

/// The name and the version of a function that is named by its name or its ARN, whole or in part.
pub(super) fn name_of(named: &str) -> (&str, Option<&str>) {
    let rest = match named.rsplit_once("function:") {
        Some((_, rest)) => rest,
        None => named,
    };
    match rest.split_once(':') {
        Some((name, version)) => (name, Some(version)),
        None => (rest, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_operations() {
        let route = |method: Method, path: &str| {
            let route = of(&method, path);
            format!("{} {}", route.operation, route.function)
        };
        assert_eq!(route(Method::POST, "/2015-03-31/functions"), "CreateFunction ");
        assert_eq!(route(Method::GET, "/2015-03-31/functions/"), "ListFunctions ");
        assert_eq!(route(Method::GET, "/2015-03-31/functions/f"), "GetFunction f");
        assert_eq!(
            route(
                Method::POST,
                "/2015-03-31/functions/arn%3Aaws%3Alambda%3Ax%3A1%3Afunction%3Af/invocations"
            ),
            "Invoke arn:aws:lambda:x:1:function:f"
        );
        assert_eq!(route(Method::PUT, "/2015-03-31/functions/f/code"), "UpdateFunctionCode f");
        assert_eq!(route(Method::PUT, "/2015-03-31/functions/f/concurrency"), "Unknown ");
        assert_eq!(route(Method::GET, "/2018-10-31/layers"), "Unknown ");
    }

    #[test]
    fn functions_have_many_names() {
        assert_eq!(name_of("f"), ("f", None));
        assert_eq!(name_of("f:live"), ("f", Some("live")));
        assert_eq!(name_of("arn:aws:lambda:us-east-1:000000000000:function:f"), ("f", None));
        assert_eq!(name_of("000000000000:function:f:7"), ("f", Some("7")));
    }
}
