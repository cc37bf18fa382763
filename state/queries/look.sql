-- What this replica could turn to, in one statement: an idle replica asks nothing else.
select exists (
         select 1 from run r
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
       ) as "unowned!",
       exists (select 1 from inbox i join run r using (run_id) where i.answered_at is null and r.owner = $1) as "letters!",
       exists (select 1 from inbox i join run r using (run_id)
                where i.answered_at is null
                  and (r.owner is null
                       or (r.owner <> $1
                           and not exists (select 1 from replica v
                                            where v.replica_id = r.owner
                                              and v.heartbeat_at > clock_timestamp() - make_interval(secs => $2))))
       ) as "orphans!",
       exists (select 1 from outbox o where o.state in ('pending','sending') and o.due_at <= clock_timestamp()) as "parcels!",
       exists (select 1 from turn) as "turns!",
       exists (select 1 from backfill f where f.state = 'running' and coalesce(f.held_until, '-infinity') <= clock_timestamp()) as "backfills!",
       exists (select 1 from pipeline p where p.next_late_at <= clock_timestamp() and not p.removed) as "lates!",
       exists (select 1 from pipeline p where p.next_fire_at <= clock_timestamp() and not p.paused and not p.removed) as "fires!",
       exists (select 1 from trigger_wait w join pipeline p on p.name = w.pipeline
                where w.look_at <= clock_timestamp() and not p.paused and not p.removed
                  and p.active_runs < p.max_active_runs) as "triggers!",
       (select coalesce(string_agg(p.name || '@' || p.current_version, ' ' order by p.name), '')
          from pipeline p where p.triggered and not p.removed) as "triggered!",
       least((select min(p.next_fire_at) from pipeline p where not p.paused and not p.removed),
             (select min(w.look_at) from trigger_wait w where w.look_at > clock_timestamp()))
         as "next_fire_at: jiff_sqlx::Timestamp"
