-- Statements that read gsc.days. The sink's, which write it, are in sink/writer.sql.

-- name: of_property
select s.property, s.report, s.search_type, d.date, d.completed_at is not null as complete, d.completed_at, d.rows,
    d.truncated, d.may_change
from gsc.series s join gsc.days d using (series)
where s.property = %(property)s and d.date between %(start)s and %(end)s
  and (s.report = %(report)s or %(report)s::text is null)
order by d.date desc, s.report, s.search_type

-- name: count
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

-- name: newest_complete
-- One probe of the primary key for each series, however many days it has.
select s.property, case when bool_and(newest.date is not null) then min(newest.date) end
from gsc.series s left join lateral (
    select d.date from gsc.days d where d.series = s.series and d.completed_at is not null order by d.date desc limit 1
) as newest on true
group by s.property
