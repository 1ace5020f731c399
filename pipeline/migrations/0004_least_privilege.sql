-- Months are made and dropped by functions of the schema's owner, so that the services need not own anything.

alter function gsc.ensure_month(date) security definer;
alter function gsc.ensure_month(date) set search_path = pg_catalog;
revoke execute on function gsc.ensure_month(date) from public;

create function gsc.drop_month_if_empty(month name) returns boolean
language plpgsql security definer set search_path = pg_catalog as $$
declare
    used boolean;
begin
    if not exists (
        select from pg_inherits
        where inhparent = 'gsc.facts'::regclass and inhrelid = to_regclass(format('gsc.%I', month))
    ) then
        raise exception '% is not a month of gsc.facts', month;
    end if;
    execute format('select exists (select from gsc.%I)', month) into used;
    if not used then
        execute format('drop table gsc.%I', month);
    end if;
    return not used;
end
$$;
comment on function gsc.drop_month_if_empty is 'Drop the partition of a month that has no rows; tells whether it did.';
revoke execute on function gsc.drop_month_if_empty(name) from public;
