-- Browsers that signed in. What their cookie holds stands here only as a hash.
create table web_session (
  sha256       bytea primary key check (length(sha256) = 32),
  -- The token that was shown at sign-in: the session is good for what it is good for, and as long.
  token_id     text references api_token (token_id) on delete cascade,
  -- Or the hash of the token of a project's folder, on whose machine the server listens only.
  local_sha256 bytea check (length(local_sha256) = 32),
  created_at   timestamptz not null default clock_timestamp(),
  -- To a few minutes.
  seen_at      timestamptz not null default clock_timestamp(),
  check ((token_id is null) <> (local_sha256 is null))
);
create index web_session_age on web_session (created_at);

-- Marks of the grid: few task runs have any, and it asks for those of some runs at once. Neither index keeps a
-- task run's ordinary updates from staying on their page: what they look at does not change in those.
create index task_run_warned on task_run (run_id, position) where warnings is not null;
create index attempt_repeated on attempt (run_id, position, number) where number > 1;
