//! What is stored of an attempt: the call with all its statements, and for each table where its files come from and
//! which of the statements are its own.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    CopyFormat, CopyTable, RedshiftCopyConfig, check,
    steps::{self, Steps, text},
    wrong,
};
use crate::{
    load::{Mode, addresses},
    operator::{Failure, Handle, Intent, PrepareContext, Request},
    postgres::names::Table,
    redshift::{self, BATCH, STATEMENTS_MAX, Warehouse, check_statement},
};

/// What a request holds beside the call.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Work {
    pub(super) tables: Vec<Planned>,
    pub(super) manifests: String,
    /// The roles of COPY, for people.
    pub(super) roles: String,
    /// The first of the task's own statements, counted from 0.
    own_from: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fetch_rows: Option<u32>,
}

/// A table: its files, and its place among the statements.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Planned {
    pub(super) table: String,
    pub(super) from: Vec<String>,
    /// Where the list of its objects goes.
    pub(super) manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) json_paths: Option<Paths>,
    /// Whether the list has to say how large the objects are.
    pub(super) with_sizes: bool,
    steps: Steps,
}

/// The file of paths into JSON.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Paths {
    pub(super) address: String,
    /// In the order of the columns.
    pub(super) paths: Vec<String>,
}

/// What the baseline remembers.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Listed {
    /// How many objects the list of each table has.
    pub(super) objects: Vec<usize>,
}

/// What a handle remembers of a table.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Remembered {
    pub(super) table: String,
    /// `None` where nobody can tell.
    pub(super) objects: Option<usize>,
    pub(super) steps: Steps,
}

/// The request of an attempt.
pub(super) fn request(config: &RedshiftCopyConfig, cx: &PrepareContext<'_>) -> Result<Request, Failure> {
    let roles = check::roles(&config.role)?;
    let mut statements = Vec::new();
    statements.extend(lock(&config.tables)?);
    let mut tables = Vec::with_capacity(config.tables.len());
    for (place, table) in config.tables.iter().enumerate() {
        let folder = format!("{}{}/", config.manifests, cx.attempt_id);
        let source = source(&folder, place, table);
        let copy = copy(config, &roles, table, &source);
        let (own, steps) = steps::of(place, table, copy, statements.len())?;
        statements.extend(own);
        let (manifest, json_paths) = source;
        tables.push(Planned {
            table: table.table.clone(),
            from: addresses(&table.from).to_vec(),
            manifest,
            json_paths,
            with_sizes: table.format == CopyFormat::Parquet,
            steps,
        });
    }
    let own_from = statements.len();
    statements.extend(config.statements.iter().cloned());
    if statements.len() > STATEMENTS_MAX {
        let count = statements.len();
        return Err(wrong(format!(
            "tables: they and `statements` are {count} statements, and Redshift takes {STATEMENTS_MAX} at once: load \
             fewer tables in one task"
        )));
    }
    for (at, sql) in statements.iter().enumerate() {
        let place = match at.checked_sub(own_from) {
            Some(at) => format!("statements: number {}", at + 1),
            None => "tables".to_owned(),
        };
        check_statement(sql, &place)?;
    }
    let mut call = json!({ "Sqls": statements });
    warehouse(config).put(&mut call)?;
    if !config.parameters.is_empty() {
        call["Parameters"] = redshift::parameters(&config.parameters)?;
    }
    let token = redshift::sign(&mut call, cx.attempt_id);
    let (manifests, roles) = (config.manifests.clone(), roles.join(", "));
    let work = Work { tables, manifests, roles, own_from, fetch_rows: config.fetch_rows };
    let mut body = serde_json::to_value(work).map_err(|error| wrong(error.to_string()))?;
    body[BATCH] = call;
    Ok(Request { token, connection: cx.connection.to_owned(), body })
}

fn warehouse(config: &RedshiftCopyConfig) -> Warehouse<'_> {
    Warehouse {
        database: config.database.as_deref(),
        workgroup: config.workgroup.as_deref(),
        cluster: config.cluster.as_deref(),
        db_user: config.db_user.as_deref(),
        secret_arn: config.secret_arn.as_deref(),
    }
}

/// Two that look for a missing row at once would both add it. First of all, because a transaction sees the tables as
/// they were at its first statement; in one order, so that no two wait for each other.
fn lock(tables: &[CopyTable]) -> Result<Option<String>, Failure> {
    let mut names = Vec::new();
    for table in tables.iter().filter(|table| table.mode != Mode::Append) {
        let name = Table::read(&table.table, "table")?.sql();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok((!names.is_empty()).then(|| format!("LOCK TABLE {}", names.join(", "))))
}

/// Whether a text can stand in a key or in SQL as it is.
pub(super) fn plain_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Where the list of a table's objects and its paths are.
fn source(folder: &str, place: usize, table: &CopyTable) -> (String, Option<Paths>) {
    // The name is for people, the place makes it one.
    let name = if plain_name(&table.table) { format!("{place}-{}", table.table) } else { place.to_string() };
    let paths = (!table.json_paths.is_empty()).then(|| Paths {
        address: format!("{folder}{name}.jsonpaths"),
        paths: table.json_paths.values().cloned().collect(),
    });
    (format!("{folder}{name}.manifest"), paths)
}

/// COPY without its table.
fn copy(
    config: &RedshiftCopyConfig,
    roles: &[&str],
    table: &CopyTable,
    (manifest, paths): &(String, Option<Paths>),
) -> String {
    let mut sql = format!("FROM {} IAM_ROLE ", text(manifest));
    sql.push_str(&if roles == ["default"] { "default".to_owned() } else { text(&roles.join(",")) });
    if let Some(region) = &config.region {
        sql.push_str(&format!(" REGION {}", text(region)));
    }
    sql.push_str(" MANIFEST FORMAT AS ");
    match (table.format, paths) {
        (CopyFormat::Json, Some(paths)) => sql.push_str(&format!("JSON {}", text(&paths.address))),
        (CopyFormat::Json, None) => sql.push_str("JSON 'auto ignorecase'"),
        (CopyFormat::Csv, _) => sql.push_str("CSV IGNOREHEADER 1"),
        (CopyFormat::Parquet, _) => sql.push_str("PARQUET"),
    }
    if table.format != CopyFormat::Parquet {
        // A table that ends with the session is worth no look at its encodings; COPY of Parquet makes none.
        sql.push_str(" COMPUPDATE OFF");
    }
    for option in &table.options {
        sql.push_str(&format!(" {}", option.trim()));
    }
    sql
}

/// What was stored.
pub(super) fn read(request: &Request) -> Result<Work, Failure> {
    Work::deserialize(&request.body)
        .map_err(|error| wrong(format!("what was stored of this attempt cannot be read: {error}")))
}

/// The request as it is sent: COPY fails on a list without objects, so a statement without effect takes its place.
pub(super) fn complete(request: &Request, baseline: &Value) -> Result<Request, Failure> {
    let work = read(request)?;
    let listed = Listed::deserialize(baseline)
        .map_err(|error| wrong(format!("what was remembered of the listed files cannot be read: {error}")))?;
    if listed.objects.len() != work.tables.len() {
        return Err(wrong("what was remembered of the listed files is of another attempt".into()));
    }
    let mut request = request.clone();
    for ((place, table), objects) in work.tables.iter().enumerate().zip(&listed.objects) {
        if *objects == 0 {
            request.body[BATCH]["Sqls"][table.steps.copy] = json!(steps::nothing(place));
        }
    }
    Ok(request)
}

/// The handle with what an end means for each table.
pub(super) fn remembered(intent: &Intent<'_>, mut handle: Handle) -> Handle {
    if let Ok(work) = read(intent.request) {
        let listed = Listed::deserialize(intent.baseline).ok();
        let remembered: Vec<Remembered> = work
            .tables
            .into_iter()
            .enumerate()
            .map(|(place, planned)| Remembered {
                table: planned.table,
                objects: listed.as_ref().and_then(|listed| listed.objects.get(place).copied()),
                steps: planned.steps,
            })
            .collect();
        handle.detail["tables"] = json!(remembered);
        handle.detail["own_from"] = json!(work.own_from);
    }
    handle
}
