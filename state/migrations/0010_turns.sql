-- Turns: what an attempt needs before it may be prepared beyond its own run. Slots of a pool, which
-- attempts of all pipelines share (`pool`), and that the run before did well (`depends_on_past`).
--
-- Nothing counts slots: who has some is what was granted and is still under way, read under the lock of
-- the pool's row. So no crash leaves a slot taken, and no end of a task has to give one back.
create table pool (
  name  text primary key check (name ~ '^[a-z][a-z0-9_]{0,127}$'),
  -- 0: nothing that needs it starts for now.
  slots integer not null check (slots >= 0)
);

-- One row for each task run whose next attempt waits for its turn, or has it.
create table turn (
  run_id     uuid    not null,
  position   integer not null,
  -- Of the attempt that it is for.
  generation integer not null,
  number     integer not null,
  -- Of the newest question, under which fence of the run: what was granted before a pause, or to an
  -- earlier owner, is no answer to it.
  fence      bigint  not null,
  round      integer not null,
  pool       text,
  slots      integer not null check (slots >= 0 and (slots > 0) = (pool is not null)),
  after_past boolean not null,
  -- When it came, less its priority in minutes: the order in which slots are granted.
  rank       timestamptz not null,
  wanted_at  timestamptz not null default clock_timestamp(),
  granted_at timestamptz,
  primary key (run_id, position)
) with (fillfactor = 70);
create index turn_waiting on turn (pool, rank, run_id, position) where granted_at is null;
create index turn_granted on turn (pool) where granted_at is not null;

create type turn_want as (
  run_id uuid, task_position integer, generation integer, number integer, round integer, pool text, slots integer,
  priority integer, after_past boolean
);

-- Whether its attempt is still to come, or under way. What stands still takes nothing: a task of a
-- paused run asks again when the run is resumed.
create function is_turn_live(w turn) returns boolean language sql stable as $$
  select exists (
    select from task_run t join run r on r.run_id = t.run_id
     where t.run_id = w.run_id and t.position = w.position and t.generation = w.generation
       and (t.state = 'queued' and t.attempts + 1 = w.number and r.state = 'running'
            or t.state in ('running','awaiting_approval') and t.attempts = w.number))
$$;

-- Whether the same task did well in the run before this one, or there is none: that of the latest
-- logical date before its own, whoever made it, as far as it has the task.
create function did_past_well(of_run uuid, of_position integer) returns boolean language sql stable as $$
  select coalesce((
    select before.state in ('succeeded','skipped')
      from run r join task_run t on t.run_id = r.run_id and t.position = of_position
     cross join lateral (
       select p.run_id from run p where p.pipeline = r.pipeline and p.logical_date < r.logical_date
        order by p.logical_date desc, p.run_id desc limit 1) past
      left join task_run before on before.run_id = past.run_id and before.task = t.task
     where r.run_id = of_run), true)
$$;

create function tell_owners(replica uuid, runs uuid[]) returns void language plpgsql as $$
begin
  if exists (select from run r where r.run_id = any(runs) and r.owner <> replica) then
    perform pg_notify('trunkline', '');
  end if;
end $$;

-- Grants what is free in these pools, whose rows the caller has locked. The first in the order gets its
-- slots or everybody waits: one that needs many is not passed by for ever by those that need few. What
-- needs more than there are gets all of them. Who waits for the past stands in nobody's way.
create function grant_slots(replica uuid, pools text[]) returns void language plpgsql as $$
#variable_conflict use_column
declare
  home pool;
  w turn;
  free integer;
  granted uuid[] := '{}';
begin
  for home in select p.* from pool p where p.name = any(pools) order by p.name loop
    delete from turn u where u.pool = home.name and u.granted_at is not null and not is_turn_live(u);
    select home.slots - coalesce(sum(u.slots), 0) into free
      from turn u where u.pool = home.name and u.granted_at is not null;
    if free > 0 then
      for w in select u.* from turn u where u.pool = home.name and u.granted_at is null
                order by u.rank, u.run_id, u.position loop
        if not is_turn_live(w) then
          delete from turn u where u.run_id = w.run_id and u.position = w.position;
          continue;
        end if;
        continue when w.after_past and not did_past_well(w.run_id, w.position);
        exit when w.slots > free and free < home.slots;
        update turn u set granted_at = clock_timestamp() where u.run_id = w.run_id and u.position = w.position;
        granted := granted || w.run_id;
        free := free - w.slots;
        exit when free <= 0;
      end loop;
    end if;
  end loop;
  perform tell_owners(replica, granted);
end $$;

-- Lets those go on that wait for the past alone.
create function grant_after_past(replica uuid) returns void language plpgsql as $$
#variable_conflict use_column
declare
  granted uuid[];
begin
  delete from turn u where u.pool is null and not is_turn_live(u);
  with now_granted as (
    update turn u set granted_at = clock_timestamp()
     where u.pool is null and u.granted_at is null and did_past_well(u.run_id, u.position)
    returning u.run_id
  )
  select coalesce(array_agg(g.run_id), '{}') into granted from now_granted g;
  perform tell_owners(replica, granted);
end $$;

-- What a replica's runs were granted and have not begun.
create function granted_turns(replica uuid)
returns table (run_id uuid, fence bigint, task_position integer, generation integer, number integer, round integer)
language sql stable as $$
  select u.run_id, r.fence, u.position, u.generation, u.number, u.round
    from turn u join run r using (run_id) join task_run t using (run_id, position)
   where u.granted_at is not null and r.owner = replica and r.fence = u.fence and r.state = 'running'
     and t.state = 'queued' and t.generation = u.generation and t.attempts + 1 = u.number
$$;

-- Asks for turns of tasks of one run, under its fence, and grants what is free. Asking again for the same
-- attempt changes neither its place in the order nor what it was granted. Questions may overtake each
-- other: an older one, or one about an earlier attempt, changes nothing.
create function want_turns(replica uuid, owned_run uuid, owned_fence bigint, wants turn_want[]) returns void
language plpgsql as $$
#variable_conflict use_column
declare
  names text[] := array(select distinct w.pool from unnest(wants) w where w.pool is not null);
begin
  perform from pool p where p.name = any(names) order by p.name for update;
  if not exists (select from run r where r.run_id = owned_run and r.owner = replica and r.fence = owned_fence) then
    return;
  end if;
  update turn u set fence = owned_fence, round = w.round from unnest(wants) w
   where u.run_id = w.run_id and u.position = w.task_position and u.generation = w.generation and u.number = w.number
     and (u.fence, u.round) < (owned_fence, w.round);
  insert into turn (run_id, position, generation, number, fence, round, pool, slots, after_past, rank)
  select w.run_id, w.task_position, w.generation, w.number, owned_fence, w.round, w.pool, w.slots, w.after_past,
         clock_timestamp() - make_interval(mins => w.priority)
    from unnest(wants) w
  on conflict (run_id, position) do update
     set generation = excluded.generation, number = excluded.number, fence = excluded.fence, round = excluded.round,
         pool = excluded.pool, slots = excluded.slots, after_past = excluded.after_past, rank = excluded.rank,
         wanted_at = excluded.wanted_at, granted_at = null
   where (turn.generation, turn.number) < (excluded.generation, excluded.number);
  perform grant_slots(replica, names);
  if exists (select from unnest(wants) w where w.pool is null) then
    perform grant_after_past(replica);
  end if;
end $$;

-- Grants what is free anywhere, where nobody else is just doing so.
create function share_out_turns(replica uuid) returns void language plpgsql as $$
begin
  perform grant_slots(replica, array(
    select p.name from pool p where exists (select from turn u where u.pool = p.name)
     order by p.name for update skip locked));
  if exists (select from turn u where u.pool is null) then
    perform grant_after_past(replica);
  end if;
end $$;
