"""Where the outbox begins to look while properties are halted. The ledger is in memory."""

from collections.abc import Collection, Sequence
from typing import cast

import pytest

from pipeline.contracts.records import PendingGroup
from pipeline.ledger import pages as ledger_pages
from pipeline.postgres import Connection
from producer.pending_floors import REFRESH_S, PendingFloors

CONN = cast("Connection", None)
MIXED, ONLY_HALTED, NEW = (PendingGroup(name, "backfill", 1, "run-1") for name in ("mixed", "only halted", "new"))
GROUPS = [MIXED, ONLY_HALTED]
HALTED = frozenset({"sc-domain:halted.example"})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Collection[str]]:
    """The halted properties of each reading of the ledger."""
    reads: list[Collection[str]] = []

    async def first_rounds(
        _: Connection, groups: Sequence[PendingGroup], halted: Collection[str]
    ) -> dict[PendingGroup, int]:
        reads.append(halted)
        return {MIXED: 500} if MIXED in groups else {}

    monkeypatch.setattr(ledger_pages, "first_rounds", first_rounds)
    return reads


async def test_without_a_halted_property_every_group_begins_at_its_first_round(reads: list[Collection[str]]) -> None:
    assert await PendingFloors().read(CONN, GROUPS, frozenset(), 0.0) == {MIXED: 0, ONLY_HALTED: 0}
    assert reads == []


async def test_a_group_of_halted_properties_only_is_left_out_and_others_begin_behind_their_pages(
    reads: list[Collection[str]],
) -> None:
    floors = PendingFloors()
    assert await floors.read(CONN, GROUPS, HALTED, 0.0) == {MIXED: 500}
    assert await floors.read(CONN, [*GROUPS, NEW], HALTED, REFRESH_S - 1) == {MIXED: 500, NEW: 0}
    assert len(reads) == 1


async def test_the_ledger_is_read_again_for_other_halts_and_after_a_while(reads: list[Collection[str]]) -> None:
    floors = PendingFloors()
    await floors.read(CONN, GROUPS, HALTED, 0.0)
    await floors.read(CONN, GROUPS, HALTED | {"other"}, 1.0)
    await floors.read(CONN, GROUPS, HALTED | {"other"}, 1.0 + REFRESH_S)
    assert await floors.read(CONN, GROUPS, frozenset(), 2.0 + REFRESH_S) == {MIXED: 0, ONLY_HALTED: 0}
    await floors.read(CONN, GROUPS, HALTED, 3.0 + REFRESH_S)
    assert reads == [HALTED, HALTED | {"other"}, HALTED | {"other"}, HALTED]
