-- What a sweep left standing, how far a replay is, and runs that are only known from their results.

alter table gsc.days add column vanished_kept integer not null default 0;
comment on column gsc.days.vanished_kept is
    'Rows that the newest fetch no longer has, kept because they are more than the delete ratio: somebody should look.';

alter table gsc.runs add column replayed boolean not null default false;
comment on column gsc.runs.replayed is 'Known from its results alone, by a replay: the request is not kept.';

create table gsc.replays (
    replay      text not null,
    partition   integer not null,
    next_offset bigint not null,
    end_offset  bigint not null,
    written_at  timestamptz not null default now(),
    primary key (replay, partition)
);
comment on table gsc.replays is 'How far each replay is, so that the same command goes on where it was interrupted.';
