-- Whether a success is good news: its run was late, failed before, or the run before it failed.
select exists (select from outbox o where o.dedupe_key = 'late:' || $1 || ':' || $2 || ':0')
    or exists (select from run r join event e using (run_id)
                where r.pipeline = $1 and r.run_key = $2 and $3::integer > 1
                  and e.changes @> '[{"to": "failed"}]'::jsonb
                  and exists (select from jsonb_array_elements(e.changes) c
                               where c ->> 'to' = 'failed' and not c ? 'task'))
    or (select b.state = 'failed' from run b
         where b.pipeline = $1 and b.logical_date < $4 and b.state in ('succeeded','failed')
         order by b.logical_date desc limit 1) is true as "trouble!"
