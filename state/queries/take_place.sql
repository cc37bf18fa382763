-- A place for one queued run, under the locks of its pipeline and group.
with wanted as (
  select r.run_id, r.pipeline from run r
   where r.run_id = $1 and r.fence = $2 and r.owner = $3 and r.state = 'queued' and not r.has_place
     for update
), locked as (
  select p.name, p.paused, p.active_runs, p.max_active_runs, p.concurrency_group
    from pipeline p where p.name in (select pipeline from wanted) for update
), groups as (
  select c.name, c.active_runs from concurrency_group c
   where c.name in (select concurrency_group from locked) for update
), free as (
  select l.name, l.concurrency_group from locked l left join groups g on g.name = l.concurrency_group
   where not l.paused and l.active_runs < l.max_active_runs
     and (l.concurrency_group is null or g.active_runs = 0)
), place as (
  update pipeline p set active_runs = p.active_runs + 1 from free f where p.name = f.name
), grouped as (
  update concurrency_group c set active_runs = 1 from free f where c.name = f.concurrency_group
)
update run r set has_place = true, place_group = f.concurrency_group
  from free f, wanted w
 where r.run_id = w.run_id
returning r.run_id
