-- The ledger: what was planned, and what became of it.

create table gsc.runs (
    run_id       text primary key,
    request_id   text not null unique,
    generation   bigint not null unique,
    priority     text not null check (priority in ('daily', 'backfill')),
    request      jsonb not null,
    planned_at   timestamptz not null,
    cancelled_at timestamptz
);
comment on table gsc.runs is 'A sync request, planned. Later runs have larger generations.';

create table gsc.series (
    series      integer generated always as identity primary key,
    property    text not null,
    report      text not null,
    search_type text not null,
    dimensions  text[] not null,
    unique (property, report, search_type, dimensions)
);
comment on table gsc.series is 'A small number for property, report, search type and dimensions.';

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
    turn             integer not null default 0,
    state            text not null check (state in ('owed', 'published', 'applied', 'dead', 'cancelled')),
    published_at     timestamptz,
    batch_partition  integer,
    batch_offset     bigint,
    settled_at       timestamptz,
    rows             integer,
    next_start_row   integer,
    fetch_id         text,
    fetched_at       timestamptz,
    result_partition integer,
    result_offset    bigint,
    reason           text,
    detail           text,
    unique (series, date, generation, start_row)
);
comment on table gsc.pages is
    'Every page that was ever planned; each ends in exactly one of applied, dead, cancelled.';
comment on column gsc.pages.turn is
    'Position of the page among those of its property in its run: publishing by turn is fair between properties.';
comment on column gsc.pages.next_start_row is 'Of an applied page: where the next begins, null on the last.';

create index pages_owed on gsc.pages (priority desc, turn, batch_id) where state = 'owed';
create index pages_published on gsc.pages (published_at) where state = 'published';
create index pages_run on gsc.pages (run_id, state);

create table gsc.days (
    series                integer not null references gsc.series,
    date                  date not null,
    complete_generation   bigint,
    completed_at          timestamptz,
    rows                  integer,
    truncated             boolean not null default false,
    may_change            boolean not null default false,
    primary key (series, date)
);
comment on table gsc.days is 'A day of a series; complete when every page of one generation is applied.';
comment on column gsc.days.truncated is 'Near the cap of rows a day that Google lists: some are missing.';
comment on column gsc.days.may_change is 'Google calls the day incomplete (first_incomplete_date).';

create table gsc.parked_chunks (
    batch_id  uuid not null,
    fetch_id  text not null,
    chunk     integer not null,
    value     bytea not null,
    parked_at timestamptz not null,
    primary key (batch_id, fetch_id, chunk)
);
comment on table gsc.parked_chunks is
    'Chunks whose fetch is not whole yet: the page is applied when it is, in one transaction.';
