-- name: of_property
select s.property, s.report, s.search_type, d.date, d.completed_at is not null as complete, d.completed_at, d.rows,
    d.truncated, d.may_change
from gsc.series s join gsc.days d using (series)
where s.property = %(property)s and d.date between %(start)s and %(end)s
  and (s.report = %(report)s or %(report)s::text is null)
order by d.date desc, s.report, s.search_type
