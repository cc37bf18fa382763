-- One run, whatever its state, if nobody alive owns it.
update run r set owner = $1, fence = r.fence + 1
 where r.run_id = $2
   and (r.owner is null or r.owner = $1
        or not exists (select 1 from replica v
                        where v.replica_id = r.owner
                          and v.heartbeat_at > clock_timestamp() - make_interval(secs => $3)))
returning r.fence
