-- Roles of PostgreSQL that may do no more than they must. Run by the owner of the schema (the role that runs `gsc-stream migrate`),
-- after the first migrate and after each upgrade; passwords or certificates are yours to give.

do $$
declare
    name text;
begin
    foreach name in array array['gsc_producer', 'gsc_sink', 'gsc_operator', 'gsc_reader'] loop
        if not exists (select from pg_roles where rolname = name) then
            execute format('create role %I login', name);
        end if;
    end loop;
end
$$;

grant usage on schema gsc to gsc_producer, gsc_sink, gsc_reader;
grant select on gsc.migrations to gsc_producer, gsc_sink;

-- Plans, publishes, observes; deletes what a report's retention no longer keeps.
grant select, insert, update, delete on gsc.runs, gsc.series, gsc.pages, gsc.days to gsc_producer;
grant select, delete on gsc.facts, gsc.parked_chunks to gsc_producer;
grant execute on function gsc.drop_month_if_empty(name) to gsc_producer;

-- Writes rows, and what became of pages and days.
grant select, insert, update on gsc.runs, gsc.series, gsc.pages, gsc.days to gsc_sink;
grant select, insert, update, delete on gsc.facts to gsc_sink;
grant select, insert, update, delete on gsc.parked_chunks, gsc.replays to gsc_sink;
grant execute on function gsc.ensure_month(date) to gsc_sink;

-- Commands: replay writes as the sink does, the others as the producer does.
grant gsc_producer, gsc_sink to gsc_operator;

-- Reads the views of the reports, and the ledger; also views that come later.
grant select on all tables in schema gsc to gsc_reader;
alter default privileges in schema gsc grant select on tables to gsc_reader;
