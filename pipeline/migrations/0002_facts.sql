-- The facts: one row for each combination of dimensions, day and series.

create table gsc.facts (
    series            integer not null,
    date              date not null,
    key               uuid not null,
    generation        bigint not null,
    clicks            double precision not null,
    impressions       double precision not null,
    ctr               double precision not null,
    position          double precision,
    query             text,
    page              text,
    country           text,
    device            text,
    search_appearance text,
    hour              text,
    primary key (series, date, key)
) partition by range (date);
comment on table gsc.facts is 'Read it through the view of a report. Partitioned by month.';
comment on column gsc.facts.key is '16-byte hash of the values of the dimensions.';
comment on column gsc.facts.generation is 'Of the run that wrote the row last: an older one never overwrites it.';

-- Attaching a table takes a lock that inserts into other months do not wait for; creating a partition in place would.
create function gsc.ensure_month(day date) returns void language plpgsql as $$
declare
    first date := date_trunc('month', day)::date;
    name  text := 'facts_' || to_char(day, 'YYYY_MM');
begin
    perform pg_advisory_xact_lock(hashtext('gsc.ensure_month'));
    if to_regclass('gsc.' || name) is not null then
        return;
    end if;
    execute format('create table gsc.%I (like gsc.facts including defaults including constraints)', name);
    execute format(
        'alter table gsc.facts attach partition gsc.%I for values from (%L) to (%L)',
        name, first, (first + interval '1 month')::date
    );
end
$$;
comment on function gsc.ensure_month is 'Make the partition that holds a day, once.';
