"""The limits of the sink's statements on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipeline.contracts import codec
from pipeline.contracts.messages import Rows
from pipeline.contracts.records import Record
from pipeline.errors import Invalid, TooSlow
from pipeline.postgres import Connection, Limits, connection
from pipeline.schema import migrate
from sink.assembly import ReceivedResult
from sink.write_parts import write_in_parts
from sink.writer import Writer
from support.examples import a_batch, some_rows

SITES = [f"sc-domain:{name}.example" for name in "abcde"]
SLOW = "sc-domain:c.example"
LIMIT_S = 1.0
_SLEEP = """
create function slow_row() returns trigger language plpgsql as
$$ begin if new.query = 'slow' then perform pg_sleep(60); end if; return new; end $$;
create trigger slow_row before insert on gsc.facts for each row execute function slow_row()
"""


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test", limits=Limits(LIMIT_S)) as opened:
        await opened.execute("set statement_timeout = '60s'")
        await migrate(opened)
        await opened.execute(
            "insert into gsc.runs (run_id, request_id, generation, priority, request, accepted_at, planned_at)"
            " values ('run-1', 'r', %s, 'backfill', '{}', now(), now())",
            (a_batch().generation,),
        )
        yield opened


def a_result(offset: int, site: str) -> ReceivedResult:
    rows: Rows = some_rows(a_batch(property=site), ["slow" if site == SLOW else "fast"])
    return ReceivedResult(Record("gsc.results", 0, offset, b"k", codec.encode(rows), 0), rows)


async def write_all(conn: Connection) -> list[str]:
    """Write a page of every property; return those of the refused ones."""
    writer, refused = Writer(conn, 0.5), list[str]()

    async def write(part: list[ReceivedResult]) -> None:
        await writer.write(part)

    async def refuse(item: ReceivedResult, _: Invalid | TooSlow) -> None:
        refused.append(item.message.batch.property)

    await write_in_parts([a_result(number, site) for number, site in enumerate(SITES)], write, refuse)
    return refused


async def applied(conn: Connection) -> set[str]:
    return {
        row[0]
        async for row in await conn.execute(
            "select property from gsc.pages join gsc.series using (series) where state = 'applied'"
        )
    }


async def test_a_page_whose_rows_take_too_long_does_not_hold_up_the_others(conn: Connection) -> None:
    await conn.execute(_SLEEP)
    assert await write_all(conn) == [SLOW]
    assert await applied(conn) == set(SITES) - {SLOW}


async def test_a_page_whose_day_is_locked_for_long_does_not_hold_up_the_others(conn: Connection, dsn: str) -> None:
    assert await write_all(conn) == []
    async with connection(dsn, application="operator") as operator, operator.transaction():
        await operator.execute(
            "select from gsc.days join gsc.series using (series) where property = %s for update", (SLOW,)
        )
        assert await write_all(conn) == [SLOW]


async def test_no_page_is_refused_while_the_whole_table_is_locked(conn: Connection, dsn: str) -> None:
    async with connection(dsn, application="operator") as operator:
        async with operator.transaction():
            await operator.execute("lock table gsc.facts in access exclusive mode")
            with pytest.raises(TooSlow):
                await write_all(conn)
        assert await write_all(conn) == []
    assert await applied(conn) == set(SITES)


async def test_the_limit_of_a_connection_can_be_raised(conn: Connection) -> None:
    await conn.limit_statements(30.0)
    async with asyncio.timeout(30):
        slept = await conn.execute("select pg_sleep(2.5)")
    assert slept.rowcount == 1
