select f.backfill_id, f.pipeline, f.version, f.reprocess, f.max_active, f.params, f.state, f.created_by, f.reason,
       f.created_at as "created_at: jiff_sqlx::Timestamp", f.ended_at as "ended_at: jiff_sqlx::Timestamp",
       count(b.ordinal) as "total!", count(*) filter (where b.state = 'begun') as "begun!",
       count(*) filter (where b.state in ('ended','left')) as "over!"
  from backfill f left join backfill_run b using (backfill_id)
 where ($1::uuid is null or f.backfill_id = $1)
   and ($3::timestamptz is null or (f.created_at, f.backfill_id) < ($3, $4::uuid))
   and ($5::text[] is null or is_seen(f.pipeline, $5))
 group by f.backfill_id
 order by f.created_at desc, f.backfill_id desc
 limit $2
