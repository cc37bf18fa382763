//! The project file: environments, variables, defaults, and what is wrong with them.

use serde_json::json;
use trunkline_tasks::Options;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn lookup(name: &str) -> Option<String> {
    (name == "DATABASE_URL").then(|| "postgres://u:hunter2@h/d".to_owned())
}

const PROJECT: &str = r#"
defaults: { retries: 3 }
on_failure: { sns: "{{ vars.topic }}" }
environments:
  local:
    vars: { topic: t, account: 012345678901 }
  prod:
    store: "${DATABASE_URL}"
    connections:
      aws: { type: aws, region: us-east-1 }
    vars: { topic: p, account: "000000000001" }
"#;

#[test]
fn without_a_project_file_everything_is_local() {
    let root = folder(&[("pipelines/a/pipeline.yaml", "name: a\ntasks: { x: { type: noop } }\n")]);
    let registry = Registry::standard(&Options::for_looking());
    let (project, loaded) = load(root.path(), LOCAL, &lookup, &registry);
    assert_eq!(loaded.diagnostics.render(false), "");
    assert_eq!(loaded.pipelines.len(), 1);
    assert!(project.environment.uses_sandbox());
    assert!(project.file.is_none());
}

#[test]
fn an_environment_is_chosen_and_its_variables_are_filled_in() {
    let root = folder(&[
        ("trunkline.yaml", PROJECT),
        ("pipelines/a/pipeline.yaml", "name: a\ntasks: { x: { type: noop } }\n"),
    ]);
    let registry = Registry::standard(&Options::for_looking());
    let (project, loaded) = load(root.path(), "prod", &lookup, &registry);
    assert_eq!(loaded.diagnostics.render(false), "");
    assert_eq!(project.environment.store.as_deref(), Some("postgres://u:hunter2@h/d"));
    assert_eq!(project.environment.vars["account"], json!("000000000001"));
    assert!(!format!("{project:?}").contains("hunter2"));
    let pipeline = &loaded.pipelines[0].pipeline;
    assert_eq!((pipeline.tasks[0].retry.retries, pipeline.on_failure.len()), (3, 1));
    let (project, found) = Project::load(root.path(), LOCAL, &|_| None);
    assert!(found.items.is_empty());
    assert_eq!(project.environment.vars["account"], json!("012345678901"));
}

#[test]
fn a_warehouse_says_what_its_tasks_need_not_say() {
    let environments = r"
environments:
  local:
    connections: { warehouse: { sandbox: true, workgroup: reports, database: dev } }
  prod:
    connections:
      warehouse: { type: redshift, region: us-east-1, cluster: big, db_user: etl, database: analytics }
";
    let pipeline = r"
name: a
defaults: { connection: warehouse }
tasks:
  plain: { type: redshift_sql, sql: SELECT 1 }
  elsewhere: { type: redshift_sql, sql: SELECT 1, cluster: small }
";
    let root = folder(&[("trunkline.yaml", environments), ("pipelines/a/pipeline.yaml", pipeline)]);
    let registry = Registry::standard(&Options::for_looking());
    let settings = |environment| {
        let (_, loaded) = load(root.path(), environment, &lookup, &registry);
        assert_eq!(loaded.diagnostics.render(false), "");
        let tasks = &loaded.pipelines[0].pipeline.tasks;
        [tasks[0].settings.clone(), tasks[1].settings.clone()]
    };
    let plain = json!({ "sql": "SELECT 1", "workgroup": "reports", "database": "dev" });
    let elsewhere = json!({ "sql": "SELECT 1", "cluster": "small", "database": "dev" });
    assert_eq!(settings(LOCAL), [plain, elsewhere]);
    let plain = json!({ "sql": "SELECT 1", "cluster": "big", "db_user": "etl", "database": "analytics" });
    assert_eq!(settings("prod")[0], plain);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let broken = r#"
pipeline: elsewhere
defaults: { retrys: 3, connection: azure }
on_failure: { sns: "{{ vars.topik }} {{ params.x }}" }
environments:
  local:
    vars: { topic: t }
    connections: { aws: { sandbox: true, profile: x } }
  prod:
    store: "${DATABASE}"
    connections:
      aws: { type: aws, regoin: us-east-1 }
      warehouse: { type: postgres }
      other: { region: a }
    var: {}
"#;
    let root = folder(&[("trunkline.yaml", broken)]);
    let (_, found) = Project::load(root.path(), "prod", &lookup);
    insta::assert_snapshot!(found.render(false));
    let (_, found) = Project::load(root.path(), "prdo", &lookup);
    assert!(found.render(false).contains("did you mean `prod`?"));
}

#[test]
fn the_root_is_found_upwards() {
    let root = folder(&[("trunkline.yaml", ""), ("pipelines/a/sql/x.sql", "")]);
    assert_eq!(find_root(&root.path().join("pipelines/a/sql")), root.path());
}

#[test]
fn connections_and_secrets_are_checked() {
    let broken = r#"
environments:
  local:
    connections:
      aws: { sandbox: true, role_arn: "arn:aws:iam::111111111111:role/r", external_id: e, region: eu-west-1 }
      a: { sandbox: true, external_id: e }
      b: { type: aws, role_arn: reader }
      c: { type: aws, role_arn: "arn:aws:iam::111:role/reader" }
      d: { type: aws, role_arn: "${ROLE:-arn:aws:iam::111111111111:role/x}" }
    secrets:
      good: { secretsmanager: prod/db, key: password, version: 7 }
      parameter: { ssm: "/${NAME:-prod}/token", version: 3 }
      variable: { env: TOKEN }
      mounted: { file: /run/secrets/x }
      Wrong-Name: { env: X }
      plain: hunter2-is-the-canary
      interpolated: "${PASSWORD}"
      nowhere: { key: x }
      two: { ssm: a, env: B }
      relative: { file: secrets/x }
      versioned: { env: A, version: 3 }
      latest: { ssm: a, version: newest }
      vault: { vault: x }
"#;
    let root = folder(&[("trunkline.yaml", broken)]);
    let (project, found) = Project::load(root.path(), LOCAL, &lookup);
    let said = found.render(false);
    for wanted in [
        "`external_id` means nothing without `role_arn`",
        "`reader` is no role's ARN",
        "`arn:aws:iam::111:role/reader` is no role's ARN",
        "a role is written arn:aws:iam::<12 digits>:role/<name>",
        "`Wrong-Name` cannot be the name of a secret",
        "secret `plain` must say where it lies",
        "secret `interpolated` must say where it lies",
        "a variable is named, not written out: { env: NAME }",
        "secret `nowhere` names no place, or more than one",
        "secret `two` names no place, or more than one",
        "give exactly one of `secretsmanager`, `ssm`, `env`, `file` and `private_database`",
        "secret `relative` names the file `secrets/x`, which is no absolute path",
        "secret `versioned` has a `version` or a `connection`, which variables, files",
        "secret `latest` has a `version` that is no number",
        "secret `vault` has no setting `vault`",
    ] {
        assert!(said.contains(wanted), "{wanted}:\n{said}");
    }
    assert_eq!(found.items.len(), 12, "{said}");
    let good = &project.environment.secrets["good"];
    assert_eq!(
        good,
        &json!({"secretsmanager": "prod/db", "key": "password", "version": "7", "connection": "aws"})
    );
    assert_eq!(project.environment.secrets["parameter"]["ssm"], "/prod/token");
    assert_eq!(project.environment.secrets["variable"], json!({"env": "TOKEN"}));
    let role = &project.environment.connections["d"]["role_arn"];
    assert_eq!(account_of_role(role.as_str().unwrap()), Some("111111111111"));
}

#[test]
fn secrets_stand_only_where_nothing_writes_them_down() {
    let project = "environments:\n  local: { secrets: { token: { env: TOKEN } } }\n  prod: { connections: { aws: { type: aws, region: us-east-1 } } }\n";
    let pipeline = r#"
name: a
data_interval: none
tasks:
  good: { type: command, command: ["true"], env: { A: "Bearer {{ secrets.token }}" } }
  argument: { type: command, command: ["x", "{{ secrets.token }}"] }
  job: { type: glue_job, job: j, arguments: { --t: "{{ secrets.token }}" } }
  unknown: { type: command, command: ["true"], env: { A: "{{ secrets.tokn }}" } }
on_success: { sns: t, message: "{{ secrets.token }}" }
"#;
    let root = folder(&[("trunkline.yaml", project), ("pipelines/a/pipeline.yaml", pipeline)]);
    let registry = Registry::standard(&Options::for_looking());
    let (_, loaded) = load(root.path(), LOCAL, &lookup, &registry);
    let said = loaded.diagnostics.render(false);
    for wanted in [
        "no secret may stand in this setting: the service, or Trunkline, would write it down",
        "environment `local` has no secret `tokn`",
        "did you mean `token`?",
        // Every environment is checked, not only the chosen one.
        "environment `prod` has no secret `token`",
        "add it under `environments.prod.secrets` in trunkline.yaml",
        "no secret may stand in a notice: mails are read by many",
    ] {
        assert!(said.contains(wanted), "{wanted}:\n{said}");
    }
}

#[test]
fn a_version_holds_the_secrets_that_it_names() {
    let project = "environments:\n  local: { secrets: { token: { env: TOKEN }, other: { env: OTHER } } }\n";
    let pipeline = "name: a\ndata_interval: none\ntasks: { x: { type: command, command: [\"true\"], env: { A: \"{{ secrets.token }}\" } } }\n";
    let root = folder(&[("trunkline.yaml", project), ("pipelines/a/pipeline.yaml", pipeline)]);
    let registry = Registry::standard(&Options::for_looking());
    let (_, loaded) = load(root.path(), LOCAL, &lookup, &registry);
    assert_eq!(loaded.diagnostics.render(false), "");
    let secrets = &loaded.pipelines[0].pipeline.secrets;
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["token"]);
}

#[test]
fn a_version_holds_the_pools_that_it_uses_with_their_slots_in_the_environment() {
    let project = "pools: { warehouse: 4, other: 2 }\nenvironments:\n  local: {}\n  prod: { pools: { warehouse: 16 }, connections: { aws: { type: aws, region: us-east-1 } } }\n";
    let pipeline = "name: a\ndata_interval: none\ntasks: { x: { type: noop, pool: warehouse, pool_slots: 3, priority: -5 } }\n";
    let root = folder(&[("trunkline.yaml", project), ("pipelines/a/pipeline.yaml", pipeline)]);
    let registry = Registry::standard(&Options::for_looking());
    for (environment, slots) in [(LOCAL, 4), ("prod", 16)] {
        let (_, loaded) = load(root.path(), environment, &lookup, &registry);
        assert_eq!(loaded.diagnostics.render(false), "");
        let pipeline = &loaded.pipelines[0].pipeline;
        assert_eq!(json!(pipeline.pools), json!({ "warehouse": slots }));
        assert_eq!(json!(pipeline.tasks[0].pool), json!({ "name": "warehouse", "slots": 3, "priority": -5 }));
    }
}

#[test]
fn mistakes_about_pools_are_told_where_they_stand() {
    let project = "pools: { warehouse: 4, Wrong: 1, many: 20000 }\nenvironments:\n  local: { pools: { warehose: 2 } }\n";
    let pipeline = "name: a\ndata_interval: none\ntasks:\n  x: { type: noop, pool: warehose }\n  y: { type: noop, pool: warehouse, pool_slots: 5, priority: 10001 }\n";
    let root = folder(&[("trunkline.yaml", project), ("pipelines/a/pipeline.yaml", pipeline)]);
    let registry = Registry::standard(&Options::for_looking());
    let said = load(root.path(), LOCAL, &lookup, &registry).1.diagnostics.render(false);
    for wanted in [
        "`Wrong` cannot be the name of a pool",
        "`many` must be a whole number from 0 to 10000, not `20000`",
        "there is no pool `warehose`",
        "did you mean `warehouse`?",
        "`pool_slots` is 5, and pool `warehouse` has 4",
        "`priority` must be a whole number from -10000 to 10000, not `10001`",
    ] {
        assert!(said.contains(wanted), "{wanted}:\n{said}");
    }
}
