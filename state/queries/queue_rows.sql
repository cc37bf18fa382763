-- The queues that triggers read, with the newest message of each that cannot be read.
select q.queue, q.received, q.unmatched, q.last_received_at as "last_received_at: jiff_sqlx::Timestamp",
       q.messages, q.dead_letter_queue, q.dead_letters, q.asked_at as "asked_at: jiff_sqlx::Timestamp", q.trouble,
       (select count(*) from trigger_poison p where p.queue = q.queue) as "poison!",
       l.message_id as "last_poison_id?", l.reason as "last_poison_reason?"
  from trigger_queue q
  left join lateral (
    select p.message_id, p.reason from trigger_poison p where p.queue = q.queue order by p.last_at desc limit 1
  ) l on true
 order by q.queue
