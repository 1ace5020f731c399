-- The ledger (runs, series, pages, days, parked chunks, replays) and the facts.

create table gsc.runs (
    run_id       text primary key,
    request_id   text not null unique,
    generation   bigint not null unique,
    priority     text not null check (priority in ('daily', 'backfill')),
    request      jsonb not null,
    accepted_at  timestamptz not null,
    planned_at   timestamptz,
    credentials  text[] not null default '{}',
    plan_cursor  jsonb,
    cancelled_at timestamptz,
    replayed     boolean not null default false
);
comment on table gsc.runs is 'An accepted sync request. Later runs have larger generations.';
comment on column gsc.runs.credentials is 'Of the properties of the request, in the catalog that it was accepted with.';
comment on column gsc.runs.planned_at is
    'When the last page was planned. Null while pages are added: none of them is published before.';
comment on column gsc.runs.plan_cursor is 'The last page that is planned; null before the first.';
comment on column gsc.runs.replayed is 'Restored by a replay from its results alone: the request is not known.';

create index runs_unplanned on gsc.runs (generation) where planned_at is null;

create table gsc.series (
    series      integer generated always as identity primary key,
    property    text not null,
    report      text not null,
    search_type text not null,
    dimensions  text[] not null,
    selection   jsonb not null default '{}'
);
-- A hash, since filters may be longer than a row of an index.
create unique index series_key on gsc.series
    (property, report, search_type, dimensions, hashtextextended(selection::text, 0));
comment on table gsc.series is 'A small number for property, report, search type, dimensions and selection.';
comment on column gsc.series.selection is 'Filters, aggregation type and row limit of the report; empty for every row.';

create table gsc.pages (
    batch_id         uuid primary key,
    run_id           text not null references gsc.runs,
    generation       bigint not null,
    series           integer not null references gsc.series,
    date             date not null,
    start_row        integer not null,
    row_limit        integer not null,
    data_state       text not null,
    credential       text not null,
    priority         text not null check (priority in ('daily', 'backfill')),
    round            integer not null default 0,
    conditional      boolean not null default true,
    state            text not null check (state in ('pending', 'published', 'applied', 'dead', 'cancelled')),
    published_at     timestamptz,
    batch_partition  integer,
    batch_offset     bigint,
    final_at         timestamptz,
    rows             integer,
    next_start_row   integer,
    digest           uuid,
    unchanged        boolean not null default false,
    fetch_id         text,
    fetched_at       timestamptz,
    result_partition integer,
    result_offset    bigint,
    reason           text,
    detail           text,
    unique (series, date, generation, start_row)
);
comment on table gsc.pages is
    'Every page that was planned, until it is superseded; each ends in exactly one of applied, dead, cancelled.';
comment on column gsc.pages.round is
    'Position of the page among those of its property in its run: publishing by round is fair between properties.';
comment on column gsc.pages.final_at is 'When the page reached a final state.';
comment on column gsc.pages.next_start_row is 'Of an applied page: where the next begins, null on the last.';

-- `series` is included so that pages of halted properties are skipped within the index.
create index pages_pending on gsc.pages (credential, priority, generation, round, batch_id) include (series)
    where state = 'pending';
create index pages_published on gsc.pages (credential, published_at) where state = 'published';
create index pages_run on gsc.pages (run_id, state);
-- A page leaves these small indexes with every change: without frequent vacuums their first entries would be dead ones.
alter table gsc.pages set (autovacuum_vacuum_scale_factor = 0.02);

create function gsc.notify_pages() returns trigger language plpgsql as $$
begin
    notify gsc_pages;
    return null;
end
$$;
comment on function gsc.notify_pages is
    'Notify listeners that runs or pages have changed: once for each transaction, since PostgreSQL drops repeated notifications.';

create trigger pages_changed after insert or update on gsc.pages for each statement execute function gsc.notify_pages();
create trigger runs_changed after insert or update on gsc.runs for each statement execute function gsc.notify_pages();

create table gsc.days (
    series                integer not null references gsc.series,
    date                  date not null,
    complete_generation   bigint,
    completed_at          timestamptz,
    rows                  integer,
    truncated             boolean not null default false,
    may_change            boolean not null default false,
    vanished_kept         integer not null default 0,
    confirmed_generation  bigint,
    digests               uuid[],
    repeated              boolean not null default false,
    primary key (series, date)
);
comment on table gsc.days is 'A day of a series; complete when every page of one generation is applied.';
comment on column gsc.days.confirmed_generation is
    'The newest generation that found a page unchanged: older ones write no rows from then on.';
comment on column gsc.days.digests is
    'Of the pages of the complete generation, in order; null when the table has other rows, too.';
comment on column gsc.days.repeated is
    'The pages of the complete generation list a row twice: if one page changes, all are fetched with their rows.';
comment on column gsc.days.completed_at is
    'Null while another page of the complete generation waits: it was planned after the day was complete.';
comment on column gsc.days.truncated is 'At the cap of rows that Google lists for a day: some rows are missing.';
comment on column gsc.days.may_change is 'Google calls the day incomplete (first_incomplete_date).';
comment on column gsc.days.vanished_kept is
    'Rows that the newest fetch no longer has, kept because they are more than the delete ratio allows to delete.';

create table gsc.parked_chunks (
    batch_id  uuid not null,
    fetch_id  text not null,
    chunk     integer not null,
    value     bytea not null,
    parked_at timestamptz not null,
    primary key (batch_id, fetch_id, chunk)
);
comment on table gsc.parked_chunks is
    'Chunks of fetches that are not complete yet; the page is applied in one transaction once they are.';

create table gsc.replays (
    replay      text not null,
    partition   integer not null,
    next_offset bigint not null,
    end_offset  bigint not null,
    written_at  timestamptz not null default now(),
    primary key (replay, partition)
);
comment on table gsc.replays is 'Progress of each replay, so that the same command resumes an interrupted one.';

create table gsc.facts (
    series            integer not null,
    date              date not null,
    key               uuid not null,
    generation        bigint not null,
    clicks            double precision not null,
    impressions       double precision not null,
    ctr               double precision not null,
    position          double precision,
    page_number       smallint not null,
    query             text,
    page              text,
    country           text,
    device            text,
    search_appearance text,
    hour              text,
    primary key (series, date, key)
) partition by range (date);
comment on table gsc.facts is 'One row per combination of dimensions, day and series. Read it through the view of a report. Partitioned by month.';
comment on column gsc.facts.key is '16-byte hash of the values of the dimensions.';
comment on column gsc.facts.page_number is 'Of the page that has the row: its first row, divided by the rows of a page. -1: no page has it now.';
comment on column gsc.facts.generation is 'Of the run that changed the row last; the newest in which its page was applied had the same row.';

-- The next two functions run as the schema's owner, so that the services need not own any table.

-- Attaching a table takes a lock that inserts into other months do not wait for; creating a partition in place would.
create function gsc.ensure_month(day date) returns void
language plpgsql security definer set search_path = pg_catalog as $$
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
comment on function gsc.ensure_month is 'Create the partition that holds a day, unless it exists.';
revoke execute on function gsc.ensure_month(date) from public;

create function gsc.drop_month_if_empty(month name) returns boolean
language plpgsql security definer set search_path = pg_catalog as $$
declare
    used boolean;
begin
    if not exists (
        select from pg_inherits
        where inhparent = 'gsc.facts'::regclass and inhrelid = to_regclass(format('gsc.%I', month))
    ) then
        raise exception '% is not a month of gsc.facts', month;
    end if;
    execute format('select exists (select from gsc.%I)', month) into used;
    if not used then
        execute format('drop table gsc.%I', month);
    end if;
    return not used;
end
$$;
comment on function gsc.drop_month_if_empty is 'Drop the partition of a month that has no rows; returns whether it did.';
revoke execute on function gsc.drop_month_if_empty(name) from public;
