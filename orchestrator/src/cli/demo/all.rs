//! `demo --all`: every shipped pipeline on generated data, and what comes out of it.

use super::{quote, say, stage::Stage, title};
use crate::cli::context::Context;

/// The number of the last title.
pub(super) const LAST: u32 = 9;

/// A look at the warehouse.
const STAR: &str = "
    SELECT 'fact_sales_order' AS name, count(*) AS rows, sum(units_sold * unit_price)::text AS turnover FROM fact_sales_order
     UNION ALL SELECT 'dim_staff', count(*), null FROM dim_staff
     UNION ALL SELECT 'dim_date', count(*), null FROM dim_date
     UNION ALL SELECT 'rejected_order', count(*), null FROM rejected_order";

/// Runs all of them. Every command is one that a person would type.
pub(super) async fn tour(cx: &Context, stage: &Stage, count: u64) -> anyhow::Result<()> {
    let count = count.to_string();
    title(cx, 2, "Call detail records: a day, all of them, the month's report");
    let cdr = |seed, from, days, out| {
        ["generate", "cdr", "--seed", seed, "--count", &count, "--from", from, "--days", days, "--out", out]
    };
    stage.succeed(cx, &cdr("1", "2026-10-05", "3", "s3://cdr-raw")).await?;
    stage.succeed(cx, &cdr("2", "2026-10-01", "2", "s3://cdr-additional")).await?;
    stage.succeed(cx, &["run", "daily_cdr_etl", "--date", "2026-10-05"]).await?;
    stage.succeed(cx, &["run", "full_crawl"]).await?;
    stage.succeed(cx, &["run", "monthly_report", "--date", "2026-10"]).await?;
    say(cx, "\nThe report's mail:");
    quote(cx, &stage.newest_mail()?);

    title(cx, 3, "A shop's database, every ten minutes in the warehouse");
    let orders = |round, from| {
        ["generate", "orders", "--count", &count, "--round", round, "--from", from, "--out", "private:shop"]
    };
    stage.succeed(cx, &orders("0", "2026-10-05")).await?;
    stage.succeed(cx, &["run", "warehouse_refresh"]).await?;
    quote(cx, &stage.rows("warehouse", STAR).await?);
    say(cx, "\nOrders come in, change and are paid; an address moves:");
    stage.succeed(cx, &orders("1", "2026-10-06")).await?;
    stage.succeed(cx, &["run", "warehouse_refresh"]).await?;
    quote(cx, &stage.rows("warehouse", STAR).await?);

    title(cx, 4, "Nothing happened: the refresh looks once, and ends");
    stage.succeed(cx, &["run", "warehouse_refresh"]).await?;

    title(cx, 5, "Events of some hours, of which one is empty, from S3 into Redshift");
    let from = "2026-10-05T20:00:00Z";
    let generate = [
        "generate",
        "events",
        "--count",
        &count,
        "--from",
        from,
        "--hours",
        "5",
        "--out",
        "s3://user-events",
    ];
    stage.succeed(cx, &generate).await?;
    let backfill = ["backfill", "event_load", "--from", "2026-10-05T20", "--to", "2026-10-06T00", "--yes"];
    stage.succeed(cx, &backfill).await?;

    title(cx, 6, "Exports whose cells slid out of their columns: checked, put back or kept apart");
    stage
        .succeed(cx, &["generate", "facility", "--from", "2026-09-01", "--out", "s3://facility-raw"])
        .await?;
    stage.succeed(cx, &["run", "facility_crawl"]).await?;
    stage.succeed(cx, &["run", "facility_models", "--date", "2026-10-31"]).await?;
    quote(cx, &stage.newest_mail()?);

    title(cx, 7, "Records of a call center, as Firehose writes them, brought into four tables");
    let contacts = [
        "generate",
        "contacts",
        "--count",
        &count,
        "--from",
        from,
        "--hours",
        "2",
        "--out",
        "s3://contact-records",
    ];
    stage.succeed(cx, &contacts).await?;
    stage.succeed(cx, &["run", "connect_ctr"]).await?;

    title(cx, 8, "What ran");
    stage.succeed(cx, &["runs"]).await?;
    Ok(())
}
