-- Lists of runs, newest first, whatever the number of runs in the store. What did not end well is rare
-- and often asked for; live runs have an index of their own, and most others succeeded.
create index run_newest on run (logical_date desc, created_at desc);
create index run_unwell on run (logical_date desc, created_at desc) where state in ('failed', 'cancelled');
create index run_unwell_of on run (pipeline, state, logical_date desc, created_at desc)
  where state in ('failed', 'cancelled');
