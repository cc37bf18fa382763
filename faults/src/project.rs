//! The pipelines of the trials: short, of every task type that starts something outside, and
//! without anything that may end differently from one time to the next.

use std::{fs, io, path::Path};

/// Task types that start something outside.
pub const EXTERNAL: [&str; 4] = ["glue_job", "glue_crawler", "athena_query", "command"];

/// Crawlers; each run that crawls has one for itself, so that each crawl is somebody's.
pub const CRAWLERS: [&str; 3] = ["faults-crawl-one", "faults-crawl-two", "faults-crawl-victim"];

/// The job.
pub const JOB: &str = "faults-job";

/// The job that somebody must stop.
pub const LONG_JOB: &str = "faults-long";

/// How a run of each pipeline ends.
const OUTCOMES: [(&str, &str); 8] = [
    ("line", "succeeded"),
    ("fan", "succeeded"),
    ("chain", "succeeded"),
    ("sour", "failed"),
    ("stubborn", "failed"),
    ("long", "cancelled"),
    ("tick", "succeeded"),
    ("twice", "succeeded"),
];

/// The tasks of a pipeline that a person may clear one by one.
pub fn tasks(pipeline: &str) -> &'static [&'static str] {
    match pipeline {
        "line" => &["crawl", "convert", "count"],
        "fan" => &["begin", "job_a", "job_b", "work", "ask", "end"],
        "chain" => &["one", "two", "three", "four"],
        "sour" | "stubborn" => &["fail"],
        _ => &[],
    }
}

/// What the sandbox must have.
pub const TEMPLATE: &str = r#"AWSTemplateFormatVersion: "2010-09-09"
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties: { BucketName: faults-bucket }
  Database:
    Type: AWS::Glue::Database
    Properties:
      CatalogId: "000000000000"
      DatabaseInput: { Name: faults }
  Role:
    Type: AWS::IAM::Role
    Properties: { AssumeRolePolicyDocument: { Statement: [] } }
  CrawlOne:
    Type: AWS::Glue::Crawler
    Properties:
      Name: faults-crawl-one
      Role: !GetAtt Role.Arn
      DatabaseName: !Ref Database
      Targets: { S3Targets: [{ Path: "s3://faults-bucket/one/" }] }
  CrawlTwo:
    Type: AWS::Glue::Crawler
    Properties:
      Name: faults-crawl-two
      Role: !GetAtt Role.Arn
      DatabaseName: !Ref Database
      Targets: { S3Targets: [{ Path: "s3://faults-bucket/two/" }] }
  CrawlVictim:
    Type: AWS::Glue::Crawler
    Properties:
      Name: faults-crawl-victim
      Role: !GetAtt Role.Arn
      DatabaseName: !Ref Database
      Targets: { S3Targets: [{ Path: "s3://faults-bucket/three/" }] }
  Job:
    Type: AWS::Glue::Job
    Metadata: { Trunkline: { Sandbox: { Script: jobs/work.py } } }
    Properties:
      Name: faults-job
      Role: !GetAtt Role.Arn
      Command: { Name: glueetl, PythonVersion: "3", ScriptLocation: "s3://faults-bucket/work.py" }
      GlueVersion: "5.0"
      WorkerType: G.1X
      NumberOfWorkers: 2
      MaxRetries: 0
      ExecutionProperty: { MaxConcurrentRuns: 50 }
  LongJob:
    Type: AWS::Glue::Job
    Metadata: { Trunkline: { Sandbox: { Script: jobs/long.py } } }
    Properties:
      Name: faults-long
      Role: !GetAtt Role.Arn
      Command: { Name: glueetl, PythonVersion: "3", ScriptLocation: "s3://faults-bucket/long.py" }
      GlueVersion: "5.0"
      WorkerType: G.1X
      NumberOfWorkers: 2
      MaxRetries: 0
      ExecutionProperty: { MaxConcurrentRuns: 50 }
  Topic:
    Type: AWS::SNS::Topic
    Properties:
      TopicName: faults-notices
      Subscription: [{ Protocol: email, Endpoint: trials@example.com }]
"#;

const WORK: &str = "import time\ntime.sleep(0.05)\nprint('worked')\n";

/// Longer than any trial: somebody must stop it.
const LONG: &str = "import time\ntime.sleep(600)\n";

const HEAD: &str = "\
schedule: \"0 9 * * *\"
timezone: UTC
data_interval: day
catchup: none
defaults: { connection: aws, retries: 0, poll_interval: 1s }
on_success: [{ sns: \"{{ vars.topic }}\" }]
on_failure: [{ sns: \"{{ vars.topic }}\" }]
";

const LINE: &str = "\
name: line
max_active_runs: 5
params: { crawler: { type: string, default: faults-crawl-one } }
tasks:
  crawl: { type: glue_crawler, crawler: \"{{ params.crawler }}\" }
  convert: { type: glue_job, depends_on: crawl, job: faults-job, arguments: { --date: \"{{ ds }}\" } }
";

const LINE_QUERY: &str = "  \
  count: { type: athena_query, depends_on: convert, query: SELECT 1 AS one, output_location: \"s3://faults-bucket/results/\" }
";

const FAN: &str = "\
name: fan
max_active_runs: 2
tasks:
  begin: { type: noop }
  job_a: { type: glue_job, depends_on: begin, job: faults-job, arguments: { --generation: \"{{ run.generation }}\" } }
  job_b: { type: glue_job, depends_on: begin, job: faults-job, pool: narrow, priority: 5 }
  work:
    type: command
    depends_on: begin
    env: { STARTS: \"{{ vars.starts }}\" }
    command: [sh, -c, 'echo \"$TRUNKLINE_ATTEMPT\" >> \"$STARTS\"; echo worked']
";

const FAN_QUERY: &str = "  \
  ask: { type: athena_query, depends_on: begin, query: SELECT 2 AS two, output_location: \"s3://faults-bucket/results/\" }
";

const FAN_END: &str = "  end: { type: noop, depends_on: [job_a, job_b, work] }\n";

const CHAIN: &str = "\
name: chain
max_active_runs: 1
concurrency_group: faults
tasks:
  one: { type: noop }
  two:
    type: command
    depends_on: one
    env: { STARTS: \"{{ vars.starts }}\" }
    command: [sh, -c, 'echo \"$TRUNKLINE_ATTEMPT\" >> \"$STARTS\"']
  three: { type: sleep, depends_on: two, for: 1s }
  four: { type: noop, depends_on: three }
";

const SOUR: &str = "\
name: sour
max_active_runs: 1
concurrency_group: faults
tasks:
  fail:
    type: command
    retries: 1
    retry_delay: 1s
    env: { STARTS: \"{{ vars.starts }}\" }
    command: [sh, -c, 'echo \"$TRUNKLINE_ATTEMPT\" >> \"$STARTS\"; echo this one fails >&2; exit 3']
  never: { type: noop, depends_on: fail }
";

/// The same with a pause that leaves a person time to say "now", on a busy machine too.
fn stubborn() -> String {
    SOUR.replace("name: sour", "name: stubborn").replace("retry_delay: 1s", "retry_delay: 6s")
}

const LONG_RUN: &str = "\
name: long
tasks:
  begin: { type: noop }
  haul: { type: glue_job, depends_on: begin, job: faults-long }
  after: { type: noop, depends_on: haul }
";

/// The second crawl begins as soon as the first ended.
const TWICE: &str = "\
name: twice
params: { crawler: { type: string, default: faults-crawl-one } }
tasks:
  crawl: { type: glue_crawler, crawler: \"{{ params.crawler }}\" }
  again: { type: glue_crawler, depends_on: crawl, crawler: \"{{ params.crawler }}\" }
";

/// Like the others, but what was missed is made up for: the one that a trial's schedule fires.
const TICK: &str = "\
name: tick
schedule: \"0 9 * * *\"
timezone: UTC
data_interval: day
catchup: last
defaults: { connection: aws, retries: 0, poll_interval: 1s }
on_success: [{ sns: \"{{ vars.topic }}\" }]
tasks:
  job: { type: glue_job, job: faults-job }
  done: { type: noop, depends_on: job }
";

/// Slots of the pool that one job of all runs of `fan` shares: fewer than runs that may be active.
pub const NARROW_SLOTS: i64 = 1;

/// Writes the project. Its `starts` file gets one line for each start of a `command` task.
pub fn write(folder: &Path, endpoint: &str, starts: &Path) -> io::Result<()> {
    let project = format!(
        "pipelines: pipelines\n\
         pools: {{ narrow: {NARROW_SLOTS} }}\n\
         environments:\n  \
           local:\n    \
             connections:\n      \
               aws: {{ type: aws, region: us-east-1, endpoint: \"{endpoint}\", access_key: trials }}\n    \
             vars:\n      \
               topic: arn:aws:sns:us-east-1:000000000000:faults-notices\n      \
               starts: \"{}\"\n",
        starts.display()
    );
    fs::create_dir_all(folder.join("jobs"))?;
    fs::write(folder.join("jobs/work.py"), WORK)?;
    fs::write(folder.join("jobs/long.py"), LONG)?;
    fs::write(folder.join("trunkline.yaml"), project)?;
    let pipelines = [
        ("line", format!("{HEAD}{LINE}{LINE_QUERY}")),
        ("fan", format!("{HEAD}{FAN}{FAN_QUERY}{FAN_END}")),
        ("chain", format!("{HEAD}{CHAIN}")),
        ("sour", format!("{HEAD}{SOUR}")),
        ("stubborn", format!("{HEAD}{}", stubborn())),
        ("long", format!("{HEAD}{LONG_RUN}")),
        ("twice", format!("{HEAD}{TWICE}")),
        ("tick", TICK.to_owned()),
    ];
    for (name, text) in pipelines {
        let folder = folder.join("pipelines").join(name);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("pipeline.yaml"), text)?;
    }
    fs::write(starts, "")
}

/// How a run of this pipeline ends.
pub fn outcome(pipeline: &str) -> &'static str {
    OUTCOMES.iter().find(|(name, _)| *name == pipeline).map_or("succeeded", |(_, outcome)| outcome)
}
