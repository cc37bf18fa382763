-- The runs that somebody waits for, one statement for all: the run of a key, or the newest of a
-- pipeline that succeeded at a time or later. The latter looks at the thousand newest only, which
-- the index by logical date gives.
select w.place as "place!", r.run_id as "run_id!", r.pipeline as "pipeline!", r.run_key as "run_key!",
       r.state as "state!", r.generation as "generation!",
       r.ended_at as "ended_at: jiff_sqlx::Timestamp"
  from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (pipeline, run_key, since, place)
 cross join lateral (
   select n.run_id, n.pipeline, n.run_key, n.state, n.generation, n.ended_at
     from run n
    where w.since = '' and n.pipeline = w.pipeline and n.run_key = w.run_key
   union all
   (select m.run_id, m.pipeline, m.run_key, m.state, m.generation, m.ended_at
      from (select * from run s where w.since <> '' and s.pipeline = w.pipeline
             order by s.logical_date desc limit 1000) m
     where m.state = 'succeeded' and m.ended_at >= nullif(w.since, '')::timestamptz
     order by m.ended_at
     limit 1)
 ) r
