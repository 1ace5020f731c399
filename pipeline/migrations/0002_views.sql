-- Views of the ledger. The view of each report is created from the catalog: see pipeline/report_views.py.

create view gsc.freshness as
with present as (
    -- The series that was planned last: a report whose definition has changed has several.
    select distinct on (s.property, s.report, s.search_type) s.series, s.property, s.report, s.search_type
    from gsc.series s left join lateral (
        select p.generation from gsc.pages p where p.series = s.series order by p.date desc, p.generation desc limit 1
    ) as last on true
    order by s.property, s.report, s.search_type, last.generation desc nulls last, s.series desc
)
select present.property, present.report, present.search_type, newest.date as newest_complete_day,
    newest.completed_at, next.date as next_day,
    case
        when next.date is null then 'not requested'
        when pages.dead then 'dead: ' || coalesce(pages.reason, 'unknown')
        when pages.waiting then 'waiting' || coalesce(': ' || pages.reason, '')
        when pages.cancelled then 'cancelled'
        else 'not published by Google'
    end as why_not_newer
from present
left join lateral (
    select d.date, d.completed_at from gsc.days d
    where d.series = present.series and d.completed_at is not null order by d.date desc limit 1
) as newest on true
left join lateral (
    select p.date, p.generation from gsc.pages p
    where p.series = present.series and p.date > coalesce(newest.date, '-infinity')
    order by p.date, p.generation desc limit 1
) as next on true
left join lateral (
    select bool_or(p.state = 'dead') as dead, bool_or(p.state in ('pending', 'published')) as waiting,
        bool_or(p.state = 'cancelled') as cancelled, min(p.reason) as reason
    from gsc.pages p where (p.series, p.date, p.generation) = (present.series, next.date, next.generation)
) as pages on true;
comment on view gsc.freshness is 'How new the complete data of each report is, and why it is not newer.';
comment on column gsc.freshness.property is 'The site in Search Console.';
comment on column gsc.freshness.report is 'The name of the report, and of its view.';
comment on column gsc.freshness.search_type is 'web, image, video, news, discover or googleNews.';
comment on column gsc.freshness.newest_complete_day is 'The newest day whose pages are all applied; null when there is none.';
comment on column gsc.freshness.completed_at is 'When that day was completed.';
comment on column gsc.freshness.next_day is 'The first later day that was requested; null when none was.';
comment on column gsc.freshness.why_not_newer is
    'Why next_day is not complete: not requested, waiting (and the reason of a halt), dead (and the reason), cancelled, or not published by Google.';

create view gsc.coverage as
with totals as (
    select distinct on (property, search_type) series, property, search_type from gsc.series
    where dimensions = '{date}' and selection = '{}' order by property, search_type, series desc
)
select s.property, s.report, s.search_type, listed.date, listed.rows,
    listed.clicks, total.clicks as total_clicks, listed.clicks / nullif(total.clicks, 0) as clicks_share,
    listed.impressions, total.impressions as total_impressions,
    listed.impressions / nullif(total.impressions, 0) as impressions_share, coalesce(d.truncated, false) as truncated
from gsc.series s
join totals on (totals.property, totals.search_type) = (s.property, s.search_type) and totals.series <> s.series
join lateral (
    select f.date, count(*) as rows, sum(f.clicks) as clicks, sum(f.impressions) as impressions
    from gsc.facts f where f.series = s.series group by f.date
) as listed on true
join gsc.facts total on total.series = totals.series and total.date = listed.date
left join gsc.days d on d.series = s.series and d.date = listed.date
where s.selection = '{}' and 'date' = any(s.dimensions);
comment on view gsc.coverage is
    'How much of the totals of a day the rows of each report add up to: Google does not list rare queries, and at most some 50,000 rows of a day. It needs a report whose only dimension is date.';
comment on column gsc.coverage.property is 'The site in Search Console.';
comment on column gsc.coverage.report is 'The name of a report that has the dimension date and selects no rows.';
comment on column gsc.coverage.search_type is 'web, image, video, news, discover or googleNews.';
comment on column gsc.coverage.date is 'The day, in Pacific time.';
comment on column gsc.coverage.rows is 'The rows of the report on this day.';
comment on column gsc.coverage.clicks is 'The sum of their clicks.';
comment on column gsc.coverage.total_clicks is 'The clicks of the day in the report by date.';
comment on column gsc.coverage.clicks_share is 'clicks / total_clicks; null without clicks.';
comment on column gsc.coverage.impressions is 'The sum of their impressions.';
comment on column gsc.coverage.total_impressions is 'The impressions of the day in the report by date.';
comment on column gsc.coverage.impressions_share is
    'impressions / total_impressions. It can exceed 1 when the report has pages: Google counts a result of two pages once for the property.';
comment on column gsc.coverage.truncated is 'Whether the day is at the cap of rows that Google lists.';
