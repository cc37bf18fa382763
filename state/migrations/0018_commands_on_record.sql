-- What somebody asks of a run is on record whether its owner hears it at once or by a letter; until now only letters were.
-- Tasks by name, of many the first ones: positions say nothing to whoever reads it.
create function record_command(of_run uuid, by_actor text, asked jsonb) returns void language plpgsql as $$
declare
  positions jsonb := coalesce(asked -> 'tasks', '[]') || coalesce(nullif(asked -> 'task', 'null'), '[]');
  shown constant integer := 20;
  more integer := jsonb_array_length(positions) - shown;
begin
  insert into audit (actor, action, object, pipeline, detail)
  select by_actor, 'run.' || coalesce(asked ->> 'command', 'command'), r.pipeline || '@' || r.run_key, r.pipeline,
         asked - '{tasks,task,generation,seen}'::text[] || jsonb_strip_nulls(jsonb_build_object(
           'tasks', (select jsonb_agg(t.task order by t.position)
                       from (select p.position::integer from jsonb_array_elements_text(positions) p (position) limit shown) p
                       join task_run t on t.run_id = r.run_id and t.position = p.position),
           'more_tasks', case when more > 0 then more end))
    from run r where r.run_id = of_run;
end $$;

create or replace function audit_command() returns trigger language plpgsql as $$
begin
  perform record_command(new.run_id, new.actor, new.command);
  return null;
end $$;
