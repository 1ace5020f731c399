-- PostgreSQL roles with the least privileges that each service needs. Run this as the owner of the schema (the role that runs
-- `gsc-stream migrate`), after the first migrate and after each upgrade. Set passwords or certificates yourself.

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

-- The producer plans, publishes and exports metrics; its timer deletes what is older than a report's retention.
grant select, insert, update, delete on gsc.runs, gsc.series, gsc.pages, gsc.days to gsc_producer;
grant select, delete on gsc.facts, gsc.parked_chunks to gsc_producer;
grant execute on function gsc.drop_month_if_empty(name) to gsc_producer;

-- The sink writes rows, and the state of pages and days.
grant select, insert, update on gsc.runs, gsc.series, gsc.pages, gsc.days to gsc_sink;
grant select, insert, update, delete on gsc.facts to gsc_sink;
grant select, insert, update, delete on gsc.parked_chunks, gsc.replays to gsc_sink;
grant execute on function gsc.ensure_month(date) to gsc_sink;

-- Commands of operators: replay writes as the sink does, the others as the producer does.
grant gsc_producer, gsc_sink to gsc_operator;

-- Readers see the views of the reports and the ledger, also views that are created later.
grant select on all tables in schema gsc to gsc_reader;
alter default privileges in schema gsc grant select on tables to gsc_reader;
