-- The end of a run gives its place back. A place that was being taken at that very moment (a run that
-- is cancelled while it asks for one) was not seen: the row was looked for by a column that the other
-- transaction was changing, so nobody waited for it, and the place stayed taken for ever.

create or replace function save_runs(
  replica uuid, runs run_change[], tasks task_change[], new_attempts attempt_change[], attempts attempt_change[],
  notices notice_request[], letters letter_answer[]
) returns uuid[] language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  r run_change;
  t task_change;
  a attempt_change;
  seq integer;
  holds_place boolean;
  written uuid[] := '{}';
  leaving uuid[] := '{}';
begin
  foreach r in array runs loop
    if r.ended_at is not null then
      -- Locked first, whether or not it seems to hold a place: only then is that read from the newest
      -- version of its row.
      select k.has_place into holds_place from run k
        where k.run_id = r.run_id and k.fence = r.fence and k.owner = replica for update;
      if found and holds_place then
        leaving := leaving || r.run_id;
      end if;
    end if;
    update run k
       set state = r.state, generation = r.generation, started_at = r.started_at, ended_at = r.ended_at,
           cancel_reason = r.cancel_reason, has_place = k.has_place and r.ended_at is null,
           task_states = r.task_states, event_seq = k.event_seq + (r.changes is not null)::integer,
           owner = case when r.ended_at is null then k.owner end
     where k.run_id = r.run_id and k.fence = r.fence and k.owner = replica
    returning k.event_seq into seq;
    continue when not found;
    written := written || r.run_id;
    if r.changes is not null then
      insert into event (run_id, seq, at, actor, changes) values (r.run_id, seq, r.at, r.actor, r.changes);
    end if;
  end loop;

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

  foreach t in array tasks loop
    update task_run k
       set state = t.state, generation = t.generation, attempts = t.attempts, tries = t.tries, retry_at = t.retry_at,
           outputs = t.outputs, warnings = t.warnings, failure = t.failure, started_at = t.started_at,
           ended_at = t.ended_at
     where k.run_id = t.run_id and k.position = t.task_position;
    if not found then
      perform expect_rows('task_run', 1, 0);
    end if;
  end loop;
  foreach a in array attempts loop
    update attempt k
       set state = a.state, intent_at = a.intent_at, deferred_until = a.deferred_until, handle = a.handle,
           external_id = a.external_id, reattached = a.reattached, deadline_at = a.deadline_at,
           stop_reason = a.stop_reason, note = a.note, started_at = a.started_at, ended_at = a.ended_at,
           failure = a.failure, result = a.result
     where k.run_id = a.run_id and k.position = a.task_position and k.number = a.number and k.ended_at is null;
    if not found then
      perform expect_rows('attempt', 1, 0);
    end if;
  end loop;
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
