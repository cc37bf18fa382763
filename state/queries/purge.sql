-- Some ended runs of one pipeline that are older than a moment, with everything that belongs to them.
-- The index by logical date finds them; a run that ended so long ago covers nothing later.
with old as materialized (
  select r.run_id from run r
   where r.pipeline = $1 and r.logical_date < $2 and r.ended_at < $2
     and r.state in ('succeeded','failed','cancelled') and not r.has_place
   order by r.logical_date limit $3 for update skip locked
), logs as (
  delete from log_chunk l using old o where l.run_id = o.run_id
), attempts as (
  delete from attempt a using old o where a.run_id = o.run_id
), tasks as (
  delete from task_run t using old o where t.run_id = o.run_id
), history as (
  delete from event e using old o where e.run_id = o.run_id
), letters as (
  delete from inbox i using old o where i.run_id = o.run_id
), notices as (
  delete from outbox b using old o where b.run_id = o.run_id and b.state in ('sent','dead')
), runs as (
  delete from run r using old o where r.run_id = o.run_id returning r.run_id
)
select count(*) as "purged!" from runs
