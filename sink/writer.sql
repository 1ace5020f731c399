-- name: known_runs
select run_id, generation from gsc.runs where run_id = any(%(runs)s)

-- name: series
insert into gsc.series (property, report, search_type, dimensions)
values (%(property)s, %(report)s, %(search_type)s, %(dimensions)s)
on conflict (property, report, search_type, dimensions) do update set report = excluded.report
returning series

-- name: ensure_month
select gsc.ensure_month(%(day)s)

-- name: parked
select batch_id, value from gsc.parked_chunks
where (batch_id, fetch_id) in (select * from unnest(%(batches)s::uuid[], %(fetches)s::text[]))
order by batch_id, fetch_id, chunk

-- name: park
insert into gsc.parked_chunks (batch_id, fetch_id, chunk, value, parked_at)
values (%(batch_id)s, %(fetch_id)s, %(chunk)s, %(value)s, now())
on conflict do nothing

-- name: unpark
delete from gsc.parked_chunks where batch_id = any(%(batches)s)

-- name: make_days
insert into gsc.days (series, date)
select distinct * from unnest(%(series)s::integer[], %(dates)s::date[]) as d (series, date) order by 1, 2
on conflict do nothing

-- name: lock_days
select series, date, complete_generation from gsc.days
where (series, date) in (select * from unnest(%(series)s::integer[], %(dates)s::date[]))
order by series, date for update

-- name: finished
-- Pages whose rows are not wanted any more: they are there, or their run was cancelled.
select batch_id, state from gsc.pages where batch_id = any(%(batches)s) and state in ('applied', 'cancelled')

-- name: make_runs
insert into gsc.runs (run_id, request_id, generation, priority, request, planned_at, replayed)
select run_id, run_id, generation, priority, '{}', %(at)s, true
from unnest(%(runs)s::text[], %(generations)s::bigint[], %(priorities)s::text[]) as r (run_id, generation, priority)
on conflict do nothing

-- name: stage
create temporary table if not exists staged (like gsc.facts) on commit delete rows

-- name: copy
copy staged (
    series, date, key, generation, clicks, impressions, ctr, position,
    query, page, country, device, search_appearance, hour
) from stdin

-- name: upsert
with written as (
    insert into gsc.facts as t
    select * from staged order by series, date, key
    on conflict (series, date, key) do update set
        generation = excluded.generation, clicks = excluded.clicks, impressions = excluded.impressions,
        ctr = excluded.ctr, position = excluded.position
    where t.generation < excluded.generation
    returning 1
)
select count(*) from written

-- name: settle_page
insert into gsc.pages as p (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    state, settled_at, rows, next_start_row, fetch_id, fetched_at, result_partition, result_offset
) values (
    %(batch_id)s, %(run_id)s, %(generation)s, %(series)s, %(date)s, %(start_row)s, %(row_limit)s, %(data_state)s,
    %(credential)s, %(priority)s,
    'applied', now(), %(rows)s, %(next_start_row)s, %(fetch_id)s, %(fetched_at)s, %(partition)s, %(offset)s
)
on conflict (batch_id) do update set
    state = excluded.state, settled_at = excluded.settled_at, rows = excluded.rows,
    next_start_row = excluded.next_start_row, fetch_id = excluded.fetch_id, fetched_at = excluded.fetched_at,
    result_partition = excluded.result_partition, result_offset = excluded.result_offset,
    reason = null, detail = null

-- name: follow_page
insert into gsc.pages (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    state, published_at
) values (
    %(batch_id)s, %(run_id)s, %(generation)s, %(series)s, %(date)s, %(start_row)s, %(row_limit)s, %(data_state)s,
    %(credential)s, %(priority)s,
    case when (select cancelled_at from gsc.runs where run_id = %(run_id)s) is null then 'published' else 'cancelled' end,
    now()
)
on conflict do nothing

-- name: page_is_dead
insert into gsc.pages as p (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    state, settled_at, reason, detail
) values (
    %(batch_id)s, %(run_id)s, %(generation)s, %(series)s, %(date)s, %(start_row)s, %(row_limit)s, %(data_state)s,
    %(credential)s, %(priority)s, 'dead', %(at)s, %(reason)s, %(detail)s
)
on conflict (batch_id) do update set
    state = excluded.state, settled_at = excluded.settled_at, reason = excluded.reason, detail = excluded.detail
where p.state in ('owed', 'published')

-- name: page_is_owed
insert into gsc.pages as p (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority,
    state, reason, detail
) values (
    %(batch_id)s, %(run_id)s, %(generation)s, %(series)s, %(date)s, %(start_row)s, %(row_limit)s, %(data_state)s,
    %(credential)s, %(priority)s, 'owed', %(reason)s, %(detail)s
)
on conflict (batch_id) do update set state = excluded.state, reason = excluded.reason, detail = excluded.detail
where p.state = 'published'

-- name: completed_days
-- A day is whole when every page of the generation is applied and they reach from the first to the last without a gap.
select p.series, p.date, p.generation, sum(p.rows)::integer
from gsc.pages p
join unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as w (series, date, generation)
  on (p.series, p.date, p.generation) = (w.series, w.date, w.generation)
group by p.series, p.date, p.generation
having bool_and(p.state = 'applied')
   and bool_or(p.next_start_row is null)
   and max(p.start_row) = (count(*) - 1) * min(p.row_limit)

-- name: complete_day
update gsc.days set
    complete_generation = %(generation)s, completed_at = now(), rows = %(rows)s,
    truncated = %(rows)s >= %(cap)s, may_change = %(may_change)s, vanished_kept = 0
where series = %(series)s and date = %(date)s and coalesce(complete_generation, 0) < %(generation)s

-- name: vanished
select count(*) filter (where generation < %(generation)s), count(*)
from gsc.facts where series = %(series)s and date = %(date)s

-- name: keep_vanished
update gsc.days set vanished_kept = %(vanished)s where series = %(series)s and date = %(date)s

-- name: sweep
delete from gsc.facts where series = %(series)s and date = %(date)s and generation < %(generation)s
