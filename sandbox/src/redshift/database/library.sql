-- Redshift's functions that PostgreSQL lacks, made in each database before its first statement; and the table
-- in which a transaction notes that it was committed. Functions stand where no search path hides them.

create schema if not exists trunkline_sandbox;

create table if not exists trunkline_sandbox.committed (
    id text primary key,
    outcome text not null
);

-- Never worked out ahead, as it would be in a branch that is not taken.
create or replace function trunkline_sandbox.no_unit(unit text) returns text language plpgsql volatile as $$
begin
    raise exception 'date part "%" is not recognized', unit using errcode = '22023';
end $$;

-- Units as Redshift spells them.
create or replace function trunkline_sandbox.unit(unit text) returns text language plpgsql immutable as $$
begin
    return case
        when lower(unit) in ('year', 'years', 'y', 'yr', 'yrs') then 'year'
        when lower(unit) in ('quarter', 'quarters', 'qtr', 'qtrs') then 'quarter'
        when lower(unit) in ('month', 'months', 'mon', 'mons') then 'month'
        when lower(unit) in ('week', 'weeks', 'w') then 'week'
        when lower(unit) in ('day', 'days', 'd') then 'day'
        when lower(unit) in ('hour', 'hours', 'h', 'hr', 'hrs') then 'hour'
        when lower(unit) in ('minute', 'minutes', 'm', 'min', 'mins') then 'minute'
        when lower(unit) in ('second', 'seconds', 's', 'sec', 'secs') then 'second'
        when lower(unit) in ('millisecond', 'milliseconds', 'ms', 'msec', 'msecs') then 'millisecond'
        when lower(unit) in ('microsecond', 'microseconds', 'us', 'usec', 'usecs') then 'microsecond'
        else trunkline_sandbox.no_unit(unit)
    end;
end $$;

create or replace function trunkline_sandbox.span(unit text, number bigint) returns interval language sql immutable as $$
    select case trunkline_sandbox.unit(unit)
        when 'year' then make_interval(years => number::int)
        when 'quarter' then make_interval(months => 3 * number::int)
        when 'month' then make_interval(months => number::int)
        when 'week' then make_interval(weeks => number::int)
        when 'day' then make_interval(days => number::int)
        when 'hour' then number * interval '1 hour'
        when 'minute' then number * interval '1 minute'
        when 'second' then number * interval '1 second'
        when 'millisecond' then number * interval '1 millisecond'
        else number * interval '1 microsecond'
    end
$$;

create or replace function pg_catalog.dateadd(unit text, number bigint, moment timestamp) returns timestamp
language sql immutable as $$ select moment + trunkline_sandbox.span(unit, number) $$;
create or replace function pg_catalog.dateadd(unit text, number bigint, moment date) returns timestamp
language sql immutable as $$ select moment::timestamp + trunkline_sandbox.span(unit, number) $$;
create or replace function pg_catalog.dateadd(unit text, number bigint, moment timestamptz) returns timestamptz
language sql stable as $$ select moment + trunkline_sandbox.span(unit, number) $$;

-- How many borders of the unit lie between two moments.
create or replace function pg_catalog.datediff(unit text, a timestamp, b timestamp) returns bigint
language plpgsql immutable as $$
declare
    name text := trunkline_sandbox.unit(unit);
    months bigint := (extract(year from b) - extract(year from a)) * 12 + extract(month from b) - extract(month from a);
begin
    return case name
        when 'year' then (extract(year from b) - extract(year from a))::bigint
        when 'quarter' then
            ((extract(year from b) - extract(year from a)) * 4 + extract(quarter from b) - extract(quarter from a))::bigint
        when 'month' then months
        when 'week' then trunkline_sandbox.no_unit('week (not offered by the sandbox: count days)')::bigint
        when 'day' then b::date - a::date
        when 'hour' then (extract(epoch from date_trunc('hour', b) - date_trunc('hour', a)) / 3600)::bigint
        when 'minute' then (extract(epoch from date_trunc('minute', b) - date_trunc('minute', a)) / 60)::bigint
        when 'second' then extract(epoch from date_trunc('second', b) - date_trunc('second', a))::bigint
        when 'millisecond' then
            (extract(epoch from date_trunc('milliseconds', b) - date_trunc('milliseconds', a)) * 1000)::bigint
        else (extract(epoch from b - a) * 1000000)::bigint
    end;
end $$;
create or replace function pg_catalog.datediff(unit text, a date, b date) returns bigint
language sql immutable as $$ select pg_catalog.datediff(unit, a::timestamp, b::timestamp) $$;
create or replace function pg_catalog.datediff(unit text, a timestamptz, b timestamptz) returns bigint
language sql stable as $$ select pg_catalog.datediff(unit, a::timestamp, b::timestamp) $$;

create or replace function pg_catalog.getdate() returns timestamp
language sql stable as $$ select date_trunc('second', statement_timestamp()::timestamp) $$;
create or replace function pg_catalog.sysdate() returns timestamp
language sql stable as $$ select transaction_timestamp()::timestamp $$;

create or replace function pg_catalog.last_day(moment timestamp) returns date
language sql immutable as $$ select (date_trunc('month', moment) + interval '1 month - 1 day')::date $$;

-- The last day of a month stays a last day.
create or replace function pg_catalog.add_months(moment timestamp, number bigint) returns timestamp
language sql immutable as $$
    select case when moment::date = pg_catalog.last_day(moment)
        then pg_catalog.last_day(moment + make_interval(months => number::int)) + moment::time
        else moment + make_interval(months => number::int)
    end
$$;

create or replace function pg_catalog.trunc(moment timestamp) returns date
language sql immutable as $$ select moment::date $$;

create or replace function pg_catalog.convert_timezone(target text, moment timestamp) returns timestamp
language sql immutable as $$ select (moment at time zone 'UTC') at time zone target $$;
create or replace function pg_catalog.convert_timezone(source text, target text, moment timestamp) returns timestamp
language sql immutable as $$ select (moment at time zone source) at time zone target $$;

create or replace function pg_catalog.len(value text) returns integer
language sql immutable as $$ select length(value) $$;
create or replace function pg_catalog.charindex(part text, value text) returns integer
language sql immutable as $$ select strpos(value, part) $$;

create or replace function pg_catalog.sha2(value text, bits integer) returns text language plpgsql immutable as $$
begin
    return case bits
        when 0 then encode(sha256(convert_to(value, 'UTF8')), 'hex')
        when 224 then encode(sha224(convert_to(value, 'UTF8')), 'hex')
        when 256 then encode(sha256(convert_to(value, 'UTF8')), 'hex')
        when 384 then encode(sha384(convert_to(value, 'UTF8')), 'hex')
        when 512 then encode(sha512(convert_to(value, 'UTF8')), 'hex')
    end;
end $$;

-- Redshift keeps JSON in texts; what is missing is an empty text there.
create or replace function pg_catalog.json_extract_path_text(value text, variadic path text[]) returns text
language sql immutable as $$ select coalesce(pg_catalog.json_extract_path_text(value::json, variadic path), '') $$;
