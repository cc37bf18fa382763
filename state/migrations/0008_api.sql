-- What the API needs: tokens, requests that may come twice, and orders to read along.

-- A token is known by its id; its secret stands here only as a hash.
create table api_token (
  token_id     text primary key check (token_id ~ '^[0-9a-f]{16}$'),
  name         text not null check (length(name) between 1 and 128),
  sha256       bytea not null check (length(sha256) = 32),
  scopes       text[] not null check (cardinality(scopes) > 0 and scopes <@ array['read','operate','deploy']),
  created_at   timestamptz not null default clock_timestamp(),
  created_by   text not null,
  expires_at   timestamptz not null,
  revoked_at   timestamptz,
  last_used_at timestamptz
);
-- One live token of a name: the history names people by it.
create unique index api_token_name on api_token (name) where revoked_at is null;

-- A request for a run that its sender may repeat: which run it means is settled by the first one.
create table run_request (
  request_id text primary key check (length(request_id) between 1 and 128),
  -- Of the request's contents: another request under the same id is refused.
  sha256     bytea not null check (length(sha256) = 32),
  pipeline   text not null,
  run_key    text not null,
  created_at timestamptz not null default clock_timestamp()
);
create index run_request_age on run_request (created_at);

-- Readers that follow all runs go by transaction; those that page through runs by date and id.
create index event_follow on event (xid, run_id, seq);
create index run_page on run (logical_date, run_id);
create index run_page_of_pipeline on run (pipeline, logical_date, run_id);
drop index run_recent;
