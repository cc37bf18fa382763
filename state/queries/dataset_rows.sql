-- Updates of these datasets that wait for a run of this pipeline, so many of them. First those whose interval has its
-- run already; then each dataset once for each interval, where most datasets were updated first; then the rest. So what is
-- complete is always among them, however much else waits. Pipelines without an interval ($4) gather whatever came.
select w.dedupe_key, w.received_at as "received_at: jiff_sqlx::Timestamp", w.body, w.settled as "settled!"
  from (
    select t.*, count(*) filter (where t.turn = 1) over (partition by t.interval_start, t.interval_end) as datasets
      from (
        select e.*, row_number() over (partition by e.dataset, e.interval_start, e.interval_end
                                       order by e.received_at, e.dedupe_key) as turn
          from (
            select v.dedupe_key, v.received_at, v.body, v.body ->> 'dataset' as dataset, i.interval_start, i.interval_end,
                   exists (select from run r
                            where r.pipeline = $1 and r.logical_date = i.interval_start
                              and r.interval_end = i.interval_end) as settled
              from trigger_event v
             cross join lateral (
               select case when $4 then (v.body ->> 'interval_start')::timestamptz end as interval_start,
                      case when $4 then (v.body ->> 'interval_end')::timestamptz end as interval_end) i
             where v.pipeline = $1 and v.source = 'dataset' and v.run_id is null
               and v.refused_version is distinct from $2 and v.body ->> 'dataset' = any($3)
          ) e
      ) t
  ) w
 order by w.settled desc, w.turn, w.datasets desc, w.received_at, w.dedupe_key
 limit $5
