-- Rights are given by folder: where a pipeline's file lies below the pipelines folder. Known from the next deploy on;
-- until then only whoever has rights everywhere sees it.
alter table pipeline add column folder text not null default '' check (length(folder) <= 512);

-- Whether a folder is one of these or lies in one; '' is the pipelines folder itself.
create function lies_in(folder text, folders text[]) returns boolean language sql immutable parallel safe
return exists (select from unnest(folders) f where f = '' or folder = f or starts_with(folder, f || '/'));

-- Whether a pipeline may be seen by whoever sees these folders. Statements that go over many rows ask it only where folders are
-- named: a function costs a call for each row.
create function is_seen(pipeline_name text, folders text[]) returns boolean language sql stable parallel safe
return exists (select from pipeline p where p.name = pipeline_name and lies_in(p.folder, folders));

-- People with a password.
create table account (
  name        text primary key check (name ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
  -- Argon2id with its settings and salt, as a PHC string.
  password    text  not null check (password like '$argon2id$%' and length(password) <= 512),
  -- Folder -> role: {"": "viewer", "finance": "operator"}.
  roles       jsonb not null check (jsonb_typeof(roles) = 'object' and roles <> '{}'),
  created_at  timestamptz not null default clock_timestamp(),
  created_by  text  not null,
  changed_at  timestamptz not null default clock_timestamp(),
  changed_by  text  not null,
  disabled    boolean not null default false
);

alter table web_session
  add column account text references account on delete cascade,
  drop constraint web_session_check,
  add constraint web_session_owner check (num_nonnulls(token_id, local_sha256, account) = 1);

alter table api_token
  drop constraint api_token_scopes_check,
  add constraint api_token_scopes_check
    check (cardinality(scopes) > 0 and scopes <@ array['read','operate','deploy','admin']),
  -- Where it may be used; '' is everywhere.
  add column folders text[] not null default array[''] check (cardinality(folders) > 0),
  add column revoked_by text;

alter table backfill add column cancelled_by text;

-- What people and programs asked for, written by the transaction that does it, whoever sends the statement: the triggers
-- below do it. What runs do by themselves stands in their history.
create table audit (
  audit_id bigint generated always as identity primary key,
  at       timestamptz not null default clock_timestamp(),
  actor    text  not null,
  -- What was done: run.create, run.clear, pipeline.pause, deploy, token.create, account.change, …
  action   text  not null,
  -- To what: pipeline@key, a pipeline, the name of a token or an account.
  object   text  not null,
  -- The pipeline that it concerns, if it is one.
  pipeline text,
  detail   jsonb not null default '{}'
);
create index audit_of_pipeline on audit (pipeline, audit_id);
create trigger audit_append_only before update or delete on audit for each row execute function refuse_change();
create trigger audit_kept before truncate on audit for each statement execute function refuse_change();

create function audit_run() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object, pipeline, detail)
  values (new.created_by, 'run.create', new.pipeline || '@' || new.run_key, new.pipeline, jsonb_build_object('params', new.params));
  return null;
end $$;
-- By hand only: the others follow from a schedule, an event, a task, or a backfill that is written down itself.
create trigger audit_run after insert on run for each row when (new.trigger = 'manual') execute function audit_run();

create function audit_command() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object, pipeline, detail)
  select new.actor, 'run.' || coalesce(new.command ->> 'command', 'command'), r.pipeline || '@' || r.run_key, r.pipeline, new.command from run r where r.run_id = new.run_id;
  return null;
end $$;
create trigger audit_command after insert on inbox for each row execute function audit_command();

create function audit_deployment() returns trigger language plpgsql as $$
declare
  before jsonb := coalesce((select d.versions from deployment d where d.deployment_id < new.deployment_id
                             order by d.deployment_id desc limit 1), '{}');
begin
  insert into audit (actor, action, object, pipeline, detail)
  select new.actor, 'deploy', name, name, jsonb_build_object('before', before -> name, 'after', new.versions -> name)
    from (select jsonb_object_keys(before || new.versions) as name) names
   where before -> name is distinct from new.versions -> name;
  return null;
end $$;
create trigger audit_deployment after insert on deployment for each row execute function audit_deployment();

create function audit_switch() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object, pipeline, detail)
  values (new.switched_by, case when new.paused then 'pipeline.pause' else 'pipeline.resume' end, new.name, new.name,
          jsonb_strip_nulls(jsonb_build_object('reason', new.switch_reason)));
  return null;
end $$;
create trigger audit_switch after update of switched_at on pipeline
  for each row when (new.switched_at is distinct from old.switched_at) execute function audit_switch();

create function audit_backfill() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object, pipeline, detail)
  values (case tg_op when 'INSERT' then new.created_by else coalesce(new.cancelled_by, '') end,
          case tg_op when 'INSERT' then 'backfill.create' else 'backfill.cancel' end, new.backfill_id::text, new.pipeline,
          jsonb_strip_nulls(jsonb_build_object('reprocess', new.reprocess, 'params', new.params, 'reason', new.reason)));
  return null;
end $$;
create trigger audit_backfill after insert on backfill for each row execute function audit_backfill();
create trigger audit_cancel after update of state on backfill
  for each row when (new.state = 'cancelled' and old.state <> 'cancelled') execute function audit_backfill();

create function audit_token() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object, detail)
  values (case tg_op when 'INSERT' then new.created_by else coalesce(new.revoked_by, '') end,
          case tg_op when 'INSERT' then 'token.create' else 'token.revoke' end, new.name,
          jsonb_build_object('id', new.token_id, 'scopes', new.scopes, 'folders', new.folders, 'expires', new.expires_at::date));
  return null;
end $$;
create trigger audit_token after insert on api_token for each row execute function audit_token();
create trigger audit_revocation after update of revoked_at on api_token
  for each row when (old.revoked_at is null and new.revoked_at is not null) execute function audit_token();

-- Never a password, nor its hash.
create function audit_account() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object, detail)
  values (new.changed_by, case tg_op when 'INSERT' then 'account.create' else 'account.change' end, new.name,
          case tg_op when 'INSERT' then jsonb_build_object('roles', new.roles)
          else jsonb_strip_nulls(jsonb_build_object(
                 'before', case when old.roles <> new.roles then old.roles end,
                 'roles', case when old.roles <> new.roles then new.roles end,
                 'disabled', case when old.disabled <> new.disabled then new.disabled end,
                 'password', case when old.password <> new.password then 'changed' end)) end);
  return null;
end $$;
create trigger audit_account after insert or update on account for each row execute function audit_account();

create function audit_sign_in() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object)
  values (coalesce('account:' || new.account, 'token:' || coalesce((select t.name from api_token t where t.token_id = new.token_id), 'local')),
          'sign-in', '');
  return null;
end $$;
create trigger audit_sign_in after insert on web_session for each row execute function audit_sign_in();
