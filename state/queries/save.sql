-- One guarded write of many runs: rows of runs whose fence does not match are left alone, and
-- the runs that were written are returned.
with wanted as (
  select u.* from unnest($2::uuid[], $3::bigint[], $4::text[], $5::int[], $6::timestamptz[], $7::timestamptz[],
                         $8::text[], $9::bytea[])
         as u(run_id, fence, state, generation, started_at, ended_at, cancel_reason, task_states)
), target as materialized (
  -- Locked first, so that whether it holds a place is read from the newest version of its row.
  select r.run_id, r.has_place
    from run r join wanted u on u.run_id = r.run_id and u.fence = r.fence
   where r.owner = $1
   order by r.run_id
     for update of r
), owned as (
  update run r
     set state = u.state, generation = u.generation, started_at = u.started_at, ended_at = u.ended_at,
         cancel_reason = u.cancel_reason, has_place = r.has_place and u.ended_at is null,
         task_states = u.task_states, event_seq = r.event_seq + 1,
         owner = case when u.ended_at is null then r.owner end
    from wanted u join target t on t.run_id = u.run_id
   where r.run_id = u.run_id
  returning r.run_id, r.pipeline, r.place_group, r.event_seq, t.has_place and u.ended_at is not null as left_place
), place as (
  update pipeline p set active_runs = p.active_runs - g.runs
    from (select o.pipeline, count(*) as runs from owned o where o.left_place group by o.pipeline) g
   where p.name = g.pipeline
), grouped as (
  update concurrency_group c set active_runs = 0
    from owned o where o.left_place and c.name = o.place_group
), wanted_tasks as (
  select t.* from unnest($10::uuid[], $11::int[], $12::text[], $13::int[], $14::int[], $15::int[],
                         $16::timestamptz[], $17::jsonb[], $18::jsonb[], $19::jsonb[], $20::timestamptz[], $21::timestamptz[])
         as t(run_id, position, state, generation, attempts, tries, retry_at, outputs, warnings, failure, started_at, ended_at)
    join owned o on o.run_id = t.run_id
), written_tasks as (
  update task_run k
     set state = t.state, generation = t.generation, attempts = t.attempts, tries = t.tries, retry_at = t.retry_at,
         outputs = t.outputs, warnings = t.warnings, failure = t.failure, started_at = t.started_at, ended_at = t.ended_at
    from wanted_tasks t
   where k.run_id = t.run_id and k.position = t.position
  returning 1
), wanted_attempts as (
  select a.* from unnest($22::uuid[], $23::int[], $24::int[], $25::bool[], $26::uuid[], $27::int[], $28::text[], $29::text[],
                         $30::jsonb[], $31::jsonb[], $32::timestamptz[], $33::timestamptz[], $34::jsonb[], $35::text[],
                         $36::bool[], $37::timestamptz[], $38::text[], $39::text[], $40::timestamptz[], $41::timestamptz[],
                         $42::jsonb[], $43::jsonb[])
         as a(run_id, position, number, new, attempt_id, generation, state, operator, request, baseline, intent_at,
              deferred_until, handle, external_id, reattached, deadline_at, stop_reason, note, started_at, ended_at,
              failure, result)
    join owned o on o.run_id = a.run_id
), new_attempts as (
  insert into attempt (run_id, position, number, attempt_id, generation, state, operator, request, baseline, intent_at,
                       deferred_until, handle, external_id, reattached, deadline_at, stop_reason, note, started_at,
                       ended_at, failure, result, replica_id)
  select run_id, position, number, attempt_id, generation, state, operator, request, baseline, intent_at,
         deferred_until, handle, external_id, reattached, deadline_at, stop_reason, note, started_at,
         ended_at, failure, result, $1
    from wanted_attempts where new
), changed_attempts as (
  update attempt k
     set state = a.state, intent_at = a.intent_at, deferred_until = a.deferred_until, handle = a.handle,
         external_id = a.external_id, reattached = a.reattached, deadline_at = a.deadline_at,
         stop_reason = a.stop_reason, note = a.note, started_at = a.started_at, ended_at = a.ended_at,
         failure = a.failure, result = a.result
    from wanted_attempts a
   where not a.new and k.run_id = a.run_id and k.position = a.position and k.number = a.number and k.ended_at is null
  returning 1
), history as (
  insert into event (run_id, seq, at, actor, changes)
  select o.run_id, o.event_seq, e.at, e.actor, e.changes
    from unnest($44::uuid[], $45::timestamptz[], $46::text[], $47::jsonb[]) as e(run_id, at, actor, changes)
    join owned o on o.run_id = e.run_id
), notices as (
  insert into outbox (dedupe_key, run_id, payload)
  select n.dedupe_key, n.run_id, n.payload
    from unnest($48::text[], $49::uuid[], $50::jsonb[]) as n(dedupe_key, run_id, payload)
    join owned o on o.run_id = n.run_id
  on conflict (dedupe_key) do nothing
), answered as (
  -- A letter is answered by the very commit that carries it out: never twice, never unnoticed.
  update inbox i set answered_at = clock_timestamp(), answer = '"done"'
    from unnest($51::bigint[], $52::uuid[]) as l(inbox_id, run_id)
    join owned o on o.run_id = l.run_id
   where i.inbox_id = l.inbox_id and i.answered_at is null
), checked as (
  select expect_rows('task_run', (select count(*) from wanted_tasks), (select count(*) from written_tasks))
     and expect_rows('attempt', (select count(*) from wanted_attempts where not new), (select count(*) from changed_attempts))
         as ok
)
select o.run_id as "run_id!" from owned o, checked where checked.ok
