-- Medians over the last successful runs: of the run, of each of its tasks, and of a mapped task's elements
-- under its name and `[]`.
with recent as (
  select run_id, started_at, ended_at from run
   where pipeline = $1 and state = 'succeeded' and started_at is not null
   order by logical_date desc limit $2
)
select '' as "task!", percentile_cont(0.5) within group (order by extract(epoch from ended_at - started_at)::float8) as "seconds!"
  from recent having count(*) > 0
union all
select case when t.element_of is null then t.task else split_part(t.task, '[', 1) || '[]' end, percentile_cont(0.5) within group (order by extract(epoch from t.ended_at - t.started_at)::float8)
  from task_run t join recent using (run_id)
 where t.state = 'succeeded' and t.started_at is not null
 group by 1
