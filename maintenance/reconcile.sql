-- name: days
-- Every day of every series in the period that the ledger has, or that lies between such days.
with pages as (
    select p.series, p.date, p.generation, p.state, p.rows, p.published_at, r.accepted_at
    from gsc.pages p join gsc.runs r using (run_id)
    where p.state <> 'cancelled' and p.date between %(start)s and %(end)s
), newest as (
    select series, date, max(generation) as generation from pages group by series, date
), planned as (
    select series, date, generation, count(*)::integer as pages,
        count(*) filter (where state = 'dead')::integer as dead,
        count(*) filter (where state in ('pending', 'published'))::integer as pending,
        min(coalesce(published_at, accepted_at)) filter (where state in ('pending', 'published')) as pending_since,
        bool_and(state = 'applied' and rows = 0) as empty
    from pages join newest using (series, date, generation) group by series, date, generation
), spans as (
    select series, day::date as date
    from (select series, min(date) as first, max(date) as last from newest group by series) s,
        generate_series(s.first, s.last, interval '1 day') as day
), stored as (
    select series, date, count(*)::integer as rows, sum(clicks) as clicks, sum(impressions) as impressions
    from gsc.facts where date between %(start)s and %(end)s group by series, date
)
select s.property, s.report, s.search_type, x.date, p.generation, p.pages, coalesce(p.dead, 0), coalesce(p.pending, 0),
    p.pending_since, coalesce(p.empty, false), d.complete_generation, d.completed_at, coalesce(d.rows, 0), coalesce(d.truncated, false),
    coalesce(d.may_change, false), coalesce(d.vanished_kept, 0), coalesce(f.rows, 0), coalesce(f.clicks, 0),
    coalesce(f.impressions, 0)
from spans x
join gsc.series s using (series)
left join planned p using (series, date)
left join gsc.days d using (series, date)
left join stored f using (series, date)
order by s.property, s.report, s.search_type, x.date
