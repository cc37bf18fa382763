-- How the events of each pipeline with triggers stand; of pipelines that had some, while events wait.
select p.name, p.current_version, p.paused, coalesce(e.waiting, 0) as "waiting!",
       e.waiting_since as "waiting_since: jiff_sqlx::Timestamp", coalesce(e.refused, 0) as "refused!",
       e.refusal,
       (select max(v.received_at) from trigger_event v where v.pipeline = p.name)
         as "last_received_at: jiff_sqlx::Timestamp"
  from pipeline p
  left join lateral (
    select count(*) as waiting, min(v.received_at) as waiting_since,
           count(*) filter (where v.refused_version = p.current_version) as refused,
           min(v.refusal) filter (where v.refused_version = p.current_version) as refusal
      from trigger_event v where v.pipeline = p.name and v.run_id is null
  ) e on true
 where ($1::text is null or p.name = $1) and not p.removed and (p.triggered or e.waiting > 0)
   and ($2::text[] is null or lies_in(p.folder, $2))
 order by p.name
