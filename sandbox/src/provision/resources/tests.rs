//! Plans of templates.

use std::collections::BTreeMap;

use super::*;
use crate::wire::CallContext;

fn plan_text(text: &str, folder: Option<&Path>) -> Result<Vec<Planned>, Vec<Problem>> {
    let template = Template::parse(text)?;
    let parameters = template.parameters(&BTreeMap::new())?;
    let cx = CallContext::for_tests("", "");
    let evaluator = Evaluator::new(&template, parameters, "demo", &cx);
    plan(&template, &evaluator, folder)
}

#[test]
fn resources_come_in_the_order_of_their_needs() {
    let text = "Resources:\n  J: {Type: 'AWS::Glue::Job', Properties: {Role: !GetAtt R.Arn}}\n  R: {Type: 'AWS::IAM::Role'}\n  B: {Type: 'AWS::S3::Bucket'}\n";
    let planned = plan_text(text, None).unwrap();
    let names: Vec<&str> = planned.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["demo-b", "demo-R", "demo-J"]);
    assert_eq!(planned[2].text("Role"), Some("arn:aws:iam::000000000000:role/demo-R"));
}

#[test]
fn unknown_types_and_properties_are_all_told() {
    let text = "Resources:\n  Q:\n    Type: AWS::EC2::Instance\n  B:\n    Type: AWS::S3::Bucket\n    Properties:\n      VersioningConfiguration: {Status: Enabled}\n";
    let problems = plan_text(text, None).unwrap_err();
    let told: Vec<String> =
        problems.iter().map(|problem| format!("{}: {}", problem.line, problem.message)).collect();
    assert_eq!(
        told,
        [
            "2: resource Q: AWS::EC2::Instance is not supported by the sandbox",
            "7: B: property VersioningConfiguration is not supported by the sandbox",
        ]
    );
}

#[test]
fn unwanted_resources_are_left_out() {
    let text =
        "Conditions: {No: !Equals [a, b]}\nResources:\n  B: {Type: 'AWS::S3::Bucket', Condition: No}\n";
    assert!(plan_text(text, None).unwrap().is_empty());
}

#[test]
fn scripts_are_read_from_the_folder_and_nowhere_else() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("p");
    fs::create_dir_all(folder.join("sql")).unwrap();
    fs::write(folder.join("sql/x.sql"), "select 1").unwrap();
    fs::write(outer.path().join("secret"), "s").unwrap();
    let text = |path: &str| {
        format!(
            "Resources:\n  J:\n    Type: AWS::Glue::Job\n    Metadata: {{Trunkline: {{Sandbox: {{Script: {path}}}}}}}\n"
        )
    };
    let planned = plan_text(&text("sql/x.sql"), Some(&folder)).unwrap();
    assert_eq!(planned[0].script, Some(("sql/x.sql".to_owned(), "select 1".to_owned())));
    let problems = plan_text(&text("../secret"), Some(&folder)).unwrap_err();
    assert!(problems[0].message.contains("outside"), "{problems:?}");
    assert!(plan_text(&text("sql/none.sql"), Some(&folder)).is_err());
    assert!(plan_text(&text("sql/x.sql"), None).is_err());
}

#[test]
fn nulls_in_a_definition_are_not_dropped_in_silence() {
    let text = "Resources:\n  M:\n    Type: AWS::StepFunctions::StateMachine\n    Properties:\n      RoleArn: r\n      Definition:\n        States: {A: {ResultPath: null}}\n";
    let problems = plan_text(text, None).unwrap_err();
    assert_eq!(problems[0].line, 7);
    assert!(problems[0].message.contains("DefinitionString"), "{problems:?}");
    let planned = plan_text(&text.replace("null", "$.a"), None).unwrap();
    assert_eq!(planned[0].name, "demo-M");
}

#[test]
fn fingerprints_change_with_the_script() {
    let plan = |content: &str| Planned {
        logical_id: "J".into(),
        kind: "AWS::Glue::Job",
        name: "j".into(),
        properties: Map::new(),
        script: Some(("x.sql".into(), content.into())),
        uploads: Vec::new(),
    };
    assert_eq!(plan("a").fingerprint(), plan("a").fingerprint());
    assert_ne!(plan("a").fingerprint(), plan("b").fingerprint());
}
