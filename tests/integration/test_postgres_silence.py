"""Connections to a PostgreSQL that stops answering, behind a proxy that still acknowledges every packet."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lab.tcp_proxy import TcpProxy, running_proxy
from pipeline.clock import monotonic
from pipeline.database import kept_alive
from pipeline.errors import Retryable
from pipeline.postgres import Limits, become_leader, connect, connection, database_errors
from support.wait import until

LIMITS = Limits(answer_s=1.0, idle_s=1.0)
DEADLINE_S = 30.0


@dataclass(frozen=True)
class Proxied:
    """A database, directly and through a proxy."""

    direct: str
    dsn: str
    proxy: TcpProxy


@pytest.fixture
def proxied(dsn: str) -> Iterator[Proxied]:
    with running_proxy(int(conninfo_to_dict(dsn).get("port") or 5432)) as proxy:
        yield Proxied(dsn, make_conninfo(dsn, host="127.0.0.1", port=proxy.port), proxy)


async def test_a_silent_connection_is_given_up_and_a_new_one_works(proxied: Proxied) -> None:
    async with connection(proxied.dsn, application="test", limits=LIMITS) as conn:
        proxied.proxy.freeze_open()
        began = monotonic()
        with pytest.raises(Retryable, match="no answer within 2 s"):
            async with database_errors(), conn.transaction():
                await conn.execute("select 1")
        assert monotonic() - began >= 2.0
        assert conn.closed
    async with connection(proxied.dsn, application="test", limits=LIMITS) as conn:
        assert await (await conn.execute("select 1")).fetchone() == (1,)


async def test_whoever_waits_for_a_silent_connection_behind_another_hears_the_same_reason(proxied: Proxied) -> None:
    async with connection(proxied.dsn, application="test", limits=LIMITS) as conn:
        proxied.proxy.freeze_open()
        errors = await asyncio.gather(*(conn.execute("select 1") for _ in range(3)), return_exceptions=True)
        assert [str(error) for error in errors] == ["no answer within 2 s"] * 3


async def test_a_copy_into_a_silent_connection_is_given_up(proxied: Proxied) -> None:
    async with connection(proxied.dsn, application="test", limits=LIMITS) as conn:
        await conn.execute("create temporary table numbers (n integer)")

        async def copy_numbers() -> None:
            async with database_errors(), conn.cursor().copy("copy numbers from stdin") as copy:
                proxied.proxy.freeze_open()
                await copy.write("1\n")

        with pytest.raises(Retryable, match="no answer"):
            await copy_numbers()


async def test_a_connection_that_never_answers_is_given_up(proxied: Proxied) -> None:
    proxied.proxy.freeze_all()
    with pytest.raises(Retryable, match="timeout"):
        await connect(make_conninfo(proxied.dsn, connect_timeout=2), application="test")


async def test_a_task_that_waits_for_silence_can_be_cancelled(proxied: Proxied) -> None:
    async with connection(proxied.dsn, application="test", limits=LIMITS) as conn:
        proxied.proxy.freeze_all()
        waiting = asyncio.ensure_future(conn.execute("select 1"))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=DEADLINE_S)
        assert waiting.done()


async def test_the_server_releases_the_leaders_lock_of_a_silent_session(proxied: Proxied) -> None:
    async with (
        connection(proxied.direct, application="test") as standby,
        connection(proxied.dsn, application="test", limits=LIMITS) as leader,
        kept_alive(leader, 0.2),
    ):
        assert await become_leader(leader)
        await asyncio.sleep(2 * (LIMITS.idle_s or 0))  # longer than the server waits for a silent session
        assert not await become_leader(standby)
        proxied.proxy.freeze_open()
        await until(lambda: become_leader(standby), DEADLINE_S, "the standby has the lock")
        with pytest.raises(Retryable):
            await become_leader(leader)


async def test_a_slow_statement_is_ended_by_the_server_and_the_connection_stays(dsn: str) -> None:
    async with connection(dsn, application="test", limits=LIMITS) as conn:
        with pytest.raises(Retryable, match="statement timeout"):
            async with database_errors():
                await conn.execute("select pg_sleep(60)")
        assert await (await conn.execute("select 1")).fetchone() == (1,)


async def test_the_server_has_the_limits_of_the_session(dsn: str) -> None:
    async with connection(dsn, application="test", limits=Limits(2.0, 7.0, 3.0)) as conn:
        for name, expected in (
            ("statement_timeout", "7s"),
            ("idle_in_transaction_session_timeout", "7s"),
            ("idle_session_timeout", "3s"),
            ("client_connection_check_interval", "5s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_user_timeout", "20000"),
        ):
            assert await (await conn.execute(f"show {name}".encode())).fetchone() == (expected,), name
