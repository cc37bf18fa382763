//! Connections as they are written in a project file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named way to reach a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ConnectionConfig {
    /// An AWS account, or something that speaks its protocols.
    Aws(AwsConnection),
    /// A Redshift warehouse in an AWS account.
    Redshift(RedshiftConnection),
}

/// The way to an AWS account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AwsConnection {
    /// The region; without one, what the standard AWS settings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A profile of the shared AWS configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// A role to assume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The external id that a foreign account's role asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// An endpoint other than AWS's own, such as the sandbox's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The access key that a sandbox on this machine sees; never one of an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<String>,
}

/// A warehouse: what `redshift_sql` and `redshift_copy` tasks over this connection need not say themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RedshiftConnection {
    /// The way to its account.
    #[serde(flatten)]
    pub aws: AwsConnection,
    /// The database to connect to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The name of a serverless workgroup. Either this or `cluster`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workgroup: Option<String>,
    /// The identifier of a provisioned cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The database user of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_user: Option<String>,
    /// A secret in Secrets Manager that holds user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_arn: Option<String>,
}

impl ConnectionConfig {
    /// The way to the account behind it.
    pub fn into_aws(self) -> AwsConnection {
        match self {
            Self::Aws(aws) => aws,
            Self::Redshift(warehouse) => warehouse.aws,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_reads_as_it_is_written() {
        let read =
            |text: &str| serde_json::from_str::<ConnectionConfig>(text).map(ConnectionConfig::into_aws);
        let aws = read(r#"{"type":"aws","region":"eu-central-1","profile":"account_a"}"#).unwrap();
        assert_eq!(aws.profile.as_deref(), Some("account_a"));
        let aws =
            read(r#"{"type":"redshift","region":"eu-central-1","workgroup":"reports","database":"dev"}"#)
                .unwrap();
        assert_eq!(aws.region.as_deref(), Some("eu-central-1"));
        assert!(read(r#"{"type":"azure"}"#).is_err());
    }
}
