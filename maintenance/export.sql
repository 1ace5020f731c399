-- What `gsc-stream export` reads; {series} is the condition of the report.

-- name: months
-- The version of a month changes with the rows of its days. A day has digests of its rows, or is taken as changed by each generation.
select date_trunc('month', d.date)::date, count(*),
    sum(hashtextextended(concat_ws('|', d.series, d.date, d.rows, coalesce(d.digests::text, d.complete_generation::text)), 0)::numeric)::text
from gsc.days d join gsc.series s using (series)
where d.completed_at is not null and d.date between %(start)s and %(end)s and {series}
group by 1 order by 1

-- name: rows
select {columns}
from gsc.days d join gsc.series s using (series) join gsc.facts f on (f.series, f.date) = (d.series, d.date)
where d.completed_at is not null and d.date between %(start)s and %(end)s and {series}
  and f.date between %(start)s and %(end)s
order by f.series, f.date, f.key
