-- name: lock
select pg_advisory_xact_lock(hashtext('gsc.retention'))

-- name: series
select series from gsc.series where report = %(report)s

-- name: all_series
select series from gsc.series order by series

-- name: count_rows
select count(*) from gsc.facts where series = any(%(series)s) and date < %(before)s

-- name: delete_rows
delete from gsc.facts where series = any(%(series)s) and date < %(before)s

-- name: delete_days
delete from gsc.days where series = any(%(series)s) and date < %(before)s

-- name: months
-- The partitions of the facts, with the first day after each month.
select c.relname, (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month')::date
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'gsc.facts'::regclass
order by c.relname

-- name: delete_orphan_chunks
-- Chunks of finished pages are deleted after a day, in which the other chunks of their fetches have been read; all others
-- after a month.
delete from gsc.parked_chunks c
where c.parked_at < now() - interval '30 days'
   or c.parked_at < now() - interval '1 day' and exists (
       select from gsc.pages p where p.batch_id = c.batch_id and p.state in ('applied', 'dead', 'cancelled'))

-- name: drop_month
select gsc.drop_month_if_empty(%(month)s)

-- name: lock_timeout
set local lock_timeout = '300ms'
