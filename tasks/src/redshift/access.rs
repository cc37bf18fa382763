//! What statements need: the Data API on their cluster or workgroup, and credentials of a database user.

use super::{BATCH, SINGLE, call_of};
use crate::{
    access::{Finding, Needs, Place, Statement},
    aws::error::Trouble,
    clients::{Clients, Purpose},
    operator::Request,
};

pub(crate) fn needs(request: &Request, place: &Place) -> Needs {
    let call = call_of(request);
    let start = if request.body.get(BATCH).is_some() { BATCH } else { SINGLE };
    let own = ["CancelStatement", "DescribeStatement", "GetStatementResult", "ListStatements"];
    let mut needs = Needs::of(vec![Statement::new("redshift-data", &own, ["*"])]);
    if let Some(cluster) = call["ClusterIdentifier"].as_str() {
        let arn = place.arn("redshift", &format!("cluster:{cluster}"));
        needs.statements.push(Statement::new("redshift-data", &[start], [arn]));
        if let (Some(user), Some(database)) = (call["DbUser"].as_str(), call["Database"].as_str()) {
            let names = [
                place.arn("redshift", &format!("dbuser:{cluster}/{user}")),
                place.arn("redshift", &format!("dbname:{cluster}/{database}")),
            ];
            needs.statements.push(Statement::new("redshift", &["GetClusterCredentials"], names));
        } else if call["SecretArn"].is_null() {
            let database = call["Database"].as_str().unwrap_or("*");
            let name = place.arn("redshift", &format!("dbname:{cluster}/{database}"));
            needs.statements.push(Statement::new("redshift", &["GetClusterCredentialsWithIAM"], [name]));
        }
    } else {
        // A workgroup's ARN ends in an id that its name does not tell.
        let arn = place.arn("redshift-serverless", "workgroup/*");
        needs.statements.push(Statement::new("redshift-data", &[start], [arn.clone()]));
        if call["SecretArn"].is_null() {
            needs.statements.push(Statement::new("redshift-serverless", &["GetCredentials"], [arn]));
        }
    }
    if let Some(secret) = call["SecretArn"].as_str() {
        needs.statements.push(Statement::new("secretsmanager", &["GetSecretValue"], [secret]));
    }
    needs
}

/// Asks for the names of the database's schemas, which starts no statement.
pub(crate) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let call = call_of(request);
    let text = |name: &str| call[name].as_str().map(str::to_owned);
    let place = text("ClusterIdentifier").or_else(|| text("WorkgroupName")).unwrap_or_default();
    let what = format!("database {} of {place}", text("Database").unwrap_or_default());
    let redshift = match clients.redshift_data(&request.connection, Purpose::Read).await {
        Ok(redshift) => redshift,
        Err(failure) => return vec![Finding::unreachable(&what, &failure)],
    };
    let answer = redshift
        .list_schemas()
        .set_database(text("Database"))
        .set_cluster_identifier(text("ClusterIdentifier"))
        .set_workgroup_name(text("WorkgroupName"))
        .set_secret_arn(text("SecretArn"))
        .set_db_user(text("DbUser"))
        .max_results(1)
        .send()
        .await
        .map_err(Trouble::from);
    if let Err(trouble) = &answer
        && trouble.code() == "ValidationException"
    {
        return vec![Finding::wrong(format!("{what} cannot be reached: {}", trouble.message))];
    }
    vec![Finding::of(&what, "redshift-data:ListSchemas", &answer)]
}
