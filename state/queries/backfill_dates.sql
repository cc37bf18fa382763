select b.ordinal, b.run_key, b.state, b.generation, b.outcome,
       b.logical_date as "logical_date: jiff_sqlx::Timestamp",
       b.interval_start as "interval_start: jiff_sqlx::Timestamp",
       b.interval_end as "interval_end: jiff_sqlx::Timestamp",
       b.fire_at as "fire_at: jiff_sqlx::Timestamp",
       r.state as "run_state?", r.generation as "run_generation?"
  from backfill f join backfill_run b using (backfill_id)
  left join run r on r.pipeline = f.pipeline and r.run_key = b.run_key
 where f.backfill_id = $1 and (cardinality($2::text[]) = 0 or b.state = any($2))
 order by b.ordinal
 limit $3
