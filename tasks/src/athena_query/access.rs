//! What a query needs: its workgroup, its database and tables, the buckets of its results.

use aws_sdk_athena::types::WorkGroupState;
use serde::Deserialize as _;

use super::{replace::Plan, request::first_word, tables::tables};
use crate::{
    access::{self, Finding, Needs, Place, Statement},
    aws::{address::Address, error::Trouble},
    clients::{Clients, Purpose},
    operator::Request,
};

/// The workgroup of queries that name none.
const PRIMARY: &str = "primary";

/// What the request names.
struct Named<'a> {
    workgroup: &'a str,
    query: &'a str,
    database: Option<&'a str>,
    results: Option<&'a str>,
    plan: Option<Plan>,
}

fn named(request: &Request) -> Named<'_> {
    let call = &request.body["StartQueryExecution"];
    Named {
        workgroup: call["WorkGroup"].as_str().unwrap_or(PRIMARY),
        query: call["QueryString"].as_str().unwrap_or_default(),
        database: call["QueryExecutionContext"]["Database"].as_str(),
        results: call["ResultConfiguration"]["OutputLocation"].as_str(),
        plan: Plan::deserialize(&request.body["replace"]).ok(),
    }
}

impl Named<'_> {
    /// The tables that the query reads or writes, each with its database; never the attempt's own.
    fn tables(&self) -> Vec<(String, String)> {
        let default = || self.database.unwrap_or("default").to_lowercase();
        let own = self.plan.as_ref().map(|plan| plan.journal.as_str());
        tables(self.query)
            .into_iter()
            .filter(|(_, table)| Some(table.as_str()) != own)
            .map(|(database, table)| (database.unwrap_or_else(default), table))
            .collect()
    }
}

pub(super) fn needs(request: &Request, place: &Place) -> Needs {
    let named = named(request);
    let mut actions =
        vec!["StartQueryExecution", "BatchGetQueryExecution", "StopQueryExecution", "ListQueryExecutions"];
    if named.plan.is_some() || request.body.get("fetch_rows").is_some() {
        actions.push("GetQueryResults");
    }
    let workgroup = place.arn("athena", &format!("workgroup/{}", named.workgroup));
    let mut needs = Needs::of(vec![Statement::new("athena", &actions, [workgroup])]);
    read_tables(&mut needs, &named, place);
    match named.results.and_then(|results| Address::prefix(results, "output_location").ok()) {
        Some(results) => {
            let bucket = place.s3(results.bucket);
            let objects = place.s3(&format!("{}/{}*", results.bucket, results.key));
            needs.statements.push(Statement::new("s3", &["GetBucketLocation", "ListBucket"], [bucket]));
            let actions = ["AbortMultipartUpload", "GetObject", "ListMultipartUploadParts", "PutObject"];
            needs.statements.push(Statement::new("s3", &actions, [objects]));
        }
        None => needs.notes.push(format!(
            "results go where workgroup {} says: allow s3:GetBucketLocation, s3:GetObject, s3:ListBucket and \
             s3:PutObject there",
            named.workgroup
        )),
    }
    if let Some(plan) = &named.plan {
        replace(&mut needs, plan, place);
    } else if !matches!(first_word(named.query).as_str(), "SELECT" | "WITH" | "VALUES" | "TABLE") {
        let word = first_word(named.query);
        needs
            .notes
            .push(format!("the query is a statement {word}: what it changes needs permissions of its own"));
    }
    needs
}

fn read_tables(needs: &mut Needs, named: &Named<'_>, place: &Place) {
    let tables = named.tables();
    if tables.is_empty() {
        return;
    }
    let mut resources = vec![place.arn("glue", "catalog")];
    for (database, table) in &tables {
        resources.push(place.arn("glue", &format!("database/{database}")));
        resources.push(place.arn("glue", &format!("table/{database}/{table}")));
    }
    resources.dedup();
    let actions = ["GetDatabase", "GetPartition", "GetPartitions", "GetTable"];
    needs.statements.push(Statement::new("glue", &actions, resources));
    let names: Vec<_> = tables.iter().map(|(database, table)| format!("{database}.{table}")).collect();
    needs.notes.push(format!(
        "Athena reads the data of {} as the caller: allow s3:GetObject and s3:ListBucket where they lie",
        names.join(", ")
    ));
}

fn replace(needs: &mut Needs, plan: &Plan, place: &Place) {
    let table = |name: &str| place.arn("glue", &format!("table/{}/{name}", plan.database));
    let resources = [
        place.arn("glue", "catalog"),
        place.arn("glue", &format!("database/{}", plan.database)),
        table(&plan.table),
        table("trunkline_*"),
    ];
    let mut actions = vec!["CreateTable", "DeleteTable", "GetDatabase", "GetTable", "UpdateTable"];
    if !plan.keys.is_empty() {
        let partitions =
            ["BatchCreatePartition", "BatchGetPartition", "BatchUpdatePartition", "GetPartitions"];
        actions.extend(partitions);
        if plan.how == super::How::Swap {
            actions.push("BatchDeletePartition");
        }
    }
    needs.statements.push(Statement::new("glue", &actions, resources));
    if let Ok(root) = Address::prefix(&plan.root, "replace.location") {
        let objects = place.s3(&format!("{}/{}*", root.bucket, root.key));
        let bucket = place.s3(root.bucket);
        needs.statements.push(Statement::new("s3", &["GetBucketLocation", "ListBucket"], [bucket]));
        needs.statements.push(Statement::new("s3", &["DeleteObject", "GetObject", "PutObject"], [objects]));
    }
}

pub(super) async fn check(clients: &Clients, request: &Request) -> Vec<Finding> {
    let (connection, named) = (request.connection.as_str(), named(request));
    let mut findings = vec![workgroup(clients, connection, &named).await];
    let mut buckets: Vec<&str> = Vec::new();
    let root = named.plan.as_ref().map(|plan| plan.root.as_str());
    for address in [named.results, root].into_iter().flatten() {
        if let Ok(address) = Address::prefix(address, "location")
            && !buckets.contains(&address.bucket)
        {
            buckets.push(address.bucket);
            findings.push(access::bucket(clients, connection, address.bucket).await);
        }
    }
    let glue = match clients.glue(connection, Purpose::Read).await {
        Ok(glue) => glue,
        Err(failure) => {
            findings.push(Finding::unreachable("the catalog", &failure));
            return findings;
        }
    };
    let database = named.plan.as_ref().map(|plan| plan.database.as_str()).or(named.database);
    if let Some(database) = database {
        let answer = glue.get_database().name(database).send().await.map_err(Trouble::from);
        findings.push(Finding::of(&format!("database {database}"), "glue:GetDatabase", &answer));
    }
    for (database, table) in named.tables() {
        let answer = glue.get_table().database_name(&database).name(&table).send().await;
        let what = format!("table {database}.{table}");
        findings.push(Finding::of(&what, "glue:GetTable", &answer.map_err(Trouble::from)));
    }
    findings
}

async fn workgroup(clients: &Clients, connection: &str, named: &Named<'_>) -> Finding {
    let what = format!("workgroup {}", named.workgroup);
    let athena = match clients.athena(connection, Purpose::Read).await {
        Ok(athena) => athena,
        Err(failure) => return Finding::unreachable(&what, &failure),
    };
    let answer = athena.get_work_group().work_group(named.workgroup).send().await.map_err(Trouble::from);
    let group = match &answer {
        Ok(answer) => answer.work_group.as_ref(),
        // Athena's word for a workgroup that it does not have.
        Err(trouble) if trouble.code() == "InvalidRequestException" => {
            return Finding::wrong(format!("there is no {what}: {}", trouble.message));
        }
        Err(_) => return Finding::of(&what, "athena:GetWorkGroup", &answer),
    };
    if group.and_then(|group| group.state.as_ref()) == Some(&WorkGroupState::Disabled) {
        return Finding::wrong(format!("{what} is disabled"));
    }
    let settings = group.and_then(|group| group.configuration.as_ref());
    let own =
        settings.and_then(|settings| settings.result_configuration.as_ref()?.output_location.as_deref());
    let managed = settings
        .and_then(|settings| settings.managed_query_results_configuration.as_ref())
        .is_some_and(|managed| managed.enabled);
    if own.is_none() && named.results.is_none() && !managed {
        return Finding::wrong(format!("{what} names no place for results; set `output_location`"));
    }
    let enforced = settings.and_then(|settings| settings.enforce_work_group_configuration).unwrap_or(false);
    if enforced && own.is_some() && named.plan.is_some() {
        return Finding::wrong(format!(
            "{what} enforces its own location for results, so `replace` cannot say where its data go; use a workgroup \
             that does not"
        ));
    }
    Finding::of(&what, "athena:GetWorkGroup", &answer)
}
