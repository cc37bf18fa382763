-- Runs of one pipeline by logical date, oldest first.
select r.run_id, r.run_key, r.state, r.generation, r.logical_date as "logical_date: jiff_sqlx::Timestamp"
  from run r
 where r.pipeline = $1
   and ($2::timestamptz is null or r.logical_date >= $2)
   and ($3::timestamptz is null or r.logical_date < $3)
   and ($4::text is null or r.state = $4)
 order by r.logical_date, r.created_at
 limit $5
