-- Deadlines: fires up to here were looked at, and when to look again. Decided like the schedule itself.
alter table pipeline add column late_until timestamptz;
alter table pipeline add column next_late_at timestamptz;
create index pipeline_late on pipeline (next_late_at) where next_late_at is not null;
