-- Mapped tasks (`for_each`): one task run for each element of a list, at positions behind those of the
-- pipeline's own tasks.
alter table task_run
  -- Of an element: the position of its mapped task, its place in the list, and what it stands for.
  add column element_of integer,
  add column element_index integer,
  add column item jsonb,
  -- Of a mapped task: how many elements its list has; none while that is not known. Elements beyond
  -- that number are of an earlier generation.
  add column elements integer,
  add constraint task_run_element check (
    (element_of is null) = (element_index is null) and (element_of is null) = (item is null) and element_index >= 0);

create type new_element as (
  run_id uuid, task_position integer, task text, element_of integer, element_index integer, item jsonb
);
create type expansion as (run_id uuid, task_position integer, elements integer);

-- The same write as `save_runs` where lists became known or were dropped: the elements' rows first, then
-- everything else, which finds them. Only of runs whose owner and fence match.
create function save_expanding_runs(
  replica uuid, runs run_change[], tasks task_change[], new_attempts attempt_change[], attempts attempt_change[],
  notices notice_request[], letters letter_answer[], expansions expansion[], elements new_element[]
) returns uuid[] language plpgsql set enable_seqscan = off as $$
#variable_conflict use_column
declare
  mine uuid[];
  changed bigint;
begin
  mine := array(
    select k.run_id from unnest(runs) r join run k on k.run_id = r.run_id
     where k.fence = r.fence and k.owner = replica for update of k);
  insert into task_run (run_id, position, task, state, generation, attempts, tries, element_of, element_index, item)
  select e.run_id, e.task_position, e.task, 'waiting', 1, 0, 0, e.element_of, e.element_index, e.item
    from unnest(elements) e where e.run_id = any(mine)
  on conflict (run_id, position) do update set item = excluded.item;
  expansions := array(select x from unnest(expansions) x where x.run_id = any(mine));
  update task_run k set elements = x.elements
    from unnest(expansions) x where k.run_id = x.run_id and k.position = x.task_position;
  get diagnostics changed = row_count;
  perform expect_rows('mapped task_run', cardinality(expansions), changed);
  return save_runs(replica, runs, tasks, new_attempts, attempts, notices, letters);
end $$;
