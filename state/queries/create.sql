-- Creates runs and owns them, in one statement with their first intents. A run gets its place
-- if its pipeline (under its row lock) and its group have one; else it waits, queued, with
-- none of the given attempts.
with wanted as (
  select w.* from unnest($2::uuid[], $3::text[], $4::int[], $5::text[], $6::timestamptz[], $7::timestamptz[],
                         $8::timestamptz[], $9::timestamptz[], $10::jsonb[], $11::text[], $12::timestamptz[], $13::text[],
                         $14::bytea[], $15::bytea[])
         with ordinality
         as w(run_id, pipeline, version, run_key, logical_date, interval_start, interval_end, fire_at, params, trigger,
              created_at, created_by, placed_states, waiting_states, ordinal)
), locked as (
  select p.name, p.paused, p.active_runs, p.max_active_runs, p.concurrency_group
    from pipeline p where p.name in (select pipeline from wanted) order by p.name for update
), groups as (
  select c.name, c.active_runs from concurrency_group c
   where c.name in (select concurrency_group from locked) order by c.name for update
), fresh as (
  select w.*, l.concurrency_group,
         not l.paused
         and l.active_runs + row_number() over (partition by w.pipeline order by w.ordinal) <= l.max_active_runs
         and (l.concurrency_group is null
              or (coalesce(g.active_runs, 1) = 0
                  and row_number() over (partition by l.concurrency_group order by w.ordinal) = 1)) as placed
    from wanted w
    join locked l on l.name = w.pipeline
    left join groups g on g.name = l.concurrency_group
   where not exists (select 1 from run r where r.pipeline = w.pipeline and r.run_key = w.run_key)
), created as (
  insert into run (run_id, pipeline, version, run_key, state, generation, logical_date, interval_start, interval_end,
                   fire_at, params, trigger, created_at, created_by, started_at, has_place, place_group, task_states,
                   event_seq, owner, fence)
  select run_id, pipeline, version, run_key, case when placed then 'running' else 'queued' end, 1, logical_date,
         interval_start, interval_end, fire_at, params, trigger, created_at, created_by,
         case when placed then created_at end, placed, case when placed then concurrency_group end,
         case when placed then placed_states else waiting_states end, 1, $1, 1
    from fresh
  on conflict (pipeline, run_key) do nothing
  returning run_id, pipeline, has_place, place_group
), place as (
  update pipeline p set active_runs = p.active_runs + g.runs
    from (select c.pipeline, count(*) as runs from created c where c.has_place group by c.pipeline) g
   where p.name = g.pipeline
), grouped as (
  update concurrency_group c set active_runs = 1
    from created r where r.has_place and c.name = r.place_group
), tasks as (
  insert into task_run (run_id, position, task, state, generation, attempts, tries, started_at)
  select t.run_id, t.position, t.task, case when c.has_place then t.state else 'waiting' end, 1,
         case when c.has_place then t.attempts else 0 end, case when c.has_place then t.attempts else 0 end,
         case when c.has_place then t.started_at end
    from unnest($16::uuid[], $17::int[], $18::text[], $19::text[], $20::int[], $21::timestamptz[])
         as t(run_id, position, task, state, attempts, started_at)
    join created c on c.run_id = t.run_id
), attempts as (
  insert into attempt (run_id, position, number, attempt_id, generation, state, operator, request, baseline, intent_at,
                       deadline_at, replica_id)
  select a.run_id, a.position, a.number, a.attempt_id, 1, 'starting', a.operator, a.request, a.baseline, a.intent_at,
         a.deadline_at, $1
    from unnest($22::uuid[], $23::int[], $24::int[], $25::uuid[], $26::text[], $27::jsonb[], $28::jsonb[],
                $29::timestamptz[], $30::timestamptz[])
         as a(run_id, position, number, attempt_id, operator, request, baseline, intent_at, deadline_at)
    join created c on c.run_id = a.run_id and c.has_place
), history as (
  insert into event (run_id, seq, at, actor, changes)
  select c.run_id, 1, e.at, e.actor, case when c.has_place then e.changes else e.changes_if_queued end
    from unnest($31::uuid[], $32::timestamptz[], $33::text[], $34::jsonb[], $35::jsonb[])
         as e(run_id, at, actor, changes, changes_if_queued)
    join created c on c.run_id = e.run_id
)
select run_id as "run_id!", has_place as "placed!" from created
