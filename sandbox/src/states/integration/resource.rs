//! Reading `Resource`: which service, which operation, and whether its job is waited for.

/// What a Task state calls.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::states) struct Integration {
    /// The service.
    pub service: Service,
    /// The operation in the service's own words: `StartJobRun`.
    pub operation: String,
    /// Whether the job is waited for.
    pub pattern: Pattern,
    /// Whether it is written as `aws-sdk:…`.
    pub is_sdk: bool,
    /// As history events name it: `glue` and `startJobRun.sync`.
    pub names: (String, String),
}

/// A service that tasks can call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::states) enum Service {
    Glue,
    Athena,
    Sns,
}

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::states) enum Pattern {
    /// The answer.
    Request,
    /// The end of the job.
    Sync,
}

/// The optimised integrations: service, action, whether its job can be waited for.
const OPTIMISED: [(&str, &str, bool); 6] = [
    ("glue", "startJobRun", true),
    ("athena", "startQueryExecution", true),
    ("athena", "stopQueryExecution", false),
    ("athena", "getQueryExecution", false),
    ("athena", "getQueryResults", false),
    ("sns", "publish", false),
];

/// Said with every refusal.
const KNOWN: &str = "the sandbox runs arn:aws:states:::glue:startJobRun(.sync), athena:startQueryExecution(.sync), \
     athena:stopQueryExecution, athena:getQueryExecution, athena:getQueryResults, sns:publish, aws-sdk:glue:…, \
     aws-sdk:athena:… and aws-sdk:sns:publish";

impl Service {
    fn named(name: &str) -> Option<Self> {
        match name {
            "glue" => Some(Self::Glue),
            "athena" => Some(Self::Athena),
            "sns" => Some(Self::Sns),
            _ => None,
        }
    }

    /// As in the credential scope.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Glue => "glue",
            Self::Athena => "athena",
            Self::Sns => "sns",
        }
    }

    /// As the names of errors begin.
    pub(super) fn title(self, is_sdk: bool) -> &'static str {
        match self {
            Self::Glue => "Glue",
            Self::Athena => "Athena",
            Self::Sns if is_sdk => "Sns",
            Self::Sns => "SNS",
        }
    }
}

impl Integration {
    /// Reads a resource; the error says what is known.
    pub(in crate::states) fn parse(resource: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("Resource `{resource}`: {why}; {KNOWN}"));
        let parts: Vec<&str> = resource.splitn(6, ':').collect();
        let ["arn", _partition, "states", _region, _account, rest] = parts[..] else {
            return refused("tasks of this kind are not supported by the sandbox");
        };
        let (rest, suffix) = rest.split_once('.').map_or((rest, ""), |(rest, suffix)| (rest, suffix));
        let (is_sdk, call) = match rest.strip_prefix("aws-sdk:") {
            Some(call) => (true, call),
            None => (false, rest),
        };
        let Some((service_name, action)) = call.split_once(':') else {
            return refused("a service and an action are expected");
        };
        let Some(service) = Service::named(service_name) else {
            return refused("this service is not supported by the sandbox's state machines");
        };
        let known = OPTIMISED.iter().find(|(service, known, _)| *service == service_name && *known == action);
        let pattern = match (suffix, is_sdk, known) {
            ("waitForTaskToken", ..) => return refused("callbacks are not supported by the sandbox"),
            ("", true, _) if service == Service::Sns && action != "publish" => {
                return refused("of SNS only publish can be called");
            }
            ("", true, _) | ("", false, Some(_)) => Pattern::Request,
            ("sync", false, Some((_, _, true))) => Pattern::Sync,
            _ => return refused("there is no such integration"),
        };
        let mut letters = action.chars();
        let Some(first) = letters.next().filter(char::is_ascii_lowercase) else {
            return refused("an action begins with a small letter");
        };
        let operation = first.to_ascii_uppercase().to_string() + letters.as_str();
        let kind = if is_sdk { format!("aws-sdk:{service_name}") } else { service_name.to_owned() };
        let named = if suffix.is_empty() { action.to_owned() } else { format!("{action}.{suffix}") };
        Ok(Self { service, operation, pattern, is_sdk, names: (kind, named) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_name_service_and_operation() {
        let sync = Integration::parse("arn:aws:states:::glue:startJobRun.sync").unwrap();
        assert_eq!(
            (sync.service, sync.operation.as_str(), sync.pattern),
            (Service::Glue, "StartJobRun", Pattern::Sync)
        );
        assert_eq!(sync.names, ("glue".to_owned(), "startJobRun.sync".to_owned()));
        let sdk = Integration::parse("arn:aws:states:::aws-sdk:glue:startCrawler").unwrap();
        assert_eq!((sdk.operation.as_str(), sdk.pattern), ("StartCrawler", Pattern::Request));
        assert_eq!(sdk.names.0, "aws-sdk:glue");
    }

    #[test]
    fn what_is_not_run_is_refused_with_what_is() {
        for resource in [
            "arn:aws:lambda:us-east-1:000000000000:function:f",
            "arn:aws:states:::lambda:invoke",
            "arn:aws:states:::glue:startJobRun.waitForTaskToken",
            "arn:aws:states:::glue:startCrawler",
            "arn:aws:states:::aws-sdk:glue:startJobRun.sync",
            "arn:aws:states:::aws-sdk:sns:createTopic",
            "arn:aws:states:::aws-sdk:glue",
            "nonsense",
        ] {
            let told = Integration::parse(resource).unwrap_err();
            assert!(told.contains(resource) && told.contains("startJobRun(.sync)"), "{told}");
        }
    }
}
