-- Runs that nobody alive owns, oldest first; the fence of each rises by one. Queued runs that
-- could not get a place now are left for later, unless they hold one already.
with claimable as materialized (
  select r.run_id
    from run r
    join pipeline p on p.name = r.pipeline
    left join concurrency_group c on c.name = p.concurrency_group
   where r.state in ('queued','running','paused','cancelling')
     and (r.owner is null
          or (r.owner <> $1
              and not exists (select 1 from replica v
                               where v.replica_id = r.owner
                                 and v.heartbeat_at > clock_timestamp() - make_interval(secs => $2))))
     and (r.state <> 'queued' or r.has_place
          or (not p.paused and p.active_runs < p.max_active_runs and coalesce(c.active_runs, 0) = 0))
   order by r.created_at
   limit $3
     for update of r skip locked
)
update run r set owner = $1, fence = r.fence + 1
  from claimable c
 where r.run_id = c.run_id
returning r.run_id, r.fence
