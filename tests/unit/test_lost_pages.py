"""The search for lost pages. Ledger and lag are in memory."""

from collections.abc import Sequence
from typing import cast

import pytest

from pipeline.contracts.records import OverduePage, PartitionLag, Position
from pipeline.ledger import pages as ledger_pages
from pipeline.offsets import OffsetTracker
from pipeline.partitioner import partition_of
from pipeline.postgres import Connection
from producer.lost_pages import GroupLags, LostPages

PARTITIONS = 4
OURS = partition_of(b"acme", PARTITIONS)
RESULTS = partition_of(b"sc-domain:a.example", PARTITIONS)


def offsets(partition: int, committed: int, end: int) -> dict[int, PartitionLag]:
    """The lags of a topic: those of one partition, and others that are far behind."""
    others = {number: PartitionLag(0, 1000, 1000) for number in range(PARTITIONS)}
    return {**others, partition: PartitionLag(committed, end, end - committed)}


def a_page(position: Position | None) -> OverduePage:
    return OverduePage("page", "acme", "sc-domain:a.example", position)


def search(lost_pages: LostPages, page: OverduePage, batches: tuple[int, int], results: tuple[int, int]) -> list[str]:
    """Search once, with (committed, end) of the page's partitions."""
    return lost_pages.lost([page], offsets(OURS, *batches), offsets(RESULTS, *results))


def test_a_page_is_lost_when_its_batch_is_committed_and_the_results_of_that_time_are_applied() -> None:
    lost_pages, page = LostPages(cast("GroupLags", None)), a_page(Position(OURS, 4))
    assert search(lost_pages, page, (4, 9), (50, 60)) == []  # its batch is not committed
    assert search(lost_pages, page, (5, 20), (70, 80)) == []  # a result may be among those up to 80
    assert search(lost_pages, page, (18, 30), (79, 99)) == []
    assert search(lost_pages, page, (29, 40), (80, 120)) == ["page"]


def test_a_page_is_lost_although_a_batch_of_another_credential_before_it_stays_in_flight() -> None:
    tracker = OffsetTracker(2)
    for offset in (2, 3, 4):
        tracker.started(offset)
    tracker.done(4)
    batches = {**offsets(OURS, 2, 9), OURS: PartitionLag(2, 9, 7, f"{tracker.metadata} {{}}")}
    lost_pages, page = LostPages(cast("GroupLags", None)), a_page(Position(OURS, 4))
    assert lost_pages.lost([page], batches, offsets(RESULTS, 70, 80)) == []
    assert lost_pages.lost([page], batches, offsets(RESULTS, 80, 90)) == ["page"]
    in_flight = a_page(Position(OURS, 3))
    assert [lost_pages.lost([in_flight], batches, offsets(RESULTS, 99, 99)) for _ in range(3)] == [[], [], []]


def test_a_next_page_is_lost_when_all_that_its_partition_had_is_committed() -> None:
    lost_pages, page = LostPages(cast("GroupLags", None)), a_page(None)
    assert search(lost_pages, page, (4, 9), (50, 50)) == []
    assert search(lost_pages, page, (8, 20), (60, 60)) == []
    assert search(lost_pages, page, (9, 30), (70, 71)) == []
    assert search(lost_pages, page, (10, 30), (71, 80)) == ["page"]


def test_a_page_with_a_result_is_forgotten_and_a_lost_one_is_found_again() -> None:
    lost_pages, page = LostPages(cast("GroupLags", None)), a_page(Position(OURS, 4))
    search(lost_pages, page, (5, 5), (80, 80))
    assert lost_pages.lost([], offsets(OURS, 5, 5), offsets(RESULTS, 80, 80)) == []
    assert search(lost_pages, page, (5, 5), (80, 80)) == []
    assert search(lost_pages, page, (5, 5), (80, 80)) == ["page"]
    assert search(lost_pages, page, (5, 5), (80, 80)) == []


def test_lost_pages_are_found_under_steady_load() -> None:
    """Neither group ever reaches the end of a partition."""
    lost_pages, found = LostPages(cast("GroupLags", None)), list[str]()
    for minute in range(10):
        found += search(lost_pages, a_page(None), (100 * minute, 100 * minute + 90), (100 * minute, 100 * minute + 90))
    assert found == ["page"] * len(found)
    assert len(found) >= 2


def test_a_page_is_lost_when_the_topics_were_created_again() -> None:
    lost_pages, page = LostPages(cast("GroupLags", None)), a_page(Position(OURS, 500))
    assert search(lost_pages, page, (501, 600), (900, 950)) == []
    assert search(lost_pages, page, (0, 0), (0, 0)) == ["page"]
    assert search(lost_pages, page, (0, 0), (0, 0)) == []
    assert search(lost_pages, page, (0, 0), (0, 0)) == ["page"]


def test_a_page_in_a_partition_that_is_gone_is_looked_for_where_its_credential_is_now() -> None:
    lost_pages, page = LostPages(cast("GroupLags", None)), a_page(Position(PARTITIONS, 4))
    assert search(lost_pages, page, (8, 9), (0, 0)) == []
    assert search(lost_pages, page, (9, 20), (0, 0)) == []
    assert search(lost_pages, page, (9, 20), (0, 0)) == ["page"]


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
        return {number: PartitionLag(100, 100, 0) for number in range(PARTITIONS)}

    async def total(self) -> int:
        return 0


async def test_a_lost_page_is_republished(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(ledger_pages, "overdue", world.find_overdue)
    monkeypatch.setattr(ledger_pages, "republish", world.republish)
    search, conn = LostPages(GroupLags(world, world)).search, cast("Connection", world)
    world.overdue = [a_page(Position(OURS, 4))]
    await search(conn)
    assert world.republished == []
    await search(conn)
    assert world.republished == [["page"]]
    world.overdue = []
    await search(conn)
    assert world.republished == [["page"]]
