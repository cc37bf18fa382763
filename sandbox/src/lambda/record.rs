//! A function as it is kept, and as it is shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Function {
    pub name: String,
    pub region: String,
    pub account: String,
    pub runtime: String,
    pub handler: String,
    pub role: String,
    #[serde(default)]
    pub description: String,
    /// Seconds that one call may take.
    pub timeout: u64,
    /// MB; shown, and otherwise ignored.
    pub memory: u64,
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    pub code: Code,
    pub modified: Timestamp,
    pub revision: String,
}

/// Where a function's code lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Code {
    /// The folder below `lambda/code/`.
    pub folder: String,
    /// Bytes of what was uploaded.
    pub size: u64,
    /// Its SHA-256, in base64.
    pub sha256: String,
}

impl Function {
    pub(super) fn arn(&self) -> String {
        format!("arn:aws:lambda:{}:{}:function:{}", self.region, self.account, self.name)
    }

    /// `FunctionConfiguration` of the API.
    pub(super) fn configuration(&self) -> Value {
        let mut shown = json!({
            "FunctionName": self.name,
            "FunctionArn": self.arn(),
            "Runtime": self.runtime,
            "Role": self.role,
            "Handler": self.handler,
            "CodeSize": self.code.size,
            "Description": self.description,
            "Timeout": self.timeout,
            "MemorySize": self.memory,
            "LastModified": self.modified.strftime("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string(),
            "CodeSha256": self.code.sha256,
            "Version": "$LATEST",
            "RevisionId": self.revision,
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": ["x86_64"],
            "TracingConfig": { "Mode": "PassThrough" },
            "EphemeralStorage": { "Size": 512 },
        });
        if !self.variables.is_empty() {
            let variables: Map<String, Value> = self
                .variables
                .iter()
                .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                .collect();
            shown["Environment"] = json!({ "Variables": variables });
        }
        shown
    }
}
