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
select series, date, complete_generation, confirmed_generation, case when completed_at is not null then digests end,
    repeated
from gsc.days
where (series, date) in (select * from unnest(%(series)s::integer[], %(dates)s::date[]))
order by series, date for update

-- name: stage
create temporary table if not exists staged (like gsc.facts) on commit delete rows

-- name: unstage
-- The rows of pages that the transaction has written before.
delete from staged

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

-- name: cases
-- How each page can be written: its day has rows of no other generation (new), or of older ones only (known), or a page of a
-- newer generation is applied, but its day is not complete in that one (late).
select w.series, w.date, case
    when exists (
        select from gsc.pages p
        where (p.series, p.date) = (w.series, w.date) and p.generation > w.generation and p.state = 'applied'
    ) then 'late'
    when not exists (select from gsc.facts f where (f.series, f.date) = (w.series, w.date)) then 'new'
    when (
        select bool_and(p.generation = w.generation) and coalesce(max(d.complete_generation), w.generation) = w.generation
        from gsc.pages p join gsc.days d using (series, date)
        where (p.series, p.date) = (w.series, w.date) and p.state = 'applied'
    ) then 'new'
    else 'known' end
from unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as w (series, date, generation)

-- name: change
-- Insert the new rows of pages, update those that differ, and mark those that are not on their page any more: they are on
-- no page (-1), with the generation of the fetch that had them last. Other rows are not touched. A join and not an `on
-- conflict`, which would lock every row, and log that.
-- Returns for each page that had the rows before (null for new ones): how many rows are new or changed.
with written as (
    select w.*, (
        select max(p.generation) from gsc.pages p
        where (p.series, p.date) = (w.series, w.date) and p.state = 'applied' and p.start_row / p.row_limit = w.page_number
    ) as before
    from unnest(%(series)s::integer[], %(dates)s::date[], %(numbers)s::smallint[]) as w (series, date, page_number)
), stored as (
    select f.*, w.page_number as written, w.before
    from written w cross join lateral (
        select f.series, f.date, f.key, f.generation, f.page_number, f.clicks, f.impressions, f.ctr, f.position
        from gsc.facts f where (f.series, f.date) = (w.series, w.date) offset 0
    ) as f
), difference as materialized (
    select series, date, key, t.key is null as is_new, s.key is null as is_gone, t.page_number as old_page,
        case when s.key is null then greatest(t.generation, t.before) else s.generation end as generation,
        case when s.key is null then -1 else s.page_number end as page_number,
        coalesce(s.clicks, t.clicks) as clicks, coalesce(s.impressions, t.impressions) as impressions,
        coalesce(s.ctr, t.ctr) as ctr, case when s.key is null then t.position else s.position end as position,
        s.query, s.page, s.country, s.device, s.search_appearance, s.hour
    from staged s full join stored t using (series, date, key)
    where (s.key is not null or t.page_number = t.written)
      and (s.page_number, s.clicks, s.impressions, s.ctr, s.position)
          is distinct from (t.page_number, t.clicks, t.impressions, t.ctr, t.position)
), inserted as (
    insert into gsc.facts (
        series, date, key, generation, clicks, impressions, ctr, position, page_number,
        query, page, country, device, search_appearance, hour
    )
    select series, date, key, generation, clicks, impressions, ctr, position, page_number,
        query, page, country, device, search_appearance, hour
    from difference where is_new order by series, date, key
), updated as (
    update gsc.facts f set
        generation = d.generation, clicks = d.clicks, impressions = d.impressions, ctr = d.ctr, position = d.position,
        page_number = d.page_number
    from difference d where not d.is_new and (f.series, f.date, f.key) = (d.series, d.date, d.key)
)
select series, date, old_page, count(*) filter (where not is_gone) from difference group by series, date, old_page

-- name: stamp
-- Before the page of an older generation is written: rows that a newer one found unchanged get its generation.
update gsc.facts f set generation = p.generation
from (
    select p.series, p.date, p.start_row / p.row_limit as page_number, max(p.generation) as generation
    from gsc.pages p join unnest(%(series)s::integer[], %(dates)s::date[]) as w (series, date) using (series, date)
    where p.state = 'applied' group by p.series, p.date, p.start_row / p.row_limit
) as p
where (f.series, f.date, f.page_number) = (p.series, p.date, p.page_number) and f.generation < p.generation

-- name: unlist_late
-- Rows of even older generations that the page lists no longer are on no page. Those that a newer generation has on this
-- page have its generation, from `stamp`.
update gsc.facts f set page_number = -1
from unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[], %(numbers)s::smallint[])
    as w (series, date, generation, page_number)
where (f.series, f.date, f.page_number) = (w.series, w.date, w.page_number) and f.generation < w.generation
  and not exists (select from staged s where (s.series, s.date, s.key) = (f.series, f.date, f.key))

-- name: upsert_late
-- On no page: those of the newer generation are complete without these rows.
with written as (
    insert into gsc.facts as t (
        series, date, key, generation, clicks, impressions, ctr, position, page_number,
        query, page, country, device, search_appearance, hour
    )
    select series, date, key, generation, clicks, impressions, ctr, position, -1,
        query, page, country, device, search_appearance, hour
    from staged order by series, date, key
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
-- `completed_at`. It still keeps older generations out. Once a newer one has confirmed a page, nothing changes.
update gsc.days d set
    rows = c.rows, truncated = c.rows >= %(cap)s, digests = null,
    completed_at = case when c.complete then coalesce(d.completed_at, now()) end
from unnest(
    %(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[], %(rows)s::integer[], %(complete)s::boolean[]
) as c (series, date, generation, rows, complete)
where (d.series, d.date, d.complete_generation) = (c.series, c.date, c.generation)
  and (d.rows <> c.rows or (d.completed_at is not null) <> c.complete)
  and coalesce(d.confirmed_generation, 0) <= c.generation

-- name: complete_days
-- When one transaction completes two generations of a day, the newer one counts.
update gsc.days d set
    complete_generation = c.generation, completed_at = now(), rows = c.rows,
    truncated = c.rows >= %(cap)s, may_change = c.may_change, vanished_kept = 0,
    digests = (
        select array_agg(p.digest order by p.start_row) from gsc.pages p
        where (p.series, p.date, p.generation) = (c.series, c.date, c.generation)
        having bool_and(p.digest is not null) and count(*) <= %(max_pages)s
    ),
    repeated = d.repeated and c.unchanged
from (
    select distinct on (series, date) * from unnest(
        %(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[], %(rows)s::integer[],
        %(may_change)s::boolean[], %(unchanged)s::boolean[]
    ) as c (series, date, generation, rows, may_change, unchanged)
    order by series, date, generation desc
) as c
where (d.series, d.date) = (c.series, c.date) and coalesce(d.complete_generation, 0) < c.generation
  and coalesce(d.confirmed_generation, 0) <= c.generation
returning d.series, d.date, d.complete_generation

-- name: confirm_days
update gsc.days d set confirmed_generation = c.generation
from unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as c (series, date, generation)
where (d.series, d.date) = (c.series, c.date)

-- name: vanished
-- How many rows of each day the generation does not have, and how many rows the day has. Such a row is older
-- and on no page that was applied in this generation or a newer one.
select d.series, d.date, d.generation, f.vanished, f.rows
from unnest(%(series)s::integer[], %(dates)s::date[], %(generations)s::bigint[]) as d (series, date, generation)
cross join lateral (
    select count(*) filter (where f.generation < d.generation and n.page_number is null) as vanished, count(*) as rows
    from gsc.facts f
    left join (
        select distinct p.start_row / p.row_limit as page_number from gsc.pages p
        where (p.series, p.date) = (d.series, d.date) and p.generation >= d.generation and p.state = 'applied'
    ) as n using (page_number)
    where (f.series, f.date) = (d.series, d.date)
) as f

-- name: keep_vanished
update gsc.days set vanished_kept = %(vanished)s, digests = null where series = %(series)s and date = %(date)s

-- name: mark_repeated
update gsc.days set repeated = true where series = %(series)s and date = %(date)s

-- name: sweep
delete from gsc.facts f
where f.series = %(series)s and f.date = %(date)s and f.generation < %(generation)s and f.page_number not in (
    select p.start_row / p.row_limit from gsc.pages p
    where p.series = %(series)s and p.date = %(date)s and p.generation >= %(generation)s and p.state = 'applied'
)
