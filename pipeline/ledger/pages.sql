-- Every statement that writes gsc.pages. DESIGN.md has the table of who sets which state, and when.

-- name: insert_pending
copy gsc.pages (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority, round,
    conditional, state
) from stdin

-- name: use_index_scans
-- For the session of the outbox: a bitmap scan visits pages that left an index at every pass again; an index scan marks them.
set enable_bitmapscan = off

-- name: pending_groups
-- A loose index scan: one probe of pages_pending for each group, however many pages it has.
with recursive pending as (
    (select credential, priority, generation, run_id from gsc.pages where state = 'pending'
     order by credential, priority, generation limit 1)
    union all
    select following.* from pending cross join lateral (
        select p.credential, p.priority, p.generation, p.run_id from gsc.pages p
        where p.state = 'pending'
          and (p.credential, p.priority, p.generation) > (pending.credential, pending.priority, pending.generation)
        order by p.credential, p.priority, p.generation limit 1
    ) as following
)
select credential, priority, generation, run_id from pending
where exists (select from gsc.runs r where r.generation = pending.generation and r.planned_at is not null)

-- name: published_by_credential
select credential, count(*) from gsc.pages where state = 'published' group by credential

-- name: unfinished
-- Counts every pending page, but reads indexes only.
with halted as materialized (
    select coalesce(array_agg(series), '{}') as series from gsc.series where property = any(%(properties)s)
), counted as (
    select credential, priority, generation, count(*) as pending, 0 as published, '{}'::integer[] as partitions,
        count(*) filter (where series = any((select series from halted)::integer[])) as halted
    from gsc.pages where state = 'pending' group by credential, priority, generation
    union all
    select credential, priority, generation, 0, count(*),
        coalesce(array_agg(distinct batch_partition) filter (where batch_partition is not null), '{}'),
        count(*) filter (where series = any((select series from halted)::integer[]))
    from gsc.pages where state = 'published' group by credential, priority, generation
)
select c.credential, c.priority, c.pending, c.published, extract(epoch from now() - r.accepted_at)::float8, c.partitions,
    r.run_id, c.halted
from counted c join gsc.runs r using (generation)
where r.planned_at is not null

-- name: unfinished_by_property
select s.property, sum(p.pages)::bigint
from (
    select series, generation, count(*) as pages from gsc.pages where state = 'pending' group by series, generation
    union all
    select series, generation, count(*) from gsc.pages where state = 'published' group by series, generation
) as p join gsc.series s using (series) join gsc.runs r using (generation)
where r.planned_at is not null
group by s.property

-- name: count_by_state
-- Of newer runs only: older ones are finished, and may have millions of pages.
select state, count(*) from gsc.pages
where run_id in (select run_id from gsc.runs where accepted_at > now() - interval '30 days')
group by state

-- name: count_unchanged
-- Of the same runs as `count_by_state`.
select count(*) from gsc.pages
where run_id in (select run_id from gsc.runs where accepted_at > now() - interval '30 days') and unchanged

-- name: next_pending
-- The first pages of each group. `limit 1` keeps the planner from reading whole tables for a hash join.
select p.batch_id, p.run_id, p.generation, p.priority, p.credential, s.property, s.report, s.search_type,
       s.dimensions, p.data_state, p.date, p.start_row, p.row_limit, s.selection, base.complete_generation, base.digests
from unnest(
    %(credentials)s::text[], %(priorities)s::text[], %(generations)s::bigint[], %(counts)s::integer[], %(floors)s::integer[]
) as g (credential, priority, generation, count, floor)
cross join lateral (
    select p.batch_id from gsc.pages p
    where p.state = 'pending' and (p.credential, p.priority, p.generation) = (g.credential, g.priority, g.generation)
      and p.round >= g.floor
      and p.series not in (select series from gsc.series where property = any(%(properties)s))
    order by p.round, p.batch_id
    limit g.count
) as next
cross join lateral (select * from gsc.pages p where p.batch_id = next.batch_id limit 1) as p
cross join lateral (select * from gsc.series s where s.series = p.series limit 1) as s
left join lateral (
    select d.complete_generation, d.digests from gsc.days d
    where (d.series, d.date) = (p.series, p.date) and p.conditional
      and d.complete_generation < p.generation and d.completed_at is not null and d.digests is not null
    limit 1
) as base on true
order by p.priority desc, p.round, p.batch_id

-- name: first_rounds
-- The round of the first page of each group outside halted properties; without groups that have none.
select g.number, first.round
from unnest(%(credentials)s::text[], %(priorities)s::text[], %(generations)s::bigint[])
    with ordinality as g (credential, priority, generation, number)
cross join lateral (
    select p.round from gsc.pages p
    where p.state = 'pending' and (p.credential, p.priority, p.generation) = (g.credential, g.priority, g.generation)
      and p.series not in (select series from gsc.series where property = any(%(properties)s))
    order by p.round, p.batch_id limit 1
) as first

-- name: mark_published
update gsc.pages p set
    state = 'published', published_at = now(), batch_partition = m.partition, batch_offset = m.position
from unnest(%(batches)s::uuid[], %(partitions)s::integer[], %(offsets)s::bigint[]) as m (batch_id, partition, position)
where p.batch_id = m.batch_id and p.state = 'pending'

-- name: overdue
select p.batch_id, p.credential, s.property, p.batch_partition, p.batch_offset
from gsc.pages p join gsc.series s using (series)
where p.state = 'published' and p.published_at < now() - make_interval(secs => %(seconds)s)
order by p.published_at limit 10000

-- name: republish
update gsc.pages set state = 'pending', batch_partition = null, batch_offset = null
where batch_id = any(%(batches)s) and state = 'published'

-- name: move
update gsc.pages p set credential = moved.credential
from (
    select p.batch_id, m.credential
    from unnest(%(properties)s::text[], %(credentials)s::text[]) as m (property, credential)
    join gsc.series s using (property) join gsc.pages p using (series)
    where p.state = 'pending' and p.credential <> m.credential
    limit %(limit)s
) as moved
where p.batch_id = moved.batch_id and p.state = 'pending'

-- name: states
select batch_id, state from gsc.pages where batch_id = any(%(batches)s)

-- name: redrive
update gsc.pages set state = 'pending', reason = null, detail = null, final_at = null
where batch_id = %(batch)s and state = 'dead'

-- name: cancel
update gsc.pages set state = 'cancelled', final_at = now(), reason = 'cancelled'
where run_id = %(run_id)s and state in ('pending', 'published')

-- name: apply
-- In the order of the ids, so that two transactions cannot deadlock.
insert into gsc.pages as p (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    state, final_at, rows, next_start_row, digest, unchanged, fetch_id, fetched_at, result_partition, result_offset
)
select
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    'applied', now(), rows, next_start_row, digest, unchanged, fetch_id, fetched_at, result_partition, result_offset
from unnest(
    %(batch_id)s::uuid[], %(run_id)s::text[], %(generation)s::bigint[], %(series)s::integer[], %(date)s::date[],
    %(start_row)s::integer[], %(row_limit)s::integer[], %(data_state)s::text[], %(credential)s::text[],
    %(priority)s::text[], %(rows)s::integer[], %(next_start_row)s::integer[], %(digest)s::uuid[],
    %(unchanged)s::boolean[], %(fetch_id)s::text[], %(fetched_at)s::timestamptz[], %(partition)s::integer[],
    %(offset)s::bigint[]
) as a (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    rows, next_start_row, digest, unchanged, fetch_id, fetched_at, result_partition, result_offset
)
order by batch_id
on conflict (batch_id) do update set
    state = excluded.state, final_at = excluded.final_at, rows = excluded.rows,
    next_start_row = excluded.next_start_row, digest = excluded.digest, unchanged = excluded.unchanged,
    fetch_id = excluded.fetch_id, fetched_at = excluded.fetched_at,
    result_partition = excluded.result_partition, result_offset = excluded.result_offset,
    reason = null, detail = null

-- name: add_next
insert into gsc.pages (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    conditional, state, published_at
)
select
    n.batch_id, n.run_id, n.generation, n.series, n.date, n.start_row, n.row_limit, n.data_state, n.credential, n.priority,
    p.conditional, case when r.cancelled_at is null then 'published' else 'cancelled' end, now()
from unnest(
    %(batch_id)s::uuid[], %(run_id)s::text[], %(generation)s::bigint[], %(series)s::integer[], %(date)s::date[],
    %(start_row)s::integer[], %(row_limit)s::integer[], %(data_state)s::text[], %(credential)s::text[],
    %(priority)s::text[], %(after)s::uuid[]
) as n (batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority, after)
join gsc.runs r using (run_id)
join gsc.pages p on p.batch_id = n.after
order by n.batch_id
on conflict do nothing

-- name: mark_dead
insert into gsc.pages as p (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    state, final_at, reason, detail
) values (
    %(batch_id)s, %(run_id)s, %(generation)s, %(series)s, %(date)s, %(start_row)s, %(row_limit)s, %(data_state)s,
    %(credential)s, %(priority)s, 'dead', %(at)s, %(reason)s, %(detail)s
)
on conflict (batch_id) do update set
    state = excluded.state, final_at = excluded.final_at, reason = excluded.reason, detail = excluded.detail
where p.state in ('pending', 'published')

-- name: mark_deferred
insert into gsc.pages as p (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    state, reason, detail
) values (
    %(batch_id)s, %(run_id)s, %(generation)s, %(series)s, %(date)s, %(start_row)s, %(row_limit)s, %(data_state)s,
    %(credential)s, %(priority)s, 'pending', %(reason)s, %(detail)s
)
on conflict (batch_id) do update set
    state = excluded.state, reason = excluded.reason, detail = excluded.detail, credential = excluded.credential
where p.state = 'published'

-- name: refetch
insert into gsc.pages as p (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    conditional, state
) values (
    %(batch_id)s, %(run_id)s, %(generation)s, %(series)s, %(date)s, %(start_row)s, %(row_limit)s, %(data_state)s,
    %(credential)s, %(priority)s, false, 'pending'
)
on conflict (batch_id) do update set conditional = false, state = excluded.state
where p.state in ('pending', 'published')

-- name: written_by_others
-- The days to which a generation was written that is newer than the complete one, and is not the given one. If a row is on
-- two pages, the given one counts, too.
select c.series, c.date, c.generation
from unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as c (series, date, generation)
where exists (
    select from gsc.pages p join gsc.days d using (series, date)
    where (p.series, p.date) = (c.series, c.date) and p.generation > d.complete_generation
      and (p.generation <> c.generation or d.repeated) and p.state = 'applied' and not p.unchanged
)

-- name: reopen_unchanged
-- Only of days that are not complete in this generation.
update gsc.pages p set
    state = 'pending', conditional = false, unchanged = false, final_at = null,
    rows = null, next_start_row = null, digest = null, fetch_id = null, fetched_at = null
from unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as c (series, date, generation)
where (p.series, p.date, p.generation) = (c.series, c.date, c.generation) and p.state = 'applied' and p.unchanged
  and exists (
      select from gsc.days d where (d.series, d.date) = (c.series, c.date) and d.complete_generation < c.generation
  )

-- name: applied_or_cancelled
-- Pages that rows do not change any more: their rows are stored, or their run was cancelled.
select batch_id, state from gsc.pages where batch_id = any(%(batches)s) and state in ('applied', 'cancelled')

-- name: day_counts
-- A day is complete when every page of the generation is applied and they reach from the first to the last without a gap.
select p.series, p.date, p.generation, coalesce(sum(p.rows) filter (where p.state = 'applied'), 0)::integer,
    bool_and(p.state = 'applied') and bool_or(p.next_start_row is null)
        and max(p.start_row) = (count(*) - 1) * min(p.row_limit),
    count(*), bool_and(p.unchanged) and count(*) = cardinality(d.digests)
from gsc.pages p join gsc.days d using (series, date)
join unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as w (series, date, generation)
  on (p.series, p.date, p.generation) = (w.series, w.date, w.generation)
group by p.series, p.date, p.generation, d.digests

-- name: delete_expired
delete from gsc.pages
where series = any(%(series)s) and date < %(before)s and state in ('applied', 'dead', 'cancelled')

-- name: delete_superseded
-- The day is complete in a newer generation, which is what reconcile and the sink read.
delete from gsc.pages p using gsc.days d
where d.series = any(%(series)s) and (p.series, p.date) = (d.series, d.date) and p.generation < d.complete_generation
  and p.state in ('applied', 'dead', 'cancelled') and p.final_at < now() - make_interval(days => %(days)s)
