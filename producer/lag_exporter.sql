-- name: pages
-- Newer runs only: older ones are finished, and may have millions of pages.
select state, count(*) from gsc.pages
where run_id in (select run_id from gsc.runs where accepted_at > now() - interval '30 days')
group by state

-- name: days
select count(*) filter (where complete_generation is not null), count(*) filter (where complete_generation is null),
    count(*) filter (where truncated), count(*) filter (where may_change), count(*) filter (where vanished_kept > 0)
from gsc.days

-- name: newest_days
-- Null for a series without a complete day.
select max(age), percentile_disc(0.5) within group (order by age)
from (
    select %(today)s::date - max(date) filter (where complete_generation is not null) as age
    from gsc.days group by series
) as newest
