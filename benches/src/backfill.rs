//! A year of dates is made up for while schedules fire: do live runs start in time?

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp, Zoned, tz::TimeZone};
use sqlx::{Connection, PgConnection};

use crate::{
    serve::{Project, end},
    stage::{Stage, now, tick},
    table::Table,
};

/// Dates of the backfill.
const DATES: i64 = 365;
/// Of these, so many at once.
const AT_ONCE: &str = "8";
/// Pipelines that fire each minute beside it.
const PULSES: usize = 60;
/// The longest that all of it may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// The last date lies so many days back: the days between belong to the schedule.
const LAST: i64 = 2;

/// Runs the backfill of a year beside schedules, and reads when their runs started.
pub async fn measure(stage: &Stage, table: &mut Table) -> Result<()> {
    let project = Project::new(&stage.url, &pipelines())?;
    let mut connection = PgConnection::connect(&stage.url).await?;
    project.call(&["deploy"]).await?;
    let server = project.serve()?;
    let begin = now();
    let today = begin.to_zoned(TimeZone::UTC);
    let (from, to) = (day(&today, LAST + DATES - 1)?, day(&today, LAST)?);
    project
        .call(&[
            "backfill",
            "year",
            "--from",
            &from,
            "--to",
            &to,
            "--max-active",
            AT_ONCE,
            "--yes",
            "--detach",
        ])
        .await?;
    while is_running(&mut connection).await? {
        ensure!(Duration::try_from(now().duration_since(begin))? < PATIENCE, "the backfill does not end");
        tick(Duration::from_millis(500)).await;
    }
    let seconds = now().duration_since(begin).as_secs_f64();
    // What fired at the last moment starts as well.
    tick(Duration::from_secs(3)).await;
    end(server).await?;
    let (runs, attempts): (i64, i64) = sqlx::query_as(
        "select count(distinct r.run_id), count(*) from run r join attempt a using (run_id)
          where r.pipeline = 'year' and r.trigger = 'backfill' and r.state = 'succeeded'",
    )
    .fetch_one(&mut connection)
    .await?;
    ensure!((runs, attempts) == (DATES, DATES * 3), "{runs} of {DATES} dates ran, with {attempts} attempts");
    let late = delays(&mut connection, begin).await?;
    let worst = late.last().copied().context("no schedule fired beside the backfill")?;
    let at = |share: usize| late[(late.len() * share / 100).min(late.len() - 1)];
    table.add(
        "live runs beside a backfill of 365 days, start after their time",
        format!(
            "{} live runs in {seconds:.0} s: median {:.2} s, p99 {:.2} s, worst {worst:.2} s",
            late.len(),
            at(50),
            at(99)
        ),
        "≤ 2 s",
        Some(worst <= 2.0),
    );
    Ok(())
}

/// The pipeline of the backfill, whose own schedule fires meanwhile too, and those that fire each minute.
fn pipelines() -> Vec<(String, String)> {
    let fire =
        now().checked_add(SignedDuration::from_secs(100)).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC);
    let mut year = format!(
        "name: year\nschedule: \"{} {} * * *\"\ntimezone: UTC\nstart_date: 2020-01-01\ndata_interval: day\n",
        fire.minute(),
        fire.hour()
    );
    let _ = write!(
        year,
        "catchup: none\nmax_active_runs: 10\ntasks:\n  begin: {{ type: noop }}\n  \
         work: {{ type: command, depends_on: begin, command: [sleep, \"2\"] }}\n  \
         end: {{ type: noop, depends_on: work }}\n"
    );
    let pulse = |number: usize| {
        let name = format!("pulse_{number:02}");
        let text = format!(
            "name: {name}\nschedule: \"* * * * *\"\ntimezone: UTC\ndata_interval: none\ncatchup: none\n\
             tasks: {{ beat: {{ type: noop }} }}\n"
        );
        (name, text)
    };
    std::iter::once(("year".to_owned(), year)).chain((0..PULSES).map(pulse)).collect()
}

fn day(today: &Zoned, back: i64) -> Result<String> {
    Ok(today.date().checked_sub(jiff::Span::new().days(back))?.to_string())
}

async fn is_running(connection: &mut PgConnection) -> Result<bool> {
    let running = sqlx::query_scalar("select exists (select from backfill where state = 'running')");
    Ok(running.fetch_one(connection).await?)
}

/// Seconds from each fire to the start of its run, shortest first; a run that never started has waited
/// until now.
async fn delays(connection: &mut PgConnection, since: Timestamp) -> Result<Vec<f64>> {
    Ok(sqlx::query_scalar(
        "select extract(epoch from coalesce(started_at, clock_timestamp()) - fire_at)::float8 from run
          where trigger = 'schedule' and fire_at > to_timestamp($1) order by 1",
    )
    .bind(since.as_duration().as_secs_f64())
    .fetch_all(connection)
    .await?)
}
