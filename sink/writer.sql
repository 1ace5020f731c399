-- The statements of a transaction of the sink, on gsc.facts, gsc.days and gsc.parked_chunks. Those on gsc.pages are in
-- pipeline/ledger/pages.sql.

-- name: ensure_month
select gsc.ensure_month(%(day)s)

-- name: parked
select batch_id, value from gsc.parked_chunks
where (batch_id, fetch_id) in (select * from unnest(%(batches)s::uuid[], %(fetches)s::text[]))
order by batch_id, fetch_id, chunk

-- name: park
insert into gsc.parked_chunks (batch_id, fetch_id, chunk, value, parked_at)
select batch_id, fetch_id, chunk, value, now()
from unnest(%(batches)s::uuid[], %(fetches)s::text[], %(chunks)s::integer[], %(values)s::bytea[])
    as c (batch_id, fetch_id, chunk, value)
order by batch_id, fetch_id, chunk
on conflict do nothing

-- name: unpark
delete from gsc.parked_chunks where batch_id = any(%(batches)s)

-- name: insert_days
insert into gsc.days (series, date)
select distinct * from unnest(%(series)s::integer[], %(dates)s::date[]) as d (series, date) order by 1, 2
on conflict do nothing

-- name: lock_days
select series, date, complete_generation from gsc.days
where (series, date) in (select * from unnest(%(series)s::integer[], %(dates)s::date[]))
order by series, date for update

-- name: stage
create temporary table if not exists staged (like gsc.facts) on commit delete rows

-- name: copy
copy gsc.facts (
    series, date, key, generation, clicks, impressions, ctr, position, page_number,
    query, page, country, device, search_appearance, hour
) from stdin

-- name: copy_staged
copy staged (
    series, date, key, generation, clicks, impressions, ctr, position, page_number,
    query, page, country, device, search_appearance, hour
) from stdin

-- name: days_with_rows
select series, date from unnest(%(series)s::integer[], %(dates)s::date[]) as d (series, date)
where exists (select from gsc.facts f where (f.series, f.date) = (d.series, d.date))

-- name: upsert
with written as (
    insert into gsc.facts as t
    select * from staged order by series, date, key
    on conflict (series, date, key) do update set
        generation = excluded.generation, clicks = excluded.clicks, impressions = excluded.impressions,
        ctr = excluded.ctr, position = excluded.position, page_number = excluded.page_number
    where t.generation < excluded.generation
    returning 1
)
select count(*) from written

-- name: count_days
-- Pages may be added to a generation that is complete, or was: when a page is fetched twice, the first fetch may be the last
-- of its day, and the second a full one, whose next page is fetched and applied later. Until then the day has no
-- `completed_at`. It still keeps older generations out.
update gsc.days d set
    rows = c.rows, truncated = c.rows >= %(cap)s,
    completed_at = case when c.complete then coalesce(d.completed_at, now()) end
from unnest(
    %(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[], %(rows)s::integer[], %(complete)s::boolean[]
) as c (series, date, generation, rows, complete)
where (d.series, d.date, d.complete_generation) = (c.series, c.date, c.generation)
  and (d.rows <> c.rows or (d.completed_at is not null) <> c.complete)

-- name: complete_days
-- When one transaction completes two generations of a day, the newer one counts.
update gsc.days d set
    complete_generation = c.generation, completed_at = now(), rows = c.rows,
    truncated = c.rows >= %(cap)s, may_change = c.may_change, vanished_kept = 0
from (
    select distinct on (series, date) * from unnest(
        %(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[], %(rows)s::integer[],
        %(may_change)s::boolean[]
    ) as c (series, date, generation, rows, may_change)
    order by series, date, generation desc
) as c
where (d.series, d.date) = (c.series, c.date) and coalesce(d.complete_generation, 0) < c.generation
returning d.series, d.date, d.complete_generation

-- name: vanished
-- The days that have rows of older generations, with their number and that of all rows.
select d.series, d.date, d.generation, f.vanished, f.rows
from unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as d (series, date, generation)
cross join lateral (
    select count(*) filter (where generation < d.generation) as vanished, count(*) as rows
    from gsc.facts f where (f.series, f.date) = (d.series, d.date)
) as f
where f.vanished > 0

-- name: keep_vanished
update gsc.days set vanished_kept = %(vanished)s where series = %(series)s and date = %(date)s

-- name: sweep
delete from gsc.facts where series = %(series)s and date = %(date)s and generation < %(generation)s
