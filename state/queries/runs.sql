select r.run_id, r.pipeline, r.version, r.run_key, r.state, r.generation,
       r.logical_date as "logical_date: jiff_sqlx::Timestamp",
       r.interval_start as "interval_start: jiff_sqlx::Timestamp",
       r.interval_end as "interval_end: jiff_sqlx::Timestamp",
       r.fire_at as "fire_at: jiff_sqlx::Timestamp",
       r.params, r.trigger,
       r.created_at as "created_at: jiff_sqlx::Timestamp", r.created_by,
       r.started_at as "started_at: jiff_sqlx::Timestamp",
       r.ended_at as "ended_at: jiff_sqlx::Timestamp",
       r.cancel_reason, r.task_states, r.has_place, r.owner,
       (v.replica_id is not null) as "owner_lives!", r.event_seq
  from run r
  left join replica v on v.replica_id = r.owner
        and v.heartbeat_at > clock_timestamp() - make_interval(secs => $4)
 where ($1::text is null or r.pipeline = $1)
   and ($2::text is null or r.state = $2)
   and ($3::uuid is null or r.run_id = $3)
   and ($6::text[] is null or is_seen(r.pipeline, $6))
 order by r.logical_date desc, r.created_at desc
 limit $5
