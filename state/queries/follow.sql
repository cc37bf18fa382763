-- Only what no transaction that still runs can be followed by: a later answer never holds an earlier row.
select e.xid::text as "xid!", e.run_id, e.seq, e.at as "at: jiff_sqlx::Timestamp", e.actor, e.changes,
       r.pipeline, r.run_key, coalesce(p.folder, '') as "folder!"
  from event e join run r on r.run_id = e.run_id left join pipeline p on p.name = r.pipeline
 where (e.xid, e.run_id, e.seq) > ($1::text::xid8, $2, $3)
   and e.xid < pg_snapshot_xmin(pg_current_snapshot())
 order by e.xid, e.run_id, e.seq
 limit $4
