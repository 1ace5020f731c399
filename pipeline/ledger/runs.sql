-- name: create_run
insert into gsc.runs (run_id, request_id, generation, priority, request, credentials, accepted_at)
select %(run_id)s, %(request_id)s, greatest(coalesce(max(generation), 0) + 1, %(milliseconds)s::bigint),
       %(priority)s, %(request)s, %(credentials)s, %(now)s
from gsc.runs
on conflict do nothing

-- name: unplanned
select r.run_id, r.generation, r.priority, r.credentials, r.request, r.plan_cursor,
    extract(epoch from now() - r.accepted_at)::float8
from gsc.runs r where r.planned_at is null
order by r.generation

-- name: advance_plan
-- Changes nothing when the run was cancelled, or when another producer has gone further.
update gsc.runs set plan_cursor = %(cursor)s, planned_at = case when %(ended)s then now() end
where run_id = %(run_id)s and planned_at is null and plan_cursor is not distinct from %(before)s::jsonb

-- name: create_replay_run
insert into gsc.runs (run_id, request_id, generation, priority, request, accepted_at, planned_at, replayed)
select %(run_id)s, %(run_id)s, greatest(coalesce(max(generation), 0) + 1, %(milliseconds)s::bigint),
       'backfill', '{}', %(now)s, %(now)s, true
from gsc.runs
returning generation

-- name: restore_runs
insert into gsc.runs (run_id, request_id, generation, priority, request, accepted_at, planned_at, replayed)
select run_id, run_id, generation, priority, '{}', %(now)s, %(now)s, true
from unnest(%(runs)s::text[], %(generations)s::bigint[], %(priorities)s::text[]) as r (run_id, generation, priority)
on conflict do nothing

-- name: run
select request, replayed from gsc.runs where run_id = %(run_id)s

-- name: known_runs
select run_id, generation from gsc.runs where run_id = any(%(runs)s)

-- name: cancel_run
-- A run that is being planned gets no more pages.
update gsc.runs set cancelled_at = now(), planned_at = coalesce(planned_at, now())
where run_id = %(run_id)s and cancelled_at is null

-- name: progress
-- One run, or the newest ones if the id is null.
select r.run_id, r.request_id, r.generation, r.priority, r.request ->> 'requested_by' as requested_by,
    (r.request ->> 'start')::date as "start", (r.request ->> 'end')::date as "end", r.accepted_at,
    r.planned_at, r.cancelled_at,
    p.pages, coalesce(p.rows, 0)::bigint as rows, coalesce(p.finished, 0)::bigint as finished_last_minute
from (
    select * from gsc.runs where run_id = %(run_id)s or %(run_id)s::text is null order by generation desc limit %(limit)s
) as r
cross join lateral (
    select jsonb_object_agg(state, pages) as pages, sum(rows) as rows, sum(finished) as finished
    from (
        select state, count(*) as pages, sum(rows) as rows,
            count(*) filter (where final_at > now() - interval '1 minute') as finished
        from gsc.pages where run_id = r.run_id group by state
    ) as by_state
) as p
order by r.generation desc

-- name: has_unfinished_pages
select exists (select from gsc.pages where run_id = %(run_id)s and state in ('pending', 'published'))

-- name: unfinished_tenants
select distinct p.credential, s.property
from gsc.pages p join gsc.series s using (series)
where p.run_id = %(run_id)s and p.state in ('pending', 'published')

-- name: properties
select distinct property from gsc.series

-- name: add_series
-- An update on conflict would wait for a transaction that inserts pages of the series.
insert into gsc.series (property, report, search_type, dimensions, selection)
select property, %(report)s, %(search_type)s, %(dimensions)s, %(selection)s::jsonb
from unnest(%(properties)s::text[]) as p (property)
where not exists (
    select from gsc.series s
    where s.property = p.property and report = %(report)s and search_type = %(search_type)s
      and dimensions = %(dimensions)s and selection = %(selection)s::jsonb
)
order by property
on conflict do nothing

-- name: series_numbers
select property, series from gsc.series
where property = any(%(properties)s) and report = %(report)s and search_type = %(search_type)s
  and dimensions = %(dimensions)s and selection = %(selection)s::jsonb
