-- Backfills: a list of ordinary runs with a cap, worked off by whoever looks for work. Nothing of it
-- stands in the runs themselves, so that cancelling one leaves nothing behind.
create table backfill (
  backfill_id uuid primary key,
  pipeline    text    not null,
  -- Made by the version that was current when it was asked for.
  version     integer not null,
  reprocess   text    not null check (reprocess in ('missing','failed','all')),
  -- Of its runs, so many at once; never more than its pipeline has places for.
  max_active  integer not null check (max_active > 0),
  params      jsonb   not null,
  state       text    not null default 'running' check (state in ('running','cancelled','done')),
  created_at  timestamptz not null default clock_timestamp(),
  created_by  text    not null,
  reason      text,
  ended_at    timestamptz,
  -- Held by the replica that begins its runs; free again when it dies.
  held_until  timestamptz,
  check ((ended_at is not null) = (state <> 'running'))
);
create index backfill_running on backfill (created_at) where state = 'running';

create table backfill_run (
  backfill_id    uuid    not null references backfill,
  ordinal        integer not null,
  run_key        text    not null,
  logical_date   timestamptz not null,
  interval_start timestamptz not null,
  interval_end   timestamptz not null,
  fire_at        timestamptz,
  state          text    not null default 'waiting' check (state in ('waiting','begun','ended','left')),
  -- The generation of the run that this backfill makes: written before the run is made or cleared, so
  -- that whoever goes on after a crash knows whether that was done.
  generation     integer,
  -- How the run ended, or why it was left alone.
  outcome        text,
  primary key (backfill_id, ordinal),
  unique (backfill_id, run_key)
);

-- A notice may be about something that is no single run.
alter table outbox alter column run_id drop not null;
