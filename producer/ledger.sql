-- name: known_run
select run_id, request, replayed from gsc.runs where run_id = %(run_id)s

-- name: make_run
insert into gsc.runs (run_id, request_id, generation, priority, request, planned_at)
select %(run_id)s, %(request_id)s, greatest(coalesce(max(generation), 0) + 1, %(milliseconds)s::bigint),
       %(priority)s, %(request)s, %(now)s
from gsc.runs
on conflict do nothing
returning generation

-- name: series
insert into gsc.series (property, report, search_type, dimensions)
values (%(property)s, %(report)s, %(search_type)s, %(dimensions)s)
on conflict (property, report, search_type, dimensions) do update set report = excluded.report
returning series

-- name: properties
select distinct property from gsc.series

-- name: copy_pages
copy gsc.pages (
    batch_id, run_id, generation, series, date, start_row, row_limit, data_state, credential, priority, turn, state
) from stdin

-- name: owed
select p.batch_id, p.run_id, p.generation, p.priority, p.credential, s.property, s.report, s.search_type,
       s.dimensions, p.data_state, p.date, p.start_row, p.row_limit
from gsc.pages p join gsc.series s using (series)
where p.state = 'owed'
  and not p.credential = any(%(credentials)s) and not s.property = any(%(properties)s)
  and not p.run_id = any(%(runs)s)
order by p.priority desc, p.turn, p.batch_id
limit %(limit)s

-- name: mark_published
update gsc.pages p set
    state = 'published', published_at = now(), batch_partition = m.partition, batch_offset = m.position
from unnest(%(batches)s::uuid[], %(partitions)s::integer[], %(offsets)s::bigint[]) as m (batch_id, partition, position)
where p.batch_id = m.batch_id and p.state = 'owed'

-- name: lock_publisher
select pg_try_advisory_lock(%(lock)s)

-- name: overdue
-- Published long ago, without a result.
select batch_id, batch_partition, batch_offset from gsc.pages
where state = 'published' and published_at < now() - make_interval(secs => %(seconds)s)
order by published_at limit 10000

-- name: owe_again
update gsc.pages set state = 'owed', batch_partition = null, batch_offset = null
where batch_id = any(%(batches)s) and state = 'published'

-- name: page_states
select batch_id, state from gsc.pages where batch_id = any(%(batches)s)

-- name: revive
update gsc.pages set state = 'owed', reason = null, detail = null, settled_at = null
where batch_id = %(batch)s and state = 'dead'

-- name: cancel_run
update gsc.runs set cancelled_at = now() where run_id = %(run_id)s and cancelled_at is null

-- name: cancel_pages
update gsc.pages set state = 'cancelled', settled_at = now(), reason = 'cancelled'
where run_id = %(run_id)s and state in ('owed', 'published')

-- name: progress
select r.run_id, r.request_id, r.generation, r.planned_at, p.state, count(*), coalesce(sum(p.rows), 0)::bigint
from gsc.runs r left join gsc.pages p using (run_id)
where r.run_id = %(run_id)s
group by r.run_id, r.request_id, r.generation, r.planned_at, p.state
