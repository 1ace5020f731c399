"""The search for lost pages. Ledger and lag are in memory."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from pipeline.contracts.records import OverduePage, PartitionLag, Position
from pipeline.ledger import pages as ledger_pages
from pipeline.postgres import Connection
from producer.lost_pages import Lags, LostPages, lost_pages


class World:
    """The ledger, and the lag of both groups."""

    def __init__(self) -> None:
        self.overdue: list[OverduePage] = []
        self.republished: list[list[str]] = []

    async def find_overdue(self, _: Connection, __: float) -> list[OverduePage]:
        return self.overdue

    async def republish(self, _: Connection, batch_ids: Sequence[str]) -> int:
        self.republished.append(list(batch_ids))
        return len(batch_ids)

    async def read(self) -> dict[int, PartitionLag]:
        return {0: PartitionLag(100, 100, 0)}

    async def total(self) -> int:
        return 0


async def test_a_lost_page_is_republished_after_two_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(ledger_pages, "overdue", world.find_overdue)
    monkeypatch.setattr(ledger_pages, "republish", world.republish)
    search, conn = LostPages(Lags(world, world)).search, cast("Connection", world)
    world.overdue = [OverduePage("lost", Position(0, 4))]
    await search(conn)
    assert world.republished == []
    await search(conn)
    assert world.republished == [["lost"]]
    world.overdue = []
    await search(conn)
    assert world.republished == [["lost"]]


def test_a_page_is_lost_only_when_no_fetcher_can_still_process_it() -> None:
    overdue = [OverduePage("read", Position(0, 4)), OverduePage("unread", Position(0, 5)), OverduePage("next", None)]
    behind = {0: PartitionLag(committed=5, end=9, lag=4), 1: PartitionLag(0, 0, 0)}
    assert lost_pages(overdue, behind, sink_lag=1) == set()
    assert lost_pages(overdue, behind, sink_lag=0) == {"read"}
    assert lost_pages(overdue, {0: PartitionLag(9, 9, 0)}, sink_lag=0) == {"read", "unread", "next"}


def test_a_page_in_an_unknown_partition_is_not_lost() -> None:
    overdue: list[Any] = [OverduePage("other", Position(7, 4))]
    assert lost_pages(overdue, {0: PartitionLag(5, 9, 4)}, sink_lag=0) == set()
