-- Of these runs, whatever their state, those that nobody alive owns. One that somebody is just
-- writing is left alone: its owner can be asked.
with claimable as materialized (
  select r.run_id
    from run r
   where r.run_id = any($2)
     and (r.owner is null or r.owner = $1
          or not exists (select 1 from replica v
                          where v.replica_id = r.owner
                            and v.heartbeat_at > clock_timestamp() - make_interval(secs => $3)))
   order by r.run_id
     for update of r skip locked
)
update run r set owner = $1, fence = r.fence + 1
  from claimable c
 where r.run_id = c.run_id
returning r.run_id, r.fence
