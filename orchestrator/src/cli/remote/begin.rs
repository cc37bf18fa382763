//! `run` through a server: it makes the run, and goes on with it.

use serde_json::{Map, Value, json};
use trunkline_state::pipeline::Param;

use super::{body, change, watch::watch};
use crate::{
    api::answers::CreatedView,
    cli::{
        context::Context,
        exit::{Exit, refuse},
        output::bold,
        run::RunArgs,
        server::Server,
    },
    definition::params::{self, Given},
    service::views::PipelineDetail,
};

/// Has a run made of the version that is current there, and watches it.
pub(super) async fn run(cx: &Context, server: &Server, args: &RunArgs) -> anyhow::Result<Exit> {
    let path = ["pipelines", args.pipeline.as_str(), "runs"];
    let params = given(server, &args.pipeline, &args.params).await?;
    let preview = !args.tasks.is_empty();
    let request = body(&[
        ("date", json!(args.date)),
        ("params", params),
        ("dry_run", json!(preview)),
        // Sent again with this name, it makes no second run.
        (
            "request_id",
            if preview { Value::Null } else { json!(format!("command-{}", cx.ids.run_id(cx.now()).0)) },
        ),
    ]);
    let made: CreatedView = server.post_repeatable(&path, &request).await?;
    cx.output.note(&format!("{}  {}", bold(&made.run), made.covers));
    if let Some(warning) = &made.warning {
        cx.output.warn(warning);
    }
    let Some(run) = made.detail else {
        return refuse(format!(
            "there is no run {0} yet, and --task runs tasks of an existing run again; run it whole first",
            made.run
        ));
    };
    if preview {
        return change::clear_tasks(cx, server, &run.id, &args.tasks, args.detach).await;
    }
    if !args.detach {
        return watch(cx, server, &run.id).await;
    }
    if cx.output.json() {
        cx.output.value(&run);
    } else {
        cx.output.data(&run.run);
    }
    Ok(Exit::Done)
}

/// `name=value` as the pipeline there declares it.
pub(super) async fn given(server: &Server, pipeline: &str, texts: &[String]) -> anyhow::Result<Value> {
    if texts.is_empty() {
        return Ok(Value::Null);
    }
    let detail: PipelineDetail = server.get(&["pipelines", pipeline], &[]).await?;
    let mut given = Map::new();
    for text in texts {
        let (name, value) = match params::split(text)? {
            (name, Given::Text(value)) => (name, value),
            (name, Given::Json(value)) => (name, value.to_string()),
        };
        let declared =
            detail.params.get(&name).and_then(|param| serde_json::from_value::<Param>(param.clone()).ok());
        // What is not declared is refused there, in its words.
        let value = match declared {
            Some(param) => match params::typed(&param, &value) {
                Ok(value) => value,
                Err(reason) => return refuse(format!("param `{name}` {reason}")),
            },
            None => Value::String(value),
        };
        if given.insert(name.clone(), value).is_some() {
            return refuse(format!("param `{name}` is given twice"));
        }
    }
    Ok(Value::Object(given))
}
