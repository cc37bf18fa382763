-- One backfill that nobody works off.
update backfill f set held_until = clock_timestamp() + make_interval(secs => $2)
  from (select backfill_id from backfill
         where state = 'running' and coalesce(held_until, '-infinity') <= clock_timestamp()
           and ($1::uuid is null or backfill_id = $1)
         order by coalesce(held_until, created_at) limit 1 for update skip locked) d
 where f.backfill_id = d.backfill_id
returning f.backfill_id
