-- The two writes of the hot path as functions. Each is one call and one transaction, as the
-- statements before were; but a session plans it once instead of starting some twenty nodes
-- for the six rows that a step of a run changes, and each kind of row comes as one array of
-- rows, not as one array per column.

-- Postgres reads a table's CHECK expressions, and the conditions of its triggers, anew for each
-- statement: that took a third of a small commit. On the three tables of the hot path, words are
-- therefore domains, and rules over several columns stand in one trigger for each table.
create domain run_state as text check (value in
  ('queued','running','paused','cancelling','succeeded','failed','cancelled'));
create domain task_state as text check (value in
  ('waiting','queued','running','retrying','awaiting_approval','succeeded','failed','skipped','upstream_failed',
   'cancelled'));
create domain attempt_state as text check (value in
  ('starting','running','unknown','cancelling','succeeded','failed','timed_out','cancelled','lost'));
create domain stop_reason as text check (value in ('cancel', 'timeout'));

drop index run_live;
alter table run
  drop constraint run_state_check, drop constraint run_run_key_check, drop constraint run_generation_check,
  drop constraint run_check, drop constraint run_check1, drop constraint run_check2,
  alter column state type run_state;
create index run_live on run (created_at) where state in ('queued','running','paused','cancelling');
alter table task_run drop constraint task_run_state_check, alter column state type task_state;

-- Requests, baselines and handles are carried, never looked into: kept as the very text that
-- was made, so that what is sent again is what was sent.
drop trigger attempt_intent_is_final on attempt;
drop trigger attempt_ended_is_final on attempt;
alter table attempt
  drop constraint attempt_state_check, drop constraint attempt_number_check, drop constraint attempt_stop_reason_check,
  drop constraint attempt_check, drop constraint attempt_check1, drop constraint attempt_check2,
  alter column state type attempt_state,
  alter column stop_reason type stop_reason,
  alter column request type json using request::json,
  alter column baseline type json using baseline::json,
  alter column handle type json using handle::json;

create function guard_run() returns trigger language plpgsql as $$
begin
  if length(new.run_key) not between 1 and 512 or new.generation < 1
    or (new.interval_start is null) <> (new.interval_end is null) or new.interval_start >= new.interval_end
    or (new.ended_at is not null) <> (new.state in ('succeeded','failed','cancelled'))
  then
    raise exception 'run % in state % breaks a rule of runs', new.run_id, new.state
      using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger run_guard before insert or update on run for each row execute function guard_run();

create function guard_attempt() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' then
    if old.ended_at is not null then
      raise exception 'attempt is append-only once it ended: update refused'
        using errcode = 'integrity_constraint_violation';
    end if;
    if old.request::text <> new.request::text then
      raise exception 'the request of an attempt is append-only: update refused'
        using errcode = 'integrity_constraint_violation';
    end if;
  end if;
  if new.number < 1
    or (new.state in ('running','cancelling') and new.handle is null)
    or (new.state in ('starting','unknown','running','cancelling') and new.request::text = 'null')
    or (new.ended_at is not null) <> (new.state in ('succeeded','failed','timed_out','cancelled','lost'))
  then
    raise exception 'attempt % of task % of run % in state % breaks a rule of attempts',
      new.number, new.position, new.run_id, new.state using errcode = 'check_violation';
  end if;
  return new;
end $$;
create trigger attempt_guard before insert or update on attempt for each row execute function guard_attempt();

-- Fields stand in the order in which the store sends them.
create type new_run as (
  run_id uuid, pipeline text, version integer, run_key text, logical_date timestamptz, interval_start timestamptz,
  interval_end timestamptz, fire_at timestamptz, params jsonb, trigger text, created_at timestamptz, created_by text,
  placed_states bytea, waiting_states bytea, changes jsonb, changes_if_queued jsonb, ordinal integer,
  -- Made for whoever looks for work: queued, and owned by nobody.
  left_to_others boolean
);
create type new_task as (
  run_id uuid, task_position integer, task text, state text, attempts integer, started_at timestamptz
);
-- What a commit says of a run; `changes` is its line of history, if there is one.
create type run_change as (
  run_id uuid, fence bigint, state text, generation integer, started_at timestamptz, ended_at timestamptz,
  cancel_reason text, task_states bytea, at timestamptz, actor text, changes jsonb
);
create type task_change as (
  run_id uuid, task_position integer, state text, generation integer, attempts integer, tries integer,
  retry_at timestamptz, outputs jsonb, warnings jsonb, failure jsonb, started_at timestamptz, ended_at timestamptz
);
-- A new attempt, or a changed one: that leaves out what an intent fixed for ever.
create type attempt_change as (
  run_id uuid, task_position integer, number integer, attempt_id uuid, generation integer, operator text,
  request json, baseline json, state text, intent_at timestamptz, deferred_until timestamptz, handle json,
  external_id text, reattached boolean, deadline_at timestamptz, stop_reason text, note text,
  started_at timestamptz, ended_at timestamptz, failure jsonb, result jsonb
);
create type notice_request as (run_id uuid, dedupe_key text, payload jsonb);
create type letter_answer as (run_id uuid, inbox_id bigint);

create function insert_attempts(replica uuid, attempts attempt_change[]) returns void language plpgsql as $$
begin
  insert into attempt (run_id, position, number, attempt_id, generation, state, operator, request, baseline, intent_at,
                       deferred_until, handle, external_id, reattached, deadline_at, stop_reason, note, started_at,
                       ended_at, failure, result, replica_id)
  select a.run_id, a.task_position, a.number, a.attempt_id, a.generation, a.state, a.operator, a.request, a.baseline,
         a.intent_at, a.deferred_until, a.handle, a.external_id, a.reattached, a.deadline_at, a.stop_reason, a.note,
         a.started_at, a.ended_at, a.failure, a.result, replica
    from unnest(attempts) a;
end $$;

-- Creates runs and owns them, with their first intents, or leaves them to others. A run gets its place if its pipeline
-- (under its row lock) and its group have one; else it waits, queued, with none of the given
-- attempts. A run whose key is taken, or whose pipeline is unknown, is not in the answer.
create function create_runs(replica uuid, runs new_run[], tasks new_task[], attempts attempt_change[])
returns table (created_run uuid, placed boolean) language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  names text[] := array(select distinct w.pipeline from unnest(runs) w);
  home pipeline;
  w new_run;
  gets_place boolean;
  taken integer := 0;
  with_place uuid[] := '{}';
  waiting uuid[] := '{}';
begin
  -- Locked in one order by everybody: pipelines by name, then groups by name.
  perform from pipeline p where p.name = any(names) order by p.name for update;
  perform from concurrency_group c
    where c.name in (select p.concurrency_group from pipeline p where p.name = any(names)) order by c.name for update;

  for w in select u.* from unnest(runs) u order by u.pipeline, u.ordinal loop
    if home.name is distinct from w.pipeline then
      if taken > 0 then
        update pipeline p set active_runs = p.active_runs + taken where p.name = home.name;
        taken := 0;
      end if;
      select p.* into home from pipeline p where p.name = w.pipeline;
      continue when home.name is null;
    end if;
    gets_place := not w.left_to_others and not home.paused and home.active_runs + taken < home.max_active_runs
      and (home.concurrency_group is null
           or exists (select from concurrency_group c where c.name = home.concurrency_group and c.active_runs = 0));
    insert into run (run_id, pipeline, version, run_key, state, generation, logical_date, interval_start, interval_end,
                     fire_at, params, trigger, created_at, created_by, started_at, has_place, place_group, task_states,
                     event_seq, owner, fence)
    values (w.run_id, w.pipeline, w.version, w.run_key, case when gets_place then 'running' else 'queued' end, 1,
            w.logical_date, w.interval_start, w.interval_end, w.fire_at, w.params, w.trigger, w.created_at,
            w.created_by, case when gets_place then w.created_at end, gets_place,
            case when gets_place then home.concurrency_group end,
            case when gets_place then w.placed_states else w.waiting_states end, 1,
            case when not w.left_to_others then replica end, 1)
    on conflict (pipeline, run_key) do nothing;
    continue when not found;
    insert into event (run_id, seq, at, actor, changes)
    values (w.run_id, 1, w.created_at, w.created_by, case when gets_place then w.changes else w.changes_if_queued end);
    if gets_place then
      with_place := with_place || w.run_id;
      taken := taken + 1;
      if home.concurrency_group is not null then
        update concurrency_group c set active_runs = 1 where c.name = home.concurrency_group;
      end if;
    else
      waiting := waiting || w.run_id;
    end if;
  end loop;
  if taken > 0 then
    update pipeline p set active_runs = p.active_runs + taken where p.name = home.name;
  end if;

  if cardinality(with_place) < cardinality(runs) then
    insert into task_run (run_id, position, task, state, generation, attempts, tries)
    select t.run_id, t.task_position, t.task, 'waiting', 1, 0, 0
      from unnest(tasks) t where t.run_id = any(waiting);
    tasks := array(select t from unnest(tasks) t where t.run_id = any(with_place));
    attempts := array(select a from unnest(attempts) a where a.run_id = any(with_place));
  end if;
  insert into task_run (run_id, position, task, state, generation, attempts, tries, started_at)
  select t.run_id, t.task_position, t.task, t.state, 1, t.attempts, t.attempts, t.started_at from unnest(tasks) t;
  perform insert_attempts(replica, attempts);
  return query select i, true from unnest(with_place) i union all select i, false from unnest(waiting) i;
end $$;

-- One guarded write of many runs: rows of runs whose fence does not match are left alone, and
-- the runs that were written are returned.
--
-- Each kind of row is one statement, and every one of them must begin with the array and look rows
-- up by their keys. Plans are made once per session, perhaps while a table is still empty, and kept:
-- the settings leave no other plan that could look cheap then.
create function save_runs(
  replica uuid, runs run_change[], tasks task_change[], new_attempts attempt_change[], attempts attempt_change[],
  notices notice_request[], letters letter_answer[]
) returns uuid[] language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
set random_page_cost = 0 set cpu_operator_cost = 0.0001 as $$
#variable_conflict use_column
declare
  changed bigint;
  written uuid[];
  leaving uuid[];
begin
  if exists (select from unnest(runs) r where r.ended_at is not null) then
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
  return written;
end $$;
