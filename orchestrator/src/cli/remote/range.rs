//! `backfill` and `backfills` through a server, which works them off.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::{begin::given, body};
use crate::{
    api::answers::BackfillMade,
    cli::{
        backfill::{self, BackfillArgs, BackfillsArgs},
        choice::Consent,
        context::Context,
        exit::Exit,
        server::Server,
        validate::counted,
    },
    service::views::BackfillView,
};

/// How often the server is asked how far a backfill is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Has a backfill made, and watches it.
pub(super) async fn backfill(cx: &Context, server: &Server, args: &BackfillArgs) -> anyhow::Result<Exit> {
    let consent = args.consent.consent(args.detach)?;
    let path = ["pipelines", args.pipeline.as_str(), "backfills"];
    let mut fields = vec![
        ("from", json!(args.from)),
        ("to", json!(args.to)),
        ("reprocess", json!(args.reprocess.word())),
        ("max_active", json!(args.max_active)),
        ("backwards", json!(args.backwards)),
        ("params", given(server, &args.pipeline, &args.params).await?),
        ("reason", json!(args.consent.reason)),
        ("dry_run", json!(true)),
    ];
    let preview: BackfillMade = server.post(&path, &body(&fields)).await?;
    let runs = backfill::show_plan(cx, &preview.dates, &preview.warnings, consent);
    if consent == Consent::DryRun || runs == 0 {
        return Ok(Exit::Done);
    }
    let question = format!("Run {} of {}?", counted(runs, "date"), args.pipeline);
    if consent == Consent::Ask && !cx.agreed(&question).await? {
        cx.output.note("nothing was changed");
        return Ok(Exit::Done);
    }
    fields.pop();
    let made: BackfillMade = server.post(&path, &body(&fields)).await?;
    // Meanwhile others may have run every date.
    let Some(id) = made.id else { return Ok(Exit::Done) };
    if consent != Consent::GivenDetached {
        return follow(cx, server, id).await;
    }
    if cx.output.json() {
        cx.output.value(&json!({ "id": id }));
    } else {
        cx.output.data(&id.to_string());
    }
    Ok(Exit::Done)
}

/// Lists backfills, or shows, follows or cancels one.
pub(super) async fn backfills(cx: &Context, server: &Server, args: &BackfillsArgs) -> anyhow::Result<Exit> {
    let Some(id) = args.id else {
        let most = usize::try_from(backfill::LISTED_MAX).unwrap_or_default();
        let newest: Vec<BackfillView> = server.list(&["backfills"], &[], most).await?;
        backfill::list(cx, &newest);
        return Ok(Exit::Done);
    };
    if args.follow {
        return follow(cx, server, id).await;
    }
    if args.cancel {
        let path = ["backfills", &id.to_string(), "cancel"];
        backfill::cancelled(cx, &server.post(&path, &body(&[])).await?);
    } else {
        backfill::show(cx, &one(server, id).await?);
    }
    Ok(Exit::Done)
}

async fn one(server: &Server, id: Uuid) -> anyhow::Result<BackfillView> {
    Ok(server.get(&["backfills", &id.to_string()], &[]).await?)
}

async fn follow(cx: &Context, server: &Server, id: Uuid) -> anyhow::Result<Exit> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut shown = String::new();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                cx.output.note(&format!("detached; watch it with `trunkline backfills {id} --follow`"));
                return Ok(Exit::Done);
            }
        }
        let backfill = one(server, id).await?;
        let now = backfill::summary(&backfill);
        if now != shown {
            cx.output.note(&now);
            shown = now;
        }
        if backfill.state != "running" {
            return Ok(backfill::ended_well(cx, &backfill));
        }
    }
}
