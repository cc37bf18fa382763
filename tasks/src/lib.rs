//! Operators: how to start, find, poll and cancel each kind of external job.
//!
//! This crate is the only home of the AWS SDK. It knows connections, requests and handles; it
//! never knows runs, graphs, schedules, SQL of the store or YAML. Who calls what and when is
//! the engine's business; the contract between the two is [`operator`].
//!
//! | file | what lives there |
//! |---|---|
//! | `operator.rs` | the contract and the values that cross it |
//! | `registry.rs` | from a word in YAML to an operator; keys that all tasks share |
//! | `clients.rs`, `clients/` | connections, their credentials, and the SDK's clients behind them |
//! | `secrets.rs`, `secrets/` | secrets by reference: marks in what is stored, values in a call, masks |
//! | `aws/` | what all AWS operators share: error classes, exact requests, times |
//! | `notice.rs` | publishing to SNS, for `sns_publish` and the engine's outbox |
//! | `access.rs` | what requests need: permissions, and things that must exist; is it so |
//! | `pipelines.rs` | runs of other pipelines, as `run_pipeline` and `pipeline_wait` ask the engine |
//! | `postgres.rs`, `postgres/` | people's Postgres databases: an attempt is committed once, and known there |
//! | `redshift.rs`, `redshift/` | the Redshift Data API: starts with a token, the look for them, states, stops |
//! | `queue.rs`, `queue/` | queues that triggers read, and what S3 says in them |
//! | `objects.rs` | objects in S3: selections, listings, sums; for the operators on S3 |
//! | `scratch.rs`, `scratch/` | folders of this machine's disk, and objects that are brought into them |
//! | `parquet.rs` | whether this program knows Parquet |
//! | `duration.rs`, `scalar.rs`, `clock.rs` | how durations and texts are written; the present as a value |
//! | the rest | one operator each |
//!
//! # How to add an operator, in seven steps
//!
//! 1. Copy the smallest operator file, `noop.rs`, and name it like the word in YAML.
//! 2. Write its settings as one serde struct with `deny_unknown_fields` and a doc comment on
//!    each field: the JSON Schema and `docs/operators.md` are made of them.
//! 3. Say in the module doc how a start is made safe at this service: which token or marker,
//!    what a lost answer leads to, what cannot be known. If you cannot say it, the operator is
//!    not ready.
//! 4. Implement `prepare`, `send`, `find`, `poll` and `cancel`. List terminal states one by
//!    one; an unknown word is not terminal. Take error classes from `aws::error`.
//! 5. Test against a local double of the service: accepted, refused, throttled, 5xx, timeout,
//!    a lost answer and then `find`, every state, cancelling what has ended.
//! 6. Say what it needs (`needs`) and look whether what it names is there (`check`).
//! 7. Add the line below and run `UPDATE_DOCS=1 cargo test -p trunkline-tasks`.

pub mod access;
mod aws;
pub mod clients;
pub mod clock;
pub mod duration;
#[doc(hidden)]
pub mod fuzzing;
pub mod notice;
mod objects;
pub mod operator;
mod parquet;
pub mod pipelines;
pub mod postgres;
pub mod queue;
mod redshift;
pub mod registry;
mod released;
pub mod scalar;
mod scratch;
pub mod secrets;

pub use clients::{AwsConnection, Clients, ConnectionConfig};
pub use registry::{COMMON_KEYS, ErasedOperator, Options, Registry};

/// Declares the operators: each line becomes a module, an entry of the registry and a section
/// of `docs/operators.md`.
macro_rules! operators {
    ($($(#[$condition:meta])* $module:ident::$operator:ident),* $(,)?) => {
        $($(#[$condition])* pub mod $module;)*

        fn register_standard(registry: &mut Registry, options: &Options) {
            $($(#[$condition])* registry.insert($module::$operator::new(options));)*
        }
    };
}

operators! {
    glue_crawler::GlueCrawler,
    glue_job::GlueJob,
    athena_query::AthenaQuery,
    redshift_sql::RedshiftSql,
    redshift_copy::RedshiftCopy,
    sql::Sql,
    extract::Extract,
    load::Load,
    #[cfg(feature = "transform")]
    transform::Transform,
    data_check::DataCheck,
    step_function::StepFunction,
    lambda_invoke::LambdaInvoke,
    ecs_task::EcsTask,
    batch_job::BatchJob,
    emr_serverless_job::EmrServerlessJob,
    sqs_send::SqsSend,
    eventbridge_put::EventbridgePut,
    s3_wait::S3Wait,
    s3_copy::S3Copy,
    s3_delete::S3Delete,
    sns_publish::SnsPublish,
    http::Http,
    run_pipeline::RunPipeline,
    pipeline_wait::PipelineWait,
    approval::Approval,
    command::Command,
    sleep::Sleep,
    noop::Noop,
}
