-- name: pages
-- Of the newer runs only: the older ones are settled, and there may be millions.
select state, count(*) from gsc.pages
where run_id in (select run_id from gsc.runs where planned_at > now() - interval '30 days')
group by state

-- name: days
select count(*) filter (where complete_generation is not null), count(*) filter (where complete_generation is null),
    count(*) filter (where truncated), count(*) filter (where may_change), count(*) filter (where vanished_kept > 0)
from gsc.days

-- name: owed_by_credential
select credential, count(*) from gsc.pages where state in ('owed', 'published') group by credential
