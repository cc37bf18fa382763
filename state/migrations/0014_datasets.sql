-- Datasets: what tasks say that they write. A task that succeeds updates them, and its commit records that as an event
-- for the pipelines that wait for it.

-- What the tasks of each version write: a run keeps the version that it began with. Here and not in what a server
-- sends, so that a server of an earlier release, which knows nothing of datasets, tells of the tasks that it ends too.
create table dataset_outlet (
  pipeline text    not null,
  version  integer not null,
  task     text    not null,
  dataset  text    not null check (length(dataset) between 1 and 512),
  primary key (pipeline, version, task, dataset)
);

-- Which pipelines wait for which datasets; of current versions.
create table dataset_listener (
  dataset  text not null,
  pipeline text not null,
  primary key (dataset, pipeline)
);

-- The newest update of each dataset, whoever waited for it: so that people see what is missing since when.
create table dataset (
  name        text primary key,
  updated_at  timestamptz not null,
  last_update jsonb not null
);

-- As before, and the tasks that succeed by this commit update their datasets. What had succeeded already, in the same
-- generation, does not again, so an update counts once however often its row is written.
create or replace function save_runs(
  replica uuid, runs run_change[], tasks task_change[], new_attempts attempt_change[], attempts attempt_change[],
  notices notice_request[], letters letter_answer[]
) returns uuid[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
set random_page_cost = 0 set cpu_operator_cost = 0.0001 as $$
#variable_conflict use_column
declare
  changed bigint;
  written uuid[];
  some_ended boolean := exists (select from unnest(runs) r where r.ended_at is not null);
  leaving uuid[];
  updates jsonb[] := '{}';
  waiters text[] := '{}';
begin
  if some_ended then
    -- Locked first, whether or not they seem to hold a place: the next statement then reads that from
    -- the newest versions of their rows.
    perform from unnest(runs) r join run k on k.run_id = r.run_id
      where r.ended_at is not null and k.fence = r.fence and k.owner = replica for update of k;
    leaving := array(
      select k.run_id from unnest(runs) r join run k on k.run_id = r.run_id
       where r.ended_at is not null and k.fence = r.fence and k.owner = replica and k.has_place);
  end if;
  with saved as (
    update run k
       set state = r.state, generation = r.generation, started_at = r.started_at, ended_at = r.ended_at,
           cancel_reason = r.cancel_reason, has_place = k.has_place and r.ended_at is null,
           task_states = r.task_states, event_seq = k.event_seq + (r.changes is not null)::integer,
           owner = case when r.ended_at is null then k.owner end
      from unnest(runs) r
     where k.run_id = r.run_id and k.fence = r.fence and k.owner = replica
    returning k.run_id, k.event_seq, r.at, r.actor, r.changes
  ), history as (
    insert into event (run_id, seq, at, actor, changes)
    select s.run_id, s.event_seq, s.at, s.actor, s.changes from saved s where s.changes is not null
  )
  select coalesce(array_agg(s.run_id), '{}') into written from saved s;

  if cardinality(leaving) > 0 then
    update pipeline p set active_runs = p.active_runs - g.runs
      from (select k.pipeline, count(*) as runs from run k where k.run_id = any(leaving) group by k.pipeline) g
     where p.name = g.pipeline;
    update concurrency_group c set active_runs = 0
     where c.name in (select k.place_group from run k where k.run_id = any(leaving));
  end if;
  if cardinality(written) < cardinality(runs) then
    tasks := array(select t from unnest(tasks) t where t.run_id = any(written));
    new_attempts := array(select a from unnest(new_attempts) a where a.run_id = any(written));
    attempts := array(select a from unnest(attempts) a where a.run_id = any(written));
    notices := array(select n from unnest(notices) n where n.run_id = any(written));
    letters := array(select l from unnest(letters) l where l.run_id = any(written));
  end if;

  if cardinality(tasks) > 0 then
    -- Before the rows are changed, while they still say who had succeeded.
    if exists (select from dataset_outlet) then
      updates := array(
        select jsonb_build_object(
                 'dataset', o.dataset, 'pipeline', k.pipeline, 'run_id', k.run_id, 'key', k.run_key, 'task', w.task,
                 'generation', t.generation, 'at', coalesce(t.ended_at, clock_timestamp()),
                 'interval_start', k.interval_start, 'interval_end', k.interval_end)
          from unnest(tasks) t
          join task_run w on w.run_id = t.run_id and w.position = t.task_position
          join run k on k.run_id = t.run_id
          join dataset_outlet o on o.pipeline = k.pipeline and o.version = k.version and o.task = w.task
         where t.state = 'succeeded' and (w.state <> 'succeeded' or w.generation <> t.generation));
    end if;
    update task_run k
       set state = t.state, generation = t.generation, attempts = t.attempts, tries = t.tries, retry_at = t.retry_at,
           outputs = t.outputs, warnings = t.warnings, failure = t.failure, started_at = t.started_at,
           ended_at = t.ended_at
      from unnest(tasks) t
     where k.run_id = t.run_id and k.position = t.task_position;
    get diagnostics changed = row_count;
    if changed <> cardinality(tasks) then
      perform expect_rows('task_run', cardinality(tasks), changed);
    end if;
  end if;
  if cardinality(attempts) > 0 then
    -- That an ended attempt is final is its table's own rule: a condition here would let the index of
    -- live attempts look like a way to read all of them.
    update attempt k
       set state = a.state, intent_at = a.intent_at, deferred_until = a.deferred_until, handle = a.handle,
           external_id = a.external_id, reattached = a.reattached, deadline_at = a.deadline_at,
           stop_reason = a.stop_reason, note = a.note, started_at = a.started_at, ended_at = a.ended_at,
           failure = a.failure, result = a.result
      from unnest(attempts) a
     where k.run_id = a.run_id and k.position = a.task_position and k.number = a.number;
    get diagnostics changed = row_count;
    if changed <> cardinality(attempts) then
      perform expect_rows('attempt', cardinality(attempts), changed);
    end if;
  end if;
  if cardinality(new_attempts) > 0 then
    perform insert_attempts(replica, new_attempts);
  end if;
  if cardinality(notices) > 0 then
    insert into outbox (dedupe_key, run_id, payload)
    select n.dedupe_key, n.run_id, n.payload from unnest(notices) n
    on conflict (dedupe_key) do nothing;
  end if;
  if cardinality(letters) > 0 then
    -- A letter is answered by the very commit that carries it out: never twice, never unnoticed.
    update inbox i set answered_at = clock_timestamp(), answer = '"done"'
     where i.inbox_id in (select l.inbox_id from unnest(letters) l) and i.answered_at is null;
  end if;
  -- Last, when every other lock is held: datasets by name, then the waiting lists, which come after the pipelines.
  if cardinality(updates) > 0 then
    insert into dataset as d (name, updated_at, last_update)
    select distinct on (u ->> 'dataset') u ->> 'dataset', (u ->> 'at')::timestamptz, u
      from unnest(updates) u order by u ->> 'dataset', (u ->> 'at')::timestamptz desc
    on conflict (name) do update set updated_at = excluded.updated_at, last_update = excluded.last_update
     where d.updated_at <= excluded.updated_at;
    with told as (
      insert into trigger_event (pipeline, source, dedupe_key, body)
      select l.pipeline, 'dataset',
             left(encode(sha256(convert_to(
               concat_ws(e'\n', u ->> 'run_id', u ->> 'generation', u ->> 'task', u ->> 'dataset'), 'UTF8')), 'hex'), 32),
             u
        from unnest(updates) u
        join dataset_listener l on l.dataset = u ->> 'dataset'
        join pipeline p on p.name = l.pipeline
       where not p.removed
      on conflict do nothing
      returning pipeline
    )
    select coalesce(array_agg(t.pipeline), '{}') into waiters from told t;
  end if;
  if some_ended and exists (select from run_listener) then
    with told as (
      insert into trigger_event (pipeline, source, dedupe_key, body)
      select l.pipeline, 'pipeline', replace(k.run_id::text, '-', '') || '-' || k.generation,
             jsonb_build_object(
               'run_id', k.run_id, 'pipeline', k.pipeline, 'key', k.run_key, 'generation', k.generation,
               'state', k.state, 'logical_date', k.logical_date, 'interval_start', k.interval_start,
               'interval_end', k.interval_end)
        from unnest(runs) r
        join run k on k.run_id = r.run_id
        join run_listener l on l.upstream = k.pipeline
        join pipeline p on p.name = l.pipeline
       where r.ended_at is not null and k.run_id = any(written) and k.state::text = any(l.states) and not p.removed
      on conflict do nothing
      returning pipeline
    )
    select waiters || coalesce(array_agg(t.pipeline), '{}') into waiters from told t;
  end if;
  if cardinality(waiters) > 0 then
    -- Each once before the clock is read, which goes on between two rows.
    insert into trigger_wait (pipeline, look_at)
    select w.pipeline, clock_timestamp() from (select distinct u as pipeline from unnest(waiters) u) w order by w.pipeline
    on conflict (pipeline) do update set look_at = excluded.look_at;
  end if;
  return written;
end $$;
