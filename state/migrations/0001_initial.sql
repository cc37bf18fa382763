-- The store. Every table that the engine writes on its hot path is written in one statement
-- with the run that it belongs to, guarded by the run's owner and fence; foreign keys from
-- those tables to the run would lock the run's row once per child row and buy nothing.
-- States are text with a CHECK, so that a later state needs no blocking type change.

create table installation (
  singleton       boolean primary key default true check (singleton),
  installation_id uuid    not null default gen_random_uuid(),
  -- Raised by a person after a restore to an earlier point in time: new tokens, fresh starts.
  incarnation     integer not null default 1 check (incarnation > 0)
);
insert into installation default values;

-- Who is alive. Decides when work may be taken over; never whether a write is allowed.
create table replica (
  replica_id   uuid primary key,
  host         text        not null,
  pid          integer     not null,
  -- Boot and process namespace: within one machine, a process that is gone is dead at once.
  machine      text        not null default '',
  role         text        not null check (role in ('serve', 'command')),
  version      text        not null,
  started_at   timestamptz not null default clock_timestamp(),
  heartbeat_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

create table pipeline (
  name              text primary key check (name ~ '^[a-z][a-z0-9_]{0,127}$'),
  current_version   integer not null,
  -- A removed pipeline stops firing and keeps its history.
  removed           boolean not null default false,
  paused            boolean not null default false,
  -- Places: taken under this row's lock, given back by the commit that ends the run.
  active_runs       integer not null default 0 check (active_runs >= 0),
  max_active_runs   integer not null check (max_active_runs > 0),
  concurrency_group text,
  -- The schedule: fires up to here are dealt with; the next one is due then.
  fired_until       timestamptz,
  next_fire_at      timestamptz,
  schedule_version  bigint not null default 0
) with (fillfactor = 50);
create index pipeline_due on pipeline (next_fire_at) where next_fire_at is not null;

create table concurrency_group (
  name        text primary key,
  active_runs integer not null default 0 check (active_runs in (0, 1))
) with (fillfactor = 50);

create table pipeline_version (
  pipeline   text    not null,
  version    integer not null check (version > 0),
  sha256     bytea   not null check (length(sha256) = 32),
  -- json, not jsonb: params and settings keep the order in which people wrote them.
  spec       json    not null,
  source     text    not null,
  created_at timestamptz not null default clock_timestamp(),
  created_by text    not null,
  primary key (pipeline, version),
  unique (pipeline, sha256)
);

create table deployment (
  deployment_id bigint generated always as identity primary key,
  at            timestamptz not null default clock_timestamp(),
  actor         text  not null,
  -- pipeline name -> version that was current after it; what a rollback restores.
  versions      jsonb not null
);

create table run (
  run_id         uuid primary key,
  pipeline       text    not null,
  version        integer not null,
  run_key        text    not null check (length(run_key) between 1 and 512),
  state          text    not null check (state in
    ('queued','running','paused','cancelling','succeeded','failed','cancelled')),
  generation     integer not null default 1 check (generation > 0),
  logical_date   timestamptz not null,
  interval_start timestamptz,
  interval_end   timestamptz,
  fire_at        timestamptz,
  params         jsonb   not null,
  trigger        text    not null,
  created_at     timestamptz not null,
  created_by     text    not null,
  started_at     timestamptz,
  ended_at       timestamptz,
  cancel_reason  text,
  -- Whether it holds a place of its pipeline and group.
  has_place      boolean not null default false,
  -- The group whose place it holds: a deploy may rename the pipeline's group meanwhile.
  place_group    text,
  -- One letter per task, by position: what the grid reads.
  task_states    bytea   not null,
  -- No history row of it has a higher sequence number; numbers may be left out.
  event_seq      integer not null default 0,
  owner          uuid,
  fence          bigint  not null default 0,
  unique (pipeline, run_key),
  check ((interval_start is null) = (interval_end is null)),
  check (interval_start is null or interval_start < interval_end),
  check ((ended_at is not null) = (state in ('succeeded','failed','cancelled')))
) with (fillfactor = 60);
create index run_live on run (created_at) where state in ('queued','running','paused','cancelling');
create index run_recent on run (pipeline, logical_date desc);

create table task_run (
  run_id     uuid    not null,
  position   integer not null,
  task       text    not null,
  state      text    not null check (state in
    ('waiting','queued','running','retrying','awaiting_approval','succeeded','failed','skipped','upstream_failed','cancelled')),
  generation integer not null,
  -- The newest attempt's number; never reset, so that no token is used twice.
  attempts   integer not null,
  tries      integer not null,
  retry_at   timestamptz,
  outputs    jsonb,
  warnings   jsonb,
  failure    jsonb,
  started_at timestamptz,
  ended_at   timestamptz,
  primary key (run_id, position)
) with (fillfactor = 60);

create table attempt (
  run_id      uuid    not null,
  position    integer not null,
  number      integer not null check (number > 0),
  attempt_id  uuid    not null,
  generation  integer not null,
  state       text    not null check (state in
    ('starting','running','unknown','cancelling','succeeded','failed','timed_out','cancelled','lost')),
  operator    text    not null,
  -- The intent: committed before the first byte goes out, then never changed but for its
  -- time, and that only while no job can exist.
  request     jsonb   not null,
  baseline    jsonb   not null,
  intent_at   timestamptz not null,
  deferred_until timestamptz,
  handle      jsonb,
  external_id text,
  reattached  boolean not null default false,
  deadline_at timestamptz not null,
  stop_reason text check (stop_reason in ('cancel', 'timeout')),
  note        text,
  started_at  timestamptz,
  ended_at    timestamptz,
  failure     jsonb,
  result      jsonb,
  replica_id  uuid    not null,
  primary key (run_id, position, number),
  check (state not in ('running','cancelling') or handle is not null),
  check (state not in ('starting','unknown','running','cancelling') or request <> 'null'::jsonb),
  check ((ended_at is not null) = (state in ('succeeded','failed','timed_out','cancelled','lost')))
) with (fillfactor = 60);
-- At most one live attempt of a task run: the database's word, whoever writes.
create unique index attempt_one_live on attempt (run_id, position) where ended_at is null;

-- History: one row for each commit of a run, with everything that it changed. `xid` orders
-- readers that follow along, because identities become visible out of commit order.
create table event (
  run_id  uuid    not null,
  seq     integer not null,
  at      timestamptz not null,
  xid     xid8    not null default pg_current_xact_id(),
  actor   text    not null,
  changes jsonb   not null,
  primary key (run_id, seq)
);

-- What people asked of runs that another replica owns.
create table inbox (
  inbox_id   bigint generated always as identity primary key,
  run_id     uuid  not null,
  command    jsonb not null,
  actor      text  not null,
  created_at timestamptz not null default clock_timestamp(),
  answered_at timestamptz,
  -- {"done": true} or {"refused": "why"}
  answer     jsonb
) with (fillfactor = 70);
create index inbox_open on inbox (run_id) where answered_at is null;

-- Notices, written by the commit that ended the run.
create table outbox (
  outbox_id   bigint generated always as identity primary key,
  -- run id, generation, outcome and index: a second failure of a rerun notifies again.
  dedupe_key  text   not null unique,
  run_id      uuid   not null,
  payload     jsonb  not null,
  state       text   not null default 'pending' check (state in ('pending','sending','sent','dead')),
  tries       integer not null default 0,
  due_at      timestamptz not null default clock_timestamp(),
  fence       bigint not null default 0,
  last_error  text,
  provider_id text,
  created_at  timestamptz not null default clock_timestamp(),
  sent_at     timestamptz
) with (fillfactor = 70);
create index outbox_due on outbox (due_at) where state in ('pending','sending');

-- What attempts print, in pieces.
create table log_chunk (
  run_id   uuid    not null,
  position integer not null,
  number   integer not null,
  chunk    integer not null,
  body     text    not null,
  -- Where the operator's own copy goes on after this piece, in bytes.
  next_offset bigint not null,
  at       timestamptz not null default clock_timestamp(),
  primary key (run_id, position, number, chunk)
);

-- Called by the last SELECT of a guarded write: a row count that is not the expected one rolls
-- the whole statement back.
create function expect_rows(what text, expected bigint, written bigint) returns boolean language plpgsql as $$
begin
  if expected <> written then
    raise exception 'expected % rows of %, wrote %', expected, what, written
      using errcode = 'integrity_constraint_violation';
  end if;
  return true;
end $$;

create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only: % refused', tg_table_name, lower(tg_op)
    using errcode = 'integrity_constraint_violation';
end $$;
create trigger event_append_only before update on event
  for each row execute function refuse_change();
create trigger attempt_ended_is_final before update on attempt
  for each row when (old.ended_at is not null) execute function refuse_change();
create trigger attempt_intent_is_final before update on attempt
  for each row when (old.request is distinct from new.request) execute function refuse_change();
create trigger version_is_final before update on pipeline_version
  for each row execute function refuse_change();
