-- People whom an OpenID provider vouches for: known by its name and theirs there, without a password here. What they are called is
-- only shown.
alter table account
  drop constraint account_name_check,
  alter column password drop not null,
  add column issuer text check (length(issuer) <= 2000),
  add column subject text check (length(subject) <= 255),
  add constraint account_name_check check (name ~ '^[a-z0-9][a-z0-9@+._-]{0,127}$'),
  add constraint account_vouched check (num_nonnulls(issuer, subject) <> 1 and num_nonnulls(issuer, password) = 1);
create unique index account_of_provider on account (issuer, subject);

-- As before, with the provider. Never a password, nor its hash.
create or replace function audit_account() returns trigger language plpgsql as $$
begin
  insert into audit (actor, action, object, detail)
  values (new.changed_by, case tg_op when 'INSERT' then 'account.create' else 'account.change' end, new.name,
          jsonb_strip_nulls(case tg_op when 'INSERT' then jsonb_build_object('roles', new.roles, 'provider', new.issuer)
          else jsonb_build_object(
                 'before', case when old.roles <> new.roles then old.roles end,
                 'roles', case when old.roles <> new.roles then new.roles end,
                 'disabled', case when old.disabled <> new.disabled then new.disabled end,
                 'password', case when old.password <> new.password then 'changed' end) end));
  return null;
end $$;
