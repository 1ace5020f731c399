"""Notifications of changed pages, on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from pipeline.contracts.messages import Batch, PageOutcome
from pipeline.contracts.records import Position
from pipeline.ledger import page_results, pages, runs
from pipeline.ledger.changes import follow_changes, listen, wait_for_change
from pipeline.postgres import Connection, connection
from support.examples import NOW
from support.ledger import add_pages, create_ledger, group
from support.wait import until

DEADLINE_S = 30.0


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="test") as opened:
        await create_ledger(opened)
        yield opened


@pytest.fixture
async def listener(conn: Connection, dsn: str) -> AsyncIterator[Connection]:
    async with connection(dsn, application="listener") as opened:
        await listen(opened)
        yield opened


async def test_a_transaction_notifies_once_when_it_is_committed(conn: Connection, listener: Connection) -> None:
    async with conn.transaction():
        await add_pages(conn, group("a", 1), 3)
        await add_pages(conn, group("a", 2), 3)
        await runs.cancel(conn, "run-2")
        assert not await wait_for_change(listener, 0.1)
    assert await wait_for_change(listener, DEADLINE_S)
    assert not await wait_for_change(listener, 0.1)


async def test_a_change_while_the_listener_runs_a_statement_is_not_missed(
    conn: Connection, listener: Connection
) -> None:
    await add_pages(conn, group("a", 1), 1)
    await listener.execute("select 1")  # receives the notification
    assert await wait_for_change(listener, DEADLINE_S)


async def test_whatever_makes_a_page_pending_or_finishes_it_notifies(conn: Connection, listener: Connection) -> None:
    await add_pages(conn, group("a", 1), 2)
    [first, second] = await pages.next_pending(conn, {group("a", 1): 2}, [])

    def outcome(batch: Batch, state: str) -> PageOutcome:
        fields = {"reason": "r", "detail": "d", "at": NOW}
        return PageOutcome(batch=batch, state=state, **fields)  # type: ignore[arg-type]

    changes = (
        pages.mark_published(conn, [first, second], [Position(0, 0), Position(0, 1)]),
        page_results.record_outcome(conn, 1, outcome(first, "deferred")),
        page_results.record_outcome(conn, 1, outcome(second, "dead")),
        pages.redrive(conn, second.batch_id),
        runs.cancel(conn, "run-1"),
    )
    assert await wait_for_change(listener, DEADLINE_S)
    for change in changes:
        await change
        assert await wait_for_change(listener, DEADLINE_S)


async def test_a_follower_hears_changes_also_after_its_connection_was_lost(conn: Connection, dsn: str) -> None:
    stop, calls = asyncio.Event(), []
    connect = partial(connection, dsn, application="follower")
    follower = asyncio.create_task(follow_changes(stop, connect, lambda: calls.append(1)))
    try:
        for generation in (1, 2):
            before = len(calls)
            await until(lambda: len(calls) > before, DEADLINE_S, "the follower listens")  # noqa: B023
            heard = len(calls)
            await add_pages(conn, group("a", generation), 1)
            await until(lambda: len(calls) > heard, DEADLINE_S, "the change is heard")  # noqa: B023
            await conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'follower' and datname = current_database()"
            )
    finally:
        stop.set()
        await follower
    assert len(calls) >= 4
