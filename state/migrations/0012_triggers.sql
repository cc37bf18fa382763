-- Events that make runs. An event is a row before its message is deleted from the queue, and the row is what makes
-- it count once; the run is made by the same transaction, or by a later one while the row waits.
create table trigger_event (
  pipeline        text not null,
  source          text not null,
  dedupe_key      text not null check (length(dedupe_key) between 1 and 512),
  received_at     timestamptz not null default clock_timestamp(),
  body            jsonb not null,
  -- The run that it went into. No reference: what is purged must stay known as long as it can come again.
  run_id          uuid,
  -- The version that could make no run of it, and why; the next version is tried again.
  refused_version integer,
  refusal         text,
  primary key (pipeline, source, dedupe_key),
  check ((refused_version is null) = (refusal is null))
);
create index trigger_event_waiting on trigger_event (pipeline, received_at, dedupe_key) where run_id is null;
create index trigger_event_recent on trigger_event (pipeline, received_at);
create index trigger_event_age on trigger_event (received_at);

-- Pipelines with events that wait, and when they are looked at again.
create table trigger_wait (
  pipeline text primary key,
  look_at  timestamptz not null
);

-- What a run's trigger told, for its templates. Apart from the run: few runs have any.
create table run_trigger (
  run_id uuid primary key references run on delete cascade,
  told   jsonb not null
);

-- What was read of a queue, for people.
create table trigger_queue (
  queue             text primary key,
  received          bigint not null default 0,
  -- Told of objects that no pipeline wants.
  unmatched         bigint not null default 0,
  last_received_at  timestamptz,
  -- As the queue itself says.
  messages          bigint,
  dead_letter_queue text,
  dead_letters      bigint,
  asked_at          timestamptz,
  -- Why it cannot be read, or should be set up otherwise.
  trouble           text
);

-- Messages that cannot be read. They are left to the queue, which moves them to its dead-letter queue.
create table trigger_poison (
  queue      text not null,
  message_id text not null,
  reason     text not null,
  times      integer not null default 1,
  first_at   timestamptz not null default clock_timestamp(),
  last_at    timestamptz not null default clock_timestamp(),
  primary key (queue, message_id)
);
create index trigger_poison_age on trigger_poison (last_at);

-- Whether the current version has triggers. A binary that does not know them leaves this as it is: nothing then
-- comes of it, since its versions have none.
alter table pipeline add column triggered boolean not null default false;
