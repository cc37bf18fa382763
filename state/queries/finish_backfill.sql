-- Ends a backfill once nothing of it waits or runs; its digest is written by the same statement.
with ended as (
  update backfill f set state = 'done', ended_at = clock_timestamp(), held_until = null
   where f.backfill_id = $1 and f.state = 'running'
     and not exists (select from backfill_run b where b.backfill_id = f.backfill_id and b.state in ('waiting','begun'))
  returning f.backfill_id, exists (select from backfill_run b where b.backfill_id = f.backfill_id and b.state = 'ended'
                                      and b.outcome <> 'succeeded') as failed
), digest as (
  insert into outbox (dedupe_key, payload)
  select 'backfill:' || e.backfill_id || ':' || n.place,
         jsonb_build_object('backfill', e.backfill_id, 'outcome', case when e.failed then 'failure' else 'success' end,
                            'index', n.place)
    from ended e cross join lateral generate_series(0, case when e.failed then $3::integer else $2::integer end - 1) as n (place)
  on conflict (dedupe_key) do nothing
)
select exists (select from ended) as "done!"
