-- What a replica may call and what it did, beside its heartbeat: for people, decides nothing.
-- A constant default changes no row and no page.
alter table replica add column budgets jsonb not null default '[]';
